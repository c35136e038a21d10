"""Escape keys of an interactive session, sans-IO (qsh(1), ESCAPE CHARACTERS).

The filter looks at what the user types and takes out what is meant for qsh itself. An escape is
recognised at the start of a line only, that is at the very beginning and after CR or LF, and an
escape that was handled keeps the line "started", so that ``~?~.`` works as it does in OpenSSH
(clientloop.c, process_escapes).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["Action", "EscapeFilter", "echo", "help_text", "shown"]

_LINE_ENDS: Final = b"\r\n"


class Action(Enum):
    """What an escape asks for; the value is the key after the escape character."""

    TERMINATE = b"."
    BREAK = b"B"
    COMMAND = b"C"
    INFORMATION = b"I"
    REKEY = b"R"
    LESS_VERBOSE = b"V"
    MORE_VERBOSE = b"v"
    SUSPEND = b"\x1a"
    LIST = b"#"
    BACKGROUND = b"&"
    HELP = b"?"
    DETACH = b"d"
    HISTORY = b"h"
    STATUS = b"s"


_TERMINAL_ONLY: Final = frozenset({Action.DETACH, Action.HISTORY, Action.STATUS})
"""Keys that OpenSSH does not have: they are escapes only where there is something to detach from."""

_ACTIONS: Final = {action.value[0]: action for action in Action}

_HELP: Final = (
    (".", "terminate connection (and any multiplexed sessions)"),
    ("B", "send a BREAK to the remote system"),
    ("C", "open a command line"),
    ("I", "show connection information"),
    ("R", "request rekey (QUIC does so by itself)"),
    ("V/v", "decrease/increase verbosity (LogLevel)"),
    ("^Z", "suspend qsh"),
    ("#", "list forwarded connections"),
    ("&", "background qsh (not here: use -f)"),
    ("?", "this message"),
)
_SHARED_HELP: Final = {".": "terminate session"}
"""Where others use the connection, too."""
_TERMINAL_HELP: Final = (
    ("d", "detach: the session goes on without you"),
    ("h", "show the history, with the lines that were skipped"),
    ("s", "show how the connection does"),
)


def shown(key: int) -> str:
    """A key as messages call it."""
    return f"^{chr(key + 64)}" if key < 0x20 else chr(key)


def echo(character: int, action: Action) -> str:
    """What the user sees of an escape that was typed, without a line end."""
    return shown(character) + shown(action.value[0])


def help_text(
    character: int, *, persistent: bool = False, commands: bool = False, shared: bool = False
) -> str:
    """Answer to ``~?``, lines separated by LF.

    ``persistent``: with the keys of a terminal that outlives its client; ``commands``: ``~C`` is permitted; ``shared``: the
    connection is a master's.
    """
    name = shown(character)
    lines = [echo(character, Action.HELP), "Supported escape sequences:"]
    table = (*_HELP[:-1], *_TERMINAL_HELP, _HELP[-1]) if persistent else _HELP
    changed = _SHARED_HELP if shared else {}
    lines += [
        f" {name}{key:<3} - {changed.get(key, meaning)}"
        for key, meaning in table
        if key != "C" or (commands and not shared)
    ]
    lines.append(f" {name}{name}   - send the escape character by typing it twice")
    lines.append("(Note that escapes are only recognized immediately after newline.)")
    return "\n".join(lines) + "\n"


class EscapeFilter:
    """Typed bytes in; bytes to send and actions out, in their order."""

    def __init__(self, character: int | None, *, persistent: bool = False) -> None:
        self.character = character
        self.persistent = persistent
        """``~d`` and ``~h`` are escapes, not text."""
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
                action = self._action(key)
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

    def _action(self, key: int) -> Action | None:
        action = _ACTIONS.get(key)
        return None if action in _TERMINAL_ONLY and not self.persistent else action
