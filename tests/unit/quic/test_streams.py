"""Streams, datagrams, limits and the end of connections."""

from __future__ import annotations

import asyncio
import socket

import pytest

from qsh.channels.frames import read_frame
from qsh.errors import ConnectionLost, StreamReset, TransportError
from qsh.quic import Connection, client_socket
from qsh.wire import framing
from qsh.wire.channel import OpenReader
from qsh.wire.messages import Open

from .engine import Pair, engine_pair, write_until_error


def test_half_close_both_ways() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            await ours.send.write(b"question")
            ours.send.finish()
            theirs = await server.accept_bi()
            assert await theirs.recv.read() == b"question"
            assert await theirs.recv.read() == b""
            await theirs.send.write(b"answer")
            theirs.send.finish()
            assert await ours.recv.read() == b"answer"
            assert await ours.recv.read() == b""
            await ours.send.acknowledged()
            assert (ours.send.total, ours.recv.total) == (8, 6)
            assert ours.id == theirs.id
            with pytest.raises(TransportError) as caught:
                await ours.send.write(b"more")
            assert caught.value.kind == "stream-closed"

    asyncio.run(main())


def test_what_was_read_too_much_is_there_for_who_comes_next() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            await ours.send.write(b"abcdef")
            ours.send.finish()
            theirs = (await server.accept_bi()).recv
            assert await theirs.read(4) == b"abcd"
            theirs.unread(b"cd")
            assert theirs.total == 2
            assert await theirs.read(1) == b"c"
            assert await theirs.read(1) == b"d"
            theirs.unread(b"d")
            left, right = socket.socketpair()
            with left:
                assert await theirs.splice_to(right.detach()) == 3
                assert left.recv(10) == b"def"
            assert theirs.total == 6

    asyncio.run(main())


def test_a_frame_and_what_is_behind_it_come_with_one_read() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            frame = framing.encode(Open("exec", command=b"true"))
            await ours.send.write(frame + b"input")
            theirs = (await server.accept_bi()).recv
            message, size = await read_frame(theirs, OpenReader())
            assert (message.command, size, theirs.total) == (b"true", len(frame), len(frame))
            assert await theirs.read() == b"input"
            pending = asyncio.ensure_future(theirs.read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="under way"):
                theirs.unread(b"x")
            ours.send.finish()
            assert await pending == b""

    asyncio.run(main())


def test_reset_and_stop_carry_their_codes() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            await ours.send.write(b"x")
            theirs = await server.accept_bi()
            assert await theirs.recv.read() == b"x"
            ours.send.reset(7)
            with pytest.raises(StreamReset) as reset:
                await theirs.recv.read()
            assert (reset.value.kind, reset.value.code) == ("reset", 7)
            ours.recv.stop(9)
            with pytest.raises(StreamReset) as stopped:
                await write_until_error(theirs.send)
            assert (stopped.value.kind, stopped.value.code) == ("stopped", 9)

    asyncio.run(main())


def test_reset_interrupts_a_blocked_write() -> None:
    async def main() -> None:
        async with engine_pair(stream_window=65536) as pair:
            client, _server = await pair.connect()
            stream = await client.open_uni()
            writing = asyncio.create_task(stream.write(bytes(64 << 20)))
            await asyncio.sleep(0.05)
            assert not writing.done()
            stream.reset(1)
            with pytest.raises(TransportError) as caught:
                await writing
            assert caught.value.kind == "stream-closed"

    asyncio.run(main())


def test_writes_and_finish_keep_their_order() -> None:
    async def main() -> None:
        async with engine_pair(stream_window=4096) as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            blocks = [bytes([n]) * 3000 for n in range(100)]
            writing = asyncio.gather(*(stream.write(block) for block in blocks))
            await asyncio.sleep(0)
            stream.finish()
            received = await server.accept_uni()
            data = b""
            while part := await received.read():
                data += part
            assert data == b"".join(blocks)
            await writing

    asyncio.run(main())


def test_a_dropped_stream_does_not_look_complete() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await client.open_uni()
            await stream.write(b"half a")
            received = await server.accept_uni()
            assert await received.read() == b"half a"
            del stream
            with pytest.raises(StreamReset):
                await received.read()

    asyncio.run(main())


def test_a_cancelled_read_or_accept_loses_nothing() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.accept_bi(), 0.01)
            stream = await client.open_bi()
            await stream.send.write(b"0123456789")
            theirs = await server.accept_bi()
            assert await theirs.recv.read(4) == b"0123"
            assert await theirs.recv.read(100) == b"456789"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(theirs.recv.read(100), 0.01)
            await stream.send.write(b"abcdef")
            await asyncio.sleep(0.02)
            assert await theirs.recv.read(2) == b"ab"
            assert await theirs.recv.read() == b"cdef"

    asyncio.run(main())


def test_datagrams() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            assert client.max_datagram_size is not None
            client.send_datagram(b"ping")
            assert await server.read_datagram() == b"ping"
            server.send_datagram(b"")
            assert await client.read_datagram() == b""
            with pytest.raises(ValueError, match="large"):
                client.send_datagram(bytes(70000))

    asyncio.run(main())


def test_limits_are_lifted() -> None:
    async def main() -> None:
        async with engine_pair(bidi_streams=1, uni_streams=1) as pair:
            client, server = await pair.connect()
            first = await client.open_bi()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.open_bi(), 0.05)
            server.set_limits(bidi_streams=10, uni_streams=10, connection_window=1 << 25)
            second = await asyncio.wait_for(client.open_bi(), 2)
            assert second.id != first.id

    asyncio.run(main())


def test_close_codes_reach_the_peer() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            stream = await server.open_bi()
            waiting = asyncio.create_task(stream.recv.read())
            await asyncio.sleep(0)
            client.close(42, b"bye")
            await client.flushed()
            assert await server.closed() == ("closed-by-peer", 42, "bye")
            assert (await client.closed()).kind == "closed-locally"
            with pytest.raises(ConnectionLost) as caught:
                await waiting
            assert (caught.value.kind, caught.value.code) == ("closed-by-peer", 42)
            with pytest.raises(ConnectionLost):
                await server.open_bi()
            with pytest.raises(ConnectionLost):
                await server.read_datagram()

    asyncio.run(main())


def test_an_endpoint_closes_all_and_ends_accept() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, _server = await pair.connect()
            accepting = asyncio.create_task(pair.server_end.accept())
            await asyncio.sleep(0.01)
            pair.server_end.close(5, b"shutting down")
            assert await accepting is None
            assert await client.closed() == ("closed-by-peer", 5, "shutting down")
            await asyncio.wait_for(pair.server_end.wait_idle(), 3)
            assert pair.server_end.open_connections == 0

    asyncio.run(main())


def test_silence_ends_a_connection() -> None:
    async def main() -> None:
        async with engine_pair(idle_s=0.2) as pair:
            client, server = await pair.connect()
            assert (await client.closed()).kind == "timeout"
            assert (await server.closed()).kind == "timeout"

    asyncio.run(main())


def test_keep_alive_outlasts_silence() -> None:
    async def main() -> None:
        async with engine_pair(idle_s=0.4, keep_alive_s=0.1) as pair:
            client, server = await pair.connect()
            await asyncio.sleep(1.0)
            await exchange(client, server)

    asyncio.run(main())


async def exchange(client: Connection, server: Connection) -> None:
    stream = await client.open_uni()
    await stream.write(b"hello")
    assert await (await server.accept_uni()).read() == b"hello"


def test_the_urgent_goes_before_the_bulky() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            bulk, late = await client.open_uni(), await client.open_uni()
            late.set_priority(-1)
            size = 900_000  # many congestion windows; taking turns, the other stream would be among the first packets
            await asyncio.gather(bulk.write(bytes(size)), late.write(b"x"))
            await server.accept_uni()
            assert await (await server.accept_uni()).read() == b"x"
            assert server.stats()["received_bytes"] > size

    asyncio.run(main())


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("::1", 0))
    except OSError:
        return False
    return True


async def check_addresses(pair: Pair, host: str) -> None:
    client, server = await pair.connect()
    await exchange(client, server)
    assert client.remote_address == (host, pair.port)
    assert server.remote_address[0] == host
    assert server.local_ip == host
    assert client.local_ip in (host, None)


@pytest.mark.parametrize(
    ("host", "bind"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", None),
        ("::1", "::1"),
        ("::1", None),
    ],
)
def test_addresses_of_both_families(host: str, bind: str | None) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6")

    async def main() -> None:
        async with engine_pair(host=host, bind=bind) as pair:
            await check_addresses(pair, host)

    asyncio.run(main())


def test_rebind_migrates() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            before, movements = server.remote_address, server.movements
            with client_socket("127.0.0.1") as udp:
                pair.client_end.rebind(udp)
            stream = await client.open_bi()
            await stream.send.write(b"from elsewhere")
            theirs = await server.accept_bi()
            assert await theirs.recv.read() == b"from elsewhere"
            assert server.remote_address != before
            assert server.movements > movements
            await theirs.send.write(b"seen")
            assert await stream.recv.read() == b"seen"
            stats = client.stats()
            assert stats["path_challenges"] >= 1, "that is how a client hears of a NAT that forgot"
            assert 0 < stats["shortest_rtt_us"] < 2 * stats["rtt_us"]

    asyncio.run(main())


def test_statistics() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, _server = await pair.connect()
            stats = client.stats()
            assert stats["sent_packets"] > 0
            assert stats["mtu"] >= 1200
            assert set(stats) == {
                "rtt_us",
                "shortest_rtt_us",
                "delivered_bytes",
                "in_flight",
                "waits",
                "path_challenges",
                "cwnd",
                "mtu",
                "mtu_limit",
                "lost_packets",
                "sent_packets",
                "sent_bytes",
                "received_packets",
                "received_bytes",
                "congestion_events",
                "black_holes",
            }

    asyncio.run(main())


def test_a_full_congestion_window_does_not_hold_the_close_back() -> None:
    async def main() -> None:
        for whole_endpoint in (False, True):
            async with engine_pair() as pair:
                client, server = await pair.connect()
                stream = await client.open_uni()
                writing = asyncio.create_task(stream.write(bytes(256 << 20)))
                await asyncio.sleep(0.02)
                assert not writing.done()
                if whole_endpoint:
                    pair.client_end.close(43, b"busy")
                else:
                    client.close(43, b"busy")
                assert await asyncio.wait_for(server.closed(), 2) == ("closed-by-peer", 43, "busy")
                with pytest.raises(ConnectionLost):
                    await writing

    asyncio.run(main())


def test_a_write_that_nobody_waits_for() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            ours = await client.open_bi()
            for part in (b"one ", b"two ", b"three"):
                ours.send.put(part)
            ours.send.finish()
            theirs = await server.accept_bi()
            read = b""
            while data := await theirs.recv.read():
                read += data
            assert read == b"one two three"
            ours.send.put(b"after the end: nobody is told")
            client.driver.close()
            with pytest.raises(TransportError):
                ours.send.put(b"x")

    asyncio.run(main())


def test_datagrams_are_handed_over_one_by_one() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, server = await pair.connect()
            found: list[bytes] = []
            failures: list[object] = []
            asyncio.get_running_loop().set_exception_handler(
                lambda _loop, context: failures.append(context["exception"])
            )
            done = asyncio.Event()

            def take(data: bytes) -> None:
                found.append(data)
                if data == b"2":
                    raise ValueError("a taker's own failure")
                if data == b"4":
                    done.set()

            client.each_datagram(take)
            for number in range(5):
                server.send_datagram(b"%d" % number)
                await asyncio.sleep(0)
            await asyncio.wait_for(done.wait(), 10)
            assert found == [b"0", b"1", b"2", b"3", b"4"]
            assert [str(failure) for failure in failures] == ["a taker's own failure"]
            server.close(0, b"")
            await client.closed()

    asyncio.run(main())
