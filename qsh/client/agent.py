"""The ssh-agent's socket, one request at a time. Blocking, with limits; the codec is
qsh.auth.agent.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Final

from qsh.auth import agent as codec
from qsh.errors import AgentError

if TYPE_CHECKING:
    from qsh.auth.agent import Identity

__all__ = ["Agent"]

_QUICK_S: Final = 5.0
"""Limit of answers that need nobody."""
_PERSON_S: Final = 120.0
"""Limit of signatures: a person may have to touch or confirm; as long as sshd's LoginGraceTime."""


class Agent:
    """A connection to the agent. Every failure is an AgentError."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_QUICK_S)
        try:
            self._socket.connect(path)
        except (OSError, ValueError) as error:
            self._socket.close()
            reason = getattr(error, "strerror", None) or error
            raise AgentError(f"cannot reach the agent: {reason}") from None

    def identities(self) -> tuple[Identity, ...]:
        """Keys that the agent holds."""
        return codec.decode_identities(self._ask(codec.encode_list(), _QUICK_S))

    def bind(self, host_key: bytes, session_id: bytes, signature: bytes) -> None:
        """``session-bind@openssh.com``; an old agent refuses it."""
        request = codec.encode_session_bind(host_key, session_id, signature)
        codec.decode_success(self._ask(request, _QUICK_S))

    def sign(self, blob: bytes, data: bytes, algorithm: str) -> bytes:
        """SSH signature blob. A person may be asked by the agent: this may take long."""
        request = codec.encode_sign(blob, data, codec.sign_flags(algorithm))
        return codec.decode_signature(self._ask(request, _PERSON_S), algorithm)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, request: bytes, limit_s: float) -> bytes:
        decoder = codec.FrameDecoder()
        deadline = time.monotonic() + limit_s
        try:
            self._socket.settimeout(limit_s)
            self._socket.sendall(request)
            while True:
                self._socket.settimeout(max(0.001, deadline - time.monotonic()))
                data = self._socket.recv(65536)
                if not data:
                    decoder.receive_eof()
                    raise AgentError("the agent hung up")
                answers = decoder.receive(data)
                if answers:
                    return answers[0]
        except TimeoutError:
            raise AgentError("the agent does not answer") from None
        except OSError as error:
            raise AgentError(f"the agent is gone: {error.strerror}") from None
