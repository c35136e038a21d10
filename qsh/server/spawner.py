"""The spawner: forks login children, session hosts, fronts and signers from a preloaded, frozen image.

It never has a private key (the signer that it forks reads them), one thread, no network peer. A session so costs
copy-on-write pages instead of an interpreter start, and whatever it will ever import is loaded already
(docs/architecture.md 2.1).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what the module signal is made of
import contextlib
import gc
import os
import selectors
import signal
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.errors import StartupError
from qsh.server import confinement, keeper, login_records
from qsh.server.login_child import LoginChild
from qsh.server.process import close_others, set_title
from qsh.server.reloading import send_reread, set_level
from qsh.server.requests import (
    FRONT,
    SIGNER,
    Reaped,
    RecordLogin,
    RecordLogout,
    Reload,
    Spawned,
    SpawnFailed,
    SpawnLogin,
    SpawnSession,
    StartFront,
    StartSigner,
)
from qsh.server.session_start import SessionStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.config.daemon_options import DaemonConfig, DaemonOptions
    from qsh.server.image import Image
    from qsh.server.log import Log
    from qsh.server.login_child import Kept
    from qsh.server.packets import PacketSocket
    from qsh.server.reloading import Reread
    from qsh.server.requests import Grant, LoginRecord, SpawnerRequest

__all__ = ["Spawner"]

_SIGCHLD, _SIG_DFL = int(signal.SIGCHLD), int(signal.SIG_DFL)
"""For _signal, as in program.py: each child would pay for enumeration members."""
MAX_RECORDS: Final = 1024
"""Login records that may wait for files that somebody holds locked; the oldest are dropped."""


@dataclass
class Spawner:
    """Runs in a process of its own until the monitor goes away."""

    monitor: PacketSocket[SpawnerRequest]
    config: DaemonConfig
    log: Log
    start_front: Callable[[socket.socket, socket.socket], NoReturn]
    start_signer: Callable[[socket.socket], NoReturn]
    reload: Callable[[], Reread] | None = None
    """Reads the configuration again."""
    image: Image | None = None
    """What the processes share; None: they share what the system shares after a fork."""
    _records: deque[LoginRecord] = field(default_factory=lambda: deque(maxlen=MAX_RECORDS))
    """Login records that wait for the recorder."""
    _recorder: int = 0
    _generations: list[DaemonOptions] = field(init=False)
    """What held outside Match since the start, the newest last: a session begins with what its login was judged by."""

    def __post_init__(self) -> None:
        self._generations = [self.config.options]

    def run(self) -> NoReturn:
        """The spawner's loop; ends the process."""
        self.log.role = "qshd-spawner"
        set_title("qshd-spawner")
        wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_w)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        selector = selectors.DefaultSelector()
        selector.register(self.monitor, selectors.EVENT_READ)
        selector.register(wake_r, selectors.EVENT_READ)
        gc.disable()  # what was frozen before the fork stays shared
        with contextlib.suppress(EOFError, OSError):
            while True:
                for key, _ in selector.select():
                    if key.fd == wake_r:
                        os.read(wake_r, 4096)
                        self._reap()
                    else:
                        self._read_monitor()
                self.monitor.flush()
                writing = selectors.EVENT_WRITE if self.monitor.waiting else 0
                selector.modify(self.monitor, selectors.EVENT_READ | writing)
        self._recorder = 0
        self._start_recorder()  # what waits for the one before
        os._exit(0)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._recorder:
                    self._recorder = 0
                    self._start_recorder()
                else:
                    self.monitor.send(Reaped(pid, status))

    def _read_monitor(self) -> None:
        received = self.monitor.receive()
        if received is None:
            return
        request, descriptors = received
        if isinstance(request, RecordLogin | RecordLogout):
            self._records.append(request)
            self._start_recorder()
            return
        if isinstance(request, Reload):
            self._reload()
            return
        number = (
            FRONT
            if isinstance(request, StartFront)
            else SIGNER
            if isinstance(request, StartSigner)
            else request.number
        )
        pid = self._fork()
        if pid == 0:
            self._child(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid > 0:
            self.monitor.send(Spawned(number, pid, isinstance(request, SpawnSession)))
        else:
            self.monitor.send(SpawnFailed(number))

    def _reload(self) -> None:
        if self.reload is None:
            return
        reread = self.reload()
        if reread.config is not None and reread.rules is not None:
            self.config = reread.config
            self._generations.append(reread.config.options)
            set_level(self.log, reread.rules.level)
        send_reread(reread, self.monitor)

    def _fork(self) -> int:
        """As os.fork(); -1 if there is no process to be had."""
        try:
            pid = os.fork()
        except OSError as error:
            self.log.error(f"cannot fork: {error}")
            return -1
        if pid == 0:
            gc.enable()  # what is frozen stays untouched; a front without it would keep every closed connection
            signal.set_wakeup_fd(-1)
            _signal.signal(_SIGCHLD, _SIG_DFL)
        return pid

    def _start_recorder(self) -> None:
        """Login records are written by one child at a time, in order: locks that a user holds keep nobody else waiting."""
        if self._recorder or not self._records:
            return
        pid = self._fork()
        if pid == 0:
            try:
                set_title("qshd-records")
                close_others(self.log.descriptors)
                confinement.confine_writer("records", login_records.DEFAULT.all, self.log)
                self._write_records()
            except BaseException as error:
                self.log.error(f"login records: {type(error).__name__}: {error}")
            os._exit(0)
        if pid > 0:
            self._recorder = pid
            self._records.clear()

    def _write_records(self) -> None:
        for record in self._records:
            for complaint in login_records.write(record):
                self.log.error(complaint)

    def _child(
        self,
        request: SpawnLogin | SpawnSession | StartFront | StartSigner,
        descriptors: list[int],
    ) -> NoReturn:
        """In the child. Never returns."""
        try:
            sockets = [socket.socket(fileno=fd) for fd in descriptors]
            if isinstance(request, StartFront):
                self.monitor.close()
                self.start_front(*sockets)
            if isinstance(request, StartSigner):
                self.monitor.close()
                self.start_signer(*sockets)
            keep = {sock.fileno() for sock in sockets} | self.log.descriptors
            image = {self.image.fileno()} if self.image is not None else set()
            close_others(keep | image)
            if isinstance(request, SpawnLogin):
                self._judge(request, sockets[0], *sockets[1:2])
            else:
                self._be_session(request.number, request.grant, *sockets)
        except StartupError as error:
            self.log.error(str(error))
        except BaseException as error:
            self.log.error(f"child of the spawner: {type(error).__name__}: {error}")
        os._exit(1)

    def _judge(
        self,
        request: SpawnLogin,
        to_monitor: socket.socket,
        to_front: socket.socket | None = None,
    ) -> NoReturn:
        """Be a login child: one judgement, then the end, or the session's keeper."""
        set_title("qshd-login")
        self.log.role = "qshd-login"
        child = LoginChild(self.config, len(self._generations) - 1, self.log)
        if not child.has_pam:  # a keeper would hand it on, to root's session too
            confinement.refuse_rare_calls()
        kept = child.judge(request, to_monitor, to_front)
        if kept is not None:
            self._keep(kept, request.number)
        os._exit(0)

    def _keep(self, kept: Kept, number: int) -> NoReturn:
        """Be the keeper, if the monitor wants the session still."""
        descriptors = keeper.wait_for_begin(kept.monitor)
        kept.monitor.close()
        if len(descriptors) != 2:
            kept.pam.close()
            os._exit(0)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]

        def be_session() -> NoReturn:
            try:
                image = {self.image.fileno()} if self.image is not None else set()
                close_others({*descriptors, *self.log.descriptors, *image})  # what modules opened
                self._be_session(number, kept.grant, *sockets)
            except StartupError as error:
                self.log.error(str(error))
            except BaseException as error:
                self.log.error(f"session host: {type(error).__name__}: {error}")
            os._exit(1)

        def after_fork() -> None:
            for sock in sockets:
                sock.close()
            if self.image is not None:
                with contextlib.suppress(OSError):
                    self.image.pages().give_back()

        keeper.keep(kept.pam, be_session, after_fork, self.log)

    def _be_session(
        self, number: int, grant: Grant, to_monitor: socket.socket, to_front: socket.socket
    ) -> NoReturn:
        configuration = self._generations[grant.generation]
        SessionStart(configuration, self.image, self.log).be_session(
            number, grant, to_monitor, to_front
        )
