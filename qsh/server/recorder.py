"""The recorder: writes what the terminals of one login put out, as asciicast v2, into files that the user cannot reach.

Forked before the session host becomes the user, one for each login that is recorded. It stays root, but for root's rights: no
capability, no file but new ones below its directory, no network, no keys (confinement.py). It reads one socket, and ends with
the session host: a qshd that is restarted or killed in between does not matter to it. What it is told is the word of the session
host, a process of the user's that no other process of the user's can touch.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.clock import monotonic_s, wall_s
from qsh.errors import QshError, RemoteProtocolError
from qsh.server import confinement, imports
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.process import close_others, set_title
from qsh.server.record_link import (
    Begin,
    Begun,
    Failed,
    Finish,
    Joined,
    LeftOut,
    RecorderEnd,
    RecordRequest,
    Sized,
    Wrote,
)
from qsh.server.recording_file import fixed_directory, open_recording, path_for
from qsh.terminal.asciicast import CastWriter

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from qsh.server.log import Fields, Log
    from qsh.server.record_link import RecordAnswer
    from qsh.server.recording_file import RecordingFile
    from qsh.server.session_rules import SessionRules

__all__ = ["Recorder", "start"]

BATCH_BYTES: Final = 1 << 20
"""Written at a time."""
MAX_RECORDINGS: Final = 256
"""At a time, in one login: a session host that was broken into must not fill the system with open files."""


@dataclass(slots=True)
class _Open:
    file: RecordingFile
    writer: CastWriter
    since_s: float
    pending: list[bytes] = field(default_factory=list)


class Recorder:
    """``take`` what the host says, ``flush`` it to the files."""

    def __init__(self, rules: SessionRules, session: int, log: Log) -> None:
        self._options, self._grant, self._log = rules.options, rules.grant, log
        account, (address, port) = rules.grant.account, rules.grant.client
        self._who: Fields = {
            "user": account.name,
            "address": address,
            "port": port,
            "session": session,
        }
        self._open: dict[int, _Open] = {}
        self._pending = 0

    def run(self, sock: socket.socket) -> None:
        """Until the host's end."""
        host: PacketSocket[RecordRequest] = PacketSocket(sock, RecordRequest)
        poll = select.poll()
        try:
            while True:
                poll.register(host.fileno(), select.POLLIN | (host.waiting and select.POLLOUT))
                poll.poll()
                host.flush()
                while self._pending < BATCH_BYTES and (received := host.receive()) is not None:
                    self._answer(host, self.take(received[0]))
                for failed in self.flush():
                    self._answer(host, failed)
        except (EOFError, OSError, RemoteProtocolError):
            pass  # it has ended, or is mad: what it has said so far counts
        self.flush()
        for number in list(self._open):
            self._end(number)

    @staticmethod
    def _answer(host: PacketSocket[RecordRequest], answer: RecordAnswer | None) -> None:
        if answer is not None:
            host.send(answer)

    def take(self, request: RecordRequest) -> RecordAnswer | None:
        """One message; lines that come of it wait for :meth:`flush`."""
        if isinstance(request, Begin):
            return self._begin(request)
        found = self._open.get(request.number)
        if found is None:
            return None  # it has failed, and the host will hear of it
        at_s = min(request.at_s, monotonic_s())
        if isinstance(request, Wrote):
            write = found.writer.input if request.typed else found.writer.output
            lines = write(at_s, request.data)
        elif isinstance(request, Sized):
            lines = found.writer.resize(at_s, request.rows, request.cols)
        elif isinstance(request, Joined):
            lines = found.writer.marker(at_s, f"attached from {request.address}")
        elif isinstance(request, LeftOut):
            lines = found.writer.marker(at_s, f"{request.count} bytes of output are missing here")
        else:
            lines = found.writer.end(at_s)
        found.pending.append(lines)
        self._pending += len(lines)
        return self._finish(request.number) if isinstance(request, Finish) else None

    def _begin(self, request: Begin) -> RecordAnswer:
        account, now_s = self._grant.account, monotonic_s()
        where = self._options.qsh_record_path
        try:
            if request.number in self._open or len(self._open) >= MAX_RECORDINGS:
                raise OSError("too many recordings")
            file = open_recording(path_for(where, account.name, account.uid, wall_s()))
        except (OSError, QshError) as error:
            self._complain(where, error)
            return Failed(request.number)
        writer = CastWriter(now_s)
        line = writer.header(
            request.rows,
            request.cols,
            int(wall_s()),
            f"{account.name}@{os.uname().nodename}",
            {"TERM": request.term, "SHELL": account.shell},
            request.command.decode("utf-8", "replace"),
        )
        self._open[request.number] = _Open(file, writer, now_s)
        try:
            file.write(line)  # now: a full disk is to be known before the program starts
        except OSError as error:
            return self._fail(request.number, error)
        self._log.info(
            f"Recording session of {self._name} to {file.path}",
            **self._fields("recording-started", file.path),
        )
        return Begun(request.number)

    def flush(self) -> list[Failed]:
        """Write what waits; recordings that have failed."""
        self._pending = 0
        failed = []
        for number, found in list(self._open.items()):
            if found.pending:
                lines, found.pending = b"".join(found.pending), []
                try:
                    found.file.write(lines)
                except OSError as error:
                    failed.append(self._fail(number, error))
        return failed

    def _finish(self, number: int) -> Failed | None:
        found = self._open[number]
        try:
            found.file.write(b"".join(found.pending))
        except OSError as error:
            return self._fail(number, error)
        self._end(number)
        return None

    def _end(self, number: int) -> None:
        found = self._open.pop(number)
        try:
            found.file.close()
        except OSError as error:
            self._complain(found.file.path, error)
            return
        seconds = monotonic_s() - found.since_s
        self._log.info(
            f"Recording of {self._name} ended: {found.file.path}, {found.file.size} bytes, {seconds:.0f} s",
            **self._fields("recording-ended", found.file.path),
            bytes=found.file.size,
            seconds=round(seconds, 3),
        )

    def _fail(self, number: int, error: OSError) -> Failed:
        found = self._open.pop(number)
        self._complain(found.file.path, error)
        try:
            found.file.close()
        except OSError:
            pass  # told already that it cannot be written
        return Failed(number)

    def _complain(self, path: str, error: Exception) -> None:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        what = {"closed": "the session must not go on"}.get(
            self._options.qsh_record, "the session is not recorded"
        )
        self._log.error(
            f"Recording of {self._name} failed: {path}: {reason}; {what}",
            **self._fields("recording-failed", path),
            reason=reason,
        )

    @property
    def _name(self) -> str:
        return f"{self._who['user']} from {self._who['address']} port {self._who['port']}"

    def _fields(self, event: str, path: str) -> Fields:
        return {"event": event, **self._who, "file": path}


def start(rules: SessionRules, session: int, log: Log) -> RecorderEnd | None:
    """Fork the recorder of a login, if it is to be recorded: called before rights are dropped, in the process that will be the
    session host. Its end of the socket.

    A recorder that cannot be forked is one that has ended: QshRecord says what that means.
    """
    options = rules.options
    if options.qsh_record == "no":
        return None
    ours, theirs = packet_pair()
    try:
        _fork(lambda: _serve(rules, session, log, theirs))
    except OSError as error:
        log.error(f"cannot fork a recorder: {error}")
    theirs.close()
    closed = options.qsh_record == "closed"
    return RecorderEnd(ours, closed, options.qsh_record_input, log.error)


def _fork(child: Callable[[], NoReturn]) -> None:
    """In a process that is not our child: the session host does not wait for it. Raises OSError."""
    pid = os.fork()
    if pid == 0:
        try:
            if os.fork() == 0:
                child()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _lift_limits() -> None:
    """Those that PAM has set for the user: as far as we may, which in a container can be less than root's right."""
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
        hard = resource.getrlimit(limit)[1]
        for most in (hard, resource.RLIM_INFINITY):
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(limit, (most, most))


def _serve(rules: SessionRules, session: int, log: Log, sock: socket.socket) -> NoReturn:
    try:
        set_title("qshd-recorder")
        log.role = "qshd-recorder"
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it ends when there is nothing more to record
        close_others({sock.fileno()} | log.descriptors)
        os.umask(0o077)
        _lift_limits()
        os.chdir("/")
        imports.forbid()
        where = fixed_directory(rules.options.qsh_record_path)
        confinement.confine_writer("recorder", [where], log)
        Recorder(rules, session, log).run(sock)
    except BaseException as error:
        log.error(f"recorder: {type(error).__name__}: {error}")
    os._exit(0)
