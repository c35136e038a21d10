"""Invariant: no bytes make the readers of other ways to a host fail, keep much, or say what was not there.

The first byte chooses: packets in a stream (cut anywhere, the packets are the same), an instance's line, the kernel's routes.
"""

from __future__ import annotations

import socket

from qsh.client import netlink
from qsh.wire.instance import Here, answer_line, parse_answer, parse_request, request_line
from qsh.wire.packet_frames import MAX_PACKET, PacketReader, frame

__all__ = ["fuzz_one"]

KEY = "ssh-ed25519 " + "A" * 68
SEEDS = (
    b"\0" + frame(b"one") + frame(b"") + frame(bytes(1200)) + b"\0",
    b"\1" + answer_line(Here(60001, (KEY, KEY), "0.1.0")),
    b"\1" + request_line(KEY).encode(),
    b"\2" + netlink.routes_request(socket.AF_INET) * 3,
    b"\2" + bytes.fromhex("3400000018000002") + bytes(8) + bytes.fromhex("0200000000fe0301000000000800040002000000"),
)  # fmt: skip


def fuzz_one(data: bytes) -> None:
    kind, data = data[:1], data[1:]
    if kind == b"\0":
        _packets(data)
    elif kind == b"\1":
        _lines(data)
    else:
        netlink.is_news(data)
        for route in netlink.default_routes(data)[0]:
            assert 0 <= route.interface < 1 << 32


def _packets(data: bytes) -> None:
    whole = PacketReader().feed(data)
    reader, found = PacketReader(), []
    for at in range(0, len(data), 7):
        found += reader.feed(data[at : at + 7])
    assert found == whole
    assert all(0 < len(packet) <= MAX_PACKET for packet in whole)
    assert sum(len(packet) + 2 for packet in whole) <= len(data)


def _lines(data: bytes) -> None:
    here = parse_answer(data)
    if here is not None:
        assert 0 < here.port <= 0xFFFF
        assert parse_answer(answer_line(here)) == here
    key = parse_request(data)
    if key is not None:
        assert parse_request(request_line(key).encode()) == key
