"""What runs before a program, in its own process: ~/.ssh/rc, else /etc/ssh/sshrc, else xauth (session.c: do_rc_files).

A script gets the display's protocol and cookie on standard input, and then xauth is its own affair.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from qsh.server import x11_display

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.account import Account
    from qsh.server.x11_display import XauthEntry

__all__ = ["before_program"]

SHELL: Final = "/bin/sh"
USER_SCRIPT: Final = ".ssh/rc"
SYSTEM_SCRIPT: Final = "/etc/ssh/sshrc"


def before_program(
    account: Account, entry: XauthEntry | None, xauth: str, *, user_script: bool
) -> Callable[[dict[str, str]], None] | None:
    """What to call with the program's environment before it starts; None: nothing."""
    own = os.path.join(account.home, USER_SCRIPT)
    if user_script and os.path.exists(own):
        name = os.path.basename(account.shell)
        return lambda env: _run(account.shell, [name, "-c", f"{SHELL} {_quoted(own)}"], env, entry)
    if os.path.exists(SYSTEM_SCRIPT):
        return lambda env: _run(SHELL, [SHELL, SYSTEM_SCRIPT], env, entry)
    if entry is not None:
        return lambda env: x11_display.add_entry(xauth, entry, env)
    return None


def _quoted(path: str) -> str:
    """For any shell: the user's may not be Bourne's."""
    return "'" + path.replace("'", "'\\''") + "'"


def _run(path: str, argv: list[str], env: dict[str, str], entry: XauthEntry | None) -> None:
    """With the program's own output and errors. What it says and how it ends is its own affair."""
    reader, writer = os.pipe()
    try:
        if entry is not None:
            os.write(writer, f"{entry.protocol} {entry.cookie}\n".encode())
    finally:
        os.close(writer)
    with contextlib.suppress(OSError, ChildProcessError):
        pid = os.posix_spawn(path, argv, env, file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
        os.waitpid(pid, 0)
    os.close(reader)
