"""A front that is killed under many sessions: when each is back, how that divides, and who spends CPU on it.

Clients are bench/many.py's, all in one process on the same cores as the server: they hear that their connection is unknown,
resume as a real client does (docs/protocol.md 5.7), attach, and type a key. What they cost themselves is told apart: ``alone_s``
is what the server's own CPU would have taken on all cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.many import Clients, at_a_time
from bench.stage import Stage, quantile
from bench.tables import markdown_table
from qsh.auth.keys import PublicKey
from qsh.errors import QshError
from qsh.server.packets import raise_descriptor_limit

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from bench.many import ManySession
    from bench.stage import Cgroup

__all__ = ["FULL", "QUICK", "measure", "table"]

FULL, QUICK = (50, 100, 200), (5,)
"""Sessions."""
SERVER = "MaxStartups 1000\nPerSourceMaxStartups none\n"
WAYS = {True: "UsePAM yes\n", False: "UsePAM no\n"}
OPENING = 8
"""Logins under way while sessions are opened."""
SETTLE_S = 6.0
"""After it session hosts have given pages back (3 s of quiet)."""
LOGIN_S = 15.0
"""After it a client tries once more, as a real one does."""
PAUSE_S = 0.05
LIMIT_S = 60.0
KEY_S = 0.25
"""Between the keys of one that types."""
QUANTILES = (("median", 0.5), ("p90", 0.9), ("max", 1.0))
STEPS = ("told", "accepted", "attached", "back")


def measure(counts: Sequence[int]) -> list[dict[str, Any]]:
    raise_descriptor_limit()
    rows = []
    for pam, text in WAYS.items():
        for count in counts:
            with Stage(server=SERVER + text) as stage:
                row = asyncio.run(_restart(stage, count))
            rows.append({"sessions": count, "pam": pam} | row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    head = (
        "front killed under sessions",
        "PAM",
        "told, s",
        "let in, s",
        "back: median / p90 / last, s",
        "CPU ms each: server (session hosts / login children)",
        "clients",
    )
    lines = []
    for row in rows:
        back, steps, roles = row["back_s"], row["steps_s"], row["roles_ms_each"]
        lines.append(
            [
                str(row["sessions"]),
                "yes" if row["pam"] else "no",
                *(str(steps[step][1]) for step in ("told", "accepted")),
                f"{back['median']} / {back['p90']} / {back['max']}",
                f"{row['server_ms_each']} ({roles['qshd-session']} / {roles['login children']})",
                str(row["client_ms_each"]),
            ]
        )
    return markdown_table(head, lines)


async def _restart(stage: Stage, count: int) -> dict[str, Any]:
    home, group = stage.files.home, stage.server_cost["qshd"]
    host_key = PublicKey.from_line((home / "host_key.pub").read_text())
    clients = Clients(stage.daemons["qshd"].port, stage.user.name, home / "id", host_key)
    sessions = list["ManySession"]()
    serving = set[asyncio.Future[None]]()

    async def one() -> None:
        session = await clients.session()
        serving.add(asyncio.ensure_future(session.serve()))
        await session.ready.wait()
        await session.attached.wait()
        sessions.append(session)

    try:
        await at_a_time(count, OPENING, one)
        await asyncio.sleep(SETTLE_S)
        known = _roles(group)
        (pid,) = [each for each, name in known.items() if name == "qshd-front"]
        before = {each: _cpu_s(each) for each in known}
        server_s, own_s, began = group.cpu_s(), time.process_time(), time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        found = await asyncio.wait_for(
            asyncio.gather(*(_come_back(clients, each, began) for each in sessions)), LIMIT_S
        )
        server_s, own_s = group.cpu_s() - server_s, time.process_time() - own_s
        roles = dict[str, float]()
        for each, name in _roles(group).items():
            roles[name] = roles.get(name, 0.0) + _cpu_s(each) - before.get(each, 0.0)
    finally:
        clients.close()
    roles["login children"] = server_s - sum(roles.values())
    times = dict(zip(STEPS, zip(*(row[1:] for row in found), strict=True), strict=True))
    return {
        "back_s": {q: round(quantile(times["back"], p), 2) for q, p in QUANTILES},
        "steps_s": {
            step: [round(quantile(times[step], p), 2) for p in (0.5, 1.0)] for step in STEPS
        },
        "attempts": sum(row[0] for row in found),
        "server_ms_each": round(1000 * server_s / count, 2),
        "client_ms_each": round(1000 * own_s / count, 2),
        "roles_ms_each": {name: round(1000 * cpu_s / count, 2) for name, cpu_s in roles.items()},
        "alone_s": round(server_s / (os.cpu_count() or 1), 2),
    }


async def _come_back(
    clients: Clients, session: ManySession, began: float
) -> tuple[int, float, float, float, float]:
    """Attempts, and when it was told, let in, attached, and had its echo."""
    closed = asyncio.ensure_future(session.connection.closed())
    while not closed.done():
        session.type(b"y")
        await asyncio.wait({closed}, timeout=KEY_S)
    told = time.perf_counter() - began
    attempts = 0
    while True:
        attempts += 1
        try:
            async with asyncio.timeout(LOGIN_S):
                again = await clients.session(attach=session)
            serving = asyncio.ensure_future(again.serve())
            again.position = session.position
            if await _either(again.attached.wait(), serving):
                attached = time.perf_counter() - began
                again.type(b"z")
                if await _either(again.answered.wait(), serving):
                    break
        except (QshError, TimeoutError):
            await asyncio.sleep(PAUSE_S)
    serving.cancel()
    return (
        attempts,
        told,
        again.accepted_at - began,
        attached,
        time.perf_counter() - began,
    )


async def _either(event: Coroutine[Any, Any, bool], end: asyncio.Future[None]) -> bool:
    """Whether it happened before the end."""
    task = asyncio.ensure_future(event)
    await asyncio.wait({task, end}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        return False
    return True


def _roles(group: Cgroup) -> dict[int, str]:
    found = dict[int, str]()
    for pid in group.pids():
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def _cpu_s(pid: int) -> float:
    """Of a process without its children. A thread's time is in nanoseconds, a process's in ticks of 10 ms."""
    total = 0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total / 1e9
