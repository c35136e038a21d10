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
from qsh.terminal.prediction.guesses import Guess
from qsh.terminal.prediction.judging import judged, replaced
from qsh.terminal.prediction.kernel_line import KernelGate, KernelLine, after_erasing
from qsh.terminal.prediction.keys import (
    CONTROL,
    ESCAPE,
    TEXT,
    KeyReader,
    ends_line,
    merged,
)
from qsh.terminal.prediction.ledger import Ledger
from qsh.terminal.prediction.line_editor import EditLine
from qsh.terminal.prediction.line_start import NEVER, LineStart
from qsh.terminal.prediction.overlay import NOTHING, Cell, Overlay, overlay_of
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

if TYPE_CHECKING:
    from qsh.terminal.screen import Screen
    from qsh.wire.terminal import TtyState

__all__ = ["Cell", "Counters", "Overlay", "Predictor", "Setting"]

MAX_PENDING: Final = 512
"""Keys under way for which guesses are kept; those beyond are held."""
LOST_S: Final = 1.0
"""Without word for so long (or three round trips) keys that the host has and that had no effect are not drawn, and those that it
has not are underlined."""
LOST_ROUND_TRIPS: Final = 3
RTT_MATTERS: Final = 0.02
"""Part of the round trip by which it must have changed."""

_SEARCHES: Final = "\x12\x13\x16\x18"
_RELAYS: Final = frozenset(
    ["", "ssh", "qsh", "mosh-client", "telnet", "tmux", "tmux: client", "screen", "script"]
).union(["docker", "podman", "kubectl"])
"""Behind these is another terminal, whose state is not known. "": the host does not tell names."""
_ALTERNATE: Final = 1
_BRACKETED_PASTE: Final = 2
_NO_DRAWING: Final = 4 | 8 | 16 | 32 | 256 | 512
"""Insert and origin mode, no wrap, margins, an open update or string: places would not be what they seem."""


class Counters(NamedTuple):
    """Keys. ``shown`` were drawn before their echo; some are not judged, as what came after them hid them. ``held``: typed
    while nothing could be drawn (a barrier before them, a program not known to echo)."""

    shown: int
    right: int
    wrong: int
    held: int


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
        self._start = LineStart(screen)
        self._kernel_typed = ""
        self._settled = 0
        self._fed = True
        """The screen was fed since the host's last word."""
        self._word: tuple[int, int | None, TtyState | None] | None = None
        """The last one, if guesses stand on it."""
        self._overlay: Overlay | None = None
        """As made last; None: something has happened since."""
        self._overlay_until = NEVER
        """When it becomes another one by itself."""
        self._silent = False
        """It was made when nothing had been heard for long."""
        self._end = 0
        """Input offset behind the last key."""
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
                if not ends_line(key):
                    continue
            elif len(self._keys) >= MAX_PENDING:
                key = merged(self._keys.pop().key, key)
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
            if self._overlay is NOTHING or self._silent:
                self._overlay = None
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
        self._start.heard(self._keys[0] if self._keys else None, applied)

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
        self._start.forget()

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
            return NOTHING
        self._silent = now >= self._lost_at(guesses[0].typed_at)
        underline = self._thresholds.underlined() or self._silent
        overlay, places = overlay_of(self._screen, guesses, underline=underline)
        self._count_shown(guesses, places, overlay.cursor is not None)
        return overlay

    def deadline(self) -> float | None:
        """When :meth:`overlay` may change by itself."""
        if self._overlay is None or self._now >= self._overlay_until:
            self._overlay_until = self._changes_at(self._now)
        return None if self._overlay_until == NEVER else self._overlay_until

    def _changes_at(self, now: float) -> float:
        guesses = self._guesses()
        if not guesses:
            return NEVER
        oldest = guesses[0].typed_at
        times = [self._opens_at(), self._lost_at(oldest)]
        glitch = self._thresholds.shows_at(oldest, now)
        if glitch is not None:
            times.append(glitch)
        return min((at for at in times if now < at), default=NEVER)

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
            and (now < self._lost_at(oldest) or self._on_their_way())
            and not self._screen.cursor[2]
            and not self._screen.modes & _NO_DRAWING
            and self._thresholds.showing(oldest, now)
        )

    def _lost_at(self, oldest: float) -> float:
        return max(self._heard, oldest) + max(LOST_S, LOST_ROUND_TRIPS * self._rtt_s)

    def _on_their_way(self) -> bool:
        """Whether the host has none of the keys, as far as we were told: then it is the path that makes them wait."""
        if self._word is None:
            return False
        settled, applied, _ = self._word
        return applied is not None and applied <= settled

    def _opens_at(self) -> float:
        """From when on guesses of this class may be seen."""
        program = self._program
        if self._class == SECRET or self._ledger.off(program):
            return NEVER
        if self._class == KERNEL:
            return max(self._start.release_at, self._kernel.opens_at(self._rtt_s))
        if self._class == FULL_SCREEN:
            return 0.0 if self._full.open else NEVER
        if self._class == RAW or program in _RELAYS:
            return self._start.release_at if self._raw.open else NEVER
        echoes = self._raw.open or self._ledger.echoes(program, self._start.prompt)
        return self._start.release_at if echoes and not self._suspect else NEVER

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
            self._start.typed_ahead(self._base)
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
            if ends_line(guess.key):
                del self._keys[:at]
                return
        self._keys.clear()

    def _line_end_pending(self) -> bool:
        return any(ends_line(guess.key) for guess in self._keys)

    def _confirmed(self) -> None:
        """A character came true."""
        self._raw.confirmed()
        if self._class == FULL_SCREEN:
            self._full.confirmed()
        elif self._class == LINE_EDITOR:
            if self._start.prompt is not None and self._start.columns_typed is not None:
                self._ledger.confirmed(self._program, self._start.prompt)
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
        right = judged(self._screen, self._keys, count, applied)
        came_true = all(right)
        for guess, is_right in zip(batch, right, strict=True):
            self._verdict(guess, is_right)
            if came_true and guess.telling:
                self._confirmed()
        if came_true:
            return
        if count == 1 and replaced(self._screen, batch[0]):
            self._ledger.replaced(self._program)
        self._missed(now)
        self._drop()

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
        if ends_line(key):
            self._start_line(before, guess, now)
            return
        self._start.took_effect(guess)
        if key.kind != TEXT and guess.effect is None:
            if self._class == FULL_SCREEN:
                self._full.unknown()
            if key.kind == ESCAPE or (key.kind == CONTROL and key.text in _SEARCHES):
                self._suspect = True

    def _start_line(self, before: list[Guess], end: Guess, now: float) -> None:
        known = [guess.effect for guess in before[: before.index(end)] if guess.effect is not None]
        self._start.begin(known[-1].cursor if known else self._base)
        self._suspect = self._secret_prompt = False
        self._kernel_typed = ""
        self._kernel.line(now)
        self._raw.line()
        self._full.line()
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
        if not ends_line(guess.key):
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
        if self._start.columns_typed == 0 and self._class != FULL_SCREEN:
            self._look_at_prompt(row, col, now)
        if self._class == SECRET:
            return
        self._start.find_floor(row, place)
        program = self._program
        if self._class == LINE_EDITOR and self._start.read_prompt(
            row, col, lambda prompt: self._ledger.echoes(program, prompt)
        ):
            self._raw.line()
        self._start.hold(place, col, self._changed)
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

    def _read_line(self, row: int) -> EditLine | KernelLine:
        program = self._program
        if self._class == KERNEL and self._tty is not None:
            return KernelLine(self._screen, self._tty, self._kernel_typed)
        plain = self._class == FULL_SCREEN
        if plain:
            self._full.at(program, row)
        return EditLine(
            self._screen,
            self._start.floor,
            program=program,
            plain=plain,
            overwrite=self._ledger.overwrites(program),
        )
