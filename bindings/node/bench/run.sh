#!/usr/bin/env bash
# run.sh FOLDER: installs the packages of FOLDER/packages, and the peers beside them, and measures them there.
set -eu
cd "$(dirname "$0")/../../.."

target=${CARGO_TARGET_DIR:-$PWD/target}/debug
export QAUTH_SIM=${QAUTH_SIM:-$target/qauth-sim}
[ -x "$QAUTH_SIM" ] || cargo build --quiet -p qauth-sim

cp bindings/node/bench/package{,-lock}.json bindings/node/.npmrc "$1"
cd "$1"
export QAUTH_NODE_APP=$PWD
npm ci --silent --ignore-scripts
npm install --silent --ignore-scripts --no-save ./packages/*.tgz
cd - >/dev/null
exec node bindings/node/bench/bench.mjs
