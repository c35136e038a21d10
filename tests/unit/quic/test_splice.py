"""Splices: every kind of descriptor, both directions, every way to end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import pty
import socket
import subprocess
import tty
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.errors import ConnectionLost, DescriptorError, StreamReset, TransportError

from .engine import engine_pair, write_until_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 64 << 20
DATA = os.urandom(1 << 20) * (SIZE >> 20)
DIGEST = hashlib.sha256(DATA).digest()


def pipe_ends() -> tuple[int, int]:
    return os.pipe()


def socket_ends() -> tuple[int, int]:
    a, b = socket.socketpair()
    return a.detach(), b.detach()


def feed(fd: int) -> None:
    view = memoryview(DATA)
    while view:
        view = view[os.write(fd, view[: 1 << 18]) :]
    os.close(fd)


def digest(fd: int) -> bytes:
    total = hashlib.sha256()
    while data := os.read(fd, 1 << 20):
        total.update(data)
    os.close(fd)
    return total.digest()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("ends", [pipe_ends, socket_ends])
def test_much_data_through_pipes_and_sockets(
    ends: Callable[[], tuple[int, int]], shared: bool
) -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            source, source_far = ends()
            sink_far, sink = ends()
            feeding = asyncio.to_thread(feed, source_far)
            reading = asyncio.to_thread(digest, sink_far)

            async def receive() -> int:
                return await (await server.accept_uni()).splice_to(sink, shared=shared)

            results = await asyncio.gather(
                stream.splice_from(source, shared=shared), receive(), feeding, reading
            )
            assert results == [SIZE, SIZE, None, DIGEST]
            await stream.acknowledged()
            assert stream.total == SIZE

    asyncio.run(main())


def test_much_data_from_file_to_file(tmp_path: Path) -> None:
    async def main() -> None:
        source, sink = tmp_path / "source", tmp_path / "sink"
        source.write_bytes(DATA)
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            out = os.open(sink, os.O_WRONLY | os.O_CREAT)

            async def receive() -> int:
                return await (await server.accept_uni()).splice_to(out)

            counts = await asyncio.gather(
                stream.splice_from(os.open(source, os.O_RDONLY)), receive()
            )
            assert counts == [SIZE, SIZE]
            assert hashlib.sha256(sink.read_bytes()).digest() == DIGEST

    asyncio.run(main())


def test_dev_null_and_an_empty_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            assert await stream.splice_from(os.open(os.devnull, os.O_RDONLY)) == 0
            received = await server.accept_uni()
            assert await received.splice_to(os.open(os.devnull, os.O_WRONLY)) == 0
            with pytest.raises(OSError, match="directory"):
                await (await client.open_uni()).splice_from(os.open(tmp_path, os.O_RDONLY))
            with pytest.raises(OSError, match="Bad file"):
                await (await client.open_uni()).splice_from(9999)

    asyncio.run(main())


def test_a_shared_descriptor_stays_blocking() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            for ends in (pipe_ends, socket_ends):
                read_end, write_end = ends()
                ours = os.dup(read_end)
                stream = await client.open_uni()
                copying = asyncio.create_task(stream.splice_from(ours, shared=True))
                os.write(write_end, b"x")
                assert await (await server.accept_uni()).read() == b"x"
                assert not fcntl.fcntl(read_end, fcntl.F_GETFL) & os.O_NONBLOCK
                os.close(write_end)
                assert await copying == 1
                os.close(read_end)

    asyncio.run(main())


@contextlib.contextmanager
def unopenable(fd: int) -> Iterator[None]:
    """While it lasts, a pipe cannot be opened anew through /proc."""
    os.fchmod(fd, 0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def splice_threads() -> int:
    count = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            count += (task / "comm").read_text() == "qsh-splice\n"
    return count


async def threads_are(count: int) -> None:
    async with asyncio.timeout(2):
        while splice_threads() != count:  # noqa: ASYNC110 - threads tell nobody
            await asyncio.sleep(0.005)


def test_a_shared_pipe_that_cannot_be_opened_anew_gets_a_thread() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            source, source_far = os.pipe()
            sink_far, sink = os.pipe()
            ours = os.dup(source), os.dup(sink)
            call = pair.driver.call
            with unopenable(source):
                sending = call(stream.native.splice_from, source, shared=True)
            await asyncio.to_thread(os.write, source_far, b"early")
            received = await server.accept_uni()
            with unopenable(sink):
                receiving = call(received.native.splice_to, sink, shared=True)
            await threads_are(2)
            for fd in ours:
                assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
                os.close(fd)
            assert await asyncio.to_thread(os.read, sink_far, 5) == b"early"
            results = await asyncio.gather(
                sending,
                receiving,
                asyncio.to_thread(feed, source_far),
                asyncio.to_thread(digest, sink_far),
            )
            assert results == [SIZE + 5, SIZE + 5, None, DIGEST]
            await threads_are(0)

    asyncio.run(main())


def test_a_cancelled_thread_keeps_nothing_back() -> None:
    size = 3 << 20  # more than any pipe holds: the engine enlarges them

    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            await stream.write(b"start")
            received = await server.accept_uni()
            assert await received.read() == b"start"
            far, sink = os.pipe()
            with unopenable(sink):
                receiving = pair.driver.call(received.native.splice_to, sink, shared=True)
            await stream.write(bytes(size))
            stream.finish()
            await asyncio.to_thread(os.read, far, 1)
            received.cancel_splice()
            with pytest.raises(TransportError) as caught:
                await receiving
            assert caught.value.kind == "cancelled"
            await threads_are(0)
            os.set_blocking(far, False)
            found = 1 + len(os.read(far, size))
            while data := await received.read():
                found += len(data)
            assert found == size
            os.close(far)

    asyncio.run(main())


def test_a_shared_terminal_stays_blocking() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            master, slave = pty.openpty()
            tty.setraw(slave)
            stream = await client.open_bi()
            # /dev/ptmx opened anew would be another terminal: the only one that always needs threads.
            for near, far, threads in ((master, slave, 1), (slave, master, 0)):
                sending = asyncio.create_task(
                    stream.send.splice_from(os.dup(near), shared=True, finish=False)
                )
                await threads_are(threads)
                os.write(far, b"keys")
                if near == master:
                    theirs = await server.accept_bi()
                assert await theirs.recv.read() == b"keys"
                stream.send.cancel_splice()
                with pytest.raises(TransportError) as caught:
                    await sending
                assert caught.value.kind == "cancelled"
                assert not fcntl.fcntl(near, fcntl.F_GETFL) & os.O_NONBLOCK
            os.close(master)
            os.close(slave)
            await threads_are(0)

    asyncio.run(main())


def test_much_data_into_dev_null() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            source, far = os.pipe()
            feeding = asyncio.create_task(asyncio.to_thread(feed, far))
            sending = asyncio.create_task(stream.splice_from(source))
            received = await server.accept_uni()
            sink = os.open(os.devnull, os.O_WRONLY)
            assert await received.splice_to(sink) == SIZE
            assert splice_threads() == 0
            assert await sending == SIZE
            await feeding

    asyncio.run(main())


def test_a_pty_ends_with_its_other_side() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            master, slave = pty.openpty()
            tty.setraw(slave)
            stream = await client.open_bi()
            sending = asyncio.create_task(stream.send.splice_from(os.dup(master)))
            os.write(slave, b"output")
            theirs = await server.accept_bi()
            assert await theirs.recv.read() == b"output"
            receiving = asyncio.create_task(stream.recv.splice_to(os.dup(master)))
            await theirs.send.write(b"input")
            assert await asyncio.to_thread(os.read, slave, 100) == b"input"
            theirs.send.finish()
            assert await receiving == 5
            os.close(slave)
            assert await sending == 6
            assert await theirs.recv.read() == b""
            os.close(master)

    asyncio.run(main())


def test_a_slow_reader_holds_the_writer_back() -> None:
    async def main() -> None:
        async with engine_pair(stream_window=1 << 20, connection_window=1 << 20) as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            writing = asyncio.create_task(stream.write(DATA))
            received = await server.accept_uni()
            sink_far, sink = os.pipe()
            copying = asyncio.create_task(received.splice_to(sink))
            await asyncio.sleep(0.2)
            assert received.total <= 4 << 20
            assert stream.total < SIZE
            reading = asyncio.to_thread(digest, sink_far)
            finishing = asyncio.gather(reading, copying)
            await writing
            stream.finish()
            assert (await finishing) == [DIGEST, SIZE]

    asyncio.run(main())


def test_the_peer_stops_while_the_descriptor_is_silent() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            source, far = os.pipe()
            os.write(far, b"x")
            copying = asyncio.create_task(stream.splice_from(source))
            received = await server.accept_uni()
            assert await received.read() == b"x"
            received.stop(11)
            with pytest.raises(StreamReset) as caught:
                await asyncio.wait_for(copying, 2)
            assert (caught.value.kind, caught.value.code) == ("stopped", 11)
            with pytest.raises(BrokenPipeError):
                os.write(far, b"y")
            os.close(far)

    asyncio.run(main())


def test_the_peer_resets() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            await stream.write(b"x")
            far, sink = os.pipe()
            received = await server.accept_uni()
            copying = asyncio.create_task(received.splice_to(sink))
            assert await asyncio.to_thread(os.read, far, 9) == b"x"
            stream.reset(12)
            with pytest.raises(StreamReset) as caught:
                await asyncio.wait_for(copying, 2)
            assert (caught.value.kind, caught.value.code) == ("reset", 12)
            assert os.read(far, 1) == b""
            os.close(far)

    asyncio.run(main())


@pytest.mark.parametrize("shared", [False, True])
def test_the_reader_of_the_descriptor_goes(shared: bool) -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            await stream.write(b"x")
            far, sink = os.pipe()
            received = await server.accept_uni()
            os.close(far)
            with pytest.raises(DescriptorError) as caught:
                await asyncio.wait_for(received.splice_to(sink, shared=shared), 2)
            assert (caught.value.kind, caught.value.code) == ("fd-closed", errno.EPIPE)
            with pytest.raises(StreamReset) as stopped:
                await write_until_error(stream)
            assert (stopped.value.kind, stopped.value.code) == ("stopped", 0)

    asyncio.run(main())


def test_a_full_device_is_another_error() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            await stream.write(b"x")
            received = await server.accept_uni()
            with pytest.raises(DescriptorError) as caught:
                await received.splice_to(os.open("/dev/full", os.O_WRONLY))
            assert (caught.value.kind, caught.value.code) == ("fd-error", errno.ENOSPC)

    asyncio.run(main())


def test_the_connection_is_lost() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await server.open_bi()
            source, far = os.pipe()
            far_sink, sink = os.pipe()
            sending = asyncio.create_task(stream.send.splice_from(source))
            receiving = asyncio.create_task(stream.recv.splice_to(sink))
            await asyncio.sleep(0.02)
            client.close(3, b"gone")
            for splice in (sending, receiving):
                with pytest.raises(ConnectionLost) as caught:
                    await asyncio.wait_for(splice, 2)
                assert (caught.value.kind, caught.value.code) == ("closed-by-peer", 3)
            os.close(far)
            os.close(far_sink)

    asyncio.run(main())


def test_a_cancelled_splice_leaves_the_stream_usable() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            source, far = os.pipe()
            sending = asyncio.create_task(ours.send.splice_from(source))
            os.write(far, b"spliced ")
            theirs = await server.accept_bi()
            assert await theirs.recv.read() == b"spliced "
            ours.send.cancel_splice()
            with pytest.raises(TransportError) as caught:
                await asyncio.wait_for(sending, 2)
            assert caught.value.kind == "cancelled"
            await ours.send.write(b"written")
            assert await theirs.recv.read() == b"written"
            far_sink, sink = os.pipe()
            receiving = asyncio.create_task(ours.recv.splice_to(sink))
            await theirs.send.write(bytes(4 << 20))
            await asyncio.sleep(0.1)
            ours.recv.cancel_splice()
            with pytest.raises(TransportError) as caught:
                await asyncio.wait_for(receiving, 2)
            assert caught.value.kind == "cancelled"
            theirs.send.finish()
            size = len(await asyncio.to_thread(os.read, far_sink, 4 << 20))
            while data := await ours.recv.read():
                size += len(data)
            assert size == 4 << 20
            os.close(far)
            os.close(far_sink)

    asyncio.run(main())


def test_peel_gives_a_program_its_stream() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            await ours.send.write(b"first ")
            theirs = await server.accept_bi()
            fd = theirs.peel()
            with subprocess.Popen(["cat"], stdin=fd, stdout=fd):  # noqa: ASYNC220
                os.close(fd)
                await ours.send.write(b"then")
                ours.send.finish()
                data = b""
                while part := await ours.recv.read():
                    data += part
                assert data == b"first then"

    asyncio.run(main())


def test_peel_carries_much_data_and_half_close() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            plug = socket.socket(fileno=ours.peel())
            sending = asyncio.to_thread(lambda: (plug.sendall(DATA), plug.shutdown(1)))

            async def echo() -> None:
                theirs = await server.accept_bi()
                back = theirs.peel()
                read_end = os.dup(back)
                assert await asyncio.to_thread(digest, read_end) == DIGEST
                os.write(back, b"got it")
                os.close(back)

            await asyncio.gather(sending, echo())
            assert plug.recv(100) == b"got it"
            assert plug.recv(100) == b""
            plug.close()

    asyncio.run(main())
