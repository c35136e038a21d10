"""Values of ssh_config keywords: flags, times, numbers, ports. Errors carry OpenSSH's text."""

from __future__ import annotations

from qsh.errors import ConfigError

TYPE_CHECKING = False  # mypy takes it for True; importing typing would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FACILITIES",
    "IPQOS",
    "LOG_LEVELS",
    "STATES",
    "ipqos_name",
    "parse_domain",
    "parse_escape",
    "parse_flag",
    "parse_integer",
    "parse_ipqos",
    "parse_number",
    "parse_port",
    "parse_size",
    "parse_state",
    "parse_time",
    "parse_tunnel_unit",
    "to_integer",
]

INT_MAX = 2**31 - 1
LONGEST_NUMBER = 40  # digits; more is out of every range, and int() refuses thousands
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SCALES = "BKMGTPE"
_DIGITS = "0123456789"

_YES_NO = {"true": "yes", "false": "no", "yes": "yes", "no": "no"}

STATES: dict[str, dict[str, str]] = {
    "ask": {**_YES_NO, "ask": "ask"},
    "strict": {**_YES_NO, "ask": "ask", "off": "no", "accept-new": "accept-new"},
    "confirm": {**_YES_NO, "ask": "ask", "confirm": "confirm"},
    "family": {"inet": "inet", "inet6": "inet6", "any": "any"},
    "master": {**_YES_NO, "auto": "auto", "ask": "ask", "autoask": "autoask"},
    "tunnel": {
        "ethernet": "ethernet",
        "point-to-point": "point-to-point",
        "true": "point-to-point",
        "yes": "point-to-point",
        "false": "no",
        "no": "no",
    },
    "tty": {**_YES_NO, "force": "force", "auto": "auto"},
    "session": {"none": "none", "subsystem": "subsystem", "default": "default"},
    "canonical": {**_YES_NO, "always": "always"},
    "pubkey": {**_YES_NO, "unbound": "unbound", "host-bound": "host-bound"},
    "zlib": {"yes": "yes", "no": "no"},
    "weak": {**_YES_NO, "no-pq-kex": "no"},
    # qsh's own
    "qsh-fallback": {"exec": "exec", "no": "no"},
    "qsh-transport": {"auto": "auto", "udp": "udp", "tcp": "tcp", "ssh": "ssh"},
    "qsh-bootstrap": {**_YES_NO, "auto": "auto"},
    "qsh-sessions": {"notice": "notice", "ask": "ask", "no": "no"},
    "qsh-hangup": {"end": "end", "detach": "detach"},
    "qsh-skip": {"auto": "auto", "exact": "exact"},
    "qsh-prediction": {"adaptive": "adaptive", "always": "always", "never": "never", "no": "never"},
    "qsh-congestion": {"own": "own", "cubic": "cubic"},
}
"""For each many-valued type: the words it takes and what each means."""

LOG_LEVELS = ("QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG2", "DEBUG3")
FACILITIES = ("DAEMON", "USER", "AUTH", "AUTHPRIV", *(f"LOCAL{n}" for n in range(8)))

IPQOS = {
    "none": INT_MAX,
    "af11": 0x28,
    "af12": 0x30,
    "af13": 0x38,
    "af21": 0x48,
    "af22": 0x50,
    "af23": 0x58,
    "af31": 0x68,
    "af32": 0x70,
    "af33": 0x78,
    "af41": 0x88,
    "af42": 0x90,
    "af43": 0x98,
    "cs0": 0x00,
    "cs1": 0x20,
    "cs2": 0x40,
    "cs3": 0x60,
    "cs4": 0x80,
    "cs5": 0xA0,
    "cs6": 0xC0,
    "cs7": 0xE0,
    "ef": 0xB8,
    "le": 0x04,
    "va": 0xB0,
    "lowdelay": 0x10,
    "throughput": 0x08,
    "reliability": 0x04,
}


def parse_state(word: str, states: dict[str, str]) -> str:
    """One of several words, without regard to case."""
    if not word:
        raise ConfigError("missing argument.")
    value = states.get(word.lower())
    if value is None:
        raise ConfigError(f'unsupported option "{word}".')
    return value


def parse_flag(word: str) -> bool:
    """yes, no, true or false."""
    return parse_state(word, _YES_NO) == "yes"


def to_integer(text: str, low: int, high: int) -> int:
    """strtonum(3). Raises ValueError with its word: invalid, too small, too large."""
    body = text.lstrip(" \t\n\v\f\r")
    digits = body[1:] if body[:1] in ("+", "-") else body
    if not digits or digits.strip(_DIGITS):
        raise ValueError("invalid")
    number = int(digits[:LONGEST_NUMBER]) * (-1 if body[0] == "-" else 1)
    if number < low:
        raise ValueError("too small")
    if number > high:
        raise ValueError("too large")
    return number


def parse_integer(word: str) -> int:
    """A count from 0 to 2147483647."""
    if not word:
        raise ConfigError("integer value missing.")
    try:
        return to_integer(word, 0, INT_MAX)
    except ValueError as error:
        raise ConfigError(f"integer value {error}.") from None


def parse_number(text: str) -> int:
    """Seconds of a span such as ``90``, ``1h30m`` or ``2W``. Raises ValueError."""
    total, rest = 0, text
    if not rest:
        raise ValueError("empty time")
    while rest:
        body = rest.removeprefix("+")
        digits = len(body) - len(body.lstrip(_DIGITS))
        if not digits:
            raise ValueError("no digits")
        unit = body[digits : digits + 1].lower()
        total += int(body[: min(digits, LONGEST_NUMBER)]) * _UNITS.get(unit, 1)
        if (unit and unit not in _UNITS) or total > INT_MAX:
            raise ValueError("unknown unit or too long")
        rest = body[digits + 1 :]
    return total


def parse_time(word: str) -> int | None:
    """A time span in seconds; None for ``none``."""
    if not word:
        raise ConfigError("missing time value.")
    if word == "none":
        return None
    try:
        return parse_number(word)
    except ValueError:
        raise ConfigError("invalid time value.") from None


def parse_size(word: str) -> int:
    """Bytes with an optional scale: ``1G``, ``1.5M``."""
    body = word.lstrip(" \t")
    scale = 0
    if body and body[-1].upper() in _SCALES:
        scale = _SCALES.index(body[-1].upper())
        body = body[:-1]
    sign = -1 if body.startswith("-") else 1
    whole, _, fraction = body.lstrip("+-").partition(".")
    digits = whole + fraction
    if not digits or digits.strip(_DIGITS):
        raise ConfigError(f"Bad number '{word}': Invalid argument")
    if len(whole) > LONGEST_NUMBER:
        raise ConfigError(f"Bad number '{word}': Numerical result out of range")
    fraction = fraction[:LONGEST_NUMBER]
    value: int = sign * (int(whole + fraction) * 1024**scale // 10 ** len(fraction))
    if not -(2**63) < value < 2**63:
        raise ConfigError(f"Bad number '{word}': Numerical result out of range")
    return value


def parse_port(word: str, service_port: Callable[[str], int | None]) -> int:
    """A port number or a service name. -1: neither."""
    try:
        return to_integer(word, 0, 65535)
    except ValueError:
        port = service_port(word) if word else None
        return -1 if port is None else port


def parse_escape(word: str) -> str:
    """The escape character itself; ``none`` is the empty string."""
    if word == "none":
        return ""
    if len(word) == 1:
        return word
    if len(word) == 2 and word[0] == "^" and 64 <= ord(word[1]) < 128:
        return chr(ord(word[1]) & 31)
    raise ConfigError("Bad escape character.")


def parse_ipqos(word: str) -> int:
    """A DSCP or TOS name or a number up to 255."""
    value = IPQOS.get(word.lower())
    if value is not None:
        return value
    try:
        value = int(word, 8 if word[:1] == "0" and word[1:].isdigit() else 0)
    except ValueError:
        value = -1
    if not word or not 0 <= value <= 255:
        raise ConfigError(f"Bad IPQoS value: {word}")
    return value


def ipqos_name(value: int) -> str:
    """The name that -G prints."""
    return next((name for name, code in IPQOS.items() if code == value), f"0x{value:02x}")


def parse_tunnel_unit(word: str) -> tuple[int | None, int | None]:
    """``local[:remote]`` tunnel units; None is any."""
    first, colon, second = word.partition(":")
    return _unit(first), _unit(second) if colon else None


def _unit(word: str) -> int | None:
    if word.lower() == "any":
        return None
    try:
        return to_integer(word, 0, INT_MAX - 2)
    except ValueError:
        raise ConfigError("Bad tun device.") from None


def parse_domain(name: str) -> str:
    """A domain name in lower case without a trailing dot."""
    if not name:
        raise ConfigError("empty domain name")
    if not (name[0].isascii() and name[0].isalnum()):
        raise ConfigError(f'domain name "{name[:100]}" starts with invalid character')
    lowered = name.lower()
    if ".." in lowered:
        raise ConfigError(f'domain name "{name[:100]}" contains consecutive separators')
    if any(not (char.isascii() and (char.isalnum() or char in ".-_")) for char in lowered):
        raise ConfigError(f'domain name "{name[:100]}" contains invalid characters')
    return lowered.removesuffix(".")
