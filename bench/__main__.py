"""usage: python -m bench [--only NAME...] [--quick] [--tail N] [--size MIB] [--sessions N] [--repetitions N]
                       [--peers NAME,...] [--keys N]

Writes bench/results/NAME.json and summary.png, prints the tables. Needs root: namespaces and a user of its own.
keys, flood, outage, outage-echo, roam, uplinks, cat and terminal-memory are the terminal's. They run qsh alone, or after the
peers that are named: ssh, mosh, tssh, "tssh kcp", quicssh-rs. congestion and beside-copy take those of them that copy.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import (
    abuse,
    blocked,
    blocked_ssh,
    bulk,
    cat,
    congestion,
    flood,
    forward,
    idle,
    idle_traffic,
    jump,
    keys,
    lossy_login,
    outage,
    picture,
    report,
    restart,
    roam,
    scale,
    scale_report,
    shared,
    startup,
    storm,
    tail,
    terminal_memory,
    udp,
    uplinks,
)
from bench.stage import PEERS, QSH, Tool, installed

RESULTS = Path(__file__).parent / "results"
PACKAGE = Path(__file__).parents[1] / "qsh"
NAMES = (
    "bulk", "startup", "storm", "idle", "tail", "keys", "flood", "outage", "cat", "terminal-memory", "forward", "shared", "udp",
    "jump", "lossy-login", "idle-traffic", "blocked", "blocked-ssh", "roam", "outage-echo",
    "congestion", "beside-copy", "abuse", "uplinks", "scale",
    "restart",
)  # fmt: skip
CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.strip()
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": f"{os.cpu_count()} × {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ssh": ssh,
        "tcp": CONGESTION.read_text().strip(),
    }


def tools_of(text: str) -> list[Tool]:
    """The peers named in ``text``, with commas between, as far as they are here; then qsh."""
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - PEERS.keys():
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(PEERS)}")  # fmt: skip
    for name in names:
        if not installed(PEERS[name]):
            print(f"{name} is not installed: left out", file=sys.stderr)
    return [*(PEERS[name] for name in names if installed(PEERS[name])), QSH]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--quick", action="store_true", help="small and few: does it run at all?")
    parser.add_argument("--tail", type=int, default=100, metavar="N")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--sessions", type=int, default=50, metavar="N")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--peers", type=tools_of, default=[QSH], dest="tools", metavar="NAME,...")
    parser.add_argument("--keys", type=int, default=300, metavar="N", help="of a cell of keys")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: it makes network namespaces and a user")
    compileall.compile_dir(
        PACKAGE, quiet=2
    )  # as an installation does; PYTHONDONTWRITEBYTECODE may be set
    if given.quick:
        given.tail, given.size, given.sessions, given.repetitions = 4, 64, 3, 2
        given.keys = 40
    few = min(3, given.repetitions)
    runs = {
        "bulk": lambda: bulk.measure(given.size, given.repetitions),
        "startup": lambda: startup.measure(given.repetitions * 2),
        "storm": lambda: storm.measure(seconds=2.0 if given.quick else storm.SECONDS),
        "idle": lambda: idle.measure(given.sessions),
        "tail": lambda: tail.measure(given.tail),
        "keys": lambda: keys.measure(given.tools, given.keys),
        "flood": lambda: flood.measure(given.tools, few),
        "outage": lambda: outage.measure(given.tools, few, 3.0 if given.quick else outage.DOWN_S),
        "cat": lambda: cat.measure(given.tools, 5 if given.quick else cat.SIZE_MB, few),
        "forward": lambda: forward.measure(given.size // 2, 200, min(100, given.keys), few),
        "shared": lambda: shared.measure(given.repetitions),
        "udp": lambda: udp.measure(min(100, given.keys), few),
        "jump": lambda: jump.measure(given.repetitions * 2, min(100, given.keys)),
        "idle-traffic": lambda: idle_traffic.measure(5.0 if given.quick else idle_traffic.SECONDS),
        "lossy-login": lambda: lossy_login.measure(given.repetitions * 4),
        "blocked": lambda: blocked.measure(few),
        "blocked-ssh": lambda: blocked_ssh.measure(few),
        "uplinks": lambda: uplinks.measure(given.tools, few if given.quick else 5),
        "roam": lambda: roam.measure(given.tools, few if given.quick else 10),
        "outage-echo": lambda: roam.measure(
            given.tools, few, ("outage",), 3.0 if given.quick else roam.OUTAGE_S
        ),
        "congestion": lambda: congestion.measure(
            given.tools, 2.0 if given.quick else congestion.SECONDS
        ),
        "beside-copy": lambda: congestion.beside_copy(given.tools, min(100, given.keys)),
        "abuse": lambda: abuse.measure(500 if given.quick else abuse.NUMBER),
        "scale": lambda: scale.measure(*(scale.QUICK if given.quick else scale.FULL)),
        "restart": lambda: restart.measure(restart.QUICK if given.quick else restart.FULL),
        "terminal-memory": lambda: terminal_memory.measure(given.tools, given.keys),
    }
    results = {}
    folder = RESULTS.with_name("out") if given.quick else RESULTS
    folder.mkdir(exist_ok=True)
    about = machine()
    for name in given.only:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        results[name] = runs[name]()
        text = json.dumps({"machine": about, "rows": results[name]}, indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
    print(f"{about['cpu']}, Linux {about['kernel']}, {about['ssh']}, {about['date']}\n")
    print(report.markdown(results))
    if "scale" in results:
        scale_report.curves(results["scale"], folder / "scale.svg")
    kept = {name: path for name in NAMES if (path := folder / f"{name}.json").exists()}
    everything = {name: json.loads(path.read_text())["rows"] for name, path in kept.items()}
    try:
        picture.draw(everything, folder / "summary.png")
    except ImportError:
        print("no plot: matplotlib is missing (make bench installs it)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
