"""The conditions of a Match line."""

from __future__ import annotations

from qsh import __version__
from qsh.config.tokens import Tokens, expand
from qsh.errors import ConfigError
from qsh.patterns import match_host, match_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.config.environment import Environment
    from qsh.config.settings import Settings

__all__ = ["MatchContext", "evaluate", "in_networks"]

RELEASES = ("OpenSSH_10.5p1", f"qsh_{__version__}")
"""What ``Match version`` is compared with: the ssh whose grammar we speak, and ourselves."""

_WITH_ARGUMENT = (
    "host",
    "originalhost",
    "user",
    "localuser",
    "localnetwork",
    "version",
    "tagged",
    "command",
    "sessiontype",
    "exec",
)


class MatchContext:
    """What the conditions are asked about."""

    __slots__ = (
        "command",
        "environment",
        "final",
        "host",
        "original_host",
        "settings",
        "want_final",
    )

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        *,
        host: str,
        original_host: str,
        command: str,
        final: bool,
    ) -> None:
        self.settings, self.environment = settings, environment
        self.host, self.original_host, self.command = host, original_host, command
        self.final, self.want_final = final, False

    def current_host(self) -> str:
        """The host name as Hostname has changed it so far."""
        hostname: str | None = self.settings.get("hostname")
        if hostname is None:
            return self.host
        return hostname if self.final else expand(hostname, Tokens({"h": self.host}, "h"))

    def user(self) -> str:
        """The remote user so far."""
        user: str = self.settings.get("user", self.environment.user)
        return user

    def tokens(self) -> Tokens:
        """What % tokens of ``exec`` and Include mean here."""
        from qsh.config.options import token_values

        return token_values(
            self.environment,
            self.settings,
            host=self.current_host(),
            original_host=self.original_host,
            user=self.user(),
            key_alias=self.settings.get("host_key_alias") or self.current_host(),
        )


def evaluate(words: list[str], context: MatchContext) -> bool:
    """Whether the conditions hold; takes them off ``words``. Raises ConfigError."""
    result = True
    count = 0
    while words:
        written = words.pop(0)
        if written.startswith("#"):
            words.clear()
            break
        negate = written.startswith("!")
        name = written[1:].lower() if negate else written.lower()
        if name == "all":
            if count > 1 or (words and words[0] and not words[0].startswith("#")):
                raise ConfigError(f"'{written}' cannot be combined with other Match attributes")
            words.clear()
            return result and not negate
        count += 1
        if name in ("canonical", "final"):
            context.want_final |= name == "final" and not negate
            holds = context.final
        else:
            name, argument = _argument(written[negate:], words)
            if name == "exec" and not result:
                continue
            holds = _holds(name, argument, context)
        result = result and holds != negate
    if count == 0:
        raise ConfigError("One or more attributes required for Match")
    return result


def _argument(written: str, words: list[str]) -> tuple[str, str]:
    name, equals, argument = written.partition("=")
    name = name.lower()
    if not equals or name not in _WITH_ARGUMENT:
        name = written.lower()
        if not words:
            raise ConfigError(f"Missing Match criteria for {written}")
        argument = words.pop(0)
    if argument.startswith("#") or (not argument and name not in ("tagged", "command")):
        raise ConfigError(f"Missing Match criteria for {written}")
    if name not in _WITH_ARGUMENT:
        raise ConfigError(f"Unsupported Match attribute {written}")
    return name, argument


def _holds(name: str, argument: str, context: MatchContext) -> bool:
    if name in ("host", "originalhost"):
        host = context.current_host() if name == "host" else context.original_host
        return match_host(host, argument)
    if name == "localnetwork":
        return in_networks(argument, context.environment.local_addresses)
    if name == "exec":
        return _succeeds(argument, context)
    if name == "version":
        verdicts = [match_list(release, argument) for release in RELEASES]
        return min(verdicts) >= 0 and max(verdicts) == 1
    subject = _subject(name, context)
    if not subject and name in ("tagged", "command"):
        return not argument
    return match_list(subject, argument) == 1


def _subject(name: str, context: MatchContext) -> str:
    if name == "user":
        return context.user()
    if name == "localuser":
        return context.environment.user
    if name == "tagged":
        return str(context.settings.get("tag", ""))
    if name == "command":
        return context.command
    session = context.settings.get("session_type", "default")
    if session != "default":
        return str(session)
    return "exec" if context.command else "shell"


def _succeeds(command: str, context: MatchContext) -> bool:
    expanded = expand(command, context.tokens())
    status = context.environment.run(expanded)
    if status < 0:
        raise ConfigError(f"match exec '{expanded[:100]}' error")
    return status == 0


def in_networks(entries: str, addresses: object) -> bool:
    """Whether one of the addresses (a list, or what returns one) is in a list of networks."""
    import ipaddress

    networks = []
    for entry in entries.split(","):
        if not entry or entry.strip("0123456789abcdefABCDEF.:/"):
            raise ConfigError(f'Invalid network entry "{entry[:100]}"')
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError as error:
            text = "Inconsistent mask length for" if "host bits" in str(error) else "Invalid"
            raise ConfigError(f'{text} network "{entry[:100]}"') from None
    found = addresses() if callable(addresses) else addresses
    for text in found if isinstance(found, list) else []:
        address = ipaddress.ip_address(str(text).partition("%")[0])
        if any(address in network for network in networks):
            return True
    return False
