#!/bin/sh
# Build the sdist and from it the wheel, install that in a clean environment outside the tree, and use it.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
export PATH PIP_DISABLE_PIP_VERSION_CHECK=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/maturin sdist --manifest-path native/Cargo.toml --out "$work" 2>/dev/null
tar -xzf "$work"/qsh_shell-*.tar.gz -C "$work"
# The target directory is shared, else all dependencies are compiled again. The archive's files are dated long ago:
# cargo would take the tree's own module for theirs.
find "$work"/qsh_shell-*/native -type f -exec touch {} +
CARGO_TARGET_DIR="$PWD/native/target" .venv/bin/maturin build --release --locked \
    --manifest-path "$work"/qsh_shell-*/native/Cargo.toml --out "$work/wheel"
python3=$(.venv/bin/python -c 'import sys; print(sys._base_executable)')
"$python3" -m venv "$work/venv"
# The lock pins what the wheel asks for; the wheel itself has no hash in it.
"$work/venv/bin/pip" install --quiet --require-hashes -r requirements.lock
"$work/venv/bin/pip" install --quiet --no-deps "$work"/wheel/*.whl
cd "$work"
venv/bin/python -c 'import qsh, qsh._native; assert "/venv/" in qsh.__file__, qsh.__file__'
venv/bin/qsh -V
venv/bin/qsh -G somewhere | grep -q '^hostname somewhere$'
venv/bin/qshctl --help > /dev/null
said=$(venv/bin/qshctl demo echo it works)
[ "$said" = "it works" ]
echo "wheel: ok"
