# Commands for developers and packagers. Each target installs what it needs, and says so.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo demo-fiona test lint unit e2e test-loaders test-browser test-cluster cluster-costs cluster-up cluster-down test-packages bench bench-blocks soak build release install setup clean fuzz wheel deb rpm static dist packages-setup

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PYTHON := .venv/bin/python
PREFIX ?= /usr/local
SBIN ?= /sbin
UNITS ?= $(PREFIX)/lib/systemd/system
SOAK_SECONDS ?= 1800
SOAK_KILLS ?= 200
SOAK_FILES ?= 2000
SOAK_ROUNDS ?= 600
SOAK_CASES ?= 20000
FUZZ_SECONDS ?= 60
# Processes for the tests in Python, which mostly wait.
WORKERS ?= 2
ROWS ?= 1000000
# PROFILE=dev packages the debug build, to try the scripts.
PROFILE ?= release
PACKAGE_BIN ?= $(TARGET)/$(if $(filter dev,$(PROFILE)),debug/dcfs,x86_64-unknown-linux-gnu/release/dcfs)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Mount a small catalog made by DataChain, and look around (in ./demo); with DIR=~/Pictures, a catalog of your files
	@tests/setup $(if $(DIR),own,demo)
	@cargo build --release
	@$(if $(DIR),tests/demo/own $(TARGET)/release/dcfs "$$DIR",tests/demo/run $(TARGET)/release/dcfs demo)

demo-fiona: ## The task of DataChain's README without Python DataChain: dogs like Fiona, ranked (in ./demo/fiona)
	@tests/setup demo
	@cargo build --release
	@tests/demo/fiona $(TARGET)/release/dcfs demo/fiona

test: setup lint unit e2e fuzz ## All checks: style, unit tests, real mounts, a minute of fuzzing

lint: ## Check formatting, clippy and rustdoc (no warnings), licences and sources of crates
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items
	tests/audit

unit: ## The tests in Rust; random cases have a fixed seed here, and new ones in `make soak`
	PROPTEST_RNG_SEED=$(or $(PROPTEST_RNG_SEED),1) cargo test --workspace --lib --bins --tests

e2e: setup build ## The binary against real DataChain, kernels and servers
	DCFS_BIN=$(TARGET)/debug/dcfs $(PYTHON) -m pytest -c tests/python/pytest.ini -n $(WORKERS) --dist loadfile tests/python $(PYTEST)

fuzz: setup ## Fuzz the language of filters and SQL for FUZZ_SECONDS
	tests/fuzz/run $(FUZZ_SECONDS)

test-loaders: build ## torchvision and Hugging Face on a mount (installs gigabytes into .venv-loaders)
	@tests/setup loaders
	DCFS_BIN=$(TARGET)/debug/dcfs .venv-loaders/bin/python -m pytest -c tests/loaders/pytest.ini tests/loaders $(PYTEST)

test-browser: build ## The page of `dcfs view` in Chromium (installs it, and playwright into .venv-browser)
	@tests/setup browser
	DCFS_BIN=$(TARGET)/debug/dcfs .venv-browser/bin/python -m pytest -c tests/browser/pytest.ini tests/browser $(PYTEST)

test-cluster: build ## A catalog on real ClickHouse and PostgreSQL (installs them, ClickHouse into .venv-cluster)
	@tests/setup cluster
	cargo build --example pushed
	DCFS_BIN=$(TARGET)/debug/dcfs $(PYTHON) -m pytest -c tests/cluster/pytest.ini tests/cluster $(PYTEST)

cluster-costs: release ## What hosts that share a catalog on servers and a bucket cost, for a version of ROWS rows (1,000,000)
	@tests/setup cluster
	cargo build --release --example bench_delay
	DCFS_BIN=$(TARGET)/release/dcfs DCFS_BENCH_EXAMPLES=$(TARGET)/release/examples $(PYTHON) tests/cluster/costs.py --rows $(ROWS)

cluster-up: ## Start ClickHouse and PostgreSQL in ./cluster with a small catalog, or a copy of CATALOG=DIR; print how to mount it
	@tests/setup cluster
	@tests/cluster/up cluster $(CATALOG)

cluster-down: ## Stop them and remove ./cluster
	@.venv-cluster/bin/python tests/cluster/servers.py down cluster

soak: setup build ## Tens of thousands of random cases; the mount with a concurrent writer for SOAK_SECONDS, hundreds of SIGKILLs, many readers
	PROPTEST_CASES=$(SOAK_CASES) cargo test --workspace --lib
	DCFS_SOAK_SECONDS=$(SOAK_SECONDS) DCFS_KILLS=$(SOAK_KILLS) DCFS_LOAD_FILES=$(SOAK_FILES) DCFS_ROUNDS=$(SOAK_ROUNDS) \
		DCFS_BIN=$(TARGET)/debug/dcfs $(PYTHON) -m pytest -c tests/python/pytest.ini \
		$(addprefix tests/python/,test_live.py test_crash.py test_kill.py test_load.py test_roundtrip.py test_save.py test_index.py test_map_runs.py)

bench-blocks: setup release ## Names in blocks over a bucket 20 ms away, for a version of ROWS rows
	cargo build --release --example bench_delay
	SPLIT=1000 $(PYTHON) tests/bench/blocks.py $(TARGET)/release/dcfs $(TARGET)/release/examples/bench_delay $(ROWS)

bench: release ## Run the benchmarks and write docs/benchmarks.md
	@tests/setup bench
	DCFS_BIN=$(TARGET)/release/dcfs tests/bench/run

setup:
	@tests/setup test

build:
	cargo build --bins --example roundtrip

release:
	cargo build --release

install: release ## Install below PREFIX (/usr/local): the program, the links of mount(8), units, completions, manual; DESTDIR for packages
	PREFIX=$(PREFIX) SBIN=$(SBIN) UNITS=$(UNITS) packaging/tree $(TARGET)/release/dcfs "$(DESTDIR)"

wheel: packages-setup ## A wheel of the program and the Python package `dcfs`, for any Linux with glibc 2.28, in dist/
	PROFILE=$(PROFILE) packaging/python/build dist

$(PACKAGE_BIN):
	@$(MAKE) wheel

deb: packages-setup $(PACKAGE_BIN) ## A Debian package, in dist/
	packaging/deb/build $(PACKAGE_BIN) dist

rpm: packages-setup $(PACKAGE_BIN) ## An rpm of the same files, in dist/
	packaging/rpm/build $(PACKAGE_BIN) dist

# Only the final link differs from a usual build, so nothing else is recompiled.
static: ## A static binary, in dist/
	cargo rustc --profile $(PROFILE) --bin dcfs -- -C target-feature=+crt-static
	install -Dm755 -s $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/dcfs dist/dcfs-static

dist: wheel deb rpm static ## All artifacts, with the list of crates (SBOM) and checksums, in dist/
	packaging/dist dist

test-packages: packages-setup ## Test all artifacts as installed: in a minimal Debian, an empty environment, an empty root (needs root)
	PROFILE=$(PROFILE) PACKAGE_BIN=$(PACKAGE_BIN) tests/packages/run dist

packages-setup:
	@tests/setup packages

clean: ## Remove the build, the environments of the tests and the demo
	cargo clean
	rm -rf .venv .venv-bench .venv-cluster .venv-cluster-25.8 .venv-loaders .venv-packages demo dist
