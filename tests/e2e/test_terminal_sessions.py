"""qshctl and the sessions of a user: listing, attaching, detaching, killing, reading, and who may."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.pty_screen import Screen
from tests.support.terminal import OnTerminal, wait_until
from tests.support.users import temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRA = f"DetachedMax 1h\n{PLAIN_SHELL}"
PROMPT = b"ready$ "
SHELL = "env PS1='ready$ ' HISTFILE= sh -i"
LIMIT_S = 20.0
FAREWELL = re.compile(rb"\[detached from session (\S+) on \S+; qshctl attach (.+) (\S+)\]")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra=EXTRA)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def nothing_is_left(server: LiveServer) -> Iterator[None]:
    yield
    for row in listed(server):
        control(server, "kill", row["name"])


def config_of(server: LiveServer, key: str) -> str:
    """A configuration with this key and no other."""
    text = (server.home / "config").read_text()
    path = server.home / f"config_{key}"
    path.write_text(
        text.replace(f"IdentityFile {server.home}/id\n", f"IdentityFile {server.home}/{key}\n")
    )
    return str(path)


def argv(server: LiveServer, verb: str, *words: str, key: str = "id", user: str = "") -> list[str]:
    """qshctl's command line."""
    target = f"{user or server.user}@127.0.0.1"
    return [
        *(sys.executable, "-m", "qsh.cli.control", *verb.split(), "-F", config_of(server, key)),
        *("-p", str(server.port), target, *words),
    ]


def control(
    server: LiveServer, verb: str, *words: str, **options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(server, verb, *words, **options),
        capture_output=True,
        text=True,
        check=False,
        env=server.env,
        timeout=LIMIT_S,
        stdin=subprocess.DEVNULL,
    )


def listed(server: LiveServer) -> list[dict[str, Any]]:
    done = control(server, "sessions --json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def on_terminal(server: LiveServer, words: list[str], rows: int = 24, cols: int = 80) -> OnTerminal:
    return OnTerminal(words, {**server.env, "TERM": "xterm-256color"}, rows=rows, cols=cols)


def open_shell(server: LiveServer, *options: str, command: str = SHELL, **size: int) -> OnTerminal:
    words = server.command(command, options=("-t", "-o", "QshPrediction=never", *options))
    terminal = on_terminal(server, words, **size)
    terminal.expect(PROMPT)
    return terminal


def detach(terminal: OnTerminal) -> str:
    """``~d``; the session's name."""
    terminal.type(b"\r")
    terminal.expect(PROMPT)
    terminal.type(b"~d")
    assert terminal.wait() == 0
    found = FAREWELL.search(terminal.output)
    assert found
    assert found[1] == found[3]
    return found[1].decode()


def test_a_detached_session_is_listed_and_attached(server: LiveServer) -> None:
    assert control(server, "sessions").stderr == "no sessions on 127.0.0.1\n"
    with open_shell(server, rows=30, cols=100) as terminal:
        (row,) = listed(server)
        assert (row["attached"], row["rows"], row["cols"]) == (1, 30, 100)
        assert row["user"] == server.user
        assert row["command"] == "sh"
        assert row["started"] <= row["traffic"]
        terminal.type(b"variable=kept\r")
        terminal.expect(PROMPT)
        name = detach(terminal)
    (row,) = listed(server)
    assert (row["name"], row["attached"]) == (name, 0)
    table = control(server, "sessions").stdout.splitlines()
    assert table[0].split()[:3] == ["NAME", "USER", "FROM"]
    assert "detached" in table[1]
    with on_terminal(server, argv(server, "attach", name)) as again:
        again.expect(b"ready$")
        again.type(b"echo $variable; stty size\r")
        again.expect(b"kept")
        again.expect(b"24 80")
        assert listed(server)[0]["attached"] == 1
        again.type(b"exit 9\r")
        assert again.wait() == 9
    wait_until(lambda: listed(server) == [], "the end")


def test_a_process_of_the_user_that_holds_the_lock_keeps_nobody_out(server: LiveServer) -> None:
    """Stopped, say. The session is a bit less than others, and says so."""
    directory = server.home / "sessions" / str(os.getuid())
    with open_shell(server) as terminal:  # the directory is there from now on
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with on_terminal(server, server.command(SHELL, options=("-t",))) as terminal:
            terminal.expect(b"this session cannot be attached from elsewhere")
            terminal.expect(PROMPT)
            terminal.type(b"exit 5\r")
            assert terminal.wait() == 5
    assert any(".lock is held by another process" in line for line in server.log)


def test_detach_and_kill_by_command(server: LiveServer, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with open_shell(server) as terminal:
        hears = "trap 'echo hung up > %s; exit' HUP; echo st''arted; while :; do sleep 0.1; done"
        terminal.type(f"({hears % note})\r".encode())
        terminal.expect(b"started")
        (row,) = listed(server)
        assert control(server, "detach", row["name"]).returncode == 0
        assert terminal.wait() == 0
        assert b"[detached by command from session" in terminal.output
    with on_terminal(server, argv(server, "attach", row["name"])) as again:
        again.expect(b"started")
        assert control(server, "kill", row["name"]).returncode == 0
        assert again.wait() == 255
        assert b"was killed]" in again.output
    wait_until(note.exists, "SIGHUP")
    wait_until(lambda: listed(server) == [], "the end")
    for verb in ("detach", "kill", "history"):
        done = control(server, verb, row["name"])
        assert (done.returncode, done.stdout) == (1, "")
        said = f"qshd: there is no session {row['name']!r}; qshctl sessions lists those there are\n"
        assert done.stderr == said
    with on_terminal(server, argv(server, "attach", "../1")) as wrong:
        assert wrong.wait() == 255
        assert b"there is no session" in wrong.output


def test_history(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"seq 1 500\r")
        terminal.expect(b"\n500\r\n" + PROMPT)
        name = listed(server)[0]["name"]
        lines = control(server, "history", name).stdout.splitlines()
        numbers = [line for line in lines if line.isdigit()]
        assert numbers == [str(number) for number in range(1, 501)]
        some = control(server, "history --lines 10", name).stdout.split()
        assert "499" in some
        assert "100" not in some
        terminal.type(b"exit\r")
        assert terminal.wait() == 0


def test_the_exit_status_waits_for_somebody(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"sleep 0.5; echo last words; exit 17\r")
        terminal.expect(b"\r\n")
        terminal.type(b"~d")
        assert terminal.wait() == 0
    wait_until(lambda: listed(server)[0]["ended"], "the end")
    name = listed(server)[0]["name"]
    with on_terminal(server, argv(server, "attach", name)) as late:
        assert late.wait() == 17
        assert b"last words" in late.output
    wait_until(lambda: listed(server) == [], "the end")


def test_a_login_tells_of_detached_sessions(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        name = detach(terminal)
    notice = f"detached session {name} (sh): left less than a minute ago".encode()
    for setting, told in (("notice", True), ("no", False)):
        words = server.command(options=("-t", "-o", f"QshSessions={setting}"))
        with on_terminal(server, words) as login:
            login.type(b"echo $((6*7)); exit\r")
            assert login.wait() == 0
            assert b"42" in login.output
            assert (notice in login.output) is told


@pytest.mark.tool("tmux")
def test_a_session_is_picked_at_login(server: LiveServer) -> None:
    with open_shell(server) as terminal:
        terminal.type(b"x=picked\r")
        terminal.expect(PROMPT)
        name = detach(terminal)
    env = {**server.env, "LC_ALL": "C.UTF-8"}
    words = server.command(options=("-t", "-o", "QshSessions=ask"))
    with Screen(words, columns=100, rows=30, env=env) as screen:
        screen.wait_for("a new shell")
        assert f"{name}: sh, from" in screen.text()
        screen.press("Enter")
        screen.wait_for("ready$")
        screen.type("echo was-$x")
        screen.press("Enter")
        screen.wait_for("was-picked")
        screen.type("~d")
        assert screen.wait_end() == 0
    with Screen(words, columns=100, rows=30, env=env) as screen:
        screen.wait_for("a new shell")
        screen.press("Down")
        screen.press("Enter")
        screen.wait_for(
            "detached session"
        )  # what is typed while the question is being left is lost
        screen.type("echo new-$((6*7))-$x")
        screen.press("Enter")
        screen.wait_for("\nnew-42-")
        assert "picked" not in screen.text()
    with Screen(words, columns=100, rows=30, env=env) as screen:
        screen.wait_for("a new shell")
        screen.press("C-c")
        assert screen.wait_end() == 255
    server_kill = argv(server, "kill", name)
    assert subprocess.run(server_kill, env=server.env, check=False).returncode == 0
    wait_until(lambda: all(row["name"] != name for row in listed(server)), "its end")


@pytest.mark.tool("tmux")
def test_two_clients_share_the_smaller_size(server: LiveServer) -> None:
    env = {**server.env, "LC_ALL": "C.UTF-8"}
    with Screen(server.command(SHELL, options=("-t",)), columns=100, rows=30, env=env) as large:
        large.wait_for("ready$")
        name = listed(server)[0]["name"]
        with Screen(argv(server, "attach", name), columns=70, rows=40, env=env) as small:
            small.wait_for("ready$")
            wait_until(lambda: listed(server)[0]["attached"] == 2, "both")
            small.type("stty size")
            small.press("Enter")
            for each in (large, small):
                each.wait_for("30 70")
            large.type("echo from-the-large")
            large.press("Enter")
            for each in (large, small):
                each.wait_for("\nfrom-the-large")
            wait_until(lambda: small.text().split() == large.text().split(), "equal screens")
            small.press("Enter")
            small.type("~d")
            assert small.wait_end() == 0
        wait_until(lambda: listed(server)[0]["attached"] == 1, "one has left")
        large.press("Enter")
        large.type("stty size")
        large.press("Enter")
        large.wait_for("30 100")


WRAPPING = "printf '%0150d\\n' 7"
COLOURED = r"printf '\033[44m%-70s\033[m\n\033[41m%070d\033[m\n' blue 1"
REGION = r"printf '\033[?1049h\033[H\033[J\033[5;20r\033[20;1H'; seq 1 40; sleep 1000"


def wait_for_equal_looks(one: Screen, other: Screen, why: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while (first := looks(one)) != (second := looks(other)):
        assert time.monotonic() < deadline, f"{why}:\n{first}\n{second}"
        time.sleep(0.05)


def looks(screen: Screen) -> tuple[list[str], str]:
    """Rows without the blank ones at the end, and the cursor."""
    *rows, state = screen.look().split("\n")
    while rows and not rows[-1]:
        rows.pop()
    return rows, state[: state.index("cursor_flag")]


@pytest.mark.tool("tmux")
def test_a_larger_window_shows_the_smaller_screen_in_its_corner(server: LiveServer) -> None:
    env = {**server.env, "LC_ALL": "C.UTF-8"}
    with Screen(server.command(SHELL, options=("-t",)), columns=100, rows=45, env=env) as large:
        large.wait_for("ready$")
        name = listed(server)[0]["name"]
        with Screen(argv(server, "attach", name), columns=70, rows=30, env=env) as small:
            small.wait_for("ready$")
            for command in (WRAPPING, COLOURED, "seq 1 60", f"{WRAPPING}; seq 1 20", REGION):
                small.type(f"clear; {command}; echo do''ne")
                small.press("Enter")
                if command is REGION:
                    small.wait_for("\n40\n")
                else:
                    small.wait_for("done\nready$")
                wait_for_equal_looks(large, small, command)
                large.press("Space", "BSpace")
            large.resize(110, 50)
            large.press("C-c")
            small.wait_for("ready$")
            small.type(r"printf '\033[r\033[?1049l'; seq 1 61; echo re''sized")
            small.press("Enter")
            small.wait_for("resized\nready$")
            wait_for_equal_looks(large, small, "the resized window")
            assert len(looks(large)[0]) == 30
            small.press("Enter")
            small.type("~d")
            assert small.wait_end() == 0
        wait_until(lambda: listed(server)[0]["rows"] == 50, "all of the window")
        large.type(f"clear; seq 1 80; {WRAPPING}")
        large.press("Enter")
        wait_until(lambda: looks(large)[0][-2:] == ["0" * 39 + "7", "ready$"], "the full width")
        assert looks(large)[0][0] == "34"


# -- rights --------------------------------------------------------------------------------------

NARROW = ('command="echo forced"', "restrict", "no-pty", "restrict,pty", "no-port-forwarding")
VERBS = ("sessions", "detach", "kill", "history", "attach")


@pytest.fixture(scope="module")
def keys(server: LiveServer) -> None:
    """A key for each set of options, all of the same user."""
    path = server.home / "authorized_keys"
    lines = [path.read_text().strip()]
    for number, options in enumerate(NARROW):
        public = server._key(f"narrow{number}")
        lines.append(f"{options} {public.line()}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("options", NARROW)
def test_a_key_with_fewer_rights_sees_and_does_nothing(
    server: LiveServer, keys: None, options: str
) -> None:
    key = f"narrow{NARROW.index(options)}"
    with open_shell(server) as terminal:
        terminal.type(b"echo secret-word\r")
        terminal.expect(PROMPT)
        name = listed(server)[0]["name"]
        for verb in VERBS:
            words = (name,) if verb != "sessions" else ()
            if verb == "attach":
                with on_terminal(server, argv(server, verb, *words, key=key)) as other:
                    assert other.wait() == 255
                    output = other.output.decode()
            else:
                done = control(server, verb, *words, key=key)
                output = done.stdout + done.stderr
                assert done.returncode != 0 or verb == "sessions", (verb, output)
            assert "secret-word" not in output
            assert ("may not use other sessions" in output) or (
                verb == "sessions" and "no sessions" in output
            ), (verb, output)
        assert [row["attached"] for row in listed(server)] == [1]
        terminal.type(b"echo al''ive\r")
        terminal.expect(b"alive")


def test_a_key_with_fewer_rights_has_sessions_of_its_own(server: LiveServer, keys: None) -> None:
    key = f"narrow{NARROW.index('restrict,pty')}"
    with open_shell(server, "-F", config_of(server, key)) as terminal:
        found = json.loads(control(server, "sessions --json", key=key).stdout)
        assert [row["attached"] for row in found] == [1]
        name = detach(terminal)
    with on_terminal(server, argv(server, "attach", name, key=key)) as again:
        again.expect(b"ready$")
        again.type(b"exit 4\r")
        assert again.wait() == 4


@pytest.mark.root
def test_another_user_has_no_way(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/home") as home:
        Path(home).chmod(0o755)
        with temporary_user(Path(home)) as other:
            own_keys = (
                f"Match User {other.name}\nAuthorizedKeysFile .ssh/authorized_keys\nMatch all"
            )
            server = LiveServer(tmp_path, extra=f"{EXTRA}\n{own_keys}")
            other.authorize(server.user_key.line())
            try:
                stays_alone(server, other.name)
            finally:
                server.stop()


def stays_alone(server: LiveServer, other: str) -> None:
    """A session that a user has who is not ``other``."""
    with open_shell(server) as terminal:
        name = listed(server)[0]["name"]
        assert control(server, "sessions --json", user=other).stdout == "[]\n"
        for verb in ("detach", "kill", "history"):
            done = control(server, verb, name, user=other)
            assert done.returncode == 1
            assert "no session" in done.stderr
        with on_terminal(server, argv(server, "attach", name, user=other)) as visitor:
            assert visitor.wait() == 255
            assert b"there is no session" in visitor.output
        terminal.type(b"echo al''ive\r")
        terminal.expect(b"alive")
