"""Predictive local echo, sans-IO: what the keys that are under way will do to the screen.

The host says of every piece of output which input had been written to the terminal (*applied*) and which of it has had its effect
(*settled*). Where both are equal the screen is exact: it shows the effect of precisely those keys. From there the keys behind are
applied to a model of the line, so an error lives one round trip at most and output that nobody typed moves the guesses along.

A key whose effect is not known (Enter, Tab, an unknown sequence) is a *barrier*: keys behind it are held until it has settled.
What the terminal's state then says of who echoes (:mod:`qsh.terminal.prediction.tty_class`) decides what becomes of them. Keys
of a secret are thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.terminal.prediction.full_screen import FullScreenGate, RawGate
from qsh.terminal.prediction.guesses import Cells, Guess, matches, shows
from qsh.terminal.prediction.kernel_line import KernelGate, KernelLine, after_erasing
from qsh.terminal.prediction.keys import CONTROL, ESCAPE, FUNCTION, TEXT, Key, KeyReader
from qsh.terminal.prediction.ledger import Ledger
from qsh.terminal.prediction.line_editor import EditLine
from qsh.terminal.prediction.prompts import Prompt, prompt_of
from qsh.terminal.prediction.thresholds import Setting, Thresholds
from qsh.terminal.prediction.tty_class import (
    FULL_SCREEN,
    KERNEL,
    LINE_EDITOR,
    RAW,
    SECRET,
    looks_secret,
    tty_class,
)
from qsh.terminal.prediction.width import columns

if TYPE_CHECKING:
    from qsh.terminal.screen import Screen
    from qsh.wire.terminal import TtyState

__all__ = ["Cell", "Counters", "Overlay", "Predictor", "Setting"]

Cell = tuple[int, int, str, int, bool]
"""Row, column, text, style (-1: as the cell to the left), underlined."""

MAX_PENDING: Final = 512
"""Keys under way for which guesses are kept; those beyond are held."""
QUIET_S: Final = 0.004
"""A prompt may come in pieces: so long nothing is drawn behind a new one."""
BARE_LINE_S: Final = 0.300
"""A new line with nothing in it is a prompt only when it stays so."""
LOST_S: Final = 1.0
"""Without word for so long (or three round trips) nothing is drawn."""
LOST_ROUND_TRIPS: Final = 3
RTT_MATTERS: Final = 0.02
"""Part of the round trip by which it must have changed."""

_LINE_ENDS: Final = "\r\n\x03\x0f\x1a\x1c"
_SEARCHES: Final = "\x12\x13\x16\x18"
_RELAYS: Final = frozenset(
    ["", "ssh", "qsh", "mosh-client", "telnet", "tmux", "tmux: client", "screen", "script"]
).union(["docker", "podman", "kubectl"])
"""Behind these is another terminal, whose state is not known. "": the host does not tell names."""
_ALTERNATE: Final = 1
_BRACKETED_PASTE: Final = 2
_NO_DRAWING: Final = 4 | 8 | 16 | 32 | 256 | 512
"""Insert and origin mode, no wrap, margins, an open update or string: places would not be what they seem."""
_NEVER: Final = float("inf")


class Overlay(NamedTuple):
    """What to draw over the screen. ``cursor``: row and column, None where it truly is."""

    cells: tuple[Cell, ...]
    cursor: tuple[int, int] | None


class Counters(NamedTuple):
    """Keys. ``shown`` were drawn before their echo; some are not judged, as what came after them hid them. ``held``: typed
    while nothing could be drawn (a barrier before them, a program not known to echo)."""

    shown: int
    right: int
    wrong: int
    held: int


_NOTHING: Final = Overlay((), None)


class Predictor:
    """One terminal. ``screen`` is the model of what the user's terminal truly shows; it is read, never changed.

    Order of calls: the screen is fed, :meth:`screen_changed`, then :meth:`state` with what the host said of that output, also
    when it says the same as before, then :meth:`overlay`; :meth:`typed` before the keys are sent.
    """

    def __init__(self, screen: Screen, setting: Setting = "adaptive") -> None:
        self._screen = screen
        self._reader = KeyReader()
        self._thresholds = Thresholds(setting)
        self._ledger = Ledger()
        self._kernel = KernelGate()
        self._raw = RawGate()
        self._full = FullScreenGate()
        self._keys: list[Guess] = []
        self._line: EditLine | KernelLine | None = None
        """None: the screen is not known exactly, or nothing can be guessed on it."""
        self._stopped = False
        """A key under way has an unknown effect."""
        self._base = 0
        self._astray = False
        """The cursor is where no guess expects it."""
        self._tty: TtyState | None = None
        self._class = RAW
        self._secret_prompt = False
        self._suspect = False
        """Letters may be commands or a search until one was echoed."""
        self._floor: int | None = None
        self._floor_row = 0
        self._prompt: Prompt | None = None
        """Of class L's line, as last read; None: not known, or blank."""
        self._ahead = 0
        """Where the kernel's echo of keys typed ahead of the prompt ends."""
        self._columns_typed: int | None = 0
        """Columns of text that settled on this line; None: other keys did, too."""
        self._kernel_typed = ""
        self._settled = 0
        self._fed = True
        """The screen was fed since the host's last word."""
        self._word: tuple[int, int | None, TtyState | None] | None = None
        """The last one, if guesses stand on it."""
        self._overlay: Overlay | None = None
        """As made last; None: something has happened since."""
        self._overlay_until = _NEVER
        """When it becomes another one by itself."""
        self._end = 0
        """Input offset behind the last key."""
        self._release_at = 0.0
        self._left_at: tuple[int, int] | None = None
        """Place of the cursor before the line's end was applied, and the output offset then. None: that was answered."""
        self._offset_before = 0
        self._heard = 0.0
        self._changed = 0.0
        self._now = 0.0
        self._rtt_s = 0.0
        self._shown = self._right = self._wrong = self._held = 0

    @property
    def counters(self) -> Counters:
        return Counters(self._shown, self._right, self._wrong, self._held)

    # -- what happens

    def typed(self, data: bytes, offset: int, now: float) -> None:
        """Keys of the user, whose first byte has the input offset ``offset``."""
        self._now = now
        self._overlay = None
        self._end = offset + len(data)
        if self._thresholds.never:
            return
        for read in self._reader.read(data, offset):
            key = read
            if self._class == SECRET and not self._line_end_pending():
                if not _ends_line(key):
                    continue
            elif len(self._keys) >= MAX_PENDING:
                key = _merged(self._keys.pop().key, key)
            self._append(Guess(key, now), now)

    def state(
        self, settled: int, tty: TtyState | None, now: float, *, applied: int | None = None
    ) -> None:
        """What the host says of the output that the screen shows now.

        ``applied`` is the input that was written to the terminal by then; without it fewer guesses stand.
        """
        self._now = self._heard = now
        if tty is not None:
            self._tty = tty
        # more than was typed is a host's error, and must not settle what is typed later
        settled = max(min(settled, self._end), self._settled)
        if applied is not None:
            applied = min(applied, self._end)
        word = (settled, applied, self._tty)
        if word == self._word and not self._fed and self._line is not None:
            if self._overlay is _NOTHING:
                self._overlay = None  # without word nothing was shown
            return  # a copy of what was said
        self._overlay = None
        self._word, self._fed = word if applied is not None else None, False
        self._classify(now)
        self._settle(settled, applied, now)
        if self._class == SECRET:
            self._forget()
        if self._exact(settled, applied):
            self._rebase(now)
        self._settled = settled
        if applied is None:
            self._offset_before = -1
        elif not self._keys or self._keys[0].key.end > applied:
            self._offset_before = self._screen.offset

    def _exact(self, settled: int, applied: int | None) -> bool:
        """Whether the screen shows the effect of the keys before ``settled``, and of no others."""
        if applied is not None:
            return applied <= settled
        # an echo comes a little before the word that it has settled; with that word it is most likely the last one
        return not self._keys or (self._line is None and settled > self._settled)

    def screen_changed(self, now: float) -> None:
        """The screen was fed."""
        self._now = self._changed = now
        self._overlay, self._fed = None, True
        self._classify(now)
        if self._line is None:
            return
        row, col, _, _ = self._screen.cursor
        place = row * self._screen.cols + col
        self._astray = place != self._base and all(
            guess.effect is None or guess.effect.cursor != place for guess in self._keys
        )

    def resized(self, now: float) -> None:
        """The screen has another size: nothing is known of places until the host's next word."""
        self._now = now
        self._overlay = None
        self._drop()
        self._floor = self._prompt = self._columns_typed = None
        self._ahead = 0

    def rtt(self, rtt_s: float) -> None:
        """The path's smoothed round trip time."""
        if abs(rtt_s - self._rtt_s) <= RTT_MATTERS * self._rtt_s:
            return  # it comes with every word of the host, and all that waits for it would be worked out again
        self._rtt_s = rtt_s
        self._overlay = None
        self._thresholds.rtt(rtt_s)

    # -- what to show

    def overlay(self, now: float) -> Overlay:
        """What to draw now; the guesses in it count as shown."""
        self._now = now
        if self._overlay is None or now >= self._overlay_until:
            self._overlay = self._make_overlay(now)
            self._overlay_until = self._changes_at(now)
        return self._overlay

    def _make_overlay(self, now: float) -> Overlay:
        guesses = self._guesses()
        if not guesses or not self._visible(guesses[0].typed_at, now):
            return _NOTHING
        screen = self._screen
        cols = screen.cols
        found: Cells = {}
        for guess in guesses:
            if guess.effect is not None and guess.effect.cells:
                found.update(guess.effect.cells)
        underline = self._thresholds.underlined()
        cells: list[Cell] = []
        places: set[int] = set()
        there: list[str] = []
        begin = end = 0
        for place, (text, style) in sorted(found.items()):
            row, col = divmod(place, cols)
            if place >= end:  # one call for each row
                begin, end = place, (row + 1) * cols
                last_place = max(other for other in found if other < end)
                row_cells = screen.row_cells(row, col, last_place - row * cols + 1)
                there = [cell[0] for cell in row_cells]
            if text and there[place - begin : place - begin + 1] != [text]:
                places.add(place)
                cells.append((row, col, text, style, underline and text != " "))
        last = guesses[-1].effect
        row, col, _, _ = screen.cursor
        moved = last is not None and last.cursor != row * cols + col
        self._count_shown(guesses, places, moved)
        if last is None or not moved:
            return Overlay(tuple(cells), None) if cells else _NOTHING
        return Overlay(tuple(cells), divmod(last.cursor, cols))

    def deadline(self) -> float | None:
        """When :meth:`overlay` may change by itself."""
        if self._overlay is None or self._now >= self._overlay_until:
            self._overlay_until = self._changes_at(self._now)
        return None if self._overlay_until == _NEVER else self._overlay_until

    def _changes_at(self, now: float) -> float:
        guesses = self._guesses()
        if not guesses:
            return _NEVER
        oldest = guesses[0].typed_at
        times = [self._opens_at(), self._lost_at(oldest)]
        glitch = self._thresholds.shows_at(oldest, now)
        if glitch is not None:
            times.append(glitch)
        return min((at for at in times if now < at), default=_NEVER)

    def _count_shown(self, guesses: list[Guess], places: set[int], moved: bool) -> None:
        for guess in guesses:
            if guess.drawn or guess.effect is None or not guess.effect.cells:
                continue
            # a blank shows by the cursor
            if not places.isdisjoint(guess.effect.cells) or (moved and guess is guesses[-1]):
                guess.drawn = True
                self._shown += 1

    def _guesses(self) -> list[Guess]:
        """The keys under way whose effect is known."""
        if self._line is None or self._class == SECRET:
            return []
        if not self._stopped:
            return self._keys
        return [guess for guess in self._keys if guess.effect is not None]

    def _visible(self, oldest: float, now: float) -> bool:
        return (
            not self._astray
            and now >= self._opens_at()
            and now < self._lost_at(oldest)
            and not self._screen.cursor[2]
            and not self._screen.modes & _NO_DRAWING
            and self._thresholds.showing(oldest, now)
        )

    def _lost_at(self, oldest: float) -> float:
        return max(self._heard, oldest) + max(LOST_S, LOST_ROUND_TRIPS * self._rtt_s)

    def _opens_at(self) -> float:
        """From when on guesses of this class may be seen."""
        program = self._program
        if self._class == SECRET or self._ledger.off(program):
            return _NEVER
        if self._class == KERNEL:
            return max(self._release_at, self._kernel.opens_at(self._rtt_s))
        if self._class == FULL_SCREEN:
            return 0.0 if self._full.open else _NEVER
        if self._class == RAW or program in _RELAYS:
            return self._release_at if self._raw.open else _NEVER
        echoes = self._raw.open or self._ledger.echoes(program, self._prompt)
        return self._release_at if echoes and not self._suspect else _NEVER

    # -- classes

    @property
    def _program(self) -> str:
        return "" if self._tty is None else self._tty.program

    def _classify(self, now: float) -> None:
        modes = self._screen.modes
        found = tty_class(
            self._tty,
            alternate=bool(modes & _ALTERNATE),
            bracketed_paste=bool(modes & _BRACKETED_PASTE),
        )
        if found == KERNEL and self._tty is not None:
            self._kernel.state(self._tty, now)
        else:
            self._kernel.left()
        if found == SECRET and self._tty is not None:
            self._kernel.secret(self._tty)
        if found in (RAW, KERNEL, LINE_EDITOR) and self._secret_prompt:
            found = SECRET
        if found == self._class:
            return
        if self._class == KERNEL and self._kernel_typed:
            # the prompt comes behind them, and then they again
            self._ahead = self._base
            self._floor = self._columns_typed = None
        self._class = found
        self._drop()
        self._raw.line()
        self._full.unknown()
        self._kernel_typed = ""
        if found == SECRET:
            self._forget()

    def _forget(self) -> None:
        """Throw away what was typed of a secret."""
        for at, guess in enumerate(self._keys):
            if _ends_line(guess.key):
                del self._keys[:at]
                return
        self._keys.clear()

    def _line_end_pending(self) -> bool:
        return any(_ends_line(guess.key) for guess in self._keys)

    def _confirmed(self) -> None:
        """A character came true."""
        self._raw.confirmed()
        if self._class == FULL_SCREEN:
            self._full.confirmed()
        elif self._class == LINE_EDITOR:
            if self._prompt is not None and self._columns_typed is not None:
                self._ledger.confirmed(self._program, self._prompt)
            self._suspect = False

    def _missed(self, now: float) -> None:
        self._kernel.missed(now)
        self._raw.missed()
        self._full.missed()
        self._ledger.missed(self._program)

    # -- keys that have had their effect

    def _settle(self, settled: int, applied: int | None, now: float) -> None:
        count = 0
        while count < len(self._keys) and self._keys[count].key.end <= settled:
            count += 1
        if not count:
            return
        batch = self._keys[:count]
        last = batch[-1]
        if last.key.kind == TEXT:
            self._thresholds.echoed(now - last.typed_at, now)
        if self._line is not None and last.effect is not None:
            self._judge(count, applied, now)
        before = self._keys
        self._keys = self._keys[count:]
        if last.effect is None:
            self._drop()
        else:
            self._base = last.effect.cursor
        for guess in batch:
            self._took_effect(guess, before, now)

    def _judge(self, count: int, applied: int | None, now: float) -> None:
        """Compare the screen with the guesses of the first ``count`` keys, the later ones in part."""
        batch = self._keys[:count]
        for last in range(count - 1, len(self._keys)):
            guess = self._keys[last]
            if guess.effect is None or (
                applied is not None and last >= count and guess.key.end > applied
            ):
                break
            if matches(self._screen, self._keys, last, count - 1):
                self._came_true(batch)
                return
        self._came_wrong(batch, now)

    def _came_true(self, batch: list[Guess]) -> None:
        for guess in batch:
            self._verdict(guess, True)
            if guess.telling:
                self._confirmed()

    def _came_wrong(self, batch: list[Guess], now: float) -> None:
        later: set[int] = set()
        wrong: list[bool] = []
        for guess in reversed(batch):
            cells = {} if guess.effect is None else guess.effect.cells
            wrong.append(
                any(
                    place not in later and not shows(self._screen, place, text)
                    for place, (text, _) in cells.items()
                )
            )
            later.update(cells)
        wrong.reverse()
        if not any(wrong):
            wrong[-1] = True
        for guess, is_wrong in zip(batch, wrong, strict=True):
            self._verdict(guess, not is_wrong)
        if len(batch) == 1 and self._replaced(batch[0]):
            self._ledger.replaced(self._program)
        self._missed(now)
        self._drop()

    def _replaced(self, guess: Guess) -> bool:
        """Whether a character that should have pushed others on has taken the place of one."""
        if guess.key.kind != TEXT or guess.effect is None or len(guess.effect.cells) < 2:
            return False
        place = min(guess.effect.cells)
        row, col, _, _ = self._screen.cursor
        there = self._screen.cell(place // self._screen.cols, place % self._screen.cols)
        return there[0] == guess.key.text and place + there[1] == row * self._screen.cols + col

    def _verdict(self, guess: Guess, right: bool) -> None:
        if guess.drawn:
            self._right += right
            self._wrong += not right
        if guess.drawn or self._ledger.off(self._program):
            self._ledger.verdict(self._program, right)

    def _took_effect(self, guess: Guess, before: list[Guess], now: float) -> None:
        """What a settled key means for the line as such."""
        key = guess.key
        if self._tty is not None and self._class == KERNEL:
            self._kernel_typed = after_erasing(self._tty, self._kernel_typed, key)
        if _ends_line(key):
            self._start_line(before, guess, now)
        elif key.kind == TEXT:
            if self._columns_typed is not None:
                self._columns_typed += columns(key.text)
        elif guess.effect is None:
            self._columns_typed = None
            if self._class == FULL_SCREEN:
                self._full.unknown()
            if key.kind == ESCAPE or (key.kind == CONTROL and key.text in _SEARCHES):
                self._suspect = True
        elif not guess.effect.cells or self._columns_typed != 0:
            self._columns_typed = None

    def _start_line(self, before: list[Guess], end: Guess, now: float) -> None:
        known = [guess.effect for guess in before[: before.index(end)] if guess.effect is not None]
        place = known[-1].cursor if known else self._base
        if place == self._floor:
            place = -1  # an empty line: at the bottom the next prompt ends at the same place
        self._left_at = (place, self._offset_before)
        self._columns_typed = self._ahead = 0
        self._floor = self._prompt = None
        self._suspect = self._secret_prompt = False
        self._kernel_typed = ""
        self._kernel.line(now)
        self._raw.line()
        self._full.line()
        self._release_at = _NEVER
        self._classify(now)

    # -- guesses

    def _append(self, guess: Guess, now: float) -> None:
        self._keys.append(guess)
        if self._line is not None and not self._stopped:
            self._apply(guess)
        if guess.key.kind != TEXT or self._class == SECRET:
            return
        if guess.effect is None or now < self._opens_at():
            self._held += 1

    def _apply(self, guess: Guess) -> None:
        assert self._line is not None  # noqa: S101 - the callers look
        if not _ends_line(guess.key):
            guess.effect = self._line.apply(guess.key)
        self._stopped = guess.effect is None

    def _drop(self) -> None:
        """No guess stands; the next exact screen gives new ones."""
        self._line = None
        self._stopped = False
        for guess in self._keys:
            guess.effect = None

    def _rebase(self, now: float) -> None:
        """The screen is exact: guess anew from it."""
        self._astray = False
        self._drop()
        screen = self._screen
        row, col, _, _ = screen.cursor
        place = row * screen.cols + col
        if self._columns_typed == 0 and self._class != FULL_SCREEN:
            self._look_at_prompt(row, col, now)
        if self._class == SECRET:
            return
        self._find_floor(row, place)
        if self._class == LINE_EDITOR:
            self._read_prompt(row, col)
        self._hold_new_line(place, col, now)
        self._base = place
        self._line = self._read_line(row)
        for guess in self._keys:
            if self._stopped:
                break
            self._apply(guess)

    def _look_at_prompt(self, row: int, col: int, now: float) -> None:
        """At the begin of a line: does it ask for a secret?"""
        text = "".join(cell[0] for cell in self._screen.row_cells(row, 0, col))
        if looks_secret(text) != self._secret_prompt:
            self._secret_prompt = not self._secret_prompt
            self._classify(now)

    def _find_floor(self, row: int, place: int) -> None:
        typed = self._columns_typed
        if typed == 0 or (typed is not None and self._floor is None):
            self._floor = place - typed if place >= typed else None
        elif self._floor is not None and row != self._floor_row:
            self._floor = self._moved_floor(row, place)
        self._floor_row = row

    def _moved_floor(self, row: int, place: int) -> int | None:
        """The floor after the cursor came to another row by keys of unknown effect."""
        cols = self._screen.cols
        floor = self._floor
        if floor is None:
            return None
        if row > self._floor_row and self._screen.row_wrapped(row - 1):
            return floor
        moved = row * cols + floor % cols
        return moved if floor // cols == self._floor_row and moved <= place else None

    def _read_prompt(self, row: int, col: int) -> None:
        """Find the prompt of class L's line. Another one than before may be a secret's, also without Enter (``read -n``): what
        was seen of this line does not count for it.
        """
        prompt = None
        if self._floor is not None:
            floor_row, end = divmod(self._floor, self._screen.cols)
            if self._columns_typed != 0 and self._continues(floor_row, col):
                return
            prompt = self._prompt_left_of(floor_row, end)
        if self._columns_typed != 0 and not self._ledger.echoes(self._program, prompt):
            empty = self._prompt_left_of(row, col)
            if self._ledger.echoes(self._program, empty):
                # the keys were for something else, as a full-screen program
                prompt, self._columns_typed = empty, None
                self._floor = row * self._screen.cols + col
        if prompt != self._prompt:
            self._prompt = prompt
            self._raw.line()

    def _prompt_left_of(self, row: int, col: int) -> Prompt | None:
        ahead_row, begin = divmod(self._ahead, self._screen.cols)
        if ahead_row != row or begin > col:
            begin = 0
        return prompt_of(self._screen.row_cells(row, begin, col))

    def _continues(self, row: int, col: int) -> bool:
        """Whether the floor's row holds what was typed, and the prompt has scrolled away."""
        if row > 0:
            return self._screen.row_wrapped(row - 1)
        return self._columns_typed is None or self._columns_typed > col

    def _hold_new_line(self, place: int, col: int, now: float) -> None:
        """When guesses may be drawn on a line that nothing was typed on yet: its prompt has to be there."""
        if self._columns_typed != 0:
            self._release_at = 0.0
        elif self._left_at is not None and (
            self._screen.offset == self._left_at[1] or place == self._left_at[0]
        ):
            self._release_at = _NEVER
        else:
            self._left_at = None
            wait_s = QUIET_S if col else BARE_LINE_S
            self._release_at = self._changed + wait_s

    def _read_line(self, row: int) -> EditLine | KernelLine:
        program = self._program
        if self._class == KERNEL and self._tty is not None:
            return KernelLine(self._screen, self._tty, self._kernel_typed)
        plain = self._class == FULL_SCREEN
        if plain:
            self._full.at(program, row)
        return EditLine(
            self._screen,
            self._floor,
            program=program,
            plain=plain,
            overwrite=self._ledger.overwrites(program),
        )


def _merged(first: Key, second: Key) -> Key:
    """One barrier in place of two keys."""
    if _ends_line(first) or _ends_line(second):
        return Key(CONTROL, "\r", second.end)
    return Key(FUNCTION, "", second.end)


def _ends_line(key: Key) -> bool:
    return key.kind == CONTROL and key.text in _LINE_ENDS
