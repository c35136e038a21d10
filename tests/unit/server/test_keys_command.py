"""What a program that is asked about keys can do to the login child that asks it: answer, or not."""

from __future__ import annotations

import os
import pwd
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.clock import monotonic_s
from qsh.config.tokens import Tokens
from qsh.errors import AuthenticationError
from qsh.server import keys_command
from qsh.server.keys_command import Asking
from qsh.server.safe_files import program_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ME = pwd.getpwuid(os.getuid()).pw_name
TOKENS = Tokens({"u": "anna", "h": "/home/a b"}, "uh")
LIMIT_S = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home" if os.geteuid() == 0 else Path.home()) as path:
        os.chmod(path, 0o755)
        yield Path(path)


def script(folder: Path, text: str, mode: int = 0o755) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return str(path)


def ask(path: str, seconds: float = LIMIT_S, user: str = ME, words: str = "") -> str:
    asking = Asking("AuthorizedKeysCommand", f"{path} {words}".strip(), user)
    return asking.ask(asking.argv(TOKENS), "anna", monotonic_s() + seconds)


def until(condition: object) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def test_it_answers(folder: Path) -> None:
    assert ask(script(folder, 'echo "$# $1 $2"'), words="'%h' %u%%") == "2 /home/a b anna%\n"


def test_signals_mean_to_it_what_they_mean_to_anybody(folder: Path) -> None:
    """The spawner ignores some, and what it forks does, too."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in keys_command.IGNORED_HERE}
    try:
        ignored = int(ask(script(folder, "grep SigIgn /proc/$$/status")).split()[1], 16)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    mask = sum(1 << (number - 1) for number in range(1, 32))
    assert ignored & mask == 0, (
        "the rest are the C library's, and whoever started the tests may ignore them"
    )


def test_bytes_that_are_no_text(folder: Path) -> None:
    assert ask(script(folder, r"printf '\377\n'")) == "\udcff\n"


def test_its_surroundings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "1")
    text = ask(
        script(
            folder,
            "env | cut -d= -f1 | sort | tr '\\n' ' '; pwd; ls /proc/self/fd | wc -l; cat | wc -c",
        )
    )
    names, (descriptors, typed) = text.split("/\n")[0].split(), text.splitlines()[-2:]
    assert set(names) - {"LANG", "OLDPWD", "_"} == {"HOME", "LOGNAME", "PATH", "PWD", "USER"}
    assert int(descriptors) == 4, "three, and the directory that ls reads"
    assert int(typed) == 0


@pytest.mark.root
def test_it_runs_as_its_user(folder: Path) -> None:
    text = ask(
        script(folder, "id -u; id -ru; id -G; grep ^[UG]id: /proc/self/status"), user="nobody"
    )
    entry = pwd.getpwnam("nobody")
    uid, real, groups, *status = text.splitlines()
    assert (uid, real) == (str(entry.pw_uid), str(entry.pw_uid))
    assert groups == str(entry.pw_gid)
    assert {word for line in status for word in line.split()[1:]} == {
        str(entry.pw_uid),
        str(entry.pw_gid),
    }


@pytest.mark.root
def test_it_may_run_as_the_one_who_logs_in(folder: Path) -> None:
    asking = Asking("AuthorizedKeysCommand", script(folder, "id -un"), "%u")
    assert asking.ask(asking.argv(TOKENS), "nobody", monotonic_s() + LIMIT_S) == "nobody\n"


@pytest.mark.parametrize(
    ("text", "seconds", "reason"),
    [
        ("exit 3", LIMIT_S, "failed, status 3"),
        ("kill -9 $$", LIMIT_S, "exited on signal 9"),
        ("sleep 60", 0.3, "did not answer in time"),
        ("exec >/dev/null; sleep 60", 0.3, "did not end in time"),
        ("trap '' TERM HUP INT; sleep 60 & wait", 0.3, "did not answer in time"),
        ("yes", LIMIT_S, "printed more than"),
        ("exec /no/such/program", LIMIT_S, "failed, status 127"),
    ],
)
def test_what_is_no_answer(folder: Path, text: str, seconds: float, reason: str) -> None:
    with pytest.raises(AuthenticationError, match=reason):
        ask(script(folder, text), seconds)


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [("", 0o755, "Exec format error"), ("#!/bin/sh\n", 0o644, "Permission denied")],
)
def test_what_cannot_be_started(folder: Path, text: str, mode: int, reason: str) -> None:
    path = folder / "program"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(AuthenticationError) as caught:
        ask(str(path))
    assert str(caught.value) == f"AuthorizedKeysCommand {path}: {reason}"


def test_what_it_started_ends_with_it(folder: Path) -> None:
    path = script(folder, f"sleep 60 & echo $! > {folder}/pid; wait")
    with pytest.raises(AuthenticationError, match="in time"):
        ask(path, 1.0)
    pid = int((folder / "pid").read_text())
    until(
        lambda: (
            not Path(f"/proc/{pid}/stat").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
        )
    )


def test_it_ends_with_the_login_child(folder: Path) -> None:
    """The monitor kills one whose time is over, or whose client has gone."""
    path = script(folder, f"echo $$ > {folder}/pid; exec sleep 60")
    child = os.fork()
    if child == 0:
        try:
            ask(path)
        finally:
            os._exit(0)
    until((folder / "pid").exists)
    until(lambda: (folder / "pid").read_text().strip())
    pid = int((folder / "pid").read_text())
    assert Path(f"/proc/{pid}").exists(), "positive control"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(
        lambda: (
            not Path(f"/proc/{pid}/stat").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text()
        )
    )


@pytest.mark.parametrize(
    ("path", "user", "reason"),
    [
        ("relative", ME, "not absolute"),
        ("/no/such/file", ME, "No such file"),
        ("/etc", ME, "not a regular file"),
        ("/bin/sh", "no-such-user", "not found"),
        ("/bin/sh", "none", "No user for AuthorizedKeysCommand"),
        ("/bin/sh", "%x", "unknown key"),
    ],
)
def test_what_is_not_run(path: str, user: str, reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        ask(path, user=user)


def test_words_that_cannot_be_read() -> None:
    with pytest.raises(Exception, match="invalid quotes"):
        ask("/bin/sh", words='"x')
    with pytest.raises(Exception, match="unknown key %x"):
        ask("/bin/sh", words="%x")


@pytest.mark.parametrize(
    ("mode", "safe"), [(0o755, True), (0o700, True), (0o775, False), (0o757, False)]
)
def test_who_could_change_the_program(folder: Path, mode: int, safe: bool) -> None:
    assert (program_refusal(script(folder, "", mode), os.getuid()) is None) is safe


def test_who_could_put_another_in_its_place(folder: Path) -> None:
    path = script(folder, "")
    folder.chmod(0o777)
    assert str(folder) in str(program_refusal(path, os.getuid()))


def test_a_link_is_as_good_as_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(script(folder, ""))
    assert program_refusal(str(tmp_path / "link"), os.getuid()) is None
    (folder / "program").chmod(0o777)
    assert program_refusal(str(tmp_path / "link"), os.getuid()) is not None


@pytest.mark.root
def test_a_program_of_another_user(folder: Path) -> None:
    path = script(folder, "")
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    assert "bad ownership" in str(program_refusal(path, os.getuid()))


def test_the_limit_is_that_of_a_file() -> None:
    assert keys_command.MAX_OUTPUT == 4 * 1024 * 1024
