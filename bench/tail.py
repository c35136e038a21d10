"""Many downloads of 20 MB: is every one whole, with exit status 0? A program that ends before its last byte shows here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from typing import Any

from bench.stage import OPENSSH, QSH, Stage
from bench.tables import markdown_table
from tests.support.netns import Network

SIZE = 20_000_000
SLOW = {"delay_ms": 5, "rate_mbit": 200, "queue": 1_000_000}
SLOW_SHARE = 0.1
"""Of the downloads go over an emulated link, where the end of the data and the end of the process are apart."""


def measure(times: int) -> list[dict[str, Any]]:
    rows = []
    slow = max(1, round(times * SLOW_SHARE))
    for place, network, count in (
        ("veth", Network.veth(), times - slow),
        ("link 200 Mbit 10 ms", Network.link(**SLOW), slow),
    ):
        with Stage(network) as stage, tempfile.NamedTemporaryFile() as file:
            data = os.urandom(SIZE)
            file.write(data)
            file.flush()
            os.chmod(file.name, 0o644)
            digest = hashlib.sha256(data).digest()
            for tool in (OPENSSH, QSH):
                faults: dict[str, int] = {}
                for _ in range(count):
                    done = stage.run(tool, f"cat {file.name}", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # fmt: skip
                    fault = ""
                    if done.returncode:
                        fault = f"status {done.returncode}"
                    elif len(done.stdout) != SIZE:
                        fault = "short"
                    elif hashlib.sha256(done.stdout).digest() != digest:
                        fault = "differs"
                    if fault:
                        faults[fault] = faults.get(fault, 0) + 1
                whole = count - sum(faults.values())
                rows.append({"tool": tool.name, "place": place, "times": count, "whole": whole, "faults": faults})  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        ("downloads of 20 MB", "times", "whole with exit 0", "faults"),
        [
            (
                f"{row['tool']}, {row['place']}",
                row["times"],
                row["whole"],
                ", ".join(f"{n} {fault}" for fault, n in row["faults"].items()) or "none",
            )
            for row in rows
        ],
    )
