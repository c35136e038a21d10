"""``qscp`` and ``qsftp``: scp(1) and sftp(1) with qsh for ssh, for programs that call them by name, such as Ansible."""

from __future__ import annotations

import os
import shutil
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["qscp", "qsftp"]

NOT_FOUND = 255
"""As ssh's own errors."""


def qscp() -> NoReturn:
    """Entry point. Becomes scp."""
    _become("scp")


def qsftp() -> NoReturn:
    """Entry point. Becomes sftp."""
    _become("sftp")


def _become(program: str) -> NoReturn:
    """The arguments go on as they are, behind ``-S``: one of the user's own replaces it."""
    try:
        os.execvp(program, [program, "-S", _qsh(), *sys.argv[1:]])
    except OSError as error:
        sys.stderr.write(
            f"q{program}: {program}: {error.strerror}; it comes with OpenSSH's client\n"
        )
        sys.exit(NOT_FOUND)


def _qsh() -> str:
    """The qsh beside this program, else the one in PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "qsh")
    return beside if os.access(beside, os.X_OK) else shutil.which("qsh") or "qsh"
