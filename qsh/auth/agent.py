"""The ssh-agent protocol, without the socket (draft-miller-ssh-agent, OpenSSH PROTOCOL.agent).

Requests are bytes ready to send; answers come out of a FrameDecoder as bodies and are read by
decode_*.
"""

from __future__ import annotations

from typing import NamedTuple

from qsh.auth.algorithms import signature_algorithm
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import AgentError, KeyFormatError

__all__ = [
    "FrameDecoder",
    "Gate",
    "Identity",
    "decode_identities",
    "decode_signature",
    "decode_success",
    "encode_list",
    "encode_session_bind",
    "encode_sign",
    "sign_flags",
]

FRAME_LIMIT = 256 * 1024
"""Bytes of one message, as OpenSSH's MAX_AGENT_REPLY_LEN and AGENT_MAX_LEN."""
IDENTITIES_LIMIT = 2048
"""As OpenSSH's MAX_AGENT_IDENTITIES."""

REQUEST_IDENTITIES, IDENTITIES_ANSWER = 11, 12
SIGN_REQUEST, SIGN_RESPONSE = 13, 14
EXTENSION = 27
FAILURE, SUCCESS, EXTENSION_FAILURE, SSH_COM_FAILURE = 5, 6, 28, 102
SESSION_BIND = b"session-bind@openssh.com"
RSA_SHA2_256, RSA_SHA2_512 = 2, 4


class Identity(NamedTuple):
    """A key that the agent holds; the blob may be of a type that qsh does not know."""

    blob: bytes
    comment: str


def _frame(body: Writer) -> bytes:
    return Writer().string(body.bytes()).bytes()


def encode_list() -> bytes:
    """Ask which keys the agent holds."""
    return _frame(Writer().byte(REQUEST_IDENTITIES))


def encode_sign(key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
    """Ask for a signature; ``flags`` from :func:`sign_flags`."""
    return _frame(Writer().byte(SIGN_REQUEST).string(key_blob).string(data).uint32(flags))


def encode_session_bind(
    host_key_blob: bytes, session_id: bytes, signature: bytes, forwarding: bool = False
) -> bytes:
    """Tell the agent to which host this connection leads, proved by the host's signature of the
    session id."""
    body = Writer().byte(EXTENSION).string(SESSION_BIND)
    return _frame(
        body.string(host_key_blob).string(session_id).string(signature).boolean(forwarding)
    )


def sign_flags(algorithm: str) -> int:
    """The flags that make an agent sign with this algorithm (authfd.c, agent_encode_alg)."""
    return {"rsa-sha2-256": RSA_SHA2_256, "rsa-sha2-512": RSA_SHA2_512}.get(
        signature_algorithm(algorithm), 0
    )


class FrameDecoder:
    """Cuts what the agent sends into message bodies."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes, give the bodies that are complete."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if not 0 < size <= FRAME_LIMIT:
                raise AgentError(f"the agent sent a message of {size} bytes")
            if len(self._buffer) < 4 + size:
                break
            bodies.append(bytes(self._buffer[4 : 4 + size]))
            del self._buffer[: 4 + size]
        return bodies

    def receive_eof(self) -> None:
        """The agent hung up: an error when that cuts a message."""
        if self._buffer:
            raise AgentError("the agent hung up in the middle of an answer")


class Gate:
    """What a host may ask of a forwarded agent: the list of keys, signatures, and to be told where they go (session-bind).

    Each request is read to its last byte, so that nothing is let through that the agent could read as something else.
    """

    def __init__(self) -> None:
        self._answers: tuple[int, ...] = ()

    def lets_in(self, body: bytes) -> bool:
        """Whether this request may go to the agent."""
        self._answers = ()
        try:
            reader = Reader(body)
            answers = _read_request(reader)
            reader.end()
        except KeyFormatError:
            return False
        self._answers = answers
        return bool(answers)

    def lets_out(self, body: bytes) -> bool:
        """Whether this may be the answer to that request."""
        return body[:1] != b"" and body[0] in self._answers

    @staticmethod
    def refusal() -> bytes:
        """The answer to every other request."""
        return _frame(Writer().byte(FAILURE))

    @staticmethod
    def frame(body: bytes) -> bytes:
        """A request or an answer as it is sent."""
        return Writer().string(body).bytes()


def _read_request(reader: Reader) -> tuple[int, ...]:
    """The types of answers that the request may have; none: it is not let in. Raises KeyFormatError."""
    kind = reader.byte()
    if kind == REQUEST_IDENTITIES:
        return IDENTITIES_ANSWER, FAILURE
    if kind == SIGN_REQUEST:
        reader.string()
        reader.string()
        reader.uint32()
        return SIGN_RESPONSE, FAILURE
    if kind == EXTENSION and reader.string() == SESSION_BIND:
        for _ in range(3):
            reader.string()
        if reader.byte() > 1:
            raise KeyFormatError("a boolean that is none")
        return SUCCESS, FAILURE, EXTENSION_FAILURE
    return ()


def _open(body: bytes, wanted: int) -> Reader:
    reader = Reader(body)
    kind = reader.byte()
    if kind in (FAILURE, EXTENSION_FAILURE, SSH_COM_FAILURE):
        raise AgentError("agent refused operation")
    if kind != wanted:
        raise AgentError(f"the agent gave an answer of type {kind} where {wanted} was due")
    return reader


def decode_identities(body: bytes) -> tuple[Identity, ...]:
    """The keys in the answer to a list request."""
    try:
        reader = _open(body, IDENTITIES_ANSWER)
        count = reader.uint32()
        if count > IDENTITIES_LIMIT:
            raise AgentError(f"the agent says it holds {count} keys")
        return tuple(
            Identity(reader.string(), reader.string().decode("utf-8", "replace"))
            for _ in range(count)
        )
    except KeyFormatError as error:
        raise AgentError(f"the agent's list of keys is malformed: {error}") from None


def decode_signature(body: bytes, algorithm: str | None = None) -> bytes:
    """The SSH signature blob in the answer to a sign request, of exactly ``algorithm`` when one is
    given."""
    try:
        reader = _open(body, SIGN_RESPONSE)
        signature = reader.string()
        reader.end()
        name = Reader(signature).text()
    except KeyFormatError as error:
        raise AgentError(f"the agent's signature is malformed: {error}") from None
    if algorithm is not None and name != signature_algorithm(algorithm):
        raise AgentError(
            f"the agent signed with {name!r} instead of {signature_algorithm(algorithm)!r}"
        )
    return signature


def decode_success(body: bytes) -> None:
    """The answer to session-bind."""
    try:
        _open(body, SUCCESS)
    except KeyFormatError as error:
        raise AgentError(f"the agent's answer is malformed: {error}") from None
