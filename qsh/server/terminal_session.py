"""One terminal that outlives its clients: the pty, its program, what it put out, and who is attached to it."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from qsh.clock import monotonic_s, wall_s
from qsh.server import program, signals
from qsh.server.attach_tickets import AttachTickets
from qsh.server.attachment import Attachment
from qsh.server.attachment_link import AttachmentLink, socket_pairs
from qsh.server.event_loop import READ, WRITE
from qsh.server.pty_input import PtyInput
from qsh.server.read_allowance import ReadAllowance
from qsh.server.session_description import Description
from qsh.server.terminal_clients import TerminalClients
from qsh.server.terminal_model import TerminalModel
from qsh.server.tty_polling import TtyPolling
from qsh.server.tty_state import TtyWatch, waiting_bytes
from qsh.session.input_log import InputLog
from qsh.session.settle import Settle
from qsh.terminal.screen import gulp
from qsh.wire.terminal import Attached, Ended

if TYPE_CHECKING:
    from qsh.server.client_calls import Callee
    from qsh.server.event_loop import EventLoop, Watched
    from qsh.server.program import Program, Terminal
    from qsh.server.record_link import Recording
    from qsh.server.requests import CallKind
    from qsh.server.session_rules import Rights
    from qsh.server.terminal_clients import Size, Visitor
    from qsh.wire.messages import Attach, Pty

__all__ = ["TerminalSession"]

READ_BYTES: Final = 64 * 1024
"""Output taken in one go: one feed of the model, one frame."""
INPUT_MAX: Final = 64 * 1024
"""Input that may wait for the program; then its clients' streams are not read."""
ENDING_POLL_S: Final = 0.010
"""The program has ended, and others may go on writing to the terminal."""
BLOCKED_POLL_S: Final = 0.05
GRACE_S: Final = 2.0
"""A client that was lost and comes back will answer its terminal's questions itself."""
LAST_OUTPUT_MAX: Final = 1 << 20
"""Output read after the program's end, if others go on writing to the terminal."""
MAX_ATTACHMENTS: Final = 16
_DRAINED, _END = 1, 2
"""What a gulp found behind the bytes."""


class Keeper(Protocol):
    """Who holds the terminals."""

    def terminal_gone(self, terminal: TerminalSession) -> None:
        """It has ended, and its end was delivered or nobody waits for it."""

    def terminal_detached(self, terminal: TerminalSession) -> None:
        """Its last client has left."""

    def report(self, text: str) -> None:
        """A line for the log."""


@dataclass(eq=False)
class TerminalSession:
    """``close`` or the program's end and its delivery end it."""

    loop: EventLoop
    keeper: Keeper
    name: str
    terminal: Terminal
    program: Program
    pty: Pty
    rights: Rights
    tell_programs: bool = True
    recording: Recording | None = None
    started: float = field(default_factory=wall_s)

    def __post_init__(self) -> None:
        self.now = monotonic_s()
        self.master = self.terminal.master
        os.set_blocking(self.master, False)
        self.model = TerminalModel(self.pty.rows, self.pty.cols)
        self._tty = TtyWatch(self.master, tell_programs=self.tell_programs)
        self._tty.check(self.now)
        self.model.tty = self._tty.state
        self._inputs = InputLog()
        self._tickets = AttachTickets()
        self._clients = TerminalClients(self.model)
        self._settle = Settle()
        self._typed = PtyInput(self.master)
        self._polling = TtyPolling()
        self._due = float("-inf")
        """When something else than a look at the terminal's state is due."""
        self._unheld = ReadAllowance(self.now)
        self._drained = True
        self._status: Ended | None = None
        self._last_output = LAST_OUTPUT_MAX
        self._grace_until: float | None = None
        self._closed = False
        self._hung = False
        """The master side reads no more: every descriptor of the user's side is closed, ours too."""
        self._end_delivered = False
        self.host = ""
        self.traffic = self.started
        self.detached_at: float | None = self.now
        self.detached_since = self.started
        self._lost = False
        rows, cols = self.model.size
        if (rows, cols) != (self.pty.rows, self.pty.cols) and self.pty.rows and self.pty.cols:
            program.set_window(self.master, rows, cols, self.pty.xpixel, self.pty.ypixel)
        if self.recording is not None:
            self.recording.resized(self.now, rows, cols)
            self.recording.failed = self._not_recorded
            self.recording.room = self._watch_master
        self.loop.watch(self.program.pidfd, READ, self._reap)
        self._watch_master()

    # -- clients -------------------------------------------------------------------------------

    def has_ticket(self, client: bytes, ticket: bytes) -> bool:
        """The client was attached before and proves it."""
        return self._tickets.proves(client, ticket)

    def attach(
        self,
        request: Attach,
        size: Size,
        visitor: Visitor,
        waiting: list[str],
        *,
        new: bool = False,
    ) -> list[int]:
        """Descriptors of a stream and a datagram socket that carry a new attachment. Raises OSError."""
        now = self.now = monotonic_s()
        if len(self._clients) >= MAX_ATTACHMENTS:
            raise OSError("too many clients are attached")
        resumes = self.has_ticket(request.client, request.ticket)
        for client in list(self._clients):
            if client.attachment.client == request.client:
                client.attachment.put_out("taken")
                client.link.flush()
        sockets, far = socket_pairs()
        typed = self._inputs.enter(request.client)
        window = (*self.model.size, *size[2:]) if new else self._clients.clamped(size)
        attachment = Attachment(now, self, self.model, typed, request, window)
        ticket, attachment.read_only = self._tickets.answer(request)
        link = AttachmentLink(self.loop, sockets, attachment, self._after_input, self._left)
        self._clients.enter(link, visitor)
        self.host = request.host or visitor.address
        if self.recording is not None:
            self.recording.joined(now, visitor.address)
        attached = Attached(self.name, ticket, 0, typed.received, *self.model.size, waiting)
        self.detached_at, self.detached_since = None, 0.0
        self._grace_until = None
        if new:
            attachment.start_new(attached)
        else:
            self._apply_size()
            self._clients.choose_passing(now)
            attachment.start(now, attached, request, resumes=resumes)
        attachment.changed(now)
        self._poll_tty(now)
        self._flush(now)
        return list(far)

    def _left(self, link: AttachmentLink, _reason: str) -> None:
        """The attachment's stream is at its end."""
        client = self._clients.leave(link)
        if client is None:
            return
        attachment = link.attachment
        self._inputs.leave(attachment.client)
        if attachment.fault:
            self.keeper.report(
                f"session {self.name}: client of {attachment.host}: {attachment.fault}"
            )
        client.visitor.on_end()
        if self._closed:
            return
        now = monotonic_s()
        if attachment.passing and self.model.has_queries:
            self._grace_until = now + GRACE_S
        if not self._clients:
            self.detached_at, self.detached_since = now, wall_s()
            self._lost = not attachment.over
        else:
            self._apply_size()
        if self._end_delivered and not self._clients:
            self.close()
        elif not self._clients:
            self.keeper.terminal_detached(self)
        if not self._closed:
            self._flush(now)

    def put_out(self, reason: str) -> None:
        """Every client leaves; the programs stay."""
        for client in list(self._clients):
            client.attachment.put_out(reason)
            client.link.flush()

    def hang_up_of(self, visitor: Visitor) -> None:
        """A client ended its channel on purpose: the terminal goes with the last one who could type."""
        client = self._clients.of(visitor)
        if client is None or client.attachment.over:
            return  # it has just left
        last = self._clients.types_alone(client)
        client.attachment.over = True
        client.link.close("hang-up")
        if last and not self._closed:
            self.hang_up()

    def callee(self, kind: CallKind) -> Callee | None:
        """The newest client that takes such calls and is there, as far as anybody knows."""
        return self._clients.callee(kind)

    def path_of(self, visitor: Visitor, rtt_s: float, loss_ppm: int) -> None:
        """How the connection of one client does."""
        client = self._clients.of(visitor)
        if client is not None:
            client.attachment.path(monotonic_s(), rtt_s, loss_ppm)

    # -- sizes ---------------------------------------------------------------------------------

    def resized(self) -> None:
        """An attachment has another size: the smallest of each dimension is the terminal's."""
        self._apply_size()

    def _apply_size(self) -> None:
        size = self._clients.smallest_size()
        if size is not None and size[:2] != self.model.size and not self._exited:
            self._set_size(size)
        self._clients.choose_passing(monotonic_s())

    def _set_size(self, size: Size) -> None:
        self.model.screen.resize(*size[:2])
        if self.recording is not None:
            self.recording.resized(monotonic_s(), *self.model.size)
        self._clients.resized(size)
        with contextlib.suppress(OSError):
            program.set_window(self.master, *self.model.size, *size[2:])
        for client in self._clients:
            if client.attachment.started and not client.attachment.passing:
                client.attachment.repaint(monotonic_s())

    # -- input ---------------------------------------------------------------------------------

    def typed(self, attachment: Attachment, data: bytes) -> None:
        """Write to the terminal, in the order of arrival."""
        if attachment.read_only or self._exited:
            attachment.input.wrote(len(data), self._typed.mark)
            attachment.changed(monotonic_s())
            return
        self._typed.put(attachment, data)

    def send_break(self) -> None:
        """A break on the line."""
        with contextlib.suppress(OSError, termios.error):
            termios.tcsendbreak(self.master, 0)

    @property
    def over(self) -> bool:
        """Its end was told; there is nothing to attach to."""
        return self._closed or self._end_delivered

    def end_delivered(self) -> None:
        """Somebody has the exit status: the rest may go."""
        self._end_delivered = True

    def _after_input(self) -> None:
        now = monotonic_s()
        if self._typed.size:
            self.traffic = wall_s()
            self._write(now)
            self._read(now)
        self._flush(now)

    def _write(self, now: float) -> None:
        keys: list[bytes] = []
        wrote = self._typed.write(keys.append)
        if not wrote:
            return
        if self.recording is not None:
            for each in keys:
                self.recording.typed(now, each)
        self._settle.wrote(now, self._typed.mark, kernel_echo=self._tty.kernel_echo)
        self._tty.push()
        for attachment in wrote:
            attachment.applied(now)
        changed = self._check_tty(now)
        self._polling.typed(now, seen=changed or not self._tty.gathers(keys))

    # -- output --------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        now = monotonic_s()
        if events & WRITE:
            self._write(now)
        if events & READ:
            self._read(now)
        self._flush(now)

    def _allowance(self, now: float) -> int:
        """Bytes of output that may be read now."""
        if self.recording is not None and self.recording.holds:
            return 0
        passing = self._clients.passing
        if passing is not None:
            return min(passing.flow.room, READ_BYTES)
        return min(self._unheld.bytes(now), READ_BYTES)

    def _read(self, now: float) -> None:
        """One gulp: what there is, as far as the clients can take it."""
        allowed = self._allowance(now)
        data, behind = gulp(self.master, allowed) if allowed > 0 else (b"", 0)
        size, ended = len(data), behind == _END
        self._drained = behind == _DRAINED
        self._tty_and_model(now, data)
        if self._status is not None:
            self._last_output -= size
            if ended or self._drained or self._last_output <= 0:
                self._finish()
        elif ended:
            self._drained = True
            self._hung = True

    def _tty_and_model(self, now: float, data: bytes) -> None:
        state_changed = self._check_tty(now)
        if data:
            if self._clients.passing is None:
                self._unheld.took(len(data))
            self.traffic = wall_s()
            if self.recording is not None:
                self.recording.output(now, data)
            events = self.model.feed(now, data)
            self._settle.output(now)
            for client in self._clients:
                client.attachment.output(now, len(data), events)
        if self._drained:
            before = self._settle.settled
            self._settle.drained()
            if self._settle.settled != before:
                self._tell_settled(now)
        if data and state_changed and self._tty.kernel_echo:
            self._polling.soon(now)

    def _check_tty(self, now: float) -> bool:
        if self._exited or not self._tty.check(now):
            return False
        self.model.tty = self._tty.state
        for client in self._clients:
            client.attachment.changed(now)
        return True

    def _tell_settled(self, now: float) -> None:
        for client in self._clients:
            if client.attachment.input.settle(self._settle.settled):
                client.attachment.changed(now)

    def _watch_master(self) -> None:
        if self._closed or self.model.ended is not None:
            return
        events = WRITE if self._typed.size else 0
        if not self._hung and self._allowance(monotonic_s()) > 0:
            events |= READ
        self.loop.watch(self.master, events, self._ready)

    def _flush(self, now: float) -> None:
        """After anything has happened: let every client have what is due."""
        if self._closed:
            return
        if self._clients.look_for_silence(now):
            self._apply_size()
        self._answer_queries(now)
        passing = self._clients.passing
        if passing is not None:
            held = passing.flow.room == 0 and waiting_bytes(self.master) > 0
            passing.flow.blocked(now, held)
        for client in list(self._clients):
            client.attachment.update(now)
            client.link.flush()
        if self._closed:
            return
        for client in self._clients:
            client.link.take_input(self._typed.size < INPUT_MAX)
        if self._status is not None and self.model.ended is None and self._hung:
            self._finish()
        self._watch_master()

    def _answer_queries(self, now: float) -> None:
        """The programs' questions are answered here unless a client's terminal sees them."""
        if not self.model.has_queries or self._clients.passing is not None:
            return
        if self._grace_until is not None and now < self._grace_until:
            return
        self._grace_until = None
        reply = self.model.take_queries()
        if reply:
            if not self._exited:
                self._typed.put(None, reply)
            self._write(now)

    # -- time ----------------------------------------------------------------------------------

    def deadline(self, now: float) -> float | None:
        """When :meth:`expire` is due; None: not before something happens."""
        times = [client.attachment.deadline(now) for client in self._clients]
        times += [client.link.deadline() for client in self._clients]
        times += [client.attachment.silent_at for client in self._clients if not client.silent]
        times += [self._settle.deadline(now), self._grace_until]
        passing = self._clients.passing
        if self._status is not None and self.model.ended is None:
            times.append(now + ENDING_POLL_S)
        if passing is not None and passing.flow.room == 0:
            times.append(now + BLOCKED_POLL_S)
        elif passing is None and (wait_s := self._unheld.wait_s(READ_BYTES)) is not None:
            times.append(now + wait_s)
        self._due = min((when for when in times if when is not None), default=float("inf"))
        look_at = self._polling.at
        if look_at is not None and not self._tty.settled:
            return min(look_at, self._due)
        return None if self._due == float("inf") else self._due

    def watched(self, now: float) -> Watched | None:
        """What may be looked at while nothing happens; :meth:`watched_until` must follow."""
        if self._polling.at is None or not self._tty.settled or self._exited:
            return None
        return self.master, self._tty.look, *self._polling.ahead(now)

    def watched_until(self, now: float, *, changed: bool) -> None:
        """``changed``: this terminal or another one has."""
        if self._polling.at is None or not self._tty.settled or self._closed:
            return
        if changed and self._poll_tty(now):
            self._flush(now)
        else:
            self._polling.skip(now)

    def expire(self, now: float) -> None:
        """A deadline may have come."""
        if self._closed:
            return
        self.now = now
        if self._polling.due(now) and not self._poll_tty(now) and now < self._due:
            return
        if self._settle.pending and self._settle.check(now, self._tty.unread):
            self._tell_settled(now)
        for client in list(self._clients):
            client.link.expire(now)
        if self._status is not None and self.model.ended is None:
            self._read(now)
        self._flush(now)

    def _poll_tty(self, now: float) -> bool:
        changed = self._check_tty(now)
        self._polling.looked(now, changed=changed)
        return changed

    # -- the end -------------------------------------------------------------------------------

    @property
    def _exited(self) -> bool:
        return self._status is not None

    def _reap(self, _events: int) -> None:
        pid, status = os.waitpid(self.program.pid, os.WNOHANG)
        if pid == 0:
            return
        self.loop.forget(self.program.pidfd)
        os.close(self.program.pidfd)
        ended = signals.end_of(status)
        self._status = Ended(0, ended.status, ended.signal, ended.core_dumped)
        self._typed.clear()
        self._tty.release_peer()
        now = monotonic_s()
        self._read(now)
        self._flush(now)

    def _finish(self) -> None:
        """The program's last output is read."""
        if self.model.ended is not None or self._status is None:
            return
        end = self._status
        self.model.ended = Ended(self.model.end, end.status, end.signal, end.core_dumped)
        self.loop.forget(self.master)
        os.close(self.master)
        if self.recording is not None:
            self.recording.end()

    def _not_recorded(self) -> None:
        """It must be recorded, and cannot be any more."""
        self.keeper.report(f"session {self.name} ends: it cannot be recorded any more")
        self.put_out("not-recorded")
        self.hang_up()

    def signal(self, name: str) -> None:
        """A signal of RFC 4254 6.9 for the foreground group; BRK: a break."""
        if self._exited:
            return
        if name == "BRK":
            self.send_break()
        elif name in signals.SIGNALS:
            signals.kill_group(
                signals.foreground(self.master, self.program.pid), signal.Signals[f"SIG{name}"]
            )

    def hang_up(self) -> None:
        """SIGHUP, as a terminal that hangs up gives it, and the end of the terminal."""
        if not self._exited:
            signals.hang_up(self.master, self.program.pid)
        self.close()

    def close(self) -> None:
        """Forget it; who ignores SIGHUP lives on without a terminal. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for client in list(self._clients):
            client.link.flush()
            client.link.close("")
        self._tty.release_peer()
        if self.model.ended is None:
            self.loop.forget(self.master)
            os.close(self.master)
        if self.recording is not None:
            self.recording.end()
        if self._status is None:
            self.loop.forget(self.program.pidfd)
        self.keeper.terminal_gone(self)

    @property
    def running(self) -> bool:
        """Its program has not been waited for; ``program.pidfd`` is open."""
        return self._status is None

    @property
    def attached(self) -> int:
        """Clients."""
        return self._clients.attached

    @property
    def idle(self) -> bool:
        """Nothing runs but the shell: its group is in the foreground and it has no children."""
        if self._exited:
            return True
        pid = self.program.pid
        if signals.foreground(self.master, pid) != pid:
            return False
        try:
            with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
                return not file.read(64).strip()
        except OSError:
            return True

    @property
    def lost(self) -> bool:
        """It has no client, and the last has not left by itself."""
        return self._lost and not self.attached

    def describe(self) -> Description:
        """For the list of sessions."""
        if not self._exited:
            now = monotonic_s()
            self._tty.name_again()
            self._tty.check(now)
        silent = self._clients.silent
        return Description(
            self.name,
            self.host,
            self.started,
            self.traffic,
            *self.model.size,
            self._tty.state.program,
            self.attached - silent,
            self.detached_since if not self.attached else 0.0,
            self.idle,
            self._exited,
            silent,
            self.lost,
        )

    def history(self, lines: int, max_bytes: int) -> list[bytes]:
        """The last ``lines`` lines of history and the screen, as text."""
        screen = self.model.screen
        first = max(screen.history_first, screen.history_end - lines)
        text = [
            line
            for line, _ in screen.history(
                first, screen.history_end, plain=True, max_bytes=max_bytes
            )
        ]
        rows = [screen.row_text(row).encode(errors="replace") for row in range(screen.rows)]
        while rows and not rows[-1]:
            rows.pop()
        return text + rows
