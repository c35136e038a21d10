"""``-X`` and ``-Y`` against a real qshd: a real display, who is let through, and whose display a terminal's programs see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.forwarding import read, read_all
from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal, wait_until
from tests.support.x11 import FakeDisplay, Xvfb, connect_x11, setup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.tool("xauth")

SHOW = "echo ${DISPLAY-none}"
REFUSED = b"X11 forwarding request failed on channel 0\r\n"


def server_at(home: Path, extra: str = "") -> LiveServer:
    home.mkdir(exist_ok=True)
    extra = f"{extra}\nX11Forwarding yes\nDetachedMax 1h\nSetEnv XAUTHORITY={home}/xauthority"
    return LiveServer(home, extra)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = server_at(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


@pytest.fixture
def display(tmp_path: Path) -> Iterator[FakeDisplay]:
    with FakeDisplay(tmp_path) as display:
        yield display


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Xvfb]:
    with Xvfb(tmp_path) as screen:
        yield screen


# -- a real display ------------------------------------------------------------------------------


@pytest.mark.tool("Xvfb", "xdpyinfo")
def test_a_program_sees_the_display(server: LiveServer, screen: Xvfb) -> None:
    done = server.run(f"{SHOW}; xdpyinfo", options=("-Y",), env=screen.env)
    first, *lines = done.stdout.decode().splitlines()
    assert first.startswith("localhost:")
    assert any("640x480 pixels" in line for line in lines), done.stderr
    assert done.returncode == 0


@pytest.mark.tool("Xvfb", "xdpyinfo")
def test_an_untrusted_program_sees_less(server: LiveServer, screen: Xvfb) -> None:
    trust = "-oForwardX11Trusted=no"
    trusted, untrusted = (
        server.run("xdpyinfo", options=options, env=screen.env).stdout.decode()
        for options in (("-X", "-oForwardX11Trusted=yes"), ("-X", trust))
    )
    assert "XTEST" in trusted
    assert "dimensions" in untrusted
    assert "XTEST" not in untrusted


@pytest.mark.tool("Xvfb", "xdpyinfo")
def test_the_limit_of_untrusted_programs(server: LiveServer, screen: Xvfb) -> None:
    options = ("-v", "-X", "-oForwardX11Trusted=no", "-oForwardX11Timeout=2")
    command = "n=0; while xdpyinfo >/dev/null 2>&1; do n=1; done; echo $n"
    done = server.run(command, options=options, env=screen.env)
    assert done.stdout == b"1\n"
    assert b"Rejected X11 connection after ForwardX11Timeout expired" in done.stderr


# -- who is let through --------------------------------------------------------------------------


class Session:
    """A program on the host that waits, and its display."""

    def __init__(self, server: LiveServer, *options: str, env: dict[str, str]) -> None:
        self.server = server
        self.process = subprocess.Popen(
            server.command(f"{SHOW}; read x", options=options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**server.env, **env},
        )
        assert self.process.stdout is not None
        self.display = self.process.stdout.readline().decode().strip()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.stderr = self.process.communicate(b"\n", timeout=20)[1]

    @property
    def cookie(self) -> bytes:
        return cookie_of(self.server, self.display)


def cookie_of(server: LiveServer, display: str) -> bytes:
    """What a program finds there."""
    argv = [
        "xauth",
        "-f",
        f"{server.home}/xauthority",
        "list",
        f"unix:{display.rpartition(':')[2]}",
    ]
    done = subprocess.run(argv, capture_output=True, check=True)
    return bytes.fromhex(done.stdout.split()[-1].decode())


@pytest.mark.parametrize("order", "<>")
def test_the_cookie_is_exchanged(server: LiveServer, display: FakeDisplay, order: str) -> None:
    with Session(server, "-Y", env=display.env) as session:
        assert session.display.endswith(".1"), "the screen's number stays"
        assert session.cookie != display.cookie
        with connect_x11(session.display, setup(session.cookie, order=order) + b"more") as sock:
            assert read(sock, 9) == b"hellomore"
    assert display.shown == [setup(display.cookie, order=order)]


@pytest.mark.parametrize(
    "data",
    [
        setup(b"\0" * 16),
        setup(b""),
        setup(b"", b""),
        b"GET / HTTP/1.0\r\n\r\n",
        b"l" + b"\xff" * 11,
        b"B" + bytes(10),
    ],
)
def test_who_does_not_show_it_is_rejected(
    server: LiveServer, display: FakeDisplay, data: bytes
) -> None:
    with Session(server, "-Y", env=display.env) as session:
        with connect_x11(session.display, data) as sock:
            if len(data) == 11:
                sock.shutdown(1)
            try:
                assert read_all(sock) == b""
            except ConnectionResetError:
                pass
        with connect_x11(session.display, setup(session.cookie)) as sock:
            assert read(sock, 5) == b"hello"
    assert len(display.shown) == 1
    assert b"X11 connection rejected because of wrong authentication." in session.stderr


def test_the_display_goes_with_the_program(server: LiveServer, display: FakeDisplay) -> None:
    with Session(server, "-Y", env=display.env) as session:
        connect_x11(session.display, b"").close()

    def refuses() -> bool:
        try:
            connect_x11(session.display, b"").close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refuses)


# -- what is said --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ((), {}, b""),
        (("-X", "-x"), {}, b""),
        (("-Y", "-oForwardX11=yes", "-x"), {}, b""),
        (("-Y",), {"DISPLAY": ""}, b""),
        (("-Y",), {"DISPLAY": "a;b:0"}, b'DISPLAY "a;b:0" invalid; disabling X11 forwarding\r\n'),
        (
            ("-X", "-oForwardX11Trusted=no", "-oXAuthLocation=/nonesuch"),
            {},
            b"Warning: untrusted X11 forwarding setup failed: xauth key data not generated\r\n",
        ),
        (
            ("-X", "-oForwardX11Trusted=no"),
            {"DISPLAY": "127.0.0.1:499"},
            b"Warning: untrusted X11 forwarding setup failed: xauth key data not generated\r\n",
        ),
    ],
)
def test_without(
    server: LiveServer, display: FakeDisplay, options: tuple[str, ...], env: dict[str, str], said: bytes
) -> None:  # fmt: skip
    """The last: there is no such display."""
    done = server.run(SHOW, options=options, env={**display.env, **env})
    assert (done.stdout, done.stderr) == (b"none\n", said)


def test_without_xauth_here(server: LiveServer, display: FakeDisplay) -> None:
    done = server.run(SHOW, options=("-Y", "-oXAuthLocation=/nonesuch"), env=display.env)
    assert done.stdout.startswith(b"localhost:")
    assert done.stderr == (
        b"Warning: No xauth data; using fake authentication data for X11 forwarding.\r\n"
    )


@pytest.mark.parametrize(
    ("config", "key", "shown"),
    [
        ("", "", "localhost:"),
        ("X11DisplayOffset 77", "", "localhost:77"),
        ("X11UseLocalhost no", "", f"{os.uname().nodename}:"),
        ("X11Forwarding no", "", "none"),
        ("DisableForwarding yes", "", "none"),
        ("XAuthLocation /nonesuch", "", "none"),
        ("X11DisplayOffset 1000", "", "none"),
        ("Match User *\nX11Forwarding no\nMatch all", "", "none"),
        ("", "restrict ", "none"),
        ("", "no-X11-forwarding ", "none"),
        ("", "restrict,x11-forwarding ", "localhost:"),
    ],
)
def test_what_the_server_permits(
    tmp_path: Path, display: FakeDisplay, config: str, key: str, shown: str
) -> None:
    server = server_at(tmp_path / "home", config)
    try:
        keys = server.home / "authorized_keys"
        keys.write_text(key + keys.read_text())
        done = server.run(SHOW, options=("-Y",), env=display.env)
        assert done.stdout.decode().startswith(shown)
        assert (done.stderr == REFUSED) is (shown == "none"), done.stderr
    finally:
        server.stop()


# -- a terminal that outlives its clients --------------------------------------------------------


def test_one_display_for_all_clients(tmp_path: Path) -> None:
    server = server_at(tmp_path / "home")
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", "-Y"))
    attach = [sys.executable, "-m", "qsh.cli.control", "attach", "-F", f"{server.home}/config"]
    attach += ["-Y", "-p", str(server.port), server.target, "1"]
    try:
        with FakeDisplay(tmp_path) as one, FakeDisplay(tmp_path) as two:
            with OnTerminal(argv, {**server.env, **one.env}) as first:
                first.expect(b"ready$ ")
                first.type(b"echo at $DISPLAY,\r")
                first.expect(b"at localhost:")
                shown = f"localhost:{first.expect(b',').decode()[:-1]}"
                cookie = cookie_of(server, shown)
                with connect_x11(shown, setup(cookie)) as sock:
                    assert read(sock, 5) == b"hello"
                os.kill(first.pid, signal.SIGKILL)
                with OnTerminal(attach, {**server.env, **two.env}) as second:
                    second.expect(b"ready$ ")
                    with connect_x11(shown, setup(cookie)) as sock:
                        assert read(sock, 5) == b"hello"
                    second.type(b"\r~d")
                    assert second.wait() == 0
            assert (one.shown, two.shown) == ([setup(one.cookie)], [setup(two.cookie)])
    finally:
        server.stop()
