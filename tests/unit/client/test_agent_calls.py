"""Calls to the agent, from a host that may be anything, and to an agent that may be slow, locked or mad."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from qsh.auth import agent as codec
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.auth.sshwire import Writer
from qsh.client import agent_calls
from qsh.client.agent_calls import AgentCalls
from qsh.client.server_streams import ServerStreams
from qsh.wire.channel import AnswerReader
from qsh.wire.framing import encode
from qsh.wire.messages import Failed, HostAuth, Open, Opened

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

T = TypeVar("T")
SESSION_ID = b"i" * 46
LIST = codec.encode_list()
NO_KEYS = b"\0\0\0\x05\x0c\0\0\0\0"
FAILURE = b"\0\0\0\x01\x05"
SUCCESS = b"\0\0\0\x01\x06"
BIND, ASK = 27, 11


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, 20))


class FakeStream:
    """The host's bytes come from the test; what it is told is kept."""

    def __init__(self, *data: bytes) -> None:
        self.send = self.recv = self
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        for each in data:
            self.incoming.put_nowait(each)
        self.rest, self.written = b"", b""
        self.aborted = self.finished = False

    async def read(self, max_bytes: int = 65536) -> bytes:
        if not self.rest:
            self.rest = await self.incoming.get()
        data, self.rest = self.rest[:max_bytes], self.rest[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        self.written += data

    def finish(self) -> None:
        self.finished = True

    def abort(self, code: int = 0) -> None:
        self.aborted = True

    def stop(self, code: int = 0) -> None: ...

    @property
    def answer(self) -> tuple[Opened | Failed | None, bytes]:
        """The answer to OPEN, and what followed it."""
        reader = AnswerReader()
        answer = reader.receive(self.written)
        return answer, reader.rest


class FakeLink:
    """A host whose HOSTAUTH is what the test says."""

    def __init__(self, change: Callable[[HostAuth], HostAuth | None] = lambda found: found) -> None:
        text, public = generate_ed25519("host")
        signature = PrivateKey.load(text.encode(), None, "host").sign(SESSION_ID)
        self.connection = self
        self.peer_key, self.session_id = public.spki(), SESSION_ID
        self._found = change(HostAuth(public.blob, signature))
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def host_auth(self, _limit_s: float) -> HostAuth | None:
        return self._found


class FakeAgent:
    """Answers by type of request, with what the test says; ``b""``: never."""

    def __init__(self, path: Path, **answers: Any) -> None:
        self.path = path
        self.answers: dict[int, list[bytes]] = {
            BIND: answers.get("bind", [SUCCESS]),
            ASK: answers.get("ask", [NO_KEYS]),
        }
        self.asked: list[bytes] = []

    async def __aenter__(self) -> FakeAgent:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                request = await reader.readexactly(size)
                self.asked.append(request)
                answers = self.answers.get(request[0], [FAILURE])
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer == b"end":
                    break
                writer.write(answer)
        writer.close()


async def call(path: Path, link: Any, *data: bytes) -> FakeStream:
    stream: Any = FakeStream(*data, b"")
    await AgentCalls(str(path)).serve(link, stream)
    assert isinstance(stream, FakeStream)
    return stream


def test_it_is_told_first_whose_requests_these_are(tmp_path: Path) -> None:
    async def work() -> None:
        link = FakeLink()
        async with FakeAgent(tmp_path / "agent") as agent:
            stream = await call(agent.path, link, LIST[:3], LIST[3:] + LIST)
        assert stream.answer == (Opened(), NO_KEYS * 2)
        assert stream.finished
        assert [request[0] for request in agent.asked] == [BIND, ASK, ASK]
        assert agent.asked[0][-1:] == b"\x01", "for forwarding"
        assert SESSION_ID in agent.asked[0]

    run(work())


@pytest.mark.parametrize(
    "change",
    [
        lambda found: None,
        lambda found: HostAuth(found.key, b""),
        lambda found: HostAuth(found.key, found.signature[:-4] + b"fake"),
        lambda found: HostAuth(generate_ed25519("other")[1].blob, found.signature),
    ],
)
def test_a_host_that_does_not_prove_itself_reaches_no_agent(
    tmp_path: Path, messages: list[str], change: Any
) -> None:
    """Unbound, its requests would count as this machine's own, for which keys are not restricted."""

    async def work() -> None:
        async with FakeAgent(tmp_path / "agent") as agent:
            stream = await call(agent.path, FakeLink(change), LIST)
        assert isinstance(stream.answer[0], Failed)
        assert not agent.asked

    run(work())
    assert any("does not prove" in line for line in messages)


def test_an_agent_that_knows_no_session_bind(tmp_path: Path) -> None:
    async def work() -> None:
        async with FakeAgent(tmp_path / "agent", bind=[FAILURE]) as agent:
            stream = await call(agent.path, FakeLink(), LIST)
        assert stream.answer == (Opened(), NO_KEYS)

    run(work())


def test_an_agent_that_is_unlocked_meanwhile(tmp_path: Path) -> None:
    """Locked, it refuses to be bound: what it says unbound after that is not for the host."""

    async def work() -> None:
        async with FakeAgent(tmp_path / "agent", bind=[FAILURE, SUCCESS]) as agent:
            stream = await call(agent.path, FakeLink(), LIST + LIST)
        assert stream.answer == (Opened(), FAILURE + NO_KEYS)
        assert [request[0] for request in agent.asked] == [BIND, ASK, BIND, ASK]

    run(work())


@pytest.mark.parametrize("kind", [1, 17, 18, 19, 20, 22, 23, 25, 26, 255])
def test_requests_that_are_not_for_a_host(tmp_path: Path, kind: int) -> None:
    async def work() -> None:
        async with FakeAgent(tmp_path / "agent") as agent:
            request = Writer().string(bytes((kind,)) + b"\0" * 40).bytes()
            stream = await call(agent.path, FakeLink(), request + LIST)
        assert stream.answer == (Opened(), FAILURE + NO_KEYS)
        assert [asked[0] for asked in agent.asked] == [BIND, ASK]

    run(work())


@pytest.mark.parametrize(
    "data", [bytes(4), b"\xff" * 5, (codec.FRAME_LIMIT + 1).to_bytes(4, "big")]
)
def test_frames_that_are_none_end_the_call(tmp_path: Path, data: bytes) -> None:
    async def work() -> None:
        async with FakeAgent(tmp_path / "agent") as agent:
            stream = await call(agent.path, FakeLink(), LIST, data + LIST)
        assert stream.answer == (Opened(), NO_KEYS)
        assert stream.aborted

    run(work())


@pytest.mark.parametrize(
    "answer", [b"\0\0\0\x01\x1d", b"\0\0\0\x02\x0e\0", b"\0\0\0\x01\x00"], ids=["29", "14", "0"]
)
def test_answers_to_something_else_are_not_passed_on(tmp_path: Path, answer: bytes) -> None:
    async def work() -> None:
        async with FakeAgent(tmp_path / "agent", ask=[answer]) as agent:
            stream = await call(agent.path, FakeLink(), LIST)
        assert stream.answer == (Opened(), FAILURE)

    run(work())


@pytest.mark.parametrize("answer", [b"", b"end", bytes(4), b"\xff" * 4, b"\0\0\0\x05\x0c"])
def test_an_agent_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr(agent_calls, "_QUICK_S", 0.1)

    async def work() -> None:
        async with FakeAgent(tmp_path / "agent", ask=[answer]) as agent:
            stream = await call(agent.path, FakeLink(), LIST)
        assert stream.answer == (Opened(), b"")
        assert stream.aborted

    run(work())


def test_no_agent_any_more(tmp_path: Path) -> None:
    async def work() -> None:
        stream = await call(tmp_path / "gone", FakeLink(), LIST)
        assert stream.answer[0] == Failed("connect-failed", "the agent is gone")

    run(work())


def test_so_many_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_calls, "MAX_OPEN", 2)

    async def work() -> None:
        link: Any = FakeLink()
        async with FakeAgent(tmp_path / "agent") as agent:
            calls = AgentCalls(str(agent.path))
            streams: list[Any] = [FakeStream() for _ in range(4)]
            tasks = [asyncio.ensure_future(calls.serve(link, stream)) for stream in streams]
            await asyncio.gather(*tasks[2:])
            assert [type(stream.answer[0]) for stream in streams[2:]] == [Failed, Failed]
            for stream in streams[:2]:
                stream.incoming.put_nowait(b"")
            await asyncio.gather(*tasks)
            assert (await call(agent.path, link, LIST)).answer == (Opened(), NO_KEYS)

    run(work())


@pytest.mark.parametrize(("kind", "name"), [("agent", "agent"), ("x11", "X11"), ("\x1b[2J", "")])
def test_a_host_that_was_not_asked(messages: list[str], kind: str, name: str) -> None:
    async def work() -> FakeStream:
        stream: Any = FakeStream(encode(Open(kind)))
        link: Any = FakeLink()
        await ServerStreams()._serve(link, stream)
        assert isinstance(stream, FakeStream)
        return stream

    assert run(work()).answer[0] == Failed("not-permitted", "open failed")
    said = "".join(messages)
    assert "\x1b" not in said
    assert (f"Warning: ssh server tried {name} forwarding." in said) is bool(name)
    assert ("break-in attempt by a malicious server" in said) is bool(name)
