"""`qshctl replay` in a terminal, in a pipe, and with files that are damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from pathlib import Path

HEADER = {"version": 2, "width": 80, "height": 24, "title": "anna@\x1b]2;gate"}
ARGV = (sys.executable, "-m", "qsh.cli.control", "replay")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "session.cast"
    write(path, [0.1, "o", "\x1b]2;a title\x07fi\x1b[1mrst"], [100.0, "o", "\r\nsecond"])
    return path


def write(path: Path, *events: list[Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in (HEADER, *events)))


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [*ARGV, *words]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=30, check=False)


def test_the_last_screen(file: Path) -> None:
    for words, stdin in (((str(file), "--dump"), b""), (("-",), file.read_bytes())):
        found = run(*words, stdin=stdin)
        assert (found.returncode, found.stdout, found.stderr) == (0, b"first\nsecond\n", b"")
    assert run(str(file), "--dump", "--at", "1:39").stdout == b"first\n"


def test_markers_are_passed_over(file: Path) -> None:
    write(file, [0.0, "m", "attached from ::1"], [0.1, "o", "first"], [0.2, "m", ""])
    found = run(str(file), "--dump")
    assert (found.returncode, found.stdout, found.stderr) == (0, b"first\n", b"")


def test_in_a_terminal(file: Path) -> None:
    with OnTerminal([*ARGV, str(file)], rows=30, cols=90) as terminal:
        shown = terminal.expect(b"rst")
        assert b"title" not in shown
        terminal.type(b" ")
        shown += terminal.expect(b"paused")
        terminal.type(b"+ ")
        shown += terminal.expect(b"x2")
        for _ in range(2):
            terminal.type(b"\x1b[A")
        shown += terminal.expect(b"second")
        shown += terminal.expect(b"end")
        terminal.type(b"\x1b[B\x1b[B\x1b[B")
        shown += terminal.expect(b"rst")
        terminal.type(b"q")
        assert terminal.wait() == 0
        shown += terminal.output
        assert b"\x1b]" not in shown
        assert shown.rstrip().endswith(b"\x1b[?1049l")


def test_bounded_silence_and_speed(file: Path) -> None:
    with OnTerminal([*ARGV, str(file), "--max-idle", "0.5", "--speed", "4"]) as terminal:
        terminal.expect(b"second")
        terminal.type(b"\x03")
        assert terminal.wait() == 0


def test_a_window_that_changes(file: Path) -> None:
    with OnTerminal([*ARGV, str(file), "--at", "2"]) as terminal:
        terminal.expect(b"rst")
        terminal.resize(10, 40)
        terminal.expect(b"rst")
        terminal.type(b"q")
        assert terminal.wait() == 0


def test_damaged_lines_are_named_and_the_others_played(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1] + b"rubbish\n" + lines[2] + b'[200, "o", "cut')
    found = run(str(file), "--dump")
    assert found.returncode == 1
    assert found.stdout == b"first\nsecond\n"
    assert found.stderr.decode().splitlines() == [
        f"{file}:3: the line is damaged",
        f"{file}:5: the line is cut off",
    ]
    with OnTerminal([*ARGV, str(file), "--at", "300"]) as terminal:
        terminal.expect(b"second")
        terminal.type(b"q")
        assert terminal.wait() == 1
        assert b":5: the line is cut off" in terminal.output


def test_files_that_are_none(file: Path, tmp_path: Path) -> None:
    for data, complaint in (
        (b"", b":1: the line is cut off"),
        (b"hello\n", b":1: the line is damaged"),
    ):
        file.write_bytes(data)
        found = run(str(file))
        assert found.returncode == 1
        assert complaint in found.stderr
    found = run(str(tmp_path / "none"))
    assert (found.returncode, b"No such file" in found.stderr) == (1, True)
    found = run(str(tmp_path), "--speed", "0")
    assert b"--speed" in found.stderr
    assert b"--at" in run(str(file), "--at", "noon").stderr


def test_a_line_without_an_end(file: Path) -> None:
    with file.open("ab") as more:
        more.write(b"x" * (9 << 20) + b"\n" + b'[101, "o", "!"]\n')
    found = run(str(file), "--dump")
    assert found.stdout == b"first\nsecond!\n"
    assert b":4: the line is too long" in found.stderr
