"""The spawner: forks login children, session hosts, fronts and signers from a preloaded, frozen image.

It never has a private key (the signer that it forks reads them), one thread, no network peer. A session so costs
copy-on-write pages instead of an interpreter start, and whatever it will ever import is loaded already
(docs/architecture.md 2.1).
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from qsh.clock import monotonic_s, wall_s
from qsh.errors import StartupError
from qsh.server import (
    auth_info,
    chroot,
    imports,
    keeper,
    login_records,
    pam,
    recorder,
    remote_name,
    session_directory,
)
from qsh.server.dialogue import Dialogue
from qsh.server.host import SessionHost
from qsh.server.idle_pages import IdlePages
from qsh.server.login import Judge, Opinion, commands_s, group_names
from qsh.server.moved_login import judge_move
from qsh.server.packets import PacketSocket
from qsh.server.pam_login import PamLogin
from qsh.server.process import close_others, set_title
from qsh.server.reloading import send_reread, set_level
from qsh.server.requests import (
    FRONT,
    SIGNER,
    Begin,
    Grant,
    HostReport,
    HostRequest,
    Judgement,
    Outcome,
    Reaped,
    RecordLogin,
    RecordLogout,
    Reload,
    Spawned,
    SpawnerRequest,
    SpawnFailed,
    SpawnLogin,
    SpawnSession,
    StartFront,
    StartSigner,
)
from qsh.server.session_rules import PLAIN_KEY, SessionRules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.config.daemon_options import DaemonConfig, DaemonOptions
    from qsh.server.account import Account
    from qsh.server.image import Image
    from qsh.server.log import Log
    from qsh.server.reloading import Reread
    from qsh.server.requests import Address, Login, LoginRecord, Step

__all__ = ["Spawner"]

UMASK: Final = 0o022
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
    _names: dict[str, str] = field(default_factory=dict)
    """Of a login child."""
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
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
                self._become_session(request.number, request.grant, *sockets)
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
        root = os.geteuid() == 0
        if request.moved_from is not None:
            self._judge_move(request, request.moved_from, to_monitor)
        dialogue = None if to_front is None else Dialogue(to_front)
        pam_login = self._pam_login(request.login, dialogue)
        judge = Judge(
            request.login,
            request.host_key,
            self._options_for,
            wall_s(),
            None if root else os.geteuid(),
            request.resumes,
            name_of=self._name_of,
            deadline_s=monotonic_s() + commands_s(self.config.options.login_grace_time),
            steps=request.steps,
            pam=pam_login,
        )
        opinion = judge.judge()
        for complaint in judge.complaints:
            self.log.info(complaint)
        grant = self._grant(request.login, request.steps, opinion)
        if pam_login is not None and grant is not None:
            opinion, grant = self._open(pam_login, opinion, grant)
        if dialogue is not None:
            dialogue.close()
        monitor: PacketSocket[Any] = PacketSocket(to_monitor, Begin)
        keeps = pam_login is not None and pam_login.opened
        told = [] if pam_login is None or keeps or not pam_login.message else [pam_login.message]
        monitor.send(
            Judgement(
                opinion.outcome,
                list(opinion.acceptable),
                grant if grant is None else msgspec.structs.replace(grant, environment=None),
                opinion.reason,
                opinion.key,
                max_attempts=judge.max_attempts,
                resumable=opinion.options is not None and opinion.options.resume,
                methods=list(opinion.methods),
                counts=opinion.counts,
                keeps=keeps,
                notices=told,
            )
        )
        if keeps and pam_login is not None and grant is not None:
            self._keep(pam_login, request.number, grant, monitor)
        os._exit(0)

    def _pam_login(self, login: Login, dialogue: Dialogue | None) -> PamLogin | None:
        options = self.config.options
        if not options.use_pam or not pam.is_there():
            return None
        service = pam.service_of(options.pam_service_name)
        return PamLogin(login, service, self._name_of(login.client[0]), dialogue)

    def _open(
        self, login: PamLogin, opinion: Opinion, grant: Grant
    ) -> tuple[Opinion, Grant | None]:
        """The PAM session of a login that was accepted, with what it gives to the session; or the refusal."""
        reason = login.open(grant.account)
        if reason is not None:
            login.close()
            return Opinion(Outcome.REFUSED, reason, methods=opinion.methods), None
        groups = tuple(os.getgroups())
        account = grant.account
        if set(groups) != set(account.groups):  # pam_group
            account = replace(account, groups=groups)
        message, environment = login.message, login.environment()
        return opinion, msgspec.structs.replace(
            grant, account=account, environment=environment, message=message
        )

    def _keep(
        self, login: PamLogin, number: int, grant: Grant, monitor: PacketSocket[Any]
    ) -> NoReturn:
        """Be the keeper, if the monitor wants the session still."""
        descriptors = keeper.wait_for_begin(monitor)
        monitor.close()
        if len(descriptors) != 2:
            login.close()
            os._exit(0)
        sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]

        def be_session() -> NoReturn:
            try:
                image = {self.image.fileno()} if self.image is not None else set()
                close_others({*descriptors, *self.log.descriptors, *image})  # what modules opened
                self._become_session(number, grant, *sockets)
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

        keeper.keep(login, be_session, after_fork, self.log)

    def _grant(self, login: Login, steps: Sequence[Step], opinion: Opinion) -> Grant | None:
        grant = grant_of(login, opinion, self.config.options, read_records=os.geteuid() == 0)
        if grant is None:
            return None
        exposed = opinion.options is not None and opinion.options.expose_auth_info
        return msgspec.structs.replace(
            grant,
            generation=len(self._generations) - 1,
            auth_info=auth_info.describe(login, steps) if exposed else "",
        )

    def _judge_move(
        self, request: SpawnLogin, before: Address, to_monitor: socket.socket
    ) -> NoReturn:
        """Be the child that judges a login that was accepted elsewhere."""
        only = None if os.geteuid() == 0 else os.geteuid()

        def judge_at(client: Address) -> Judge:
            login = msgspec.structs.replace(request.login, client=client)
            return Judge(
                login,
                request.host_key,
                self._options_for,
                request.then,
                only,
                name_of=self._name_of,
                steps=request.steps,
            )

        opinion = judge_move(judge_at, before, request.login.client)
        monitor: PacketSocket[Any] = PacketSocket(to_monitor, HostReport)
        monitor.send(Judgement(opinion.outcome, reason=opinion.reason))
        os._exit(0)

    def _become_session(
        self, number: int, grant: Grant, to_monitor: socket.socket, to_front: socket.socket
    ) -> NoReturn:
        """Be the user's session host, as the user."""
        set_title("qshd-session")  # before the ids change: /proc/self/comm is root's after that
        self.log.role = "qshd-session"
        rules = SessionRules(grant, self._generations[grant.generation])
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
            PacketSocket(to_monitor, HostReport),
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

    def _name_of(self, address: str) -> str:
        """In a login child, which may wait for a name server."""
        if not self.config.options.use_dns:
            return address
        if address not in self._names:
            found = remote_name.look_up(address)
            if found.reason:
                self.log.info(found.reason)
            self._names[address] = found.name
        return self._names[address]

    def _options_for(self, login: Login, account: Account | None) -> DaemonOptions:
        return self.config.for_connection(
            user=login.user,
            groups=group_names(account) if account is not None else (),
            host=self._name_of(login.client[0]),
            address=login.client[0],
            local_address=login.server[0],
            local_port=login.server[1],
        )


def grant_of(
    login: Login, opinion: Opinion, configuration: DaemonOptions, *, read_records: bool
) -> Grant | None:
    """What the session host of an accepted login needs; None if it was not accepted."""
    account = opinion.account
    if (
        opinion.outcome != Outcome.ACCEPTED
        or account is None
        or opinion.options is None
        or opinion.key_options is None
    ):
        return None
    last = login_records.read_last_login(account.uid) if read_records else None
    options = None if opinion.options == configuration else opinion.options
    key = None if opinion.key_options == PLAIN_KEY else opinion.key_options
    return Grant(account, options, key, login.client, login.server, last)


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
