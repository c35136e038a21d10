"""A connection that is shared, from the side of those who use it: ControlMaster, ControlPath, ControlPersist.

    a master is there   ask it for the program; its exit status is ours
    none, and wanted    fork one (master.py), which logs in, and be its first client
    otherwise           a connection of our own

Without a terminal no event loop is needed: the master moves all data. What is said and done follows OpenSSH's mux.c.
"""

from __future__ import annotations

# Not signal: it makes enumerations of its names, a fifth of such a client's time.
import _signal  # type: ignore[import-not-found]
import _socket  # as in control_path.py
import errno
import os
import struct
import time

from qsh.client.control_path import PathTooLong, connect, socket_path
from qsh.client.log import log
from qsh.client.text import visible, visible_lines
from qsh.errors import ConnectError, RemoteProtocolError, UsageError
from qsh.lean_imports import import_without
from qsh.wire.plain import FrameReader, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any, Final, NoReturn

    from qsh.client.background import Background
    from qsh.config.options import ClientOptions
    from qsh.wire.plain import Told
    from qsh.wire.sharing import Refused

__all__ = [
    "Control",
    "SharedClientProcess",
    "exchange",
    "fork_master",
    "greeting",
    "request_forwards",
    "share",
]

FAILED: Final = 255
_ANSWER_S: Final = 30.0
"""How long a master may take to greet where no ConnectTimeout is set. ssh waits for ever for one that is stopped."""
_END_S: Final = 2.0
_END_POLL_S: Final = 0.005
"""How long a master that has closed our socket may take to end."""
_READ_BYTES: Final = 65536
SHARING_VERSION: Final = 1
"""As in qsh.wire.sharing."""
_MAX_COMMAND: Final = 128 * 1024
"""As in qsh.wire.messages."""
_END_SIGNALS: Final = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)
_AGAIN: Final = ("max-sessions", "resources", "denied")
"""Refusals after which a connection of one's own may have what the shared one has not."""


class Control:
    """The socket to a master, blocking."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self._frames = FrameReader()

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """One frame. Raises OSError."""
        sent = 0
        if descriptors:
            rights = struct.pack(f"{len(descriptors)}i", *descriptors)
            control = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)
            sent = self.sock.sendmsg([data], [control])
        self.sock.sendall(data[sent:])

    def read(self) -> Told | None:
        """The next message; None at the end. Raises RemoteProtocolError, OSError."""
        while (message := self._frames.next()) is None:
            data = self.sock.recv(_READ_BYTES)
            if not data:
                return None
            self._frames.feed(data)
        return message


class _Killed(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()


def share(
    options: ClientOptions, ssh_argv: Sequence[str], background: Background | None
) -> int | socket.socket | None:
    """Run over a master: one that is there, or one made now; the exit status.

    A socket: this is the new master's process, and its first client is at the other end. None: a connection of our own.
    """
    control = None
    try:
        if options.control_master not in ("yes", "ask"):
            control = _reach(options)
        elif options.control_path is not None:
            socket_path(options.control_path)
    except PathTooLong as error:
        log.fatal(str(error))
        return FAILED
    if control is not None:
        status = SharedClientProcess(options, control, background).run()
        if status is not None:
            return status
        control.sock.close()
    if options.control_master == "no":
        return None
    child, sock = fork_master()
    if not child:
        import socket

        return socket.socket(fileno=sock.detach())
    control = Control(sock)
    process = SharedClientProcess(options, control, background, master=child, ssh_argv=ssh_argv)
    try:
        status = process.run()
    except ConnectError as error:
        log.error(f"qsh: {error}")
        status = None
    return FAILED if status is None else status


def fork_master() -> tuple[int, _socket.socket]:
    """Start a master: 0 and its end of a socket pair in the new process, its process id and our end here."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    child = os.fork()
    if child:
        theirs.close()
        return child, ours
    ours.close()
    kept = sorted({theirs.fileno(), log.descriptor})
    low = 3
    for descriptor in kept:  # of what it inherited nobody should have to wait for its end
        if descriptor >= low:
            os.closerange(low, descriptor)
            low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
    return 0, theirs


# -- reaching a master ---------------------------------------------------------------------------


def _reach(options: ClientOptions) -> Control | None:
    """A master that answers; None where there is none, said as ssh says it. Raises PathTooLong."""
    assert options.control_path is not None  # noqa: S101 - the caller looked
    path = socket_path(options.control_path)
    if options.control_master != "no":
        log.debug(f"auto-mux: Trying existing master at '{visible(path)}'")
    try:
        control = Control(connect(path))
    except OSError as error:
        if error.errno == errno.ECONNREFUSED and options.control_master != "no":
            log.debug(f"Stale control socket {visible(path)[:100]}, unlinking")
            try:
                os.unlink(path)
            except OSError as failure:
                log.debug(f"unlink: {failure.strerror}")
        elif error.errno == errno.ENOENT:
            log.debug(f'Control socket "{visible(path)[:100]}" does not exist')
        else:
            log.error(f"Control socket connect({visible(path)[:100]}): {error.strerror}")
        return None
    if greeting(options, control) is None:
        log.error("muxclient: master hello exchange failed")
        control.sock.close()
        return None
    return control


def greeting(options: ClientOptions, control: Control) -> Told | None:
    """What a master says first. Nothing is asked before: one that wakes up later would do it for nobody."""
    control.sock.settimeout(options.connect_timeout or _ANSWER_S)
    try:
        message = control.read()
    except OSError:
        log.debug("mux_client_hello_exchange: read packet failed")
        return None
    except RemoteProtocolError as error:
        log.debug(f"mux_client_hello_exchange: {visible(str(error))}")
        return None
    control.sock.settimeout(None)
    if message is None or message.t != "welcome":
        log.debug("mux_client_hello_exchange: read packet failed")
        return None
    if message.version != SHARING_VERSION:
        log.error(
            f"Unsupported multiplexing protocol version {message.version} (expected {SHARING_VERSION})"
        )
        return None
    return message


# -- what is asked of it -----------------------------------------------------------------------


def request_forwards(
    options: ClientOptions, control: Control, *, cancel: bool = False, prints: bool = False
) -> bool:
    """Ask for all of the command line's and the configuration's; whether all was done."""
    if not (options.local_forward or options.dynamic_forward or options.remote_forward):
        return True
    import_without("qsh.wire.messages", "typing_extensions")
    from qsh.client.forward_requests import all_forwards, described, request_of
    from qsh.wire import framing

    done = True
    for kind, forward in all_forwards(options):
        what = described(kind, forward, gateway=options.gateway_ports)
        log.debug(f"Requesting {'cancellation of' if cancel else 'forwarding of'} {what}")
        request = request_of(kind, forward, cancel=cancel)
        answer = exchange(control, framing.encode(request))
        if answer is not None and answer.t == "answered":
            if answer.port:
                log.verbose(
                    f"Allocated port {answer.port} for remote forward to "
                    f"{forward.connect_host or ''}:{forward.connect_port}"
                )
                if prints:
                    os.write(1, b"%d\n" % answer.port)
            continue
        done = False
        if answer is None or answer.t != "refused":
            break
        if answer.code == "denied":
            log.error(f"Master refused forwarding request: {visible(answer.reason)}")
        else:
            text = f"forwarding request failed: {visible(answer.reason)}"
            log.error(f"mux_client_forward: {text}")
    return done


def exchange(control: Control, request: bytes) -> Told | None:
    """The answer to a request; None if there is none."""
    try:
        control.send(request)
        return control.read()
    except (OSError, RemoteProtocolError) as error:
        log.debug(f"control socket: {error}")
        return None


# -- a program over a master ---------------------------------------------------------------------


class SharedClientProcess:
    """This process as a client of a master that has greeted; or, as its first one, that is still to log in."""

    def __init__(
        self,
        options: ClientOptions,
        control: Control,
        background: Background | None,
        *,
        master: int = 0,
        ssh_argv: Sequence[str] = (),
    ) -> None:
        """``master``: the process that was started for us."""
        self.options, self.control, self._background = options, control, background
        self._master, self._ssh_argv = master, ssh_argv
        self._opened = False

    def run(self) -> int | None:
        """The exit status; None: the master cannot, and nothing was begun."""
        options = self.options
        if not self._master and not request_forwards(options, self.control):
            log.error("muxclient: master forward request failed")
            return None
        wants_tty = options.wants_tty(stdin_is_terminal=os.isatty(0))
        if wants_tty and options.session_type != "none":
            import_without("asyncio", "ssl")
            import_without("qsh.wire.messages", "typing_extensions")
            from qsh.client.shared_terminal import run_terminal

            return run_terminal(self)
        self._catch_signals()
        try:
            return self._with_answers()
        except _Killed as killed:
            return self._killed(killed.number)

    def _request(self) -> tuple[bytes, tuple[int, ...]]:
        options = self.options
        stdin = 0
        if options.stdin_null or options.fork_after_authentication:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if options.stdio_forward is not None:
            host, port = options.stdio_forward
            target: dict[str, Any] = {"host": host, "port": port}
            if port < 0:
                target = {"path": os.fsencode(host)}
            return frame({"t": "stdio", "target": target}), (stdin, 1)
        if self._attends:
            return frame({"t": "attend"}), ()
        session = {"t": "session", "open": _open_message(options), "x11": options.forward_x11}
        return frame(session), (stdin, 1, 2)

    @property
    def _attends(self) -> bool:
        """-N: no program."""
        options = self.options
        return options.session_type == "none" and options.stdio_forward is None

    def _with_answers(self) -> int | None:
        try:
            if self._attends and self._master and self.options.control_persist[0]:
                status = self._wait_for_master()
                if status is not None:
                    return status
            self.control.send(*self._request())
            while (answer := self.control.read()) is not None:
                status = self._take(answer)
                if status is not False:
                    return status
        except (OSError, RemoteProtocolError) as error:
            log.debug(f"control socket: {error}")
        return self.gone()

    def _take(self, message: Told) -> int | bool | None:
        """The exit status, None as from :meth:`run`, or False: go on."""
        if message.t == "opened":
            self.begun()
            for notice in message.notices:
                log.info(visible_lines(notice.rstrip("\n")))
        elif message.t == "refused":
            return self.refused(message)
        elif message.t == "exited":
            return self._exited(message)
        elif message.t == "use-ssh":
            self.become_ssh(message.line)
        return False

    def begun(self) -> None:
        """It runs; with -f nobody need wait for us any more."""
        self._opened = True
        if self._background is not None:
            self._background.ready()
            self._background = None
            if self.options.session_type == "none" and not log.debugging:
                for number in (1, 2):  # nothing of ours is to come
                    os.dup2(0, number)

    def refused(self, message: Told | Refused) -> int | None:
        """Nothing was begun: by ourselves, where that may help."""
        reason = visible(message.reason or message.code)
        if self.options.stdio_forward is not None:
            if message.code == "denied":
                log.fatal(f"Master refused stdio forwarding request: {reason}")
            else:
                log.error(f"channel 0: {reason}")
                log.fatal("stdio forwarding failed")
            return FAILED
        if message.code in _AGAIN and not self._master:
            if message.code == "denied":
                log.error(f"Master refused session request: {reason}")
            else:
                log.error(
                    "mux_client_request_session: session request failed: "
                    "Session open refused by peer"
                )
            return None
        log.error(f"qsh: {reason}")
        return FAILED

    def _exited(self, message: Told) -> int:
        if message.error:
            log.error(visible_lines(message.error))
            status = FAILED
        elif message.signal is not None or message.status is None:
            log.debug(f"exit-signal {visible(message.signal or '?')}")
            status = FAILED
        else:
            status = message.status
        log.debug(f"Received exit status from master {status}", 2)
        self.linger()
        return status

    def linger(self) -> None:
        """ssh's own process is the master: where ours does not stay by itself, we end with it."""
        if self._master and not self.options.control_persist[0]:
            try:
                while self.control.read() is not None:
                    pass
            except (OSError, RemoteProtocolError):
                return

    def _wait_for_master(self) -> int | None:
        """With -N and ControlPersist the master is all that is wanted; None: it does not stay by itself."""
        message = self.control.read()
        if message is not None and message.t == "use-ssh":
            self.become_ssh(message.line)
        if message is None:
            return self.gone()
        if not message.stays:
            return None
        if self._background is not None:
            self._background.ready()
        return 0

    def gone(self) -> int:
        """The master is no more, and has told no status."""
        code = self._end_of_master()
        if not self._opened and code > 0:  # it has said why
            return code
        log.debug("Control master terminated unexpectedly", 2)
        log.info(f"Shared connection to {self.options.hostname} closed.")
        return FAILED

    def _end_of_master(self) -> int:
        """The exit status of the one that was started for us, which is about to end; 0 if it goes on without us."""
        deadline_s = time.monotonic() + _END_S
        while self._master and time.monotonic() < deadline_s:
            pid, status = os.waitpid(self._master, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(_END_POLL_S)
        return 0

    def become_ssh(self, line: str) -> NoReturn:
        """There is no qshd. Raises ConnectError."""
        from qsh.client import fallback

        self.control.sock.close()
        os.waitpid(self._master, 0)
        fallback.exec_ssh(self._ssh_argv, line)

    # -- signals

    def _catch_signals(self) -> None:
        for number in _END_SIGNALS:
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _raise_killed)

    def _killed(self, number: int) -> int:
        for each in _END_SIGNALS:
            _signal.signal(each, _signal.SIG_IGN)
        log.verbose(f"Killed by signal {number}.")
        try:
            self.control.send(frame({"t": "hangup"}))
        except OSError as error:
            log.debug(f"control socket: {error}")
        return FAILED


def _raise_killed(number: int, _frame: FrameType | None) -> None:
    raise _Killed(number)


def _open_message(options: ClientOptions) -> dict[str, Any]:
    """OPEN for a program without a terminal. Raises UsageError."""
    from qsh.client.environment import to_send

    kind, command = options.session_type, os.fsencode(options.command)
    if len(command) > _MAX_COMMAND:
        raise UsageError(
            f"the command is {len(command)} bytes long; a shell takes at most {_MAX_COMMAND}"
        )
    if kind != "subsystem":
        kind = "exec" if command else "shell"
    env = to_send(options.send_env, options.set_env, os.environ)
    agent = options.forward_agent
    return {"t": "open", "kind": kind, "command": command, "env": env, "agent": agent}
