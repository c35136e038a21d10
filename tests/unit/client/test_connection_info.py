"""How a connection does, in lines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qsh.auth.private import generate_ed25519
from qsh.client.connection_info import connection_info, duration, figures, path_lines, rate
from qsh.client.path_history import PathHistory


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (3723.9, "01:02:03"),
        (90000, "1d01h00m"),
        (8 * 86400 + 3600, "01w1d01h"),
        (-1, "00:00:00"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines() -> None:
    stats = {
        "rtt_us": 40_123,
        "lost_packets": 1,
        "sent_packets": 200,
        "received_packets": 7,
        "sent_bytes": 9,
        "received_bytes": 8,
        "mtu": 1452,
        "cwnd": 14520,
    }
    assert path_lines(stats) == [
        "  round trip 40.1 ms, lost 1 of 200 packets (0.5 %)",
        "  path mtu 1452 bytes, congestion window 14520 bytes",
        "  traffic 7 packets 8 bytes in, 200 packets 9 bytes out",
    ]
    assert "lost 0 of 0 packets (0.0 %)" in path_lines(dict.fromkeys(stats, 0))[0]
    queued = path_lines({**stats, "shortest_rtt_us": 30_023})
    assert queued[0].startswith("  round trip 40.1 ms (10.1 ms of it in queues), lost")


@pytest.mark.parametrize(
    ("per_s", "text"), [(0, "0 B/s"), (999, "999 B/s"), (1500, "1.5 kB/s"), (2.5e7, "25.0 MB/s")]
)
def test_rate(per_s: float, text: str) -> None:
    assert rate(per_s) == text


def connection(carried: tuple[str, str] | None = None) -> Any:
    """One that says so much of itself."""
    stats = ("rtt_us", "shortest_rtt_us", "lost_packets", "sent_packets", "received_packets")
    more = ("sent_bytes", "received_bytes", "mtu", "cwnd", "delivered_bytes", "in_flight")
    return SimpleNamespace(
        remote_address=("192.0.2.1", 22),
        local_ip=None,
        peer_key=generate_ed25519("host")[1].spki(),
        stats=lambda: dict.fromkeys(stats + more, 0),
        endpoint=SimpleNamespace(local_address=("0.0.0.0", 4000), carried=carried),
    )


@pytest.mark.parametrize(
    ("carried", "line"),
    [
        (None, "udp *:4000 -> 192.0.2.1:22"),
        (("tcp", "192.0.2.1:443"), "tcp * -> 192.0.2.1:443"),
        (("ssh", "host"), "ssh * -> host"),
    ],
)
def test_what_carries_it(carried: tuple[str, str] | None, line: str) -> None:
    assert f"  {line}\r\n" in connection_info(connection(carried), PathHistory(), 1.0)
    told = figures(connection(carried), PathHistory(), 1.0)
    assert f"{told['transport']} {told['local']} -> {told['remote']}" == line


def test_what_has_arrived_is_told() -> None:
    stats = {**connection().stats(), "delivered_bytes": 4711, "in_flight": 12}
    assert path_lines(stats)[2].endswith(" out (4711 arrived, 12 under way)")


def test_silence_is_told() -> None:
    assert "  no answer for 22 s\r\n" in connection_info(connection(), PathHistory(), 60.0, 22.4)
    assert "no answer" not in connection_info(connection(), PathHistory(), 60.0, 1.0)
    assert figures(connection(), PathHistory(), 60.0, 22.4)["unanswered_s"] == 22
