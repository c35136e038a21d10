"""One terminal that outlives its clients: the pty, its program, what it put out, and who is attached to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import termios
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from qsh.clock import monotonic_s, wall_s
from qsh.server import program, signals
from qsh.server.attachment import Attachment
from qsh.server.attachment_link import AttachmentLink, socket_pairs
from qsh.server.event_loop import READ, WRITE
from qsh.server.terminal_model import TerminalModel
from qsh.server.tty_state import TtyWatch, waiting_bytes
from qsh.session.input_log import InputLog
from qsh.session.settle import Settle
from qsh.terminal.screen import gulp
from qsh.wire.terminal import Attached, Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.client_calls import Callee
    from qsh.server.event_loop import EventLoop
    from qsh.server.program import Program, Terminal
    from qsh.server.record_link import Recording
    from qsh.server.requests import CallKind
    from qsh.server.session_rules import Rights
    from qsh.wire.messages import Attach, Pty

__all__ = ["Description", "TerminalSession", "Visitor"]

READ_BYTES: Final = 64 * 1024
"""Output taken in one go: one feed of the model, one frame."""
INPUT_MAX: Final = 64 * 1024
"""Input that may wait for the program; then its clients' streams are not read."""
SKIP_BYTES_S: Final = 8e6
"""Output read without a client that holds it back: more would only cost time of the processor."""
SKIP_BURST: Final = 512 * 1024
POLL_FIRST_S, POLL_LAST_S, POLL_GROWTH = 0.010, 0.050, 1.5
TYPED_S: Final = 1.0
"""After the last key the terminal's state is looked at so long without being asked."""
BLOCKED_POLL_S: Final = 0.05
GRACE_S: Final = 2.0
"""A client that was lost and comes back will answer its terminal's questions itself."""
LAST_OUTPUT_MAX: Final = 1 << 20
"""Output read after the program's end, if others go on writing to the terminal."""
MAX_ATTACHMENTS: Final = 16
TICKET_BYTES: Final = 16
TICKETS_MAX: Final = 32
_DRAINED, _END = 1, 2
"""What a gulp found behind the bytes."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who attaches: its address, and the channel of its connection, for the log."""

    address: str
    on_end: Callable[[], None]
    """Called when the attachment has ended."""
    callee: Callee | None = None
    """It takes calls of the terminal's programs (docs/protocol.md 13)."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the list of sessions says about one."""

    name: str
    host: str
    started: float
    traffic: float
    rows: int
    cols: int
    command: str
    attached: int
    detached_since: float
    """Seconds since 1970; 0 while somebody is attached."""
    idle: bool
    """Nothing runs in it but its shell."""
    ended: bool = False
    silent: int = 0
    """Clients that do not acknowledge what they are sent; not among ``attached``."""
    lost: bool = False
    """The last client said no goodbye: it may come back."""


class Keeper(Protocol):
    """Who holds the terminals."""

    def terminal_gone(self, terminal: TerminalSession) -> None:
        """It has ended, and its end was delivered or nobody waits for it."""

    def terminal_detached(self, terminal: TerminalSession) -> None:
        """Its last client has left."""

    def report(self, text: str) -> None:
        """A line for the log."""


@dataclass(slots=True)
class _Ticket:
    ticket: bytes
    read_only: bool


@dataclass(slots=True)
class _Guest:
    link: AttachmentLink
    visitor: Visitor
    order: int
    silent: bool = False

    @property
    def counts(self) -> bool:
        """It is there, as far as anybody knows."""
        return not self.silent and not self.link.attachment.over


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
    guests: list[_Guest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = monotonic_s()
        self.master = self.terminal.master
        os.set_blocking(self.master, False)
        self.model = TerminalModel(self.pty.rows, self.pty.cols)
        self._tty = TtyWatch(self.master, tell_programs=self.tell_programs)
        self._tty.check(self.now)
        self.model.tty = self._tty.state
        self._inputs = InputLog()
        self._tickets: dict[bytes, _Ticket] = {}
        self._settle = Settle()
        self._mark = 0
        self._typed: deque[tuple[Attachment | None, bytes]] = deque()
        self._typed_size = 0
        self._typed_at = float("-inf")
        self._poll_at: float | None = None
        self._poll_s = POLL_FIRST_S
        self._tokens, self._tokens_at = float(SKIP_BURST), self.now
        self._drained = True
        self._status: Ended | None = None
        self._last_output = LAST_OUTPUT_MAX
        self._grace_until: float | None = None
        self._order = 0
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
        known = self._tickets.get(client)
        return known is not None and secrets.compare_digest(known.ticket, ticket)

    def attach(
        self,
        request: Attach,
        size: tuple[int, int, int, int],
        visitor: Visitor,
        waiting: list[str],
        *,
        new: bool = False,
    ) -> list[int]:
        """Descriptors of a stream and a datagram socket that carry a new attachment. Raises OSError."""
        now = self.now = monotonic_s()
        if len(self.guests) >= MAX_ATTACHMENTS:
            raise OSError("too many clients are attached")
        resumes = self.has_ticket(request.client, request.ticket)
        known = self._tickets.get(request.client)
        read_only = request.read_only or (resumes and known is not None and known.read_only)
        for guest in list(self.guests):
            if guest.link.attachment.client == request.client:
                guest.link.attachment.put_out("taken")
                guest.link.flush()
        sockets, far = socket_pairs()
        typed = self._inputs.enter(request.client)
        window = (*self.model.size, *size[2:]) if new else self._clamped(size)
        attachment = Attachment(now, self, self.model, typed, request, window)
        attachment.read_only = read_only
        link = AttachmentLink(self.loop, sockets, attachment, self._after_input, self._left)
        self._order += 1
        self.guests.append(_Guest(link, visitor, self._order))
        self.host = request.host or visitor.address
        # the same again for who resumes: it may never hear of this attachment, and try another
        ticket = known.ticket if resumes and known else self._ticket(request.client, read_only)
        attached = Attached(self.name, ticket, 0, typed.received, *self.model.size, waiting)
        self.detached_at, self.detached_since = None, 0.0
        self._grace_until = None
        if new:
            attachment.start_new(attached)
        else:
            self._apply_size()
            self._choose_passing(now)
            attachment.start(now, attached, request, resumes=resumes)
        attachment.changed(now)
        self._poll_tty(now)
        self._flush(now)
        return list(far)

    def _ticket(self, client: bytes, read_only: bool) -> bytes:
        while len(self._tickets) >= TICKETS_MAX:
            del self._tickets[next(iter(self._tickets))]
        self._tickets.pop(client, None)
        fresh = secrets.token_bytes(TICKET_BYTES)
        self._tickets[client] = _Ticket(fresh, read_only)
        return fresh

    def _left(self, link: AttachmentLink, _reason: str) -> None:
        """The attachment's stream is at its end."""
        guest = next((guest for guest in self.guests if guest.link is link), None)
        if guest is None:
            return
        self.guests.remove(guest)
        attachment = link.attachment
        self._inputs.leave(attachment.client)
        if attachment.fault:
            self.keeper.report(
                f"session {self.name}: client of {attachment.host}: {attachment.fault}"
            )
        guest.visitor.on_end()
        if self._closed:
            return
        now = monotonic_s()
        if attachment.passing and self.model.has_queries:
            self._grace_until = now + GRACE_S
        if not self.guests:
            self.detached_at, self.detached_since = now, wall_s()
            self._lost = not attachment.over
        else:
            self._apply_size()
        if self._end_delivered and not self.guests:
            self.close()
        elif not self.guests:
            self.keeper.terminal_detached(self)
        if not self._closed:
            self._flush(now)

    def put_out(self, reason: str) -> None:
        """Every client leaves; the programs stay."""
        for guest in list(self.guests):
            guest.link.attachment.put_out(reason)
            guest.link.flush()

    def hang_up_of(self, link_visitor: Visitor) -> None:
        """A client ended its channel on purpose: the terminal goes with the last one who could type."""
        guest = next((guest for guest in self.guests if guest.visitor is link_visitor), None)
        if guest is None or guest.link.attachment.over:
            return  # it has just left
        others = [g for g in self.guests if g is not guest and not g.link.attachment.over]
        last = not guest.link.attachment.read_only and not any(
            not g.link.attachment.read_only for g in others
        )
        guest.link.attachment.over = True
        guest.link.close("hang-up")
        if last and not self._closed:
            self.hang_up()

    def callee(self, kind: CallKind) -> Callee | None:
        """The newest client that takes such calls and is there, as far as anybody knows."""
        for guest in reversed(self.guests):
            callee = guest.visitor.callee
            if callee is not None and kind in callee.kinds and guest.counts:
                return callee
        return None

    def path_of(self, link_visitor: Visitor, rtt_s: float, loss_ppm: int) -> None:
        """How the connection of one client does."""
        for guest in self.guests:
            if guest.visitor is link_visitor:
                guest.link.attachment.path(monotonic_s(), rtt_s, loss_ppm)

    def _look_for_silence(self, now: float) -> None:
        """Clients that are dead, or back: the size is that of those who are there."""
        changed = False
        for guest in self.guests:
            due = guest.link.attachment.silent_at
            silent = due is not None and now >= due
            changed |= silent != guest.silent
            guest.silent = silent
        if changed:
            self._apply_size()

    @property
    def _awake(self) -> list[_Guest]:
        """Who counts; if nobody does, all that have not left."""
        awake = [guest for guest in self.guests if guest.counts]
        return awake or [guest for guest in self.guests if not guest.link.attachment.over]

    def _choose_passing(self, now: float) -> None:
        """The newest client that may type and whose window is the terminal's gets raw output; nobody else does."""
        chosen = None
        for guest in self._awake:
            attachment = guest.link.attachment
            if attachment.size[:2] == self.model.size and not attachment.read_only:
                chosen = attachment
        for guest in self.guests:
            guest.link.attachment.may_pass = guest.link.attachment is chosen
        for guest in self.guests:
            if not guest.link.attachment.may_pass:
                guest.link.attachment.update(now)

    @property
    def _passing(self) -> Attachment | None:
        """Who gets raw output now."""
        for guest in self.guests:
            attachment = guest.link.attachment
            if attachment.started and attachment.passing:
                return attachment
        return None

    # -- sizes ---------------------------------------------------------------------------------

    def _clamped(self, size: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        rows, cols, xpixel, ypixel = size
        if not rows or not cols:
            return (*self.model.size, xpixel, ypixel)
        return min(rows, 500), min(max(cols, 2), 1000), xpixel, ypixel

    def resized(self) -> None:
        """An attachment has another size: the smallest of each dimension is the terminal's."""
        self._apply_size()

    def _apply_size(self) -> None:
        now = monotonic_s()
        for guest in self.guests:
            attachment = guest.link.attachment
            attachment.size = self._clamped(attachment.size)
        sizes = [guest.link.attachment.size for guest in self._awake]
        if sizes:
            rows, cols = min(size[0] for size in sizes), min(size[1] for size in sizes)
            pixels = next((size[2:] for size in sizes if size[:2] == (rows, cols)), (0, 0))
            if (rows, cols) != self.model.size and not self._exited:
                self._set_size(rows, cols, *pixels)
        self._choose_passing(now)

    def _set_size(self, rows: int, cols: int, xpixel: int, ypixel: int) -> None:
        self.model.screen.resize(rows, cols)
        if self.recording is not None:
            self.recording.resized(monotonic_s(), *self.model.size)
        for (
            guest
        ) in self.guests:  # the model has limits of its own: who asked for more got what there is
            attachment = guest.link.attachment
            if attachment.size[:2] == (rows, cols):
                attachment.size = (*self.model.size, xpixel, ypixel)
        with contextlib.suppress(OSError):
            program.set_window(self.master, *self.model.size, xpixel, ypixel)
        for guest in self.guests:
            if guest.link.attachment.started and not guest.link.attachment.passing:
                guest.link.attachment.repaint(monotonic_s())

    # -- input ---------------------------------------------------------------------------------

    def typed(self, attachment: Attachment, data: bytes) -> None:
        """Write to the terminal, in the order of arrival."""
        if attachment.read_only or self._exited:
            attachment.input.wrote(len(data), self._mark)
            attachment.changed(monotonic_s())
            return
        self._typed.append((attachment, data))
        self._typed_size += len(data)

    def _answer(self, reply: bytes) -> None:
        if not self._exited:
            self._typed.append((None, reply))
            self._typed_size += len(reply)

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
        if self._typed:
            self.traffic = wall_s()
            self._write(now)
            self._read(now)
        self._flush(now)

    def _write(self, now: float) -> None:
        wrote: dict[int, Attachment] = {}
        try:
            while self._typed:
                attachment, data = self._typed[0]
                count = os.write(self.master, data)
                self._mark += count
                self._typed_size -= count
                if attachment is not None:
                    if self.recording is not None:
                        self.recording.typed(now, data[:count])
                    attachment.input.wrote(count, self._mark)
                    wrote[id(attachment)] = attachment
                if count < len(data):
                    self._typed[0] = (attachment, data[count:])
                    if not count:
                        break
                else:
                    self._typed.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._typed.clear()  # it is hung up
            self._typed_size = 0
        if not wrote:
            return
        self._settle.wrote(now, self._mark, kernel_echo=self._tty.kernel_echo)
        self._tty.push()
        for attachment in wrote.values():
            attachment.applied(now)
        self._typed_at = now
        self._poll_s = POLL_FIRST_S
        self._check_tty(now)
        self._poll_at = now + self._poll_s

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
        passing = self._passing
        if passing is not None:
            return min(passing.flow.room, READ_BYTES)
        elapsed_s = now - self._tokens_at
        self._tokens = min(self._tokens + elapsed_s * SKIP_BYTES_S, SKIP_BURST)
        self._tokens_at = now
        return min(int(self._tokens), READ_BYTES)

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
            if self._passing is None:
                self._tokens -= len(data)
            self.traffic = wall_s()
            if self.recording is not None:
                self.recording.output(now, data)
            events = self.model.feed(now, data)
            self._settle.output(now)
            for guest in self.guests:
                guest.link.attachment.output(now, len(data), events)
        if self._drained:
            before = self._settle.settled
            self._settle.drained()
            if self._settle.settled != before:
                self._tell_settled(now)
        if data and state_changed and self._tty.kernel_echo:
            self._poll_at = now + POLL_FIRST_S

    def _check_tty(self, now: float) -> bool:
        if self._exited or not self._tty.check(now):
            return False
        self.model.tty = self._tty.state
        for guest in self.guests:
            guest.link.attachment.changed(now)
        return True

    def _tell_settled(self, now: float) -> None:
        for guest in self.guests:
            if guest.link.attachment.input.settle(self._settle.settled):
                guest.link.attachment.changed(now)

    def _watch_master(self) -> None:
        if self._closed or self.model.ended is not None:
            return
        events = WRITE if self._typed else 0
        if not self._hung and self._allowance(monotonic_s()) > 0:
            events |= READ
        self.loop.watch(self.master, events, self._ready)

    def _flush(self, now: float) -> None:
        """After anything has happened: let every client have what is due."""
        if self._closed:
            return
        self._look_for_silence(now)
        self._answer_queries(now)
        passing = self._passing
        if passing is not None:
            held = passing.flow.room == 0 and waiting_bytes(self.master) > 0
            passing.flow.blocked(now, held)
        for guest in list(self.guests):
            guest.link.attachment.update(now)
            guest.link.flush()
        if self._closed:
            return
        for guest in self.guests:
            guest.link.take_input(self._typed_size < INPUT_MAX)
        if self._status is not None and self.model.ended is None and self._hung:
            self._finish()
        self._watch_master()

    def _answer_queries(self, now: float) -> None:
        """The programs' questions are answered here unless a client's terminal sees them."""
        if not self.model.has_queries or self._passing is not None:
            return
        if self._grace_until is not None and now < self._grace_until:
            return
        self._grace_until = None
        reply = self.model.take_queries()
        if reply:
            self._answer(reply)
            self._write(now)

    # -- time ----------------------------------------------------------------------------------

    def deadline(self, now: float) -> float | None:
        """When :meth:`expire` is due; None: not before something happens."""
        times = [guest.link.attachment.deadline(now) for guest in self.guests]
        times += [guest.link.deadline() for guest in self.guests]
        times += [guest.link.attachment.silent_at for guest in self.guests if not guest.silent]
        times += [self._settle.deadline(now), self._poll_at, self._grace_until]
        passing = self._passing
        if self._status is not None and self.model.ended is None:
            times.append(now + POLL_FIRST_S)
        if passing is not None and passing.flow.room == 0:
            times.append(now + BLOCKED_POLL_S)
        elif passing is None and self._tokens < 1:
            times.append(now + READ_BYTES / SKIP_BYTES_S)
        return min((when for when in times if when is not None), default=None)

    def expire(self, now: float) -> None:
        """A deadline may have come."""
        if self._closed:
            return
        self.now = now
        if self._poll_at is not None and now >= self._poll_at:
            self._poll_tty(now)
        if self._settle.pending and self._settle.check(now, self._tty.unread):
            self._tell_settled(now)
        for guest in list(self.guests):
            guest.link.expire(now)
        if self._status is not None and self.model.ended is None:
            self._read(now)
        self._flush(now)

    def _poll_tty(self, now: float) -> None:
        self._check_tty(now)
        if now - self._typed_at < TYPED_S:
            self._poll_at = now + self._poll_s
            self._poll_s = min(self._poll_s * POLL_GROWTH, POLL_LAST_S)
        else:
            self._poll_at = None

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
        self._typed_size = 0
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
        for guest in list(self.guests):
            guest.link.flush()
            guest.link.close("")
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
        return sum(not guest.link.attachment.over for guest in self.guests)

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

    def describe(self) -> Description:
        """For the list of sessions."""
        if not self._exited:
            now = monotonic_s()
            self._tty.name_again(now)
            self._tty.check(now)
        silent = sum(guest.silent and not guest.link.attachment.over for guest in self.guests)
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
            self._lost and not self.attached,
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
