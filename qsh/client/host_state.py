"""What the client remembers of each host: its RTT, whether QUIC ever answered, which key let us in.

Files in ~/.local/state/qsh/hosts (0700/0600), one small text of ``name value`` lines each. They
only make things faster or messages clearer, so every failure to read or write them is ignored.
"""

from __future__ import annotations

import binascii
import contextlib
import os
from typing import Final, NamedTuple

__all__ = ["HostState", "has_any", "load", "place", "read", "replace", "save"]

_MAX_FILE: Final = 4096
_MAX_RTT_MS: Final = 60_000.0
_MAX_ADDRESS: Final = 128
_SAME_RTT: Final = 0.25


class HostState(NamedTuple):
    """One host and port."""

    rtt_ms: float = 0.0
    """Round-trip time at the end of the last connection; 0: never connected."""
    answered: bool = False
    """A qshd has answered here once."""
    key: str = ""
    """Mark of the key that last logged in (:attr:`qsh.client.identities.Candidate.mark`)."""

    address: str = ""
    """Where it answered last."""
    instance: str = ""
    """The user's own qshd on that host, started through ssh: its port and its keys (``PORT TYPE BASE64 …``)."""

    def is_like(self, other: HostState) -> bool:
        """The difference is not worth a write."""
        near = abs(self.rtt_ms - other.rtt_ms) <= _SAME_RTT * max(self.rtt_ms, other.rtt_ms)
        return near and self._replace(rtt_ms=0.0) == other._replace(rtt_ms=0.0)


def place(kind: str, name: bytes) -> str:
    """The file of what has this name. A host name is not a file name: the file is named by two checksums of it.

    Loading hashlib would take longer than all the rest here; should two hosts meet in one file,
    the worst is a wrong guess at the round-trip time.
    """
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    file = f"{binascii.crc32(name):08x}{binascii.crc32(name[::-1]):08x}"
    return os.path.join(base, "qsh", kind, file)


def has_any(kind: str) -> bool:
    """Whether anything of this kind was ever written."""
    return os.path.isdir(os.path.dirname(place(kind, b"")))


def read(path: str) -> list[tuple[str, str]]:
    """Names and values; nothing where nothing can be read."""
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return []
    pairs = (line.partition(" ") for line in text.splitlines())
    return [(name, value) for name, _, value in pairs]


def _path(user: str, host: str, port: int) -> str:
    name = f"{user}@[{host.lower()}]:{port}"
    return place("hosts", name.encode("utf-8", "surrogateescape"))


def load(user: str, host: str, port: int) -> HostState:
    """What is remembered; an empty state when nothing is."""
    state = HostState()
    for name, value in read(_path(user, host, port)):
        if name == "rtt_ms":
            with contextlib.suppress(ValueError):
                rtt_ms = float(value)
                state = state._replace(rtt_ms=rtt_ms if 0 < rtt_ms < _MAX_RTT_MS else 0.0)
        elif name == "answered":
            state = state._replace(answered=value == "yes")
        elif name == "key":
            state = state._replace(key=value.strip()[:128])
        elif name == "address":
            state = state._replace(address=value.strip()[:_MAX_ADDRESS])
        elif name == "instance":
            state = state._replace(instance=value.strip())
    return state


def save(user: str, host: str, port: int, state: HostState) -> None:
    """Replace what was remembered, atomically."""
    lines = [f"rtt_ms {state.rtt_ms:.1f}", f"answered {'yes' if state.answered else 'no'}"]
    lines += [f"key {state.key}"] if state.key else []
    lines += [f"instance {state.instance}"] if state.instance else []
    lines += [f"address {state.address}"] if state.address else []
    replace(_path(user, host, port), lines)


def replace(path: str, lines: list[str]) -> None:
    """Write a file anew; whoever reads it meets either the old one or the new one, whole."""
    scratch = f"{path}.{os.getpid()}"
    with contextlib.suppress(OSError):
        try:
            fd = _create(scratch)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
            fd = _create(scratch)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))
            os.replace(scratch, path)
        except OSError:  # the disk is full
            os.unlink(scratch)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
