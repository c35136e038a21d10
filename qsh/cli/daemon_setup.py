"""Starting qshd: configuration, sockets, spawner, keys, monitor, in the order that keeps each process's rights small.

read the configuration ── bind UDP ── fork the spawner ── be the monitor, which has it fork the signer, then the front
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.cli.daemon_arguments import default_config
from qsh.clock import monotonic_s
from qsh.config import daemon_dump, daemon_parser
from qsh.errors import StartupError
from qsh.lean_imports import import_without
from qsh.quic import tcp_listener
from qsh.server import account as accounts
from qsh.server import (
    confinement,
    front_secrets,
    host_keys,
    image_layout,
    named_files,
    preload,
    safe_files,
)
from qsh.server.admission import Admission, limits_of
from qsh.server.image import Image
from qsh.server.log import JOURNAL_SOCKET, Log
from qsh.server.login import group_names
from qsh.server.monitor import Monitor
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import SpawnerReport, SpawnerRequest
from qsh.server.service import Service
from qsh.server.spawner import Spawner

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.cli.daemon_arguments import Arguments
    from qsh.cli.daemon_reload import Reloader
    from qsh.config.daemon_options import DaemonConfig, DaemonOptions
    from qsh.server.host_keys import HostKeys

__all__ = [
    "FAILED",
    "bind_one",
    "bind_tcp",
    "check_own_files",
    "dump",
    "load_host_keys",
    "log_level",
    "read_banner",
    "read_config",
    "read_included",
    "start",
    "try_host_keys",
    "warn_of_files",
]

FAILED: Final = 255

MAX_CONFIG: Final = 4 * 1024 * 1024
ROOT_KEY: Final = "/etc/qsh/ssh_host_ed25519_key"
UDP_BUFFER: Final = 4 * 1024 * 1024
PORT_S: Final = 1.0
PORT_LOOK_S: Final = 0.02
SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33
_FILLING: Final[list[object]] = []
"""What keeps new objects of forks together, by being in the way everywhere else."""


def read_config(arguments: Arguments) -> DaemonConfig:
    """The configuration with the command line's overrides in front. Raises ConfigError, StartupError."""
    path = arguments.config_file or default_config()
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(MAX_CONFIG)
    except FileNotFoundError:
        if arguments.config_file is not None:
            raise StartupError(f"{path}: No such file or directory") from None
        text = ""
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from None
    return daemon_parser.parse(text, path, read_included, overrides=tuple(arguments.overrides))


def read_included(pattern: str, *, strict: bool = True) -> list[tuple[str, str]]:
    """Files that an Include names, sorted as glob(3) does. Raises OSError, if ``strict`` also for what others may write: a file,
    or the directory in which a wildcard looks for files.
    """
    import glob

    if strict and glob.has_magic(pattern):
        for directory in glob.glob(os.path.dirname(pattern) or "."):
            _refuse_others(os.stat(directory), directory)
    found = []
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            if strict:
                _refuse_others(os.fstat(file.fileno()), path)
            found.append((path, file.read(MAX_CONFIG)))
    return found


def _refuse_others(status: os.stat_result, path: str) -> None:
    if refusal := safe_files.others_may_write(status):
        raise OSError(errno.EPERM, f"it {refusal}", path)


def dump(config: DaemonConfig, connection_spec: str | None) -> str:
    """``qshd -T``'s text."""
    return daemon_dump.dump(config, connection_spec, _groups_of)


def _groups_of(user: str) -> tuple[str, ...]:
    account = accounts.lookup(user)
    return () if account is None else group_names(account)


def load_host_keys(config: DaemonConfig, *, make: bool = True) -> HostKeys:
    """The host keys. Raises StartupError."""
    options = config.options
    own = (
        ROOT_KEY if os.geteuid() == 0 else os.path.join(_data_home(), "qsh", "ssh_host_ed25519_key")
    )
    if not make and not options.host_key and not host_keys.any_exists(own):
        return host_keys.HostKeys([])
    return host_keys.load(options.host_key, options.host_certificate, own, _warn)


def warn_of_files(config: DaemonConfig) -> None:
    """Say which files that the configuration names cannot be used."""
    for complaint in named_files.complaints(config):
        _warn(f"warning: {complaint}")


def _warn(text: str) -> None:
    sys.stderr.write(f"qshd: {text}\n")


def try_host_keys(config: DaemonConfig) -> bytes:
    """Load them once in a child, which ends: what is wrong must be said before we go to the background, and the process that the
    spawner is forked from must not have had them. What comes back is other bytes for other keys or certificates. Raises
    StartupError.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        status = 0
        try:
            os.write(write, load_host_keys(config).fingerprint())
        except StartupError as error:
            os.write(write, str(error).encode(errors="replace")[:60000])
            status = 1
        finally:
            os._exit(status)
    os.close(write)
    with open(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise StartupError(said.decode(errors="replace") or "qshd: cannot load the host keys")
    return said


def _freeze(config: DaemonConfig, log: Log) -> Image | None:
    """Load and use what monitor, spawner and all that it forks will need: they share these pages from here on."""
    try:
        preload.rehearse(config)
    except Exception as error:  # it saves memory, no more
        log.error(f"rehearsal: {type(error).__name__}: {error}")
    gc.collect()
    _FILLING.extend(image_layout.fill_gaps())
    gc.freeze()
    sys._clear_type_cache()  # as a session host does before it gives pages back (idle_pages.py)
    try:
        return Image()
    except OSError as error:  # memory again, no more
        log.info(f"pages of idle sessions stay theirs: {error}")
        return None


def _data_home() -> str:
    return os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")


def start(config: DaemonConfig, arguments: Arguments, instance: socket.socket | None = None) -> int:
    """Be qshd; returns its exit status. Raises StartupError.

    ``instance``: a user's own one, which ends when nobody needs it; this is its bound socket.
    """
    from qsh.cli.daemon_reload import Reloader

    options = config.options
    check_own_files(arguments)
    service = Service.of(os.environ)
    failed: list[str] = []
    if instance is None:
        bound, failed = _listen(options, service)
    else:
        bound = {("UDP", "", 0): instance}
    reloader = Reloader(arguments, config, bound, fixed=bool(service.inherited.given))
    reloader.keys = try_host_keys(config)
    log = _open_log(options, arguments)
    for warning in config.warnings:
        log.info(warning)
    for complaint in (*failed, *named_files.complaints(config)):
        log.error(complaint)
    if not arguments.foreground:
        _daemonize()
    if not arguments.debug:  # as sshd: one that is looked at may run beside the one that serves
        _write_pid(options, log)
    ours, theirs = packet_pair()
    monitor_end: PacketSocket[SpawnerReport] = PacketSocket(ours, SpawnerReport)
    secrets = front_secrets.make()
    spawner = Spawner(
        PacketSocket(theirs, SpawnerRequest),
        config,
        log,
        _front_starter(reloader, log, secrets),
        _signer_starter(reloader, log),
        reload=reloader.reload if instance is None else None,
    )
    spawner.image = _freeze(config, log)
    try:
        pid = os.fork()
    except OSError as error:
        raise StartupError(f"qshd: cannot fork: {error.strerror}") from None
    if pid == 0:
        ours.close()
        spawner.run()
    theirs.close()
    for sock in reloader.sockets:
        sock.close()
    monitor = Monitor(
        monitor_end,
        lambda lasting: front_secrets.keep(secrets, lasting),
        log,
        options.login_grace_time,
        options.max_auth_tries,
        os.geteuid() == 0,
        reloads=instance is None,
        idle_s=0.0 if instance is None else float(options.qsh_instance_idle),
        service=service,
        metrics_path=options.qsh_metrics_socket if instance is None else "none",
        penalties=limits_of(options).penalties,
    )
    confinement.confine("monitor", log)
    status = monitor.run()
    _remove_pid(options)
    return status


def _front_starter(
    reloader: Reloader, log: Log, file: int
) -> Callable[[socket.socket, socket.socket], NoReturn]:
    """What a fork of the spawner does to be the front. Made before the image is: all that it holds is in it, and in every session
    host. So the secrets that fronts share lie in ``file``, which has no name and which other children close.
    """

    def start_front(to_monitor: socket.socket, sign: socket.socket) -> NoReturn:
        import_without("asyncio", "ssl")
        from qsh.server import front

        secrets = front_secrets.take(file)
        options = reloader.config.options
        settings = front.FrontSettings(
            grace_s=options.login_grace_time,
            idle_s=options.qsh_exec_max,
            congestion=options.qsh_congestion,
            banner=read_banner(options),
            admission=Admission(limits_of(options)),
            reset_key=secrets.reset_key,
            token_key=secrets.token_key,
            salt=secrets.salt,
        )
        front.run(to_monitor, sign, reloader.sockets, settings, log)

    return start_front


def _signer_starter(reloader: Reloader, log: Log) -> Callable[[socket.socket], NoReturn]:
    """What a fork of the spawner does to be the signer: no other process of qshd ever has a private key."""

    def start_signer(to_monitor: socket.socket) -> NoReturn:
        from qsh.server import signer

        signer.run(to_monitor, lambda: load_host_keys(reloader.config), log)

    return start_signer


def read_banner(options: DaemonOptions) -> str:
    """The text that Banner names."""
    if not options.banner or options.banner == "none":
        return ""
    try:
        with open(options.banner, encoding="utf-8", errors="replace") as file:
            return file.read(16 * 1024)
    except OSError:
        return ""


def _listen(
    options: DaemonOptions, service: Service
) -> tuple[dict[tuple[str, str, int], socket.socket], list[str]]:
    """One UDP socket per ListenAddress, and the listeners of QshTcpPort; and what could not be had.

    Raises StartupError if none of a kind can be.
    """
    found: dict[tuple[str, str, int], socket.socket] = {}
    failed: list[str] = []
    for kind, name, wanted, bind in (
        (socket.SOCK_DGRAM, "UDP", options.listen(), bind_one),
        (socket.SOCK_STREAM, "TCP", options.listen_tcp(), bind_tcp),
    ):
        sockets, failures = service.listen(kind, wanted, functools.partial(_patiently, bind))
        reasons = [
            f"cannot listen on {host or '*'} port {port} ({name}): {error.strerror or error}"
            for host, port, error in failures
        ]
        if reasons and not sockets:
            raise StartupError("\n".join(f"qshd: {reason}" for reason in reasons))
        failed += reasons
        found.update({(name, *place): sock for place, sock in sockets.items()})
    service.close_unused()
    return found, failed


def check_addresses(options: DaemonOptions) -> None:
    """Say which ListenAddress is nobody's; a start listens on the others. Raises StartupError if there are none."""
    for wanted in (options.listen(), options.listen_tcp()):
        failures = []
        for host, port in wanted:
            try:
                socket.getaddrinfo(host or None, port)
            except OSError as error:
                failures.append(f"ListenAddress {host}: {error.strerror}")
        if failures and len(failures) == len(wanted):
            raise StartupError("\n".join(f"qshd: {failure}" for failure in failures))
        for failure in failures:
            _warn(f"warning: {failure}")


def _patiently(bind: Callable[[str, int], socket.socket], host: str, port: int) -> socket.socket:
    """The front of a qshd that was killed has the port until it notices that it is alone. Raises OSError."""
    deadline = monotonic_s() + PORT_S
    while True:
        try:
            return bind(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or monotonic_s() >= deadline:
                raise
        time.sleep(PORT_LOOK_S)


def bind_tcp(host: str, port: int) -> socket.socket:
    """A listener for packets in streams. Raises OSError."""
    return tcp_listener(port, host or None)


def bind_one(host: str, port: int) -> socket.socket:
    """A UDP socket; without ``host`` both families where there are two. Raises OSError."""
    if host in ("", "::"):
        try:
            return _bound(socket.AF_INET6, "::", port, dual_stack=host == "")
        except OSError as error:
            if (
                error.errno == errno.EADDRINUSE
            ):  # else the other family might be had alone, a moment later
                raise
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _bound(family, host or "0.0.0.0", port, dual_stack=False)  # noqa: S104 - a daemon listens everywhere by default


def _bound(family: int, host: str, port: int, *, dual_stack: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        for forced, plain in (
            (SO_RCVBUFFORCE, socket.SO_RCVBUF),
            (SO_SNDBUFFORCE, socket.SO_SNDBUF),
        ):
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, UDP_BUFFER)
            except OSError:
                sock.setsockopt(socket.SOL_SOCKET, plain, UDP_BUFFER)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def log_level(options: DaemonOptions, arguments: Arguments) -> str:
    """The command line's goes before the configuration's."""
    if arguments.quiet:
        return "QUIET"
    return f"DEBUG{min(3, arguments.debug)}" if arguments.debug else options.log_level


def _open_log(options: DaemonOptions, arguments: Arguments) -> Log:
    level = log_level(options, arguments)
    if arguments.log_file is not None:
        try:
            file = os.open(
                arguments.log_file,
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
        except OSError as error:
            raise StartupError(
                f"Couldn't open logfile {arguments.log_file}: {error.strerror}"
            ) from None
        return Log(level, to_stderr=True, file=file, form=options.qsh_log_format)
    to_stderr = arguments.to_stderr or (arguments.foreground and os.geteuid() != 0)
    form = options.qsh_log_format
    if form == "auto":
        form = "journal" if not to_stderr and os.path.exists(JOURNAL_SOCKET) else "text"
    return Log(level, facility=options.syslog_facility, to_stderr=to_stderr, form=form)


def check_own_files(arguments: Arguments) -> None:
    """A configuration that others may write would let them in. Raises StartupError."""
    path = arguments.config_file or default_config()
    with contextlib.suppress(OSError):
        refusal = safe_files.others_may_write(os.stat(path))
        if refusal and os.path.isfile(path):
            repair = "chmod go-w" if "writable" in refusal else "chown root"
            raise StartupError(f"qshd: {path} {refusal}; run: {repair} {path}")


def _daemonize() -> None:
    """To the background, as sshd goes (daemon(3))."""
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)
    os.chdir("/")


def _remove_pid(options: DaemonOptions) -> None:
    """Only our own."""
    with contextlib.suppress(OSError, ValueError):
        with open(options.pid_file, encoding="ascii") as file:
            ours = int(file.read(20)) == os.getpid()
        if ours:
            os.unlink(options.pid_file)


def _write_pid(options: DaemonOptions, log: Log) -> None:
    if options.pid_file == "none" or os.geteuid() != 0:
        return
    try:
        os.makedirs(os.path.dirname(options.pid_file), exist_ok=True)
        with open(options.pid_file, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:  # as sshd: worth nothing that it should not start
        log.error(f"PidFile {options.pid_file}: {error.strerror}")
