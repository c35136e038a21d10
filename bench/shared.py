"""Programs that call ssh often, over one shared connection: `host true`, `git clone`, `ansible -m ping`; ssh beside qsh. And
rsync of many small files, over a connection of its own.

Both masters are there before anything is measured. The round-trip times take turns as well as the tools.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.stage import OPENSSH, QSH, Stage, Tool, summary
from bench.tables import markdown_table, ssh_rows
from tests.support.netns import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["measure", "table"]

RTTS_MS = (0, 40)
TOOLS = (OPENSSH, QSH)
ANSIBLE = Path(sys.prefix, "interop", "bin", "ansible")
SMALL_FILES = 10_000
SEVERAL = 3
"""So many of the short ones for each of the long ones."""
_SMALL_FILES = (
    "mkdir small && cd small && for d in $(seq 100); do mkdir $d; done && "
    f"seq {SMALL_FILES} | while read n; do echo content of file $n > $((n % 100 + 1))/$n; done"
)
_REPOSITORY = (
    "cd && git init -q repository && cd repository && head -c 200000 /dev/urandom > file && git add file && "
    "git -c user.name=A -c user.email=a@example.org commit -q -m first"
)


def measure(repetitions: int) -> list[dict[str, Any]]:
    times: dict[tuple[str, str], dict[int, list[float]]] = {}
    with Stage(Network.link()) as stage:
        assert stage.network is not None
        _run(stage, [*stage.argv(QSH, _REPOSITORY)])
        _run(stage, [*stage.argv(QSH, _SMALL_FILES)])
        with _shared(stage, OPENSSH) as ssh, _shared(stage, QSH) as qsh:
            for turn in range(repetitions + 1):
                for rtt_ms in RTTS_MS:
                    stage.network.set(delay_ms=rtt_ms / 2)
                    for tool, alone in ((ssh, OPENSSH), (qsh, QSH)):
                        for case, took_ms in (*_each(stage, tool), _rsync(stage, alone)):
                            if turn:  # the first one warms caches
                                found = times.setdefault((case, tool.name), {})
                                found.setdefault(rtt_ms, []).append(took_ms)
    return [
        {"case": case, "tool": name, "ms": {str(rtt): summary(found[rtt]) for rtt in RTTS_MS}}
        for (case, name), found in times.items()
    ]


@contextlib.contextmanager
def _shared(stage: Stage, tool: Tool) -> Iterator[Tool]:
    """The tool with a master that is there."""
    path = f"{stage.files.home}/{tool.name}"
    options = ("ControlMaster=auto", "ControlPersist=yes", f"ControlPath={path}")
    words = tuple(word for option in options for word in ("-o", option))
    own = Tool(tool.name, tool.server, (*tool.options, *words))
    _run(stage, stage.argv(own, "true"))
    try:
        yield own
    finally:
        _run(stage, stage.argv(Tool(tool.name, tool.server, (*words, "-O", "exit"))))


def _each(stage: Stage, tool: Tool) -> Iterator[tuple[str, float]]:
    words = stage.argv(tool, "true")
    for _ in range(SEVERAL):
        yield "`host true`", _run(stage, words)
    assert stage.network is not None
    inner = _inner(stage, words)
    clone = stage.files.home / "clone"
    git = [
        "git",
        "-c",
        f"core.sshCommand={shlex.join(inner)}",
        "-c",
        "ssh.variant=ssh",
        "clone",
        "-q",
    ]
    where = [f"{stage.host}:repository", str(clone)]
    yield "`git clone`, 200 KB", _run(stage, stage.network.client.argv([*git, *where]))
    _run(stage, ["rm", "-r", str(clone)])
    if ANSIBLE.exists():
        yield "`ansible -m ping`", _run(stage, _ansible(stage, tool))


def _inner(stage: Stage, words: list[str]) -> list[str]:
    """The program and its options, without the namespace around it and the host behind it."""
    assert stage.network is not None
    return words[: words.index(stage.host)][len(stage.network.client.argv([])) :]


def _rsync(stage: Stage, tool: Tool) -> tuple[str, float]:
    assert stage.network is not None
    copy = stage.files.home / "small-copy"
    inner = _inner(stage, stage.argv(tool, "true"))
    words = ["rsync", "-a", "-e", shlex.join(inner), f"{stage.host}:small/", str(copy)]
    took_ms = _run(stage, stage.network.client.argv(words))
    found = sum(1 for path in copy.rglob("*") if path.is_file())
    _run(stage, ["rm", "-r", str(copy)])
    if found != SMALL_FILES:
        raise SystemExit(f"bench: rsync brought {found} files of {SMALL_FILES}")
    return f"rsync of {SMALL_FILES:,} small files, own connection", took_ms


def _ansible(stage: Stage, tool: Tool) -> list[str]:
    """With the options of the tool, and its program instead of ssh."""
    assert stage.network is not None
    make = stage.files.qsh if tool.server == "qshd" else stage.files.ssh
    program, *words = make(stage.host, stage.daemons[tool.server].port, options=tool.options)
    variables = {
        "ansible_ssh_executable": program,
        "ansible_ssh_common_args": shlex.join(words[:-1]),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_host_key_checking": "false",
    }
    extra = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    command = [ANSIBLE, "all", "-i", f"{stage.host},", "-m", "ping", "-e", extra]
    return stage.network.client.argv([*stage.client_cost.wrap, *map(str, command)])


def _run(stage: Stage, words: list[str]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    done = subprocess.run(
        words, env=stage.env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {words}: {done.returncode} {done.stdout!r} {done.stderr!r}")
    return (time.perf_counter() - start) * 1000


def table(rows: list[dict[str, Any]]) -> str:
    rtts = list(rows[0]["ms"])
    base = ssh_rows(rows, "case")
    return markdown_table(
        ("over a shared connection, median ms at RTT", *(f"{rtt} ms" for rtt in rtts), *(f"× ssh at {rtt} ms" for rtt in rtts)),
        [
            (
                f"{row['case']}: {row['tool']}",
                *(f"{row['ms'][rtt]['median']:.0f}" for rtt in rtts),
                *(f"{row['ms'][rtt]['median'] / base[row['case'],]['ms'][rtt]['median']:.2f}" for rtt in rtts),
            )
            for row in sorted(rows, key=lambda row: row["case"])
        ],
    )  # fmt: skip
