"""PerSourcePenalties with a real qshd: who misbehaves is refused, others are served, and what proves nothing costs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.auth.private import generate_ed25519
from qsh.errors import ConnectError, HostKeyError
from qsh.quic import Driver, client_endpoint, client_socket
from qsh.wire import framing
from qsh.wire.messages import Auth, AuthRefused, Hello, Offer, Open, Opened
from tests.e2e.test_metrics import fetch, value
from tests.e2e.test_resume_key import kill_front
from tests.e2e.test_server_hostile import first_flights
from tests.support.raw_client import RawClient, raw_client
from tests.support.watched import LIMIT_S, Watched, attempt, login, somebody_else, start, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

BAD = "127.0.0.9"
"""Where the bad ones are."""
NOBODY = "nobody-here"
RULES = (
    "PerSourcePenalties authfail:3600 invaliduser:3600 noauth:3600 grace-exceeded:3600 refuseconnection:3600 "
    "crash:3600 min:3599 max:2h\nLogLevel DEBUG\n"
)
"""One is enough."""


@contextlib.contextmanager
def running(folder: Path, extra: str = "", rules: str = RULES) -> Iterator[Watched]:
    server = Watched(folder, rules + extra)
    try:
        yield server
    finally:
        server.stop()


def bad(server: Watched, story: Callable[[Watched, RawClient], Awaitable[None]]) -> None:
    """One connection from BAD."""

    async def run() -> None:
        async with asyncio.timeout(LIMIT_S):
            async with raw_client(server.port, server.host_key, source=BAD) as client:
                await story(server, client)

    asyncio.run(run())


def refused(server: Watched) -> bool:
    try:
        bad(server, login)
    except ConnectError as error:
        return error.kind == "refused"
    return False


def told(server: Watched) -> list[str]:
    return [line.partition("penalties: ")[2].strip() for line in server.lines("refused for")]


def ended(server: Watched) -> int:
    """Connections from BAD that came to nothing."""
    timeouts = server.lines(f"Timeout before authentication for {BAD}")
    return len(timeouts + server.lines(f"handshake with {BAD} failed"))


async def _nothing(_: Watched, client: RawClient) -> None:
    await client.say()
    await client.hear()


async def _wrong_key(server: Watched, client: RawClient) -> None:
    _, other = generate_ed25519("other")
    await _refusal(client, Auth(server.user, [Offer(other.blob)]))


async def _wrong_user(server: Watched, client: RawClient) -> None:
    await _refusal(client, client.auth(NOBODY, server.key()))


async def _right_key(server: Watched, client: RawClient) -> None:
    await _refusal(client, client.auth(server.user, server.key()))


async def _out_of_state(_: Watched, client: RawClient) -> None:
    await client.control.send.write(framing.encode(Auth("root", [])))
    assert (await client.closed()).code == 2


async def _too_slow(_: Watched, client: RawClient) -> None:
    assert (await client.closed()).text == "grace-exceeded"


async def _refusal(client: RawClient, auth: Auth) -> None:
    await client.say(auth)
    while not isinstance(message := await client.hear(), AuthRefused):
        assert isinstance(message, Hello)


@pytest.mark.parametrize(
    ("manner", "extra", "text"),
    [
        (_nothing, "", "did not try to authenticate"),
        (_wrong_key, "", "failed authentication"),
        (_wrong_user, "", "tried an invalid user"),
        (_out_of_state, "", "did not try to authenticate"),
        (_too_slow, "LoginGraceTime 1\n", "exceeded LoginGraceTime"),
        (_right_key, f"Match Address {BAD}\nRefuseConnection yes\n", "refused by RefuseConnection"),
    ],
)  # fmt: skip
def test_who_misbehaves_is_refused_and_others_are_served(
    tmp_path: Path,
    manner: Callable[[Watched, RawClient], Awaitable[None]],
    extra: str,
    text: str,
) -> None:
    with running(tmp_path, extra) as server:
        bad(server, manner)
        until(lambda: told(server))
        assert refused(server)
        attempt(server, somebody_else)
        assert told(server) == [f"{BAD}/32 {text}: refused for 3600 s"]


@pytest.mark.parametrize("retry", ["", "QshRetryThreshold 0\n"])
@pytest.mark.parametrize("key_is_known", [True, False], ids=["finished", "before"])
def test_who_leaves_at_once_has_not_tried_either(
    tmp_path: Path, key_is_known: bool, retry: str
) -> None:
    """With the Finished, or instead of it."""

    async def leave(server: Watched) -> None:
        async with Driver() as driver:
            with client_socket("127.0.0.1", BAD) as udp:
                endpoint = client_endpoint(driver, udp)
            key = server.host_key.spki()
            with contextlib.suppress(HostKeyError):
                connection = await endpoint.connect(
                    "127.0.0.1",
                    server.port,
                    server_name="localhost",
                    schemes=[0x0807],
                    trusted=[key],
                    revoked=[] if key_is_known else [key],
                )
                connection.close()
                await connection.flushed()

    with running(tmp_path, retry) as server:
        asyncio.run(leave(server))
        until(lambda: told(server))
        assert told(server) == [f"{BAD}/32 did not try to authenticate: refused for 3600 s"]


def test_it_ends_and_what_was_there_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, rules="PerSourcePenalties invaliduser:1.2 min:1\n") as server:

        async def story(server: Watched, before: RawClient) -> None:
            await login(server, before)
            async with raw_client(server.port, server.host_key, source=BAD) as client:
                await _wrong_user(server, client)
            await asyncio.to_thread(until, lambda: told(server))
            with pytest.raises(ConnectError):
                async with raw_client(server.port, server.host_key, source=BAD):
                    pass
            _, answer, _ = await start(before, Open("exec", b"true"))
            assert isinstance(answer, Opened)
            await before.connection.flushed()

        bad(server, story)
        until(lambda: not refused(server))


def test_the_next_front_knows_them(tmp_path: Path) -> None:
    """Whoever can make a front crash is not forgiven by that."""
    with running(tmp_path) as server:
        bad(server, _nothing)
        until(lambda: told(server))
        kill_front(server)
        assert refused(server)
        attempt(server, somebody_else)
        kill_front(server)
        assert refused(server), "the third front has them from the first one, too"


def test_failures_before_a_success_cost_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as server:

        async def story(server: Watched, client: RawClient) -> None:
            await _wrong_key(server, client)
            await login(server, client)

        bad(server, story)
        until(lambda: server.lines("Disconnected from user"))
        assert not refused(server)
        assert not told(server)


def test_what_proves_no_address_costs_nobody(tmp_path: Path) -> None:
    """First flights, as somebody could send them who only pretends to be there."""
    with running(tmp_path, "LoginGraceTime 1\n") as server:
        flights = asyncio.run(first_flights(server, 4))
        with contextlib.ExitStack() as stack:
            for flight in flights:
                udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                udp.bind((BAD, 0))
                udp.connect(("127.0.0.1", server.port))
                for datagram in flight:
                    udp.send(datagram)
            until(lambda: ended(server) > 0)  # of some the second datagram may be missing
        assert not refused(server)
        assert not told(server)


def test_exempt(tmp_path: Path) -> None:
    with running(tmp_path, "PerSourcePenaltyExemptList 127.0.0.8/30\n") as server:
        bad(server, _wrong_user)
        until(lambda: server.lines("invalid user"))
        assert not refused(server)


def test_a_tcp_connection_of_theirs_is_closed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with running(tmp_path, f"QshTcpPort {port}\n") as server:

        def dial() -> bytes:
            with socket.create_connection(
                ("127.0.0.1", port), LIMIT_S, source_address=(BAD, 0)
            ) as sock:
                sock.settimeout(LIMIT_S)
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    sock.sendall(b"qsh/1 packets\r\n\r\n")
                    return sock.recv(100)
                return b""

        assert dial().startswith(b"qsh/1")
        bad(server, _wrong_user)
        until(lambda: told(server))
        assert dial() == b""
        attempt(server, somebody_else)


def test_counted(tmp_path: Path) -> None:
    where = tmp_path / "metrics" / "socket"
    with running(tmp_path, f"QshMetricsSocket {where}\n") as server:
        bad(server, _wrong_user)
        until(lambda: told(server))
        assert refused(server)
        until(lambda: value(fetch(where), 'qshd_attempts_total{decision="penalised"}') >= 1)
        page = fetch(where)
        assert value(page, 'qshd_penalties_total{cause="invaliduser"}') == 1
        assert value(page, "qshd_penalised_sources") == 1


def test_other_rules_after_sighup(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        bad(server, _wrong_user)
        until(lambda: told(server))
        assert refused(server)
        path = server.home / "qshd_config"
        path.write_text(
            path.read_text().replace(RULES, "PerSourcePenaltyExemptList 127.0.0.8/29\n")
        )
        server.process.send_signal(1)
        until(lambda: not refused(server))


def test_a_few_mistakes_cost_nothing(tmp_path: Path) -> None:
    """With the times that hold by default."""
    with running(tmp_path, rules="PerSourcePenalties max-sources4:9\n") as server:
        for _ in range(2):
            bad(server, _wrong_user)
            bad(server, _nothing)
        assert not refused(server)
        assert not told(server)
