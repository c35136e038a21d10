"""Which places a name's SRV and SVCB records lead to, in which order (docs/protocol.md 17.10), sans-IO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.wire.dns import Srv, Svcb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Service", "alias_of", "of_srv", "of_svcb"]

ALPN: Final = b"qsh/1"
_MAX: Final = 8
"""Places that are tried: each costs a head start."""


class Service(NamedTuple):
    """One place. ``hints``: addresses of the target that the record itself gives."""

    target: str
    port: int
    hints: tuple[bytes, ...] = ()


def alias_of(records: Iterable[Srv | Svcb]) -> str:
    """Where an alias (priority 0) leads: it is asked there instead; "" where there is none."""
    for each in records:
        if isinstance(each, Svcb) and not each.priority:
            return "" if each.target in (".", "?") else each.target
    return ""


def of_svcb(
    records: Iterable[Srv | Svcb], owner: str, port: int, chance: Callable[[int], int]
) -> list[Service]:
    """By priority, those of one by chance (RFC 9460 2.4.1). ``owner``: what was asked for; ``port``: where none is said.

    ``chance(n)`` is a number from 0 to n.
    """
    found = [each for each in records if isinstance(each, Svcb)]
    if not all(each.priority for each in found):
        return []  # beside an alias nothing else counts
    usable = [each for each in found if each.usable and each.target != "?" and _speaks(each)]
    ordered = sorted(_shuffled(usable, chance), key=lambda each: each.priority)
    return [
        Service(owner if each.target == "." else each.target, each.port or port, each.hints)
        for each in ordered[:_MAX]
    ]


def _speaks(record: Svcb) -> bool:
    return ALPN in record.alpn or (record.default_alpn and not record.alpn)


def of_srv(records: Iterable[Srv | Svcb], chance: Callable[[int], int]) -> list[Service]:
    """By priority, those of one by chance and weight (RFC 2782). The target "." says that there is no such service."""
    found = [each for each in records if isinstance(each, Srv)]
    usable = [each for each in found if each.port and each.target not in (".", "?")]
    ordered: list[Srv] = []
    for priority in sorted({each.priority for each in usable}):
        ordered += _weighted([each for each in usable if each.priority == priority], chance)
    return [Service(each.target, each.port) for each in ordered[:_MAX]]


def _weighted(records: Sequence[Srv], chance: Callable[[int], int]) -> list[Srv]:
    left = sorted(records, key=lambda each: each.weight)  # those without weight first
    ordered = []
    while left:
        mark = chance(sum(each.weight for each in left))
        for each in left:
            mark -= each.weight
            if mark <= 0:
                break
        left.remove(each)
        ordered.append(each)
    return ordered


def _shuffled(records: Sequence[Svcb], chance: Callable[[int], int]) -> list[Svcb]:
    left = list(records)
    return [left.pop(chance(len(left) - 1)) for _ in records]
