"""What a modern terminal does passes unharmed, both ways; a program's questions are answered by exactly one side."""

from __future__ import annotations

import base64
import itertools
import os
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import player
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = f"{sys.executable} -S {player.__file__}"
READY = b"player ready\r\n"
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=f"DetachedMax 1h\n{PLAIN_SHELL}")
    yield server
    server.stop()


class Played:
    """A player behind qsh, on a terminal that only does what the test does."""

    def __init__(self, server: LiveServer, folder: Path, *options: str) -> None:
        argv = server.command(COMMAND, options=("-t", *options))
        env = {**server.env, "TERM": "xterm-256color"}
        self.terminal = OnTerminal(argv, env)
        self._folder = folder
        self._numbers = itertools.count()

    def begin(self, data: bytes | None) -> Path:
        """Have a stream shown; None: through a pipe."""
        path = self._folder / f"stream{next(self._numbers)}"
        if data is None:
            os.mkfifo(path)
        else:
            path.write_bytes(data)
        self.terminal.type(b"play:%s\n" % os.fsencode(path))
        return path

    def shown(self, data: bytes) -> bytes:
        """What the terminal gets of it."""
        self.begin(data)
        seen = b""
        while len(seen) < len(data + player.ASK):
            seen += self.terminal.expect(player.ASK)
        self.terminal.type(player.ANSWER)
        return seen.removesuffix(player.ASK)

    def answers(self, path: Path) -> bytes:
        """The input that the program got while it played."""
        done = path.with_name(path.name + ".done")
        wait_until(done.exists, "the program has its answers")
        return done.read_bytes()


@pytest.fixture(scope="module", params=["never", "adaptive", "always"])
def played(
    request: pytest.FixtureRequest, server: LiveServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    options = ("-o", f"QshPrediction={request.param}")
    found = Played(server, tmp_path_factory.mktemp("played"), *options)
    with found.terminal as terminal:
        if request.param != "never":
            terminal.expect(b"\x1b[6n")
            terminal.type(b"\x1b[3;1R")
        terminal.expect(READY)
        yield found
        terminal.type(b"quit:0\n")
        assert terminal.wait() == 0


IMAGE = base64.b64encode(bytes(range(256)) * 12)
OUTPUT = {
    "truecolor": b"\x1b[38;2;1;2;3m\x1b[48:2::4:5:6mx\x1b[58;2;7;8;9m\x1b[4:3mcurly\x1b[m",
    "hyperlink": b"\x1b]8;id=1;https://example.org/a?b=c;d\x1b\\text\x1b]8;;\x07",
    "clipboard": b"\x1b]52;c;" + IMAGE + b"\x07\x1b]52;p;?\x1b\\",
    "marks": b"\x1b]133;A\x07$ \x1b]133;B\x07ls\x1b]133;C\x07out\x1b]133;D;0\x07",
    "folder": b"\x1b]7;file://host/some/where%20else\x1b\\",
    "notification": b"\x1b]9;done\x07\x1b]777;notify;title;text\x07\x1b]99;i=1:d=0;hello\x1b\\",
    "progress": b"\x1b]9;4;1;50\x1b\\",
    "sixel": b'\x1bPq"1;1;8;6#0;2;100;0;0#0' + b"~" * 3000 + b"-\x1b\\",
    "kitty graphics": b"\x1b_Ga=T,f=24,s=32,v=32,m=1;"
    + IMAGE
    + b"\x1b\\\x1b_Gm=0;"
    + IMAGE
    + b"\x1b\\",
    "iterm image": b"\x1b]1337;File=inline=1;size=3072:" + IMAGE + b"\x07",
    "kitty keyboard": b"\x1b[>1u\x1b[=5;1u\x1b[<u",
    "paste": b"\x1b[?2004h\x1b[?2004l",
    "mouse and focus": b"\x1b[?1000;1002;1003;1006;1016h\x1b[?1004h\x1b[?1000;1002;1006l\x1b[?1004l",
    "synchronised": b"\x1b[?2026h\x1b[2J\x1b[Hframe\x1b[?2026l",
    "unicode": "👩‍👩‍👧‍👦 é e\u0301 ﷽ \u200bzero \ufe0f\u2764\ufe0f".encode(),
    "tmux control": b"\x1bP1000p%begin 1 2 0\r\n%end 1 2 0\r\n\x1b\\",
    "passthrough": b"\x1bPtmux;\x1b\x1b]52;c;QQ==\x07\x1b\\",
    "8-bit controls": b"\x9b31mx\x9bm\x90q~\x9c\xc2\x9b1m",
    "nothing known": b"\x1b[>99;7~\x1b]31337;x\x07\x1bX string\x1b\\\x1b^pm\x1b\\\x1b#8\x1b%G",
    "everything": bytes(range(256)) * 4,
    "long": b"\x1b]52;c;" + b"A" * 200_000 + b"\x07",
}
INPUT = {
    "mouse": b"\x1b[<0;10;20M\x1b[<0;10;20m\x1b[<64;1;1M\x1b[M !!\x1b[32;10;20M",
    "mouse far away": b"\x1b[M \xff\xfe",
    "focus": b"\x1b[I\x1b[O",
    "kitty keys": b"\x1b[97;5u\x1b[97;1:3u\x1b[57399;2u\x1b[1;5A\x1b[27;5;13~",
    "function keys": b"\x1bOP\x1bOQ\x1bOR\x1b[15~\x1b[1;2R\x1b[3;5~\x1b[24~",
    "bracketed paste": b"\x1b[200~" + b"some text\nand more\t\x03\x04" * 300 + b"\x1b[201~",
    "meta": b"\x1bb\x1bf\x1b\x7f\x1b\x1b[A",
    "unicode": "é漢👍e\u0301".encode(),
    "controls": bytes(range(32)).replace(b"\n", b"") + b"\x7f",
    "all bytes": bytes(range(256)),
    "answers to nobody": b"\x1b[?62;c\x1b[5;5R\x1b]11;rgb:0000/0000/0000\x1b\\\x1bP>|xterm(1)\x1b\\",
    "much": b"".join(b"%07d " % number for number in range(5000)),
}
QUERIES = {
    "DA1": (b"\x1b[c", rb"\x1b\[\?[\d;]+c"),
    "DSR 6": (b"\x1b[6n", rb"\x1b\[\d+;\d+R"),
    "DECRQM": (b"\x1b[?2004$p", rb"\x1b\[\?2004;[0-4]\$y"),
    "XTVERSION": (b"\x1b[>q", rb"\x1bP>\|[^\x1b]+\x1b\\"),
    "OSC 11": (b"\x1b]11;?\x1b\\", rb"\x1b\]11;rgb:[0-9a-f/]+(\x07|\x1b\\)"),
}


@pytest.mark.parametrize("name", OUTPUT)
def test_output_is_what_the_program_wrote(played: Played, name: str) -> None:
    assert played.shown(OUTPUT[name]) == OUTPUT[name]


@pytest.mark.parametrize("name", INPUT)
def test_input_is_what_the_terminal_sent(played: Played, name: str) -> None:
    path = played.begin(b"")
    played.terminal.expect(player.ASK)
    played.terminal.type(INPUT[name] + player.ANSWER)
    assert played.answers(path) == INPUT[name]


@pytest.mark.parametrize("name", QUERIES)
def test_the_terminal_answers_what_it_is_shown(played: Played, name: str) -> None:
    query, _ = QUERIES[name]
    path = played.begin(query)
    played.terminal.expect(query + player.ASK)
    played.terminal.type(b"the terminal's answer" + player.ANSWER)
    assert played.answers(path) == b"the terminal's answer"
    assert played.shown(b"next") == b"next", "and nobody else, later"


ALL_QUERIES = b"".join(query for query, _ in QUERIES.values())
ALL_REPLIES = re.compile(b"".join(reply for _, reply in QUERIES.values()))
ASKED = [query for query, _ in QUERIES.values()] + [player.ASK[-4:]]


def nothing_was_asked(output: bytes) -> bool:
    return not any(query in output for query in ASKED)


@pytest.fixture
def alone(server: LiveServer, tmp_path: Path) -> Iterator[Played]:
    """A session of its own, without predictions."""
    found = Played(server, tmp_path, "-o", "QshPrediction=never")
    with found.terminal as terminal:
        terminal.expect(READY)
        yield found


def test_the_host_answers_when_nobody_is_there(server: LiveServer, alone: Played) -> None:
    path = alone.begin(None)
    with path.open("wb", buffering=0) as pipe:
        alone.terminal.type(b"\r~d")
        found = alone.terminal.expect(b"detached from session ")
        assert alone.terminal.wait() == 0
        name = alone.terminal.output.split()[0].decode()
        pipe.write(ALL_QUERIES)
    assert ALL_REPLIES.fullmatch(alone.answers(path).removeprefix(b"\r")), found
    argv = [*attach(server, name)]
    with OnTerminal(argv, {**server.env, "TERM": "xterm-256color"}) as again:
        again.expect(b"\x1b[?2026l")
        alone.terminal, before = again, alone.terminal
        nothing_is_answered_twice(alone)
        again.type(b"quit:3\n")
        assert again.wait() == 3
        alone.terminal = before


def nothing_is_answered_twice(played: Played) -> None:
    """Short streams until they pass as they are: the program hears nothing but the answers to what they ask."""
    deadline = time.monotonic() + LIMIT_S
    terminal, passes = played.terminal, False
    while not passes:
        assert time.monotonic() < deadline, "still skipped"
        path = played.begin(b"mark")
        done = path.with_name(path.name + ".done")
        seen = terminal.expect(b"mark")
        while not done.exists() and player.ASK not in terminal.output:
            terminal.read_on()
        assert nothing_was_asked(seen), "what was skipped is not asked again"
        passes = player.ASK in terminal.output
        if passes:
            terminal.type(player.ANSWER)
        terminal.output = b""
        assert played.answers(path) == b""


def attach(server: LiveServer, name: str) -> list[str]:
    options = ("-F", f"{server.home}/config", "-p", str(server.port), "-o", "QshPrediction=never")
    return [sys.executable, "-m", "qsh.cli.control", "attach", *options, server.target, name]


def test_the_host_answers_while_the_client_is_skipped(alone: Played) -> None:
    path = alone.begin(None)
    terminal = alone.terminal
    with path.open("wb", buffering=0) as pipe:
        pipe.write(b"passing")
        terminal.expect(b"passing")
        os.kill(terminal.pid, signal.SIGSTOP)
        try:
            pipe.write(b"flood of text\r\n" * 100_000 + ALL_QUERIES)
            pipe.close()
            found = alone.answers(path)
        finally:
            os.kill(terminal.pid, signal.SIGCONT)
    assert ALL_REPLIES.fullmatch(found)
    nothing_is_answered_twice(alone)
    terminal.type(b"quit:0\n")
    assert terminal.wait() == 0
