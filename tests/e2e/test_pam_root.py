"""Passwords and PAM: a real libpam, services of the test's own, users of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.wire.messages import Auth, AuthAnswers, AuthQuestions, AuthRefused
from tests.support import live_server
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.raw_client import raw_client
from tests.support.terminal import OnTerminal
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsh.wire.messages import Message

pytestmark = pytest.mark.root

LIMIT_S = 20.0
PASSWORD = "correct horse 7"
UNIX = """\
auth required pam_unix.so nodelay
account required pam_unix.so
session required pam_permit.so
password required pam_unix.so
"""


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that processes outside bring about."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def crypted(password: str) -> str:
    made = ["openssl", "passwd", "-6", password]
    return subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()


class PamServer(LiveServer):
    """With a PAM service of its own."""

    def __init__(self, home: Path, rules: str, extra: str = "") -> None:
        self.service = f"qsht{secrets.token_hex(4)}"
        self.file = Path("/etc/pam.d", self.service)
        self.file.write_text(rules)
        named = f"UsePAM yes\nPAMServiceName {self.service}\nLogLevel VERBOSE\n"
        super().__init__(home, named + extra)

    def stop(self) -> None:
        super().stop()
        self.file.unlink()

    def login(
        self,
        user: User | str,
        *words: str,
        answers: tuple[str, ...] = (PASSWORD,),
        options: tuple[str, ...] = (),
        methods: str = "password",
    ) -> subprocess.CompletedProcess[bytes]:
        """With an askpass that gives these answers, one after the other, and writes down what it was asked."""
        self.user = user if isinstance(user, str) else user.name
        asked = self.home / "asked"
        asked.write_text("")
        (self.home / "answers").write_text("".join(f"{answer}\n" for answer in answers))
        program = self.home / "askpass"
        program.write_text(
            f"#!/bin/sh\nprintf '%s\\n' \"$1\" >> {asked}\n"
            f'n=$(wc -l < {asked})\nsed -n "${{n}}p" {self.home}/answers\n'
        )
        program.chmod(0o755)
        return self.run(
            *words,
            options=("-o", f"PreferredAuthentications={methods}", *options),
            env={"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"},
            limit_s=LIMIT_S,
        )

    @property
    def asked(self) -> list[str]:
        return (self.home / "asked").read_text().splitlines()

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.log)


@contextlib.contextmanager
def serving(home: Path, rules: str = UNIX, extra: str = "") -> Iterator[PamServer]:
    server = PamServer(home, rules, extra)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def anna() -> Iterator[User]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        with temporary_user(Path(path), password=crypted(PASSWORD)) as user:
            yield user


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter: users' keys lie there, too."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def unix() -> Iterator[PamServer]:
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        with serving(Path(path)) as server:
            yield server


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password_lets_in(unix: PamServer, anna: User, method: str) -> None:
    done = unix.login(anna, "id -un", methods=method)
    assert (done.stdout.decode().strip(), done.returncode) == (anna.name, 0), done.stderr
    question = {
        "password": f"{anna.name}@127.0.0.1's password: ",
        "keyboard-interactive": f"({anna.name}@127.0.0.1) Password: ",
    }
    assert unix.asked == [question[method]]
    name = {"password": "password", "keyboard-interactive": "keyboard-interactive/pam"}[method]
    until(lambda: unix.logged(f"Accepted {name} for {anna.name} from 127.0.0.1"))
    assert not unix.logged(PASSWORD)


def test_a_wrong_password_is_asked_for_again(unix: PamServer, anna: User) -> None:
    done = unix.login(anna, "id -un", answers=("wrong", PASSWORD))
    assert done.stdout.decode().strip() == anna.name
    assert done.stderr.decode().splitlines() == ["Permission denied, please try again."]
    assert len(unix.asked) == 2


def test_number_of_password_prompts(unix: PamServer, anna: User) -> None:
    done = unix.login(
        anna, "true", answers=("a", "b", "c", "d"), options=("-o", "NumberOfPasswordPrompts=2")
    )
    assert done.returncode == 255
    assert len(unix.asked) == 2
    refused = f"{anna.name}@127.0.0.1: Permission denied (publickey,password,keyboard-interactive)."
    assert done.stderr.decode().splitlines() == ["Permission denied, please try again.", refused]


def test_words_are_the_same_for_nobody(unix: PamServer, anna: User) -> None:
    texts = []
    for user in (anna.name, "nobodyatall"):
        done = unix.login(user, "true", answers=("x",) * 3)
        assert done.returncode == 255
        texts.append((done.stderr.decode().replace(user, "U"), len(unix.asked)))
    assert texts[0] == texts[1]
    until(lambda: unix.logged("Failed password for invalid user nobodyatall from 127.0.0.1"))


def test_a_client_that_does_not_wait_for_the_judgement_has_failed(place: Path, anna: User) -> None:
    """Who goes when the answer is late, which a wrong one's is, tries passwords like everybody: the log says so."""

    async def answer_and_go(server: PamServer) -> None:
        async with raw_client(server.port, server.host_key) as client:
            auth = Auth(user=anna.name, method="password")
            said = client.wire.send_hello("raw") + client.wire.send(auth)
            await client.control.send.write(said)
            while not isinstance(await client.hear(), AuthQuestions):
                pass
            await client.say(AuthAnswers(["wrong"]))
            await asyncio.to_thread(until, (place / "late").exists)

    script = place / "hang"
    script.write_text(f"#!/bin/sh\ntouch {place}/late\nexec tail -f --pid=$PPID /dev/null\n")
    script.chmod(0o755)
    extra = "PerSourcePenalties authfail:60\n"
    with serving(place, UNIX + f"auth required pam_exec.so {script}\n", extra) as server:
        asyncio.run(answer_and_go(server))
        until(lambda: server.logged(f"Failed password for {anna.name} from 127.0.0.1"))
        until(lambda: server.logged("failed authentication: refused for 60 s"))


def test_who_goes_on_instead_of_answering_the_last_time_is_refused_and_nobody_else(
    place: Path, anna: User
) -> None:
    """The attempt counts, as the last one: the front must not ask for another, which would end it and all its connections."""

    async def change_mind(server: PamServer) -> list[Message]:
        async with raw_client(server.port, server.host_key) as client:

            async def until_said(*kinds: type[Message]) -> Message:
                while not isinstance(said := await client.hear(), kinds):
                    pass
                return said

            auth = Auth(user=anna.name, method="keyboard-interactive")
            hello = client.wire.send_hello("raw")
            await client.control.send.write(hello + client.wire.send(auth))
            heard = [await until_said(AuthQuestions)]
            await client.control.send.write(client.wire.send(AuthAnswers(["wrong"])))
            heard.append(await until_said(AuthQuestions))
            await client.control.send.write(client.wire.send(auth))
            return [*heard, await until_said(AuthQuestions, AuthRefused)]

    rules = UNIX.replace("account", "auth optional pam_echo.so hello\naccount", 1)
    with serving(place, rules, "MaxAuthTries 1\n") as server:
        heard = asyncio.run(change_mind(server))
        assert isinstance(heard[1], AuthQuestions)
        assert heard[1].instruction == "hello"
        assert isinstance(heard[2], AuthRefused)
        assert heard[2].final
        assert not server.logged("broke the rules")


def test_batch_mode_asks_nobody(unix: PamServer, anna: User) -> None:
    done = unix.login(anna, "true", options=("-o", "BatchMode=yes"), methods="password")
    assert done.returncode == 255
    assert unix.asked == []


# -- the session ---------------------------------------------------------------------------------

SESSION = """\
auth required pam_permit.so
account required pam_permit.so
session required pam_exec.so seteuid {home}/session
session required pam_env.so readenv=1 envfile={home}/environment
"""


def recording(home: Path) -> str:
    """Rules whose session module writes down what it sees, and one that sets variables."""
    script = home / "session"
    script.write_text(
        f'#!/bin/sh\necho "$PAM_TYPE $PAM_USER $PAM_RHOST $PAM_TTY $PAM_SERVICE" >> {home}/sessions_seen\n'
    )
    script.chmod(0o755)
    (home / "environment").write_text("FROM_PAM=yes\nSSH_CONNECTION=forged\n")
    return SESSION.format(home=home)


def test_a_session_is_opened_and_closed_for_a_key_too(place: Path, anna: User) -> None:
    with serving(place, recording(place)) as server:
        server.user = anna.name
        done = server.run("echo $FROM_PAM $SSH_CONNECTION; ps -o comm= -p $PPID")
        assert done.returncode == 0, done.stderr
        variables, parent = done.stdout.decode().splitlines()
        assert variables.startswith("yes 127.0.0.1 ")
        assert parent == "qshd-session"
        seen = place / "sessions_seen"
        until(lambda: len(seen.read_text().splitlines()) == 2)
        assert [line.split() for line in seen.read_text().splitlines()] == [
            [kind, anna.name, "127.0.0.1", "ssh", server.service]
            for kind in ("open_session", "close_session")
        ]
        until(lambda: server.logged(f"of {anna.name} ended"))


def roles(server: PamServer, name: str) -> list[int]:
    """Processes of this name that are this server's."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and (entry / "comm").read_text() == f"{name}\n"
                and f"{server.home}/qshd_config".encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("qshd-session", signal.SIGKILL),
        ("qshd-session", signal.SIGSEGV),
        ("qshd-keeper", signal.SIGTERM),
    ],
)
def test_a_session_that_is_killed_is_closed(
    place: Path, anna: User, name: str, number: signal.Signals
) -> None:
    with serving(place, recording(place)) as server:
        server.user = anna.name
        argv = server.command("cat")
        with subprocess.Popen(
            argv, env=server.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as client:
            until(lambda: roles(server, "qshd-keeper"))
            until(lambda: roles(server, "qshd-session"))
            os.kill(min(roles(server, name)), number)  # its program bears the name, too, at first
            seen = place / "sessions_seen"
            until(lambda: "close_session" in seen.read_text())
            until(lambda: not roles(server, "qshd-keeper"))
            assert client.wait(LIMIT_S) == 255
        kinds = [line.split()[0] for line in seen.read_text().splitlines()]
        assert kinds == ["open_session", "close_session"]
        until(lambda: server.logged(f"of {anna.name} was killed by signal {int(number)}"))


def test_a_keeper_is_refused_what_nobody_needs_and_its_session_is_not(
    place: Path, anna: User
) -> None:
    with serving(place, recording(place)) as server:
        server.user = anna.name
        done = server.run(
            "cat /proc/$(ps -o ppid= -p $PPID | tr -d ' ')/status; echo; cat /proc/$PPID/status /proc/self/status"
        )
        keeper, *others = (
            [
                line.split()[1]
                for line in part.splitlines()
                if line.startswith(("NoNew", "Seccomp:"))
            ]
            for part in done.stdout.decode().split("\n\n")
        )
        assert keeper == ["0", "2"], done.stderr
        assert others == [["0", "0", "0", "0"]]


def test_a_session_outlives_its_qshd_and_is_closed_then(place: Path, anna: User) -> None:
    """The keeper is nobody's child any more."""
    with serving(place, recording(place), f"{PLAIN_SHELL}\nDetachedMax 1h\n") as server:
        server.user = anna.name
        with OnTerminal(server.command("sh", options=("-t",)), server.env) as terminal:
            terminal.type(b"echo $((40+2))x\r")
            terminal.expect(b"42x")
            server.forget()
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
            seen = place / "sessions_seen"
            assert "close_session" not in seen.read_text()
            server.start()
            terminal.type(b"echo $((50+2))y\r")
            terminal.expect(b"52y")
            terminal.type(b"exit 5\r")
            assert terminal.wait() == 5
        until(
            lambda: seen.read_text().count("close_session") == 2
        )  # the login's that came back, too
        assert seen.read_text().count("open_session") == 2


def test_who_came_by_password_alone_comes_back_unasked(place: Path, anna: User) -> None:
    with serving(place, UNIX, f"{PLAIN_SHELL}\nDetachedMax 1h\n") as server:
        began = time.monotonic()  # a front that ends younger than a second is not replaced
        assert server.login(anna, "true").returncode == 0  # it makes the askpass
        (place / "asked").write_text("")
        env = {**server.env, "SSH_ASKPASS": f"{place}/askpass", "SSH_ASKPASS_REQUIRE": "force"}
        options = ("-t", "-o", "PreferredAuthentications=password")
        with OnTerminal(server.command("sh", options=options), env) as terminal:
            terminal.type(b"echo $((40+2))x\r")
            terminal.expect(b"42x")
            (front,) = roles(server, "qshd-front")
            until(lambda: time.monotonic() - began > 1.2)
            os.kill(front, signal.SIGKILL)
            terminal.type(b"echo $((50+2))y\r")
            terminal.expect(b"52y")
            until(lambda: server.logged(f"Accepted resume for {anna.name}"))
            assert len(server.asked) == 1
            terminal.type(b"exit 6\r")
            assert terminal.wait() == 6


def test_account_rules_hold_for_keys(place: Path, anna: User) -> None:
    rules = "auth required pam_permit.so\naccount required pam_deny.so\nsession required pam_permit.so\n"
    with serving(place, rules) as server:
        server.user = anna.name
        assert server.run("true").returncode == 255
        until(lambda: server.logged("PAM: acct_mgmt: "))
        assert server.logged(f"Failed publickey for {anna.name}")


def test_a_session_that_is_refused_is_a_refused_login(place: Path, anna: User) -> None:
    rules = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_deny.so\n"
    with serving(place, rules) as server:
        server.user = anna.name
        assert server.run("true").returncode == 255
        until(lambda: server.logged("PAM: open_session: "))


def test_limits_of_pam_are_the_sessions(place: Path, anna: User) -> None:
    (place / "limits").write_text("* hard nofile 777\n* soft nofile 777\n")
    rules = (
        "auth required pam_permit.so\naccount required pam_permit.so\n"
        f"session required pam_limits.so conf={place}/limits\n"
    )
    with serving(place, rules) as server:
        server.user = anna.name
        assert server.run("ulimit -n").stdout == b"777\n"


def test_limits_of_pam_are_not_the_recorders(place: Path, anna: User) -> None:
    """Else a user whose files may not be large is recorded for a while only."""
    (place / "limits").write_text("* soft fsize 4\n")
    rules = (
        "auth required pam_permit.so\naccount required pam_permit.so\n"
        f"session required pam_limits.so conf={place}/limits\n"
    )
    extra = f"{PLAIN_SHELL}\nQshRecord closed\nQshRecordPath {place}/recordings/%t.cast\n"
    with serving(place, rules, extra) as server:
        server.user = anna.name
        argv = server.command("ulimit -f; seq 3000; echo end", options=("-tt",))
        done = subprocess.run(
            argv, env={**server.env, "TERM": "xterm"}, stdin=subprocess.DEVNULL,
            capture_output=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.stdout.split()[0] == b"4", done
        until(lambda: server.logged("Recording of") or server.logged("failed"))
        (file,) = (place / "recordings").iterdir()
        assert file.stat().st_size > 8192
        assert not server.logged("failed")


# -- modules that misbehave ----------------------------------------------------------------------


def test_a_module_that_hangs_is_killed_and_holds_up_nobody(place: Path, anna: User) -> None:
    script = place / "hang"
    script.write_text(
        f"#!/bin/sh\n[ $PAM_USER = {anna.name} ] || exit 0\n"
        f"touch {place}/hangs\nexec tail -f --pid=$PPID /dev/null\n"
    )
    script.chmod(0o755)
    rules = f"auth required pam_exec.so {script}\naccount required pam_permit.so\nsession required pam_permit.so\n"
    with serving(place, rules, "LoginGraceTime 3\n") as server:
        slow = subprocess.Popen(
            server.command("true", options=("-o", "PreferredAuthentications=keyboard-interactive", "-l", anna.name)),
            env=server.env, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        until((place / "hangs").exists)
        assert server.run("echo in").stdout == b"in\n"
        _, stderr = slow.communicate(timeout=LIMIT_S)
        assert slow.returncode == 255
        assert b"LoginGraceTime" in stderr
        until(lambda: server.logged("Timeout before authentication for 127.0.0.1"))


def built(place: Path, body: str) -> Path:
    """A PAM module made of this C code."""
    source, module = place / "module.c", place / "module.so"
    source.write_text(
        "#include <stddef.h>\n#include <signal.h>\n#include <unistd.h>\n"
        "int pam_set_item(void *, int, const void *);\n"
        f"int pam_sm_authenticate(void *h, int f, int c, const char **v) {{ {body} }}\n"
        "int pam_sm_setcred(void *h, int f, int c, const char **v) { return 0; }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", module, source], check=True)
    return module


REST = "account required pam_permit.so\nsession required pam_permit.so\n"


@pytest.mark.tool("cc")
def test_a_module_that_crashes_refuses_that_login_only(place: Path, anna: User) -> None:
    module = built(place, "kill(getpid(), SIGSEGV); return 0;")
    with serving(place, f"auth required {module}\n{REST}") as server:
        assert server.login(anna, "true", methods="keyboard-interactive").returncode == 255
        until(lambda: server.logged("the login child ended without a judgement"))
        server.user = anna.name
        assert server.run("echo in").stdout == b"in\n"


@pytest.mark.tool("cc")
def test_a_module_that_changes_the_user_refuses_the_login(place: Path, anna: User) -> None:
    module = built(place, 'return pam_set_item(h, 2, "root");')
    with serving(place, f"auth required {module}\n{REST}") as server:
        assert server.login(anna, "true", methods="keyboard-interactive").returncode == 255
        until(lambda: server.logged("PAM user mismatch: a module made 'root' of"))


# -- AuthenticationMethods -----------------------------------------------------------------------


def test_a_key_and_a_password(place: Path, anna: User) -> None:
    chain = "AuthenticationMethods publickey,password\n"
    with serving(place, UNIX, chain) as server:
        keys = place / "authorized_keys"
        keys.write_text(f'environment="A=b",command="echo forced" {server.user_key.line()}\n')
        done = server.login(anna, "true", methods="publickey,password", options=("-v",))
        assert done.stdout == b"forced\n", done.stderr
        assert b'Authenticated using "publickey" with partial success.' in done.stderr
        until(lambda: server.logged(f"Partial publickey for {anna.name}"))
        assert server.logged(f"Accepted password for {anna.name}")
        for alone in ("publickey", "password"):
            refused = server.login(anna, "true", methods=alone)
            assert refused.returncode == 255
            assert (
                b"Permission denied ("
                + (b"password" if alone == "publickey" else b"publickey")
                + b")"
                in refused.stderr
            )
        assert (
            server.login(anna, "true", answers=("no",) * 3, methods="publickey,password").returncode
            == 255
        )


def test_two_lists(place: Path, anna: User) -> None:
    lists = "AuthenticationMethods publickey,keyboard-interactive:pam password,publickey\n"
    with serving(place, UNIX, lists) as server:
        for methods in ("publickey,keyboard-interactive", "password,publickey"):
            done = server.login(anna, "echo in", methods=methods)
            assert done.stdout == b"in\n", done.stderr
        assert server.login(anna, "true", methods="keyboard-interactive,password").returncode == 255


# -- rules of sshd's -----------------------------------------------------------------------------


def test_root_and_empty_passwords(place: Path, anna: User, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
    with serving(place, rules) as server:  # PermitRootLogin prohibit-password
        assert server.login("root", "true").returncode == 255
        until(lambda: server.logged("PermitRootLogin prohibit-password"))
        assert server.run("echo in").stdout == b"in\n"
        assert server.login(anna, "true", answers=("",) * 3).returncode == 255
    text = live_server._SERVER.replace("PermitRootLogin prohibit-password", "PermitRootLogin yes")
    monkeypatch.setattr(live_server, "_SERVER", text)
    with serving(place, rules, "PermitEmptyPasswords yes\n") as server:
        assert server.login("root", "echo in", answers=("x",)).stdout == b"in\n"
        assert server.login(anna, "echo in", answers=("",)).stdout == b"in\n"


def test_an_expired_password_is_changed_in_the_dialogue(unix: PamServer, anna: User) -> None:
    new = "battery staple 9"
    subprocess.run(["chage", "-d", "0", anna.name], check=True, capture_output=True)
    try:
        done = unix.login(anna, "echo in", answers=(PASSWORD, PASSWORD, new, new))
        assert done.stdout == b"in\n", (done.stderr, unix.asked, unix.log)
        assert "New password" in unix.asked[2]
        assert unix.login(anna, "echo in", answers=(new,)).stdout == b"in\n"
    finally:
        subprocess.run(["usermod", "-p", crypted(PASSWORD), anna.name], check=True)
        subprocess.run(["chage", "-d", "2026-01-01", anna.name], check=True)


def test_an_expired_password_and_a_key(unix: PamServer, anna: User) -> None:
    subprocess.run(["chage", "-d", "0", anna.name], check=True, capture_output=True)
    try:
        unix.user = anna.name
        done = unix.run("echo in")
        assert (done.stdout, done.returncode) == (b"", 1)
        assert done.stderr == b"Password change required but no TTY available.\n"
    finally:
        subprocess.run(["chage", "-d", "2026-01-01", anna.name], check=True)
