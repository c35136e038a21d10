"""Through a jump host, each way of 20 ms: the time to `host true`, and a key to and fro on a terminal, with and without loss.

The target runs on the client's side of the emulated link, which only the way through the hop crosses: to the hop and back.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from typing import TYPE_CHECKING, Any

from bench.stage import OPENSSH, QSH, Stage, Tool, summary
from bench.tables import markdown_table
from tests.support.netns import Network
from tests.support.procs import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure", "table"]

RTT_MS = 20
LOSSES = (0.0, 0.02)
TOOLS = (OPENSSH, QSH)
LIMIT_S = 20.0
KEYS = b"abcdefghijklmnopqrstuvwxyz"


def measure(repetitions: int, keys: int) -> list[dict[str, Any]]:
    rows = []
    with Stage(Network.link(delay_ms=RTT_MS / 2)) as stage, _targets(stage) as ports:
        for loss in LOSSES:
            assert stage.network is not None
            stage.network.set(loss=loss)
            for tool in TOOLS:
                words = _argv(stage, tool, ports)
                times = [] if loss else [_true_ms(stage, words) for _ in range(repetitions + 1)][1:]
                found = _keys_ms(stage, _argv(stage, tool, ports, "-tt"), keys)
                row: dict[str, Any] = {"tool": tool.name, "rtt_ms": f"2 × {RTT_MS}", "loss": loss}
                rows.append(
                    {**row, "true_ms": summary(times) if times else None, "key_ms": summary(found)}
                )
    return rows


@contextlib.contextmanager
def _targets(stage: Stage) -> Iterator[dict[str, int]]:
    assert stage.network is not None
    side = stage.network.client
    with Daemon.sshd(stage.files, side=side) as sshd, Daemon.qshd(stage.files, side=side) as qshd:
        yield {"sshd": sshd.port, "qshd": qshd.port}


def _argv(stage: Stage, tool: Tool, ports: dict[str, int], *options: str) -> list[str]:
    assert stage.network is not None
    hop = f"{stage.user.name}@{stage.host}:{stage.daemons[tool.server].port}"
    make = stage.files.qsh if tool.server == "qshd" else stage.files.ssh
    target = stage.network.client.ip4
    words = make(target, ports[tool.server], options=("-J", hop, *options))
    return stage.network.client.argv(words)


def _true_ms(stage: Stage, words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([*words, "true"], env=stage.env, stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def _keys_ms(stage: Stage, words: list[str], keys: int) -> list[float]:
    command = "stty raw -echo; echo ready; exec cat"
    client = subprocess.Popen(
        [*words, command],
        env=stage.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    times = []
    try:
        _expect(client.stdout.fileno(), b"ready")
        time.sleep(0.5)
        for number in range(keys):
            key = KEYS[number % len(KEYS) :][:1]
            start = time.perf_counter()
            os.write(client.stdin.fileno(), key)
            _expect(client.stdout.fileno(), key)
            times.append((time.perf_counter() - start) * 1000)
            time.sleep(0.03)
    finally:
        client.kill()
        client.wait()
    return times


def _expect(fd: int, text: bytes) -> None:
    deadline, shown = time.monotonic() + LIMIT_S, b""
    while text not in shown:
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise SystemExit(f"bench: {text!r} is not shown, only {shown[-200:]!r}")
        shown += os.read(fd, 65536)


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        (
            f"{row['tool']} -J, RTT {row['rtt_ms']} ms, {row['loss']:.0%} lost",
            row["true_ms"]["median"] if row["true_ms"] else "",
            row["key_ms"]["median"],
            row["key_ms"]["p99"],
        )
        for row in rows
    ]
    return markdown_table(("through a jump host, ms", "`host true`", "a key: median", "p99"), lines)
