"""Where a user's terminals are found: a directory of his with one socket for each, named by the smallest free numbers.

The session host of another login asks there: SOCK_SEQPACKET, messages as in :mod:`qsh.server.requests`. Only
processes of the same user are answered.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import socket
import stat
import struct
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from qsh.clock import monotonic_s
from qsh.forward import listening
from qsh.server.packets import PacketSocket
from qsh.server.requests import MAX_PACKET, Call, CallKind, Local  # msgspec reads the annotations
from qsh.server.session_description import Description  # noqa: TC001
from qsh.server.session_rules import Rights  # noqa: TC001 - msgspec reads the annotations
from qsh.wire.messages import Attach, ClientName  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.server.account import Account

__all__ = [
    "OTHER_VERSION",
    "ROOT_PARENT",
    "Answer",
    "AttachTo",
    "CallOver",
    "Describe",
    "Described",
    "DetachAll",
    "Done",
    "History",
    "HistoryPart",
    "Holds",
    "Kill",
    "LinkState",
    "Opened",
    "PassCall",
    "Question",
    "Refused",
    "SessionDirectory",
    "UserHangUp",
    "directory_of",
    "is_same_user",
    "make_root_directory",
    "path_of",
    "process_of",
]

ROOT_PARENT: Final = "/run/qshd/sessions"
NAME: Final = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
MAX_NAMES: Final = 1000
BACKLOG: Final = 8
LOCK: Final = ".lock"
LOCK_S: Final = 1.0
LOCK_LOOK_S: Final = 0.01
"""It is held for as long as a name takes. The user, or a process of his that was stopped, may hold it for ever."""
AGENT: Final = re.compile(r"agent\.[0-9a-f]{16}", re.ASCII)
"""Sockets of agents. None has a name twice, so that a program that is left over finds nobody else's."""
MAX_PATH: Final = 107
"""Bytes of a socket's path, for the programs that are to connect to it."""
PART_BYTES: Final = MAX_PACKET // 2
OTHER_VERSION: Final = (
    "failed",
    "the session is of a version of qshd that this one does not know; it goes on",
)
"""What comes of an answer that means nothing."""


class Describe(Local, frozen=True, tag="describe"):
    """What are you?"""


class AttachTo(Local, frozen=True, tag="attach"):
    """Let a client in: answered by Opened with two descriptors, or Refused. The connection stays for the messages below."""

    request: Attach
    rights: Rights
    size: tuple[int, int, int, int] = (0, 0, 0, 0)
    address: str = ""
    calls: Annotated[tuple[CallKind, ...], Meta(max_length=8)] = ()
    """That the client takes and its login may make."""


class UserHangUp(Local, frozen=True, tag="hangup"):
    """The client that came by this connection ended its channel."""


class LinkState(Local, frozen=True, tag="path"):
    """How the connection of that client does."""

    rtt_us: Annotated[int, Meta(ge=0)]
    loss_ppm: Annotated[int, Meta(ge=0)]


class CallOver(Local, frozen=True, tag="call-over"):
    """A call of that client has ended."""

    kind: CallKind


class DetachAll(Local, frozen=True, tag="detach"):
    """Put every client out."""

    rights: Rights


class Kill(Local, frozen=True, tag="kill"):
    """Hang up."""

    rights: Rights
    reason: str = ""
    """For the log; empty: a user's command."""


class History(Local, frozen=True, tag="history"):
    """The newest lines as text: HistoryPart, several."""

    rights: Rights
    lines: Annotated[int, Meta(ge=0, le=100_000)] = 10_000


class Holds(Local, frozen=True, tag="holds"):
    """Was this client attached, and may it come back? Done, or Refused: no rights are asked for, since the ticket is one."""

    client: ClientName
    ticket: Annotated[bytes, Meta(max_length=16)]


Question = (
    Describe | Holds | AttachTo | UserHangUp | LinkState | CallOver | DetachAll | Kill | History
)


class Described(Local, frozen=True, tag="described"):
    """Of Describe."""

    description: Description
    rights: Rights


class Opened(Local, frozen=True, tag="opened"):
    """Of AttachTo."""


class PassCall(Local, frozen=True, tag="call"):
    """After Opened: one of the terminal's programs calls that client. Descriptor: the socket."""

    call: Call


class Refused(Local, frozen=True, tag="refused"):
    """Of any."""

    code: str
    text: str


class Done(Local, frozen=True, tag="done"):
    """Of DetachAll, Kill and Holds."""


class HistoryPart(Local, frozen=True, tag="lines"):
    """Of History."""

    data: bytes
    last: bool


Answer = Described | Opened | PassCall | Refused | Done | HistoryPart


def make_root_directory(uid: int, gid: int, parent: str = ROOT_PARENT) -> str:
    """As root, before rights are dropped: the user's directory below one that only root can change. Raises OSError."""
    if not os.path.lexists(parent):
        os.makedirs(os.path.dirname(parent), 0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, 0o711)
            os.chmod(parent, 0o711)  # noqa: S103 - whatever the umask; each looks for his own name
    found = os.lstat(parent)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"{parent} is not safe")
    path = os.path.join(parent, str(uid))
    if not os.path.lexists(path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():  # new, or left so by an end in between
            os.fchmod(descriptor, 0o700)
            os.fchown(descriptor, uid, gid)
    finally:
        os.close(descriptor)
    return path


def path_of(account: Account, setting: str, *, root: bool) -> str:
    """Where a session host of this user's has its sockets. With ``root`` :func:`make_root_directory` has made it."""
    if not root:
        return directory_of(account, setting)
    return os.path.join(ROOT_PARENT if setting in ("", "none") else setting, str(account.uid))


def directory_of(account: Account, setting: str) -> str:
    """The user's directory where no root made one: below ``setting`` (SessionDirectory), else below his own."""
    if setting and setting != "none":
        return os.path.join(setting, str(account.uid))
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{account.uid}")
    if os.path.isdir(runtime) and os.access(runtime, os.W_OK):
        return os.path.join(runtime, "qshd-sessions")
    return os.path.join(account.home, ".local/state/qsh/sessions")


def is_same_user(sock: socket.socket) -> bool:
    """The peer of a local socket is ours."""
    return _peer_of(sock)[1] == os.geteuid()


def process_of(sock: socket.socket) -> int:
    """Who listens at the other end, by the kernel's word."""
    return _peer_of(sock)[0]


def _peer_of(sock: socket.socket) -> tuple[int, int, int]:
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", peer)
    return pid, uid, gid


class SessionDirectory:
    """One user's directory. It is made when the first terminal needs it."""

    def __init__(self, path: str, lock_s: float = LOCK_S) -> None:
        self.path, self._lock_s = path, lock_s

    def _make(self) -> None:
        os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        self._check()

    def _check(self) -> None:
        """Nobody else may have made it. Raises OSError."""
        found = os.lstat(self.path)
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != os.geteuid()
            or stat.S_IMODE(found.st_mode) & 0o077
        ):
            raise PermissionError(errno.EPERM, f"{self.path} is not private")

    @contextlib.contextmanager
    def _at(self) -> Iterator[str]:
        """A short path of the directory: a socket's address holds 107 bytes only."""
        descriptor = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)

    def claim(self) -> tuple[str, socket.socket]:
        """A listening socket under the smallest name that is free. Raises OSError."""
        self._make()
        lock = os.open(os.path.join(self.path, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._lock(lock)
            for number in range(1, MAX_NAMES + 1):
                if (listener := self._listen(str(number))) is not None:
                    return str(number), listener
        finally:
            os.close(lock)
        raise OSError(errno.ENOSPC, "too many sessions")

    def _lock(self, descriptor: int) -> None:
        deadline = monotonic_s() + self._lock_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if monotonic_s() >= deadline:
                    text = f"{LOCK} is held by another process"
                    raise TimeoutError(errno.ETIMEDOUT, text) from None
            time.sleep(LOCK_LOOK_S)

    def _listen(self, name: str) -> socket.socket | None:
        listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            with self._at() as directory:
                path = f"{directory}/{name}"
                try:
                    listener.bind(path)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    if not self._is_stale(path):
                        listener.close()
                        return None
                    os.unlink(path)
                    listener.bind(path)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener

    @staticmethod
    def _is_stale(path: str, kind: int = socket.SOCK_SEQPACKET) -> bool:
        probe = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        with probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def release(self, name: str) -> None:
        """The terminal is gone."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.path, name))

    def claim_agent(self) -> tuple[str, socket.socket]:
        """A name for :meth:`release` and a socket that listens under it, for calls of the client's agent. Raises OSError."""
        self._make()
        self._sweep()
        name = f"agent.{secrets.token_hex(8)}"
        path = os.path.join(self.path, name)
        if len(os.fsencode(path)) > MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return name, listening.listen_unix(os.fsencode(path), 0o177, unlink=False)

    def _sweep(self) -> None:
        """Agents' sockets that hosts which were killed have left."""
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if AGENT.fullmatch(name) and self._is_stale(path, socket.SOCK_STREAM):
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def names(self) -> list[str]:
        """All that there are, in order; some may be stale."""
        try:
            self._check()
            found = os.listdir(self.path)
        except OSError:
            return []
        return sorted((name for name in found if NAME.fullmatch(name)), key=int)

    def connect(self, name: str) -> PacketSocket[Any] | None:
        """A connection to the terminal of that name; None: there is none."""
        if not NAME.fullmatch(name):
            return None
        sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            self._check()
            with self._at() as directory:
                sock.connect(f"{directory}/{name}")
            if is_same_user(sock):
                return PacketSocket(sock, Answer)
        except OSError:
            pass
        sock.close()
        return None
