"""The client's end of a channel: answer, account, and what ends it (docs/protocol.md 6)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.channels.session import Account, ClientChannel
from qsh.errors import ChannelError, ConnectionLost, DescriptorError, RemoteProtocolError
from qsh.wire.framing import encode
from qsh.wire.messages import Exit, ExitAck, Failed, Open, Opened, Signal, WindowChange

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class FakeSend:
    """Counts what is written."""

    id = 4

    def __init__(self) -> None:
        self.data = b""

    @property
    def total(self) -> int:
        return len(self.data)

    async def write(self, data: bytes) -> None:
        self.data += data


class FakeRecv:
    """Gives prepared bytes; a splice writes the rest to the descriptor."""

    def __init__(self, data: bytes = b"", error: Exception | None = None) -> None:
        self.data, self.error = data, error

    async def read(self, max_bytes: int = 65536) -> bytes:
        data, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return data

    def unread(self, data: bytes) -> None:
        self.data = data + self.data

    async def splice_to(self, fd: int, *, shared: bool = False) -> int:
        assert shared
        if self.error is not None:
            os.close(fd)
            raise self.error
        size = os.write(fd, self.data)
        os.close(fd)
        return size


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 10))


class Setup:
    """A channel on fake streams, its output going to pipes."""

    def __init__(self, recv: FakeRecv) -> None:
        self.told: list[object] = []
        self.send = FakeSend()
        self.channel = ClientChannel(self.send, recv, self.told.append)  # type: ignore[arg-type]
        self.out, self.out_w = os.pipe()
        self.err, self.err_w = os.pipe()

    async def copy(self) -> Exit:
        return await self.channel.copy_output(self.out_w, self.err_w)

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)


def exit_message(stdout: int = 0, stderr: int = 0, status: int = 0) -> Exit:
    return Exit(4, stdout, stderr, status)


def test_open_answer_output_exit() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(encode(Opened(stderr=True)) + b"hello"))
        await setup.channel.open(encode(Open("exec", b"echo hello")))
        assert setup.channel.input_offset == 0
        await setup.send.write(b"abc")
        assert setup.channel.input_offset == 3
        assert (await setup.channel.answer()).stderr
        setup.channel.stderr_received(FakeRecv(b"oops"))  # type: ignore[arg-type]
        setup.channel.exit_received(exit_message(5, 4, 3))
        assert (await setup.copy()).status == 3
        assert os.read(setup.out, 10) == b"hello"
        assert os.read(setup.err, 10) == b"oops"
        assert setup.told == [ExitAck(4)]
        setup.close()

    run(work())


def test_exit_before_output_waits_for_it() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(encode(Opened(stderr=True)) + b"x"))
        await setup.channel.answer()
        setup.channel.exit_received(exit_message(1, 2))
        copying = asyncio.ensure_future(setup.copy())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not copying.done()
        setup.channel.stderr_received(FakeRecv(b"yz"))  # type: ignore[arg-type]
        assert (await copying).status == 0
        setup.close()

    run(work())


@pytest.mark.parametrize("offset", [0, 4, 6])
def test_missing_or_extra_bytes_are_an_error(offset: int) -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(encode(Opened()) + b"hello"))
        await setup.channel.answer()
        setup.channel.exit_received(exit_message(offset))
        with pytest.raises(ChannelError, match=f"5 of {offset} bytes"):
            await setup.copy()
        assert setup.told == []
        setup.close()

    run(work())


def test_closed_reader_still_gets_the_status() -> None:
    async def work() -> None:
        recv = FakeRecv(encode(Opened()), DescriptorError("EPIPE", kind="fd-closed", code=32))
        setup = Setup(recv)
        await setup.channel.answer()
        setup.channel.exit_received(exit_message(100_000, 0, 7))
        assert (await setup.copy()).status == 7
        setup.close()

    run(work())


def test_full_disk_is_an_error() -> None:
    async def work() -> None:
        recv = FakeRecv(encode(Opened()), DescriptorError("ENOSPC", kind="fd-error", code=28))
        setup = Setup(recv)
        await setup.channel.answer()
        with pytest.raises(DescriptorError):
            await setup.copy()
        setup.close()

    run(work())


def test_connection_lost_before_exit() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(encode(Opened()) + b"hello"))
        await setup.channel.answer()
        asyncio.get_running_loop().call_soon(setup.channel.lost, ConnectionLost("gone"))
        with pytest.raises(ConnectionLost, match="gone"):
            await setup.copy()
        setup.close()

    run(work())


def test_refused() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(encode(Failed("no-pty", "PTY allocation request failed"))))
        with pytest.raises(ChannelError, match="PTY allocation request failed"):
            await setup.channel.answer()
        setup.close()

    run(work())


def test_garbage_answer() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv(b"\0\0\0\3abc"))
        with pytest.raises(RemoteProtocolError):
            await setup.channel.answer()
        setup.close()

    run(work())


def test_window_and_signals_carry_the_channel() -> None:
    async def work() -> None:
        setup = Setup(FakeRecv())
        await setup.channel.open(encode(Open("shell")))
        await setup.send.write(b"ls\r")
        setup.channel.resize(24, 80, 0, 0)
        setup.channel.signal("BRK")
        assert setup.told == [WindowChange(4, 24, 80, 0, 0, 3), Signal(4, "BRK")]
        setup.close()

    run(work())


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_account(out: int, err: int, wanted_out: int, wanted_err: int) -> None:
    """Invariant: an exit status counts exactly when both sums fit."""
    account = Account()
    account.ended("stdout", out)
    account.ended("stderr", err)
    if (out, err) == (wanted_out, wanted_err):
        account.check(exit_message(wanted_out, wanted_err))
    else:
        with pytest.raises(ChannelError):
            account.check(exit_message(wanted_out, wanted_err))
