#!/usr/bin/env bash
# Runs every suite, goes on after a failure, and ends with the sum: `N passed, N failed`.
# A suite that counts its tests is counted by them; any other counts as one.
set -u
cd "$(dirname "$0")/.."

passed=0
failed=0
logs=build/test
mkdir -p "$logs"

suite() { # NAME COMMAND...
    local name=$1 log start status good bad
    shift
    log=$logs/$name.log
    start=$SECONDS
    "$@" >"$log" 2>&1
    status=$?
    # Rust's own summary, and the one that every other suite here prints.
    read -r good bad < <(sed -nE \
        -e 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' \
        -e 's/^[a-z+ -]+: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log" |
        awk '{ good += $1; bad += $2 } END { print good + 0, bad + 0 }')
    if [ $((good + bad)) -eq 0 ] && [ "$status" -eq 0 ]; then good=1; fi
    # A suite that breaks off has failed, whatever it counted until then.
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + good))
    failed=$((failed + bad))
    printf '%-14s %5d passed %5d failed %5d s\n' "$name" "$good" "$bad" $((SECONDS - start))
    if [ "$bad" -ne 0 ]; then
        grep -vE '^test .* \.\.\. ok$' "$log" | tail -n 150
    fi
}

# What the suites need beside cargo, make and compilers: Debian's package for each that is missing.
missing() {
    command -v pkg-config >/dev/null || echo pkg-config
    python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || echo python3 python3-venv
    command -v node >/dev/null || echo nodejs
    command -v npm >/dev/null || echo npm
    command -v redis-server >/dev/null || echo redis-server
    command -v redis-sentinel >/dev/null || echo redis-sentinel
}

# Installed where that is allowed, named where it is not.
setup() {
    local packages
    packages=$(missing | tr '\n' ' ')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086
        { apt-get update && apt-get install -y --no-install-recommends $packages; } || return 1
    fi
    packages=$(missing | tr '\n' ' ')
    [ -z "$packages" ] || { echo "missing: install $packages(Python 3.10 or later, Node 20 or later)"; return 1; }
}

if [ -n "$(missing)" ]; then suite setup setup; fi
suite rustfmt cargo fmt --all --check
suite ruff make --no-print-directory ruff
suite clippy cargo clippy --workspace --all-targets -- -D warnings
suite build cargo build --workspace
suite core cargo test -p qauth-core --features schema
suite model cargo test -p qauth-model
suite protocol cargo test -p qauth-protocol
suite sim cargo test -p qauth-sim
suite simulate cargo test -p qauth-benches
suite header cargo test -p qauth-ffi --test header
suite ffi cargo test -p qauth-ffi
suite cli cargo test -p qauth-cli
suite packages make --no-print-directory packages
suite python bindings/python/tests/run.sh
suite node bindings/node/tests/run.sh
suite conformance tests/conformance.sh
suite file-store tests/conformance.sh --store file --face rust,python,esm
suite demo make --no-print-directory demo

[ "$failed" -eq 0 ]
status=$?
echo "$passed passed, $failed failed"
exit $status
