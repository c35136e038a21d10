"""Somebody who types at a shell over a slow path, and everything that the terminal ever showed him."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from tests.support.live_server import LiveServer
    from tests.support.relay import Relay

__all__ = ["Typist"]

PROMPT = b"ready> "
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Typist:
    """Close :attr:`terminal` when it is over."""

    def __init__(self, server: LiveServer, relay: Relay) -> None:
        command = f"env PS1='{PROMPT.decode()}' HISTFILE= bash --norc --noprofile -i"
        argv = server.command(command, options=("-t", "-o", "QshPrediction=always"))
        self.terminal = OnTerminal(relay.through(argv), {**server.env, "TERM": "xterm-256color"})
        self.seen = b""

    def expect(self, text: bytes) -> bytes:
        """Wait until it is shown."""
        found = self.terminal.expect(text)
        self.seen += found
        return found

    def await_prompt(self) -> None:
        """The shell's."""
        self.expect(PROMPT)

    def type(self, text: bytes) -> None:
        """As a person types: the client has each key by itself."""
        for each in text:
            self.terminal.type(bytes([each]))
            self.terminal.read_on(0.004)

    def settle_in(self) -> None:
        """Answer the client's question where the cursor is, and let it learn that here keys are echoed."""
        self.expect(b"\x1b[6n")
        self.terminal.type(b"\x1b[1;1R")
        self.await_prompt()
        for _ in range(2):
            self.type(b"echo $((6*7))\r")
            self.expect(b"42\r\n")
            self.await_prompt()

    def has_seen(self, letters: bytes) -> bool:
        """Whether any of them was ever shown. Those that end an escape sequence are not."""
        shown = _CONTROL.sub(b"", self.seen + self.terminal.output)
        return any(letter in shown for letter in letters)
