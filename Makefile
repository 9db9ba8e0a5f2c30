# `make help` lists the targets. Everything is set up by the targets themselves; see CONTRIBUTING.md.

PREFIX  ?= /usr/local
# What users install is the `dist` profile (LTO, stripped); the tests and the demo build with `dev`.
PROFILE ?= dist
DESTDIR ?=
CC      ?= cc
CXX     ?= c++

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
ABI     := 1
BUILT   := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
BUILD   := build
OUT     ?= dist
DEMO    := $(BUILD)/demo
ARCH    := $(shell uname -m)
NAME    := qauth-$(VERSION)-linux-$(ARCH)

# Cargo leaves LTO out while a Rust library is among a crate's types, so the C library is built without that one. Its size
# counts (4.7 MB, of which the stores are 0.6), and its cached path is inlined by force.
LIBRARY = $(if $(filter dev,$(PROFILE)),cargo build -p qauth-ffi,cargo rustc --profile $(PROFILE) --config 'profile.$(PROFILE).opt-level="z"' -p qauth-ffi --lib --crate-type cdylib,staticlib)

PYTHON  := bindings/python examples/python tests/conformance/drivers interop
# What the Python and Node packages are made of.
PACKAGED = $(shell find core cli sim bindings -type f -not -path '*/tests/*' -not -path '*/bench/*' -not -path '*/.*' \
    -not -path '*/__pycache__/*' -not -name '*.node') bindings/python/tests/requirements.txt bindings/node/tests/app/package-lock.json

# Provider files of well-known APIs, shipped beside every package.
EXAMPLES = $(filter-out %.test.toml,$(wildcard core/providers/contrib/*.toml))

.DEFAULT_GOAL := help
.PHONY: help demo test interop stress stress-long check conformance header schema bench bench-rust bench-python bench-node simulate simulate-fleet install dist wheel npm-pack packages ruff clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## five vendors from C, C++, Python, Node and the command line, against the simulator
	@mkdir -p $(DEMO)
	@$(MAKE) --no-print-directory install PROFILE=dev PREFIX=$(abspath $(DEMO)/prefix) >$(DEMO).log 2>&1 || { cat $(DEMO).log; exit 1; }
	@$(MAKE) --no-print-directory packages >>$(DEMO).log 2>&1 || { cat $(DEMO).log; exit 1; }
	@cargo build --quiet -p qauth-tests --bin demo
	@$(CC) -std=c99 -Wall -Wextra -o $(DEMO)/demo-c examples/c/demo.c -I$(DEMO)/prefix/include -L$(DEMO)/prefix/lib -lqauth -Wl,-rpath,$(abspath $(DEMO)/prefix/lib)
	@$(CXX) -std=c++17 -Wall -Wextra -o $(DEMO)/demo-cpp examples/cpp/demo.cpp -I$(DEMO)/prefix/include -L$(DEMO)/prefix/lib -lqauth -Wl,-rpath,$(abspath $(DEMO)/prefix/lib)
	@cp examples/node/demo.mjs build/node-app/
	@target/debug/demo C=$(DEMO)/demo-c C++=$(DEMO)/demo-cpp 'Python=build/python/bin/python examples/python/demo.py' \
	    'Node=node build/node-app/demo.mjs' CLI=$(DEMO)/prefix/bin/qauth

test: ## every suite; the last line is `N passed, N failed`
	@tests/all.sh

interop: ## the packages against Keycloak, oidc-provider, Authlib and Doorkeeper
	@interop/run.sh

stress: ## processes killed at every call, power cuts, full disks, many processes on one account, a fleet on Redis
	@cargo build --quiet -p qauth-stress || { echo "stress: 0 passed, 1 failed"; exit 1; }
	@target/debug/qauth-stress

stress-long: ## the same with the figures of docs/stress.md
	@cargo build --quiet --release -p qauth-stress || { echo "stress: 0 passed, 1 failed"; exit 1; }
	@target/release/qauth-stress --long

check: ## the fast half: format, lints, types, the header
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	@$(MAKE) --no-print-directory ruff
	cargo test --quiet -p qauth-ffi --test header

ruff: build/tools/bin/maturin ## lints and format of the Python code
	build/tools/bin/ruff check $(PYTHON)
	build/tools/bin/ruff format --check $(PYTHON)

conformance: ## the cases of tests/conformance in every language, as a table
	@tests/conformance.sh

header: ## writes include/qauth.h anew
	QAUTH_UPDATE_HEADER=1 cargo test --quiet -p qauth-ffi --test header

schema: ## writes docs/schema anew
	QAUTH_UPDATE_SCHEMA=1 cargo test --quiet -p qauth-core --features schema --test schema

bench: bench-rust bench-python bench-node ## ratios against floors and peers, with what is released

bench-rust: ## Rust and the C library
	$(LIBRARY) --quiet
	cargo build --quiet --profile dist -p qauth-benches
	target/dist/qauth-bench target/dist/libqauth.so target/dist/first-token

bench-python: ## beside msal, google-auth, azure-identity and caches by hand
	rm -rf build/bench-python/wheel
	$(MAKE) --no-print-directory wheel PROFILE=dist OUT=build/bench-python/wheel
	python3 -m venv build/bench-python
	build/bench-python/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps build/bench-python/wheel/*.whl
	build/bench-python/bin/pip install --quiet --disable-pip-version-check -r bindings/python/bench/requirements.txt
	build/bench-python/bin/python bindings/python/bench/bench.py
	@du -b build/bench-python/wheel/*.whl

bench-node: ## beside msal-node, simple-oauth2 and caches by hand
	rm -rf build/bench-node/packages
	$(MAKE) --no-print-directory npm-pack PROFILE=dist OUT=build/bench-node/packages
	bindings/node/bench/run.sh build/bench-node

simulate: ## an hour of a thousand sources with an outage, in virtual time
	@cargo build --quiet --release -p qauth-benches --bin hour
	@target/release/hour

simulate-fleet: ## a day of ten thousand nodes with a hundred profiles and one Redis, in virtual time (FLAGS="--nodes 1000 …")
	@cargo build --quiet --release -p qauth-benches --bin fleet
	@target/release/fleet $(FLAGS)

install: ## library, headers, qauth.pc and the command line into PREFIX (DESTDIR is respected)
	$(LIBRARY)
	cargo build --profile $(PROFILE) -p qauth-cli -p qauth-sim
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include
	install -m 755 $(BUILT)/libqauth.so $(DESTDIR)$(PREFIX)/lib/libqauth.so.$(VERSION)
	ln -sf libqauth.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/libqauth.so.$(ABI)
	ln -sf libqauth.so.$(ABI) $(DESTDIR)$(PREFIX)/lib/libqauth.so
	install -m 644 $(BUILT)/libqauth.a $(DESTDIR)$(PREFIX)/lib/libqauth.a
	install -m 644 include/qauth.h include/qauth.hpp $(DESTDIR)$(PREFIX)/include/
	install -m 755 $(BUILT)/qauth $(BUILT)/qauth-sim $(DESTDIR)$(PREFIX)/bin/
	install -d $(DESTDIR)$(PREFIX)/share/qauth/providers
	install -m 644 $(EXAMPLES) $(DESTDIR)$(PREFIX)/share/qauth/providers/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' ffi/qauth.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/qauth.pc

wheel: build/tools/bin/maturin ## dist/qauth-VERSION-….whl, for `pip install`
	rm -rf bindings/python/python/qauth/providers
	install -d bindings/python/python/qauth/providers
	install -m 644 $(EXAMPLES) bindings/python/python/qauth/providers/
	build/tools/bin/maturin build --quiet --profile $(PROFILE) --manifest-path bindings/python/Cargo.toml --out $(OUT)

npm-pack: ## dist/qauth-VERSION.tgz and the package of this platform, for `npm install`
	cargo build --quiet --profile $(PROFILE) -p qauth-node
	node bindings/node/scripts/pack.mjs $(BUILT)/libqauth_node.so $(OUT)

packages: build/packages.stamp ## both packages, installed for the tests

build/packages.stamp: tests/packages.sh Cargo.toml Cargo.lock $(PACKAGED)
	tests/packages.sh
	@touch $@

build/tools/bin/maturin:
	python3 -m venv build/tools
	build/tools/bin/pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2' 'ruff>=0.17,<0.18'

dist: ## dist/NAME.tar.gz: what `install` installs, with licences and documents
	rm -rf dist/$(NAME)
	$(MAKE) install PROFILE=dist PREFIX=/ DESTDIR=dist/$(NAME)
	sed -i 's|^prefix=.*|prefix=$${pcfiledir}/../..|' dist/$(NAME)/lib/pkgconfig/qauth.pc
	cp -r README.md ARCHITECTURE.md ABI.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE docs dist/$(NAME)/
	tar -C dist -czf dist/$(NAME).tar.gz $(NAME)
	@echo dist/$(NAME).tar.gz

clean: ## what the targets made
	cargo clean --quiet
	rm -rf $(BUILD) dist
