"""The Debian packages: built, installed in a clean root beside sshd, used, upgraded under load, removed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
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
SERVICE = """\
import socket
listener = socket.create_server(("127.0.0.1", 8000))
while True:
    with listener.accept()[0] as sock:
        sock.sendall(b"served")
"""
CALL = """\
import socket
with socket.create_connection(("127.0.0.1", 9000), 30) as sock:
    print(sock.recv(100).decode())
"""

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


def test_the_installation_says_what_comes_next(root: DebianRoot) -> None:
    named = "/usr/share/doc/qshd/README.Debian"
    assert f"qshd does not run yet; {named} says what to do." in root.said
    text = (root.path / named.removeprefix("/")).read_text()
    assert "systemctl enable --now qshd" in text
    assert "qshctl import-sshd-config" in text


def test_a_jail_is_there_and_off(root: DebianRoot) -> None:
    assert "enabled = false" in (root.path / "etc/fail2ban/jail.d/qshd.conf").read_text()
    assert (root.path / "etc/fail2ban/filter.d/qshd.conf").exists()
    assert "/etc/fail2ban/jail.d/qshd.conf" in root.shell("dpkg-query -W -f '${Conffiles}' qshd")


def test_a_server_that_does_not_run_is_not_reloaded(root: DebianRoot) -> None:
    done = root.run("/etc/init.d/qshd", "reload", check=False)
    assert (done.returncode, done.stderr) == (7, "qshd is not running\n")


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


def test_modules_of_pam_write_in_the_name_of_qshd(root: DebianRoot) -> None:
    """As sshd's do; filters and people look for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        path = root.path / "dev" / "log"
        log.bind(str(path))
        log.settimeout(30.0)
        try:
            assert as_user(root, "bob", qsh("bob", "whoami")) == "bob\n"
            while b"pam_unix(qshd:session)" not in (line := log.recv(4096)):
                pass
        finally:
            path.unlink()
    assert re.search(rb" qshd\[\d+\]: pam_unix\(qshd:session\): session opened for user bob", line)


def test_who_runs_as_whom(root: DebianRoot) -> None:
    who = {
        tuple(line.split()) for line in root.run("ps", "axo", "user,comm").stdout.splitlines()[1:]
    }
    assert ("qsh", "qshd-front") in who
    assert ("qsh-sign", "qshd-sign") in who
    assert ("root", "qshd") in who


def test_a_stop_does_not_wait_for_what_has_ended(root: DebianRoot) -> None:
    """Nobody waits for children here, as in many containers: what has ended keeps its number."""
    before = root.shell("cat /run/qshd.pid").strip()
    root.shell(
        "mkdir /shim; printf '#!/bin/sh\necho >> /shim/naps; exec /bin/sleep $1\n' > /shim/sleep\n"
        "chmod 755 /shim/sleep; PATH=/shim:$PATH /etc/init.d/qshd stop; /etc/init.d/qshd start"
    )
    assert root.shell(f"ps -o stat= -p {before}").startswith("Z")
    naps = root.path / "shim" / "naps"
    assert not naps.exists() or len(naps.read_text()) < 40, "the script's patience"
    assert root.shell("cat /run/qshd.pid").strip() != before


def test_a_strange_key_does_not_get_in(root: DebianRoot) -> None:
    """The control of the logins above."""
    done = root.run("su", "-", "ann", "-c", qsh("bob", "true"), check=False)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_the_demo_needs_no_server(root: DebianRoot) -> None:
    assert as_user(root, "cyd", "qshctl demo echo it works") == "it works\n"


def test_an_upgrade_under_load_loses_nothing(root: DebianRoot) -> None:
    """Terminals of all users stay, one of them counting, another with a forward; what is typed while the packages change
    arrives once. A copy without a terminal ends, and its client says so."""
    newer = build(NEXT)
    root.shell(f"python3 -c '{SERVICE}' </dev/null >/dev/null 2>&1 &")
    before = root.shell("cat /run/qshd.pid")
    terminals = [
        OnTerminal(
            root.argv("su", "-", user, "-c", qsh(user, "env PS1=\\'ready$ \\' sh -i", "-t", *more)),
            root.env,
        )
        for user, more in zip(USERS, ((), (), ("-L 9000:localhost:8000",)), strict=True)
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
        assert root.run("python3", "-c", CALL, check=False).stdout == "served\n"
        copy = stack.enter_context(
            subprocess.Popen(
                root.argv("su", "-", "ann", "-c", qsh("ann", "cat /dev/zero")),
                env=root.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        assert copy.stdout is not None
        assert copy.stdout.read(1 << 20) == bytes(1 << 20)
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
        _, complaint = copy.communicate(timeout=30.0)
        assert copy.returncode == 255
        assert b"server-stopped" in complaint
        assert root.run("python3", "-c", CALL, check=False).stdout == "served\n"
        typed = root.path / "home" / "bob" / "typed"
        wait_until(lambda: typed.read_text() == "before\nafter\n", "both lines, once")
        for terminal in terminals:
            terminal.type(b"exit 7\r")
            assert terminal.wait() == 7
    assert as_user(root, "cyd", qsh("cyd", "whoami")) == "cyd\n"


def test_an_upgrade_with_a_bad_configuration_stops_nothing(root: DebianRoot) -> None:
    """systemd ends the old qshd before it starts the new one."""
    called = root.path / "shim" / "called"
    bad = root.path / "etc/qsh/qshd_config.d/bad.conf"
    root.shell(
        "mkdir -p /shim /run/systemd/system; chmod 755 /shim\n"
        "printf '#!/bin/sh\necho $* >> /shim/called\n' > /shim/systemctl; chmod 755 /shim/systemctl"
    )
    configure = "PATH=/shim:$PATH /var/lib/dpkg/info/qshd.postinst configure 0.0.1"
    try:
        bad.write_text("Prot 2\n")
        done = root.run("sh", "-ec", configure)
        assert "Bad configuration option: Prot" in done.stderr
        assert "one that runs goes on" in done.stderr
        assert called.read_text() == "daemon-reload\n"
        bad.unlink()
        root.shell(configure)
        assert called.read_text().endswith("try-restart qshd.service\n"), "the control"
    finally:
        bad.unlink(missing_ok=True)
        root.shell("rm -r /shim; rmdir /run/systemd/system /run/systemd")


def test_it_is_removed_again(root: DebianRoot) -> None:
    detached = OnTerminal(
        root.argv("su", "-", "ann", "-c", qsh("ann", "env PS1=\\'ready$ \\' sh -i", "-t")), root.env
    )
    with detached:
        detached.expect(PROMPT)
        root.shell("update-rc.d qshd defaults")
        assert list(root.path.glob("etc/rc?.d/*qshd"))
        removed = root.run("dpkg", "--remove", "qshd").stdout
        assert re.search(
            r"^\d+ sessions go on, out of reach .* 'pkill -x qshd-session'", removed, re.M
        )
        assert (root.path / "etc/qsh/qshd_config").exists()
        assert "qshd-session" in root.run("ps", "axo", "comm").stdout, "as sshd's sessions do"
        os.kill(detached.pid, signal.SIGKILL)
    root.run("dpkg", "--purge", "qshd", "qsh")
    assert not list(root.path.glob("etc/rc?.d/*qshd"))
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
