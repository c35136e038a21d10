"""Coming back with what is somebody else's, or nobody's: the same bytes for all of it (docs/protocol.md 5.8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from qsh._native import ed25519_public, ed25519_sign
from qsh.auth.resume_proof import resume_data
from qsh.wire.messages import Auth, AuthAccepted, Hello, Offer, Resume
from tests.e2e.test_resume_key import PROMPT, shell
from tests.support.raw_client import raw_client
from tests.support.watched import LIMIT_S, Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.raw_client import RawClient

SEED = bytes(range(32))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Watched]:
    server = Watched(tmp_path, "LogLevel VERBOSE\nPerSourcePenalties no\nMaxAuthTries 2")
    yield server
    server.stop()


async def heard(client: RawClient) -> Any:
    while isinstance(message := await client.hear(), Hello):
        pass
    return message


async def record_of(server: Watched) -> bytes:
    """A record as whoever has the key may have one."""
    async with raw_client(server.port, server.host_key) as client:
        auth = client.auth(server.user, server.key())
        await client.say(Auth(auth.user, auth.offers, auth.proof, ed25519_public(SEED)))
        accepted = await heard(client)
        assert isinstance(accepted, AuthAccepted)
        assert accepted.resume
        return accepted.resume


async def answer(server: Watched, record: bytes, **claims: Any) -> bytes:
    """Every byte that comes on the control stream, and how the connection ends."""
    said: dict[str, Any] = {"session": "1", "client": b"c" * 16, "ticket": b"t" * 16} | claims
    user = said.pop("user", server.user)
    broken = said.pop("broken", False)
    async with raw_client(server.port, server.host_key) as client:
        text = resume_data(client.connection.session_id, user, record, **said)
        signature = bytes(64) if broken else ed25519_sign(SEED, text)
        resume = Resume(ed25519_public(SEED), record, signature=signature, **said)
        blob = server.key().public.blob
        found = b""
        for _ in range(2):
            await client.say(Auth(user, [Offer(blob)], resume=resume))
        while data := await client.control.recv.read():
            found += data
        return found + repr(await client.closed()).encode()


def flipped(record: bytes, at: int) -> bytes:
    return record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]


CLAIMS: dict[str, tuple[Callable[[bytes], bytes], dict[str, Any]]] = {
    "somebody else's session": (lambda record: record, {}),
    "a record that was changed": (lambda record: flipped(record, 0), {}),
    "a record whose seal was changed": (lambda record: flipped(record, -1 + len(record)), {}),
    "a record that is too long": (lambda record: record + b"x", {}),
    "another user's record": (lambda record: record, {"user": "no-such-user"}),
    "a signature that is none": (lambda record: record, {"broken": True}),
    "a path for a name": (lambda record: record, {"session": "../1"}),
}


def test_the_answer_is_that_for_an_unknown_session(server: Watched) -> None:
    with shell(server) as terminal:
        terminal.expect(PROMPT)

        async def run() -> dict[str, bytes]:
            async with asyncio.timeout(3 * LIMIT_S):
                record = await record_of(server)
                answers = {"unknown": await answer(server, record, session="99")}
                for name, (change, claims) in CLAIMS.items():
                    answers[name] = await answer(server, change(record), **claims)
                return answers

        answers = asyncio.run(run())
        assert b"auth-failed" in answers["unknown"], "the control: it is refused, in so many words"
        for name, found in answers.items():
            assert found == answers["unknown"], name
        terminal.type(b"echo $((40+2))x\r")
        terminal.expect(b"42x")
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
