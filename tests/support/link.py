"""The wire between two namespaces: packets of two TUN devices, delayed, lost, queued and paced on the way.

Run as a program by :mod:`tests.support.netns`; descriptors are inherited. Orders come in on ``control`` as one JSON
object per datagram; a datagram goes back when an order has effect. Both directions have the same parameters unless
an order is wrapped as ``{"up": {...}}`` or ``{"down": {...}}`` (from and to the client).

    delay_ms    one way            loss        probability 0…1, seeded
    jitter_ms   uniform, added; packets do not overtake each other unless ``reorder``
    rate_mbit   0: unlimited       queue       bytes that wait for the rate; more is dropped
    cut         nothing passes     mtu         larger IPv4 packets with DF and IPv6 ones vanish, without ICMP
    queue_packets  under a rate: packets between the devices, those that fly included; more is dropped. 0: any number
    seed        both directions draw their chances anew from it (of the whole link, not of one direction)
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from dataclasses import dataclass, field

BURST = 128
"""Packets read from one device before the other one and the clock are looked at again."""
SPIN_S = 0.0002
"""Wait for less than this is done awake: poll(2) rounds up to a millisecond."""
PACKET_MAX = 65536


@dataclass
class Direction:
    """One way of the link."""

    source: int
    sink: int
    chance: random.Random
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 0.0
    queue: int = 1 << 30
    queue_packets: int = 0
    mtu: int = PACKET_MAX
    cut: bool = False
    reorder: bool = False
    free_at: float = 0.0
    last_due: float = 0.0
    on_way: int = 0
    """Packets admitted and not yet at the sink."""
    counters: dict[str, int] = field(
        default_factory=lambda: {"passed": 0, "lost": 0, "overflow": 0, "too_big": 0, "largest": 0}
    )

    def admit(self, size: int, now: float) -> float | None:
        """When a packet of ``size`` that arrives now is due at the sink, or None if it never is."""
        if self.cut or (self.loss and self.chance.random() < self.loss):
            self.counters["lost"] += 1
            return None
        if size > self.mtu:
            self.counters["too_big"] += 1
            return None
        sent = now
        if self.rate_mbit:
            bytes_per_s = self.rate_mbit * 125_000
            too_long = max(0.0, self.free_at - now) * bytes_per_s + size > self.queue
            if too_long or 0 < self.queue_packets <= self.on_way:
                self.counters["overflow"] += 1
                return None
            sent = self.free_at = max(now, self.free_at) + size / bytes_per_s
        due = sent + self.delay_ms / 1000
        if self.jitter_ms:
            due += self.chance.random() * self.jitter_ms / 1000
        if not self.reorder:
            due = max(due, self.last_due)
        self.last_due = due
        self.on_way += 1
        return due

    def arrived(self) -> None:
        """A packet that was admitted is at the sink."""
        self.on_way -= 1


class Wire:
    """Two directions, and one heap of packets on the way."""

    def __init__(self, client: int, server: int, control: socket.socket, seed: int) -> None:
        self.up = Direction(client, server, random.Random(seed))
        self.down = Direction(server, client, random.Random(seed + 1))
        self.control = control
        self.flying: list[tuple[float, int, Direction, bytes]] = []
        self.serial = 0
        self.poll = select.poll()
        for fd in (client, server, control.fileno()):
            os.set_blocking(fd, False)
            self.poll.register(fd, select.POLLIN)

    def reseed(self, seed: int) -> None:
        for number, direction in enumerate((self.up, self.down)):
            direction.chance.seed(seed + number)

    def obey(self) -> bool:
        """Take one order; False at the end of the controlling process."""
        text = self.control.recv(PACKET_MAX)
        if not text:
            return False
        order = json.loads(text)
        if "seed" in order:
            self.reseed(order.pop("seed"))
        for direction, changes in (
            (self.up, order.pop("up", {})),
            (self.down, order.pop("down", {})),
        ):
            for name, value in {**order, **changes}.items():
                setattr(direction, name, value)
        self.control.send(json.dumps({"up": self.up.counters, "down": self.down.counters}).encode())
        return True

    def take(self, direction: Direction) -> None:
        for _ in range(BURST):
            try:
                packet = os.read(direction.source, PACKET_MAX)
            except BlockingIOError:
                return
            except OSError:
                return  # the device is down while an address is changed
            due = direction.admit(len(packet), time.monotonic())
            if due is not None:
                self.serial += 1
                heapq.heappush(self.flying, (due, self.serial, direction, packet))

    def deliver(self) -> None:
        now = time.monotonic()
        while self.flying and self.flying[0][0] <= now:
            _, _, direction, packet = heapq.heappop(self.flying)
            direction.arrived()
            try:
                os.write(direction.sink, packet)
                direction.counters["passed"] += 1
                direction.counters["largest"] = max(direction.counters["largest"], len(packet))
            except OSError:
                direction.counters["lost"] += 1

    def run(self) -> None:
        while True:
            wait_ms = None
            if self.flying:
                left_s = self.flying[0][0] - time.monotonic()
                wait_ms = 0.0 if left_s < SPIN_S else left_s * 1000 - 0.2
            for fd, _ in self.poll.poll(wait_ms):
                if fd == self.control.fileno():
                    if not self.obey():
                        return
                else:
                    self.take(self.up if fd == self.up.source else self.down)
            self.deliver()


def main() -> None:
    client, server, control, seed = (int(word) for word in sys.argv[1:])
    Wire(client, server, socket.socket(fileno=control), seed).run()


if __name__ == "__main__":
    main()
