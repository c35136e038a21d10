"""AuthorizedKeysCommand and AuthorizedPrincipalsCommand: a program of the administrator's that is asked, as a user of its own
(misc.c: subprocess; auth2-pubkey.c: user_key_command_allowed2, match_principals_command).

It runs for whoever may ask, before anything is proven, as root's file says: so its file must be one that only root can change, it
has no descriptors and no environment of ours, and a limit of time and output. It ends with the login child that asks, whatever
happens to that.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.clock import monotonic_s
from qsh.config.lexer import split_words
from qsh.config.tokens import Tokens, expand
from qsh.errors import AuthenticationError, ConfigError
from qsh.server import account as accounts
from qsh.server import safe_files

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from qsh.server.account import Account

__all__ = ["Asking"]

MAX_OUTPUT: Final = 4 * 1024 * 1024
"""Bytes of an answer, as of an authorized_keys file."""
PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
"""_PATH_STDPATH of the C library."""
NONE: Final = "none"
PR_SET_PDEATHSIG: Final = 1
IGNORED_HERE: Final = (signal.SIGHUP, signal.SIGINT)
"""By the spawner and all that it forks."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One keyword: its name, its command line and the user that it runs as."""

    keyword: str
    command: str
    user: str

    @property
    def configured(self) -> bool:
        """There is such a command."""
        return self.command != NONE

    def argv(self, tokens: Tokens) -> list[str]:
        """The words, their tokens replaced, but for the first. Raises ConfigError."""
        try:
            path, *words = split_words(self.command, comments=False)
        except ConfigError:
            raise ConfigError(f'{self.keyword} "{self.command}" contains invalid quotes') from None
        return [path, *(expand(word, tokens) for word in words)]

    def ask(self, argv: list[str], for_user: str, deadline_s: float) -> str:
        """What it prints. Raises AuthenticationError, and nothing else whatever the program does."""
        runner = self._runner(for_user)
        if refusal := safe_files.program_refusal(argv[0], os.geteuid()):
            raise AuthenticationError(f'Unsafe {self.keyword} "{argv[0]}": {refusal}')
        try:
            output, status = _run(argv, runner, deadline_s)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AuthenticationError(f"{self.keyword} {argv[0]}: {reason}") from None
        if status != 0:
            word = f"failed, status {status}" if status > 0 else f"exited on signal {-status}"
            raise AuthenticationError(f"{self.keyword} {argv[0]} {word}")
        return output.decode("utf-8", "surrogateescape")

    def _runner(self, for_user: str) -> Account:
        if self.user == NONE:
            raise AuthenticationError(f"No user for {self.keyword} specified, skipping")
        name = expand(self.user, Tokens({"u": for_user}, "u"))
        runner = accounts.lookup(name)
        if runner is None:
            raise AuthenticationError(f'{self.keyword}User "{name}" not found')
        if os.geteuid() not in (0, runner.uid):
            raise AuthenticationError(f"{self.keyword} cannot run as {name} without root")
        return runner


def _run(argv: list[str], runner: Account, deadline_s: float) -> tuple[bytes, int]:
    process = _start(argv, runner)
    try:
        return _read(process, deadline_s), _wait(process, deadline_s)
    finally:
        _end(process)


def _start(argv: list[str], runner: Account) -> subprocess.Popen[bytes]:
    import subprocess

    env = {"PATH": PATH, "USER": runner.name, "LOGNAME": runner.name, "HOME": runner.home}
    if lang := os.environ.get("LANG"):
        env["LANG"] = lang
    root = os.geteuid() == 0
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=env,
        umask=0o022,
        process_group=0,
        user=runner.uid if root else None,
        group=runner.gid if root else None,
        extra_groups=runner.groups if root else None,
        preexec_fn=_end_with(os.getpid()),  # noqa: PLW1509 - a login child has one thread
    )


def _end_with(parent: int) -> Callable[[], None]:
    """What the child does when its ids have changed (which would undo it) and before the program starts."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def prepare() -> None:
        for number in IGNORED_HERE:
            signal.signal(number, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _read(process: subprocess.Popen[bytes], deadline_s: float) -> bytes:
    """All that it prints. Raises TimeoutError, for too much of it, too."""
    descriptor, output = process.stdout.fileno() if process.stdout else -1, bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if not poll.poll(max(0.0, deadline_s - monotonic_s()) * 1000):
            raise TimeoutError("did not answer in time")
        part = os.read(descriptor, 65536)
        if not part:
            return bytes(output)
        output += part
        if len(output) > MAX_OUTPUT:
            raise TimeoutError(f"printed more than {MAX_OUTPUT} bytes")


def _wait(process: subprocess.Popen[bytes], deadline_s: float) -> int:
    """Its exit status, a signal as a negative number; it may close its output and go on."""
    descriptor = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(max(0.0, deadline_s - monotonic_s()) * 1000):
            raise TimeoutError("did not end in time")
    finally:
        os.close(descriptor)
    return process.wait()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever is left of it: it has not been waited for, or its group has no other members that its number could be given to."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
