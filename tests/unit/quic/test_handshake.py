"""Identity: keys, schemes, session ids, the first flight, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from qsh.errors import ConnectError, ConnectionLost, HostKeyError
from qsh.quic import Driver, Signer, client_endpoint, client_socket, server_endpoint, server_socket

from .engine import ED25519, P256, P384, P521, PSS256, PSS512, engine_pair, spki
from .wire import X25519MLKEM768, relay_to, server_share

if TYPE_CHECKING:
    from pathlib import Path

KEYS: dict[str, tuple[Any, int]] = {
    "ed25519": (ed25519.Ed25519PrivateKey.generate(), ED25519),
    "p256": (ec.generate_private_key(ec.SECP256R1()), P256),
    "p384": (ec.generate_private_key(ec.SECP384R1()), P384),
    "p521": (ec.generate_private_key(ec.SECP521R1()), P521),
    "rsa": (rsa.generate_private_key(65537, 2048), PSS512),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_host_key(name: str) -> None:
    key, scheme = KEYS[name]

    async def main() -> None:
        async with engine_pair(key) as pair:
            client, server = await pair.connect()
            assert client.session_id == server.session_id
            assert client.session_id.startswith(b"qsh/1 session\0")
            assert len(client.session_id) == 46
            assert client.peer_key == server.peer_key == spki(key)
            assert client.peer_key_trusted
            assert server.host_signature == b"ssh signature"
            assert client.host_signature == b""
            assert pair.signing.schemes == [scheme]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([PSS256, ED25519], ("rsa", PSS256)),
        ([P384, PSS512], ("p384", P384)),
        ([ED25519, PSS512], ("ed25519", ED25519)),
    ],
)
def test_the_clients_order_of_schemes_picks_the_key(
    offered: list[int], chosen: tuple[str, int]
) -> None:
    async def main() -> None:
        async with engine_pair(*(key for key, _ in KEYS.values())) as pair:
            client, _server = await pair.connect(schemes=offered)
            assert client.peer_key == spki(KEYS[chosen[0]][0])
            assert pair.signing.schemes == [chosen[1]]

    asyncio.run(main())


def test_keys_are_agreed_on_post_quantum() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            async with relay_to(("127.0.0.1", pair.port)) as relay:
                _ends = await asyncio.gather(pair.dial(port=relay.port), pair.answer())
                assert server_share(relay) == (X25519MLKEM768, 1088 + 32)

    asyncio.run(main())


def test_no_common_scheme_is_a_handshake_error() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            answer = asyncio.create_task(pair.answer())
            with pytest.raises(ConnectError) as caught:
                await pair.dial(schemes=[P256])
            assert caught.value.kind == "handshake"
            with pytest.raises(ConnectError):
                await answer

    asyncio.run(main())


def test_an_unknown_key_finishes_the_handshake_untrusted() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            client, _server = await pair.connect(trusted=[])
            assert not client.peer_key_trusted
            assert client.peer_key == spki(pair.signing.keys[0])

    asyncio.run(main())


def test_a_revoked_key_fails_the_handshake_even_if_trusted() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            answer = asyncio.create_task(pair.answer())
            with pytest.raises(HostKeyError):
                await pair.dial(revoked=[spki(pair.signing.keys[0])])
            server = await answer
            closed = await server.closed()
            assert closed.kind == "handshake"

    asyncio.run(main())


def test_a_wrong_signature_fails_the_handshake() -> None:
    async def main() -> None:
        bad = b"\0\x40" + bytes(64) + b"\0\x01x"
        async with engine_pair(answer=bad) as pair:
            answer = asyncio.create_task(pair.answer())
            with pytest.raises(ConnectError) as caught:
                await pair.dial()
            assert caught.value.kind == "handshake"
            await (await answer).closed()

    asyncio.run(main())


@pytest.mark.parametrize("bad", [b"", b"\0\0\0\0", b"\0\x40", b"\xff" * 9])
def test_a_refusing_or_babbling_signer_fails_the_handshake(bad: bytes) -> None:
    async def main() -> None:
        async with engine_pair(answer=bad) as pair:
            answer = asyncio.create_task(pair.answer())
            with pytest.raises(ConnectError):
                await pair.dial()
            with pytest.raises(ConnectError):
                await answer

    asyncio.run(main())


def test_a_late_signature_costs_one_handshake_only() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        async with engine_pair() as pair:
            signer = Signer([spki(pair.signing.keys[0])], theirs.fileno(), 100)
            for _ in range(2):
                dial = asyncio.create_task(pair.dial())
                incoming = await pair.server_end.accept()
                assert incoming is not None
                with pytest.raises(ConnectError):
                    await incoming.accept(signer)
                with pytest.raises(ConnectError):
                    await dial
            late = [ours.recv(4096) for _ in range(2)]
            assert len({packet[:4] for packet in late}) == 2
            for packet in late:
                ours.send(packet[:4] + b"\0\1x\0\1y")
            answering = threading.Thread(target=pair.signing.answer_one, args=(ours,))
            answering.start()
            dial = asyncio.create_task(pair.dial())
            incoming = await pair.server_end.accept()
            assert incoming is not None
            _server = await incoming.accept(signer)
            await dial
            answering.join()
        ours.close()
        theirs.close()

    asyncio.run(main())


def test_a_stream_written_in_the_first_flight_arrives() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            dial = asyncio.create_task(pair.dial())
            server = await pair.answer()
            stream = await server.open_uni()
            await stream.write(b"hostauth")
            stream.finish()
            received = await (await dial).accept_uni()
            assert await received.read() == b"hostauth"
            assert await received.read() == b""

    asyncio.run(main())


def test_retry_proves_the_address() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            dial = asyncio.create_task(pair.dial())
            first = await pair.server_end.accept()
            assert first is not None
            assert not first.address_validated
            assert first.retry()
            second = await pair.server_end.accept()
            assert second is not None
            assert second.address_validated
            assert not second.retry()
            _server = await second.accept(pair.signing.signer())
            assert (await dial).peer_key_trusted

    asyncio.run(main())


def test_who_leaves_has_proven_where_he_was() -> None:
    """By goodbye in the same packets as his Finished, which are told of after the end, or instead of that."""

    async def main() -> None:
        async with engine_pair() as pair:
            for refuses in ([], [spki(pair.signing.keys[0])]):
                answer = asyncio.create_task(pair.answer())
                with contextlib.suppress(HostKeyError):
                    (await pair.dial(revoked=refuses)).close()
                server = await answer
                await server.closed()
                assert server.address_validated

    asyncio.run(main())


def test_who_has_never_answered_has_proven_nothing() -> None:
    async def main() -> None:
        async with engine_pair() as pair, relay_to(("127.0.0.1", pair.port)) as relay:
            relay.server.passes = False
            dial = asyncio.create_task(pair.dial(port=relay.port))
            server = await pair.answer()
            server.close()
            await server.closed()
            assert not server.address_validated
            dial.cancel()

    asyncio.run(main())


def test_a_refused_connection() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            dial = asyncio.create_task(pair.dial())
            incoming = await pair.server_end.accept()
            assert incoming is not None
            incoming.refuse()
            with pytest.raises(ConnectError) as caught:
                await dial
            assert caught.value.kind == "refused"
            with pytest.raises(ValueError, match="already answered"):
                incoming.ignore()

    asyncio.run(main())


def test_nobody_answers() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            with pytest.raises(ConnectError) as caught:
                await pair.dial(timeout_s=0.1)
            assert caught.value.kind == "timeout"

    asyncio.run(main())


def test_bad_arguments() -> None:
    async def main() -> None:
        async with engine_pair() as pair:
            with pytest.raises(ValueError, match="not an IP address"):
                await pair.client_end.connect("example.org", 1, server_name="x", schemes=[ED25519])
            with pytest.raises(ValueError, match="schemes"):
                await pair.dial(schemes=[])
            with pytest.raises(OSError, match="Bad file"):
                Signer([spki(pair.signing.keys[0])], 9999)
            with pytest.raises(ValueError, match="unknown kind"):
                Signer([b"nonsense"], 0)
            with client_socket("127.0.0.1") as udp, pytest.raises(ValueError, match="32 bytes"):
                client_endpoint(pair.driver, udp, reset_key=b"short")

    asyncio.run(main())


def test_log_files_are_private_and_appended_to(tmp_path: Path) -> None:
    async def main() -> None:
        keys, trace = tmp_path / "keys", tmp_path / "trace"
        keys.write_text("# before\n")
        keys.chmod(0o600)
        async with engine_pair() as pair:
            client, _server = await pair.connect(key_log=str(keys), qlog=str(trace))
            client.close()
        lines = keys.read_text().splitlines()
        assert lines[0] == "# before"
        assert any(line.startswith("SERVER_TRAFFIC_SECRET_0 ") for line in lines)
        assert trace.stat().st_size > 0
        assert stat.S_IMODE(trace.stat().st_mode) == 0o600
        fresh = tmp_path / "fresh"
        async with engine_pair() as pair:
            await pair.connect(key_log=str(fresh))
        assert stat.S_IMODE(fresh.stat().st_mode) == 0o600

    old = os.umask(0)
    try:
        asyncio.run(main())
    finally:
        os.umask(old)


def test_a_restarted_server_resets_what_it_does_not_know() -> None:
    async def main() -> None:
        key = bytes(range(32))
        async with engine_pair() as pair:
            with server_socket(0, "127.0.0.1") as udp:
                killed = Driver()
                pair.server_end.close()
                pair.server_end = server_endpoint(killed, udp, reset_key=key)
                client, _server = await pair.connect()
                killed.close()
                pair.server_end = server_endpoint(pair.driver, udp, reset_key=key)
            with contextlib.suppress(ConnectionLost):  # it may come that fast
                await (await client.open_uni()).write(bytes(1000))
            closed = await asyncio.wait_for(client.closed(), 5)
            assert closed.kind == "reset-by-peer"

    asyncio.run(main())
