"""The environment of a session and the greeting's last-login line, as sshd makes them.

Model: OpenSSH's session.c (do_setup_env, session_env_req) and sshlogin.c. Nothing is read here:
the texts of files come in from the caller.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from qsh.patterns import match_list, match_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Person",
    "accept",
    "build",
    "last_login_line",
    "parse_environment",
]

USER_PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/games"
ROOT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What Debian's sshd was built with."""

MAIL_DIRECTORY: Final = "/var/mail"
MAX_ACCEPTED: Final = 128
"""Variables taken from a client (OpenSSH: the same)."""
MAX_ACCEPTED_BYTES: Final = 64 * 1024
"""Their names and values together; execve(2) fails at 128 KiB for one, 2 MiB for all."""
MAX_LINES: Final = 1000
"""Lines of ~/.ssh/environment (OpenSSH: the same)."""


class Person(Protocol):
    """Whose session it is."""

    @property
    def name(self) -> str:
        """The login name."""

    @property
    def uid(self) -> int:
        """The user id."""

    @property
    def home(self) -> str:
        """The home directory."""

    @property
    def shell(self) -> str:
        """The login shell."""


def accept(patterns: Iterable[str], env: Mapping[str, str]) -> dict[str, str]:
    """Those variables a client sent that AcceptEnv lets in, within the limits, in their order."""
    allowed = tuple(patterns)
    accepted: dict[str, str] = {}
    room = MAX_ACCEPTED_BYTES
    for name, value in env.items():
        if not _name_ok(name) or "\0" in value:
            continue
        if not any(match_pattern(name, pattern) for pattern in allowed):
            continue
        size = len(name) + len(value.encode("utf-8", "surrogateescape")) + 2
        if size > room or len(accepted) == MAX_ACCEPTED:
            continue
        room -= size
        accepted[name] = value
    return accepted


def build(
    *,
    account: Person,
    client: tuple[str, int],
    server: tuple[str, int],
    tty: str = "",
    term: str = "",
    accepted: Mapping[str, str] | None = None,
    set_env: Mapping[str, str] | None = None,
    key_env: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    key_env_allowed: str | None = None,
    user_file: str = "",
    original_command: str | None = None,
    system: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
    tz: str | None = None,
    pam: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The environment of one program. Later sources replace earlier ones, in sshd's order.

    ``client`` and ``server`` are address and port. ``accepted`` comes from ``accept``; ``system``
    is /etc/environment where PAM was not asked, ``pam`` what its modules set, ``tz`` the daemon's TZ. ``key_env`` and
    ``user_file`` (the text of ~/.ssh/environment) are for the caller to leave out without
    PermitUserEnvironment; ``key_env_allowed`` is its pattern list. ``extra`` holds SSH_AUTH_SOCK
    and DISPLAY. SSH_CONNECTION is always set: mosh-server reads it.
    """
    env = {**(accepted or {}), **(system or {})}
    env["USER"] = env["LOGNAME"] = account.name
    env["HOME"] = account.home
    env["PATH"] = env.get("PATH") or (ROOT_PATH if account.uid == 0 else USER_PATH)
    env["MAIL"] = f"{MAIL_DIRECTORY}/{account.name}"
    env["SHELL"] = account.shell
    if tz:
        env["TZ"] = tz
    if term:
        env["TERM"] = term
    env.update(extra or {})
    env.update(_allowed(key_env, key_env_allowed))
    env.update(parse_environment(user_file, key_env_allowed))
    env.update({name: value for name, value in (pam or {}).items() if name not in _NOT_OF_PAM})
    env.update(set_env or {})
    env["SSH_CLIENT"] = f"{client[0]} {client[1]} {server[1]}"
    env["SSH_CONNECTION"] = f"{client[0]} {client[1]} {server[0]} {server[1]}"
    if tty:
        env["SSH_TTY"] = tty
    if original_command is not None:
        env["SSH_ORIGINAL_COMMAND"] = original_command
    return {name: value for name, value in env.items() if "\0" not in value and _settable(name)}


_NOT_OF_PAM: Final = frozenset(("SSH_CONNECTION", "SSH_AUTH_INFO_0"))
"""What we told the modules."""


def _allowed(
    pairs: Mapping[str, str] | Iterable[tuple[str, str]], patterns: str | None
) -> dict[str, str]:
    env = dict(pairs)
    if patterns is None:
        return env
    return {name: value for name, value in env.items() if match_list(name, patterns) == 1}


def parse_environment(text: str, allowed: str | None = None) -> dict[str, str]:
    """``NAME=value`` lines of ~/.ssh/environment or /etc/environment; other lines are skipped.

    ``allowed`` is PermitUserEnvironment's pattern list. At most 1,000 lines are read.
    """
    found: dict[str, str] = {}
    for line in text.split("\n")[:MAX_LINES]:
        body = line.lstrip(" \t")
        name, equals, value = body.partition("=")
        if body.startswith("#") or not equals or not _settable(name):
            continue
        found[name] = value
    return _allowed(found, allowed)


def last_login_line(when: float, host: str) -> str:
    """``Last login: Mon Nov 23 13:26:08 2026 from host``, in local time; ``when``: since 1970.

    Control characters of the host name are dropped: it goes to a terminal.
    """
    shown = "".join(char for char in host if char.isprintable())
    origin = f" from {shown}" if shown else ""
    return f"Last login: {time.ctime(when)}{origin}\r\n"


def _settable(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name


def _name_ok(name: str) -> bool:
    """Printable ASCII without white space: all that a name may need, and bash's functions."""
    return _settable(name) and all("!" <= char <= "~" for char in name)
