"""``qsh``'s answers that need no host, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qsh.cli.query import answer
from qsh.config.match import RELEASES

NATIVE = Path(__file__).parents[3] / "native"


def qsh(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qsh.cli.client", "-F", "none", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_version_is_what_match_version_compares() -> None:
    done = qsh("-V")
    assert done.returncode == 0
    for release in RELEASES:
        assert release in done.stderr


@pytest.mark.parametrize("option", [("-o", "Tunnel=yes"), ("-o", "Tunnel=ethernet"), ("-w", "0:0")])
def test_a_tunnel_is_refused(option: tuple[str, str]) -> None:
    done = qsh("-oQshFallback=no", *option, "127.0.0.1", "true")
    assert done.returncode == 255
    assert "not supported" in done.stderr


@pytest.mark.parametrize(
    "option",
    ["AddKeysToAgent=yes", "Compression=yes"],
)
def test_what_has_no_effect_is_one_debug_line(option: str) -> None:
    tail = ("-oQshFallback=no", "-w", "0:0", "127.0.0.1", "true")  # refused before it connects
    line = f"debug1: {option.partition('=')[0]} has no effect in qsh"
    assert qsh("-v", "-o", option, *tail).stderr.splitlines().count(line) == 1
    assert line not in qsh("-o", option, *tail).stderr


def test_kex_and_ciphers_are_those_of_the_engine() -> None:
    """The groups and suites of rustls' default aws-lc-rs provider (its documentation names them)."""
    cargo = (NATIVE / "Cargo.toml").read_text()
    assert "prefer-post-quantum" in cargo
    assert answer("kex").split() == ["X25519MLKEM768", "X25519", "SECP256R1", "SECP384R1"]
    assert set(answer("cipher").split()) == {
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_128_GCM_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
