"""``ClientOptions``: what a client does for one host, with defaults filled in and tokens expanded.

Nothing is computed before it is asked for: a run of ``qsh`` reads some forty of the 130 values.
"""

from __future__ import annotations

from qsh.config.schema import KEYWORDS
from qsh.config.tokens import ALLOWED, COMMON, Tokens, connection_hash, expand, expand_tilde

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from qsh.config.environment import Environment
    from qsh.config.forwards import Forward, Jump
    from qsh.config.settings import Settings

__all__ = ["ClientOptions", "token_values"]

DEFAULT_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
DEFAULT_PORT = 22
BATCH_ALIVE_INTERVAL_S = 300  # Debian's ssh: in batch mode a dead server is noticed
AGENT_VARIABLE = "SSH_AUTH_SOCK"


def token_values(
    environment: Environment,
    settings: Settings,
    *,
    host: str,
    original_host: str,
    user: str,
    key_alias: str,
) -> Tokens:
    """The tokens that most keywords take."""
    port = str(settings.get("port") or DEFAULT_PORT)
    jump = settings.get("proxy_jump")
    jump_host = "" if jump is None or jump == "none" else jump.host
    return Tokens(
        {
            "C": lambda: connection_hash(environment.hostname(), host, port, user, jump_host),
            "L": lambda: environment.hostname().partition(".")[0],
            "d": lambda: environment.home,
            "h": host,
            "i": lambda: str(environment.uid),
            "j": jump_host,
            "k": key_alias,
            "l": environment.hostname,
            "n": original_host,
            "p": port,
            "r": user,
            "u": environment.user,
        },
        COMMON,
    )


class ClientOptions:
    """The options of one connection. Attributes are the keywords in snake_case.

    Flags are bool; words such as ``StrictHostKeyChecking accept-new`` are str with ``true`` and
    ``false`` folded to ``yes`` and ``no``; times are seconds; what is unset or ``none`` is None
    or empty. Paths and commands of the user's are expanded; ``settings`` has them as written.
    """

    # who and where; the constructor sets these
    settings: Settings
    environment: Environment
    hostname: str
    host_arg: str
    user: str
    port: int
    command: str
    notes: list[str]
    warnings: list[str]

    # computed on first use
    add_keys_lifetime: int
    add_keys_to_agent: str
    address_family: str
    batch_mode: bool
    bind_address: str | None
    bind_interface: str | None
    ca_signature_algorithms: str
    canonical_domains: tuple[str, ...]
    canonicalize_fallback_local: bool
    canonicalize_hostname: str
    canonicalize_max_dots: int
    canonicalize_permitted_cnames: tuple[tuple[str, str], ...]
    certificate_file: tuple[str, ...]
    channel_timeout: tuple[str, ...]
    check_host_ip: bool
    ciphers: str
    clear_all_forwardings: bool
    compression: str
    connect_timeout: int | None
    connection_attempts: int
    control_master: str
    control_path: str | None
    control_persist: tuple[bool, int]
    dynamic_forward: tuple[Forward, ...]
    enable_escape_commandline: bool
    enable_ssh_keysign: bool
    escape_char: str
    exit_on_forward_failure: bool
    fingerprint_hash: str
    fork_after_authentication: bool
    forward_agent: bool
    forward_agent_path: str | None
    forward_x11: bool
    forward_x11_timeout: int
    forward_x11_trusted: bool
    gateway_ports: bool
    global_known_hosts_file: tuple[str, ...]
    hash_known_hosts: bool
    host_key_algorithms: str
    host_key_alias: str | None
    hostbased_authentication: bool
    identities_only: bool
    identity_agent: str | None
    identity_file: tuple[str, ...]
    ipqos: tuple[int, int]
    kbd_interactive_authentication: bool
    kbd_interactive_devices: str | None
    kex_algorithms: str
    known_hosts_command: str | None
    local_command: str | None
    local_forward: tuple[Forward, ...]
    log_level: str
    log_verbose: tuple[str, ...]
    macs: str
    no_host_authentication_for_localhost: bool
    number_of_password_prompts: int
    obscure_keystroke_timing: int
    password_authentication: bool
    permit_local_command: bool
    permit_remote_open: tuple[str, ...]
    pkcs11_provider: str | None
    preferred_authentications: str | None
    proxy_command: str | None
    proxy_jump: Jump | None
    proxy_use_fdpass: bool
    pubkey_accepted_algorithms: str
    pubkey_authentication: str
    qsh_bootstrap: str
    qsh_bootstrap_command: str
    qsh_congestion: str
    qsh_dns: bool
    qsh_fallback: str
    qsh_key_log: str | None
    qsh_on_hangup: str
    qsh_port: int | None
    qsh_prediction: Literal["adaptive", "always", "never"]
    qsh_qlog: str | None
    qsh_sessions: str
    qsh_skip: str
    qsh_tcp_port: int | None
    qsh_transport: str
    rekey_interval: int
    rekey_limit: int
    remote_command: str | None
    remote_forward: tuple[Forward, ...]
    request_tty: str
    required_rsa_size: int
    revoked_host_keys: tuple[str, ...]
    send_env: tuple[str, ...]
    server_alive_count_max: int
    server_alive_interval: int
    session_type: str
    set_env: tuple[tuple[str, str], ...]
    stdin_null: bool
    stdio_forward: tuple[str, int] | None
    streamlocal_bind_mask: int
    streamlocal_bind_unlink: bool
    strict_host_key_checking: str
    syslog_facility: str
    tag: str | None
    tcp_keep_alive: bool
    tunnel: str
    tunnel_device: tuple[int | None, int | None]
    update_host_keys: str
    user_known_hosts_file: tuple[str, ...]
    verify_host_key_dns: str
    visual_host_key: bool
    xauth_location: str | None

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        *,
        hostname: str,
        host_arg: str,
        command: str = "",
    ) -> None:
        self.settings, self.environment = settings, environment
        self.hostname, self.host_arg, self.command = hostname, host_arg, command
        self.user = settings.get("user", environment.user)
        self.port = settings.get("port", DEFAULT_PORT)
        self.notes, self.warnings = [], []

    def __getattr__(self, name: str) -> Any:
        """Called once per attribute: the value then lies in ``__dict__``."""
        maker = _MAKERS.get(name)
        if maker is not None:
            value = maker(self)
        elif name in self.settings.values:
            value = self.settings.values[name]
        elif name in _DEFAULTS:
            value = _DEFAULTS[name]
        else:
            raise AttributeError(name)
        self.__dict__[name] = value
        return value

    def is_set(self, keyword: str) -> bool:
        """Whether a file or the command line set this keyword (any case)."""
        row = KEYWORDS[keyword.lower()]
        if row.attribute == "dynamic_forward":
            return bool(self.dynamic_forward)
        return bool(self.settings.sources.get(row.attribute))

    def source(self, keyword: str) -> str:
        """Where the keyword was set: ``FILE line N``; empty if it was not."""
        return self.settings.sources.get(KEYWORDS[keyword.lower()].attribute, "")

    @property
    def as_typed(self) -> str:
        """What leads to this host and user once more: the host, with jump hosts, the port and the user if they were typed."""
        sources = self.settings.sources
        user = f"{self.user}@" if sources.get("user") == "destination" else ""
        port = f"-p {self.port} " if sources.get("port") in ("destination", "-p") else ""
        jump = f"-J {self.proxy_jump or 'none'} " if sources.get("proxy_jump") == "-J" else ""
        return f"{jump}{port}{user}{self.host_arg}"

    def tokens(self, allowed: str = COMMON, **extra: str) -> Tokens:
        """% tokens of this connection; ``extra`` are those only the caller knows (%H, %T …)."""
        return token_values(
            self.environment,
            self.settings,
            host=self.hostname,
            original_host=self.host_arg,
            user=self.user,
            key_alias=self.host_key_alias or self.host_arg,
        ).only(allowed, **extra)

    def expand(self, keyword: str, text: str, **extra: str) -> str:
        """``text`` with the tokens that ``keyword`` takes. Raises ConfigError."""
        return expand(text, self.tokens(ALLOWED.get(keyword.lower(), COMMON), **extra))

    def expand_path(self, text: str) -> str:
        """``text`` with ``~``, tokens and ``${…}`` replaced. Raises ConfigError."""
        path = expand_tilde(text, self.environment)
        if "%" not in path and "${" not in path:
            return path
        return expand(path, self.tokens(), environment=self.environment)

    def wants_tty(self, *, stdin_is_terminal: bool) -> bool:
        """Whether the session gets a terminal, by ssh's rules."""
        if self.request_tty == "force":
            return self.session_type != "none"
        if self.request_tty == "no" or self.session_type == "none":
            return False
        wanted = self.request_tty == "yes" or not self.command
        return wanted and stdin_is_terminal and not self.stdin_null


def _unless_none(name: str) -> Callable[[ClientOptions], str | None]:
    def make(options: ClientOptions) -> str | None:
        value: str | None = options.settings.get(name, _DEFAULTS.get(name))
        return None if value is None or value.lower() == "none" else value

    return make


def _path(name: str) -> Callable[[ClientOptions], str | None]:
    plain = _unless_none(name)

    def make(options: ClientOptions) -> str | None:
        value = plain(options)
        return None if value is None else options.expand_path(value)

    return make


def _proxy_command(options: ClientOptions) -> str | None:
    value = _unless_none("proxy_command")(options)
    return None if value is None else options.expand("proxycommand", value)


def _proxy_jump(options: ClientOptions) -> Jump | None:
    jump: Jump | str | None = options.settings.get("proxy_jump")
    return None if isinstance(jump, str) else jump


def _remote_command(options: ClientOptions) -> str | None:
    value = _unless_none("remote_command")(options)
    return None if value is None else options.expand("remotecommand", value)


def _files(name: str) -> Callable[[ClientOptions], tuple[str, ...]]:
    def make(options: ClientOptions) -> tuple[str, ...]:
        files: tuple[str, ...] = options.settings.get(name, _DEFAULTS[name])
        if len(files) == 1 and files[0].lower() == "none":
            return ()
        return tuple(options.expand_path(file) for file in files)

    return make


def _global_files(options: ClientOptions) -> tuple[str, ...]:
    name = "global_known_hosts_file"
    files: tuple[str, ...] = options.settings.get(name, _DEFAULTS[name])
    return () if files[0].lower() == "none" else files


def _identity_file(options: ClientOptions) -> tuple[str, ...]:
    files = options.settings.get("identity_file")
    if not files:
        return tuple(f"{options.environment.home}/.ssh/{name}" for name in DEFAULT_IDENTITIES)
    return tuple(options.expand_path(file) for file, _ in files if file.lower() != "none")


def _certificate_file(options: ClientOptions) -> tuple[str, ...]:
    files = options.settings.get("certificate_file", ())
    return tuple(options.expand_path(file) for file, _ in files if file.lower() != "none")


def _identity_agent(options: ClientOptions) -> str | None:
    """The agent's socket; None: there is none or it must not be used."""
    value = options.settings.get("identity_agent")
    if value is None or value == AGENT_VARIABLE:
        return options.environment.variable(AGENT_VARIABLE)
    if value.lower() == "none":
        return None
    if value.startswith("$") and not value.startswith("${"):
        return options.environment.variable(value[1:])
    return options.expand_path(value)


def _forwards(*, dynamic: bool) -> Callable[[ClientOptions], tuple[Forward, ...]]:
    def make(options: ClientOptions) -> tuple[Forward, ...]:
        found = options.settings.get("local_forward", ())
        return tuple(
            _with_paths(options, forward) for forward in found if forward.dynamic == dynamic
        )

    return make


def _remote_forward(options: ClientOptions) -> tuple[Forward, ...]:
    found = options.settings.get("remote_forward", ())
    return tuple(_with_paths(options, forward) for forward in found)


def _with_paths(options: ClientOptions, forward: Forward) -> Forward:
    if forward.listen_path is None and forward.connect_path is None:
        return forward
    paths = (
        path if path is None else options.expand("localforward", path)
        for path in (forward.listen_path, forward.connect_path)
    )
    listen_path, connect_path = paths
    return type(forward)(
        forward.listen_host,
        forward.listen_port,
        forward.connect_host,
        forward.connect_port,
        listen_path=listen_path,
        connect_path=connect_path,
    )


def _set_env(options: ClientOptions) -> tuple[tuple[str, str], ...]:
    pairs = (text.partition("=") for text in options.settings.get("set_env", ()))
    environment = options.environment
    return tuple(
        (name, expand(value, options.tokens(), environment=environment)) for name, _, value in pairs
    )


def _update_host_keys(options: ClientOptions) -> str:
    value: str | None = options.settings.get("update_host_keys")
    if value is None:
        files = options.settings.get("user_known_hosts_file")
        usual = files is None or files == ("~/.ssh/known_hosts",)
        return "yes" if usual and options.verify_host_key_dns == "no" else "no"
    if value == "ask":
        shared = options.control_persist[0] and options.control_path is not None
        silent = options.log_level in ("QUIET", "FATAL", "ERROR")
        if shared or options.command or options.request_tty == "no" or silent:
            return "no"
    return value


def _host_key_alias(options: ClientOptions) -> str | None:
    alias: str | None = options.settings.get("host_key_alias")
    return None if alias is None else alias.lower()


def _channel_timeout(options: ClientOptions) -> tuple[str, ...]:
    found: tuple[str, ...] = options.settings.get("channel_timeout", ())
    return () if [text.lower() for text in found] == ["none"] else found


def _cnames(options: ClientOptions) -> tuple[tuple[str, str], ...]:
    rules: tuple[tuple[str, str], ...] = options.settings.get("canonicalize_permitted_cnames", ())
    return () if len(rules) == 1 and rules[0][1] == "" else rules


def _alive_interval(options: ClientOptions) -> int:
    interval: int | None = options.settings.get("server_alive_interval")
    if interval is None:
        return BATCH_ALIVE_INTERVAL_S if options.batch_mode else 0
    return interval


def _for_stdio(name: str) -> Callable[[ClientOptions], bool]:
    """``-W`` turns these two on unless somebody said otherwise."""

    def make(options: ClientOptions) -> bool:
        return bool(options.settings.get(name, options.stdio_forward is not None))

    return make


def _algorithms(attribute: str, family: str) -> Callable[[ClientOptions], str]:
    def make(options: ClientOptions) -> str:
        from qsh.config.algorithms import assemble

        return assemble(family, options.settings.get(attribute))

    return make


_DEFAULTS: dict[str, Any] = {row.attribute: row.default for row in KEYWORDS.values()} | {
    "add_keys_lifetime": 0,
    "rekey_interval": 0,
    "stdio_forward": None,
    "control_persist": (False, 0),
}

_MAKERS: dict[str, Callable[[ClientOptions], Any]] = {
    **{
        name: _unless_none(name)
        for name in ("local_command", "known_hosts_command", "pkcs11_provider")
    },
    **{name: _path(name) for name in ("control_path", "forward_agent_path")},
    **{name: _path(name) for name in ("qsh_key_log", "qsh_qlog")},
    **{
        name: _algorithms(name, family)
        for name, family in (
            ("ciphers", "ciphers"),
            ("macs", "macs"),
            ("kex_algorithms", "kex"),
            ("gssapi_kex_algorithms", "gss-kex"),
            ("host_key_algorithms", "keys"),
            ("hostbased_accepted_algorithms", "keys"),
            ("pubkey_accepted_algorithms", "keys"),
            ("ca_signature_algorithms", "signatures"),
        )
    },
    "exit_on_forward_failure": _for_stdio("exit_on_forward_failure"),
    "clear_all_forwardings": _for_stdio("clear_all_forwardings"),
    "proxy_command": _proxy_command,
    "proxy_jump": _proxy_jump,
    "remote_command": _remote_command,
    "user_known_hosts_file": _files("user_known_hosts_file"),
    "revoked_host_keys": _files("revoked_host_keys"),
    "global_known_hosts_file": _global_files,
    "identity_file": _identity_file,
    "certificate_file": _certificate_file,
    "identity_agent": _identity_agent,
    "local_forward": _forwards(dynamic=False),
    "dynamic_forward": _forwards(dynamic=True),
    "remote_forward": _remote_forward,
    "set_env": _set_env,
    "send_env": lambda options: tuple(options.settings.get("send_env", ())),
    "update_host_keys": _update_host_keys,
    "host_key_alias": _host_key_alias,
    "channel_timeout": _channel_timeout,
    "canonicalize_permitted_cnames": _cnames,
    "server_alive_interval": _alive_interval,
}
