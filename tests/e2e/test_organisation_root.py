"""qshd as root for an organisation: certificates, principals, commands and revoked keys of real users."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import live_server
from tests.support.live_server import LiveServer
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

LIMIT_S = 30.0
CONFIG = """\
TrustedUserCAKeys {home}/cas
AuthorizedPrincipalsFile .ssh/principals
AuthorizedKeysCommand {folder}/program %u
AuthorizedKeysCommandUser nobody
RevokedKeys {home}/revoked
LogLevel VERBOSE
MaxAuthTries 3
LoginGraceTime 8
MaxStartups 200
"""
PROGRAM = """\
#!/bin/sh
id -un > {folder}/told/who
test "$1" = "$(cat {folder}/slow 2>/dev/null)" && echo $$ > {folder}/told/pid && exec sleep 100
cat {folder}/keys 2>/dev/null
exit 0
"""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """What commands use, below directories that only root can change; homes are in it, too."""
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        folder = Path(path)
        (folder / "program").write_text(PROGRAM.format(folder=folder))
        (folder / "program").chmod(0o755)
        (folder / "told").mkdir()
        os.chown(folder / "told", pwd.getpwnam("nobody").pw_uid, -1)
        yield folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("qshd")
    (home / "revoked").write_text("")
    (home / "revoked").chmod(0o600)
    keygen("-q", "-t", "ed25519", "-N", "", "-f", home / "ca")
    (home / "cas").write_text((home / "ca.pub").read_text())
    (home / "cas").chmod(0o600)
    text = live_server._SERVER
    live_server._SERVER = text.replace("AuthorizedKeysFile {home}/authorized_keys\n", "").replace(
        "StrictModes no\n", ""
    )
    try:
        running = LiveServer(home, CONFIG.format(home=home, folder=folder))
    finally:
        live_server._SERVER = text
    yield running
    running.stop()


@pytest.fixture
def anna(server: LiveServer, folder: Path) -> Iterator[User]:
    for name in ("keys", "slow"):
        (folder / name).unlink(missing_ok=True)
    (server.home / "revoked").write_text("")
    with temporary_user(folder) as user:
        server.user = user.name
        yield user


def keygen(*words: object) -> None:
    subprocess.run(["ssh-keygen", *map(str, words)], check=True, capture_output=True)


def certify(server: LiveServer, *words: str) -> tuple[str, ...]:
    """A certificate for the client's key; the options that show it."""
    keygen(
        "-q",
        "-s",
        server.home / "ca",
        "-I",
        "anna@example.org",
        "-z",
        "5",
        *words,
        server.home / "id.pub",
    )
    return ("-o", f"CertificateFile={server.home}/id-cert.pub")


def principals(user: User, text: str, mode: int = 0o600) -> None:
    user.authorize()
    path = user.home / ".ssh/principals"
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, user.uid, user.gid)


def logged(server: LiveServer, text: str) -> None:
    until(lambda: text in "".join(server.log))


def test_a_principal_of_the_users_file(server: LiveServer, anna: User) -> None:
    principals(anna, 'command="id -un; echo forced" ops\n')
    done = server.run("true", options=certify(server, "-n", "ops"))
    assert done.stdout == f"{anna.name}\nforced\n".encode(), done.stderr
    logged(server, "ID anna@example.org (serial 5) CA ED25519 SHA256:")


def test_the_users_name_is_no_principal(server: LiveServer, anna: User) -> None:
    principals(anna, "ops\n")
    assert server.run("true", options=certify(server, "-n", anna.name)).returncode == 255
    (anna.home / ".ssh/principals").unlink()
    assert server.run("true", options=certify(server, "-n", anna.name)).returncode == 255
    logged(server, "Certificate does not contain an authorized principal")


def test_a_file_that_others_can_write(server: LiveServer, anna: User) -> None:
    principals(anna, "ops\n", 0o666)
    assert server.run("true", options=certify(server, "-n", "ops")).returncode == 255
    logged(server, f"bad ownership or modes for file {anna.home}/.ssh/principals")


def test_a_link_to_what_only_root_reads(server: LiveServer, anna: User, tmp_path: Path) -> None:
    principals(anna, "")
    (anna.home / ".ssh/principals").unlink()
    (tmp_path / "secret").write_text("ops\n")
    (tmp_path / "secret").chmod(0o600)
    (anna.home / ".ssh/principals").symlink_to(tmp_path / "secret")
    assert server.run("true", options=certify(server, "-n", "ops")).returncode == 255


def test_rights_of_a_certificate(server: LiveServer, anna: User) -> None:
    principals(anna, "ops\n")
    options = certify(server, "-n", "ops", "-O", "clear")
    done = server.run("tty", options=("-tt", *options))
    assert b"not a tty" in done.stdout
    options = certify(server, "-n", "ops", "-O", "source-address=192.0.2.0/24")
    assert server.run("true", options=options).returncode == 255


def test_the_command_runs_as_its_user(server: LiveServer, anna: User, folder: Path) -> None:
    (folder / "keys").write_text(f"restrict {server.user_key.line()}\n")
    assert server.run("id -un").stdout == f"{anna.name}\n".encode()
    assert (folder / "told/who").read_text() == "nobody\n"


def test_a_revoked_key(server: LiveServer, anna: User) -> None:
    anna.authorize(server.user_key.line())
    assert server.run("true").returncode == 0
    (server.home / "revoked").write_text(server.user_key.line() + "\n")
    assert server.run("true").returncode == 255
    logged(server, f"is revoked by file {server.home}/revoked")


def test_a_revoked_certificate_and_authority(server: LiveServer, anna: User) -> None:
    principals(anna, "ops\n")
    options = certify(server, "-n", "ops")
    assert server.run("true", options=options).returncode == 0
    spec = server.home / "spec"
    for text in (
        "serial: 5\n",
        "id: anna@example.org\n",
        f"key: {(server.home / 'ca.pub').read_text()}",
    ):
        spec.write_text(text)
        keygen("-k", "-f", server.home / "revoked", "-s", server.home / "ca", spec)
        assert server.run("true", options=options).returncode == 255, text
    spec.write_text("serial: 6\n")
    keygen("-k", "-f", server.home / "revoked", "-s", server.home / "ca", spec)
    assert server.run("true", options=options).returncode == 0


def test_a_missing_revoked_keys_file_lets_nobody_in(server: LiveServer, anna: User) -> None:
    anna.authorize(server.user_key.line())
    (server.home / "revoked").unlink()
    assert server.run("true").returncode == 255
    logged(server, "cannot be read, so no key is accepted")


def test_a_command_that_hangs_harms_nobody_else(
    server: LiveServer, anna: User, folder: Path
) -> None:
    """Others log in meanwhile; it ends before LoginGraceTime does."""
    (folder / "slow").write_text(anna.name)
    (folder / "told/pid").unlink(missing_ok=True)
    with subprocess.Popen(
        server.command("true"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=server.env
    ) as client:
        until(lambda: (folder / "told/pid").exists() and (folder / "told/pid").read_text().strip())
        pid = int((folder / "told/pid").read_text())
        with temporary_user(folder) as ben:
            ben.authorize(server.user_key.line())
            server.user = ben.name
            assert server.run("id -un").stdout == f"{ben.name}\n".encode()
        assert Path(f"/proc/{pid}").exists()
        until(lambda: not Path(f"/proc/{pid}").exists())
        logged(server, "AuthorizedKeysCommand")
        logged(server, "did not answer in time")
        assert client.wait(LIMIT_S) == 255


@pytest.mark.parametrize("allowed", ["", "no-user-rc "])
def test_the_users_script(server: LiveServer, anna: User, allowed: str) -> None:
    anna.authorize(f"{allowed}{server.user_key.line()}")
    (anna.home / ".ssh/rc").write_text("echo $USER rc; id -un\n")
    expected = f"{anna.name} rc\n{anna.name}\n" if not allowed else ""
    assert server.run("echo then").stdout == f"{expected}then\n".encode()
