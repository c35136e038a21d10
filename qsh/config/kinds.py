"""How the value of each kind of keyword is read and stored: one function per kind of schema.py.

A function takes words off its ``Line``; words that are left over are the parser's complaint.
Values are checked in blocks that do not apply as well, as in ssh.
"""

from __future__ import annotations

from qsh.config import values
from qsh.config.algorithms import check_names
from qsh.config.forwards import parse_forward, parse_jump
from qsh.config.tokens import expand_variables
from qsh.errors import ConfigError
from qsh.patterns import match_pattern

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qsh.config.environment import Environment
    from qsh.config.schema import Keyword
    from qsh.config.settings import Settings

__all__ = ["KINDS", "FatalError", "Line"]

MAX_FILES = 100  # SSH_MAX_IDENTITY_FILES
MAX_HOSTS_FILES = 32  # SSH_MAX_HOSTS_FILES
MISSING = "Missing argument."


class FatalError(ConfigError):
    """An error after which ssh does not read on; it leaves this package as a ConfigError."""


class Line:
    """A line on its way into the settings."""

    __slots__ = (
        "active",
        "command_line",
        "environment",
        "keyword",
        "notes",
        "rest",
        "row",
        "settings",
        "source",
        "user",
        "words",
    )

    def __init__(
        self,
        row: Keyword,
        keyword: str,
        rest: str,
        words: list[str],
        *,
        settings: Settings,
        environment: Environment,
        source: str,
        active: bool,
        user: bool,
        command_line: bool,
        notes: list[str],
    ) -> None:
        self.row, self.keyword, self.rest, self.words = row, keyword, rest, words
        self.settings, self.environment, self.source = settings, environment, source
        self.active, self.user, self.command_line, self.notes = active, user, command_line, notes

    def word(self, complaint: str = MISSING) -> str:
        """The next word, which must be there and not be empty."""
        if not self.words or not self.words[0]:
            raise ConfigError(complaint)
        return self.words.pop(0)

    def maybe(self) -> str:
        """The next word or an empty string."""
        return self.words.pop(0) if self.words else ""

    def set(self, value: Any, attribute: str = "") -> None:
        """The value counts if the block applies and nobody came before."""
        if self.active:
            self.settings.first(attribute or self.row.attribute, value, self.source)

    def add(self, value: Any) -> None:
        """One more member of a list."""
        if self.active:
            self.settings.add(self.row.attribute, value, self.source)

    def list(self, *, alone: tuple[str, ...] = ("none",), empty: bool = False) -> list[str]:
        """All words; those in ``alone`` must not have company."""
        words = list(self.words)
        for at, word in enumerate(words):
            if not word and not empty:
                raise ConfigError(f"keyword {self.keyword} empty argument")
            if word.lower() in alone and (at > 0 or len(words) > 1):
                raise ConfigError(f'keyword {self.keyword} "{word}" argument must appear alone.')
        self.words.clear()
        return words


def _flag(line: Line) -> None:
    line.set(values.parse_flag(line.maybe()))


def _state(name: str) -> Callable[[Line], None]:
    def read(line: Line) -> None:
        line.set(values.parse_state(line.maybe(), values.STATES[name]))

    return read


def _string(line: Line) -> None:
    line.set(line.word())


def _int(line: Line) -> None:
    line.set(values.parse_integer(line.maybe()))


def _time(line: Line) -> None:
    seconds = values.parse_time(line.maybe())
    if seconds is not None:
        line.set(seconds)


def _port(line: Line) -> None:
    word = line.word()
    port = values.parse_port(word, line.environment.service_port)
    if port <= 0:
        raise ConfigError(f"Bad port '{word}'.")
    line.set(port)


def _command(line: Line) -> None:
    line.words.clear()
    line.set(line.rest.lstrip(" \t\r\n="))


def _jump(line: Line) -> None:
    text = line.rest.lstrip(" \t\r\n=")
    try:
        jump = parse_jump(text, line.environment, strict=line.command_line)
    except ValueError:
        raise ConfigError(f'Invalid ProxyJump "{text}"') from None
    line.words.clear()
    unset = line.settings.get("proxy_command") is None and line.settings.get("proxy_jump") is None
    if line.active and unset:
        line.set("none" if jump is None else jump)
        if jump is not None:
            line.set("none", "proxy_command")


def _names(family: str) -> Callable[[Line], None]:
    def read(line: Line) -> None:
        spec = line.word()
        check_names(family, spec)
        line.set(spec)

    return read


def _identity(line: Line) -> None:
    member = (line.word(), line.user)
    if line.active:
        _room(line, "identity files")
        line.add(member)


def _certificate(line: Line) -> None:
    member = (line.word(), line.user)
    if line.active:
        _room(line, "certificate files")
        line.add(member)


def _room(line: Line, what: str) -> None:
    if len(line.settings.get(line.row.attribute, ())) >= MAX_FILES:
        raise ConfigError(f"Too many {what} specified (max {MAX_FILES}).")


def _files(line: Line) -> None:
    files = line.list()
    if files and line.active and line.row.attribute not in line.settings.values:
        if len(files) > MAX_HOSTS_FILES:
            raise ConfigError(f"too many {line.keyword} entries.")
        line.set(tuple(files))


def _verbose(line: Line) -> None:
    files = line.list()
    if files:
        line.set(tuple(files[:1]))


def _revoked(line: Line) -> None:
    line.set(tuple(_some(line, line.list())))


def _some(line: Line, words: list[str]) -> list[str]:
    if not words:
        raise FatalError(f"no {line.keyword} specified")
    return words


def _domains(line: Line) -> None:
    words = _some(line, line.list(empty=True))
    line.set(tuple(values.parse_domain(word) for word in words))


def _cnames(line: Line) -> None:
    rules: list[tuple[str, str]] = []
    for word in _some(line, line.list(empty=True)):
        if word.lower() == "none":
            rules.append((word, ""))
            continue
        source, colon, target = word.lower().partition(":")
        if word == "*":
            target = source
        elif not colon or not target:
            raise ConfigError(f'Invalid permitted CNAME "{word.lower()}"')
        rules.append((source, target))
    line.set(tuple(rules))


def _sendenv(line: Line) -> None:
    for word in _some(line, list(line.words)):
        if not word or "=" in word:
            raise ConfigError("Invalid environment name.")
        if not line.active:
            continue
        names: list[str] = line.settings.values.setdefault("send_env", [])
        if word.startswith("-"):
            names[:] = [name for name in names if not match_pattern(name, word[1:])]
        else:
            names.append(word)
            line.settings.sources.setdefault("send_env", line.source)
    line.words.clear()


def _setenv(line: Line) -> None:
    found: dict[str, str] = {}
    for word in _some(line, list(line.words)):
        name, equals, _ = word.partition("=")
        if not equals:
            raise ConfigError("Invalid SetEnv.")
        found.setdefault(name, word)
    line.words.clear()
    line.set(tuple(found.values()))


def _escape(line: Line) -> None:
    line.set(values.parse_escape(line.word()))


def _loglevel(line: Line) -> None:
    word = line.maybe()
    level = word.upper()
    level = {"DEBUG1": "DEBUG", "SILENT": "QUIET"}.get(level, level)
    if level not in values.LOG_LEVELS:
        raise ConfigError(f"unsupported log level '{word or '<NONE>'}'")
    line.set(level)


def _facility(line: Line) -> None:
    word = line.maybe()
    if word.upper() not in values.FACILITIES:
        raise ConfigError(f"unsupported log facility '{word or '<NONE>'}'")
    # ssh sets it even where the block does not apply
    line.settings.first("syslog_facility", word.upper(), line.source)


def _local(line: Line) -> None:
    listen = line.word()
    target = line.word("Missing target argument.")
    _forward(line, f"{listen}:{target}", dynamic=False)


def _remote(line: Line) -> None:
    listen = line.word()
    target = line.words.pop(0) if line.words else ""
    _forward(line, f"{listen}:{target}" if target else listen, dynamic=not target, remote=True)


def _dynamic(line: Line) -> None:
    _forward(line, line.word(), dynamic=True)


def _forward(line: Line, spec: str, *, dynamic: bool, remote: bool = False) -> None:
    forward = parse_forward(spec, line.environment, dynamic=dynamic, remote=remote)
    if forward is None:
        raise ConfigError("Bad forwarding specification.")
    if line.active:
        attribute = "remote_forward" if remote else "local_forward"  # dynamic ones are local
        line.settings.add(attribute, forward, line.source)


def _permitopen(line: Line) -> None:
    words = line.list(alone=("none", "any"), empty=True)
    for word in words:
        if word.lower() in ("none", "any"):
            continue
        _, _, port = word.partition("]:") if word.startswith("[") else word.partition(":")
        if word.partition(":")[0] == word or "/" in word.partition(":")[0]:
            raise FatalError(f"missing host in {line.keyword}" if "/" in word else _bad_port(line))
        if port != "*" and values.parse_port(port, line.environment.service_port) <= 0:
            raise FatalError(_bad_port(line))
    if not words:
        raise FatalError(f"missing {line.keyword} specification")
    line.set(tuple(words))


def _bad_port(line: Line) -> str:
    return f"bad port number in {line.keyword}"


def _rekey(line: Line) -> None:
    word = line.word()
    limit = 0 if word == "default" else values.parse_size(word)
    if limit != 0 and limit < 16:
        raise ConfigError("RekeyLimit too small")
    line.set(limit)
    if line.words:
        if line.words[0] == "none":
            line.words.pop(0)
            return
        seconds = values.parse_time(line.maybe())
        line.set(seconds, "rekey_interval")


def _persist(line: Line) -> None:
    word = line.word("Missing ControlPersist argument.")
    if word in ("no", "false"):
        line.set((False, 0))
    elif word in ("yes", "true"):
        line.set((True, 0))
    else:
        try:
            line.set((True, values.parse_number(word)))
        except ValueError:
            raise ConfigError("Bad ControlPersist argument.") from None


def _tundevice(line: Line) -> None:
    line.set(values.parse_tunnel_unit(line.word()))


def _ipqos(line: Line) -> None:
    first = values.parse_ipqos(line.maybe())
    second = values.parse_ipqos(line.maybe()) if line.words else first
    line.set((first, second))


def _mask(line: Line) -> None:
    word = line.word("Missing StreamLocalBindMask argument.")
    digits = len(word) - len(word.lstrip("01234567"))
    mask = int(word[:digits], 8) if digits else -1
    if not 0 <= mask <= 0o777:
        raise ConfigError("Bad mask.")
    # ssh sets it even where the block does not apply, and the last one wins
    line.settings.put("streamlocal_bind_mask", mask, line.source)


def _hash(line: Line) -> None:
    word = line.word()
    name = word.upper()
    if name not in ("MD5", "SHA1", "SHA256", "SHA384", "SHA512"):
        raise ConfigError(f'Invalid hash algorithm "{word}".')
    line.set(name)


def _addkeys(line: Line) -> None:
    word, extra = line.maybe(), line.maybe()
    if not word:
        raise ConfigError("unsupported option")
    state = values.STATES["confirm"].get(word.lower())
    lifetime = 0
    span = extra if state == "confirm" else ("" if state or extra else word)
    if extra and state != "confirm":
        raise ConfigError("unsupported option")
    if span:
        try:
            lifetime = values.parse_number(span)
        except ValueError:
            text = "invalid time value." if extra else "unsupported option"
            raise ConfigError(text) from None
    if line.active and "add_keys_to_agent" not in line.settings.values:
        line.set(state or "yes")
        line.set(lifetime, "add_keys_lifetime")


def _agent(line: Line) -> None:
    line.set(_agent_path(line, line.word()))


def _agent_path(line: Line, word: str) -> str:
    try:
        expand_variables(word, line.environment)
    except ConfigError:
        raise ConfigError(f"Invalid environment expansion {word}.") from None
    name = word[1:]
    if word.startswith("$") and not name.startswith("{"):
        plain = name.replace("_", "a")
        if not (plain.isascii() and plain.isalnum()):
            raise ConfigError(f"Invalid environment name {word}.")
    return word


def _forwardagent(line: Line) -> None:
    word = line.word("missing argument.")
    if word.lower() in ("yes", "no", "true", "false"):
        line.set(values.parse_flag(word))
        return
    line.set(value=True)
    line.set(_agent_path(line, word), "forward_agent_path")


def _keystroke(line: Line) -> None:
    word = line.words.pop(0) if line.words else None
    if word is None:
        raise ConfigError("missing argument")
    if line.words:
        raise ConfigError("invalid arguments")
    if word in ("yes", "true", "no", "false"):
        line.set(20 if word in ("yes", "true") else 0)
    elif word.startswith("interval:"):
        interval = values.parse_integer(word[9:])
        if not 0 < interval <= 1000:
            raise ConfigError("value out of range.")
        line.set(interval)
    else:
        raise ConfigError(f'unsupported argument "{word}"')


def _timeouts(line: Line) -> None:
    words = _some(line, line.list(empty=True))
    for word in words:
        pattern, equals, span = word.partition("=")
        try:
            good = word.lower() == "none" or (pattern and equals and values.parse_number(span) >= 0)
        except ValueError:
            good = False
        if not good:
            raise FatalError(f"invalid channel timeout {word}")
    line.set(tuple(words))


def _addendum(line: Line) -> None:
    line.words.clear()
    if "\r" in line.rest:
        raise FatalError(f"Invalid {line.keyword} argument")
    text = line.rest.partition("#")[0].rstrip(" \t")
    line.set("" if text.lower() == "none" else text)


def _refuse(line: Line) -> None:
    reason = line.word()
    if line.active:
        raise FatalError(f"RefuseConnection: {reason}")


def _silent(line: Line) -> None:
    line.words.clear()


def _deprecated(line: Line) -> None:
    line.words.clear()
    line.notes.append(f'{line.source}: Deprecated option "{line.keyword}"')


KINDS: dict[str, Callable[[Line], None]] = {
    "flag": _flag,
    **{name: _state(name) for name in values.STATES},
    **{name: _names(name) for name in ("ciphers", "macs", "kex", "gss-kex", "keys", "signatures")},
    "string": _string,
    "int": _int,
    "time": _time,
    "port": _port,
    "command": _command,
    "jump": _jump,
    "identity": _identity,
    "certificate": _certificate,
    "files": _files,
    "verbose": _verbose,
    "revoked": _revoked,
    "domains": _domains,
    "cnames": _cnames,
    "sendenv": _sendenv,
    "setenv": _setenv,
    "escape": _escape,
    "loglevel": _loglevel,
    "facility": _facility,
    "local": _local,
    "remote": _remote,
    "dynamic": _dynamic,
    "permitopen": _permitopen,
    "rekey": _rekey,
    "persist": _persist,
    "tundevice": _tundevice,
    "ipqos": _ipqos,
    "mask": _mask,
    "hash": _hash,
    "addkeys": _addkeys,
    "agent": _agent,
    "forwardagent": _forwardagent,
    "keystroke": _keystroke,
    "timeouts": _timeouts,
    "addendum": _addendum,
    "refuse": _refuse,
    "silent": _silent,
    "deprecated": _deprecated,
}
