"""Each key from write to visible, typed at a human's rate into a client on a local terminal.

shell: lines for bash, whose echo can be predicted. Blanks and Enter are typed and not counted; a correction counts once
its mistake was seen. The next key comes after the one before, seen or not, but Enter waits for the line to be whole,
and a line begins with its prompt but where a cell says ``ahead``. ``wrong`` are the times that the line said what was
not typed or took back what it had said, ``missing`` the keys that were not shown in time.
raw: a full-screen program answers each key at a place that changes, so this is the latency of the transport. ``wrong``
are keys that were drawn although the program draws none.
The link's loss, and the flow beside, begin once the prompt is there.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import full_screen, tcp_flow
from bench.stage import Stage, quantile, summary
from bench.tables import by_tool, figure
from bench.tracked_terminal import TrackedTerminal
from bench.typing_script import Key, Line, script
from tests.support.netns import Network, Side
from tests.support.procs import PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.stage import Tool

__all__ = [
    "CELLS",
    "Cell",
    "Found",
    "RawWatch",
    "ShellWatch",
    "measure",
    "start_answering",
    "table",
    "type_raw",
]

SOON_MS = 20
PAUSE_MS = (120, 200)
"""Between two keys, uniform."""
GRACE_S = 10.0
FILL_S = 4.0
"""Until the flow beside has filled the queue."""
OPENING = rb"printf '\n\n'" + b"\r"
AHEAD_S = 0.3
SEED = 1
NUMBER = re.compile(r"<(\d+)>")
NOTICE_MIN = 20
"""A row with more than that in it is a notice of the client's, not a key."""
RAW_KEYS = "ghijkmnop"


@dataclass(frozen=True)
class Cell:
    """A link and what is typed over it."""

    mode: str
    rtt_ms: float = 100
    loss: float = 0.0
    rate_mbit: float = 0.0
    queue_packets: int = 0
    beside: tuple[str, ...] = ()
    """Ways of greedy TCP flows through the same link: ``down``, ``up``."""
    at_once: bool = False
    """Short lines, their first key at the moment that the prompt is seen."""
    ahead: bool = False
    """The first line is begun 0.3 s after a command's Enter, whether or not its prompt is there."""
    share: float = 1.0
    """Of the keys that a cell has by default."""

    @property
    def words_a_line(self) -> int:
        return 1 if self.at_once else 4


LOSSES = (0.0, 0.01, 0.05, 0.29)
CELLS = (
    *(Cell("shell", loss=loss) for loss in LOSSES),
    Cell("shell", rate_mbit=10, queue_packets=500, beside=("down",)),
    Cell("shell", rate_mbit=10, queue_packets=500, beside=("down",), ahead=True, share=0.5),
    *(Cell("shell", rtt_ms=rtt_ms, at_once=True, share=0.4) for rtt_ms in (200, 400)),
    *(Cell("raw", loss=loss) for loss in LOSSES),
)


@dataclass
class Found:
    """What was seen of one cell."""

    typed: int = 0
    missing: int = 0
    wrong: int = 0
    ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    """Of a line's first key."""
    enter_ms: list[float] = field(default_factory=list)
    note: str = ""

    def row(self) -> dict[str, Any]:
        shown = len(self.ms) + self.missing
        return {
            "typed": self.typed,
            "missing": self.missing,
            "wrong": self.wrong,
            "soon": _share(self.ms, shown),
            "first_soon": _share(self.first_ms, len(self.first_ms)),
            "ms": _latencies(self.ms),
            "enter_ms": _latencies(self.enter_ms),
            "note": self.note,
        }


def _share(values: Sequence[float], count: int) -> float | None:
    return round(sum(ms <= SOON_MS for ms in values) / count, 4) if count else None


def _latencies(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"n": 0}
    return {**summary(values), "p95": round(quantile(values, 0.95), 1)}


class ShellWatch:
    """One line being typed: which key does what is shown belong to? Times are seconds of any clock."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.states = [""]
        self.sent: list[tuple[float, bool]] = [(0.0, False)]
        self.seen = 0
        """The last state that was shown."""
        self._wrong = ""

    def typed(self, key: Key, at: float) -> None:
        self.states.append(key.line)
        self.sent.append((at, key.counted))
        self.found.typed += key.counted

    def look(self, line: str, at: float) -> None:
        """``line`` is shown behind the prompt since ``at``."""
        if line == self.states[self.seen]:
            self._wrong = ""
            return
        try:
            now = self.states.index(line, self.seen + 1)
        except ValueError:
            if line != self._wrong:
                self.found.wrong += 1
            self._wrong = line
            return
        for number in range(self.seen + 1, now + 1):
            sent, counted = self.sent[number]
            if counted:
                took_ms = (at - sent) * 1000
                self.found.ms.append(took_ms)
                if number == 1:
                    self.found.first_ms.append(took_ms)
        self.seen, self._wrong = now, ""

    @property
    def pending(self) -> int:
        return sum(counted for _, counted in self.sent[self.seen + 1 :])


class RawWatch:
    """The screen of the answering program."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.sent: list[float] = []
        self.answered = 0
        self._ghost_at = -1

    def typed(self, at: float) -> None:
        self.sent.append(at)
        self.found.typed += 1

    def look(self, lines: Sequence[str], at: float) -> None:
        newest = max((int(number) for number in NUMBER.findall("\n".join(lines))), default=0)
        for number in range(self.answered, min(newest, len(self.sent))):
            self.found.ms.append((at - self.sent[number]) * 1000)
        self.answered = max(self.answered, min(newest, len(self.sent)))
        if 0 < len(lines[-1].strip()) < NOTICE_MIN and self._ghost_at != self.answered:
            self._ghost_at = self.answered
            self.found.wrong += 1

    @property
    def pending(self) -> int:
        return len(self.sent) - self.answered


def measure(
    tools: Sequence[Tool], keys: int, cells: Sequence[Cell] = CELLS
) -> list[dict[str, Any]]:
    """Rows of every cell for every tool; ``keys`` counted keys a cell."""
    rows = []
    for cell in cells:
        for tool in tools:
            count = max(10, round(keys * cell.share))
            rows.append({"tool": tool.name, **asdict(cell), **_one(cell, tool, count)})
    return rows


def _one(cell: Cell, tool: Tool, keys: int) -> dict[str, Any]:
    found = Found()
    network = Network.link(
        delay_ms=cell.rtt_ms / 2, rate_mbit=cell.rate_mbit, queue_packets=cell.queue_packets
    )
    about: dict[str, Any] = {}
    with Stage(network) as stage, contextlib.ExitStack() as stack:
        terminal = TrackedTerminal(stage, tool)
        try:
            terminal.await_prompt()
            if cell.mode == "raw":
                start_answering(stage, terminal)
            terminal.pass_time(0.3)
            network.set(seed=SEED, loss=cell.loss)
            if cell.beside:
                for way in cell.beside:
                    stack.enter_context(tcp_flow.beside(network, way))
                terminal.pass_time(FILL_S)
                about["rtt_filled_ms"] = _ping_ms(network.client, network.server.ip4)
            if cell.mode == "shell":
                lines = script(keys, words_a_line=cell.words_a_line, seed=SEED)
                _shell(terminal, found, lines, cell)
            else:
                type_raw(terminal, found, keys)
        except TimeoutError as error:
            found.note = str(error)
        finally:
            terminal.close()
    return {**found.row(), **about}


def start_answering(stage: Stage, terminal: TrackedTerminal) -> None:
    program = stage.python(Path(full_screen.__file__))
    terminal.type(f"exec {program} answer\r".encode())
    if terminal.wait(lambda: terminal.screen.text(0) == full_screen.ANSWER_START, 30) is None:
        raise TimeoutError(f"the answering program did not start: {terminal.screen.lines()[:4]}")


def _ping_ms(side: Side, host: str) -> float | None:
    done = side.run(["ping", "-c3", "-i0.3", "-W2", host], capture_output=True, text=True)
    found = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    return float(found[1]) if found else None


class _Typist:
    """Keys at a human's rate, whatever the screen does."""

    def __init__(self, terminal: TrackedTerminal) -> None:
        self.terminal = terminal
        self.chance = random.Random(SEED)
        self.due = time.perf_counter()

    def pause_s(self) -> float:
        return self.chance.uniform(*PAUSE_MS) / 1000

    def rest(self) -> None:
        """The next key comes a pause from now."""
        self.due = time.perf_counter() + self.pause_s()

    def press(self, data: bytes) -> float:
        """When it was written. The key after it is due a pause later."""
        at = time.perf_counter()
        self.terminal.type(data)
        self.due = max(at, self.due) + self.pause_s()
        return at


def _shell(terminal: TrackedTerminal, found: Found, lines: Sequence[Line], cell: Cell) -> None:
    typist = _Typist(terminal)
    above = -1
    if cell.ahead:
        above = terminal.screen.row
        terminal.type(OPENING)
        terminal.pass_time(AHEAD_S)
    typist.rest()
    for line in lines:
        row = None if above >= 0 else terminal.prompt_row()
        watch = ShellWatch(found)

        def look(watch: ShellWatch = watch, row: int | None = row, above: int = above) -> None:
            screen = terminal.screen
            if row is None:
                row = terminal.line_row(above)
            if row is not None and not screen.synchronized:
                shown = screen.text(row)
                begun = shown.startswith(PROMPT.rstrip())
                watch.look(shown[len(PROMPT) :] if begun else shown, terminal.read_at)

        for key in line:
            _follow(terminal, typist.due, look)
            watch.typed(key, typist.press(key.data))
        _follow(terminal, typist.due, look)
        deadline = time.perf_counter() + GRACE_S
        while watch.pending and not terminal.ended and time.perf_counter() < deadline:
            if terminal.pump(deadline - time.perf_counter()):
                look()
        found.missing += watch.pending
        entered = typist.press(b"\r")
        found.enter_ms.append((terminal.await_prompt(2 * GRACE_S) - entered) * 1000)
        above = -1
        if cell.at_once:
            typist.due = time.perf_counter()
        else:
            typist.rest()


def type_raw(terminal: TrackedTerminal, found: Found, keys: int) -> None:
    typist = _Typist(terminal)
    typist.rest()
    watch = RawWatch(found)

    def look() -> None:
        if not terminal.screen.synchronized:
            watch.look(terminal.screen.lines(), terminal.read_at)

    for _ in range(keys):
        _follow(terminal, typist.due, look)
        watch.typed(typist.press(typist.chance.choice(RAW_KEYS).encode()))
    deadline = time.perf_counter() + GRACE_S
    while watch.pending and not terminal.ended and time.perf_counter() < deadline:
        if terminal.pump(deadline - time.perf_counter()):
            look()
    found.missing = watch.pending


def _follow(terminal: TrackedTerminal, until: float, look: Any) -> None:
    """Look at what is drawn until a time."""
    while (left_s := until - time.perf_counter()) > 0:
        if terminal.pump(left_s):
            look()
    if terminal.ended:
        raise TimeoutError(f"the client ended: {terminal.screen.lines()[-3:]}")


KEY_GOALS = {0.0: ("≥ 97.5 %", "102 / – / 105"), 0.01: ("≥ 97.5 %", "– / – / 125"),
             0.05: ("≥ 97.5 %", "– / 115 / 160"), 0.29: ("≥ 96 %", "110 / 220 / –")}  # fmt: skip


def _link(row: dict[str, Any]) -> str:
    if row["beside"]:
        ahead = ", begun ahead of the prompt" if row["ahead"] else ""
        return f"beside a TCP flow {' and '.join(row['beside'])}{ahead}, {row['rate_mbit']:g} Mbit, queue {row['queue_packets']}"
    first = ", first key at the prompt" if row["at_once"] else ""
    return f"{row['rtt_ms']:g} ms RTT{first}, {row['loss']:.0%} loss"


def table(rows: list[dict[str, Any]]) -> str:
    def line(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        where, (soon, ms) = _link(row), KEY_GOALS[row["loss"]]
        note = f" ({row['note']})" if row["note"] else ""
        if row["mode"] == "raw":
            numbers = " / ".join(figure(row["ms"], name) for name in ("median", "p95", "p99"))
            lost = f", {row['missing']} missing" if row["missing"] else ""
            yield f"not predictable, {where}: ms median / p95 / p99", numbers + lost + note, ms
            return
        soon = "≥ 90 %" if row["beside"] else soon
        wrong = row["wrong"] / max(1, row["typed"])
        share = "–" if row["soon"] is None else f"{row['soon']:.1%}"
        yield f"predictable, {where}: shown ≤ 20 ms", share + note, soon
        yield "… wrong, missing", f"{wrong:.2%}, {row['missing']}", "≤ 0.3 %, 0"
        if row["at_once"]:
            first = "–" if row["first_soon"] is None else f"{row['first_soon']:.1%}"
            yield "… of a line's first keys", first, soon

    def named(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for name, text, goal in line(row):  # a name is of one row only
            yield (name if not name.startswith("…") else f"{name} ({_link(row)})"), text, goal

    return by_tool("each key, from write to visible", rows, named)
