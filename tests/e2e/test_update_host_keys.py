"""UpdateHostKeys against a real qshd with several keys: what is learned, and that it holds from then on."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.wire.messages import AuthAccepted, Hello, KeyProofs, ProveKeys
from tests.support.live_server import LiveServer
from tests.support.raw_client import load_key, raw_client
from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {"rsa": ("-b", "2048"), "ecdsa": ("-b", "256")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("qshd")
    for kind, bits in KINDS.items():
        argv = ["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-f", str(home / kind)]
        subprocess.run(argv, check=True)
    server = LiveServer(home, "\n".join(f"HostKey {home}/{kind}" for kind in KINDS))
    yield server
    server.stop()


@pytest.fixture
def known(server: LiveServer, tmp_path: Path) -> Path:
    file = tmp_path / "known_hosts"
    file.write_text(f"[127.0.0.1]:{server.port} {server.host_key.line()}\n")
    return file


def options(known: Path, update: str, *more: str) -> tuple[str, ...]:
    return (f"-oUserKnownHostsFile={known}", f"-oUpdateHostKeys={update}", *more)


def blobs(file: Path) -> set[str]:
    return {line.split()[2] for line in file.read_text().splitlines()}


def all_blobs(server: LiveServer) -> set[str]:
    names = ("host_key", *KINDS)
    return {(server.home / f"{name}.pub").read_text().split()[1] for name in names}


def test_the_other_keys_are_learned(server: LiveServer, known: Path) -> None:
    first = known.read_text()
    done = server.run("echo on", options=options(known, "yes", "-v"))
    assert (done.stdout, done.returncode) == (b"on\n", 0)
    assert done.stderr.count(b"Learned new hostkey: ") == 2
    assert known.read_text().startswith(first)
    assert blobs(known) == all_blobs(server)
    after = known.read_text()
    assert b"Learned" not in server.run("true", options=options(known, "yes", "-v")).stderr
    assert known.read_text() == after
    assert f"[127.0.0.1]:{server.port} ssh-rsa " in after


def test_a_learned_key_stands_for_the_host(server: LiveServer, known: Path) -> None:
    server.run("true", options=options(known, "yes"))
    lines = [line for line in known.read_text().splitlines() if " ssh-rsa " in line]
    known.write_text("".join(f"{line}\n" for line in lines))
    done = server.run("echo on", options=options(known, "no"))
    assert (done.stdout, done.stderr) == (b"on\n", b"")


@pytest.mark.parametrize("more", [(), ("-oHostKeyAlias=other",)])
def test_nothing_is_learned_without_it(
    server: LiveServer, known: Path, more: tuple[str, ...]
) -> None:
    before = known.read_text()
    alias = f"other {server.host_key.line()}\n" if more else ""
    known.write_text(alias + before)
    server.run("true", options=options(known, "no", *more))
    assert known.read_text() == alias + before


def test_under_the_alias(server: LiveServer, known: Path) -> None:
    known.write_text(f"other {server.host_key.line()}\n")
    server.run("true", options=options(known, "yes", "-oHostKeyAlias=other"))
    assert {line.split()[0] for line in known.read_text().splitlines()} == {"other"}
    assert blobs(known) == all_blobs(server)


@pytest.mark.parametrize(("answer", "learned"), [(b"yes\r", True), (b"no\r", False)])
def test_the_user_is_asked(server: LiveServer, known: Path, answer: bytes, learned: bool) -> None:
    before = blobs(known)
    argv = server.command(options=options(known, "ask", "-t"))
    with OnTerminal(argv, {**server.env, "PS1": "$ "}) as terminal:
        terminal.expect(b"Learned new hostkey: RSA SHA256:")
        terminal.expect(b"Accept updated hostkeys? (yes/no): ")
        terminal.type(answer)
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
    assert blobs(known) == (all_blobs(server) if learned else before)


def test_once_for_each_connection(server: LiveServer) -> None:
    async def run() -> None:
        async with raw_client(server.port, server.host_key) as client:
            await client.say(client.auth(server.user, load_key(server.home / "id")))
            while not isinstance(message := await client.hear(), AuthAccepted):
                assert isinstance(message, Hello)
            await client.say(ProveKeys())
            answer = await asyncio.wait_for(client.hear(), 10)
            assert isinstance(answer, KeyProofs)
            assert len(answer.signatures) == 2
            await client.say(ProveKeys())
            closed = await asyncio.wait_for(client.closed(), 10)
            assert (closed[1], closed[2].partition(":")[0]) == (2, "out-of-state")

    asyncio.run(run())
    assert server.run("echo on").stdout == b"on\n", "the front is still there"
    assert not [line for line in server.log if "broke the rules" in line]


def test_not_before_the_login(server: LiveServer) -> None:
    async def run() -> None:
        async with raw_client(server.port, server.host_key) as client:
            await client.say(ProveKeys())
            closed = await asyncio.wait_for(client.closed(), 10)
            assert (closed[1], closed[2].partition(":")[0]) == (2, "out-of-state")

    asyncio.run(run())
