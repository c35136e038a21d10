"""Counts of one qshd in Prometheus' text format (exposition format 0.0.4), sans-IO.

Our own rather than prometheus_client: its import would be in the memory that every session host shares, and it answers by
threads. A test has prometheus_client's parser read what is written here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CONTENT_TYPE", "Gauges", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "qshd"


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is so now. ``memory``: resident bytes by process."""

    sessions: int
    judging: int
    unauthenticated: int
    authenticated: int
    memory: Mapping[str, int]
    penalised: int = 0
    """Sources."""


@dataclass
class Metrics:
    """What has happened since ``started_s`` (seconds since 1970)."""

    started_s: float
    logins: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By method and outcome."""
    sessions: int = 0
    fronts: int = 0
    signed: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    """Connections by what the front decided, of all fronts so far."""
    penalties: dict[str, int] = field(default_factory=dict)
    """Connections that cost their source something, by cause, of all fronts so far."""
    _before: Counter[str] = field(default_factory=Counter)
    _penalties_before: Counter[str] = field(default_factory=Counter)

    def login(self, method: str, outcome: str) -> None:
        """One was judged."""
        self.logins[method, outcome] += 1

    def front_started(self) -> None:
        """Its counts begin at nothing."""
        self.fronts += 1
        self._before = Counter(self.attempts)
        self._penalties_before = Counter(self.penalties)

    def front_counts(
        self, attempts: Mapping[str, int], penalties: Mapping[str, int] | None = None
    ) -> None:
        """What the present front has counted so far."""
        self.attempts = dict(self._before + Counter(attempts))
        self.penalties = dict(self._penalties_before + Counter(penalties or {}))

    def render(self, gauges: Gauges) -> str:
        """The page."""
        return "".join(
            (
                _family("build_info", "gauge", "Version.", [({"version": __version__}, 1)]),
                _family(
                    "start_time_seconds", "gauge", "When it was started.", [({}, self.started_s)]
                ),
                _family(
                    "logins_total",
                    "counter",
                    "Logins judged.",
                    [
                        ({"method": method, "outcome": outcome}, count)
                        for (method, outcome), count in sorted(self.logins.items())
                    ],
                ),
                _family("logins_judging", "gauge", "Logins under way.", [({}, gauges.judging)]),
                _family("sessions", "gauge", "Session hosts.", [({}, gauges.sessions)]),
                _family(
                    "sessions_total", "counter", "Session hosts started.", [({}, self.sessions)]
                ),
                _family("handshakes_total", "counter", "Handshakes signed.", [({}, self.signed)]),
                _family("fronts_total", "counter", "Fronts started.", [({}, self.fronts)]),
                _family(
                    "attempts_total",
                    "counter",
                    "Connections, by what was done with them.",
                    [({"decision": name}, n) for name, n in sorted(self.attempts.items())],
                ),
                _family(
                    "penalties_total",
                    "counter",
                    "Penalties (PerSourcePenalties), by cause.",
                    [({"cause": name}, n) for name, n in sorted(self.penalties.items())],
                ),
                _family(
                    "penalised_sources",
                    "gauge",
                    "Sources whose penalties are not over.",
                    [({}, gauges.penalised)],
                ),
                _family(
                    "connections",
                    "gauge",
                    "Connections.",
                    [
                        ({"state": "unauthenticated"}, gauges.unauthenticated),
                        ({"state": "authenticated"}, gauges.authenticated),
                    ],
                ),
                _family(
                    "resident_bytes",
                    "gauge",
                    "Resident memory.",
                    [({"process": name}, n) for name, n in sorted(gauges.memory.items())],
                ),
            )
        )


def _family(
    name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> str:
    full = f"{PREFIX}_{name}"
    lines = [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
    lines += [f"{full}{_labels(labels)} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items()) + "}"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
