"""``qshd -T``: the options that hold, in the form of ``sshd -T`` (OpenSSH 9.2), then qshd's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.config.daemon_kinds import show_value
from qsh.config.daemon_options import DEFAULT_HOST_KEYS, DEFAULT_PORT, DaemonConfig
from qsh.config.daemon_schema import SCHEMA
from qsh.config.values import to_integer
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.config.daemon_options import DaemonOptions

__all__ = ["dump", "parse_connection"]

CONNECTION_KEYS: Final = ("addr", "user", "host", "laddr", "lport", "rdomain", "invalid-user")


def dump(
    options: DaemonConfig | DaemonOptions,
    connection: str | None = None,
    groups_of: Callable[[str], Sequence[str]] = lambda user: (),
) -> str:
    """The text of -T. ``connection`` is what -C says of one. Raises ConfigError.

    ``groups_of`` names a user's groups, for Match Group.
    """
    if isinstance(options, DaemonConfig):
        options = _for_connection(options, connection, groups_of)
    lines: list[str] = []
    for keyword in SCHEMA:
        value = getattr(options, keyword.field)
        if keyword.field == "port":
            texts = show_value(keyword.kind, value or (DEFAULT_PORT,))
        elif keyword.field == "host_key":
            texts = list(value or DEFAULT_HOST_KEYS)
        elif keyword.field == "listen_address":
            texts = _listeners(options)
        elif keyword.printed:
            texts = show_value(keyword.kind, value)
        else:
            continue
        lines += [f"{keyword.name.lower()} {text}\n" for text in texts]
    return "".join(lines)


def _listeners(options: DaemonOptions) -> list[str]:
    texts: list[str] = []
    for host, port in options.listen():
        if not host:
            texts += [f"[::]:{port}", f"0.0.0.0:{port}"]
        else:
            texts.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return texts


def _for_connection(
    config: DaemonConfig, spec: str | None, groups_of: Callable[[str], Sequence[str]]
) -> DaemonOptions:
    facts = parse_connection(spec or "")
    port = facts.get("lport")
    return config.for_connection(
        user=facts.get("user"),
        groups=groups_of(facts["user"]) if "user" in facts else (),
        host=facts.get("host"),
        address=facts.get("addr"),
        local_address=facts.get("laddr"),
        local_port=None if port is None else int(port),
    )


def parse_connection(spec: str) -> dict[str, str]:
    """``user=u,addr=a,host=h,laddr=l,lport=p`` of -C. Raises ConfigError."""
    facts: dict[str, str] = {}
    for part in spec.split(",") if spec else ():
        name, equals, value = part.partition("=")
        if name not in CONNECTION_KEYS or not (equals or name == "invalid-user"):
            raise ConfigError(f"Invalid test mode specification {part}")
        facts[name] = value
    if "lport" in facts:
        try:
            to_integer(facts["lport"], 1, 65535)
        except ValueError:
            raise ConfigError(
                f"Invalid port '{facts['lport']}' in test mode specification"
            ) from None
    return facts
