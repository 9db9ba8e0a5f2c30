#!/usr/bin/env bash
# Tests the Python package as `make packages` has installed it in build/python. Arguments go to pytest. QAUTH_SIM is the
# simulator (target/debug/qauth-sim unless set). The last line is `python: N passed, N failed`.
set -u
cd "$(dirname "$0")/../../.." || exit 1
python=$PWD/build/python/bin/python
export QAUTH_SIM=${QAUTH_SIM:-${CARGO_TARGET_DIR:-$PWD/target}/debug/qauth-sim}
cargo build --quiet -p qauth-sim && make --no-print-directory packages || { echo "python: 0 passed, 1 failed"; exit 1; }
# Away from every folder that Python could take for the package.
cd bindings/python/tests || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$python" -m pytest --quiet -p no:cacheprovider "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# pytest's own last line, for instance "1 failed, 900 passed, 1 error in 61.20s".
summary=$(tail -n 1 "$log")
count() { grep -oE "[0-9]+ $1" <<<"$summary" | awk '{ sum += $1 } END { print sum + 0 }'; }
passed=$(count passed)
failed=$(($(count failed) + $(count error)))
# A suite that breaks off has failed, and so has one without tests.
if [ "$failed" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$passed" -eq 0 ]; }; then failed=1; fi
echo "python: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
