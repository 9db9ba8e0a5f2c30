#!/usr/bin/env bash
# The Python wheel and the npm packages of the `dev` profile, made and installed as users do: the wheel into the fresh
# virtual environment build/python, the tarballs into the empty project build/node-app, without running install scripts.
set -eu
cd "$(dirname "$0")/.."

rm -rf build/packages build/node-app
make --no-print-directory wheel npm-pack PROFILE=dev OUT=build/packages

python3 -m venv --clear build/python
build/python/bin/pip install --quiet --disable-pip-version-check build/packages/qauth-*.whl \
    -r bindings/python/tests/requirements.txt

mkdir -p build/node-app
cp bindings/node/tests/app/package*.json bindings/node/.npmrc build/node-app/
cd build/node-app
npm ci --silent --ignore-scripts --no-audit --no-fund
npm install --silent --ignore-scripts --no-audit --no-fund --no-save ../packages/qauth-*.tgz
