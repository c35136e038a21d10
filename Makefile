# Each target does its own set-up first; packaging/setup.sh knows what that is and when it is needed.
SETUP := packaging/setup.sh
BIN := .venv/bin
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
FUZZ_SECONDS ?= 3600
CARGO := cargo --quiet
MANIFEST := --manifest-path native/Cargo.toml

.PHONY: demo test test-native lint lint-python lint-native format bench fuzz wheel-test build lock clean

demo: build
	$(BIN)/qshctl demo || [ $$? -ne 255 ]

test: build test-native
	$(SETUP) interop
	$(SETUP) openssh-tests
	$(BIN)/python -m pytest

test-native: build
	$(CARGO) test $(MANIFEST) --locked

lint: lint-python lint-native

lint-python: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest qsh._native
	$(BIN)/lint-imports

lint-native: build
	cargo fmt $(MANIFEST) --check
	$(CARGO) clippy $(MANIFEST) --locked --all-targets -- -D warnings
	$(SETUP) cargo-deny
	cargo-deny $(MANIFEST) --locked --config packaging/deny.toml --log-level error check licenses bans sources

format: build
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cargo fmt $(MANIFEST)

bench: build
	$(SETUP) bench
	$(BIN)/python -m bench $(BENCH)

fuzz: build
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

wheel-test: build
	packaging/wheel-test.sh

build:
	@$(SETUP) build

lock:
	$(SETUP) lock

clean:
	rm -rf .venv build dist native/target bench/out qsh/_native*.so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
