"""The table of tests/support/permission_cases.py, judged by the real sshd (whose verdicts it holds) and by a real qshd."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.permission_cases import CASES, Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

SSHD = "/usr/sbin/sshd"
ME = pwd.getpwuid(os.getuid())
GROUP = grp.getgrgid(ME.pw_gid).gr_name
LIMIT_S = 10.0


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(tmp_path_factory.mktemp("credentials"))


@pytest.fixture
def where() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home" if os.geteuid() == 0 else Path.home()) as path:
        os.chmod(path, 0o755)
        yield Path(path)


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(process: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError(f"sshd did not start: {process.communicate()[1]}")


@pytest.mark.root
@pytest.mark.parametrize("name", CASES)
def test_sshd_says_the_same(credentials: Credentials, where: Path, name: str) -> None:
    case = CASES[name]
    credentials.prepare(case, where, ME.pw_name, GROUP)
    port = free_tcp_port()
    head = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        "UsePAM no",
        "PidFile none",
        "PermitRootLogin yes",
    ]
    head += [
        f"HostKey {credentials.folder / 'other'}",
        "StrictModes no",
        "PasswordAuthentication no",
    ]
    if "AuthorizedKeysFile" not in case.config:
        head.append(f"AuthorizedKeysFile {where}/authorized_keys")
    text = "\n".join(head) + "\n" + credentials.fill(case.config, where, ME.pw_name, GROUP) + "\n"
    (where / "sshd_config").write_text(text)
    os.makedirs("/run/sshd", exist_ok=True)
    user = credentials.fill(case.user, where, ME.pw_name, GROUP)
    options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "IdentityAgent=none",
    ]
    options += [
        "PreferredAuthentications=publickey",
        "IdentitiesOnly=yes",
        "PubkeyAcceptedAlgorithms=+ssh-rsa",
    ]
    if case.signed is not None:
        options.append(f"CertificateFile={where}/shown-cert.pub")
    identity = where / "id"
    identity.write_bytes((credentials.folder / case.shows).read_bytes())
    identity.chmod(0o600)
    words = ["ssh", "-F", "none", *(w for option in options for w in ("-o", option))]
    words += ["-i", str(identity), "-p", str(port), f"{user}@127.0.0.1", "true"]
    with subprocess.Popen(
        [SSHD, "-D", "-e", "-f", where / "sshd_config"], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            await_port(process, port)
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                timeout=20,
                check=False,
            )
        finally:
            process.terminate()
            log = process.communicate()[1]
    assert ("Permission denied" in done.stderr) is not ("Accepted publickey" in log), (
        done.stderr,
        log,
    )
    expected = case.allowed if case.sshd is None else case.sshd
    assert ("Accepted publickey" in log) is expected, (done.stderr, log)


THROUGH = (
    "a trusted authority", "another name", "a name in the file", "revoked, a KRL", "the list is missing",
    "AuthorizedKeysCommand", "AuthorizedKeysCommand fails", "AuthorizedPrincipalsCommand",
)  # fmt: skip


class Server(LiveServer):
    """One with a case's configuration in front."""


@pytest.mark.root
@pytest.mark.parametrize("name", THROUGH)
def test_qshd_lets_the_same_in(
    credentials: Credentials, where: Path, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    credentials.prepare(case, where, ME.pw_name, GROUP)
    config = credentials.fill(case.config, where, ME.pw_name, GROUP)
    server = Server(tmp_path, f"LogLevel VERBOSE\n{config}")
    try:
        (tmp_path / "authorized_keys").write_text((where / "authorized_keys").read_text())
        (tmp_path / "id").write_bytes((credentials.folder / case.shows).read_bytes())
        (tmp_path / "id.pub").write_text((where / "shown.pub").read_text())
        more = ("-o", f"CertificateFile={where}/shown-cert.pub") if case.signed is not None else ()
        done = server.run("true", options=more)
        assert (done.returncode == 0) is case.allowed, (done.stderr, "".join(server.log))
        if case.allowed and case.signed is not None:
            assert "CA ED25519 SHA256:" in "".join(server.log)
    finally:
        server.stop()
