"""qshd against peers that break every rule (issue 3, "Bad input gets").

Before and after each test: the same front, its memory and descriptors bounded, no login child or session left, and somebody
else is let in within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.errors import ConnectError, TransportError
from qsh.quic import Driver, client_endpoint, client_socket
from qsh.wire import framing
from qsh.wire.messages import (
    Auth,
    AuthAccepted,
    AuthRefused,
    Exit,
    ExitAck,
    Failed,
    Hello,
    Offer,
    Open,
    Opened,
    Proof,
    Pty,
    Signal,
    WindowChange,
)
from tests.support.raw_client import RawClient, raw_client
from tests.support.watched import (
    LIMIT_S,
    Watched,
    attempt,
    login,
    somebody_else,
    start,
    unharmed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from qsh.wire.messages import Message


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    extra = "MaxAuthTries 3\nMaxSessions 4\nMaxStartups 100\nLogLevel VERBOSE\nAcceptEnv *\nQshExecMax 4"
    server = Watched(tmp_path_factory.mktemp("hostile"), extra)
    try:
        attempt(server, somebody_else)
        until(lambda: server.idle)
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(running: Watched) -> Iterator[Watched]:
    with unharmed(running):
        yield running


@pytest.fixture(scope="module")
def shared(running: Watched) -> Iterator[Watched]:
    """For many small attacks: looked at once, after all of them."""
    with unharmed(running):
        yield running


@pytest.fixture(scope="module")
def strict_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    extra = (
        "LoginGraceTime 1\nMaxStartups 4:100:4\nQshRetryThreshold 2\nLogLevel VERBOSE\nQshExecMax 4"
    )
    server = Watched(tmp_path_factory.mktemp("strict"), extra)
    try:
        attempt(server, somebody_else)
        until(lambda: server.idle)
        yield server
    finally:
        server.stop()


@pytest.fixture
def strict(strict_running: Watched) -> Iterator[Watched]:
    with unharmed(strict_running):
        yield strict_running


async def refusal(client: RawClient) -> AuthRefused:
    while not isinstance(message := await client.hear(), AuthRefused):
        assert isinstance(message, Hello), message
    return message


async def exit_of(client: RawClient) -> Exit:
    while not isinstance(message := await client.hear(), Exit):
        pass
    return message


def frame(payload: object) -> bytes:
    body = payload if isinstance(payload, bytes) else msgspec.msgpack.encode(payload)
    return len(body).to_bytes(4, "big") + body


HELLO = frame({"t": "hello", "versions": [1]})


# -- datagrams -----------------------------------------------------------------------------------


def test_garbage_on_udp(server: Watched) -> None:
    source = random.Random(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", server.port))
        for size in (*range(0, 64), 1199, 1200, 1201, 1500, 9000, 65507):
            for head in (
                b"",
                b"\xc0\0\0\0\1",
                b"\xc3\x1a\x2a\x3a\x4a\x14",
                b"\x40",
                b"\xf0\0\0\0\1\xff",
            ):
                with contextlib.suppress(ConnectionRefusedError):
                    udp.send((head + source.randbytes(size))[: max(size, 1) if head else size])
        for _ in range(3000):
            udp.send(b"\xc0\0\0\0\1\x08" + source.randbytes(1300))


async def first_flights(server: Watched, number: int) -> list[list[bytes]]:
    """The datagrams with which as many clients begin."""
    flights = []
    async with Driver() as driver:
        for _ in range(number):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
                sink.bind(("127.0.0.1", 0))
                sink.setblocking(False)
                with client_socket("127.0.0.1") as udp:
                    endpoint = client_endpoint(driver, udp)
                connecting = asyncio.ensure_future(
                    endpoint.connect(
                        *sink.getsockname(),
                        server_name="localhost",
                        schemes=[0x0807],
                        trusted=[server.host_key.spki()],
                        timeout_s=5,
                    )
                )
                loop = asyncio.get_running_loop()
                flight = [await loop.sock_recv(sink, 65536)]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        flight.append(sink.recv(65536))
                flights.append(flight)
                connecting.cancel()
                endpoint.close()
    return flights


def test_half_handshakes_end_with_the_grace_time(strict: Watched) -> None:
    flights = asyncio.run(first_flights(strict, 12))
    with contextlib.ExitStack() as stack:
        for flight in flights:
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.connect(("127.0.0.1", strict.port))
            for datagram in flight:
                udp.send(datagram)
    until(lambda: logged_in(strict))


def logged_in(server: Watched) -> bool:
    try:
        attempt(server, somebody_else)
    except (ConnectError, TimeoutError):
        return False
    return True


def test_mutated_first_packets(server: Watched) -> None:
    flights = asyncio.run(first_flights(server, 4))
    source = random.Random(11)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", server.port))
        for number in range(2000):
            data = bytearray(flights[number % 4][0])
            for _ in range(source.randrange(1, 6)):
                data[source.randrange(len(data) if number % 2 else 60)] ^= 1 << source.randrange(8)
            udp.send(data[: source.choice((len(data), source.randrange(1, len(data))))])


# -- the control stream before authentication ------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\1\0\1", "message-too-large"),
        (b"\xff\xff\xff\xff", "message-too-large"),
        (frame(b""), "bad-message"),
        (frame(b"\xc1"), "bad-message"),
        (frame(b"\x81\xa1t"), "bad-message"),
        (frame(b"\x91" * 60000), "bad-message"),
        (frame(b"\x82\xa1t\xa5hello\xa8versions\xdd\xff\xff\xff\xff"), "bad-message"),
        (frame({"t": "nonsense"}), "unknown-message"),
        (HELLO + frame({"t": "auth-ok"}), "unknown-message"),
        (HELLO + HELLO, "out-of-state"),
        (frame({"t": "auth", "user": "root"}), "out-of-state"),
        (HELLO + framing.encode(WindowChange(4, 1, 1)), "out-of-state"),
        (HELLO + framing.encode(Signal(4, "KILL")), "out-of-state"),
        (HELLO + framing.encode(ExitAck(4)), "out-of-state"),
        (frame({"t": "hello", "versions": []}), "version"),
        (frame({"t": "hello", "versions": [2**30]}), "version"),
        (frame({"t": "hello", "versions": [1], "critical": ["x\n\x1b[2J\u2028\xe9" * 9] * 64}), "critical-feature"),
        (HELLO + frame({"t": "auth", "user": "u" * 257}), "bad-message"),
        (HELLO + frame({"t": "auth", "user": "u", "offers": [[b""]] * 65}), "bad-message"),
        (HELLO + frame({"t": "auth", "user": "u", "offers": [[b"k" * 16385]]}), "bad-message"),
        (HELLO + frame(b"\x82\xa1t\xa4auth\xa4user\xa3\xed\xa0\x80"), "bad-message"),
    ],
)  # fmt: skip
def test_bad_control_messages(shared: Watched, data: bytes, name: str) -> None:
    before = len(shared.lines("Protocol error"))

    async def story(_: Watched, client: RawClient) -> None:
        await client.control.send.write(data)
        closed = await client.closed()
        assert (closed.kind, closed.code) == ("closed-by-peer", 2)
        assert closed.text.startswith(name)

    attempt(shared, story)
    until(lambda: len(shared.lines("Protocol error")) == before + 1)


@pytest.mark.parametrize(
    "name",
    ["", "\0", "root\0x", "../root", "/etc/passwd", "-froot", "u" * 256, "x\nqshd[1]: Accepted publickey for root",
     "\x1b[2J", "\u202egnp", "\N{SNOWMAN}", "root ", "%u", "*", "root,*"],
)  # fmt: skip
def test_odd_user_names(shared: Watched, name: str) -> None:
    before = len(shared.log)

    async def story(server: Watched, client: RawClient) -> None:
        await client.say(client.auth(name, server.key()))
        assert not (await refusal(client)).final

    attempt(shared, story)
    until(lambda: len([line for line in shared.log[before:] if "Failed publickey" in line]) == 1)
    assert not [line for line in shared.log[before:] if line.startswith("qshd[1]")]


ROLES = {"qshd", "qshd-front", "qshd-sign", "qshd-spawner", "qshd-login"}


@pytest.mark.parametrize(
    "name", ["root [priv]", "x" * 250, "\x1b]2;gone\a\r", "qshd-front", "-f\nroot"]
)
def test_ps_shows_nothing_of_a_name(shared: Watched, name: str) -> None:
    """Before the login: neither as a process's name nor among its arguments, which all have of the monitor's."""
    spawner = next(pid for pid, role in shared.tree().items() if role == "qshd-spawner")
    arguments = Path(f"/proc/{spawner}/cmdline").read_bytes()
    seen: set[tuple[str, bytes]] = set()

    def look() -> None:
        for pid in Path(f"/proc/{spawner}/task/{spawner}/children").read_text().split():
            with contextlib.suppress(OSError):
                said = Path(f"/proc/{pid}/cmdline").read_bytes()
                seen.add((Path(f"/proc/{pid}/comm").read_text().strip(), said))

    async def story(server: Watched, client: RawClient) -> None:
        await client.say(client.auth(name, server.key()))
        answer = asyncio.create_task(refusal(client))
        while not answer.done():
            look()
            await asyncio.sleep(0)
        await answer

    while "qshd-login" not in {role for role, _ in seen}:  # it lives for some milliseconds
        attempt(shared, story)
    assert {role for role, _ in seen} <= ROLES
    assert {said for _, said in seen} <= {arguments, b""}


def test_more_attempts_than_permitted(server: Watched) -> None:
    _, other = generate_ed25519("other")

    async def story(_: Watched, client: RawClient) -> None:
        wrong = Auth("root", [Offer(other.blob)])
        await client.say(*[wrong] * 20)
        refusals = []
        for _ in range(3):
            refusals.append((await refusal(client)).final)
            client.wire._state = type(client.wire.state).PENDING
        assert refusals == [False, False, True]
        closed = await client.closed()
        assert (closed.code, closed.text) == (4, "too-many-attempts")

    attempt(server, story)


async def _proofs(server: Watched, client: RawClient, foreign: bytes) -> list[Auth]:
    key = server.key()
    text, _ = generate_ed25519("other")
    other = PrivateKey.load(text.encode(), None, "other")
    good = client.auth(server.user, key)
    stolen = client.auth(server.user, other)
    assert good.proof is not None
    assert stolen.proof is not None
    named = client.auth("daemon", key)
    return [
        client.auth(server.user, key, foreign),
        Auth(server.user, named.offers, named.proof),
        Auth(server.user, good.offers, stolen.proof),
        Auth(server.user, good.offers, Proof(0, "ssh-rsa", good.proof.signature)),
        Auth(server.user, good.offers, Proof(0, good.proof.algorithm, b"")),
        Auth(server.user, good.offers, Proof(0, good.proof.algorithm, good.proof.signature[:-1])),
        Auth(server.user, good.offers, Proof(0, good.proof.algorithm, good.proof.signature + b"\0")),
        Auth(server.user, good.offers, Proof(7, good.proof.algorithm, good.proof.signature)),
        Auth(server.user, [], Proof(0, good.proof.algorithm, good.proof.signature)),
        Auth(server.user, [*stolen.offers, *good.offers], Proof(0, good.proof.algorithm, good.proof.signature)),
    ]  # fmt: skip


def test_proofs_that_prove_nothing(server: Watched) -> None:
    """A signature made for another connection, for another user, by another key, and pieces of a good one."""

    async def story(server: Watched, client: RawClient) -> None:
        async with raw_client(server.port, server.host_key) as victim:
            foreign = victim.connection.session_id
        for number in range(len(await _proofs(server, client, foreign))):
            async with raw_client(server.port, server.host_key) as thief:
                proof = (await _proofs(server, thief, foreign))[number]
                await thief.say(proof)
                await thief.hear()
                answer = await thief.hear()
                assert not isinstance(answer, AuthAccepted), number

    attempt(server, story)


def test_many_large_offers(server: Watched) -> None:
    async def story(server: Watched, client: RawClient) -> None:
        junk = [Offer(os.urandom(1000)) for _ in range(64)]
        await client.say(Auth(server.user, junk[:63]))
        await refusal(client)
        await login(server, client)

    attempt(server, story)


def test_streams_before_authentication(server: Watched) -> None:
    """As many as are allowed, with gaps and without: nothing is started, and the memory for them is bounded."""

    async def story(server: Watched, client: RawClient) -> None:
        streams = [await client.connection.open_bi() for _ in range(7)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.connection.open_bi()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.connection.open_uni()
        writes = [asyncio.ensure_future(stream.send.write(bytes(1 << 20))) for stream in streams]
        for number in range(2000):
            client.connection.send_datagram(number.to_bytes(2, "big") * 500)
        await asyncio.wait(writes, timeout=0.1)
        async with raw_client(server.port, server.host_key) as other:
            await somebody_else(server, other)
        assert server.memory() < 150 << 20
        for write in writes:
            write.cancel()

    attempt(server, story)


# -- too slow ------------------------------------------------------------------------------------


async def _nothing(_: RawClient) -> None:
    pass


async def _hello_only(client: RawClient) -> None:
    await client.say()


async def _byte_by_byte(client: RawClient) -> None:
    with contextlib.suppress(TransportError):
        for byte in HELLO * 1000:
            await client.control.send.write(bytes([byte]))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("manner", [_nothing, _hello_only, _byte_by_byte])
def test_login_grace_time(strict: Watched, manner: Callable[[RawClient], Awaitable[None]]) -> None:
    before = len(strict.lines("Timeout before authentication"))

    async def story(_: Watched, client: RawClient) -> None:
        task = asyncio.ensure_future(manner(client))
        closed = await client.closed()
        assert (closed.code, closed.text) == (3, "grace-exceeded")
        await task

    attempt(strict, story)
    until(lambda: len(strict.lines("Timeout before authentication")) == before + 1)


def test_a_login_at_the_end_of_the_grace_time_does_not_end_the_front(strict: Watched) -> None:
    """The monitor's clock starts before the front's: between the two ends the monitor refuses, no more."""

    async def story(server: Watched, client: RawClient) -> None:
        end = time.monotonic() + 2
        with contextlib.suppress(TransportError, AssertionError):
            while time.monotonic() < end:
                await client.say(client.auth(server.user, server.key(), bytes(46)))
                await client.hear()

    attempt(strict, story)


def test_startups_are_limited(strict: Watched) -> None:
    async def story(server: Watched, _: RawClient) -> None:
        async with contextlib.AsyncExitStack() as stack:
            others = [
                await stack.enter_async_context(raw_client(server.port, server.host_key))
                for _ in range(3)
            ]
            with pytest.raises(ConnectError) as refused:
                await stack.enter_async_context(raw_client(server.port, server.host_key))
            assert refused.value.kind == "refused"
            del others

    attempt(strict, story)
    until(lambda: logged_in(strict))


@contextlib.asynccontextmanager
async def deaf_client(server: Watched, **options: object) -> AsyncIterator[RawClient]:
    async with Driver() as driver:
        with client_socket("127.0.0.1") as udp:
            endpoint = client_endpoint(driver, udp, **options)
        connection = await endpoint.connect(
            "127.0.0.1",
            server.port,
            server_name="localhost",
            schemes=[0x0807],
            trusted=[server.host_key.spki()],
        )
        yield RawClient(connection, await connection.open_bi(), server.host_key)
        connection.close(0, b"")
        await connection.flushed()


@pytest.mark.parametrize(
    "options", [{"stream_window": 1}, {"connection_window": 1}, {"uni_streams": 0}]
)
def test_a_client_that_takes_nothing(strict: Watched, options: dict[str, int]) -> None:
    async def run() -> None:
        async with asyncio.timeout(LIMIT_S), deaf_client(strict, **options) as client:
            await client.say(*[Auth("root", [])] * 20)
            assert (await client.closed()).code in (3, 4)

    asyncio.run(run())


# -- after the login -----------------------------------------------------------------------------


def logged(
    story: Callable[[Watched, RawClient], Awaitable[None]],
) -> Callable[[Watched, RawClient], Awaitable[None]]:
    async def whole(server: Watched, client: RawClient) -> None:
        await login(server, client)
        await story(server, client)

    return whole


def test_more_sessions_than_permitted(server: Watched) -> None:
    async def story(_: Watched, client: RawClient) -> None:
        answers = await asyncio.gather(
            *(start(client, Open("exec", b"exec cat")) for _ in range(12))
        )
        codes = [answer.code for _, answer, _ in answers if isinstance(answer, Failed)]
        assert codes == ["max-sessions"] * 8

    attempt(server, logged(story))


def test_streams_without_an_open(server: Watched) -> None:
    """All that are allowed, each with a piece of the largest OPEN."""

    async def story(server: Watched, client: RawClient) -> None:
        piece = (256 * 1024).to_bytes(4, "big") + bytes(200 * 1024)
        writes = []
        for _ in range(1000):
            stream = await client.connection.open_bi()
            writes.append(asyncio.ensure_future(stream.send.write(piece)))
        await asyncio.wait(writes, timeout=0.5)
        async with raw_client(server.port, server.host_key) as other:
            await somebody_else(server, other)
        assert server.memory() < 150 << 20
        for write in writes:
            write.cancel()

    attempt(server, logged(story))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (frame({"t": "open", "kind": "exec", "command": bytes(200 * 1024)}), "bad-message"),
        (b"\0\4\0\1", "message-too-large"),
        (frame({"t": "opened"}), "unknown-message"),
        (HELLO, "unknown-message"),
        (frame({"t": "open", "kind": "exec", "pty": {"term": "x", "rows": 65536, "cols": 1}}), "bad-message"),
        (frame({"t": "open", "kind": "exec", "pty": {"term": "x", "rows": -1, "cols": 1}}), "bad-message"),
        (frame({"t": "open", "kind": "exec", "env": {str(n): "" for n in range(257)}}), "bad-message"),
        (b"\0\0", "truncated"),
    ],
)  # fmt: skip
def test_bad_channel_requests(shared: Watched, data: bytes, name: str) -> None:
    async def story(_: Watched, client: RawClient) -> None:
        stream = await client.connection.open_bi()
        await stream.send.write(data)
        stream.send.finish()
        closed = await client.closed()
        assert closed.code == 2
        assert closed.text.startswith(name)

    attempt(shared, logged(story))


@pytest.mark.parametrize(
    "message", [Auth("root", []), Hello([1])], ids=lambda message: type(message).__name__
)
def test_no_second_login(shared: Watched, message: Message) -> None:
    async def story(_: Watched, client: RawClient) -> None:
        await client.control.send.write(framing.encode(message))
        closed = await client.closed()
        assert closed.code == 2
        assert closed.text.startswith("out-of-state")

    attempt(shared, logged(story))


def test_unknown_channels_are_nobodys(server: Watched) -> None:
    async def story(_: Watched, client: RawClient) -> None:
        stream, _, _ = await start(client, Open("exec", b"exec cat"))
        for number in (0, 1, 2, 3, 5, 8, 400, 2**62):
            await client.say(WindowChange(number, 1, 1), Signal(number, "KILL"), ExitAck(number))
        await client.say(Signal(stream.id, "NOSUCH"), Signal(stream.id, "STOP"))
        stream.send.finish()
        assert (await exit_of(client)).status == 0

    attempt(server, logged(story))


def test_a_storm_of_window_changes(server: Watched) -> None:
    async def story(server: Watched, client: RawClient) -> None:
        stream, _, _ = await start(
            client,
            Open(
                "exec", b"until stty size | grep '77 99'; do sleep 0.02; done", Pty("xterm", 24, 80)
            ),
        )
        for number in range(200):
            await client.say(
                *(WindowChange(stream.id, n, number, input_offset=2**62) for n in range(1, 200))
            )
        async with raw_client(server.port, server.host_key) as other:
            await somebody_else(server, other)
        await client.say(WindowChange(stream.id, 77, 99))
        output = b""
        while b"77 99" not in output:
            data = await stream.recv.read()
            assert data, output
            output += data

    attempt(server, logged(story))


def test_output_that_nobody_reads(server: Watched) -> None:
    async def story(server: Watched, client: RawClient) -> None:
        for _ in range(3):
            await start(client, Open("exec", b"exec cat /dev/zero"))
        for _ in range(3):
            async with raw_client(server.port, server.host_key) as other:
                await somebody_else(server, other)
        assert server.memory() < 200 << 20

    attempt(server, logged(story))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Open("exec", b"echo a\0b"), 1),
        (Open("exec", b":" * 131072), 1),
        (Open("exec", b":" + b" " * 131070), 0),
        (Open("exec", b"exit 3", Pty("\x1b]0;x\7" * 30, 65535, 65535, 65535, 65535)), 3),
        (Open("exec", b"exit 3", Pty("", 0, 0)), 3),
        (Open("exec", b"exit 3", Pty("x", 1, 1, modes=dict.fromkeys(range(160), 2**32 - 1))), 3),
        (Open("exec", b"exit 3", Pty("x", 1, 1, modes=dict.fromkeys(range(128, 130), 0))), 3),
        (Open("exec", b"exit 3", env={"A\0B": "x", "C=D": "x", "": "x", "E": "\0", "F\n": "x"}), 3),
        (Open("exec", b"exit 3", env={f"V{n}": "\N{SNOWMAN}" * 200 for n in range(256)}), 3),
        (Open("exec", b"kill -9 $$"), "KILL"),
        (Open("exec", b"kill -40 $$"), "40@qsh"),
        (Open("exec", b"\xff\xfe"), 127),
    ],
)
def test_odd_requests(shared: Watched, request_: Open, status: int | str) -> None:
    async def story(server: Watched, client: RawClient) -> None:
        _, answer, _ = await start(client, request_)
        assert isinstance(answer, Opened)
        ended = await exit_of(client)
        assert status in (ended.status, ended.signal)
        _, answer, _ = await start(client, Open("exec", b"true"))
        assert isinstance(answer, Opened), "the session host lives"

    attempt(shared, logged(story))


def test_a_program_whose_client_leaves_at_once(server: Watched) -> None:
    """However early the hang-up comes: before the program leads its process group, or while its descriptors travel."""

    async def story(server: Watched, client: RawClient) -> None:
        stream = await client.connection.open_bi()
        await stream.send.write(framing.encode(Open("exec", b"exec sleep 1000")))

    for _ in range(10):
        attempt(server, logged(story))


# -- the end of qshd -----------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Watched]:
    server = Watched(tmp_path, "LogLevel VERBOSE")
    yield server
    if server.process.returncode is None:
        server.stop()


def test_stopping_qshd_tells_the_clients(mortal: Watched) -> None:
    client = subprocess.Popen(
        mortal.command("echo up; exec sleep 1000"),
        env=mortal.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    until(lambda: "sleep" in mortal.tree().values())
    tree = mortal.tree()
    mortal.process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    _, errors = client.communicate(timeout=LIMIT_S)
    assert time.monotonic() - started < 2
    assert client.returncode == 255
    assert b"server-stopped" in errors or b"closed" in errors, errors
    assert mortal.process.wait(5) == 0
    mortal._close()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tree))


@pytest.mark.parametrize("victim", ["qshd", "qshd-spawner"])
def test_killed_processes_leave_nothing(mortal: Watched, victim: str) -> None:
    client = subprocess.Popen(
        mortal.command("echo up; exec sleep 1000"),
        env=mortal.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    tree = mortal.tree()
    os.kill(next(pid for pid, name in tree.items() if name == victim), signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in tree if pid != mortal.process.pid))
    assert mortal.process.wait(5) == (-9 if victim == "qshd" else 255)
    mortal._close()
    assert client.wait(5) == 255
    client.stdout.close()


def alive(pid: int) -> bool:
    """Whether it runs; a zombie waits only for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- from another address ------------------------------------------------------------------------


@pytest.mark.root
def test_from_is_about_the_address_that_was_proven(server: Watched) -> None:
    """After the handshake a client may move; that it sends from an address does not mean that it receives there."""
    keys = server.home / "authorized_keys"
    text = keys.read_text()
    keys.write_text(f'from="127.0.0.9" {server.user_key.line()}\n')
    try:

        async def story(server: Watched, client: RawClient) -> None:
            with client_socket("127.0.0.9", "127.0.0.9") as udp:
                client.connection.endpoint.rebind(udp)
            await client.say(client.auth(server.user, server.key()))
            await refusal(client)

        attempt(server, story)
    finally:
        keys.write_text(text)


def test_a_user_for_whom_fewer_attempts_are_permitted(tmp_path: Path) -> None:
    """His key would do if it signed, but failures for others were too many for him: the answer is final, and the front stays."""

    async def story(server: Watched, client: RawClient) -> None:
        key = server.key()
        signed = client.auth("nobody-here", key)
        for _ in range(2):
            await client.say(signed)
            assert not (await refusal(client)).final
        me = server.user
        await client.say(Auth(user=me, offers=signed.offers))
        assert (await refusal(client)).final

    (tmp_path / "less").write_text(f"Match User {getpass.getuser()}\nMaxAuthTries 2\n")
    extra = f"Include {tmp_path}/less\nMaxAuthTries 3\nLogLevel VERBOSE"
    server = Watched(tmp_path, extra)
    try:
        attempt(server, story)
        assert not server.lines("broke the rules")
    finally:
        server.stop()
