"""Displays by their names, what xauth(1) says of them, and calls from a host that may be anything."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from qsh.client import x11_calls
from qsh.client.x11_calls import DisplayCalls, Secret, find_secret, parse_display
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import X11, Failed, Open, Target
from tests.support.x11 import setup

if TYPE_CHECKING:
    from pathlib import Path

SECRET = Secret("MIT-MAGIC-COOKIE-1", b"s" * 16)


@pytest.mark.parametrize(
    ("text", "targets", "screen"),
    [
        (":0", (b"/tmp/.X11-unix/X0", b"\0/tmp/.X11-unix/X0"), 0),
        ("unix:12.3", (b"/tmp/.X11-unix/X12", b"\0/tmp/.X11-unix/X12"), 3),
        ("localhost:10.0", (("localhost", 6010),), 0),
        ("host.example:0.999", (("host.example", 6000),), 255),
        (":59535", (b"/tmp/.X11-unix/X59535", b"\0/tmp/.X11-unix/X59535"), 0),
    ],
)
def test_displays(text: str, targets: tuple[Any, ...], screen: int) -> None:
    found = parse_display(text)
    assert found is not None
    paths = (Target(path=each) if isinstance(each, bytes) else Target(*each) for each in targets)
    assert found == (tuple(paths), screen)


@pytest.mark.parametrize("text", ["", ":", "host", ":x", ":-1", ":0.x", ":59536", "a:b:0", ":0 "])
def test_what_is_no_display(text: str) -> None:
    assert parse_display(text) is None


class Options:
    """Those that matter here; xauth is a program of the test."""

    forward_x11 = True

    def __init__(self, xauth: Path, output: str, *, trusted: bool, timeout: int = 1200) -> None:
        self.forward_x11_trusted, self.forward_x11_timeout = trusted, timeout
        self.said = xauth.with_suffix(".said")
        xauth.write_text(f'#!/bin/sh\necho "$@" >> {self.said}\nprintf "{output}"\n')
        xauth.chmod(0o755)
        self.xauth_location = str(xauth)


@pytest.mark.parametrize(
    ("output", "secret"),
    [
        ("vm/unix:0  MIT-MAGIC-COOKIE-1  00ff\\n", Secret("MIT-MAGIC-COOKIE-1", b"\0\xff")),
        ("a  B  0102\\nc  D  03\\n", Secret("B", b"\1\2")),
        ("", None),
        ("vm/unix:0  MIT-MAGIC-COOKIE-1  0\\n", None),
        ("vm/unix:0  MIT-MAGIC-COOKIE-1\\n", None),
        ("vm/unix:0  A;B  00\\n", None),
    ],
)
def test_what_xauth_says(tmp_path: Path, output: str, secret: Secret | None) -> None:
    options: Any = Options(tmp_path / "xauth", output, trusted=True)
    found = find_secret(options, "localhost:10.0")
    assert options.said.read_text() == "list unix:10.0\n"
    if secret is None:
        assert found is not None
        assert (found.protocol, len(found.cookie)) == ("MIT-MAGIC-COOKIE-1", 16)
    else:
        assert found == secret


@pytest.mark.parametrize(
    ("timeout", "words"), [(1200, " timeout 1260"), (0, ""), (2**32, f" timeout {2**32 - 1}")]
)
def test_a_cookie_for_untrusted_programs(tmp_path: Path, timeout: int, words: str) -> None:
    options: Any = Options(tmp_path / "xauth", "d P 00\\n", trusted=False, timeout=timeout)
    assert find_secret(options, ":0") == Secret("P", b"\0")
    generate, listed = options.said.read_text().splitlines()
    folder = generate.split()[1]
    assert generate == f"-f {folder} generate :0 MIT-MAGIC-COOKIE-1 untrusted{words}"
    assert listed == f"-f {folder} list :0"
    assert not os.path.exists(os.path.dirname(folder))


class FakeStream:
    """The host's bytes come from the test; what it is told is kept."""

    def __init__(self, data: bytes) -> None:
        self.send = self.recv = self
        self.data, self.written = data, b""

    async def read(self, max_bytes: int) -> bytes:
        data, self.data = self.data[:max_bytes], self.data[max_bytes:]
        return data

    async def write(self, data: bytes) -> None:
        self.written += data

    def finish(self) -> None: ...
    def stop(self, code: int = 0) -> None: ...

    @property
    def code(self) -> str:
        answer = AnswerReader().receive(self.written)
        assert isinstance(answer, Failed)
        return answer.code


def calls(refuse_at: float | None = None) -> DisplayCalls:
    display = parse_display("127.0.0.1:40000")
    assert display is not None
    return DisplayCalls(display, SECRET, refuse_at)


def served(made: DisplayCalls, data: bytes, x11: X11 | None) -> str:
    stream: Any = FakeStream(data)
    asyncio.run(made.serve(stream, Open("x11", x11=x11)))
    assert isinstance(stream, FakeStream)
    return stream.code


def test_the_hosts_cookie_is_not_the_displays() -> None:
    first, second = calls().offered, calls().offered
    assert len({first.cookie, second.cookie, SECRET.cookie}) == 3
    assert first.protocol == SECRET.protocol


def test_who_is_let_through() -> None:
    made = calls()
    right = setup(made.offered.cookie)
    assert served(made, right, made.offered) == "connect-failed", "nobody is at that display"
    assert served(made, right, None) == "not-permitted"
    assert served(made, setup(b"x" * 16), made.offered) == "not-permitted"
    assert served(made, setup(SECRET.cookie), made.offered) == "not-permitted"
    assert served(made, right[:-1], made.offered) == "not-permitted"
    assert served(made, b"", made.offered) == "not-permitted"


def test_after_the_time_limit(messages: list[str]) -> None:
    made = calls(refuse_at=0.0)
    assert served(made, setup(made.offered.cookie), made.offered) == "not-permitted"
    assert "Rejected X11 connection after ForwardX11Timeout expired" in messages


def test_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(x11_calls, "MAX_OPEN", 0)
    made = calls()
    assert served(made, setup(made.offered.cookie), made.offered) == "resources"
