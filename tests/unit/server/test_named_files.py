"""Files that logins will need, looked at before anybody logs in."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qsh.config.daemon_parser import parse
from qsh.server.named_files import complaints

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "nothing": ("", []),
    "none": ("RevokedKeys none\nTrustedUserCAKeys none\nAuthorizedKeysCommand none", []),
    "what is there": ("RevokedKeys {dir}/good\nTrustedUserCAKeys {dir}/good", []),
    "what is not": (
        "RevokedKeys {dir}/x\nTrustedUserCAKeys {dir}/y",
        [
            "RevokedKeys {dir}/x: No such file or directory; as long as that is so no key is accepted",
            "TrustedUserCAKeys {dir}/y: No such file or directory",
        ],
    ),
    "after Match, once": (
        "Match User a\nRevokedKeys {dir}/bad\nMatch User b\nRevokedKeys {dir}/bad",
        ["RevokedKeys {dir}/bad: line 1: no key in this line; as long as that is so no key is accepted"],
    ),
    "a directory": ("TrustedUserCAKeys {dir}", ["TrustedUserCAKeys {dir}: Is a directory"]),
    "a program": ("AuthorizedKeysCommand /bin/sh -c x\nAuthorizedKeysCommandUser nobody", []),
    "one that is not there": (
        "AuthorizedPrincipalsCommand {dir}/x a\nAuthorizedPrincipalsCommandUser nobody",
        ["AuthorizedPrincipalsCommand {dir}/x: No such file or directory"],
    ),
    "a user that is not there": (
        "AuthorizedKeysCommand /bin/sh\nAuthorizedKeysCommandUser no-such-user",
        ["AuthorizedKeysCommandUser no-such-user: there is no such user; the command will not run"],
    ),
    "the user who logs in": ("AuthorizedKeysCommand /bin/sh\nAuthorizedKeysCommandUser %u", []),
    "files that others may write": (
        "TrustedUserCAKeys {dir}/open\nRevokedKeys {dir}/open",
        [
            "RevokedKeys {dir}/open is writable by its group or by others (mode 0664), who could take keys out of it",
            "TrustedUserCAKeys {dir}/open: it is writable by its group or by others (mode 0664)",
        ],
    ),
    "files that others may write, and the administrator knows it": (
        "StrictModes no\nTrustedUserCAKeys {dir}/open", []
    ),
    "a banner that is not there": (
        "Banner {dir}/x", ["Banner {dir}/x: No such file or directory; nothing is shown"]
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good").write_text("# none yet\n")
    (tmp_path / "bad").write_text("nonsense\n")
    (tmp_path / "open").write_text("# none yet\n")
    (tmp_path / "open").chmod(0o664)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(folder: Path, name: str) -> None:
    text, expected = CASES[name]
    config = parse(text.replace("{dir}", str(folder)), "qshd_config")
    assert complaints(config) == [line.replace("{dir}", str(folder)) for line in expected]


def test_qshd_t_says_it(folder: Path) -> None:
    (folder / "config").write_text(f"RevokedKeys {folder}/bad\nHostKey {folder}/key\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True
    )
    os.chmod(folder / "config", 0o644)
    command = [sys.executable, "-m", "qsh.cli.daemon", "-t", "-f", folder / "config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.startswith(f"qshd: warning: RevokedKeys {folder}/bad: line 1:")
