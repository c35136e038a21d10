"""How much one server carries: sessions that type, connections that do nothing, logins beside sshd's.

Clients are bench/many.py's: the engine and the wire in one process, so that the server is what is measured. On a machine with
few cores they are still a part of every figure: ``client_cpu`` says how large.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import signal
import socket
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh

from bench.idle import SHELLS, STARTUPS, pss_mb
from bench.many import Clients, at_a_time
from bench.roles import Roles, thread_times
from bench.stage import Stage, quantile
from qsh.auth.keys import PublicKey
from qsh.auth.private import PrivateKey
from qsh.config import daemon_parser
from qsh.errors import QshError
from qsh.server import front, host_keys
from qsh.server.admission import Admission, limits_of
from qsh.server.log import Log
from qsh.server.packets import PacketSocket, packet_pair, raise_descriptor_limit
from qsh.server.requests import FrontRequest, Identity, Login, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.many import ManySession

FULL = ((50, 200, 500, 1000), 10_000, 300)
"""Sessions, connections, logins."""
PROGRAMS = {"bash": b"", "cat": b"exec cat"}
"""What runs in the sessions: the user's shell, which echoes keys itself, and what leaves that to the kernel."""
QUICK = ((5, 10), 100, 20)
TYPING_S = 10.0
IDLE_S = 10.0
SETTLE_S = 6.0
"""After it session hosts have given pages back (3 s of quiet)."""
OPENING = 8
"""Logins under way while sessions are opened."""
LATENCIES = 20
T = TypeVar("T")
MANY = STARTUPS.replace("100:30:200", "1000") + "UsePAM no\n"
"""Without PAM, as the sshd beside it is."""


def measure(sweep: tuple[int, ...], connections: int, logins: int) -> list[dict[str, Any]]:
    raise_descriptor_limit()
    rows = [idle_connections(connections)]  # first: it forks, and the engine has threads
    for program in PROGRAMS:
        with Stage(server=MANY) as stage:
            rows += asyncio.run(_sweep(stage, sweep, program))
    for tool in ("ssh", "qsh"):
        with Stage(server=MANY) as stage:
            rows.append(asyncio.run(_logins(stage, tool, logins)))
    return rows


def _clients(stage: Stage) -> Clients:
    home = stage.files.home
    host_key = PublicKey.from_line((home / "host_key.pub").read_text())
    return Clients(stage.daemons["qshd"].port, stage.user.name, home / "id", host_key)


class _Cost:
    """CPU of the server and of this process since it was made, as parts of one core."""

    def __init__(self, stage: Stage) -> None:
        self._group = stage.server_cost["qshd"]
        self._began = time.perf_counter(), self._group.cpu_s(), time.process_time()

    def shares(self) -> tuple[float, float]:
        began_s, server_s, client_s = self._began
        took_s = time.perf_counter() - began_s
        return (
            (self._group.cpu_s() - server_s) / took_s,
            (time.process_time() - client_s) / took_s,
        )


class _ByRole:
    """What each kind of thread, of the server's and of this process, has cost since it was made, and waited for a processor."""

    def __init__(self, stage: Stage) -> None:
        self._pids = {*stage.server_cost["qshd"].pids(), os.getpid()}
        self._before = thread_times(self._pids)

    def table(self, keys: int) -> dict[str, list[float]]:
        """Milliseconds for each key."""
        found: dict[str, tuple[int, int]] = {}
        for thread, now in thread_times(self._pids).items():
            before = self._before.get(thread)
            cpu_ns, waited_ns = found.get(now.name, (0, 0))
            found[now.name] = (
                cpu_ns + now.cpu_ns - (before.cpu_ns if before else 0),
                waited_ns + now.waited_ns - (before.waited_ns if before else 0),
            )
        return {
            name: [round(ns / 1e6 / max(1, keys), 3) for ns in times]
            for name, times in sorted(found.items(), key=lambda item: -item[1][0])
            if times[0] > 1000 * keys
        }


# -- sessions ----------------------------------------------------------------------------------


async def _sweep(stage: Stage, sweep: tuple[int, ...], program: str) -> list[dict[str, Any]]:
    clients, sessions, rows = _clients(stage), list["ManySession"](), list[dict[str, Any]]()
    serving: set[asyncio.Task[None]] = set()
    try:
        for count in sweep:
            await _open(clients, sessions, serving, count - len(sessions), PROGRAMS[program])
            await asyncio.sleep(SETTLE_S)
            total_mb, names = pss_mb(stage.server_cost["qshd"].pids(), SHELLS | {program})
            cost = _Cost(stage)
            await asyncio.sleep(IDLE_S)
            idle, _ = cost.shares()
            by_role = _ByRole(stage)
            cost = _Cost(stage)
            await _type(sessions, TYPING_S)
            busy, client = cost.shares()
            echoes = [ms for session in sessions for ms in session.echoes_ms]
            missing = sum(session.missing for session in sessions)
            for session in sessions:
                session.echoes_ms.clear()
            latencies = await at_a_time(LATENCIES, 1, lambda: _patiently(clients.run, b"true"))
            rows.append(
                {
                    "kind": "sessions",
                    "program": program,
                    "sessions": count,
                    "keys": len(echoes),
                    "missing": missing,
                    "echo_ms": {q: round(quantile(echoes, p), 1) for q, p in QUANTILES},
                    "pss_mb": round(total_mb, 1),
                    "pss_per_session_mb": round(total_mb / count, 2),
                    "processes": names,
                    "idle_cpu_percent": round(100 * idle, 2),
                    "typing_cpu_percent": round(100 * busy, 1),
                    "client_cpu_percent": round(100 * client, 1),
                    "roles_ms_per_key": by_role.table(len(echoes)),
                    "login_ms": round(1000 * statistics.median(latencies), 1),
                }
            )
    finally:
        clients.close()
    return rows


QUANTILES = (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))


async def _open(
    clients: Clients,
    sessions: list[ManySession],
    serving: set[asyncio.Task[None]],
    count: int,
    command: bytes = b"",
) -> None:
    async def one() -> None:
        session = await _patiently(clients.session, command)
        serving.add(asyncio.ensure_future(session.serve()))
        await (session.attached if command else session.ready).wait()
        sessions.append(session)

    await at_a_time(count, OPENING, one)


async def _patiently(make: Callable[[bytes], Awaitable[T]], command: bytes) -> T:
    """On a busy machine a signature may come too late; a client would say so, and be started again."""
    while True:
        try:
            return await make(command)
        except QshError:
            await asyncio.sleep(0.1)


async def _type(sessions: list[ManySession], seconds: float) -> None:
    """One key a second in each, at a time of its own."""
    loop, source = asyncio.get_running_loop(), random.Random(1)
    began = loop.time() + 0.1
    for session in sessions:
        phase = source.random()
        for number in range(int(seconds)):
            loop.call_at(began + phase + number, session.type, b"x")
    await asyncio.sleep(seconds + 1.5)


# -- connections that do nothing -----------------------------------------------------------------


def idle_connections(count: int) -> dict[str, Any]:
    """A front alone, logged in to by whoever asks: session hosts would be 10,000 processes, and are counted elsewhere."""
    key = PrivateKey.load(_new_key().encode(), None, "host key")
    ours, theirs = packet_pair()
    sign_ours, sign_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE, as qshd has it
    udp.bind(("127.0.0.1", 0))
    port = udp.getsockname()[1]
    limits = "MaxStartups 100000\nPerSourceMaxStartups none\nQshMaxConnections 100000\n"
    options = daemon_parser.parse(limits, "bench", lambda _: []).options
    settings = front.FrontSettings(
        60.0, 0.0, "own", "", Admission(limits_of(options)), bytes(64), bytes(32), bytes(16)
    )
    front_pid = os.fork()
    if front_pid == 0:
        front.run(theirs, sign_theirs, [udp], settings, Log("ERROR", to_stderr=True))
    theirs.close()
    sign_theirs.close()
    udp.close()
    monitor_pid = os.fork()
    if monitor_pid == 0:
        _let_everybody_in(ours, sign_ours, key)
    try:
        row = asyncio.run(_connect_many(port, key, front_pid, count))
    finally:
        for pid in (front_pid, monitor_pid):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        ours.close()
        sign_ours.close()
    return row


def _new_key() -> str:
    from qsh.auth.private import generate_ed25519

    return generate_ed25519("bench")[0]


def _let_everybody_in(sock: socket.socket, sign: socket.socket, key: PrivateKey) -> None:
    """A monitor for the front: it signs, and every login has a session host's socket with nobody behind it."""
    keys = host_keys.HostKeys([key])
    link: PacketSocket[FrontRequest] = PacketSocket(sock, FrontRequest)
    link.send(Identity([key.public.blob]))
    kept, poll = [], select.poll()
    for each in (link, sign):
        poll.register(each, select.POLLIN)
    with contextlib.suppress(EOFError, OSError):
        while True:
            poll.modify(link, select.POLLIN | (select.POLLOUT if link.waiting else 0))
            ready = dict(poll.poll())
            link.flush()
            if sign.fileno() in ready:
                packet = sign.recv(2 * host_keys.MAX_REQUEST)
                if not packet:
                    break
                tls, ssh = keys.sign(host_keys.parse_signing_request(packet[4:]))
                parts = (len(each).to_bytes(2, "big") + each for each in (tls, ssh))
                sign.send(packet[:4] + b"".join(parts))
            while link.fileno() in ready and (received := link.receive()) is not None:
                if isinstance(received[0], Login):
                    here, there = packet_pair()
                    kept.append(here)
                    link.send(
                        Verdict(received[0].session_id, Outcome.ACCEPTED, session="1"),
                        [there.detach()],
                    )
    os._exit(0)


async def _connect_many(port: int, key: PrivateKey, front_pid: int, count: int) -> dict[str, Any]:
    home = Path(f"/proc/{front_pid}")
    clients = Clients(port, "nobody", None, key.public)
    kept: list[Any] = []

    async def one() -> None:
        while True:
            try:
                kept.append(await clients.login())
                return
            except QshError:  # a busy machine: signatures that come too late
                await asyncio.sleep(0.1)

    try:
        await at_a_time(1, 1, one)
        first_mb, _ = pss_mb([front_pid], set())
        began = time.perf_counter()
        await at_a_time(count - 1, OPENING, one)
        took_s = time.perf_counter() - began
        await asyncio.sleep(2)
        all_mb, _ = pss_mb([front_pid], set())
        before = _cpu_s(home)
        await asyncio.sleep(IDLE_S)
        idle = (_cpu_s(home) - before) / IDLE_S
        alive = clients.open_connections
    finally:
        clients.close()
    return {
        "kind": "connections",
        "connections": count,
        "alive": alive,
        "first_mb": round(first_mb, 1),
        "all_mb": round(all_mb, 1),
        "kb_each": round((all_mb - first_mb) * 1024 / max(1, count - 1), 1),
        "logins_per_s": round(count / took_s),
        "idle_cpu_percent": round(100 * idle, 2),
    }


def _cpu_s(process: Path) -> float:
    words = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# -- logins --------------------------------------------------------------------------------------


async def _logins(stage: Stage, tool: str, count: int) -> dict[str, Any]:
    """Logins with one command each. The server has a core of its own, the clients another: as long as that one has time left
    (``server_percent`` near 100) the rate is the server's. asyncssh is slower than sshd on some machines: so CPU per login too.
    """
    server = "qshd" if tool == "qsh" else "sshd"
    group = stage.server_cost[server]
    for pid in group.pids():
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), {1})
    own = os.sched_getaffinity(0)
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), {0})
    make, close = _login_maker(stage, tool)
    try:
        await at_a_time(OPENING, OPENING, make)
        roles = Roles(group)
        roles.begin()
        began, before, mine = time.perf_counter(), group.cpu_s(), time.process_time()
        times = await at_a_time(count, OPENING, make)
        took_s = time.perf_counter() - began
        client_s = time.process_time() - mine
        server_s = group.cpu_s() - before
        table = roles.end(count)
    finally:
        close()
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(task), own)
    return {
        "kind": "logins",
        "tool": tool,
        "logins": count,
        "at_a_time": OPENING,
        "per_s": round(count / took_s, 1),
        "server_ms_each": round(1000 * server_s / count, 2),
        "client_ms_each": round(1000 * client_s / count, 2),
        "server_percent": round(100 * server_s / took_s),
        "median_ms": round(1000 * statistics.median(times), 1),
        "roles": table,
    }


def _login_maker(
    stage: Stage, tool: str
) -> tuple[Callable[[], Awaitable[None]], Callable[[], None]]:
    if tool == "qsh":
        clients = _clients(stage)
        return (lambda: clients.run(b"true")), clients.close
    key = asyncssh.read_private_key(str(stage.files.home / "id"))
    port, user = stage.daemons["sshd"].port, stage.user.name

    async def one() -> None:
        async with asyncssh.connect(
            "127.0.0.1", port, username=user, client_keys=[key], known_hosts=None, config=None,
            agent_path=None, kex_algs=["curve25519-sha256"], encryption_algs=["aes128-gcm@openssh.com"],
        ) as connection:  # fmt: skip
            await connection.run("true")

    return one, lambda: None
