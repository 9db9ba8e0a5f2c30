#!/usr/bin/env bash
# Tests the Python and Node packages and the command line, as `make packages` has installed them, against real servers on
# loopback (docs/interop.md). Arguments go to pytest. The last line is `interop: N passed, M failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
make --no-print-directory packages || { echo "interop: 0 passed, 1 failed"; exit 1; }

export QAUTH_NODE_APP=${QAUTH_NODE_APP:-$PWD/build/node-app}
# The servers' own code; the tests import it as `servers`.
export PYTHONPATH=$PWD/interop
python=$PWD/build/python/bin/python
# Away from every folder that Python could take for the package.
cd interop/tests || exit 1

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$python" -B -m pytest --quiet --tb=short -W error -p no:cacheprovider "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# pytest's own last line, for instance "1 failed, 120 passed in 61.20s".
summary=$(tail -n 1 "$log")
count() { grep -oE "[0-9]+ $1" <<<"$summary" | awk '{ sum += $1 } END { print sum + 0 }'; }
passed=$(count passed)
# Nothing is skipped: what is not there has failed.
failed=$(($(count failed) + $(count error) + $(count skipped)))
# A suite that breaks off has failed, and so has one without tests.
if [ "$failed" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$passed" -eq 0 ]; }; then failed=1; fi
echo "interop: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
