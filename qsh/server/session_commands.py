"""The channel kind ``sessions``: list, detach, kill and history of a user's terminals, whichever login made them.

Runs in a child of the session host and may wait; every terminal, the host's own too, is asked by its socket.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsh.clock import monotonic_s, wall_s
from qsh.server.session_directory import (
    Describe,
    Described,
    DetachAll,
    Done,
    History,
    HistoryPart,
    Kill,
    Refused,
)
from qsh.server.session_question import ask, receive

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsh.server.packets import PacketSocket
    from qsh.server.requests import Local
    from qsh.server.session_directory import SessionDirectory
    from qsh.server.session_rules import Rights

__all__ = ["LOST_S", "describe_all", "make_room", "run", "waiting_lines"]

COMMAND_S: Final = 5.0
LOST_S: Final = 86400.0
"""Within it a client that was lost may come back to its terminal, however many the user has."""
LIST_S: Final = 2.0
HISTORY_LINES: Final = 10_000
MAX_WAITING: Final = 10


class CommandError(Exception):
    """Told on stderr; exit status 1."""


def run(directory: SessionDirectory, command: bytes, user: str, rights: Rights) -> int:
    """Do one command, print its answer; the exit status. Never raises for what the user can ask."""
    words = command.decode(errors="replace").split()
    try:
        output = _run(directory, words or ["list"], user, rights)
    except CommandError as error:
        _write(2, f"qshd: {error}\n".encode(errors="replace"))
        return 1
    _write(1, output)
    return 0


def _run(directory: SessionDirectory, words: list[str], user: str, rights: Rights) -> bytes:
    verb, *rest = words
    if verb == "list" and not rest:
        return _list(directory, user, rights)
    if verb == "detach" and len(rest) == 1:
        _command(directory, rest[0], DetachAll(rights))
        return b""
    if verb == "kill" and len(rest) == 1:
        _command(directory, rest[0], Kill(rights))
        return b""
    if verb == "history" and len(rest) in (1, 2):
        lines = rest[1] if len(rest) == 2 else str(HISTORY_LINES)
        if not (lines.isascii() and lines.isdigit() and len(lines) <= 5):
            raise CommandError(f"{lines!r} is no number of lines")
        return _history(directory, rest[0], History(rights, int(lines)))
    raise CommandError("usage: list | detach NAME | kill NAME | history NAME [LINES]")


def _list(directory: SessionDirectory, user: str, rights: Rights) -> bytes:
    rows: list[dict[str, Any]] = []
    for name, answer in _ask_all(directory, directory.names(), LIST_S):
        if answer is None:  # its process was stopped, or is out of order
            rows.append({"user": user, "name": name, "answers": False})
        elif rights.may_visit(answer.rights):
            rows.append({"user": user, **msgspec.to_builtins(answer.description)})
    return msgspec.json.encode(rows) + b"\n"


def _command(directory: SessionDirectory, name: str, question: Local) -> None:
    peer = _connect(directory, name)
    try:
        answer = ask(peer, question, monotonic_s() + COMMAND_S)
    finally:
        peer.close()
    if isinstance(answer, Refused):
        raise CommandError(answer.text)
    if not isinstance(answer, Done):
        raise CommandError(f"session {name} does not answer")


def _history(directory: SessionDirectory, name: str, question: History) -> bytes:
    peer = _connect(directory, name)
    deadline = monotonic_s() + COMMAND_S
    parts: list[bytes] = []
    try:
        answer = ask(peer, question, deadline)
        while isinstance(answer, HistoryPart):
            parts.append(answer.data)
            if answer.last:
                return b"".join(parts)
            answer = receive(peer, deadline)
    finally:
        peer.close()
    raise CommandError(answer.text if isinstance(answer, Refused) else _no_answer(name, deadline))


def _no_answer(name: str, deadline: float) -> str:
    return f"session {name} " + ("does not answer" if monotonic_s() >= deadline else "is gone")


def _connect(directory: SessionDirectory, name: str) -> PacketSocket[Any]:
    peer = directory.connect(name)
    if peer is None:
        raise CommandError(
            f"there is no session {name[:64]!r}; qshctl sessions lists those there are"
        )
    return peer


def describe_all(
    directory: SessionDirectory, names: Iterable[str], limit_s: float
) -> list[Described]:
    """What the terminals of these names say of themselves, as far as they answer within ``limit_s`` together."""
    found = _ask_all(directory, names, limit_s)
    return [answer for _, answer in found if answer is not None]


def _ask_all(
    directory: SessionDirectory, names: Iterable[str], limit_s: float
) -> list[tuple[str, Described | None]]:
    """Those that are there; None for one that does not answer in time, or says what nobody knows."""
    deadline = monotonic_s() + limit_s
    peers = []
    for name in names:
        peer = directory.connect(name)
        if peer is None:
            continue
        try:
            peer.send(Describe())
            peers.append((name, peer))
        except OSError:
            peer.close()
    found: list[tuple[str, Described | None]] = []
    for name, peer in peers:
        answer = receive(peer, deadline)
        if isinstance(answer, Described):
            found.append((name, answer))
        elif answer is not None or monotonic_s() >= deadline:  # else it has just ended
            found.append((name, None))
        peer.close()
    return found


def waiting_lines(described: Iterable[Described], rights: Rights) -> list[str]:
    """A line for each detached terminal that this login could attach."""
    lines = []
    for answer in described:
        found = answer.description
        if found.attached or found.silent or not rights.may_visit(answer.rights):
            continue
        what = f" ({found.command})" if found.command else ""
        ago = _duration(wall_s() - found.detached_since)
        lines.append(f"detached session {found.name}{what}: left {ago} ago from {found.host}")
    return lines[:MAX_WAITING]


def _duration(seconds: float) -> str:
    minutes = int(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"


def make_room(directory: SessionDirectory, limit: int) -> int:
    """End the detached terminals beyond ``limit``: those with nothing running first, the longest idle first.

    Not those whose client is lost and may come back: all of a user's are lost at once when a front ends or a laptop sleeps.
    """
    lost_before = wall_s() - LOST_S
    detached = [
        answer
        for answer in describe_all(directory, directory.names(), LIST_S)
        if not answer.description.attached
        and not answer.description.silent
        and not (answer.description.lost and answer.description.detached_since > lost_before)
    ]
    detached.sort(key=lambda found: (not found.description.idle, found.description.traffic))
    for found in detached[: max(0, len(detached) - limit)]:
        peer = directory.connect(found.description.name)
        if peer is not None:  # a limit holds for all: with the rights of who made it
            ask(
                peer,
                Kill(found.rights, "the oldest of too many detached sessions"),
                monotonic_s() + 1,
            )
            peer.close()
    return 0


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
