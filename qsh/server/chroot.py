"""ChrootDirectory: a root of its own for all of a user's sessions (session.c: safely_chroot, do_setusercontext).

The session host goes there itself, before it is the user, and has no descriptor of a directory outside. So what it does for the
user later it does inside: programs, forwards, names. Its socket directory is outside: such sessions end with their connection.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from qsh.config.tokens import Tokens, expand
from qsh.errors import ConfigError, StartupError
from qsh.server.safe_files import GROUP_OR_WORLD_WRITABLE

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account

__all__ = ["directory_of", "enter", "options_inside"]

NONE: Final = "none"
TOKENS: Final = "huU"


def directory_of(options: DaemonOptions, account: Account) -> str | None:
    """Where this user's sessions are to be; None: where everybody is. Raises StartupError."""
    if options.chroot_directory == NONE:
        return None
    if os.geteuid() != 0:
        raise StartupError("server lacks privileges to chroot to ChrootDirectory")
    values = {"h": account.home, "u": account.name, "U": str(account.uid)}
    try:
        return expand(options.chroot_directory, Tokens(dict(values), TOKENS))
    except ConfigError as error:
        raise StartupError(f"ChrootDirectory: {error.text}") from None


def refusal(path: str) -> str | None:
    """Why nobody may be put there: each component must be a directory that only root can change."""
    if not path.startswith("/"):
        return "chroot path does not begin at root"
    parts = path.split("/")
    components = [*("/".join(parts[:count]) + "/" for count in range(1, len(parts))), path]
    for component in components:
        kind = "" if component == path else "component "
        try:
            status = os.stat(component)
        except (OSError, ValueError) as error:
            return f'stat("{component}"): {getattr(error, "strerror", None) or error}'
        if status.st_uid != 0 or status.st_mode & GROUP_OR_WORLD_WRITABLE:
            return f'bad ownership or modes for chroot directory {kind}"{component}"'
        if not stat.S_ISDIR(status.st_mode):
            return f'chroot path {kind}"{component}" is not a directory'
    return None


def enter(path: str) -> None:
    """Raises StartupError."""
    if reason := refusal(path):
        raise StartupError(f"ChrootDirectory {path}: {reason}")
    try:
        os.chdir(path)
        os.chroot(path)
        os.chdir("/")
    except OSError as error:
        raise StartupError(f'chroot("{path}"): {error.strerror}') from None


def options_inside(options: DaemonOptions) -> DaemonOptions:
    """Nobody could come back to a terminal there."""
    return replace(options, detached_max=0, resume=False)
