"""UDP is blocked: the time from start to the first byte of a command through qshd's TCP port, beside open UDP and ssh.

``first``: nothing is known of this network. ``again``: the way is remembered. Goal: the time of open UDP + 1 RTT + 300 ms.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

from bench.stage import summary
from bench.tables import markdown_table
from tests.support.forwarding import free_tcp_port
from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BLOCK_UDP", "COMMAND", "RTT_MS", "first_byte_ms", "measure", "table"]

RTT_MS = 100
BLOCK_UDP = """\
add table inet t
add chain inet t c { type filter hook input priority 0; }
add rule inet t c meta l4proto udp iif wan0 drop
"""
COMMAND = "echo ready"
BEYOND_MS = RTT_MS + 300


def measure(repetitions: int) -> list[dict[str, Any]]:
    with LoginUser() as user, Files(user.name) as files, Network.link(delay_ms=RTT_MS / 2) as net:
        port = free_tcp_port()
        with (
            Daemon.qshd(files, side=net.server, options=("-o", f"QshTcpPort={port}")) as qshd,
            Daemon.sshd(files, side=net.server) as sshd,
        ):
            host, options = net.server.ip4, ("-o", f"QshTcpPort={port}", "-o", "QshFallback=no")
            qsh = net.client.argv(files.qsh(host, qshd.port, COMMAND, options=options))
            ssh = net.client.argv(files.ssh(host, sshd.port, COMMAND))
            memory = files.home / "state" / "qsh" / "transports"
            names = ("ssh", "qsh, UDP open", "qsh, UDP blocked, first", "qsh, UDP blocked, again")
            times: dict[str, list[float]] = {name: [] for name in names}
            first_byte_ms(files.env, qsh)  # what is compiled, is compiled
            for _ in range(repetitions):
                times["ssh"].append(first_byte_ms(files.env, ssh))
                times["qsh, UDP open"].append(first_byte_ms(files.env, qsh))
                net.server.run(["nft", BLOCK_UDP], check=True)
                times["qsh, UDP blocked, first"].append(first_byte_ms(files.env, qsh))
                times["qsh, UDP blocked, again"].append(first_byte_ms(files.env, qsh))
                net.server.run(["nft", "flush ruleset"], check=True)
                for file in memory.iterdir():
                    file.unlink()
    rows = [{"tool": n, "rtt_ms": RTT_MS, "first_byte_ms": summary(t)} for n, t in times.items()]
    goal_ms = round(rows[1]["first_byte_ms"]["median"] + BEYOND_MS)
    return [{**row, "goal_ms": goal_ms if "blocked" in row["tool"] else None} for row in rows]


def first_byte_ms(env: Mapping[str, str], words: list[str]) -> float:
    """From the start of ``words``, a client that runs :data:`COMMAND`."""
    start = time.perf_counter()
    with subprocess.Popen(
        words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as client:
        assert client.stdout is not None
        first = client.stdout.read(1)
        took_ms = (time.perf_counter() - start) * 1000
        client.communicate()
    if first != b"r":
        raise SystemExit(f"bench: no answer from {words}")
    return took_ms


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        (f"UDP blocked, {rows[0]['rtt_ms']} ms RTT", "first byte ms, median (min–max)", "goal"),
        [
            (
                row["tool"],
                f"{row['first_byte_ms']['median']:.0f}"
                f" ({row['first_byte_ms']['min']:.0f}–{row['first_byte_ms']['max']:.0f})",
                "–" if row["goal_ms"] is None else f"≤ {row['goal_ms']}",
            )
            for row in rows
        ],
    )
