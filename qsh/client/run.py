"""The client's top level: from resolved options to an exit status.

    options → addresses, known_hosts → QUIC handshake → host key → HELLO + AUTH and OPEN in one
    flight → session → exit

The first packet leaves before asyncio and what is needed after the handshake are imported
(conversation.py): on a far network that is time for nothing, on a near one it is half of all.
"""

from __future__ import annotations

import contextlib
import os

from qsh.client import addresses, fallback, host_state
from qsh.client.host_key import HostKeyPolicy, KnownHost
from qsh.client.log import log
from qsh.client.text import lost_text, visible
from qsh.client.tuning import Tuning
from qsh.errors import (
    AuthenticationError,
    ChannelError,
    ConnectError,
    ConnectionLost,
    ForwardError,
    HostKeyError,
    QshError,
)
from qsh.lean_imports import import_without

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Final, NoReturn

    from qsh.client.background import Background
    from qsh.client.hops import Reach
    from qsh.client.record_lookup import Lookup
    from qsh.client.request import Request
    from qsh.client.ssh_stream import Reached
    from qsh.client.through_ssh import ByHost
    from qsh.config.options import ClientOptions
    from qsh.quic import Early

__all__ = ["Client", "attach", "sessions"]

FAILED: Final = 255
"""Exit status of every error of our own."""

_IDLE_S: Final = 30 * 86400.0
"""QUIC uses the smaller idle timeout of both ends: without ServerAliveInterval that is the server's QshExecMax."""
_KEEP_ALIVE_S: Final = 20.0
"""Between pings to and through jump hosts without ServerAliveInterval. Other connections learn how long they may be silent."""
_SSH_PORT: Final = 22
"""Where known_hosts has names without a port."""
_INITIAL_RTT_MS: Final = 100.0
_RTT_RANGE_MS: Final = (10.0, 1000.0)
"""What is assumed of an unknown host, and the limits of what is believed of a known one."""


class Client:
    """One run of qsh with a host. ``arguments`` are the command line for ssh(1)."""

    def __init__(
        self,
        options: ClientOptions,
        arguments: Sequence[str],
        background: Background | None = None,
        request: Request | None = None,
        owner: socket.socket | None = None,
        hops: Sequence[ClientOptions] = (),
    ) -> None:
        """``request``: what to do instead of what the options say; ssh(1) cannot do that, so it never takes over.

        ``owner``: this process is the master of a shared connection, and who started it is at the other end. ``hops``: of the
        jump hosts, the nearest first.
        """
        self._request, self._owner, self._hops = request, owner, hops
        self._options, self._arguments, self._background = options, arguments, background
        self._port = options.qsh_port or options.port
        self._state = host_state.load(options.user, options.hostname, self._port)

    def run(self) -> int:
        """The exit status. Never raises QshError; may become ssh(1) and not return."""
        try:
            return self._run()
        except HostKeyError as error:
            log.error(str(error))
        except ConnectError as error:
            log.error(f"qsh: {error}")
        except AuthenticationError as error:
            options = self._options
            methods = visible(str(error))
            log.error(f"{options.user}@{options.hostname}: Permission denied ({methods}).")
            if os.isatty(2):
                log.info("qshd takes only keys so far; ssh may ask for a password.")
        except ConnectionLost as error:
            log.info(lost_text(self._options.hostname, error))
        except ForwardError as error:
            log.fatal(str(error))
        except ChannelError as error:
            log.error(f"qsh: {visible(str(error))}")
        except QshError as error:
            log.fatal(f"qsh: {visible(str(error))}")
        return FAILED

    def _run(self) -> int:
        options = self._options
        if (status := self._by_ssh()) is not None:
            return status
        self._redirect()
        target = addresses.Target.of(options)
        found, records = ([], None) if self._hops else _find(target, self._state)
        known = _known_host(options, found)
        tuning = self._tuning()
        udp = not self._hops and options.qsh_transport != "tcp"
        early = None if not udp else _begin(target, found[0], known, tuning)
        import_without("asyncio", "ssl")
        import_without("qsh.wire.messages", "typing_extensions")
        from qsh.client.conversation import Conversation

        conversation = Conversation(
            options,
            self._state,
            self._background,
            reach=(target, found, known, tuning),
            request=self._request,
            owner=self._owner,
            hops=_reaches(self._hops) if self._hops else (),
            records=records,
            by_ssh=None if self._is_led else self._way_of_ssh,
        )
        status = conversation.run(early)
        if status is None and self._state.answered and options.qsh_transport == "auto":
            status = self._quietly_by_ssh()
        if status is None:
            self._exec_ssh()
        return status

    def _by_ssh(self) -> int | None:
        """The exit status where the connection comes about through SSH; None: it is to be made as always."""
        options = self._options
        asked_for = options.qsh_bootstrap == "yes" or options.qsh_transport == "ssh"
        remembered = self._state.instance and options.qsh_bootstrap == "auto"
        if not asked_for and (not remembered or self._is_led):
            return None
        from qsh.client.through_ssh import through_ssh

        status = through_ssh(
            self._reach_by_ssh(), only_remembered=not asked_for, give_up=self._become_ssh
        )
        if status is None:
            self._state = self._state._replace(instance="")
        return status

    def _quietly_by_ssh(self) -> int | None:
        """This host has a qshd, and UDP does not get there: perhaps SSH does. Nobody is asked."""
        if self._is_led:
            return None
        from qsh.client.through_ssh import quietly

        host = self._reach_by_ssh()
        status = quietly(host)
        target, addresses, _ = host.reach
        if status is not None and addresses:
            from qsh.client import transport_memory

            transport_memory.save(addresses[0], target.udp_port, "ssh")
        return status

    @property
    def _is_led(self) -> bool:
        options = self._options
        return bool(self._hops) or options.proxy_jump is not None or bool(options.proxy_command)

    def _way_of_ssh(self) -> Reached:
        host = self._reach_by_ssh()
        return host.way, host.reach[1]

    def _reach_by_ssh(self) -> ByHost:
        from qsh.client.through_ssh import ByHost

        options, target = self._options, addresses.Target.of(self._options)
        led = self._is_led
        way: list[tuple[ClientOptions, KnownHost]] = []
        first: Sequence[addresses.Address] = ()
        for each in (*self._hops, options):
            found = (
                []
                if way or (led and not self._hops)
                else addresses.resolve(addresses.Target.of(each))
            )
            first = first or found
            policy = _host_key_policy(each, found, each.port)
            way.append((each, KnownHost(policy, each.hostname, each.port, each.port)))
        return ByHost(
            options,
            self._state,
            self._background,
            (target, first, self._tuning()),
            way,
            self._request,
            self._owner,
        )

    def _tuning(self) -> Tuning:
        options = self._options
        for path in (options.qsh_key_log, options.qsh_qlog):
            if path:
                log.info(f"Warning: {path} will hold secrets or traffic data of this connection.")
        interval_s, count = options.server_alive_interval, options.server_alive_count_max
        return Tuning(
            initial_rtt_ms=_initial_rtt_ms(self._state),
            keep_alive_s=float(interval_s) or (_KEEP_ALIVE_S if self._hops else 0.0),
            idle_s=float(interval_s * max(count, 1)) if interval_s else _IDLE_S,
            terminal=self._is_terminal(),
            congestion=options.qsh_congestion,
            key_log=options.qsh_key_log,
            qlog=options.qsh_qlog,
        )

    def _is_terminal(self) -> bool:
        """Of a terminal little is under way; a forward beside it may carry anything."""
        options = self._options
        if options.forward_x11:
            return False
        if self._request is not None:
            return self._request.kind == "attach"
        if self._owner is not None:  # others will come
            return False
        if options.local_forward or options.dynamic_forward or options.remote_forward:
            return False
        return options.wants_tty(stdin_is_terminal=os.isatty(0))

    def _redirect(self) -> None:
        """Options that QUIC cannot serve yet go to ssh(1)."""
        options = self._options
        name = ""
        if options.proxy_jump is not None and not self._hops:
            name = "ProxyJump"
        elif options.proxy_command is not None and not self._hops:
            name = "ProxyCommand"
        elif options.tunnel not in ("no", None):
            name = "Tunnel"
        if not name:
            return
        if options.qsh_fallback == "no" or self._request is not None:
            more = " unless it is qsh -W %h:%p HOST" if name == "ProxyCommand" else ""
            raise ConnectError(f"{name} does not work over QUIC{more}; use ssh for it")
        self._need_no_udp()
        self._become_ssh(f"{name} is set, continuing with ssh over TCP")

    def _become_ssh(self, line: str) -> NoReturn:
        if self._owner is None:
            fallback.exec_ssh(self._arguments, line)
        from qsh.client.control_socket import ControlSocket
        from qsh.wire.sharing import Request, UseSsh

        with contextlib.suppress(OSError):
            ControlSocket(self._owner, Request).send(UseSsh(line))
        os._exit(FAILED)

    def _exec_ssh(self) -> NoReturn:
        self._need_no_udp()
        host, port = self._options.hostname, self._port
        line = f"no answer from {host} on UDP port {port}, continuing with ssh over TCP"
        if self._state.answered:
            line = (
                f"{host} has answered on UDP port {port} before, but does not now: "
                "continuing with ssh over TCP"
            )
        self._become_ssh(line)

    def _need_no_udp(self) -> None:
        """ssh would take udp/PORT for the path of a unix socket."""
        options = self._options
        if any(forward.udp for forward in (*options.local_forward, *options.remote_forward)):
            raise ConnectError("ssh cannot forward UDP, and qshd does not answer or cannot be used")


def attach(
    options: ClientOptions,
    name: str,
    *,
    history_lines: int = 0,
    hops: Sequence[ClientOptions] = (),
) -> int:
    """Attach this process's terminal to the running session ``name``; the exit status. Errors are told on standard error."""
    from qsh.client.request import Request

    request = Request("attach", os.fsencode(name), history_lines=history_lines)
    options.local_forward = options.dynamic_forward = options.remote_forward = ()
    return Client(options, (), request=request, hops=hops).run()


def sessions(
    options: ClientOptions, command: str, *, hops: Sequence[ClientOptions] = ()
) -> tuple[int, bytes]:
    """A command of docs/protocol.md 10.11 (``list``, ``detach NAME`` …): exit status and standard output.

    Errors are told on standard error; then the status is not 0.
    """
    from qsh.client.request import Request

    output = os.memfd_create("qsh-sessions", os.MFD_CLOEXEC)
    try:
        request = Request("sessions", os.fsencode(command), output=output)
        status = Client(options, (), request=request, hops=hops).run()
        size = os.fstat(output).st_size
        return status, os.pread(output, size, 0)
    finally:
        os.close(output)


def _find(
    target: addresses.Target, state: host_state.HostState
) -> tuple[list[addresses.Address], Lookup | None]:
    """Addresses, the best first, and the lookup of records that may find better ones. Raises ConnectError."""
    lookup = None
    if target.by_records:
        from qsh.client import record_lookup

        lookup = record_lookup.begin(target)
    try:
        found = addresses.in_order(addresses.resolve(target), target.udp_port, state.address)
    except ConnectError:
        found = [] if lookup is None else lookup.later()  # a name may have records only
        if not found:
            raise
        return found, None
    if lookup is not None:
        found = lookup.now(found)
    return found, None if lookup is None or lookup.over else lookup


def _initial_rtt_ms(state: host_state.HostState) -> float:
    low_ms, high_ms = _RTT_RANGE_MS
    return min(max(state.rtt_ms, low_ms), high_ms) if state.rtt_ms else _INITIAL_RTT_MS


def _known_host(options: ClientOptions, found: Sequence[addresses.Address]) -> KnownHost:
    port = options.qsh_port or options.port
    return KnownHost(_host_key_policy(options, found, port), options.hostname, port, options.port)


def _reaches(hops: Sequence[ClientOptions]) -> list[Reach]:
    """How the jump hosts are to be reached; only the first one's name is looked up here."""
    from qsh.client.hops import Reach

    reaches: list[Reach] = []
    for options in hops:
        target = addresses.Target.of(options)
        state = host_state.load(options.user, options.hostname, target.udp_port)
        found, records = ([], None) if reaches else _find(target, state)
        tuning = Tuning(
            initial_rtt_ms=_initial_rtt_ms(state), keep_alive_s=_KEEP_ALIVE_S, idle_s=_IDLE_S
        )
        known = _known_host(options, found)
        reaches.append(Reach(options, target, found, known, tuning, state, records))
    return reaches


def _host_key_policy(
    options: ClientOptions, found: Sequence[addresses.Address], port: int
) -> HostKeyPolicy:
    local = bool(found) and all(address.is_loopback for address in found)
    command = None
    if options.known_hosts_command:
        from qsh.client.known_hosts_command import known_hosts_command

        name = options.host_key_alias or options.hostname
        if port != _SSH_PORT and not options.host_key_alias:
            name = f"[{name}]:{port}"
        command = known_hosts_command(options, options.known_hosts_command, name)
    return HostKeyPolicy(
        strict=options.strict_host_key_checking,
        user_files=options.user_known_hosts_file,
        global_files=options.global_known_hosts_file,
        revoked_files=options.revoked_host_keys,
        alias=options.host_key_alias,
        hash_names=options.hash_known_hosts,
        visual=options.visual_host_key,
        fingerprint_hash=options.fingerprint_hash,
        anything_goes=options.no_host_authentication_for_localhost and local,
        command=command,
    )


def _begin(
    target: addresses.Target, address: addresses.Address, known: KnownHost, tuning: Tuning
) -> Early | None:
    """The handshake with the first address; None where it cannot be begun: connect.py says why."""
    from qsh.quic import Early

    port = target.port_of(address)
    try:
        with addresses.udp_socket(target, address.family) as sock:
            early = Early(sock, **tuning.endpoint())
        early.connect(address.host, port, **tuning.handshake(known))
    except (OSError, ValueError, QshError) as error:
        log.debug(f"connect to address {address.host} port {port}: {error}")
        return None
    log.debug(f"Connecting to {target.host} [{address.host}] port {port}.")
    return early
