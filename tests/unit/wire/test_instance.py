"""The two lines before packets (docs/protocol.md 15.6), and packets in a stream (15.5)."""

from __future__ import annotations

import pytest

from qsh.wire.instance import (
    Here,
    answer_line,
    bridge_line,
    parse_answer,
    parse_bridge,
    parse_request,
    request_line,
)
from qsh.wire.packet_frames import MAX_PACKET, PacketReader, frame

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM"


def test_lines_come_back() -> None:
    here = Here(60001, (KEY, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB"), "0.1.0")
    assert parse_answer(answer_line(here)) == here
    assert parse_request(request_line(KEY).encode()) == KEY
    assert parse_request(request_line().encode()) == ""


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Welcome to Debian\n",
        b"qsh-instance 2 0.1.0 60001 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM\n",
        b"qsh-instance 1 0.1.0 0 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM\n",
        b"qsh-instance 1 0.1.0 70000 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM\n",
        b"qsh-instance 1 0.1.0 60001\n",
        b"qsh-instance 1 0.1.0 60001 ssh-ed25519\n",
        b"qsh-instance 1 0.1.0 60001 ssh-ed25519 \xff\xff\n",
        b"qsh-instance 1 0.1.0 60001 * AAAAC3NzaC1lZDI1NTE5AAAAIM\n",
    ],
)
def test_what_is_no_answer(line: bytes) -> None:
    assert parse_answer(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"qsh-instance 1 ssh-ed25519\n",
        b'qsh-instance 1 command="id" AAAAC3NzaC1lZDI1NTE5AAAAIM\n',
        b"qsh-instance 1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM more\n",
        b"GET / HTTP/1.1\n",
    ],
)
def test_what_is_no_request(line: bytes) -> None:
    assert parse_request(line) is None


def test_packets_in_pieces() -> None:
    packets = [b"a", b"bc" * 700, bytes(MAX_PACKET)]
    stream = b"".join(frame(packet) for packet in packets)
    for step in (1, 3, 1000, len(stream)):
        reader = PacketReader()
        found = [
            p for at in range(0, len(stream), step) for p in reader.feed(stream[at : at + step])
        ]
        assert found == packets
        if step == 1:
            stream += frame(b"") + frame(b"end")  # nothing between
            packets.append(b"end")


def test_a_version_is_shown_to_the_user_and_must_be_one() -> None:
    line = answer_line(Here(60001, (KEY,), "0.1.0"))
    assert parse_answer(line) is not None
    assert parse_answer(line.replace(b"0.1.0", b"\x1b[31m")) is None


def test_a_bridge_names_a_port_and_a_family() -> None:
    assert parse_bridge(bridge_line(4433, ipv6=False).encode()) == ("127.0.0.1", 4433)
    assert parse_bridge(bridge_line(1, ipv6=True).encode()) == ("::1", 1)
    assert parse_request(bridge_line(4433, ipv6=False).encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"qsh-instance 1",
        b"qsh-instance 1 to 22",
        b"qsh-instance 1 to 0 4",
        b"qsh-instance 1 to 65536 4",
        b"qsh-instance 1 to -1 4",
        b"qsh-instance 1 to 22 5",
        b"qsh-instance 2 to 22 4",
        b"qsh-instance 1 to 22 4 x",
        b"qsh-instance 1 to \xb2 4",
    ],
)
def test_what_is_no_bridge(line: bytes) -> None:
    assert parse_bridge(line) is None


def test_the_answer_to_a_bridge_has_no_keys() -> None:
    line = answer_line(Here(22, (), "0.1.0"))
    assert line == b"qsh-instance 1 0.1.0 22\n"
    assert parse_answer(line) is None
    assert parse_answer(line, keys=False) == Here(22, (), "0.1.0")
