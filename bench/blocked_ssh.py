"""UDP is blocked: the time from start to the first byte of a command, through SSH, beside ssh itself.

``started`` has no instance on the host yet; ``auto`` is a host whose qshd has answered before the network changed.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from bench.blocked import BLOCK_UDP, COMMAND, RTT_MS, first_byte_ms
from bench.stage import summary
from tests.support.netns import Network
from tests.support.ssh_host import SshHost

__all__ = ["measure"]

BY_SSH = ("-oQshTransport=ssh",)


def measure(repetitions: int) -> list[dict[str, Any]]:
    with Network.link(delay_ms=RTT_MS / 2) as net, SshHost(net) as host:
        net.server.run(["nft", BLOCK_UDP], check=True)
        ssh = net.client.argv(host.files.ssh(host.address, host.sshd.port, COMMAND))
        ways = {
            "ssh": ssh,
            "qsh, QshTransport ssh, started": host.words(COMMAND, options=BY_SSH),
            "qsh, QshTransport ssh": host.words(COMMAND, options=BY_SSH),
            "qsh, auto": host.words(COMMAND, options=("-oQshFallback=exec",)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        first_byte_ms(host.env, ways["qsh, QshTransport ssh"])  # what is compiled, is compiled
        _say_that_it_answered(host)
        for _ in range(repetitions):
            for name, words in ways.items():
                if name.endswith("started"):
                    _end_instance(host)
                times[name].append(first_byte_ms(host.env, words))
    rows = [{"tool": n, "rtt_ms": RTT_MS, "first_byte_ms": summary(t)} for n, t in times.items()]
    goal = 1.1 * rows[0]["first_byte_ms"]["median"] + 3 * RTT_MS + 600
    return [{**row, "goal_ms": None if row["tool"] == "ssh" else round(goal)} for row in rows]


def _end_instance(host: SshHost) -> None:
    if pid := host.instance():
        os.kill(pid, signal.SIGTERM)
        host.wait_for_end()


def _say_that_it_answered(host: SshHost) -> None:
    """As a login by UDP would have left it."""
    for path in (host.files.home / "state/qsh/hosts").iterdir():
        path.write_text(path.read_text().replace("answered no", "answered yes"))
