#!/usr/bin/env bash
# Tests the Node package as `make packages` has installed it in build/node-app. QAUTH_SIM is the simulator
# (target/debug/qauth-sim unless set). The last line is `node: N passed, N failed`.
set -eu
cd "$(dirname "$0")/../../.."

export QAUTH_SIM=${QAUTH_SIM:-${CARGO_TARGET_DIR:-$PWD/target}/debug/qauth-sim}
export QAUTH_NODE_APP=$PWD/build/node-app
export QAUTH_NODE_PACKAGES=$PWD/build/packages
cargo build --quiet -p qauth-sim
make --no-print-directory packages

results=$QAUTH_NODE_APP/results.tap
status=0
node --test --test-timeout=120000 --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$results" bindings/node/tests/*.test.mjs || status=$?
passed=$(sed -n 's/^# pass //p' "$results")
failed=$(($(sed -n 's/^# tests //p' "$results") - passed - $(sed -n 's/^# skipped //p' "$results")))
echo "node: $passed passed, $failed failed"
exit $status
