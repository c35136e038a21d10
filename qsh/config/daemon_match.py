"""The conditions of a Match line in qshd_config (servconf.c, match_cfg_line)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qsh import __version__
from qsh.config.address import check_networks, match_networks
from qsh.config.values import to_integer
from qsh.errors import ConfigError
from qsh.patterns import lower_ascii, match_list

__all__ = ["Condition", "ConnectionFacts", "holds", "parse_conditions"]

WITH_ARGUMENT: Final = (
    "user",
    "group",
    "host",
    "address",
    "localaddress",
    "localport",
    "rdomain",
    "version",
)
RELEASES: Final = ("OpenSSH_10.5p1", f"qsh_{__version__}")
"""What ``Match version`` is compared with: the sshd whose grammar we speak, and ourselves."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One criterion and its patterns; ``all`` has none."""

    name: str
    patterns: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """What the conditions are asked about; None: not known. Addresses are plain (address.py)."""

    user: str | None = None
    groups: tuple[str, ...] = ()
    host: str | None = None
    address: str | None = None
    local_address: str | None = None
    local_port: int | None = None


def parse_conditions(words: list[str]) -> tuple[Condition, ...]:
    """The criteria of a Match line. Raises ConfigError."""
    found: list[Condition] = []
    rest = iter(words)
    for written in rest:
        if written.startswith("#"):
            break
        name = written.lower()
        if name == "all":
            following = next(rest, "")
            if found or (following and not following.startswith("#")):
                raise ConfigError("'all' cannot be combined with other Match attributes")
            return (Condition("all"),)
        if name == "invalid-user":
            found.append(Condition(name))
            continue
        attribute, equals, argument = written.partition("=")
        if not equals or attribute.lower() not in WITH_ARGUMENT:
            attribute, argument = written, next(rest, "")
        if not argument or argument.startswith("#"):
            raise ConfigError(f"Missing Match criteria for {attribute}")
        found.append(_checked(attribute, argument))
    if not found:
        raise ConfigError("One or more attributes required for Match")
    return tuple(found)


def _checked(attribute: str, argument: str) -> Condition:
    name = attribute.lower()
    if name not in WITH_ARGUMENT:
        raise ConfigError(f"Unsupported Match attribute {attribute}")
    if name in ("address", "localaddress"):
        try:
            check_networks(argument)
        except ConfigError:
            raise ConfigError(f"Invalid Match {name} argument '{argument}'") from None
    if name == "localport":
        try:
            to_integer(argument, 0, 65535)
        except ValueError:
            raise ConfigError(f"Invalid LocalPort '{argument}' on Match line") from None
    return Condition(name, argument)


def holds(condition: Condition, facts: ConnectionFacts) -> bool:
    """Whether the condition holds; one about something not known does not."""
    name, patterns = condition.name, condition.patterns
    if name == "all":
        return True
    if name == "invalid-user":
        return facts.user is not None and not facts.groups
    if name == "localport":
        return facts.local_port == to_integer(patterns, 0, 65535)
    return _names_match(_subjects(name, facts), name, patterns)


def _subjects(name: str, facts: ConnectionFacts) -> tuple[str, ...]:
    if name == "group":
        return facts.groups
    if name == "version":
        return RELEASES
    known = {
        "user": facts.user,
        "host": facts.host,
        "address": facts.address,
        "localaddress": facts.local_address,
    }
    subject = known.get(name)  # RDomain: Linux has none
    return () if subject is None else (subject,)


def _names_match(subjects: tuple[str, ...], name: str, patterns: str) -> bool:
    """One of the names must match; a negated pattern that matches any of them decides."""
    if name in ("address", "localaddress"):
        verdicts = [match_networks(subject, patterns) for subject in subjects]
    elif name == "host":
        verdicts = [match_list(lower_ascii(one), patterns, lower=True) for one in subjects]
    else:
        verdicts = [match_list(subject, patterns) for subject in subjects]
    return bool(verdicts) and min(verdicts) >= 0 and max(verdicts) == 1
