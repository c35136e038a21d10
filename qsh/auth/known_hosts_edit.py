"""Changing a known_hosts file: what UpdateHostKeys and ``ssh-keygen -R`` do (hostfile.c,
hostfile_replace_entries)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.auth.known_hosts import Line, format_line, parse_line
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.auth.keys import PublicKey

__all__ = ["replace_entries"]


def replace_entries(
    text: str,
    name: str,
    keys: Sequence[PublicKey],
    *,
    address: str | None = None,
    hashed: bool = False,
) -> str | None:
    """The file's new text: ``name`` (and ``address``) stand for exactly ``keys``; None when nothing
    changes.

    Lines with a marker, comments and lines that cannot be read stay. A line that holds one of
    ``keys`` stays as it is, also when it lists other names. No keys: the host is removed.
    """
    wanted = [n.lower() for n in ((name, address) if address else (name,))]
    kept: list[str] = []
    matched: dict[PublicKey, set[str]] = {key: set() for key in keys}
    removed = False
    body = text.removesuffix("\n")
    for number, raw in enumerate(body.split("\n") if body else (), 1):
        line = _line(number, raw)
        hits = {n for n in wanted if line and not line.marker and line.matches(n)}
        if not line or not hits:
            kept.append(raw)
            continue
        try:
            key = line.key()
        except KeyFormatError:
            kept.append(raw)
            continue
        if key in matched:
            matched[key] |= hits
            kept.append(raw)
        else:
            removed = True
    lacking = {key: [n for n in wanted if n not in names] for key, names in matched.items()}
    added = "".join(format_line(names, key, hashed) for key, names in lacking.items() if names)
    if not removed and not added:
        return None
    return "".join(f"{line}\n" for line in kept) + added


def _line(number: int, raw: str) -> Line | None:
    try:
        return parse_line("", number, raw)
    except KeyFormatError:
        return None
