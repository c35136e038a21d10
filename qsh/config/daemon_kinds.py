"""Values of qshd_config's keywords: what each kind takes, and what ``qshd -T`` prints of it.

A kind takes its words off ``Line.words``; what it leaves is "extra arguments". Errors carry
OpenSSH's text (servconf.c).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from qsh.config.address import check_networks
from qsh.config.algorithms import assemble, check_names
from qsh.config.daemon_penalties import check_words, show_words
from qsh.config.tokens import Tokens, expand
from qsh.config.values import (
    FACILITIES,
    LOG_LEVELS,
    ipqos_name,
    parse_flag,
    parse_integer,
    parse_ipqos,
    parse_number,
    parse_size,
    parse_state,
    to_integer,
)
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Line", "parse_value", "show_value"]

_YES_NO: Final = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_FORWARDING: Final = {**_YES_NO, "all": "yes", "remote": "remote", "local": "local"}
CHOICES: Final[dict[str, dict[str, str]]] = {
    "family": {"inet": "inet", "inet6": "inet6", "any": "any"},
    "root": {
        **_YES_NO,
        "without-password": "prohibit-password",
        "prohibit-password": "prohibit-password",
        "forced-commands-only": "forced-commands-only",
    },
    "rhosts": {**_YES_NO, "shosts-only": "shosts-only"},
    "compression": {**_YES_NO, "delayed": "yes"},
    "gateway": {**_YES_NO, "clientspecified": "clientspecified"},
    "forwarding": _FORWARDING,
    "congestion": {"own": "own", "cubic": "cubic"},
    "record": {"no": "no", "open": "open", "closed": "closed"},
    "log_format": {"auto": "auto", "text": "text", "json": "json", "journal": "journal"},
    "digest": {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha384": "SHA384"}
    | {"sha512": "SHA512"},
}
"""For each choice: the words it takes and what each means."""

_SHOWN: Final = {"prohibit-password": "without-password"}
TUNNELS: Final = ("no", "point-to-point", "ethernet", "yes")
METHODS: Final = (
    "none",
    "publickey",
    "gssapi-with-mic",
    "gssapi-keyex",
    "password",
    "keyboard-interactive",
    "hostbased",
)
KEY_OPTIONS: Final = ("touch-required", "verify-required")
RECORD_TOKENS: Final = Tokens({"u": "", "U": "", "t": ""}, "uUt")
KEY_FILE_TOKENS: Final = Tokens({"h": "", "u": "", "U": ""}, "huU")


class Line:
    """One line's arguments: the ``words`` not yet taken, and all of it as it was written."""

    __slots__ = ("keyword", "rest", "words")

    def __init__(self, keyword: str, words: list[str], rest: str) -> None:
        self.keyword, self.words, self.rest = keyword, words, rest

    def word(self, complaint: str = "missing argument.") -> str:
        """The next word, which may not be missing or empty."""
        word = self.words.pop(0) if self.words else ""
        if not word:
            raise ConfigError(complaint)
        return word

    def all(self) -> list[str]:
        """All words that are left."""
        words = self.words[:]
        self.words.clear()
        if not words:
            raise ConfigError(f"no {self.keyword} specified")
        return words


def parse_value(kind: str, line: Line) -> Any:
    """The value that a line gives to a keyword of this kind. Raises ConfigError."""
    name, _, detail = kind.partition(":")
    return _PARSERS[name](line, detail)


def show_value(kind: str, value: Any) -> list[str]:
    """What -T prints after the keyword, one text per line. Raises ConfigError for an empty list of
    algorithms."""
    name, _, detail = kind.partition(":")
    if name == "algorithms":
        return [assemble(detail, value)]
    return _WRITERS.get(name, _plain)(value)


# -- single words ----------------------------------------------------------------------------------


def _flag(line: Line, _: str) -> bool:
    return parse_flag(line.word())


def _choice(line: Line, detail: str) -> str:
    word = line.word()
    if detail == "digest" and word.lower() not in CHOICES[detail]:
        raise ConfigError(f'Invalid {line.keyword} algorithm "{word}".')
    return parse_state(word, CHOICES[detail])


def _integer(line: Line, _: str) -> int:
    try:
        return parse_integer(line.words.pop(0) if line.words else "")
    except ConfigError as error:
        raise ConfigError(f"{line.keyword} {error.text}") from None


def _count(line: Line, _: str) -> int | None:
    if line.words and line.words[0] == "none":
        line.words.pop(0)
        return None
    return _integer(line, "")


def _tcp_port(line: Line, _: str) -> int:
    word = line.word("missing port number.")
    if word == "none":
        return 0
    try:
        return to_integer(word, 1, 65535)
    except ValueError:
        raise ConfigError("Badly formatted port number.") from None


def _seconds(line: Line, _: str) -> int:
    word = line.word("missing time value.")
    try:
        return parse_number(word)
    except ValueError:
        raise ConfigError("invalid time value.") from None


def _timeout(line: Line, _: str) -> int:
    if line.words and line.words[0].lower() == "none":
        line.words.pop(0)
        return 0
    return _seconds(line, "")


def _octal(line: Line, _: str) -> int:
    digits = re.match("[0-7]+", line.word(f"{line.keyword} missing argument."))
    if digits is None or int(digits[0][:40], 8) > 0o777:
        raise ConfigError(f"Invalid {line.keyword}.")
    return int(digits[0][:40], 8)


def _file(line: Line, _: str) -> str:
    return _none(line.word("missing file name."))


def _path(line: Line, _: str) -> str:
    """Relative to the present directory (misc.c: derelativise_path): qshd goes to another."""
    word = _none(line.word("missing file name."))
    if word == "none" or word.startswith("/"):
        return word
    try:
        return os.path.join(os.getcwd(), word)
    except OSError as error:
        raise ConfigError(f"{line.keyword} {word}: {error.strerror}") from None


def _record_path(line: Line, _: str) -> str:
    word = line.word("missing file name.")
    if not word.startswith("/") or word.endswith("/"):
        raise ConfigError(f"{line.keyword} must be the absolute path of a file")
    if ".." in word.split("/"):
        raise ConfigError(f"{line.keyword} may not have .. in it")
    expand(word, RECORD_TOKENS)
    return word


def _paths(line: Line, _: str) -> tuple[str, ...]:
    return (_path(line, _),)


def _word(line: Line, _: str) -> str:
    return _none(line.word(f"missing {line.keyword} argument."))


def _internal(line: Line, _: str) -> str:
    word = line.word()
    return "internal" if word.lower() == "internal" else _none(word)


def _algorithms(line: Line, detail: str) -> str:
    spec = line.word("Missing argument.")
    check_names(detail, spec)
    return spec


def _log_level(line: Line, _: str) -> str:
    word = line.words.pop(0) if line.words else ""
    level = "DEBUG" if word.upper() == "DEBUG1" else word.upper()
    if level not in LOG_LEVELS:
        raise ConfigError(f"unsupported log level '{word}'")
    return level


def _facility(line: Line, _: str) -> str:
    word = line.words.pop(0) if line.words else ""
    if word.upper() not in (*FACILITIES, "USER"):
        raise ConfigError(f"unsupported log facility '{word}'")
    return word.upper()


def _tunnel(line: Line, _: str) -> str:
    word = line.word(f"{line.keyword} missing argument.")
    if word not in TUNNELS:
        raise ConfigError(f"bad {line.keyword} argument {word}")
    return word


def _user_environment(line: Line, _: str) -> bool | str:
    word = line.word(f"{line.keyword} missing argument.")
    return {"yes": True, "no": False}.get(word, word)


def _none(word: str) -> str:
    return "none" if word.lower() == "none" else word


# -- the rest of the line as it is -----------------------------------------------------------------


def _line(line: Line, _: str) -> str:
    line.words.clear()
    return _none(line.rest)


def _command(line: Line, _: str) -> str:
    command = _line(line, "")
    if not command.startswith("/") and command != "none":
        raise ConfigError(f"{line.keyword} must be an absolute path")
    return command


def _addendum(line: Line, _: str) -> str:
    line.words.clear()
    if "\r" in line.rest:
        raise ConfigError(f"Invalid {line.keyword} argument")
    return _none(line.rest.partition("#")[0].rstrip()) or "none"


# -- several words ---------------------------------------------------------------------------------


def _words(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    if "" in words:
        raise ConfigError(f"keyword {line.keyword} empty argument")
    return tuple(words)


def _users(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    for word in words:
        try:
            check_networks(word.rpartition("@")[2] if "@" in word else "")
        except ConfigError:
            raise ConfigError(f'invalid {line.keyword} pattern: "{word}"') from None
    return _names_of(line, words)


def _names(line: Line, _: str) -> tuple[str, ...]:
    return _names_of(line, line.all())


def _names_of(line: Line, words: list[str]) -> tuple[str, ...]:
    if "" in words:
        raise ConfigError(f'invalid {line.keyword} pattern: ""')
    return tuple(words)


def _env_names(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    if any(not word or "=" in word for word in words):
        raise ConfigError("Invalid environment name.")
    return tuple(words)


def _settings(line: Line, _: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in line.all():
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ConfigError("Invalid environment.")
        found.setdefault(name, value)
    return found


def _key_files(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    if "" in words:
        raise ConfigError(f"keyword {line.keyword} empty argument")
    if any(word.lower() == "none" for word in words):
        if len(words) > 1:
            raise ConfigError(f'keyword {line.keyword} "none" argument must appear alone.')
        return ("none",)
    for word in words:
        expand(word, KEY_FILE_TOKENS)
    return tuple(words)


def _methods(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    if "any" in words and len(words) > 1:
        raise ConfigError(f'"any" must appear alone in {line.keyword}')
    for word in words:
        names = [method.partition(":")[0] for method in word.split(",")]
        if word != "any" and any(name not in METHODS for name in names):
            raise ConfigError(f"invalid {line.keyword} method list.")
    return tuple(words)


def _timeouts(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    if [word.lower() for word in words] == ["none"]:
        return ()
    for word in words:
        name, equals, interval = word.partition("=")
        try:
            parse_number(interval)
        except ValueError:
            equals = ""
        if not name or not equals:
            raise ConfigError(f"invalid channel timeout {word}")
    return tuple(words)


def _key_options(line: Line, _: str) -> tuple[str, ...]:
    words = [word.lower() for word in line.all()]
    for word in words:
        if word not in (*KEY_OPTIONS, "none"):
            raise ConfigError(f"unsupported {line.keyword} option {word}")
    return tuple(option for option in KEY_OPTIONS if option in words)


# -- numbers and addresses -------------------------------------------------------------------------


def _port(line: Line, _: str) -> tuple[int, ...]:
    try:
        return (to_integer(line.word("missing port number."), 1, 65535),)
    except ValueError:
        raise ConfigError("Badly formatted port number.") from None


def _listen(line: Line, _: str) -> tuple[tuple[str, int], ...]:
    word = line.word("missing address")
    if line.words and line.words[0] == "rdomain":
        raise ConfigError("bad routing domain")  # only OpenBSD has them
    if "[" not in word and word.count(":") > 1:
        return ((word, 0),)
    split = re.fullmatch(r"(?:\[([^]]*)\]|([^:/[\]]*))(?::(.*))?", word)
    host = (split[1] or split[2] or "") if split else ""
    if split is None or not host:
        raise ConfigError("bad address:port usage")
    if split[3] is None:
        return ((host, 0),)
    try:
        return ((host, to_integer(split[3], 1, 65535)),)
    except ValueError:
        raise ConfigError("bad port number") from None


def _startups(line: Line, _: str) -> tuple[int, int, int]:
    word = line.word(f"{line.keyword} missing argument.")
    parts = re.fullmatch(r"(\d{1,9})(?::(\d{1,9}):(\d{1,9}))?", word, re.ASCII)
    if parts is not None:
        start = int(parts[1])
        rate, full = (int(parts[2]), int(parts[3])) if parts[2] else (30, start)
        if 0 < start <= full and 1 <= rate <= 100:
            return start, rate, full
    raise ConfigError(f"Invalid {line.keyword} spec.")


def _netblock(line: Line, _: str) -> tuple[int, int]:
    """sshd 9.2 takes a lone IPv4 size as 0 bits of IPv6, one block; here IPv6 keeps its default."""
    word = line.word(f"{line.keyword} missing argument.")
    parts = re.fullmatch(r"(\d{1,3})(?::(\d{1,3}))?", word, re.ASCII)
    if parts is None or int(parts[1]) > 32 or int(parts[2] or 0) > 128:
        raise ConfigError(f"Invalid {line.keyword} spec.")
    return int(parts[1]), int(parts[2] or 64)


def _networks(line: Line, _: str) -> str:
    word = line.word("missing argument.")
    try:
        check_networks(word)
    except ConfigError:
        raise ConfigError(f"keyword {line.keyword} invalid address argument.") from None
    return word


def _penalties(line: Line, _: str) -> tuple[str, ...]:
    words = line.all()
    check_words(line.keyword, words)
    return tuple(words)


def _ipqos(line: Line, _: str) -> tuple[int, int]:
    first = line.word(f"{line.keyword} missing argument.")
    second = line.words.pop(0) if line.words else first
    return parse_ipqos(first), parse_ipqos(second)


def _rekey(line: Line, _: str) -> tuple[int, int]:
    word = line.word(f"{line.keyword} missing argument.")
    size = 0
    if word != "default":
        try:
            size = parse_size(word)
        except ConfigError as error:
            raise ConfigError(error.text.replace("Bad", f"Bad {line.keyword}", 1)) from None
        if size and size < 16:
            raise ConfigError(f"{line.keyword} too small")
    return size, _timeout(line, "") if line.words else 0


def _permits(line: Line, detail: str) -> tuple[str, ...]:
    words = line.all()
    found = []
    for word in words:
        if word in ("any", "none"):
            if len(words) > 1:
                raise ConfigError(f"{word} must appear alone on a {line.keyword} line.")
            return () if word == "any" else ("none",)
        spec = f"*:{word}" if detail == "listen" and ":" not in word else word
        split = re.fullmatch(r"(?:\[[^]]*\]|[^:[\]]*):(.*)", spec)
        try:
            if split is None or split[1] != "*":
                to_integer(split[1] if split else "", 1, 65535)
        except ValueError:
            raise ConfigError(f"{line.keyword} bad port number") from None
        found.append(spec)
    return tuple(found)


def _subsystem(line: Line, _: str) -> dict[str, str]:
    name = line.word("Missing subsystem name.")
    if not line.words or not line.words[0]:
        raise ConfigError("Missing subsystem command.")
    return {name: " ".join(line.all())}


_PARSERS: Final[Mapping[str, Callable[[Line, str], Any]]] = {
    "addendum": _addendum,
    "algorithms": _algorithms,
    "choice": _choice,
    "command": _command,
    "count": _count,
    "env_names": _env_names,
    "facility": _facility,
    "file": _file,
    "flag": _flag,
    "integer": _integer,
    "internal": _internal,
    "ipqos": _ipqos,
    "key_files": _key_files,
    "key_options": _key_options,
    "line": _line,
    "listen": _listen,
    "log_level": _log_level,
    "methods": _methods,
    "names": _names,
    "netblock": _netblock,
    "networks": _networks,
    "octal": _octal,
    "path": _path,
    "paths": _paths,
    "penalties": _penalties,
    "permits": _permits,
    "port": _port,
    "record_path": _record_path,
    "rekey": _rekey,
    "seconds": _seconds,
    "settings": _settings,
    "startups": _startups,
    "subsystem": _subsystem,
    "tcp_port": _tcp_port,
    "timeout": _timeout,
    "timeouts": _timeouts,
    "tunnel": _tunnel,
    "user_environment": _user_environment,
    "users": _users,
    "word": _word,
    "words": _words,
}


# -- what -T prints --------------------------------------------------------------------------------


def _plain(value: Any) -> list[str]:
    return [_SHOWN.get(str(value), str(value))]


def _yes_no(value: Any) -> list[str]:
    return [{True: "yes", False: "no"}.get(value, str(value))]


def _each(value: Any) -> list[str]:
    return [str(one) for one in value]


def _together(value: Any) -> list[str]:
    return [" ".join(value)] if value else []


def _colons(value: Any) -> list[str]:
    return [":".join(str(number) for number in value)]


_WRITERS: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "count": lambda value: ["none" if value is None else str(value)],
    "env_names": _each,
    "flag": _yes_no,
    "ipqos": lambda value: [" ".join(ipqos_name(code) for code in value)],
    "key_files": _together,
    "key_options": lambda value: [" ".join(value) or "none"],
    "methods": lambda value: [" ".join(value) or "any"],
    "names": _each,
    "netblock": _colons,
    "octal": lambda value: [f"0{value:o}"],
    "paths": _each,
    "penalties": show_words,
    "permits": lambda value: [" ".join(value) or "any"],
    "port": _each,
    "rekey": lambda value: [f"{value[0]} {value[1]}"],
    "settings": lambda value: [f"{name}={text}" for name, text in value.items()],
    "startups": _colons,
    "subsystem": lambda value: [f"{name} {command}" for name, command in value.items()],
    "tcp_port": lambda value: [str(value) if value else "none"],
    "timeout": lambda value: [str(value) if value else "none"],
    "timeouts": _together,
    "user_environment": _yes_no,
    "users": _each,
    "words": _together,
}
