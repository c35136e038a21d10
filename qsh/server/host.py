"""The session host: runs as the user, holds the terminals and programs of one login (docs/architecture.md 2.1).

A program without a terminal gets pipes, whose ends the front gets (its bytes never pass through here). A terminal is spoken for
here (docs/protocol.md 10), and stays when its client or the front goes. The host ends when it has no front and no terminal.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server import auth_info, program, session_commands
from qsh.server.client_calls import Callee
from qsh.server.event_loop import READ, WRITE, EventLoop
from qsh.server.forward_rules import ForwardRules
from qsh.server.forwards import HostForwards
from qsh.server.kept_terminals import KeptTerminals
from qsh.server.login_script import before_program
from qsh.server.offered_calls import offer_calls
from qsh.server.packets import PacketSocket
from qsh.server.record_link import RecordLink
from qsh.server.requests import (
    Called,
    ChannelFailed,
    ChannelOpened,
    Connect,
    Exited,
    HangUp,
    HostRequest,
    ListenOn,
    OpenChannel,
    PathState,
    Released,
    StopListening,
    TerminalLogin,
)
from qsh.server.session_directory import AttachTo, SessionDirectory, directory_of
from qsh.server.session_relay import SessionRelay
from qsh.server.session_rules import NOT_PERMITTED
from qsh.server.spliced_programs import SplicedProgram, SplicedPrograms
from qsh.server.terminal_clients import Visitor
from qsh.server.terminal_model import COLS, ROWS
from qsh.server.terminal_visits import TerminalVisits

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.client_calls import ClientCalls
    from qsh.server.idle_pages import IdlePages
    from qsh.server.record_link import RecorderEnd, Recording
    from qsh.server.requests import Adopt, Call, Local
    from qsh.server.session_rules import Plan, SessionRules
    from qsh.server.signals import ProgramEnd
    from qsh.server.terminal_session import TerminalSession
    from qsh.wire.messages import Attach, Pty

__all__ = ["SessionHost"]

NOT_RECORDED: Final = ("not-recorded", "sessions are recorded here, and this one cannot be")
WAITING_S: Final = 0.1
"""A new terminal waits so long to hear which others are detached."""


@dataclass
class SessionHost:
    """Runs until the front has hung up and no terminal is left. ``rules`` say what this login may do."""

    front: PacketSocket[HostRequest]
    monitor: PacketSocket[Any]
    rules: SessionRules
    directory_path: str = ""
    """Made by root for this user; empty: where the configuration or the environment says."""
    log: Callable[[str], None] = lambda text: None
    pages: IdlePages | None = None
    recorder: RecorderEnd | None = None
    """Terminals are recorded."""
    _loop: EventLoop = field(default_factory=EventLoop)
    _connected: bool = True
    _auth_info: str = ""
    _ends: int = 0
    """Programs that ended, and that could not be started."""

    def __post_init__(self) -> None:
        options, account = self.rules.options, self.rules.grant.account
        path = self.directory_path or directory_of(account, options.session_directory)
        self._directory = SessionDirectory(path)
        self._forwards: HostForwards | None = None
        """Made with the first request: most hosts hold a terminal and no forward, and would only keep the memory."""
        self._programs = SplicedPrograms(self._loop, self._program_ended)
        self._terminals = KeptTerminals(
            self._loop, self._directory, options, self._programs, self.report, self._count_end
        )
        self._visits = TerminalVisits()
        self._records = None if self.recorder is None else RecordLink(self._loop, self.recorder)
        self._loop.watch(self.monitor.fileno(), READ, self._monitor_ready)
        self._beginning: set[int] = set()
        """Channels whose terminals are to be recorded before their programs start."""

    def run(self, *, until_end: bool = False) -> None:
        """The host's loop; returns when nothing is left to do, or with ``until_end`` when a program ends or cannot start."""
        self._auth_info = auth_info.write(self.rules, self._directory.path, self.report)
        try:
            while self._connected or self._terminals:
                if until_end and self._ends:
                    break
                self.turn()
        finally:
            self.close()

    def turn(self, limit_s: float | None = None) -> None:
        """Wait for something to happen, at most ``limit_s``, and do what is due."""
        now = monotonic_s()
        timeout_s = self._timeout_s(now)
        if limit_s is not None:
            timeout_s = limit_s if timeout_s is None else min(timeout_s, limit_s)
        self._watch_front()
        happened, changed = self._loop.wait(timeout_s, self._terminals.watched(now))
        now = monotonic_s()
        self._terminals.watched_until(now, changed=changed)
        if happened and self.pages is not None:
            self.pages.touched(now, self._terminals.newest_traffic)
        self._expire(now)

    def close(self) -> None:
        """Hang up everything."""
        auth_info.remove(self._auth_info)
        self._programs.hang_up()
        if self._forwards is not None:
            self._forwards.close()
        self._terminals.hang_up()
        if self._records is not None:
            self._records.close()
        self._loop.close()

    # -- time ----------------------------------------------------------------------------------

    def _timeout_s(self, now: float) -> float | None:
        """Until the soonest deadline."""
        times = self._terminals.deadlines(now)
        if self._forwards is not None and (dial := self._forwards.deadline) is not None:
            times.append(dial)
        if self._records is not None and (record := self._records.deadline) is not None:
            times.append(record)
        times += self._visits.deadlines
        if self.pages is not None and self.pages.deadline is not None:
            times.append(self.pages.deadline)
        return max(0.0, min(times) - now) if times else None

    def _expire(self, now: float) -> None:
        if self._forwards is not None:
            self._forwards.expire(now)
        if self._records is not None:
            self._records.expire(now)
        self._visits.expire(now)
        self._terminals.expire(now)
        if self.pages is not None:
            self.pages.expire(now)

    # -- the front -----------------------------------------------------------------------------

    def _watch_front(self) -> None:
        if self._connected:
            events = READ | (WRITE if self.front.waiting else 0)
            self._loop.watch(self.front.fileno(), events, self._front_ready)
            self._loop.first = self.front.fileno()  # its HangUp goes before the end of the stream

    def _front_ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self.front.flush()
            if events & READ:
                while self._connected and self._read_front():
                    pass
        except (EOFError, OSError, RemoteProtocolError):
            self._lose_front()
        self._watch_front()

    def _lose_front(self) -> None:
        """It is gone or mad: what has no terminal ends."""
        if not self._connected:
            return
        self._connected = False
        if self.pages is not None:
            self.pages.front_lost(monotonic_s())
        self._beginning.clear()
        self._loop.forget(self.front.fileno())
        self._programs.hang_up()
        if self._forwards is not None:
            self._forwards.close()
        self._visits.close()
        self.front.close()

    # -- the next front --------------------------------------------------------------------------

    def _monitor_ready(self, _: int) -> None:
        try:
            received = self.monitor.receive()
        except (EOFError, RemoteProtocolError):
            self._loop.forget(self.monitor.fileno())
            return
        if received is None:
            return
        message, descriptors = received
        if len(descriptors) == 1:
            self._adopt(message, PacketSocket(socket.socket(fileno=descriptors[0]), HostRequest))

    def _adopt(self, message: Adopt, front: PacketSocket[HostRequest]) -> None:
        """Go on for another connection with the same rights: our own has ended with its front, seen or not."""
        self._lose_front()
        self._programs.leave_channels()
        self._forwards = None
        here = msgspec.structs.replace(
            self.rules.grant, client=message.client, server=message.server
        )
        self.rules = replace(self.rules, grant=here)
        self.front, self._connected = front, True
        self._watch_front()

    def _tell(self, message: Local, descriptors: list[int] | None = None) -> None:
        """To the front; what it cannot get any more is of no use to anybody."""
        if not self._connected:
            for descriptor in descriptors or ():
                os.close(descriptor)
            return
        try:
            self.front.send(message, descriptors or [])
        except OSError:
            self._lose_front()
            return
        self._watch_front()

    def _read_front(self) -> bool:
        """One request; whether there was one."""
        received = self.front.receive()
        if received is None:
            return False
        request, descriptors = received
        for descriptor in descriptors:
            os.close(descriptor)  # none is ever due
        if isinstance(request, OpenChannel):
            self._open(request)
        elif isinstance(request, PathState):
            self._visits.path(request.rtt_us / 1e6, request.loss_ppm)
        elif isinstance(request, Connect | ListenOn | StopListening | Released):
            if self._forwards is None:
                rules = ForwardRules(self.rules.options, self.rules.key)
                self._forwards = HostForwards(self._loop, rules, self._tell, self.report)
            self._forwards.take(request)
        elif request.channel in self._visits:
            self._visits.take(request)
        elif request.channel in self._programs:
            self._programs.take(request)
        elif isinstance(request, HangUp) and request.channel in self._beginning:
            self._beginning.discard(request.channel)
        elif isinstance(request, HangUp) and self._forwards is not None:
            self._forwards.hang_up(request.channel)
        return True  # what it was for may have just ended

    # -- channels ------------------------------------------------------------------------------

    def _open(self, request: OpenChannel) -> None:
        known = self._programs.channels | self._visits.channels | self._beginning
        refusal = self.rules.refusal(request, len(known))
        if request.channel in known:
            refusal = ("bad-channel", "the channel is open already")
        if refusal is not None:
            self._fail(request.channel, *refusal)
            return
        try:
            if request.kind == "attach":
                self._attach(request)
            elif request.kind == "sessions":
                self._run_command(request)
            elif self._records is not None and request.pty is not None and self.rules.permits_pty:
                self._record(self._records, request, request.pty)
            else:
                self._start(request)
        except OSError as error:
            self._cannot_start(request, error)

    def _cannot_start(self, request: OpenChannel, error: OSError) -> None:
        reason = error.strerror or str(error)
        self._fail(request.channel, "resources", f"cannot start a program: {reason}")

    def _fail(self, channel: int, code: str, reason: str) -> None:
        self._ends += 1
        self._tell(ChannelFailed(channel, code, reason))

    def _record(self, records: RecordLink, request: OpenChannel, pty: Pty) -> None:
        """Start a program on a terminal that is recorded; with ``closed``, not before the recording has begun."""
        channel = request.channel
        if request.terminal is None:  # its bytes would pass by this process
            self._fail(channel, *NOT_RECORDED)
            return

        def ready(recording: Recording | None) -> None:
            if channel in self._beginning:
                self._beginning.discard(channel)
                try:
                    self._start(request, recording)
                except OSError as error:
                    self._cannot_start(request, error)
                else:
                    return
            if recording is not None:
                recording.end()

        def refuse() -> None:
            if channel in self._beginning:
                self._beginning.discard(channel)
                self._fail(channel, *NOT_RECORDED)

        self._beginning.add(channel)
        forced = self.rules.forced_command
        command = request.command if forced is None else os.fsencode(forced)
        size = (pty.rows or ROWS, pty.cols or COLS)
        records.begin(size, pty.term, command, ready, refuse)

    def _start(self, request: OpenChannel, recording: Recording | None = None) -> None:
        terminal, notices = None, []
        if request.pty is not None:
            if self.rules.permits_pty:
                terminal = program.open_terminal(request.pty)
            else:
                notices.append("PTY allocation request failed on channel 0")
        calls = offer_calls(self._loop, self._directory, self.rules, request, self.report, notices)
        try:
            tty = terminal.name if terminal else ""
            started = program.start(lambda: self._plan(request, tty, calls), terminal)
        except OSError:
            if calls is not None:
                calls.close()
            if terminal is not None:
                os.close(terminal.master)
                os.close(terminal.slave)
            raise
        if terminal is not None:
            self._report_terminal(terminal.name, started.pid)
            if request.terminal is not None and request.pty is not None:
                os.close(started.stdin)
                os.close(started.stdout)
                session = self._terminals.add(
                    terminal, started, request.pty, self.rules.rights, notices, recording, calls
                )
                self._attach_to_new(request, session, request.terminal, request.pty, notices)
                return
        descriptors = [started.stdin, started.stdout]
        if terminal is None:
            descriptors.append(started.stderr)
        master = terminal.master if terminal is not None else -1
        callee = self._callee(request)
        if calls is not None:
            calls.newest = lambda kind: callee
        self._programs.keep(
            SplicedProgram(request.channel, started.pid, started.pidfd, master, callee, calls)
        )
        self._tell(ChannelOpened(request.channel, notices), descriptors)

    def _plan(self, request: OpenChannel, tty: str, calls: ClientCalls | None) -> Plan:
        rules = self.rules
        prepare = None
        if not rules.rehearsed:
            prepare = before_program(
                rules.grant.account,
                None if calls is None else calls.xauth,
                rules.options.xauth_location,
                user_script=rules.runs_user_script(request),
            )
        extra = {} if calls is None else calls.env
        if self._auth_info:
            extra = {**extra, auth_info.VARIABLE: self._auth_info}
        return rules.plan(request, tty, extra, prepare)

    def _callee(self, request: OpenChannel) -> Callee | None:
        kinds, channel = self.rules.calls(request), request.channel
        if not kinds:
            return None
        return Callee(kinds, lambda call, descriptor: self._call(channel, call, [descriptor]))

    def _call(self, channel: int, call: Call, descriptors: list[int]) -> None:
        """Of one of our programs, or, passed on, of a terminal's elsewhere."""
        self._tell(Called(channel, call), descriptors)

    # -- terminals -------------------------------------------------------------------------------

    def _attach_to_new(
        self,
        request: OpenChannel,
        session: TerminalSession,
        attach: Attach,
        pty: Pty,
        notices: list[str],
    ) -> None:
        visitor = self._visitor(request)
        size = (pty.rows, pty.cols, pty.xpixel, pty.ypixel)
        waiting = self._waiting() if request.kind == "shell" else []
        try:
            far = session.attach(attach, size, visitor, waiting, new=True)
        except OSError:
            session.hang_up()
            raise
        self._visits.here(request.channel, session, visitor)
        self._tell(ChannelOpened(request.channel, notices, terminal=True), far)

    def _waiting(self) -> list[str]:
        if not self.rules.rights.free:
            return []
        others = [name for name in self._directory.names() if name not in self._terminals]
        described = session_commands.describe_all(self._directory, others, WAITING_S)
        return session_commands.waiting_lines(described, self.rules.rights)

    def _visitor(self, request: OpenChannel) -> Visitor:
        channel = request.channel
        return Visitor(
            self.rules.grant.client[0],
            lambda: self._visits.forget(channel),
            self._callee(request),
        )

    def _attach(self, request: OpenChannel) -> None:
        attach, pty, channel = request.terminal, request.pty, request.channel
        if attach is None:
            return  # refused by the rules
        name = request.command.decode(errors="replace")
        size = (pty.rows, pty.cols, pty.xpixel, pty.ypixel) if pty is not None else (0, 0, 0, 0)
        terminal, rights = self._terminals.get(name), self.rules.rights
        if terminal is None:
            calls = tuple(self.rules.calls(request))
            self._attach_elsewhere(
                channel, name, AttachTo(attach, rights, size, self.rules.grant.client[0], calls)
            )
        elif terminal.over:
            self._fail(channel, "session-lost", f"session {name[:64]} has ended")
        elif not self._may_attach(terminal, attach):
            self._fail(channel, *NOT_PERMITTED)
        else:
            visitor = self._visitor(request)
            far = terminal.attach(attach, size, visitor, [])
            self._visits.here(channel, terminal, visitor)
            self._tell(ChannelOpened(channel, terminal=True), far)

    def _may_attach(self, terminal: TerminalSession, attach: Attach) -> bool:
        rights = self.rules.rights
        if terminal.has_ticket(attach.client, attach.ticket):
            return rights.may_be_seen_in(terminal.rights)
        return rights.may_visit(terminal.rights)

    def _attach_elsewhere(self, channel: int, name: str, question: AttachTo) -> None:
        peer = self._directory.connect(name)
        if peer is None:
            self._fail(channel, "session-lost", f"there is no session {name[:64]!r}")
            return
        relay = SessionRelay(
            self._loop,
            peer,
            question,
            lambda far: self._tell(ChannelOpened(channel, terminal=True), far),
            lambda code, text: self._fail(channel, code, text),
            lambda: self._visits.forget(channel),
            lambda call, descriptors: self._call(channel, call, descriptors),
        )
        self._visits.elsewhere(channel, relay)

    def _run_command(self, request: OpenChannel) -> None:
        directory, user = self._directory, self.rules.grant.account.name
        command, rights = request.command, self.rules.rights
        started = program.start_function(
            lambda: session_commands.run(directory, command, user, rights)
        )
        self._programs.keep(SplicedProgram(request.channel, started.pid, started.pidfd))
        self._tell(ChannelOpened(request.channel), [started.stdin, started.stdout, started.stderr])

    def _report_terminal(self, name: str, pid: int) -> None:
        if self.rules.options.chroot_directory != "none":
            return  # outside that name may be another's
        try:
            self.monitor.send(TerminalLogin(name.removeprefix("/dev/"), pid))
        except OSError:
            pass  # the monitor is gone: the session goes on without a login record

    def _count_end(self) -> None:
        self._ends += 1

    def _program_ended(self, channel: int, end: ProgramEnd) -> None:
        self._count_end()
        if channel >= 0:
            self._tell(Exited(channel, end.status, end.signal, end.core_dumped))

    def report(self, text: str) -> None:
        """A line for the log."""
        self.log(text)
