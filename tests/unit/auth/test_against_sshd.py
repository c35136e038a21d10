"""The same authorized_keys lines, once more judged by the installed sshd."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from qsh.auth.authorized_keys import Visitor, authorize
from tests.unit.auth.ssh_tools import certify, public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
pytestmark = pytest.mark.skipif(SSHD is None, reason="no sshd")


@pytest.fixture(scope="module")
def login(
    key_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str, bool], bool]]:
    """Try a line: does sshd let the key (or its certificate) in?"""
    folder = tmp_path_factory.mktemp("sshd")
    listed = folder / "authorized_keys"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", "UsePAM no", "PidFile none"]
    lines += [f"HostKey {key_files['other']}", f"AuthorizedKeysFile {listed}", "StrictModes no"]
    lines += ["PasswordAuthentication no", "PermitRootLogin yes", "MaxStartups 100"]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", getpass.getuser())
    certificate = key_files["ed25519"].with_name("ed25519-cert.pub").rename(folder / "cert.pub")
    plain = shutil.copy(key_files["ed25519"], folder / "key")

    def attempt(text: str, use_certificate: bool) -> bool:
        listed.write_text(text)
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        options += [
            "PreferredAuthentications=publickey",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
        ]
        if use_certificate:
            options.append(f"CertificateFile={certificate}")
        args = [a for option in options for a in ("-o", option)]
        command = ["ssh", "-F", "none", *args, "-i", plain, "-p", str(port), "127.0.0.1", "true"]
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return "Permission denied" not in done.stderr

    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        if not attempt(public(key_files["ed25519"]).line() + "\n", False):
            process.terminate()
            pytest.skip("this sshd lets nobody in")
        yield attempt
        process.terminate()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ('from="127.0.0.0/8"', True),
        ('from="127.0.0.1/8"', False),
        ('from="*,!127.0.0.1"', False),
        ('expiry-time="20200101"', False),
        ('expiry-time="20990101Z",no-pty', True),
        ("RESTRICT,pty", True),
        ("unknown", False),
        (",no-pty", True),
        ('environment="A-B=c"', False),
        ('permitopen="h"', False),
        ('permitlisten="8080",permitopen="[::1]:*"', True),
        ('command="true \\"x\\" #"', True),
        ('command="true', False),
        ('principals="x"', False),
        ("cert-authority", False),
        ('tunnel="any"', True),
    ],
)
def test_plain_key(
    login: Callable[[str, bool], bool], key_files: dict[str, Path], options: str, expected: bool
) -> None:
    key = public(key_files["ed25519"])
    text = f"{options} {key.line()}\n"
    visitor = Visitor(getpass.getuser(), "127.0.0.1", "127.0.0.1")
    ours = authorize(text, key, visitor, time.time()).options is not None
    assert (ours, login(text, False)) == (expected, expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", False),
        ("cert-authority", True),
        ('cert-authority,principals="x"', False),
        (f'cert-authority,principals="x,{getpass.getuser()}"', True),
        ('cert-authority,from="192.0.2.1"', False),
    ],
)
def test_certificate(
    login: Callable[[str, bool], bool], key_files: dict[str, Path], options: str, expected: bool
) -> None:
    key = certify(key_files["ca"], key_files["ed25519"], "-I", "id", "-n", getpass.getuser())
    text = f"{options} {public(key_files['ca']).line()}\n"
    visitor = Visitor(getpass.getuser(), "127.0.0.1", "127.0.0.1")
    ours = authorize(text, key, visitor, time.time()).options is not None
    assert (ours, login(text, True)) == (expected, expected)
