"""What a client loads, and when: its start is most of the time that ``qsh host true`` takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

SPARED = {
    "asyncssh",
    "cryptography",
    "dataclasses",
    "hashlib",
    "prompt_toolkit",
    "random",
    "ssl",
    "stringprep",
    "tempfile",
    "typer",
    "typing_extensions",
}
"""None of these is needed to log in with a plain Ed25519 key file and to run a command."""
SCRIPT = Path(sys.executable).with_name("qsh")
"""What users start; ``-m`` would load more than it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def loaded(server: LiveServer) -> list[str]:
    """Modules in the order in which their import ended."""
    return _loaded(server)


def _loaded(server: LiveServer, *options: str) -> list[str]:
    argv = server.command("true", options=options)
    words = argv[argv.index("-m") + 2 :]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, *words],
        env=server.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return [line.rpartition("|")[2].strip() for line in lines]


def test_the_first_packet_leaves_before_the_rest_is_loaded(loaded: list[str]) -> None:
    assert loaded.index("qsh._native") < loaded.index("asyncio.base_events")
    assert loaded.index("qsh._native") < loaded.index("msgspec")


def test_what_is_not_loaded(loaded: list[str]) -> None:
    # msgspec looks for what it would support, without loading it: "ssl" is tried by asyncio
    tops = {name.partition(".")[0] for name in loaded}
    assert not (tops - {"ssl", "typing_extensions"}) & SPARED
    assert not [name for name in loaded if name.startswith("_ssl")]


def test_an_idle_session_is_small(server: LiveServer) -> None:
    client = subprocess.Popen(
        server.command("echo up; exec cat"),
        env=server.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        assert client.stdout.readline() == b"up\n"
        rollup = _rollup(client.pid)
        assert rollup["Pss"] < 30 * 1024, rollup
    finally:
        client.stdin.close()
        client.wait(10)
        client.stdout.close()


def _rollup(pid: int) -> dict[str, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0].rstrip(":"): int(row[1]) for row in rows}


def test_a_client_of_a_shared_connection_loads_little(server: LiveServer, tmp_path: Path) -> None:
    """Its master has the engine and the event loop."""
    shared = ("-oControlMaster=auto", "-oControlPersist=yes", "-S", f"{tmp_path}/cp")
    server.run("true", options=shared)
    try:
        names = set(_loaded(server, *shared))
    finally:
        server.run(options=("-O", "exit", *shared))
    assert "qsh.client.sharing" in names
    assert not names & {"asyncio", "msgspec", "qsh._native", "socket", "typing", *SPARED}
    assert not names & {"collections", "enum", "functools", "importlib", "re", "signal"}
