"""What a fork of the spawner does to be a session host: rights, root directory, recorder, and then the host's loop."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import msgspec

from qsh.server import chroot, imports, recorder, session_directory
from qsh.server.host import SessionHost
from qsh.server.idle_pages import IdlePages
from qsh.server.packets import PacketSocket
from qsh.server.process import set_title
from qsh.server.requests import Adopt, HostRequest
from qsh.server.session_rules import SessionRules

if TYPE_CHECKING:
    import socket

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.server.image import Image
    from qsh.server.log import Log
    from qsh.server.requests import Grant

__all__ = ["SessionStart"]

UMASK: Final = 0o022


class SessionStart(NamedTuple):
    """``configuration``: what held outside Match when the login was judged."""

    configuration: DaemonOptions
    image: Image | None
    log: Log

    def be_session(
        self, number: int, grant: Grant, to_monitor: socket.socket, to_front: socket.socket
    ) -> NoReturn:
        """Be the user's session host, as the user."""
        set_title("qshd-session")  # before the ids change: /proc/self/comm is root's after that
        self.log.role = "qshd-session"
        rules = SessionRules(grant, self.configuration)
        recording = recorder.start(rules, number, self.log)
        pages = self._idle_pages()
        directory = ""
        account = grant.account
        root = chroot.directory_of(rules.options, account)
        if root is not None:
            inside = chroot.options_inside(rules.options)
            rules = SessionRules(msgspec.structs.replace(grant, options=inside), inside)
            chroot.enter(root)
            become(account)
        elif os.geteuid() == 0:
            directory = self._session_directory(rules)
            become(account)
        os.umask(UMASK)
        with contextlib.suppress(OSError):
            os.chdir("/")
        imports.forbid()
        SessionHost(
            PacketSocket(to_front, HostRequest),
            PacketSocket(to_monitor, Adopt),
            rules,
            directory,
            self.log.info,
            pages,
            recording,
        ).run()
        os._exit(0)

    def _idle_pages(self) -> IdlePages | None:
        """Opened before the ids change: /proc/self is root's after that."""
        if self.image is None:
            return None
        try:
            return IdlePages(self.image.pages().give_back)
        except OSError:
            return None

    def _session_directory(self, rules: SessionRules) -> str:
        """The user's directory of sockets, made by root; without it his sessions cannot be attached from elsewhere."""
        setting, account = rules.options.session_directory, rules.grant.account
        path = session_directory.path_of(account, setting, root=True)
        try:
            session_directory.make_root_directory(account.uid, account.gid, os.path.dirname(path))
        except OSError as error:
            self.log.error(f"session directory {path}: {error.strerror or error}")
        return path


def become(account: Account) -> None:
    """Drop to the user for good, and make sure of it (uidswap.c: permanently_set_uid). Raises PermissionError."""
    os.setgroups(list(account.groups))
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if account.uid != 0:
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise PermissionError("root rights could be had back")
