"""What qshd is to do: all options with their defaults, and those that hold for one connection.

Times are seconds. A path or text that is off is the string ``none``, as the file has it.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from qsh.config.address import match_networks, plain
from qsh.config.daemon_match import ConnectionFacts, holds
from qsh.config.tokens import Tokens, expand
from qsh.patterns import lower_ascii, match_list, match_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.config.daemon_match import Condition

__all__ = ["DEFAULT_HOST_KEYS", "DaemonConfig", "DaemonOptions", "Setting", "merge"]

DEFAULT_HOST_KEYS: Final = (
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
)
DEFAULT_PORT: Final = 22
KEY_FILE_TOKENS: Final = "huU"
"""What AuthorizedKeysFile takes besides %%."""
SCOPELESS_WILDCARDS: Final = {"any": ("",), "inet": ("0.0.0.0",), "inet6": ("::",)}  # noqa: S104


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """The options that hold, typed; names are sshd_config's in snake_case. See qshd_config(5)."""

    port: tuple[int, ...] = ()
    address_family: str = "any"
    listen_address: tuple[tuple[str, int], ...] = ()
    """Host and port; port 0: each of ``port``."""
    use_pam: bool = True
    """sshd's own default is no, that of every distribution yes; here it decides whether a locked password counts."""
    login_grace_time: int = 120
    x11_display_offset: int = 10
    max_auth_tries: int = 6
    max_sessions: int = 10
    client_alive_interval: int = 0
    client_alive_count_max: int = 3
    required_rsa_size: int = 1024
    stream_local_bind_mask: int = 0o177
    unused_connection_timeout: int = 0
    permit_root_login: str = "no"
    """sshd's default is prohibit-password; qshd ends the TLS of all users, so root stays out."""
    ignore_rhosts: str = "yes"
    ignore_user_known_hosts: bool = False
    hostbased_authentication: bool = False
    hostbased_uses_name_from_packet_only: bool = False
    pubkey_authentication: bool = True
    kerberos_authentication: bool = False
    kerberos_or_local_passwd: bool = True
    kerberos_ticket_cleanup: bool = True
    gssapi_authentication: bool = False
    gssapi_cleanup_credentials: bool = True
    gssapi_key_exchange: bool = False
    gssapi_strict_acceptor_check: bool = True
    gssapi_store_credentials_on_rekey: bool = False
    gssapi_kex_algorithms: str = ""
    password_authentication: bool = True
    kbd_interactive_authentication: bool = True
    print_motd: bool = True
    print_last_log: bool = True
    x11_forwarding: bool = False
    x11_use_localhost: bool = True
    permit_tty: bool = True
    permit_user_rc: bool = True
    strict_modes: bool = True
    tcp_keep_alive: bool = True
    permit_empty_passwords: bool = False
    compression: str = "yes"
    gateway_ports: str = "no"
    use_dns: bool = False
    allow_tcp_forwarding: str = "yes"
    allow_agent_forwarding: bool = True
    disable_forwarding: bool = False
    allow_stream_local_forwarding: str = "yes"
    stream_local_bind_unlink: bool = False
    fingerprint_hash: str = "SHA256"
    expose_auth_info: bool = False
    pid_file: str = "/run/qshd.pid"
    moduli_file: str = "/etc/ssh/moduli"
    xauth_location: str = "/usr/bin/xauth"
    ciphers: str = ""
    macs: str = ""
    banner: str = "none"
    force_command: str = "none"
    chroot_directory: str = "none"
    trusted_user_ca_keys: str = "none"
    revoked_keys: str = "none"
    security_key_provider: str = "internal"
    authorized_principals_file: str = "none"
    version_addendum: str = "none"
    authorized_keys_command: str = "none"
    authorized_keys_command_user: str = "none"
    authorized_principals_command: str = "none"
    authorized_principals_command_user: str = "none"
    host_key_agent: str = "none"
    kex_algorithms: str = ""
    ca_signature_algorithms: str = ""
    hostbased_accepted_algorithms: str = ""
    host_key_algorithms: str = ""
    pubkey_accepted_algorithms: str = ""
    log_level: str = "INFO"
    syslog_facility: str = "AUTH"
    authorized_keys_file: tuple[str, ...] = (".ssh/authorized_keys", ".ssh/authorized_keys2")
    host_key: tuple[str, ...] = ()
    """Empty: the host's usual ones."""
    host_certificate: tuple[str, ...] = ()
    allow_users: tuple[str, ...] = ()
    deny_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    deny_groups: tuple[str, ...] = ()
    accept_env: tuple[str, ...] = ()
    set_env: Mapping[str, str] = field(default_factory=dict)
    authentication_methods: tuple[str, ...] = ()
    log_verbose: tuple[str, ...] = ()
    channel_timeout: tuple[str, ...] = ()
    subsystem: Mapping[str, str] = field(default_factory=dict)
    max_startups: tuple[int, int, int] = (10, 30, 100)
    """Start, rate in per cent, full."""
    per_source_max_startups: int | None = None
    per_source_net_block_size: tuple[int, int] = (32, 64)
    """Bits of IPv4 and IPv6; sshd's default for IPv6, 128, lets one host have any number."""
    permit_tunnel: str = "no"
    ip_qos: tuple[int, int] = (0x10, 0x08)
    rekey_limit: tuple[int, int] = (0, 0)
    """Bytes and seconds; 0: by the cipher, never."""
    permit_open: tuple[str, ...] = ()
    permit_listen: tuple[str, ...] = ()
    permit_user_environment: bool | str = False
    """A text is a list of patterns for the names that are let in."""
    pubkey_auth_options: tuple[str, ...] = ()
    refuse_connection: bool = False
    debian_banner: bool = True
    pam_service_name: str = "qshd"
    gssapi_delegate_credentials: bool = True
    per_source_penalties: tuple[str, ...] = ()
    """Its words (daemon_penalties.py)."""
    per_source_penalty_exempt_list: str = "none"
    sshd_session_path: str = "none"
    sshd_auth_path: str = "none"
    detached_idle_max: int = 12 * 3600
    """A detached session with nothing but its shell ends after this; 0: as DetachedMax says."""
    detached_max: int = 7 * 86400
    """Every detached session ends after this; 0: a session ends at once when its last client is lost."""
    detached_per_user: int = 10
    """A user's detached sessions; one more ends the oldest idle one. 0: no limit."""
    resume: bool = True
    """A client that lost its connection comes back to its terminals with a key of its own (docs/protocol.md 5.6)."""
    session_directory: str = "none"
    """Parent of the users' directories of sockets; none: where the system keeps such things."""
    qsh_log_format: str = "auto"
    qsh_metrics_socket: str = "none"
    qsh_record: str = "no"
    """Terminals are recorded: open (a session goes on if it cannot be), closed (it does not)."""
    qsh_record_path: str = "/var/log/qsh/sessions/%u/%t.cast"
    qsh_record_input: bool = False
    """What is typed is recorded, passwords included."""
    qsh_congestion: str = "own"
    qsh_exec_max: int = 900
    """Silence after which a command without a terminal gets HUP; 0: never."""
    qsh_instance_idle: int = 3600
    """A user's own qshd (``qshd -I``) ends when nobody has been logged in for so long; 0: never."""
    qsh_instance_ports: str = "60000-61000"
    """UDP ports of which it takes the first that is free."""
    qsh_retry_threshold: int = 5
    """Unauthenticated connections from which on an address must be proven first."""
    qsh_max_connections: int = 4096
    """Connections of all users together; 0: no limit."""
    qsh_tcp_port: int = 0
    """TCP port for QUIC packets where UDP does not get through; 0: none."""

    def listen(self) -> list[tuple[str, int]]:
        """Host and port of each socket; the host ``""`` is every address of both families."""
        ports = self.port or (DEFAULT_PORT,)
        hosts = self.listen_address or tuple(
            (host, 0) for host in SCOPELESS_WILDCARDS[self.address_family]
        )
        wanted = [(host, port) for host, own in hosts for port in ((own,) if own else ports)]
        return list(dict.fromkeys(wanted))

    def listen_tcp(self) -> list[tuple[str, int]]:
        """The same for the TCP listeners of QshTcpPort: one per address."""
        if not self.qsh_tcp_port:
            return []
        return [
            (host, self.qsh_tcp_port) for host in dict.fromkeys(host for host, _ in self.listen())
        ]

    def authorized_keys_paths(self, user: str, uid: int, home: str) -> tuple[str, ...]:
        """AuthorizedKeysFile for this user, its tokens replaced; none for a doubtful user name.

        A name such as ``../x`` would lead out of a directory meant for keys
        (GHSA-qr67-gv47-xwwh), so it is checked before any path is made of it.
        """
        return _user_files(self.authorized_keys_file, user, uid, home)

    def authorized_principals_paths(self, user: str, uid: int, home: str) -> tuple[str, ...]:
        """The same for AuthorizedPrincipalsFile: none or one."""
        return _user_files((self.authorized_principals_file,), user, uid, home)

    def user_refusal(
        self, user: str, groups: Sequence[str], address: str, host: str = ""
    ) -> str | None:
        """Why the lists keep this user out, for the log; None if they do not.

        The order is sshd's (auth.c, allowed_user). ``groups`` are all the user's group names.
        """
        who = f"User {user[:100]!r} from {(host or address)[:100]} not allowed because"
        reason = None
        if self.refuse_connection:
            reason = "of RefuseConnection"
        elif _user_listed(user, self.deny_users, address, host):
            reason = "listed in DenyUsers"
        elif self.allow_users and not _user_listed(user, self.allow_users, address, host):
            reason = "not listed in AllowUsers"
        elif (self.allow_groups or self.deny_groups) and not groups:
            reason = "not in any group"
        elif _group_listed(groups, self.deny_groups):
            reason = "a group is listed in DenyGroups"
        elif self.allow_groups and not _group_listed(groups, self.allow_groups):
            reason = "none of user's groups are listed in AllowGroups"
        return reason and f"{who} {reason}"


def _user_files(paths: tuple[str, ...], user: str, uid: int, home: str) -> tuple[str, ...]:
    if not _name_is_plain(user) or paths == ("none",):
        return ()
    tokens = Tokens({"h": home, "u": user, "U": str(uid)}, KEY_FILE_TOKENS)
    found = (expand(path, tokens) for path in paths)
    return tuple(path if path.startswith("/") else f"{home.rstrip('/')}/{path}" for path in found)


def _name_is_plain(user: str) -> bool:
    if not user or user in (".", "..") or user.startswith("-"):
        return False
    return not any(char == "/" or char < " " or char == "\x7f" for char in user)


def _user_listed(user: str, patterns: Sequence[str], address: str, host: str) -> bool:
    return any(_match_user(user, pattern, address, host) for pattern in patterns)


def _match_user(user: str, pattern: str, address: str, host: str) -> bool:
    """USER or USER@HOST (match.c, match_user); HOST may be a list of names, addresses, networks."""
    name, at, place = pattern.rpartition("@")
    if not at:
        return match_pattern(user, pattern)
    if not match_pattern(user, name):
        return False
    by_address = match_networks(address, place)
    by_name = match_list(lower_ascii(host), place, lower=True) if host else 0
    return min(by_address, by_name) >= 0 and max(by_address, by_name) == 1


def _group_listed(groups: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(match_pattern(group, pattern) for pattern in patterns for group in groups)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line's value, and the Match lines that it stands under, outermost first."""

    field: str
    value: Any
    appends: bool
    conditions: tuple[tuple[Condition, ...], ...] = ()


def merge(options: DaemonOptions, settings: Sequence[Setting]) -> DaemonOptions:
    """``options`` with ``settings`` laid over: the first of each wins, or they add up."""
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.field not in values:
            values[setting.field] = setting.value
        elif setting.appends:
            values[setting.field] = _joined(values[setting.field], setting.value)
    return replace(options, **values)


def _joined(first: Any, second: Any) -> Any:
    return {**second, **first} if isinstance(first, dict) else first + second


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """A configuration that was read without an error."""

    file: str = ""
    settings: tuple[Setting, ...] = ()
    warnings: tuple[str, ...] = ()
    """Deprecated and unsupported keywords, for the log."""
    options: DaemonOptions = field(default_factory=DaemonOptions)
    """What holds before anything is known about a connection."""

    def for_connection(
        self,
        user: str | None = None,
        groups: Sequence[str] = (),
        host: str | None = None,
        address: str | None = None,
        local_address: str | None = None,
        local_port: int | None = None,
    ) -> DaemonOptions:
        """The options for one login; values under a Match that holds replace the global ones.

        None is something not known: no condition on it holds. ``groups`` are names. An empty
        ``host`` is one that was not looked up: the address stands for it, as in sshd.
        """
        facts = ConnectionFacts(
            user,
            tuple(groups),
            address if host == "" else host,
            None if address is None else plain(address),
            None if local_address is None else plain(local_address),
            local_port,
        )
        verdicts: dict[tuple[Condition, ...], bool] = {}

        def active(setting: Setting) -> bool:
            for conditions in setting.conditions:
                if conditions not in verdicts:
                    verdicts[conditions] = all(holds(one, facts) for one in conditions)
                if not verdicts[conditions]:
                    return False
            return bool(setting.conditions)

        return merge(self.options, [setting for setting in self.settings if active(setting)])
