#!/usr/bin/env bash
# Installs a wheel into a virtual environment, which is made where there is none, and tests what was installed:
#
#     bindings/python/tests/run.sh WHEEL VENV [ARGUMENT OF PYTEST...]
#
# PYTHON is the interpreter of a new environment, QAUTH_SIM the simulator (target/debug/qauth-sim unless set).
# The last line is `python: N passed, N failed`; a suite that breaks off has failed.
set -u
wheel=$(realpath "$1")
venv=$(realpath -m "$2")
shift 2
if [ -n "${QAUTH_SIM:-}" ]; then
    QAUTH_SIM=$(realpath "$QAUTH_SIM")
    export QAUTH_SIM
fi
# Away from every folder that Python could take for the package.
cd "$(dirname "$0")" || exit 1

passed=0
failed=1
finish() {
    echo "python: $passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv" || finish
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade -r requirements.txt || finish
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$wheel" || finish

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$venv/bin/python" -m pytest --quiet -p no:cacheprovider "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# pytest's own last line, for instance "1 failed, 900 passed, 1 error in 61.20s".
summary=$(tail -n 1 "$log")
count() { grep -oE "[0-9]+ $1" <<<"$summary" | awk '{ sum += $1 } END { print sum + 0 }'; }
passed=$(count passed)
failed=$(($(count failed) + $(count error)))
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
if [ "$passed" -eq 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
finish
