"""Escape keys of an interactive session, sans-IO (qsh(1), ESCAPE CHARACTERS).

The filter looks at what the user types and takes out what is meant for qsh itself. An escape is
recognised at the start of a line only, that is at the very beginning and after CR or LF, and an
escape that was handled keeps the line "started", so that ``~?~.`` works as it does in OpenSSH
(clientloop.c, process_escapes).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["Action", "EscapeFilter", "echo", "help_text"]

_LINE_ENDS: Final = b"\r\n"


class Action(Enum):
    """What an escape asks for; the value is the key after the escape character."""

    TERMINATE = b"."
    BREAK = b"B"
    LESS_VERBOSE = b"V"
    MORE_VERBOSE = b"v"
    SUSPEND = b"\x1a"
    LIST = b"#"
    HELP = b"?"


_ACTIONS: Final = {action.value[0]: action for action in Action}

_HELP: Final = (
    (".", "terminate connection (and any multiplexed sessions)"),
    ("B", "send a BREAK to the remote system"),
    ("V/v", "decrease/increase verbosity (LogLevel)"),
    ("^Z", "suspend qsh"),
    ("#", "list open channels"),
    ("?", "this message"),
)


def _shown(key: int) -> str:
    return f"^{chr(key + 64)}" if key < 0x20 else chr(key)


def echo(character: int, action: Action) -> str:
    """What the user sees of an escape that was typed, without a line end."""
    return _shown(character) + _shown(action.value[0])


def help_text(character: int) -> str:
    """Answer to ``~?``, lines separated by LF."""
    shown = _shown(character)
    lines = [echo(character, Action.HELP), "Supported escape sequences:"]
    lines += [f" {shown}{key:<3} - {meaning}" for key, meaning in _HELP]
    lines.append(f" {shown}{shown}   - send the escape character by typing it twice")
    lines.append("(Note that escapes are only recognized immediately after newline.)")
    return "\n".join(lines) + "\n"


class EscapeFilter:
    """Typed bytes in; bytes to send and actions out, in their order."""

    def __init__(self, character: int | None) -> None:
        self.character = character
        self._line_start = True
        self._pending = False

    def receive(self, data: bytes) -> list[bytes | Action]:
        """What ``data`` means. An escape character at the end is kept until the next key tells."""
        if not data:
            return []
        if not self._pending and (self.character is None or self.character not in data):
            self._line_start = data[-1] in _LINE_ENDS
            return [data]
        return self._scan(data)

    def _scan(self, data: bytes) -> list[bytes | Action]:
        result: list[bytes | Action] = []
        plain = bytearray()
        for key in data:
            if self._pending:
                self._pending = False
                action = _ACTIONS.get(key)
                if action is not None and key != self.character:
                    if plain:
                        result.append(bytes(plain))
                        plain.clear()
                    result.append(action)
                    continue
                if key != self.character:
                    plain.append(self.character or 0)
            elif self._line_start and key == self.character:
                self._pending = True
                continue
            plain.append(key)
            self._line_start = key in _LINE_ENDS
        if plain:
            result.append(bytes(plain))
        return result
