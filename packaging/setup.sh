#!/bin/sh
# Set-up behind the Makefile: `check` looks for what cannot be installed without root, `build` makes .venv
# with the locked packages and the compiled module, `interop` an environment with the programs that call ssh
# and come from PyPI, `cargo-deny` installs that tool. Each does nothing
# when it has been done already for the files as they are now. `openssh-tests` brings the scripts that
# OpenSSH is tested with, which this system's package archive has the sources of.
set -eu
cd "$(dirname "$0")/.."

RUST_MINOR=85        # edition 2024; the same number as rust-version in native/Cargo.toml
PYTHON_MINOR=11
CARGO_DENY=0.20.2
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1

python_with_venv() {
    for name in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $PYTHON_MINOR))" 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

rust_is_new() {
    minor=$(cargo --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$minor" ] && [ "$minor" -ge "$RUST_MINOR" ]
}

# Packages that bring everything `check` looks for on this release.
apt_line() {
    release=unknown
    if [ -r /etc/os-release ]; then
        release=$(. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}")
    fi
    # A cargo that rustup made conflicts with the packaged one, and is fine when it is new.
    cargo=
    rust_is_new || case $release in
        debian-12) cargo=cargo-web ;;                   # bookworm's plain cargo is 1.63
        ubuntu-2[0-4].*) cargo="rustup && rustup default stable" ;;
        *) cargo=cargo ;;
    esac
    echo "apt-get install -y git make gcc libc6-dev python3-venv${cargo:+ $cargo}"
}

check() {
    missing=
    command -v git >/dev/null || missing="$missing git,"
    command -v make >/dev/null || missing="$missing make,"
    command -v cc >/dev/null || missing="$missing a C compiler,"
    python_with_venv >/dev/null || missing="$missing Python >= 3.$PYTHON_MINOR with venv,"
    rust_is_new || missing="$missing cargo >= 1.$RUST_MINOR,"
    if [ -n "$missing" ]; then
        {
            echo "Missing:${missing%,}. As root:"
            echo "    $(apt_line)"
        } >&2
        exit 1
    fi
}

# up_to_date STAMP WORDS: whether STAMP holds WORDS.
up_to_date() { [ "$(cat "$1" 2>/dev/null)" = "$2" ]; }

digest() { sha256sum | cut -d' ' -f1; }

packages() {    # STAMP LOCKFILE...
    stamp=$1
    shift
    state=$(cat "$@" | digest)
    up_to_date "$stamp" "$state" && return
    for lock in "$@"; do
        .venv/bin/pip install --quiet --require-hashes -r "$lock"
    done
    echo "$state" > "$stamp"
}

build() {
    check
    if ! .venv/bin/python -c '' 2>/dev/null; then
        "$(python_with_venv)" -m venv --clear .venv
    fi
    packages .venv/stamp-packages requirements.lock
    state=$(
        {
            cargo --version
            .venv/bin/python --version
            find native -path native/target -prune -o -type f -print | LC_ALL=C sort | tr '\n' '\0' | xargs -0 sha256sum
            sha256sum pyproject.toml
        } | digest
    )
    if ! up_to_date .venv/stamp-native "$state" || ! [ -e qsh/_native.abi3.so ]; then
        PATH="$PWD/.venv/bin:$PATH" VIRTUAL_ENV="$PWD/.venv" .venv/bin/maturin develop --release --locked --quiet
        echo "$state" > .venv/stamp-native
    fi
}

interop() {
    build
    state=$(digest < requirements-interop.lock)
    up_to_date .venv/stamp-interop "$state" && return
    .venv/bin/python -m venv --clear .venv/interop
    .venv/interop/bin/pip install --quiet --require-hashes -r requirements-interop.lock
    echo "$state" > .venv/stamp-interop
}

# The archive's binary packages are what this machine is set up for; the same lines, asked for sources, in an apt of their own.
openssh_sources() {
    command -v apt-get >/dev/null || return 1
    mkdir -p apt/sources apt/lists/partial
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -r "$list" ] || sed -n 's/^deb[[:space:]]/deb-src /p' "$list" > "apt/sources/$(basename "$list" .list).list"
    done
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" > "apt/sources/$(basename "$list")"
    done
    options="-qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$PWD/apt/sources -o Dir::State::Lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt -o APT::Sandbox::User="
    # shellcheck disable=SC2086
    apt-get $options update || true    # of several archives one has it
    # shellcheck disable=SC2086
    apt-get $options source --download-only openssh || return 1
    mkdir source
    tar -xzf openssh_*.orig.tar.gz -C source --strip-components=1
}

openssh_tests() {
    build
    version=$(dpkg-query -W -f '${source:Version}' openssh-client 2>/dev/null) || version=none
    up_to_date .venv/stamp-openssh "$version" && return
    rm -rf .venv/openssh
    mkdir .venv/openssh
    if (cd .venv/openssh && openssh_sources >&2 && mv source/regress . && rm -r source apt); then
        chmod +x .venv/openssh/regress/test-exec.sh
        echo "$version" > .venv/stamp-openssh
    else
        echo "OpenSSH's test scripts could not be had; what needs them is left out, or fails in CI." >&2
    fi
}

cargo_deny() {
    command -v cargo-deny >/dev/null && return
    # Without optimisation: a minute to build, and a check takes a second.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --locked --debug --version "$CARGO_DENY" cargo-deny
}

lock() {
    options="--universal --python-version 3.$PYTHON_MINOR --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet"
    "$(python_with_venv)" -m venv --clear .venv/lock
    .venv/lock/bin/pip install --quiet uv
    note='# Written by `make lock`; do not edit.'
    # What is locked stays at its version, unless UPGRADE says otherwise.
    for each in dev:requirements bench:requirements-bench interop:requirements-interop runtime:requirements-runtime; do
        [ ! -e "${each#*:}.lock" ] || cp "${each#*:}.lock" ".venv/lock/${each%:*}.txt"
    done
    # shellcheck disable=SC2086
    .venv/lock/bin/uv pip compile pyproject.toml $options --extra dev -o .venv/lock/dev.txt ${UPGRADE:+--upgrade}
    { echo "$note Runtime and development, every artefact by its hash."; cat .venv/lock/dev.txt; } > requirements.lock
    # shellcheck disable=SC2086
    .venv/lock/bin/uv pip compile pyproject.toml $options -c requirements.lock -o .venv/lock/runtime.txt ${UPGRADE:+--upgrade}
    { echo "$note What an installed qsh needs: the packages are made of it."; cat .venv/lock/runtime.txt; } > requirements-runtime.lock
    # shellcheck disable=SC2086
    .venv/lock/bin/uv pip compile pyproject.toml $options --extra bench -c requirements.lock -o .venv/lock/bench.txt
    { echo "$note What bench/ needs to draw its plot, besides requirements.lock."; cat .venv/lock/bench.txt; } > requirements-bench.lock
    # shellcheck disable=SC2086
    .venv/lock/bin/uv pip compile pyproject.toml $options --extra interop -c requirements.lock -o .venv/lock/interop.txt
    { echo "$note The programs of tests/interop that come from PyPI."; cat .venv/lock/interop.txt; } > requirements-interop.lock
}

case ${1:-} in
    check) check ;;
    apt) apt_line ;;
    build) build ;;
    bench) build && packages .venv/stamp-bench requirements-bench.lock ;;
    interop) interop ;;
    openssh-tests) openssh_tests ;;
    cargo-deny) cargo_deny ;;
    lock) lock ;;
    *) echo "usage: $0 check|apt|build|bench|interop|openssh-tests|cargo-deny|lock" >&2; exit 2 ;;
esac
