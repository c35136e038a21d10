"""Recordings: what is written is the format, what is read may be anything."""

from __future__ import annotations

import json

import pytest

from qsh.errors import RecordingError
from qsh.terminal.asciicast import CastWriter, Event, Header, read_event, read_header


def test_the_header() -> None:
    writer = CastWriter(5.0)
    line = writer.header(24, 80, 1_700_000_000, "anna@gate", {"TERM": "xterm"}, "top")
    assert json.loads(line) == {
        "version": 2,
        "width": 80,
        "height": 24,
        "timestamp": 1_700_000_000,
        "command": "top",
        "title": "anna@gate",
        "env": {"TERM": "xterm"},
    }
    assert line.endswith(b"\n")
    assert "command" not in json.loads(writer.header(24, 80, 0, "", {}))
    assert read_header(line) == Header(80, 24, "anna@gate")


def test_names_that_are_no_utf8() -> None:
    line = CastWriter(0.0).header(24, 80, 0, "anna\udcff@gate", {})
    assert read_header(line).title == "anna?@gate"


def test_events() -> None:
    writer = CastWriter(10.0)
    lines = [
        writer.output(10.5, b"\x1b[1mhi\r\n"),
        writer.input(11.0, b"\x03"),
        writer.resize(11.25, 30, 90),
        writer.marker(12.0, "here"),
    ]
    assert [json.loads(line) for line in lines] == [
        [0.5, "o", "\x1b[1mhi\r\n"],
        [1.0, "i", "\x03"],
        [1.25, "r", "90x30"],
        [2.0, "m", "here"],
    ]
    assert read_event(lines[2]).size == (30, 90)


def test_time_does_not_go_back() -> None:
    writer = CastWriter(10.0)
    times = [json.loads(writer.output(now, b"x"))[0] for now in (9.0, 12.0, 11.0, 13.0)]
    assert times == [0.0, 2.0, 2.0, 3.0]


def test_characters_in_pieces() -> None:
    writer = CastWriter(0.0)
    assert writer.output(1.0, "é".encode()[:1]) == b""
    assert json.loads(writer.output(2.0, "é".encode()[1:] + b"a\xff"))[2] == "éa\ufffd"
    assert writer.output(3.0, "€".encode()[:2]) == b""
    assert writer.input(3.0, "€".encode()[:1]) == b""
    assert [json.loads(line)[1:] for line in writer.end(4.0).splitlines()] == [
        ["o", "\ufffd"],
        ["i", "\ufffd"],
    ]
    assert writer.end(5.0) == b""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "cut off"),
        (b'{"version": 2, "width": 80', "cut off"),
        (b"hello\n", "damaged"),
        (b"[" * 100_000 + b"\n", "damaged"),
        (b"[]\n", "no asciicast"),
        (b"{}\n", "no asciicast"),
        (b'{"version": 3, "term": {"cols": 80, "rows": 24}}\n', "version 3"),
        (b'{"version": 2}\n', "width and height"),
        (b'{"version": 2, "width": 80, "height": 0}\n', "width and height"),
        (b'{"version": 2, "width": true, "height": 24}\n', "width and height"),
    ],
)
def test_bad_headers(line: bytes, complaint: str) -> None:
    with pytest.raises(RecordingError, match=complaint):
        read_header(line)


def test_what_a_header_may_ask_for() -> None:
    line = b'{"version": 2, "width": 99999999, "height": 7, "title": 5, "idle_time_limit": 2.5}\n'
    assert read_header(line) == Header(1000, 7, "", 2.5)
    for value in (b"-1", b"1e999", b'"x"', b"null", b"true"):
        assert read_header(line.replace(b"2.5", value)).idle_s is None


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'[1.0, "o", "x"]', "cut off"),
        (b'[1.0, "o", "x\n', "damaged"),
        (b'[1.0, "o"]\n', "no event"),
        (b'{"o": 1}\n', "no event"),
        (b'[1.0, "o", 5]\n', "no event"),
        (b'["1", "o", "x"]\n', "no time"),
        (b'[-1, "o", "x"]\n', "no time"),
        (b'[NaN, "o", "x"]\n', "no time"),
        (b"[" + b"9" * 400 + b', "o", "x"]\n', "no time"),
        (b'[true, "o", "x"]\n', "no time"),
        (b'[1.0, "r", "80"]\n', "no size"),
        (b'[1.0, "r", "80x-4"]\n', "no size"),
        (b'[1.0, "r", "\xd9\xa3x5"]\n', "no size"),
    ],
)
def test_bad_events(line: bytes, complaint: str) -> None:
    with pytest.raises(RecordingError, match=complaint):
        read_event(line)


def test_odd_events_that_are_good() -> None:
    assert read_event(b'[3, "x", ""]\n') == Event(3.0, "x", "")
    assert read_event(b'[3, "o", "a\xff"]\n').data == "a\ufffd"
    assert read_event(b'[3, "r", "9999x0"]\n').size == (1, 1000)
    assert read_event(b'[3, "o", "80x24"]\n').size == (24, 80)
