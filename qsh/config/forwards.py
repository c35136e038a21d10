"""Forwarding specifications and jump hosts: ``-L``, ``-R``, ``-D``, ``-W``, ``-J`` and ``ssh://``.

    local, remote   [listenhost:]listenport:connecthost:connectport, either side may be a path
                    udp/ before it: datagrams, between hosts and ports
    dynamic         [listenhost:]listenport
A ``[host]`` in brackets may contain colons; a backslash protects any character.
"""

from __future__ import annotations

from qsh.config.tokens import expand_variables, valid_host, valid_user
from qsh.config.values import parse_domain, parse_port
from qsh.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.config.environment import Environment

__all__ = [
    "UDP",
    "Forward",
    "Jump",
    "parse_destination",
    "parse_forward",
    "parse_jump",
    "parse_uri",
]

MAX_HOST = 1025  # NI_MAXHOST
MAX_PATH = 108  # sun_path
UDP = "udp/"  # as in tssh; a path that begins so is written ./udp/


class Forward:
    """One forwarding. A path stands instead of host and port; ``connect_host`` "socks": dynamic."""

    __slots__ = (
        "connect_host",
        "connect_path",
        "connect_port",
        "listen_host",
        "listen_path",
        "listen_port",
        "udp",
    )

    def __init__(
        self,
        listen_host: str | None = None,
        listen_port: int = 0,
        connect_host: str | None = None,
        connect_port: int = 0,
        *,
        listen_path: str | None = None,
        connect_path: str | None = None,
        udp: bool = False,
    ) -> None:
        self.udp = udp
        self.listen_host, self.listen_port, self.listen_path = listen_host, listen_port, listen_path
        self.connect_host, self.connect_port = connect_host, connect_port
        self.connect_path = connect_path

    @property
    def dynamic(self) -> bool:
        """Whether the peer chooses the target by SOCKS."""
        return self.connect_host == "socks" and self.connect_path is None

    def _fields(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Forward) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"Forward({fields})"


def _field(text: str) -> tuple[str, bool, str | None] | None:
    """The first field, whether it is a path, and the rest (None: nothing follows)."""
    if not text:
        return None
    if text[0] == "[":
        close = text.find("]")
        if close < 0 or text[close + 1 : close + 2] not in ("", ":"):
            return None
        return text[1:close], "/" in text[1:close], text[close + 2 :]
    field: list[str] = []
    is_path = False
    at = 0
    while at < len(text) and text[at] != ":":
        if text[at] == "\\":
            at += 1
            if at == len(text):
                return None
        elif text[at] == "/":
            is_path = True
        field.append(text[at])
        at += 1
    return "".join(field), is_path, text[at + 1 :]


def parse_forward(
    spec: str, environment: Environment, *, dynamic: bool = False, remote: bool = False
) -> Forward | None:
    """The forwarding that ``spec`` describes, or None if it is not one."""
    try:
        rest = expand_variables(spec, environment).lstrip(" \t\n\v\f\r")
    except ConfigError:
        return None
    udp = rest.startswith(UDP)
    if udp and dynamic:
        return None
    rest = rest.removeprefix(UDP)
    fields: list[str] = []
    paths: list[bool] = []
    while len(fields) < 4 and rest:
        parsed = _field(rest)
        if parsed is None:
            return None
        fields.append(parsed[0])
        paths.append(parsed[1])
        rest = parsed[2] or ""
    if rest or not fields:
        return None
    forward = _assemble(fields, paths, environment)
    forward.udp = udp
    if udp and (forward.listen_path is not None or forward.connect_path is not None):
        return None
    return forward if _plausible(forward, len(fields), dynamic=dynamic, remote=remote) else None


def _assemble(fields: list[str], paths: list[bool], environment: Environment) -> Forward:
    def port(word: str) -> int:
        return parse_port(word, environment.service_port)

    forward = Forward()
    if paths[0] and len(fields) < 4:
        forward.listen_path, fields = fields[0], fields[1:]
        if len(fields) == 1 and not paths[1]:  # "/path:5" is read as host and port
            forward.listen_host, forward.listen_path = forward.listen_path, None
            forward.listen_port, forward.connect_host = port(fields[0]), "socks"
            return forward
    elif len(fields) == 4 or (len(fields) == 3 and paths[2]) or (len(fields) == 2 and not paths[1]):
        forward.listen_host, forward.listen_port = fields[0], port(fields[1])
        fields = fields[2:]
    else:
        forward.listen_port, fields = port(fields[0]), fields[1:]
    if not fields:
        forward.connect_host = "socks"
    elif len(fields) == 1:
        forward.connect_path = fields[0]
    else:
        forward.connect_host, forward.connect_port = fields[0], port(fields[1])
    return forward


def _plausible(forward: Forward, count: int, *, dynamic: bool, remote: bool) -> bool:
    by_path = forward.connect_path is not None or forward.listen_path is not None
    if dynamic:
        if count > 2:
            return False
    elif (count < 3 and not by_path) or (forward.connect_port <= 0 and not forward.connect_path):
        return False
    if forward.listen_path is None and forward.listen_port < (0 if remote else 1):
        return False
    hosts = forward.listen_host or "", forward.connect_host or ""
    names = forward.listen_path or "", forward.connect_path or ""
    return max(map(len, hosts)) < MAX_HOST and max(map(len, names)) < MAX_PATH


def parse_uri(text: str, environment: Environment) -> tuple[str | None, str, int] | None:
    """(user, host, port or -1) of an ssh:// URI; None if it is not one. ValueError: a bad one."""
    if not text.startswith("ssh://"):
        return None
    user: str | None = None
    rest = text[6:]
    login, at, after = rest.partition("@")
    if at:
        user = _unquote(login.partition(";")[0])
        rest = after
        if not user:
            raise ValueError("empty user")
    host, delimiter, tail = _split_host(rest)
    host = _without_brackets(host)
    if not host or not _is_domain(host):
        raise ValueError("bad host")
    port = -1
    if delimiter == ":" and tail:
        word, _, tail = tail.partition("/")
        port = parse_port(word, environment.service_port)
        if port <= 0:
            raise ValueError("bad port")
    if tail:
        raise ValueError("a path is not allowed")
    return user, host.removesuffix("."), port


def parse_destination(text: str, environment: Environment) -> tuple[str | None, str, int]:
    """(user, host, port or -1) of ``[user@]host[:port]``. Raises ValueError."""
    user, at, rest = text.rpartition("@")
    if at and not user:
        raise ValueError("empty user")
    host, delimiter, tail = _split_host(rest)
    if not host or delimiter == "/":
        raise ValueError("bad host")
    port = -1
    if tail:
        port = parse_port(tail, environment.service_port)
        if port <= 0:
            raise ValueError("bad port")
    return (user if at else None), _without_brackets(host), port


def _split_host(text: str) -> tuple[str, str, str]:
    """Host, delimiter, tail: the host ends at the first ``:`` or ``/`` outside brackets."""
    if text.startswith("["):
        close = text.find("]")
        if close < 0 or text[close + 1 : close + 2] not in ("", ":", "/"):
            raise ValueError("bad brackets")
        end = close + 1
    else:
        end = min((at for at in (text.find(":"), text.find("/")) if at >= 0), default=len(text))
    return text[:end], text[end : end + 1], text[end + 1 :]


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _is_domain(host: str) -> bool:
    try:
        parse_domain(host)
    except ConfigError:
        return False
    return True


def _unquote(text: str) -> str:
    result = bytearray()
    at = 0
    data = text.encode("utf-8", "surrogateescape")
    while at < len(data):
        if data[at : at + 1] == b"%":
            digits = data[at + 1 : at + 3].decode("latin-1")
            if len(digits) != 2 or digits.strip("0123456789abcdefABCDEF"):
                raise ValueError("bad %XX")
            result.append(int(digits, 16))
            at += 3
            continue
        result += b" " if data[at] == 0x2B else data[at : at + 1]
        at += 1
    return result.split(b"\0")[0].decode("utf-8", "surrogateescape")


class Jump:
    """The last jump host; ``extra`` are the ones before it, as written."""

    __slots__ = ("extra", "host", "port", "user")

    def __init__(self, user: str | None, host: str, port: int, extra: str | None) -> None:
        self.user, self.host, self.port, self.extra = user, host, port, extra

    def __str__(self) -> str:
        numeric = ":" in self.host or not self.host.strip("1234567890.")
        host = f"[{self.host}]" if numeric else self.host
        user = f"{self.user}@" if self.user is not None else ""
        extra = f"{self.extra}," if self.extra is not None else ""
        return f"{extra}{user}{host}{f':{self.port}' if self.port > 0 else ''}"


def parse_jump(text: str, environment: Environment, *, strict: bool) -> Jump | None:
    """A list of jump hosts; None for ``none``. ``strict`` (the command line) checks the names.

    Raises ValueError.
    """
    if text.lower() == "none":
        return None
    text = text.partition("#")[0].rstrip(" \t\r\n\f\v")
    last: tuple[str | None, str, int] | None = None
    for hop in reversed(text.split(",")):
        parsed = parse_uri(hop, environment) or parse_destination(hop, environment)
        if strict and not (valid_host(parsed[1]) and (parsed[0] is None or valid_user(parsed[0]))):
            raise ValueError("invalid characters")
        last = last or parsed
    assert last is not None  # noqa: S101 - split gives one member at least
    extra, comma, _ = text.rpartition(",")
    return Jump(*last, extra if comma else None)
