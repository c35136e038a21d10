"""From a command line and an environment to ``ClientOptions``, in the steps that ssh takes.

-o options and flags, then ~/.config/qsh/config, ~/.ssh/config, /etc/qsh/qsh_config and
/etc/ssh/ssh_config; Hostname; canonical name; a second pass if one was asked for; defaults
"""

from __future__ import annotations

from qsh.config.options import ClientOptions
from qsh.config.parser import Parser
from qsh.config.schema import IGNORED, KEYWORDS
from qsh.config.tokens import ALLOWED, Tokens, expand, valid_host, valid_user
from qsh.errors import ConfigError
from qsh.patterns import lower_ascii, match_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from qsh.config.environment import Environment
    from qsh.config.settings import Settings

    class Invocation(Protocol):
        """What ``resolve`` wants of cli's Arguments."""

        settings: Settings
        host: str
        command: str | None
        config_file: str | None
        print_config: bool


__all__ = ["TYPED", "resolve", "resolve_host"]

TYPED = "destination"
"""Source of a user from ``-l``, ``user@host`` or a URI, or of nobody: taken literally."""

SYSTEM_SSH = "/etc/ssh"
SYSTEM_QSH = "/etc/qsh"


_SETTLED = (
    ("canonicalize_max_dots", 1),
    ("canonicalize_fallback_local", True),
    ("canonicalize_hostname", "no"),
)
"""These have had their say when the second pass begins."""


class _Resolution:
    """One host's way through the steps."""

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        *,
        host: str,
        command: str,
        config_file: str | None,
    ) -> None:
        self.settings, self.environment = settings, environment
        self.original_host, self.host, self.command = host, host, command
        self.config_file = config_file
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.want_final = False

    def read_files(self, *, final: bool) -> None:
        """All files in their order."""
        parser = Parser(
            self.environment,
            self.settings,
            host=self.host,
            original_host=self.original_host,
            command=self.command,
            final=final,
        )
        home = self.environment.home
        if self.config_file is None:
            parser.file(
                f"{home}/.config/qsh/config", user=True, base=f"{home}/.config/qsh", check=True
            )
            parser.file(f"{home}/.ssh/config", user=True, base="~/.ssh", check=True)
            parser.file(f"{SYSTEM_QSH}/qsh_config", user=False, base=SYSTEM_QSH, check=False)
            parser.file(f"{SYSTEM_SSH}/ssh_config", user=False, base=SYSTEM_SSH, check=False)
        elif self.config_file.lower() != "none":
            opened = parser.file(self.config_file, user=True, base="~/.ssh", check=False)
            if not opened:
                reason = self.environment.exists(self.config_file) or "Permission denied"
                raise ConfigError(f"Can't open user config file {self.config_file}: {reason}")
        self.notes += parser.notes
        if not final:
            self.warnings += parser.warnings
            self.want_final = parser.want_final

    def use_hostname(self) -> None:
        """Hostname replaces what was typed."""
        hostname = self.settings.get("hostname")
        if hostname is not None:
            self.host = expand(hostname, Tokens({"h": self.host}, "h"))
            self.settings.put("hostname", self.host, self.settings.sources["hostname"])

    def canonicalize(self, *, offline: bool) -> None:
        """Addresses get their usual spelling, names what CanonicalizeHostname says."""
        address = _address(self.host, self.environment)
        if address is not None:
            if lower_ascii(address) != lower_ascii(self.host):
                self.host = address
            return
        if not (":" in self.host or "%" in self.host):
            self.host = lower_ascii(self.host)
        wanted = self.settings.get("canonicalize_hostname", "no")
        if wanted == "no":
            return
        self.want_final = True
        if not offline and (wanted == "always" or not self._proxied()):
            self.host = self._canonical_name()

    def _proxied(self) -> bool:
        command = self.settings.get("proxy_command")
        jump = self.settings.get("proxy_jump")
        return (command is not None and command.lower() != "none") or jump not in (None, "none")

    def _canonical_name(self) -> str:
        get = self.settings.get
        if self.host.endswith("."):
            candidates: tuple[str, ...] = (self.host.removesuffix("."),)
        elif self.host.count(".") > get("canonicalize_max_dots", 1):
            return self.host
        else:
            domains = get("canonical_domains", ())
            candidates = tuple(f"{self.host}.{domain}" for domain in domains if domain != "none")
        for candidate in candidates:
            cname = self.environment.lookup(f"{candidate}.")
            if cname is not None:
                return self._permitted(candidate, lower_ascii(cname.removesuffix(".")))
        if not get("canonicalize_fallback_local", True):
            raise ConfigError(f'Could not resolve host "{self.host}"')
        return self.host

    def _permitted(self, name: str, cname: str) -> str:
        for source, target in self.settings.get("canonicalize_permitted_cnames", ()):
            if (
                cname
                and cname != name
                and match_list(name, source, lower=True) == 1
                and match_list(cname, target, lower=True) == 1
            ):
                return cname
        return name

    def _check_agent(self, options: ClientOptions) -> None:
        """A socket named by ForwardAgent should be there."""
        path = options.forward_agent_path
        reason = "" if path is None else self.environment.exists(path)
        if reason:
            text = f'Cannot forward agent socket path "{path}": {reason}'
            if options.exit_on_forward_failure:
                raise ConfigError(text)
            options.warnings.append(text)

    def options(self) -> ClientOptions:
        """The options, checked against each other."""
        options = ClientOptions(
            self.settings,
            self.environment,
            hostname=self.host,
            host_arg=self.original_host,
            command=self.command,
        )
        options.notes, options.warnings = self.notes, self.warnings
        _expand_user(options)
        _check(options)
        self._check_agent(options)
        if not options.command and options.remote_command is not None:
            options.command = options.remote_command
        if options.clear_all_forwardings:
            for name in ("local_forward", "remote_forward"):
                self.settings.values.pop(name, None)
            self.settings.put("tunnel", "no")
        for row in KEYWORDS.values():
            if row.status == IGNORED and row.attribute in self.settings.values:
                options.notes.append(f"{row.name} has no effect in qsh")
        return options


def _address(host: str, environment: Environment) -> str | None:
    """The usual spelling of a numeric address; None for a name (asked only where it may be one)."""
    if ":" in host or host[:1].isdigit():
        return environment.numeric_address(host)
    return None


def _expand_user(options: ClientOptions) -> None:
    """User from a file or ``-o`` may have tokens; what they give is checked once more."""
    if options.settings.sources.get("user", TYPED) == TYPED:
        return
    written = options.user
    if "%" in written or "${" in written:
        tokens = options.tokens(ALLOWED["user"])
        options.user = expand(written, tokens, environment=options.environment)
        if options.user != written and not valid_user(options.user):
            raise ConfigError("remote username contains invalid characters")


def _check(options: ClientOptions) -> None:
    jump = options.proxy_jump
    if (
        jump is not None
        and jump.host == options.hostname
        and (jump.port if jump.port > 0 else 22) == options.port
        and (jump.user or options.user) == options.user
    ):
        raise ConfigError(f"jumphost loop via {jump.host}")
    if options.proxy_use_fdpass and options.settings.get("proxy_command") == "-":
        raise ConfigError("ProxyCommand=- and ProxyUseFDPass are incompatible")
    if options.connection_attempts <= 0:
        raise ConfigError("Invalid number of ConnectionAttempts")
    if options.command and options.remote_command is not None:
        raise ConfigError("Cannot execute command-line and remote command.")
    nothing = not options.command and options.remote_command is None
    if options.fork_after_authentication and nothing and options.session_type != "none":
        raise ConfigError("Cannot fork into background without a command to execute.")
    for name in ("global_known_hosts_file", "user_known_hosts_file"):
        files = options.settings.get(name, ())
        if len(files) > 1 and files[0].lower() == "none":
            raise ConfigError(f'Invalid {name}: "none" appears with other entries')


def resolve_host(
    settings: Settings,
    environment: Environment,
    *,
    host: str,
    command: str = "",
    config_file: str | None = None,
    offline: bool = False,
) -> ClientOptions:
    """The options for ``host``; ``settings`` are the command line's and are not changed.

    ``offline`` (``-G``) asks no resolver. Raises ConfigError.
    """
    if "user" in settings.values and not valid_user(settings.values["user"]):
        raise ConfigError("remote username contains invalid characters")
    if not valid_host(host):
        raise ConfigError("hostname contains invalid characters")
    work = _Resolution(
        settings.copy(), environment, host=host, command=command, config_file=config_file
    )
    work.read_files(final=False)
    work.use_hostname()
    work.canonicalize(offline=offline)
    if work.want_final:
        for attribute, value in _SETTLED:
            work.settings.first(attribute, value)
        work.settings.put("hostname", work.host, work.settings.sources.get("hostname", ""))
        work.read_files(final=True)
    return work.options()


def resolve(arguments: Invocation, environment: Environment) -> ClientOptions:
    """The options for a parsed command line. Raises ConfigError."""
    return resolve_host(
        arguments.settings,
        environment,
        host=arguments.host,
        command=arguments.command or "",
        config_file=arguments.config_file,
        offline=arguments.print_config,
    )
