"""What goes to the user's terminal, sans-IO: output by offsets, and what is drawn over it for a while.

The bytes of the server pass as they are and at once, whichever copy of them comes first; the model (:class:`Screen`) gets
exactly those. Predictions and the notice of lost contact are an overlay: taken off before the server's bytes, put on again
behind them, in one piece. So whoever neither predicts nor waits sees the server's bytes and nothing else.

Nothing is drawn in the middle of a sequence. While there is an overlay, the unfinished end of a read is kept back for that,
``HOLD_BYTES`` and ``HOLD_S`` at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.terminal.prediction.width import columns
from qsh.terminal.screen import (
    MODE_ALTERNATE,
    MODE_INSERT,
    MODE_MARGINS,
    MODE_ORIGIN,
    MODE_SYNC,
)

if TYPE_CHECKING:
    from qsh.terminal.predictor import Predictor
    from qsh.terminal.screen import Screen
    from qsh.wire.terminal import TtyState

__all__ = ["Display"]

HOLD_BYTES: Final = 256
HOLD_S: Final = 0.030
MAX_WAITING: Final = 64
"""Words about input that are kept until the output they speak of is there."""

_BEGIN: Final = b"\x1b[?2026h"
_END: Final = b"\x1b[?2026l"
_NO_DRAWING: Final = MODE_INSERT | MODE_ORIGIN | MODE_SYNC
_SPACE: Final = 0x20
_ASCII: Final = "\x7f"
_CANCEL: Final = b"\x18"
"""Every painting of a whole screen begins with it."""
_RESET: Final = b"\x18\x1bc"
RECORD_BYTES: Final = 64 * 1024
"""Output that is kept until the terminal says where it began."""

Cell = tuple[int, int, str, int, bool]
"""Row, column, text, style, underlined: as Screen.draw takes it."""


class _Overlay(NamedTuple):
    cells: list[Cell]
    cursor: tuple[int, int] | None

    @property
    def places(self) -> list[tuple[int, int]]:
        """All cells that are covered: a wide character takes two."""
        found = []
        for row, col, text, _, _ in self.cells:
            found.append((row, col))
            if text > _ASCII and columns(text[0]) > 1:
                found.append((row, col + 1))
        return found


class _Word(NamedTuple):
    """The rest holds once the output up to ``offset`` is shown."""

    offset: int
    applied: int
    settled: int
    tty: TtyState | None


class Display:
    """One terminal of the user. Every method gives the bytes to write now.

    Without ``screen`` (standard output is no terminal) bytes only pass; without ``predictor`` only the notice is drawn.
    """

    def __init__(self, screen: Screen | None, predictor: Predictor | None = None) -> None:
        self._screen = screen
        self._predictor = predictor if screen is not None else None
        self.position = 0
        """Output that was taken: passed on, or kept back as the beginning of a sequence."""
        self.held = b""
        """The part of it that is kept back."""
        self._held_s = 0.0
        self._drawn: _Overlay | None = None
        self._ahead: int | None = None
        """A painting by datagrams has brought the output up to here, and the stream has not yet."""
        self._placed = False
        """The model is what the terminal shows, row by row."""
        self._painted = False
        """And the host's model too."""
        self._record: bytearray | None = bytearray()
        """Output since the beginning, while :meth:`locate` is possible."""
        self._unknown_rows = 0
        self._scrolled = 0
        self._bar: int | None = None
        self._bare_notice = False
        self.needs_painting = False
        """The terminal shows what nobody knows: a Repaint would help. The caller clears it."""
        self._notice: str | None = None
        self._words: list[_Word] = []
        self._serial = -1
        self._applied = self._settled = 0
        self._tty: TtyState | None = None

    # -- where the terminal stands

    def locate(self, row: int, col: int, now: float) -> bytes:
        """The session began with the cursor there. Until it is known, or a whole screen was painted, nothing is drawn."""
        screen, record = self._screen, self._record
        self._record = None
        if screen is None or record is None or self._placed:
            return b""
        screen.feed(_RESET + b"\x1b[%d;%dH" % (row + 1, col + 1))
        self._scrolled, self._unknown_rows = screen.history_end, row
        screen.skip_to(self.position - len(record))
        screen.feed(bytes(record))
        self._placed = True
        return self.refresh(now)

    def _recorded(self, data: bytes) -> None:
        if self._record is None:
            return
        self._record += data
        if len(self._record) > RECORD_BYTES:
            self._record = None

    # -- output

    def start(self, offset: int, now: float) -> bytes:
        """Output goes on at ``offset``, not before what was taken already."""
        self._ahead = None
        if offset <= self.position:
            return b""
        if self._record:
            self._record = None
        out = self._undraw() + self._release()
        self.position = offset
        if self._screen is not None:
            self._screen.skip_to(offset)
        return out + self.refresh(now)

    def output(self, offset: int, data: bytes, now: float) -> bytes:
        """A range of output, by whichever way. What is known is dropped, and all of it if something before it is missing."""
        skip = self.position - offset
        if skip < 0 or skip >= len(data):
            return self.refresh(now)
        fresh = data[skip:] if skip else data
        self.position += len(fresh)
        if self._screen is None:
            return fresh
        self._recorded(fresh)
        return self._pass(fresh, self.position, now)

    def frame(self, offset: int, data: bytes, now: float) -> bytes:
        """A painting: the terminal shows the output up to ``offset`` then. What datagrams have overtaken is skipped."""
        if self._ahead is not None and offset <= self._ahead:
            if offset == self._ahead:
                self._ahead = None  # what follows on the stream starts from the same screen
            return self.refresh(now)
        self._ahead = None
        if (
            offset < self.position
        ):  # asked for, and overtaken by output in datagrams: going back would double that
            self.needs_painting |= not self._painted
            return self.refresh(now)
        return self._frame(offset, data, now)

    def painted(self, offset: int, data: bytes, now: float) -> bytes:
        """A painting of the whole screen that came in datagrams: a frame up to the same ``offset`` will come on the stream."""
        if offset <= self.position or not data.startswith(_CANCEL):
            return self.refresh(now)
        self._ahead = offset
        return self._frame(offset, data, now)

    def _frame(self, offset: int, data: bytes, now: float) -> bytes:
        self.position = offset
        if self._screen is None:
            return data
        if data.startswith(_CANCEL):
            self._placed = self._painted = True
            self._unknown_rows, self._bare_notice = 0, False
        elif data and not self._painted:
            self.needs_painting = True  # it was made for a screen that began in the corner
        self._record = None
        return self._pass(data, offset, now)

    def event(self, data: bytes, now: float) -> bytes:
        """A sequence that is no part of the output (a bell, a clipboard text)."""
        screen = self._screen
        if screen is None:
            return data
        if screen.boundary != screen.offset:
            return self.clear() + data
        self._record = None
        return self._pass(data, self.position, now)

    def printed(self, text: bytes, now: float) -> bytes:
        """A text of our own, which stays on the screen (escape help)."""
        return self.event(text, now)

    def _pass(self, data: bytes, offset: int, now: float) -> bytes:
        """``data`` to the terminal and the model, which then count ``offset``."""
        screen = self._screen
        assert screen is not None  # noqa: S101 - the callers look
        before = self._undraw()
        screen.feed(data)
        if screen.offset != offset:
            screen.skip_to(offset)
        if self._predictor is not None:
            self._predictor.screen_changed(now)
        self._believe(now)
        data = self._release() + data
        overlay = self._wanted(now)
        unfinished = max(0, offset - screen.boundary)
        if unfinished and overlay is not None:
            if _can_wait(data, unfinished):
                self.held, self._held_s = data[-unfinished:], now
                data = data[:-unfinished]
            else:
                overlay = None
        if overlay is not None:
            after = self._draw(overlay)
            return _together(before, data, after)
        return (_BEGIN + before + _END + data) if before else data

    # -- words about input

    def told(self, offset: int, applied: int, settled: int, tty: TtyState | None) -> None:
        """What the host says of the input, true as soon as the output up to ``offset`` is shown: with the next
        :meth:`output` or :meth:`refresh`.
        """
        if self._predictor is not None:
            self._words.append(_Word(offset, applied, settled, tty))
            del self._words[:-MAX_WAITING]

    def _believe(self, now: float) -> None:
        """Pass on the words whose output is here."""
        if not self._words:
            return
        true = [word for word in self._words if word.offset <= self.position]
        if not true or self._predictor is None:
            return
        self._words = [word for word in self._words if word.offset > self.position]
        for word in true:
            self._applied = max(self._applied, word.applied)
            self._settled = max(self._settled, word.settled)
            if word.tty is not None and word.tty.serial > self._serial:
                self._serial, self._tty = word.tty.serial, word.tty
        self._predictor.state(self._settled, self._tty, now, applied=self._applied)

    # -- the overlay

    def rtt(self, rtt_s: float) -> None:
        """The path's round trip."""
        if self._predictor is not None:
            self._predictor.rtt(rtt_s)

    def typed(self, data: bytes, offset: int, now: float) -> bytes:
        """Keys that were sent."""
        if self._predictor is None:
            return b""
        self._predictor.typed(data, offset, now)
        return self.refresh(now)

    def notice(self, text: str | None, now: float) -> bytes:
        """Show this line at the top, or none."""
        if text == self._notice:
            return self.refresh(now)
        self._notice = text
        if self._screen is not None and not self._placed:
            return self._bare(text)
        return self.refresh(now)

    def _bare(self, text: str | None) -> bytes:
        """The notice on a screen that nobody knows: only a painting takes it off."""
        screen = self._screen
        assert screen is not None  # noqa: S101 - the caller looks
        if text is None:
            self.needs_painting, self._bare_notice = self.needs_painting or self._bare_notice, False
            return b""
        if screen.modes & _NO_DRAWING or screen.boundary != screen.offset:
            return b""
        self._bare_notice = True
        width = screen.cols
        return b"\x1b7\x1b[1;1H\x1b[0;7m%b\x1b[0m\x1b8" % text[:width].ljust(width).encode("ascii")

    def _notice_row(self, screen: Screen, typed: int) -> int:
        """The highest row whose content is known, that is not being typed in, and that is a line by itself: erasing the
        other ones would tell some terminals that the lines they are part of end there.
        """
        first = self._unknown_rows - (screen.history_end - self._scrolled)
        if screen.modes & MODE_ALTERNATE:
            first = 0
        for row in range(max(0, first), screen.rows):
            if row != typed and not screen.row_wrapped(row) and not screen.row_wrapped(row - 1):
                return row
        return screen.rows - 1

    def resized(self, rows: int, cols: int, now: float) -> bool:
        """The window has another size. True: what was drawn may be anywhere now, so ask for a painting."""
        if self._screen is None:
            return False
        damaged = self._drawn is not None
        self._drawn = None
        self._screen.resize(rows, cols)
        if self._predictor is not None:
            self._predictor.resized(now)
        return damaged

    def refresh(self, now: float) -> bytes:
        """Bring what is drawn up to date."""
        screen = self._screen
        if screen is None:
            return b""
        self._believe(now)
        whole = self.position - len(self.held) <= screen.boundary
        overlay = self._wanted(now) if whole else None
        drawn = self._drawn
        if overlay == drawn:
            return b""
        if overlay is None:
            return self._undraw()
        before = b""
        if drawn is not None and drawn.cells == overlay.cells[: len(drawn.cells)]:
            self._drawn = overlay  # the rest is on the terminal already
            return screen.draw(overlay.cells[len(drawn.cells) :], overlay.cursor)
        if drawn is not None:
            stays = set(overlay.places)
            gone = [place for place in drawn.places if place not in stays]
            before = screen.undraw(gone) if gone else b""
        return _together(before, b"", self._draw(overlay))

    def expire(self, now: float) -> bytes:
        """What was kept back long enough goes out."""
        if not self.held or now < self._held_s + HOLD_S:
            return self.refresh(now)
        return self.clear()

    def clear(self) -> bytes:
        """Nothing drawn, nothing kept back: the server's bytes only."""
        before = self._undraw()
        return (_BEGIN + before + _END if before else b"") + self._release()

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` is to be called."""
        found = self._held_s + HOLD_S if self.held else None
        if self._predictor is not None and (later := self._predictor.deadline()) is not None:
            found = later if found is None else min(found, later)
        return found

    def _wanted(self, now: float) -> _Overlay | None:
        """What should be drawn on the screen as the model has it."""
        screen = self._screen
        if screen is None or not self._placed or (self._notice is None and self._predictor is None):
            return None
        modes = screen.modes
        if modes & _NO_DRAWING:
            return None
        cells: list[Cell] = []
        cursor = None
        if self._predictor is not None and not modes & MODE_MARGINS and not screen.cursor[2]:
            guess = self._predictor.overlay(now)
            cells, cursor = list(guess.cells), guess.cursor
        if self._notice is not None:
            row = self._notice_row(screen, (cursor or screen.cursor)[0])
            cells = [cell for cell in cells if cell[0] != row]
            width = screen.cols
            text = self._notice[:width].ljust(width)
            style = self._bar_style()
            cells += [(row, col, text[col], style, False) for col in range(width)]
        return _Overlay(cells, cursor) if cells or cursor is not None else None

    def _bar_style(self) -> int:
        """The model's number of reversed text."""
        if self._bar is None:
            assert self._screen is not None  # noqa: S101 - the caller looks
            scratch = type(self._screen)(1, 2)
            scratch.feed(b"\x1b[7mx")
            self._bar = scratch.cell(0, 0)[2]
        return self._bar

    def _draw(self, overlay: _Overlay) -> bytes:
        assert self._screen is not None  # noqa: S101 - the callers look
        self._drawn = overlay
        return self._screen.draw(overlay.cells, overlay.cursor)

    def _undraw(self) -> bytes:
        drawn, self._drawn = self._drawn, None
        if drawn is None or self._screen is None:
            return b""
        return self._screen.undraw(drawn.places)

    def _release(self) -> bytes:
        held, self.held = self.held, b""
        return held


def _can_wait(data: bytes, unfinished: int) -> bool:
    """Whether the last ``unfinished`` bytes may be kept back: all of them are here, few, and none acts by itself."""
    if unfinished > min(len(data), HOLD_BYTES):
        return False
    return all(byte >= _SPACE for byte in data[-unfinished + 1 :]) if unfinished > 1 else True


def _together(before: bytes, data: bytes, after: bytes) -> bytes:
    """One update for the eye."""
    if not before:
        return data + after
    return _BEGIN + before + data + after + (b"" if after.endswith(_END) else _END)
