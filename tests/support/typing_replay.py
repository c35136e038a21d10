"""Replays a typing log (tests/support/record_typing.py) over a simulated link, against a predictor and a screen.

The keys of the log were typed at fixed times, so what the programs did does not depend on what was shown: a link of round trip
time R makes everything the user sees R later, and him go on R later wherever he looked first ("w"). That is exact, but for a
user who would have typed something else after a wrong guess.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from qsh.terminal.predictor import Overlay, Predictor
from qsh.terminal.screen import Screen
from qsh.wire.terminal import TtyState

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.terminal.predictor import Counters

__all__ = ["Score", "load", "replay"]

AT_ONCE_S = 0.020


class Score(NamedTuple):
    predictable: int
    at_once: int
    """Predictable keys that were seen within 20 ms, left of the cursor."""
    wrong: int
    """Keys that were seen and proved wrong: not what the exact screen shows later, or wiped before."""
    secrets: list[str]
    """Texts of secrets that were drawn."""
    counters: Counters
    misses: list[tuple[float, str]]
    mistakes: list[tuple[float, str, str]]

    @property
    def share(self) -> float:
        return self.at_once / self.predictable if self.predictable else 1.0


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


class _Event(NamedTuple):
    at: float
    order: int
    kind: str
    fields: list[Any]


class _Key(NamedTuple):
    at: float
    text: str
    end: int
    marks: str


def _schedule(log: dict[str, Any], rtt_s: float) -> list[_Event]:
    looks = 0
    found: list[_Event] = []
    for order, event in enumerate(log["events"]):
        if event[0] == "w":
            looks += 1
            continue
        late = looks + (event[0] != "k")
        found.append(_Event(event[1] + late * rtt_s, order, event[0], event[2:]))
    return sorted(found, key=lambda event: (event.at, event.order))


class _Player:
    def __init__(self, log: dict[str, Any], rtt_s: float, secret: str, tell_applied: bool) -> None:
        self.screen = Screen(log["rows"], log["cols"])
        self.predictor = Predictor(self.screen)
        self.predictor.rtt(rtt_s)
        self.ttys = [TtyState(*fields) for fields in log["ttys"]]
        self.offset = 0
        self.tell_applied = tell_applied
        self.secret = secret
        self.waiting: list[_Key] = []
        """Predictable keys that were not seen yet."""
        self.seen: list[_Key] = []
        """Keys that were, and are not known to be right."""
        self.predictable = self.at_once = self.wrong = 0
        self.secrets: list[str] = []
        self.misses: list[tuple[float, str]] = []
        self.mistakes: list[tuple[float, str, str]] = []

    def look(self, now: float) -> None:
        """What the user sees now."""
        overlay = self.predictor.overlay(now)
        for cell in overlay.cells:
            if cell[2] and cell[2] in self.secret:
                self.secrets.append(cell[2])
        for key in [key for key in self.waiting if now > key.at + AT_ONCE_S]:
            self.waiting.remove(key)
            self.misses.append((round(key.at, 3), key.text))
        if self.waiting and _left_of_cursor(self.screen, overlay) == self.waiting[-1].text:
            self.at_once += len(self.waiting)
            self.seen += self.waiting
            self.waiting.clear()

    def key(self, now: float, text: str, marks: str) -> None:
        self.look(now)
        data = text.encode()
        before = self.predictor.overlay(now)
        self.predictor.typed(data, self.offset, now)
        self.offset += len(data)
        if "p" in marks:
            self.predictable += 1
            if self.predictor.overlay(now) == before:
                # the same picture as before the key: whatever is left of the cursor is not this key
                self.misses.append((round(now, 3), text))
                return
            self.waiting.append(_Key(now, text, self.offset, marks))
        self.look(now)

    def hear(self, now: float, applied: int, settled: int, tty: int) -> None:
        told = applied if self.tell_applied else None
        self.predictor.state(settled, self.ttys[tty], now, applied=told)
        if applied == settled:
            for key in self.seen:
                if key.end == settled and (found := _left_of_cursor(self.screen, None)) != key.text:
                    self.wrong += 1
                    self.mistakes.append((round(key.at, 3), key.text, found))
            self.seen = [key for key in self.seen if key.end > settled]
        self.look(now)

    def until(self, now: float) -> None:
        """The predictor's own deadlines."""
        while (deadline := self.predictor.deadline()) is not None and deadline < now:
            self.look(deadline)


def _left_of_cursor(screen: Screen, overlay: Overlay | None) -> str:
    """The character there, as drawn; "" at the row's begin."""
    row, col, wrapping, _ = screen.cursor
    drawn = {}
    if overlay is not None:
        if overlay.cursor is not None:
            row, col = overlay.cursor
            wrapping = False
        drawn = {cell[:2]: cell[2] for cell in overlay.cells}
    if col == 0 and row:
        row, col = row - 1, screen.cols
    while col > 0:
        col -= not wrapping
        wrapping = False
        text, width, _ = screen.cell(row, col)
        found = drawn.get((row, col))
        if found is not None:
            return found
        if width and (row, col - 1) not in drawn:
            return text
        if width and len(drawn[row, col - 1]) and text != " ":
            return text
        if width and text == " " and drawn[row, col - 1].isascii():
            return text
    return ""


def replay(
    log: dict[str, Any], rtt_s: float, *, secret: str = "", tell_applied: bool = True
) -> Score:
    """The score of a log on a link of this round trip time."""
    player = _Player(log, rtt_s, secret, tell_applied)
    for event in _schedule(log, rtt_s):
        player.until(event.at)
        if event.kind == "k":
            player.key(event.at, event.fields[0], event.fields[1])
            continue
        if event.kind == "o":
            player.screen.feed(event.fields[0].encode("latin-1"))
            player.predictor.screen_changed(event.at)
        player.hear(event.at, *event.fields[-3:])
    player.until(player.predictor._now + 10)
    return Score(
        player.predictable,
        player.at_once,
        max(player.wrong, player.predictor.counters.wrong),
        player.secrets,
        player.predictor.counters,
        player.misses + [(key.at, key.text) for key in player.waiting],
        player.mistakes,
    )
