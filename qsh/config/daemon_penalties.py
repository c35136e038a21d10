"""PerSourcePenalties: its words, what they come to, and how ``qshd -T`` prints that (OpenSSH 9.8 and later)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from qsh.config.values import INT_MAX, to_integer
from qsh.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CAUSES", "PenaltyRules", "check_words", "penalty_rules", "show_words"]

CAUSES: Final = (
    "crash",
    "authfail",
    "noauth",
    "invaliduser",
    "grace-exceeded",
    "refuseconnection",
)
TIMES: Final = (*CAUSES, "max", "min")
COUNTS: Final = ("max-sources4", "max-sources6")
MODES: Final = ("overflow", "overflow6")
DENY_ALL, PERMISSIVE = "deny-all", "permissive"
UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN: Final = re.compile(r"(\d{1,10}(?:\.\d{0,9})?|\.\d{1,9})([smhdw]?)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PenaltyRules:
    """What holds; times are seconds, the names the keyword's own."""

    enabled: bool = True
    crash: float = 90.0
    authfail: float = 5.0
    noauth: float = 1.0
    invaliduser: float = 5.0
    grace_exceeded: float = 10.0
    refuseconnection: float = 10.0
    max: float = 600.0
    min: float = 15.0
    max_sources4: int = 65536
    max_sources6: int = 65536
    overflow: str = PERMISSIVE
    overflow6: str = PERMISSIVE

    def seconds(self, cause: str) -> float:
        """What one of CAUSES costs."""
        return float(getattr(self, cause.replace("-", "_")))

    @property
    def longest(self) -> float:
        """That a source may have against it. One cause may cost more than what adds up."""
        return max(self.max, *(self.seconds(cause) for cause in CAUSES))


def check_words(keyword: str, words: Sequence[str]) -> None:
    """One line's. Raises ConfigError with sshd's text."""
    for word in words:
        name, colon, value = word.partition(":")
        if word.lower() in ("yes", "no"):
            if word != words[-1]:
                raise ConfigError(f'keyword {keyword} "{word}" argument must appear alone.')
        elif colon and name in TIMES:
            if _span(value) is None:
                raise ConfigError(f"invalid {keyword} time value.")
        elif colon and name in COUNTS:
            try:
                to_integer(value, 0, INT_MAX)
            except ValueError as error:
                raise ConfigError(f"{keyword} value {error}.") from None
        elif name not in MODES or value not in (DENY_ALL, PERMISSIVE):
            raise ConfigError(f"unsupported {keyword} keyword {word}")


def penalty_rules(words: Sequence[str]) -> PenaltyRules:
    """Of all lines together, checked: the first word of a name counts; one that says how much switches penalties on."""
    enabled, values = None, dict[str, float | int | str]()
    for word in words:
        name, _, value = word.partition(":")
        if word.lower() in ("yes", "no"):
            enabled = word.lower() == "yes" if enabled is None else enabled
        elif (field := name.replace("-", "_")) not in values:
            enabled = True
            if name in TIMES:
                values[field] = _span(value) or 0.0
            else:
                values[field] = int(value) if name in COUNTS else value
    values.setdefault("overflow6", values.get("overflow", PERMISSIVE))
    return PenaltyRules(enabled is not False, **values)  # type: ignore[arg-type]


def show_words(words: Sequence[str]) -> list[str]:
    """For -T."""
    rules = penalty_rules(words)
    if not rules.enabled:
        return ["no"]
    shown = {name.replace("_", "-"): value for name, value in asdict(rules).items()}
    del shown["enabled"]
    parts = (
        f"{name}:{value:f}" if isinstance(value, float) else f"{name}:{value}"
        for name, value in shown.items()
    )
    return [" ".join(parts)]


def _span(text: str) -> float | None:
    """Seconds of ``90``, ``1h30m`` or ``2.5m``; None for what is no time."""
    total, at = 0.0, 0
    while at < len(text) and (part := _SPAN.match(text, at)):
        total += float(part[1]) * UNITS[part[2].lower()]
        at = part.end()
    return total if text and at == len(text) and total <= INT_MAX else None
