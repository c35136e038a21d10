"""A session host that goes on for another connection, after its front has ended."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest

from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import Adopt, ChannelOpened, HostAnswer, OpenChannel
from tests.unit.server.played_host import LIMIT_S, Client, Played, close_clients, end_all, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path, detached_max=60)
    yield played
    close_clients()
    if played.thread.is_alive():
        end_all(played, tmp_path)
    played.close()


def test_a_host_goes_on_for_another_front(host: Played) -> None:
    """Nothing of the connection before is in its way: neither the numbers of channels nor what its programs left."""
    client = host.open(b"read x; echo got $x")
    assert client.attached is not None
    answer, descriptors = host.ask(OpenChannel(8, "exec", b"trap '' HUP; echo begun; cat"))
    assert isinstance(answer, ChannelOpened)
    assert os.read(descriptors[1], 6) == b"begun\n"
    front, theirs = packet_pair()
    PacketSocket(host.monitor, Adopt).send(
        Adopt(("192.0.2.9", 4711), ("192.0.2.1", 22)), [theirs.detach()]
    )
    assert select.select([host.front.sock], [], [], LIMIT_S)[0]
    with pytest.raises(EOFError):
        host.front.receive()
    host.front.close()
    host.front = PacketSocket(front, HostAnswer)
    again = Client()
    host.attach(client.attached.name, again, channel=8, ticket=client.attached.ticket)
    answer, more = host.ask(OpenChannel(12, "exec", b"echo $SSH_CLIENT"))
    assert isinstance(answer, ChannelOpened)
    assert read_all(more[1]) == b"192.0.2.9 4711 22\n"
    again.type(b"it\r")
    again.until(
        lambda: any(b"got it" in each for each in (again.shown, *(f.data for f in again.frames)))
    )
    for descriptor in (*descriptors, more[0], more[2]):
        os.close(descriptor)
