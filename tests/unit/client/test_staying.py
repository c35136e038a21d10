"""A connection that is kept alive: pings leave, and what is learned is kept."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from qsh.client import network, staying
from qsh.client.keep_alive import Learned
from qsh.client.path_history import PathHistory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from qsh.client.link import Link


class Connection:
    remote_address = ("127.0.0.1", 22)

    def __init__(self, lost: asyncio.Future[None]) -> None:
        self.sent = 0
        self.lost = lost

    def stats(self) -> dict[str, int]:
        return {"sent_bytes": self.sent, "received_packets": self.sent, "path_challenges": 0}

    def send_datagram(self, data: bytes) -> None:
        assert data == staying.PING
        self.sent += 1
        if self.sent == 4:
            self.lost.set_result(None)


def test_pings_leave_and_what_is_learned_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    now = 0.0

    async def wait(_waited: set[Any], **limit: float) -> None:
        nonlocal now
        now += limit["timeout"]
        await asyncio.sleep(0)

    monkeypatch.setattr(staying, "boot_s", lambda: now)
    monkeypatch.setattr(staying.asyncio, "wait", wait)

    async def main() -> int:
        lost = asyncio.get_running_loop().create_future()
        connection = Connection(lost)
        link = SimpleNamespace(connection=connection, history=PathHistory(), lost=lost)
        await staying.keep_alive(cast("Link", link))
        return connection.sent

    assert asyncio.run(main()) == 4
    learned = network.load(network.mark(2, "127.0.0.1"))
    assert learned.survived_s > 25.0
    assert learned == Learned(learned.survived_s)
