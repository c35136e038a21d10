"""``qscp`` and ``qsftp``: scp(1) and sftp(1) over qsh, for programs that take the name of such a program but no options."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["scp", "sftp"]

FAILED = 255


def scp() -> NoReturn:
    """``qscp …`` is ``scp -S qsh …``."""
    _become("scp")


def sftp() -> NoReturn:
    """``qsftp …`` is ``sftp -S qsh …``."""
    _become("sftp")


def _become(program: str) -> NoReturn:
    try:
        os.execvp(program, [program, "-S", _own_qsh(), *sys.argv[1:]])
    except OSError as error:
        print(f"{os.path.basename(sys.argv[0])}: {program}: {error.strerror}", file=sys.stderr)
        sys.exit(FAILED)


def _own_qsh() -> str:
    """The qsh in PATH, else the one that was installed beside this program, whose folder need not be in PATH."""
    for folder in (*os.get_exec_path(), os.path.dirname(os.path.realpath(sys.argv[0]))):
        path = os.path.join(folder, "qsh")
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return "qsh"
