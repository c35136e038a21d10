"""The Debian packages: built, installed in a clean root beside sshd, used, upgraded under load, removed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.debian_root import DebianRoot
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[2]
NEXT = "0.1.1~test"
USERS = ("ann", "bob", "cyd")
PROMPT = b"ready$ "

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.tool("dpkg-deb", "mmdebstrap", "unshare", "nsenter"),
    pytest.mark.timeout(600),
]


def build(version: str = "") -> list[Path]:
    words = [str(TREE / "packaging" / "deb.sh"), *([version] if version else [])]
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [TREE / name for name in done.stdout.split()[-2:]]


@pytest.fixture(scope="module")
def packages() -> list[Path]:
    return build()


@pytest.fixture(scope="module")
def root(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRoot]:
    path = tmp_path_factory.mktemp("debian") / "root"
    path.parent.parent.chmod(0o755)
    path.parent.chmod(0o755)
    found = DebianRoot(path)
    try:
        found.install(*packages)
        for user in USERS:
            found.shell(
                f"useradd -m -s /bin/bash {user}\n"
                f'su {user} -c \'mkdir -m 700 ~/.ssh; ssh-keygen -q -t ed25519 -N "" -f ~/.ssh/id_ed25519'
                f" && cp ~/.ssh/id_ed25519.pub ~/.ssh/authorized_keys'"
            )
        yield found
    finally:
        found.close()
        shutil.rmtree(path, ignore_errors=True)


def as_user(root: DebianRoot, user: str, command: str, limit_s: float = 30.0) -> str:
    return root.run("su", "-", user, "-c", command, limit_s=limit_s).stdout


def qsh(user: str, command: str = "", *options: str) -> str:
    words = " ".join(("qsh", "-o StrictHostKeyChecking=accept-new -o QshFallback=no", *options))
    return f"{words} {user}@localhost {command}"


def test_nothing_is_started_and_nothing_opened(root: DebianRoot) -> None:
    assert "qshd" not in root.run("ps", "axo", "comm").stdout
    assert not list(root.path.glob("etc/rc?.d/S*qshd"))
    assert not list(root.path.glob("etc/systemd/system/*.wants/qshd*"))


def test_files_are_where_debian_wants_them(root: DebianRoot) -> None:
    for name in (
        *("usr/bin/qsh", "usr/bin/qshctl", "usr/bin/qscp", "usr/bin/qsftp", "usr/sbin/qshd"),
        *("etc/qsh/qshd_config", "etc/pam.d/qshd", "etc/init.d/qshd"),
        *("lib/systemd/system/qshd.service", "usr/share/man/man8/qshd.8.gz"),
    ):
        assert (root.path / name).exists(), name
    for user in ("qsh", "qsh-sign"):
        entry = root.shell(f"getent passwd {user}").split(":")
        assert entry[5:] == ["/run/qshd", "/usr/sbin/nologin\n"]
    owned = root.shell("dpkg-query -L qsh qshd")
    assert "__pycache__" in owned, "compiled at build time: nothing writes below /usr later"
    copyright_text = (root.path / "usr/share/doc/qsh/copyright").read_text()
    assert "quinn-proto" in copyright_text
    assert "cryptography" in copyright_text


def test_the_manual_can_be_read(root: DebianRoot) -> None:
    page = (root.path / "usr/share/man/man1/qsh.1.gz").read_bytes()
    assert b".Dt QSH 1" in gzip.decompress(page)


def test_three_users_log_in_beside_sshd(root: DebianRoot) -> None:
    root.shell("/usr/sbin/sshd")
    root.shell("/etc/init.d/qshd start")
    for user in USERS:
        assert as_user(root, user, qsh(user, "whoami")) == f"{user}\n"
        ssh = f"ssh -o StrictHostKeyChecking=yes {user}@localhost whoami"
        assert as_user(root, user, ssh) == f"{user}\n", "the same host key, the same known_hosts"
    assert root.shell("/etc/init.d/qshd status").startswith("qshd is running")


def test_who_runs_as_whom(root: DebianRoot) -> None:
    who = {
        tuple(line.split()) for line in root.run("ps", "axo", "user,comm").stdout.splitlines()[1:]
    }
    assert ("qsh", "qshd-front") in who
    assert ("qsh-sign", "qshd-sign") in who
    assert ("root", "qshd") in who


def test_a_strange_key_does_not_get_in(root: DebianRoot) -> None:
    """The control of the logins above."""
    done = root.run("su", "-", "ann", "-c", qsh("bob", "true"), check=False)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_the_demo_needs_no_server(root: DebianRoot) -> None:
    assert as_user(root, "cyd", "qshctl demo echo it works") == "it works\n"


def test_an_upgrade_under_load_loses_nothing(root: DebianRoot) -> None:
    """Terminals of all users stay, one of them counting; what is typed while the packages change arrives once."""
    newer = build(NEXT)
    before = root.shell("cat /run/qshd.pid")
    terminals = [
        OnTerminal(
            root.argv("su", "-", user, "-c", qsh(user, "env PS1=\\'ready$ \\' sh -i", "-t")),
            root.env,
        )
        for user in USERS
    ]
    with contextlib.ExitStack() as stack:
        for terminal in terminals:
            stack.enter_context(terminal)
            terminal.expect(PROMPT)
            terminal.type(b"echo pid=$$\r")
            terminal.expect(b"pid=")
        terminals[0].type(
            b"i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo line $i; done; echo do''ne\r"
        )
        terminals[1].type(b"echo before >> ~/typed\r")
        said = root.install(*newer)
        terminals[1].type(b"echo after >> ~/typed\r")
        assert "qshd" in said
        assert root.shell("cat /run/qshd.pid") != before, "it was restarted"
        assert NEXT in root.run("qshd", "-V").stderr
        terminals[0].expect(b"done", 30.0)
        for terminal in terminals:
            terminal.type(b"echo still=$$ here\r")
            terminal.expect(b" here\r\n", 30.0)
        typed = root.path / "home" / "bob" / "typed"
        wait_until(lambda: typed.read_text() == "before\nafter\n", "both lines, once")
        for terminal in terminals:
            terminal.type(b"exit 7\r")
            assert terminal.wait() == 7
    assert as_user(root, "cyd", qsh("cyd", "whoami")) == "cyd\n"


def test_it_is_removed_again(root: DebianRoot) -> None:
    detached = OnTerminal(
        root.argv("su", "-", "ann", "-c", qsh("ann", "env PS1=\\'ready$ \\' sh -i", "-t")), root.env
    )
    with detached:
        detached.expect(PROMPT)
        root.run("dpkg", "--remove", "qshd")
        assert (root.path / "etc/qsh/qshd_config").exists()
        assert "qshd-session" in root.run("ps", "axo", "comm").stdout, "as sshd's sessions do"
        os.kill(detached.pid, signal.SIGKILL)
    root.run("dpkg", "--purge", "qshd", "qsh")
    for name in ("etc/qsh", "usr/lib/qsh", "etc/pam.d/qshd"):
        assert not (root.path / name).exists(), name
    ssh = "ssh -o StrictHostKeyChecking=yes ann@localhost whoami"
    assert as_user(root, "ann", ssh) == "ann\n"


def test_built_twice_it_is_the_same(packages: list[Path]) -> None:
    def digests() -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in packages]

    first = digests()
    time.sleep(1.1)  # files made now have other times
    build()
    assert digests() == first
