"""1 GiB through ``cat``, both ways: throughput of the whole command, and CPU seconds of both ends.

The tools take turns, so that whatever else the machine does meets all of them. Before anything is timed each tool
proves with a checksum that it carries the file.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.stage import OPENSSH, OPENSSH_GCM, QSH, Stage, Tool, summary
from bench.tables import markdown_table, ssh_rows
from tests.support.netns import Network

TOOLS = (OPENSSH, OPENSSH_GCM, QSH)


def measure(size_mib: int, repetitions: int) -> list[dict[str, Any]]:
    rows = []
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        digest = _fill(file.name, size_mib)
        for place in ("loopback", "veth"):
            with Stage(Network.veth() if place == "veth" else None) as stage:
                for tool in TOOLS:
                    _prove(stage, tool, file.name, digest)
                rows += _rounds(stage, place, file.name, size_mib << 20, repetitions)
    return rows


def _fill(path: str, size_mib: int) -> str:
    """Random bytes: nothing on the way may gain from compressing them."""
    digest, block = hashlib.sha256(), os.urandom(1 << 20)
    with open(path, "wb") as file:
        for number in range(size_mib):
            chunk = number.to_bytes(8, "big") + block[8:]
            file.write(chunk)
            digest.update(chunk)
    os.chmod(path, 0o644)
    return digest.hexdigest()


def _prove(stage: Stage, tool: Tool, path: str, digest: str) -> None:
    with open(path, "rb") as source:
        up = stage.run(tool, "sha256sum", stdin=source, stdout=subprocess.PIPE)
    if up.stdout.split()[:1] != [digest.encode()] or up.returncode:
        raise SystemExit(f"bench: {tool.name} up: {up}")
    with tempfile.TemporaryFile(dir=Path(path).parent) as sink:
        down = stage.run(tool, f"cat {path}", stdin=subprocess.DEVNULL, stdout=sink)
        sink.seek(0)
        if hashlib.file_digest(sink, "sha256").hexdigest() != digest or down.returncode:
            raise SystemExit(f"bench: {tool.name} down: the file differs, status {down.returncode}")


def _rounds(
    stage: Stage, place: str, path: str, size: int, repetitions: int
) -> list[dict[str, Any]]:
    seconds: dict[tuple[Tool, str], list[float]] = {}
    client: dict[tuple[Tool, str], list[float]] = {}
    server: dict[tuple[Tool, str], list[float]] = {}
    for _ in range(repetitions):
        for tool in TOOLS:
            for way in ("up", "down"):
                costs = (stage.client_cost, stage.server_cost[tool.server])
                before = [cost.cpu_s() for cost in costs]
                start = time.perf_counter()
                _transfer(stage, tool, way, path)
                seconds.setdefault((tool, way), []).append(time.perf_counter() - start)
                spent = [cost.cpu_s() - was for cost, was in zip(costs, before, strict=True)]
                client.setdefault((tool, way), []).append(spent[0])
                server.setdefault((tool, way), []).append(spent[1])
    return [
        {
            "place": place,
            "tool": tool.name,
            "way": way,
            "mb_per_s": summary([size / 1e6 / each for each in times]),
            "client_cpu_s_per_gb": summary([each / (size / 1e9) for each in client[tool, way]], 2),
            "server_cpu_s_per_gb": summary([each / (size / 1e9) for each in server[tool, way]], 2),
        }
        for (tool, way), times in seconds.items()
    ]


def _transfer(stage: Stage, tool: Tool, way: str, path: str) -> None:
    command = "cat >/dev/null" if way == "up" else f"cat {path}"
    source = path if way == "up" else os.devnull
    with open(source, "rb") as stdin:
        done = stage.run(tool, command, stdin=stdin, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"bench: {tool.name} {way}: status {done.returncode}")


def table(rows: list[dict[str, Any]]) -> str:
    base = ssh_rows(rows, "place", "way")
    return markdown_table(
        ("1 GiB through `cat`", "MB/s", "min–max", "× ssh", "CPU s/GB client", "CPU s/GB server", "both"),
        [
            (
                f"{row['tool']}, {row['place']}, {row['way']}",
                f"{row['mb_per_s']['median']:.0f}",
                f"{row['mb_per_s']['min']:.0f}–{row['mb_per_s']['max']:.0f}",
                f"{row['mb_per_s']['median'] / base[row['place'], row['way']]['mb_per_s']['median']:.2f}",
                row["client_cpu_s_per_gb"]["median"],
                row["server_cpu_s_per_gb"]["median"],
                round(row["client_cpu_s_per_gb"]["median"] + row["server_cpu_s_per_gb"]["median"], 2),
            )
            for row in sorted(rows, key=lambda row: (row["place"], row["way"]))
        ],
    )  # fmt: skip
