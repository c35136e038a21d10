"""The codec, and all of it once more against a real ssh-agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from qsh.auth.agent import (
    FRAME_LIMIT,
    FrameDecoder,
    Gate,
    Identity,
    decode_identities,
    decode_signature,
    decode_success,
    encode_list,
    encode_session_bind,
    encode_sign,
    sign_flags,
)
from qsh.auth.known_hosts import format_line
from qsh.auth.private import PrivateKey
from qsh.auth.signatures import verify
from qsh.auth.sshwire import Writer
from qsh.auth.userauth import default_algorithm, request_algorithms, signed_data
from qsh.errors import AgentError
from tests.unit.auth.ssh_tools import certify, public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def frame(body: bytes) -> bytes:
    return Writer().string(body).bytes()


def test_requests() -> None:
    assert encode_list() == b"\0\0\0\1\x0b"
    assert encode_sign(b"k", b"d", 4) == frame(b"\x0d\0\0\0\1k\0\0\0\1d\0\0\0\4")
    bind = encode_session_bind(b"h", b"i", b"s", forwarding=True)
    assert bind == frame(b"\x1b\0\0\0\x18session-bind@openssh.com\0\0\0\1h\0\0\0\1i\0\0\0\1s\1")


def test_flags() -> None:
    assert sign_flags("rsa-sha2-256") == sign_flags("rsa-sha2-256-cert-v01@openssh.com") == 2
    assert sign_flags("rsa-sha2-512") == sign_flags("rsa-sha2-512-cert-v01@openssh.com") == 4
    assert sign_flags("ssh-ed25519") == 0


def test_frames_whole_and_byte_by_byte() -> None:
    stream = frame(b"\5") + frame(b"\6more")
    assert FrameDecoder().receive(stream) == [b"\5", b"\6more"]
    decoder = FrameDecoder()
    bodies = [body for octet in stream for body in decoder.receive(bytes((octet,)))]
    assert bodies == [b"\5", b"\6more"]
    decoder.receive_eof()
    decoder.receive(b"\0")
    with pytest.raises(AgentError, match="hung up"):
        decoder.receive_eof()


def test_frame_limit() -> None:
    body = b"\6" * FRAME_LIMIT
    assert FrameDecoder().receive(frame(body)) == [body]
    for size in (FRAME_LIMIT + 1, 0, 0xFFFFFFFF):
        with pytest.raises(AgentError, match=f"message of {size} bytes"):
            FrameDecoder().receive(size.to_bytes(4, "big"))


def test_answers() -> None:
    answer = b"\x0c\0\0\0\1\0\0\0\1k\0\0\0\1\xff"
    assert decode_identities(answer) == (Identity(b"k", "\ufffd"),)
    signature = Writer().text("ssh-ed25519").string(b"s").bytes()
    body = b"\x0e" + frame(signature)
    assert decode_signature(body) == decode_signature(body, "ssh-ed25519") == signature
    with pytest.raises(AgentError, match="instead of 'rsa-sha2-512'"):
        decode_signature(body, "rsa-sha2-512")
    decode_success(b"\6")


@pytest.mark.parametrize("body", [b"\5", b"\x1c", b"\x66"])
def test_refusals(body: bytes) -> None:
    for decode in (decode_identities, decode_signature, decode_success):
        with pytest.raises(AgentError, match="agent refused operation"):
            decode(body)


@pytest.mark.parametrize(
    "body", [b"", b"\7", b"\x0c\xff\xff\xff\xff", b"\x0c\0\0\0\1", b"\x0e\0\0\0\1"]
)
def test_nonsense(body: bytes) -> None:
    for decode in (decode_identities, decode_signature, decode_success):
        with pytest.raises(AgentError):
            decode(body)


class RealAgent:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = os.environ | {"SSH_AUTH_SOCK": str(path)}

    def add(self, *args: object) -> None:
        command = ["ssh-add", "-q", *map(str, args)]
        subprocess.run(command, check=True, capture_output=True, env=self.environment)

    def ask(self, *requests: bytes) -> list[bytes]:
        """Send the requests over one connection."""
        answers = []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.settimeout(10)
            decoder = FrameDecoder()
            for request in requests:
                connection.sendall(request)
                while not (bodies := decoder.receive(connection.recv(65536))):
                    pass
                answers += bodies
        return answers


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RealAgent]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("no ssh-agent")
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        for _ in range(200):
            if path.exists():
                break
            time.sleep(0.02)
        yield RealAgent(path)
        process.terminate()


def test_list_and_sign(agent: RealAgent, key_files: dict[str, Path]) -> None:
    kinds = ("ed25519", "ecdsa384", "rsa")
    for kind in kinds:
        key_files[kind].with_name(f"{kind}-cert.pub").unlink(missing_ok=True)
        agent.add(key_files[kind])
    certificate = certify(key_files["ca"], key_files["rsa"], "-I", "id", "-n", "u")
    agent.add(key_files["rsa"])
    identities = decode_identities(agent.ask(encode_list())[0])
    wanted = {public(key_files[kind]).blob for kind in kinds} | {certificate.blob}
    assert {i.blob for i in identities} == wanted
    assert {i.comment for i in identities} >= {"a comment"}
    for key in (*(public(key_files[kind]) for kind in kinds), certificate):
        for algorithm in request_algorithms(key.type):
            request = encode_sign(key.blob, b"data", sign_flags(algorithm))
            signature = decode_signature(agent.ask(request)[0], algorithm)
            assert verify(key, signature, b"data", algorithm)
    with pytest.raises(AgentError, match="refused"):
        decode_signature(agent.ask(encode_sign(public(key_files["other"]).blob, b"data"))[0])


class TestDestinationConstraint:
    """``ssh-add -h``: the key signs only for a host that proved its key, in a hostbound request."""

    @pytest.fixture
    def host(self, key_files: dict[str, Path]) -> PrivateKey:
        return PrivateKey.load(key_files["other"].read_bytes())

    @pytest.fixture
    def constrained(
        self, agent: RealAgent, key_files: dict[str, Path], host: PrivateKey, tmp_path: Path
    ) -> RealAgent:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(format_line(["h.example"], host.public))
        key_files["ed25519"].with_name("ed25519-cert.pub").unlink(missing_ok=True)
        agent.add("-h", "u@h.example", "-H", known_hosts, key_files["ed25519"])
        return agent

    def sign(
        self, key_files: dict[str, Path], user: str, host: PrivateKey, session: bytes
    ) -> bytes:
        key = public(key_files["ed25519"])
        algorithm = default_algorithm(key.type)
        data = signed_data(session, user, algorithm, key.blob, host.public.blob)
        return encode_sign(key.blob, data, sign_flags(algorithm))

    def test_good(
        self, constrained: RealAgent, key_files: dict[str, Path], host: PrivateKey
    ) -> None:
        session = b"qsh/1 session\0" + b"x" * 32
        bind = encode_session_bind(host.public.blob, session, host.sign(session))
        request = self.sign(key_files, "u", host, session)
        bound, signed = constrained.ask(bind, request)
        decode_success(bound)
        key = public(key_files["ed25519"])
        data = signed_data(session, "u", key.type, key.blob, host.public.blob)
        assert verify(key, decode_signature(signed, key.type), data, key.type)

    def test_refused(
        self, constrained: RealAgent, key_files: dict[str, Path], host: PrivateKey
    ) -> None:
        session = b"session"
        wrong_host = PrivateKey.load(key_files["rsa"].read_bytes())
        bind = encode_session_bind(host.public.blob, session, host.sign(session))
        wrong_bind = encode_session_bind(wrong_host.public.blob, session, wrong_host.sign(session))
        good = self.sign(key_files, "u", host, session)
        for requests in (
            [good],
            [bind, self.sign(key_files, "root", host, session)],
            [bind, self.sign(key_files, "u", host, b"another session")],
            [wrong_bind, self.sign(key_files, "u", wrong_host, session)],
        ):
            with pytest.raises(AgentError, match="refused"):
                decode_signature(constrained.ask(*requests)[-1])

    def test_a_binding_must_be_signed_by_the_host(
        self, constrained: RealAgent, host: PrivateKey
    ) -> None:
        bind = encode_session_bind(host.public.blob, b"session", host.sign(b"another"))
        with pytest.raises(AgentError, match="refused"):
            decode_success(constrained.ask(bind)[0])


# -- what a host may ask -------------------------------------------------------------------------


def body(frame: bytes) -> bytes:
    return frame[4:]


LET_IN = {
    "list": (body(encode_list()), (12, 5)),
    "sign": (body(encode_sign(b"key", b"data", 4)), (14, 5)),
    "bind": (body(encode_session_bind(b"key", b"id", b"signature")), (6, 5, 28)),
    "bind for another hop": (
        body(encode_session_bind(b"key", b"id", b"signature", forwarding=True)),
        (6, 5, 28),
    ),
}


@pytest.mark.parametrize("name", LET_IN)
def test_what_a_host_may_ask(name: str) -> None:
    request, answers = LET_IN[name]
    gate = Gate()
    assert gate.lets_in(request)
    assert {kind for kind in range(256) if gate.lets_out(bytes((kind,)))} == set(answers)
    assert not gate.lets_out(b"")
    assert not gate.lets_in(request + b"\0"), "the agent might read the rest as something else"
    assert not gate.lets_out(b"\x05"), "nothing was asked"
    assert not any(gate.lets_in(request[:size]) for size in range(len(request)))


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {11, 13, 27}))
def test_every_other_request_is_refused(kind: int) -> None:
    gate = Gate()
    for request, _ in LET_IN.values():
        assert not gate.lets_in(bytes((kind,)) + request[1:])
    assert not gate.lets_in(bytes((kind,)))
    assert gate.refusal() == b"\0\0\0\x01\x05"


@pytest.mark.parametrize(
    "name", [b"", b"query", b"session-bind@openssh.com\0", b"session-bind", b"SESSION-BIND@openssh.com"]
)  # fmt: skip
def test_other_extensions_are_refused(name: bytes) -> None:
    request = Writer().byte(27).string(name).string(b"").string(b"").string(b"").byte(1).bytes()
    assert not Gate().lets_in(request)


def test_a_boolean_is_one_or_none() -> None:
    request = LET_IN["bind"][0][:-1]
    assert [Gate().lets_in(request + bytes((value,))) for value in (0, 1, 2, 255)] == [
        *(True, True, False, False)
    ]
