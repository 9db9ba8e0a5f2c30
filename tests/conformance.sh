#!/usr/bin/env bash
# Builds the drivers of every language and runs the conformance cases on all of them; arguments go to the harness.
# The last line is `conformance: N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}/debug
drivers=tests/conformance/drivers
out=build/conformance
mkdir -p "$out"

cargo build --quiet -p qauth-ffi -p qauth-cli -p qauth-tests
library=(-Iinclude "-L$target" -lqauth "-Wl,-rpath,$(cd "$target" && pwd)" -lpthread)
# The library may name itself by its version, as an installed one does.
ln -sf libqauth.so "$target/libqauth.so.1"
"${CC:-cc}" -std=c11 -O1 -Wall -Wextra -Werror "$drivers/driver.c" -o "$out/driver-c" "${library[@]}"
"${CXX:-c++}" -std=c++17 -O1 -Wall -Wextra -Werror "$drivers/driver.cpp" -o "$out/driver-cpp" "${library[@]}"

make --no-print-directory packages >"$out/packages.log" 2>&1 || { cat "$out/packages.log"; exit 1; }

exec "$target/conformance" --driver "c=$out/driver-c" --driver "cpp=$out/driver-cpp" --driver "cli=$target/qauth" \
    --driver "python=build/python/bin/python $drivers/driver.py sync" \
    --driver "asyncio=build/python/bin/python $drivers/driver.py asyncio" \
    --driver "node=node $drivers/driver_node.cjs" --driver "esm=node $drivers/driver_node.mjs" "$@"
