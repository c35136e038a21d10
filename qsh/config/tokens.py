"""% tokens, ``${VARIABLE}`` and ``~`` in values, and the check of names that go into them.

A user or host name from the command line ends up, through a token, in a shell command of
ProxyCommand, LocalCommand or Match exec. So it is checked before anything is expanded, by
OpenSSH 10.3's rules (CVE-2023-51385, CVE-2025-61984, CVE-2025-61985, CVE-2026-35386).
"""

from __future__ import annotations

from qsh.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.config.environment import Environment

__all__ = [
    "ALLOWED",
    "COMMON",
    "Tokens",
    "connection_hash",
    "expand",
    "expand_tilde",
    "expand_variables",
    "valid_host",
    "valid_user",
]

COMMON = "CLdhijklnpru"
ALLOWED: dict[str, str] = {
    "hostname": "h",
    "user": "Ldhijklnpu",
    "proxycommand": "hknpr",
    "localcommand": COMMON + "T",
    "knownhostscommand": COMMON + "fHIKt",
}
"""Tokens of each keyword besides %%; a keyword that is not listed takes ``COMMON``."""


class Tokens:
    """What the % tokens of one keyword mean; %C and the like are computed when they are used."""

    __slots__ = ("_allowed", "_makers")

    def __init__(self, makers: dict[str, str | Callable[[], str]], allowed: str) -> None:
        self._makers, self._allowed = makers, allowed

    def value(self, token: str) -> str | None:
        """The replacement, or None if the keyword does not take this token."""
        if token not in self._allowed or token not in self._makers:
            return None
        maker = self._makers[token]
        return maker if isinstance(maker, str) else maker()

    def only(self, allowed: str, **extra: str) -> Tokens:
        """The same values for a keyword that takes other tokens."""
        return Tokens({**self._makers, **extra}, allowed)


def valid_host(host: str) -> bool:
    """Whether a host name from the command line may reach a shell."""
    if host.startswith("-"):
        return False
    return not any(char in "'`\"$\\;&<>|(){}," or _blank(char) or _control(char) for char in host)


def valid_user(user: str) -> bool:
    """Whether a user name from the command line (or one that was expanded) may reach a shell."""
    if user.startswith("-") or user.endswith("\\"):
        return False
    for at, char in enumerate(user):
        if _control(char) or char in "'`\";&<>|(){}":
            return False
        if _blank(char) and user[at + 1 : at + 2] == "-":
            return False
    return True


def _blank(char: str) -> bool:
    return char in " \t\n\v\f\r"


def _control(char: str) -> bool:
    return char < " " or char == "\x7f"


def expand_variables(text: str, environment: Environment) -> str:
    """``text`` with each ``${NAME}`` replaced. Raises ConfigError."""
    if "${" not in text:
        return text
    return expand(text, None, environment=environment)


def expand(text: str, tokens: Tokens | None, *, environment: Environment | None = None) -> str:
    """``text`` with % tokens (unless None) and variables (if an environment is given) replaced.

    What a replacement contains is not looked at again. Raises ConfigError.
    """
    result: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if environment is not None and text.startswith("${", at):
            end = text.find("}", at)
            if end < 0:
                raise ConfigError(f"environment variable '{text[at + 2 :]}' missing closing '}}'")
            result.append(_variable(text[at + 2 : end], environment))
            at = end
        elif char == "%" and tokens is not None:
            at += 1
            result.append(_token(text[at : at + 1], tokens))
        else:
            result.append(char)
        at += 1
    return "".join(result)


def _variable(name: str, environment: Environment) -> str:
    if not name:
        raise ConfigError("zero-length environment variable")
    value = environment.variable(name)
    if value is None:
        raise ConfigError(f"env var ${{{name}}} has no value")
    return value


def _token(char: str, tokens: Tokens) -> str:
    if char == "%":
        return "%"
    if not char:
        raise ConfigError("percent_expand: invalid format")
    value = tokens.value(char)
    if value is None:
        raise ConfigError(f"percent_expand: unknown key %{char}")
    return value


def expand_tilde(path: str, environment: Environment) -> str:
    """``~/x`` and ``~user/x`` as OpenSSH writes them. Raises ConfigError for an unknown user."""
    if not path.startswith("~"):
        return path
    user, slash, rest = path[1:].partition("/")
    home = environment.home_of(user) if user else environment.home
    if home is None:
        raise ConfigError(f"tilde_expand: No such user {user}")
    return f"{home.removesuffix('/')}/{rest.lstrip('/') if slash else ''}"


def connection_hash(local: str, host: str, port: str, user: str, jump: str) -> str:
    """%C: SHA-1 over the four names and the port."""
    import hashlib

    text = f"{local}{host}{port}{user}{jump}".encode("utf-8", "surrogateescape")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
