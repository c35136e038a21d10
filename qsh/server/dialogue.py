"""A login child's questions to the client, which the front carries (docs/protocol.md 5.11).

On a socket of their own: no answer goes through the monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from qsh.errors import RemoteProtocolError
from qsh.server.pam import wipe
from qsh.server.requests import Answers, Questions, encode
from qsh.wire.messages import MAX_PROMPTS

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from qsh.wire.messages import Prompt

__all__ = ["Dialogue"]

MAX_BYTES: Final = 160 * 1024
"""The longest Answers, and a little."""

_decode = msgspec.msgpack.Decoder(Answers).decode


class Dialogue:
    """Blocks; whoever waits for the login child ends it when it takes too long."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(True)
        self.answered = False
        """The client has answered something."""

    def ask(self, prompts: Sequence[Prompt], instruction: str = "") -> list[bytearray]:
        """The answers, which the caller wipes. Raises EOFError when the client wants to go on otherwise or is gone,
        RemoteProtocolError for what is no answer.
        """
        try:
            self._sock.send(encode(Questions("", instruction, list(prompts[:MAX_PROMPTS]))))
            buffer = bytearray(MAX_BYTES)
            size = self._sock.recv_into(buffer)
        except OSError:
            raise EOFError from None
        if not size:
            raise EOFError
        try:
            answers = _decode(memoryview(buffer)[:size]).answers
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RemoteProtocolError("bad-answers") from None
        finally:
            wipe(buffer)
        if len(answers) != len(prompts) or any(0 in answer for answer in answers):
            for answer in answers:
                wipe(answer)
            raise RemoteProtocolError("bad-answers")
        self.answered = self.answered or bool(answers)
        return list(answers)

    def close(self) -> None:
        """No more questions."""
        self._sock.close()
