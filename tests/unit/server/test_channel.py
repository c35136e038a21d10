"""One channel in the front, with the client's stream and the session host played by the test."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from qsh.errors import ChannelError, StreamReset
from qsh.server.channel import ServerChannel
from qsh.server.requests import Exited, Resize
from qsh.wire.messages import WindowChange


class Host:
    """Its program has ended at once, or is gone with it."""

    def __init__(self, end: Exited | Exception | None) -> None:
        self.end = end
        self.sent: list[object] = []
        self.hung_up: list[int] = []

    async def exited(self, channel: int) -> Exited:
        if isinstance(self.end, Exception):
            raise self.end
        await asyncio.sleep(0.05)
        return self.end or Exited(channel, status=0)

    def send(self, message: object) -> None:
        self.sent.append(message)

    def hang_up(self, channel: int) -> None:
        self.hung_up.append(channel)


class Half:
    """Both halves of a stream."""

    id, total = 4, 0

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error

    async def splice(self, descriptor: int) -> int:
        os.close(descriptor)
        return 0

    splice_to = splice_from = splice

    def stop(self, code: int) -> None: ...

    def finish(self) -> None: ...


def channel(host: Host, half: Half) -> ServerChannel:
    stream: Any = SimpleNamespace(send=half, recv=half)
    return ServerChannel(SimpleNamespace(), stream, host, asyncio.Semaphore())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("end", "half"),
    [(ChannelError("gone", code="session-lost"), Half()), (None, Half(StreamReset(1)))],
    ids=["host gone at once", "client gave up"],
)
def test_descriptors_are_closed_whatever_happens(end: Exception | None, half: Half) -> None:
    async def run() -> None:
        host, before = Host(end), os.listdir("/proc/self/fd")
        with pytest.raises((ChannelError, StreamReset)):
            await channel(host, half)._spliced([], list(os.pipe()))
        await asyncio.sleep(0)
        assert os.listdir("/proc/self/fd") == before
        assert host.hung_up == [4]

    asyncio.run(run())


def test_the_latest_window_change_before_the_program_runs_is_applied() -> None:
    async def run() -> None:
        host = Host(None)
        made = channel(host, Half())
        for rows in (30, 40):
            await made.resize(WindowChange(4, rows, 80))
        assert host.sent == []
        await made._spliced([], list(os.pipe()))
        assert host.sent == [Resize(4, 40, 80)]

    asyncio.run(run())
