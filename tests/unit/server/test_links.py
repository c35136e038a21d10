"""The front's links: what is left when somebody goes away."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from qsh.errors import ChannelError
from qsh.server.links import HostLink, MonitorLink
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import ChannelFailed, Connect, Connected, HangUp, HostRequest, Login
from qsh.wire.messages import Target


def test_a_client_that_leaves_ends_the_wait_for_its_verdict() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link = MonitorLink(ours, lambda: None)
        request = Login(bytes(46), "anna", ("::1", 1), ("::1", 2))
        waiting = asyncio.create_task(link.login(request))
        await asyncio.sleep(0)
        link.abandon(bytes(46))
        link.abandon(bytes(45) + b"x")
        with pytest.raises(ChannelError, match="the client is gone"):
            await waiting
        link.close()
        theirs.close()

    asyncio.run(run())


def test_a_hang_up_leaves_nothing() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link = HostLink(ours.detach())
        link._exits[4] = asyncio.get_running_loop().create_future()
        link.hang_up(4)
        assert not link._exits
        link.close()
        link.hang_up(4)
        theirs.close()

    asyncio.run(run())


def test_a_forward_gets_its_socket_or_the_reason() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link, host = HostLink(ours.detach()), PacketSocket(theirs, HostRequest)
        got = asyncio.create_task(link.connect(Connect(4, Target("a", 1))))
        failed = asyncio.create_task(link.connect(Connect(8, Target("b", 1))))
        empty = asyncio.create_task(link.connect(Connect(12, Target("c", 1))))
        wrong = asyncio.create_task(link.connect(Connect(16, Target("d", 1))))
        await asyncio.sleep(0)
        near, far = socket.socketpair()
        read, write = os.pipe()
        host.send(Connected(4), [near.detach()])
        host.send(Connected(16), [read])  # it would block, and all connections with it
        host.send(ChannelFailed(8, "connect-failed", "Connection refused", "ECONNREFUSED"))
        host.send(Connected(12))
        os.close(await got)
        with pytest.raises(ChannelError, match="Connection refused") as error:
            await failed
        assert (error.value.code, error.value.detail) == ("connect-failed", "ECONNREFUSED")
        with pytest.raises(ChannelError, match="out of descriptors"):
            await empty
        with pytest.raises(ChannelError, match="out of descriptors"):
            await wrong
        with pytest.raises(BrokenPipeError):
            far.send(b"x")
        with pytest.raises(BrokenPipeError):
            os.write(write, b"x")
        far.close()
        os.close(write)
        link.close()
        host.close()

    asyncio.run(run())


def test_a_forward_that_nobody_waits_for_is_ended() -> None:
    async def run() -> None:
        ours, theirs = packet_pair()
        link, host = HostLink(ours.detach()), PacketSocket(theirs, HostRequest)
        given_up = asyncio.create_task(link.connect(Connect(4, Target("a", 1))))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        received = [host.receive(), host.receive()]
        assert [message and message[0] for message in received] == [
            Connect(4, Target("a", 1)),
            HangUp(4),
        ]
        read, write = os.pipe()
        host.send(Connected(4), [read])  # it was under way
        lost = asyncio.create_task(link.connect(Connect(8, Target("a", 1))))
        await asyncio.sleep(0)
        host.close()
        with pytest.raises(ChannelError, match="session host is gone"):
            await lost
        with pytest.raises(BrokenPipeError):
            os.write(write, b"x")
        os.close(write)
        link.close()

    asyncio.run(run())
