"""The same bytes shown directly and through qsh, on the same terminal emulator: nobody may see a difference."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from tests.support import player
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.procs import tree
from tests.support.pty_screen import Screen
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.tool("tmux")

PLAYER = [sys.executable, "-S", player.__file__]
RECORDINGS = Path(__file__).parents[1] / "data/typing"
COLUMNS, ROWS = 80, 24
RESET = b"\x18\x1b\\\x1b[?1049l\x1bc\x1b[3J\x1b]2;t\x1b\\"
"""Before each stream: its effects must not hang over."""
LIMIT_S = 20.0
EQUAL_S = 5.0
MARKER = re.compile(r"── qsh: ([\d,]+) lines skipped")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=PLAIN_SHELL)
    yield server
    server.stop()


def through_qsh(server: LiveServer, *options: str) -> list[str]:
    return server.command(" ".join(PLAYER), options=("-t", *options))


class Shown:
    """A player on an emulator of its own, directly or behind qsh."""

    def __init__(self, argv: Sequence[str], server: LiveServer, folder: Path) -> None:
        env = {**server.env, "LC_ALL": "C.UTF-8"}
        self.screen = Screen(argv, columns=COLUMNS, rows=ROWS, env=env)
        self.screen.wait_for("player ready")
        self._folder = folder
        self._numbers = itertools.count()
        self.path = Path()

    def play(self, data: bytes) -> None:
        """Begin to show it."""
        self.path = self._folder / f"stream{next(self._numbers)}"
        self.path.write_bytes(RESET + data)
        self._begin()

    def _begin(self) -> None:
        self.screen.type(f"play:{self.path}")
        self.screen.press("C-j")

    def play_from_pipe(self) -> BinaryIO:
        """Begin to show what will be written to this; returns when the player has it open."""
        self.path = self._folder / f"stream{next(self._numbers)}"
        os.mkfifo(self.path)
        self._begin()
        return self.path.open("wb", buffering=0)

    @property
    def done(self) -> bool:
        return self.path.with_name(self.path.name + ".done").exists()

    def look(self) -> str:
        return self.screen.look()


class Pair:
    """The truth, and what the user of qsh sees."""

    def __init__(self, server: LiveServer, folder: Path, *options: str) -> None:
        folders = [folder / name for name in ("direct", "qsh")]
        for each in folders:
            each.mkdir()
        self.direct = Shown(PLAYER, server, folders[0])
        try:
            self.qsh = Shown(through_qsh(server, *options), server, folders[1])
        except BaseException:
            self.direct.screen.close()
            raise

    def close(self) -> None:
        self.direct.screen.close()
        self.qsh.screen.close()

    def play(self, data: bytes) -> None:
        """The same on both, until both have it; then they are equal, now or soon."""
        for each in (self.direct, self.qsh):
            each.play(data)
        for each in (self.direct, self.qsh):
            wait_until(lambda each=each: each.done, "the stream is shown", LIMIT_S)
        self.equal()

    def equal(self) -> None:
        expected = self.direct.look()
        deadline = time.monotonic() + EQUAL_S
        while (seen := self.qsh.look()) != expected:
            assert time.monotonic() < deadline, f"should be\n{expected}\nbut is\n{seen}"
            time.sleep(0.02)


def recording(name: str) -> bytes:
    """What a real program put out when somebody worked with it."""
    log = json.loads(gzip.decompress((RECORDINGS / f"{name}.json.gz").read_bytes()))
    return b"".join(each[2].encode("latin-1") for each in log["events"] if each[0] == "o")


HAND_WRITTEN = {
    "plain": b"".join(b"line %d\r\n" % number for number in range(60)),
    "long lines": b"".join(bytes([65 + n % 26]) * (70 + n) + b"\r\n" for n in range(30)),
    "sgr": b"".join(
        b"\x1b[%dmone\x1b[%d;4mtwo\x1b[38;5;%dmthree\x1b[48;2;%d;9;200mfour\x1b[0m\r\n"
        % (30 + n % 8, 90 + n % 8, n * 7, n * 5)
        for n in range(30)
    ),
    "styles": b"".join(b"\x1b[%dm%d\x1b[0m " % (n, n) for n in range(1, 30)),
    "wide": ("漢字かな交じり文 한국어 ｗｉｄｅ\r\n" * 30).encode(),
    "wide at the edge": ("x" * 79 + "漢" + "y" * 78 + "字z\r\n").encode() * 3,
    "combining": ("e\u0301 a\u0308\u0323 n\u0303 q\u0307\u0323\r\n" * 10).encode(),
    "alternate screen": b"before\r\n\x1b[?1049h\x1b[2J\x1b[5;5Hinside\x1b[?25l\x1b[?1049l after",
    "in the alternate screen": b"main\r\n\x1b[?1049h\x1b[H\x1b[44;37m" + b"~ \x1b[K\r\n" * 24,
    "scroll regions": b"".join(b"row %d\r\n" % n for n in range(24))
    + b"\x1b[5;15r\x1b[15;1H\n\n\nin\x1b[5;1H\x1bM\x1bMup\x1b[3L\x1b[2M\x1b[2S\x1b[1T",
    "origin mode": b"\x1b[5;15r\x1b[?6h\x1b[1;1Htop\x1b[99;1Hbottom\x1b[?6l\x1b[1;1Hhome",
    "tabs": b"a\tb\tc\r\n\x1b[3g\x1b[10G\x1bH\x1b[30G\x1bH\ra\tb\tc\r\n\x1b[Zback",
    "line drawing": b"\x1b(0lqqqk\r\nx   x\r\nmqqqj\x1b(B plain \x0e\x1b)0qqq\x0f q",
    "edits": b"abcdefghij\x1b[5D\x1b[2P\x1b[3@XY\x1b[2X\r\n\x1b[4hins\x1b[4lover\x1b[1K\r\nq\x1b[20bz",
    "wrap off": b"\x1b[?7l" + b"w" * 100 + b"\x1b[?7h\r\n" + b"v" * 100,
    "saved cursor": b"\x1b[3;3H\x1b[31m\x1b7\x1b[10;10H\x1b[0mfar\x1b8near\x1b[s\x1b[Hx\x1b[uy",
    "modes": b"\x1b[?1h\x1b=\x1b[?1002h\x1b[?1006h\x1b[?2004h\x1b[?25l",
    "title": b"\x1b]2;a title\x1b\\\x1b]0;another\x07text",
    "unfinished": b"text\r\n\x1b[31mred\x1b]52;c;aGVsbG8",
    "broken utf-8": b"a\xc3(b\xf0\x9fc\xff\xfed\xe2\x82\r\nend",
    "status line": b"".join(b"\x1b7\x1b[24;1H\x1b[7m %d%% \x1b[0m\x1b8" % n for n in range(100)),
    "progress": b"".join(b"\r\x1b[K%d%% %s" % (n, b"#" * (n // 2)) for n in range(101)),
    "top": b"\x1b[?1049h\x1b[?1h\x1b="
    + b"".join(
        b"\x1b[H\x1b[1mtop - %d\x1b[m\x1b[K\r\n\x1b[7m  PID USER\x1b[m\x1b[K" % n
        + b"".join(b"\r\n%5d root %d\x1b[K" % (n * pid, pid) for pid in range(20))
        for n in range(20)
    ),
}
RECORDED = sorted(path.name.removesuffix(".json.gz") for path in RECORDINGS.glob("*.json.gz"))

TOKENS = (
    *(b"\x1b[%dA", b"\x1b[%dB", b"\x1b[%dC", b"\x1b[%dD", b"\x1b[%dG", b"\x1b[%dd", b"\x1b[%dE"),
    *(b"\x1b[%dX", b"\x1b[%dP", b"\x1b[%d@", b"\x1b[%dL", b"\x1b[%dM", b"\x1b[%dS", b"\x1b[%dT"),
    *(b"\x1b[3%dm", b"\x1b[4%dm", b"\x1b[38;5;%dm", b"\x1b[%dm", b"\x1b[%dJ", b"\x1b[%dK"),
)
FIXED = (
    *(b"\r", b"\n", b"\r\n", b"\b", b"\t", b"\x1bM", b"\x1bD", b"\x1bE", b"\x1b7", b"\x1b8"),
    *(
        b"\x1b[H",
        b"\x1b[2J",
        b"\x1b[K",
        b"\x1b[m",
        b"\x1b[?7l",
        b"\x1b[?7h",
        b"\x1b[4h",
        b"\x1b[4l",
    ),
    *(b"\x1b[3;20r", b"\x1b[r", b"\x1b[?6h", b"\x1b[?6l", b"\x1b(0", b"\x1b(B", b"\x1b[?1049h"),
    *(b"\x1b[?1049l", b"\x1b[?25l", b"\x1b[?25h", b"\x1b[!p", b"\x18", b"\x1b]2;x\x07", b"\x07"),
)
WORDS = ["plain words", "漢字", "é", "é", "×", "한", "😀 and 1234567890"]


def random_stream(seed: int, size: int = 6000) -> bytes:
    """What terminals understand, in an order that no program would have."""
    source = random.Random(seed)
    parts: list[bytes] = []
    length = 0
    while length < size:
        kind = source.randrange(10)
        if kind < 4:
            part = source.choice(WORDS).encode() * source.choice((1, 1, 2, 30))
        elif kind < 6:
            part = source.choice(TOKENS) % source.choice((0, 1, 2, 3, 7, 12, 40, 100))
        elif kind < 9:
            part = source.choice(FIXED)
        else:
            part = source.randbytes(source.randrange(1, 6))
        parts.append(part)
        length += len(part)
    return b"".join(parts)


@pytest.fixture(scope="module", params=["never", "adaptive"])
def passing(
    request: pytest.FixtureRequest, server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    options = ("-o", f"QshPrediction={request.param}")
    pair = Pair(server, tmp_path_factory.mktemp("pair"), *options)
    yield pair
    pair.close()


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_streams_look_the_same(passing: Pair, name: str) -> None:
    passing.play(HAND_WRITTEN[name])


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_programs_look_the_same(passing: Pair, name: str) -> None:
    passing.play(recording(name))


@pytest.mark.parametrize("seed", range(12))
def test_random_streams_look_the_same(passing: Pair, seed: int) -> None:
    passing.play(random_stream(seed))


def test_a_difference_would_be_seen(passing: Pair) -> None:
    """The control: screens that differ in one colour are not equal."""
    passing.direct.play(b"\x1b[31mx")
    passing.qsh.play(b"\x1b[32mx")
    for each in (passing.direct, passing.qsh):
        wait_until(lambda each=each: each.done, "the stream is shown", LIMIT_S)
    assert passing.direct.look() != passing.qsh.look()


def test_every_byte_passes(server: LiveServer, tmp_path: Path) -> None:
    """Without predictions the client writes what the program wrote, and nothing else."""
    streams = [*HAND_WRITTEN.values(), *map(recording, RECORDED)]
    streams += [random_stream(seed, 40_000) for seed in range(100, 104)]
    streams.append(random.Random(3).randbytes(100_000))
    argv = through_qsh(server, "-o", "QshPrediction=never", "-o", "QshSkip=exact")
    with OnTerminal(argv, server.env, rows=ROWS, cols=COLUMNS) as terminal:
        terminal.expect(b"player ready\r\n")
        for number, data in enumerate(streams):
            path = tmp_path / f"stream{number}"
            path.write_bytes(data)
            terminal.type(b"play:%s\n" % os.fsencode(path))
            whole = data + player.ASK
            seen = b""
            while len(seen) < len(whole):
                seen += terminal.expect(player.ASK)
            assert seen == whole
            terminal.type(player.ANSWER)
        terminal.type(b"quit:7\n")
        assert terminal.wait() == 7
        assert terminal.output.strip() == b"Connection to 127.0.0.1 closed."


# -- skipping ------------------------------------------------------------------------------------

FLOOD_LINES = 40_000
FINAL = (
    b"\x1b[2J\x1b[H\x1b[1;35mwhat is left\x1b[0m\r\n"
    + "漢字 é \x1b[7mreverse\x1b[0m\r\n".encode()
    + b"\x1b[10;20H\x1b[38;2;1;200;3mtrue\x1b[4munder\x1b[0m\x1b[24;70Hcorner\x1b[12;3H"
)
ENDINGS = {
    "lines": b"",
    "screen": FINAL,
    "alternate": b"\x1b[?1049h" + FINAL,
    "region": FINAL + b"\x1b[5;20r\x1b[20;1H\n\nscrolled",
    "modes": FINAL + b"\x1b[?1h\x1b=\x1b[?1002h\x1b[?1006h\x1b[?25l\x1b[4h\x1b[31m",
}


def numbered(count: int) -> bytes:
    """Lines that tell where they belong; every third has a colour."""
    return b"".join(
        b"%06d \x1b[3%dmsome words to fill the line\x1b[0m\r\n" % (number, number % 7)
        if number % 3 == 0
        else b"%06d some words to fill the line\r\n" % number
        for number in range(count)
    )


def client_of(screen_pids: list[int]) -> int:
    for pid in screen_pids:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if line[1:3] == [b"-m", b"qsh.cli.client"]:
            return pid
    raise AssertionError("no client")


def check_history(lines: list[str], count: int, ending: str) -> int:
    """Numbered lines are in order, and each hole is marked with its true size; lines that were skipped.

    What was on the screen when the program cleared it is in nobody's history.
    """
    expected, skipped = 0, 0
    for line in lines:
        if found := MARKER.search(line):
            hole = int(found[1].replace(",", ""))
            expected += hole
            skipped += hole
        elif re.match(r"\d{6} some words", line):
            assert int(line[:6]) == expected, f"{expected} should follow, not {line!r}"
            expected += 1
    assert count - expected in ((0,) if ending == "lines" else range(ROWS + 1))
    return skipped


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_client_that_was_skipped_ends_at_the_same_screen(
    server: LiveServer, tmp_path: Path, ending: str
) -> None:
    pair = Pair(server, tmp_path)
    try:
        pid = client_of(tree(pair.qsh.screen.pid()))
        lines = numbered(FLOOD_LINES).splitlines(keepends=True)
        begin, rest = b"".join(lines[:1000]), b"".join(lines[1000:]) + ENDINGS[ending]
        pair.direct.play(begin + rest)
        with pair.qsh.play_from_pipe() as pipe:
            pipe.write(RESET + begin)
            pair.qsh.screen.wait_for("000999 some")
            os.kill(pid, signal.SIGSTOP)
            try:
                pipe.write(rest)
                pipe.close()
                wait_until(lambda: pair.qsh.done, "the program is not held back for ever", LIMIT_S)
            finally:
                os.kill(pid, signal.SIGCONT)
        wait_until(lambda: pair.direct.done, "the stream is shown", LIMIT_S)
        pair.equal()
        assert check_history(pair.qsh.screen.lines(), FLOOD_LINES, ending) > 10_000
        # and goes on byte by byte
        for each in (pair.direct, pair.qsh):
            each.play(HAND_WRITTEN["line drawing"])
        wait_until(lambda: pair.direct.done and pair.qsh.done, "the next stream", LIMIT_S)
        pair.equal()
    finally:
        pair.close()
