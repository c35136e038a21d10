"""Networks of two hosts for tests and benches: namespaces joined by a veth pair or by an emulated link.

    with Network.link(delay_ms=25, loss=0.01) as net:
        subprocess.run(net.client.argv(["ping", "-c1", net.server.ip4]))
        net.set(cut=True)

Needs root. Names are random, so many may run at a time. Nothing of the machine's own network is touched, and at the
end exactly the processes inside the two namespaces are ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Network", "Side", "Wire", "named"]

DEVICE = "wan0"
SECOND = "wan1"
MTU = 1500
JUMBO = 9000
TXQUEUELEN = 2000
"""Packets; the default of 500 for TUN overflows before the emulated queue does."""
END_S = 2.0
ORDER_S = 5.0

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _enter(namespace_fd: int) -> None:
    if _libc.setns(namespace_fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Side:
    """One host: a namespace with ``lo`` and the device ``wan0``."""

    def __init__(self, name: str, ip4: str, ip6: str) -> None:
        self.name, self.ip4, self.ip6 = name, ip4, ip6
        self._started: list[subprocess.Popen[Any]] = []
        _ip("netns", "add", name)
        self.path = Path("/run/netns", name)
        _ip("-n", name, "link", "set", "lo", "up")

    def argv(self, command: Sequence[str]) -> list[str]:
        """``command``, to be run on this host."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        return subprocess.run(self.argv(command), check=options.pop("check", False), **options)

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        started = subprocess.Popen(self.argv(command), **options)
        self._started.append(started)
        return started

    def inside(self, action: Callable[[], Any]) -> Any:
        """Call ``action`` with this thread in the namespace: sockets opened there stay there."""
        with open("/proc/thread-self/ns/net") as back, self.path.open() as there:
            _enter(there.fileno())
            try:
                return action()
            finally:
                _enter(back.fileno())

    def pids(self) -> list[int]:
        """Everything that runs in the namespace, zombies left out."""
        inode = self.path.stat().st_ino
        found = [started.pid for started in self._started if started.poll() is None]
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in found:
                continue
            try:
                if os.stat(f"/proc/{entry}/ns/net").st_ino == inode:
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def configure(self, mtu: int) -> None:
        _ip("-n", self.name, "addr", "add", f"{self.ip4}/24", "dev", DEVICE)
        _ip("-n", self.name, "addr", "add", f"{self.ip6}/64", "dev", DEVICE, "nodad")
        _ip("-n", self.name, "link", "set", DEVICE, "up", "mtu", str(mtu), "txqueuelen", str(TXQUEUELEN))  # fmt: skip
        for family in ("-4", "-6"):
            _ip("-n", self.name, family, "route", "replace", "default", "dev", DEVICE)

    def change_address(self, ip4: str) -> None:
        """Another IPv4 address instead of the present one, as after a move to another network."""
        _ip("-n", self.name, "addr", "add", f"{ip4}/24", "dev", DEVICE)
        _ip("-n", self.name, "addr", "del", f"{self.ip4}/24", "dev", DEVICE)
        _ip("-n", self.name, "route", "replace", "default", "dev", DEVICE)
        self.ip4 = ip4

    def change_address6(self, ip6: str) -> None:
        """The same for IPv6."""
        _ip("-n", self.name, "addr", "add", f"{ip6}/64", "dev", DEVICE, "nodad")
        _ip("-n", self.name, "addr", "del", f"{self.ip6}/64", "dev", DEVICE)
        _ip("-n", self.name, "-6", "route", "replace", "default", "dev", DEVICE)
        self.ip6 = ip6

    def drop_address(self, family: str) -> None:
        """``ip4`` or ``ip6``: no address of this family, and no way for it."""
        version, address, bits = self._of(family)
        _ip("-n", self.name, "addr", "del", f"{address}/{bits}", "dev", DEVICE)
        subprocess.run(
            ["ip", "-n", self.name, version, "route", "flush", "table", "main"], check=False
        )

    def add_address(self, family: str) -> None:
        """The opposite."""
        version, address, bits = self._of(family)
        options = ["nodad"] if family == "ip6" else []
        _ip("-n", self.name, "addr", "add", f"{address}/{bits}", "dev", DEVICE, *options)
        _ip("-n", self.name, version, "route", "replace", "default", "dev", DEVICE)

    def _of(self, family: str) -> tuple[str, str, int]:
        return ("-4", self.ip4, 24) if family == "ip4" else ("-6", self.ip6, 64)

    def end_processes(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + END_S
            told: set[int] = set()
            while (left := self.pids()) and time.monotonic() < deadline:
                for pid in set(left) - told:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        continue
                told.update(left)
                time.sleep(0.01)

    def close(self) -> None:
        self.end_processes()
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class Wire:
    """An emulated link of this device name on both sides."""

    def __init__(self, sides: Sequence[Side], device: str, seed: int) -> None:
        """The devices are there, and have no addresses yet."""
        devices = [side.inside(lambda: _open_tun(device)) for side in sides]
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ORDER_S)
        inherited = [*devices, theirs.fileno()]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("link.py")), *map(str, inherited), str(seed)],
            pass_fds=inherited,
        )  # fmt: skip
        theirs.close()
        for fd in devices:
            os.close(fd)

    def set(self, **changes: Any) -> dict[str, dict[str, int]]:
        """Change the link at once: see link.py for the parameters. Returns the counters of both directions."""
        self._control.send(json.dumps(changes).encode())
        counters: dict[str, dict[str, int]] = json.loads(self._control.recv(1 << 16))
        return counters

    def close(self) -> None:
        self._control.close()
        self._process.wait(END_S)


class Network:
    """Two hosts, ``client`` and ``server``. Made by :meth:`veth` or :meth:`link`."""

    def __init__(self) -> None:
        name = "qsh" + secrets.token_hex(4)
        self.sides: list[Side] = []
        self._wires: list[Wire] = []
        try:
            self.client = self._add(name + "c", 1)
            self.server = self._add(name + "s", 2)
        except BaseException:
            self.close()
            raise

    def _add(self, name: str, number: int) -> Side:
        side = Side(name, f"10.77.{number}.1", f"fd77:{number}::1")
        self.sides.append(side)
        return side

    @classmethod
    def veth(cls, mtu: int = MTU) -> Network:
        """A veth pair: as fast as the machine."""
        net = cls()
        try:
            _ip(
                *("link", "add", DEVICE, "netns", net.client.name, "type", "veth"),
                *("peer", "name", DEVICE, "netns", net.server.name),
            )
            for side in net.sides:
                side.configure(mtu)
        except BaseException:
            net.close()
            raise
        return net

    @classmethod
    def link(cls, *, mtu: int = MTU, seed: int = 1, **parameters: Any) -> Network:
        """An emulated link; ``parameters`` as :meth:`set` takes them."""
        net = cls()
        try:
            net._wires.append(Wire(net.sides, DEVICE, seed))
            for side in net.sides:
                side.configure(mtu)
            if parameters:
                net.set(**parameters)
        except BaseException:
            net.close()
            raise
        return net

    def second_wire(self) -> None:
        """A veth pair beside it, for what the client sends to the server from another address."""
        _ip(
            *("link", "add", SECOND, "netns", self.client.name, "type", "veth"),
            *("peer", "name", SECOND, "netns", self.server.name),
        )
        self._second_addresses()

    def second_link(self, *, seed: int = 2, **parameters: Any) -> Wire:
        """The same, emulated."""
        wire = Wire(self.sides, SECOND, seed)
        self._wires.append(wire)
        wire.set(**parameters)
        self._second_addresses()
        return wire

    def _second_addresses(self) -> None:
        for side, ip in zip(self.sides, ("10.78.1.1", "10.78.1.2"), strict=True):
            _ip("-n", side.name, "addr", "add", f"{ip}/24", "dev", SECOND)
            _ip("-n", side.name, "link", "set", SECOND, "up")
        _ip("-n", self.client.name, "route", "add", "default", "dev", SECOND, "metric", "100")

    def set(self, **changes: Any) -> dict[str, dict[str, int]]:
        """Change the link at once: see link.py for the parameters. Returns the counters of both directions."""
        assert self._wires, "a veth pair has no parameters"
        return self._wires[0].set(**changes)

    def counters(self) -> dict[str, dict[str, int]]:
        return self.set()

    def close(self) -> None:
        """End what runs on both hosts and remove them. Idempotent."""
        while self.sides:
            self.sides.pop().close()
        while self._wires:
            self._wires.pop().close()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def named(hosts: str, command: Sequence[str]) -> list[str]:
    """``command`` with this file as its /etc/hosts."""
    return [
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount --bind "$0" /etc/hosts && exec "$@"',
        hosts,
        *command,
    ]


def _open_tun(device: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(fd, _TUNSETIFF, request)
    return fd
