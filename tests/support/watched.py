"""A qshd whose processes are looked at while peers break rules: the same front, bounded, and others served."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qsh.wire import framing
from qsh.wire.messages import AuthAccepted, Failed, Hello, Open, Opened
from tests.support.live_server import LiveServer
from tests.support.raw_client import RawClient, load_key, raw_client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from qsh.auth.private import PrivateKey
    from qsh.quic import Stream

__all__ = [
    "LIMIT_S",
    "MEMORY",
    "Watched",
    "attempt",
    "login",
    "somebody_else",
    "start",
    "unharmed",
    "until",
]

LIMIT_S = 10.0
OTHERS_S = 3.0
"""Others are served within this time, whatever happens meanwhile: a second on an idle machine, more beside other tests."""
MEMORY = 48 << 20
"""Bytes by which a front may grow through one test: a few connections' windows and the allocator's habits."""


class Watched(LiveServer):
    """A qshd whose processes can be looked at."""

    def tree(self) -> dict[int, str]:
        """Process ids and names of all that descends from it."""
        parents: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    head, _, tail = (entry / "stat").read_text().rpartition(")")
                    state, parent = tail.split()[:2]
                    if state != "Z":
                        parents[int(entry.name)] = int(parent), head.partition("(")[2]
        found = {self.process.pid: "qshd"}
        while more := {
            pid: name
            for pid, (parent, name) in parents.items()
            if parent in found and pid not in found
        }:
            found |= more
        return found

    @property
    def front(self) -> int:
        (pid,) = (pid for pid, name in self.tree().items() if name == "qshd-front")
        return pid

    @property
    def idle(self) -> bool:
        return sorted(self.tree().values())[1:] == [
            "qshd-front",
            "qshd-sign",
            "qshd-spawner",
        ]

    def memory(self) -> int:
        pages = Path(f"/proc/{self.front}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.front, self.process.pid))

    def lines(self, text: str) -> list[str]:
        return [line for line in self.log if text in line]

    def key(self) -> PrivateKey:
        return load_key(self.home / "id")


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that processes outside bring about."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def sane(line: str) -> bool:
    """One process's whole line."""
    text = line.removesuffix("\n")
    return text.startswith("qshd") and text.isprintable() and len(text) < 1200


@contextlib.contextmanager
def unharmed(server: Watched) -> Iterator[None]:
    """What every test must leave as it was."""
    front, memory, descriptors = server.front, server.memory(), server.descriptors()
    before = len(server.log)
    yield
    attempt(server, somebody_else)
    until(lambda: server.idle)
    assert server.front == front, "the front was replaced"
    until(lambda: server.descriptors() <= descriptors)
    assert server.memory() - memory < MEMORY
    log = server.log[before:]
    assert not [line for line in log if "Traceback" in line or "exception" in line]
    assert not [line for line in log if not sane(line)]


def attempt(server: Watched, story: Callable[[Watched, RawClient], Awaitable[None]]) -> None:
    """One connection, for as long as ``story`` goes."""

    async def run() -> None:
        async with asyncio.timeout(LIMIT_S), raw_client(server.port, server.host_key) as client:
            await story(server, client)

    asyncio.run(run())


async def login(server: Watched, client: RawClient) -> None:
    await client.say(client.auth(server.user, server.key()))
    while not isinstance(message := await client.hear(), AuthAccepted):
        assert isinstance(message, Hello)


async def somebody_else(server: Watched, client: RawClient) -> None:
    """A login and a command on a connection of its own."""
    async with asyncio.timeout(OTHERS_S):
        await login(server, client)
        _, answer, rest = await start(client, Open("exec", b"echo alive"))
        assert isinstance(answer, Opened)
        while b"alive\n" not in rest[0]:
            data = await rest[1].recv.read()
            assert data
            rest = rest[0] + data, rest[1]


async def start(
    client: RawClient, request: Open
) -> tuple[Stream, Opened | Failed, tuple[bytes, Stream]]:
    stream = await client.connection.open_bi()
    await stream.send.write(framing.encode(request))
    frames: framing.FrameDecoder[Opened | Failed] = framing.FrameDecoder(Opened | Failed)
    while (answer := frames.next()) is None:
        data = await stream.recv.read()
        assert data, "the stream ended without an answer"
        frames.feed(data)
    return stream, answer, (frames.rest, stream)
