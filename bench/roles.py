"""What each kind of process of a server costs: threads that live, by schedstat; processes that have ended, by taskstats.

The kernel reports a process as it ends, before its memory is given up: that, and what interrupts cost, is what a cgroup's
figure has more.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.stage import Cgroup

__all__ = ["Roles", "ThreadTimes", "thread_times"]

NETLINK_GENERIC: Final = 16
SO_RCVBUFFORCE: Final = 33
BUFFER: Final = 64 << 20
"""Ends of processes that wait here while the measurement runs, those of the whole machine."""
CONTROL: Final = 0x10
GET_FAMILY, FAMILY_ID, FAMILY_NAME = 3, 1, 2
REGISTER_CPUS, OF_PROCESS, STATS = 3, 4, 3
HEADER: Final = struct.Struct("=IHHII")
GENERIC: Final = struct.Struct("=BBH")
ATTRIBUTE: Final = struct.Struct("=HH")
TASKSTATS: Final = struct.Struct("=72xQ32s16xII32xQ")
"""cpu_run_virtual_total, ac_comm, ac_pid, ac_ppid, ac_minflt (linux/taskstats.h)."""


class _End(NamedTuple):
    name: str
    pid: int
    parent: int
    cpu_ns: int
    faults: int


class ThreadTimes(NamedTuple):
    """Of one thread, or of all of one name."""

    name: str
    cpu_ns: int
    waited_ns: int
    """For a processor, ready to run."""


@dataclass
class Role:
    """All processes of one name."""

    ends: int = 0
    cpu_ns: int = 0
    faults: int = 0


class Roles:
    """Of the processes in ``group`` now, and of all that descend from them, from :meth:`begin` to :meth:`end`."""

    def __init__(self, group: Cgroup) -> None:
        self._group = group
        self._sock: socket.socket | None = None

    def begin(self) -> None:
        """From now on."""
        self._pids = set(self._group.pids())
        self._before = thread_times(self._pids)
        self._cpu_s = self._group.cpu_s()
        with contextlib.suppress(OSError):  # there may be no taskstats here
            self._sock = _listen()

    def end(self, count: int) -> dict[str, dict[str, float]]:
        """CPU ms, page faults and processes for each of ``count`` logins; ``rest`` is what the cgroup has counted beside them."""
        found: defaultdict[str, Role] = defaultdict(Role)
        total_s = self._group.cpu_s() - self._cpu_s
        for thread, now in thread_times(self._pids).items():
            before = self._before.get(thread)
            found[now.name].cpu_ns += now.cpu_ns - (before.cpu_ns if before else 0)
        if self._sock is not None:
            ends = {end.pid: end for end in _ends(self._sock)}
            self._sock.close()
            for each in ends.values():
                if self._is_ours(each, ends):
                    role = found[each.name]
                    role.ends += 1
                    role.cpu_ns += each.cpu_ns
                    role.faults += each.faults
        rest_s = total_s - sum(role.cpu_ns for role in found.values()) / 1e9
        table = {
            name: {
                "ms": round(role.cpu_ns / 1e6 / count, 2),
                "processes": round(role.ends / count, 2),
                "faults": round(role.faults / count),
            }
            for name, role in sorted(found.items(), key=lambda item: -item[1].cpu_ns)
            if role.cpu_ns / count > 5000
        }
        return table | {"rest": {"ms": round(1000 * rest_s / count, 2)}}

    def _is_ours(self, end: _End, ends: dict[int, _End]) -> bool:
        for _ in range(10):
            if end.parent in self._pids:
                return True
            if end.parent not in ends:
                return False
            end = ends[end.parent]
        return False


def thread_times(pids: set[int]) -> dict[str, ThreadTimes]:
    """Of each thread, by its folder in /proc. A name is the process's, with the thread's if that has one of its own."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            process = Path(f"/proc/{pid}")
            name = (process / "comm").read_text().strip()
            for task in (process / "task").iterdir():
                thread = (task / "comm").read_text().strip()
                label = name if thread == name else f"{name}: {thread}"
                words = (task / "schedstat").read_text().split()
                found[str(task)] = ThreadTimes(label, int(words[0]), int(words[1]))
    return found


# -- taskstats -------------------------------------------------------------------------------------


def _listen() -> socket.socket:
    """A socket to which the kernel says what each process of the machine has cost that ends. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    sock.bind((0, 0))
    _ask(sock, CONTROL, GET_FAMILY, FAMILY_NAME, b"TASKSTATS\0")
    attributes = dict(_attributes(sock.recv(65536)[HEADER.size + GENERIC.size :]))
    if FAMILY_ID not in attributes:
        raise OSError("no taskstats")
    family = int.from_bytes(attributes[FAMILY_ID], "little")
    cpus = Path("/sys/devices/system/cpu/possible").read_text().strip()
    _ask(sock, family, 1, REGISTER_CPUS, cpus.encode() + b"\0")
    return sock


def _ask(sock: socket.socket, kind: int, command: int, attribute: int, value: bytes) -> None:
    body = GENERIC.pack(command, 1, 0) + ATTRIBUTE.pack(4 + len(value), attribute) + value
    body += bytes(-len(body) % 4)
    sock.send(HEADER.pack(HEADER.size + len(body), kind, 1, 1, 0) + body)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        size, kind = ATTRIBUTE.unpack_from(data)
        yield kind, data[ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]


def _ends(sock: socket.socket) -> Iterator[_End]:
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            data = sock.recv(65536)
            for kind, value in _attributes(data[HEADER.size + GENERIC.size :]):
                stats = dict(_attributes(value)).get(STATS, b"") if kind == OF_PROCESS else b""
                if len(stats) >= TASKSTATS.size:
                    cpu_ns, name, pid, parent, faults = TASKSTATS.unpack_from(stats)
                    text = name.split(b"\0", 1)[0].decode(errors="replace")
                    yield _End(text, pid, parent, cpu_ns, faults)
