#!/usr/bin/env bash
# Packs the given library (default: the one of the dev profile), installs the packages in build/node-app and tests them
# there. The last line is `node: N passed, N failed`.
set -eu
cd "$(dirname "$0")/../../.."

target=${CARGO_TARGET_DIR:-$PWD/target}/debug
library=${1:-$target/libqauth_node.so}
export QAUTH_SIM=${QAUTH_SIM:-$target/qauth-sim}
export QAUTH_NODE_APP=$PWD/build/node-app
export QAUTH_NODE_PACKAGES=$PWD/build/node-packages

rm -rf "$QAUTH_NODE_PACKAGES"
node bindings/node/scripts/pack.mjs "$library" "$QAUTH_NODE_PACKAGES"
mkdir -p "$QAUTH_NODE_APP"
cp bindings/node/tests/app/package{,-lock}.json bindings/node/.npmrc "$QAUTH_NODE_APP"
cd "$QAUTH_NODE_APP"
npm ci --silent --ignore-scripts
npm install --silent --ignore-scripts --no-save "$QAUTH_NODE_PACKAGES"/*.tgz
cd - >/dev/null

results=$QAUTH_NODE_APP/results.tap
status=0
node --test --test-timeout=120000 --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=tap --test-reporter-destination="$results" bindings/node/tests/*.test.mjs || status=$?
passed=$(sed -n 's/^# pass //p' "$results")
failed=$(($(sed -n 's/^# tests //p' "$results") - passed - $(sed -n 's/^# skipped //p' "$results")))
echo "node: $passed passed, $failed failed"
exit $status
