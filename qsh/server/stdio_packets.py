"""``qshd -i``: QUIC packets in standard input and output, carried to and from the user's instance on loopback.

The instance does not know the difference: the client authenticates as on UDP, and terminals are found by later connections.
"""

from __future__ import annotations

import contextlib
import os
import socket
from threading import Thread
from typing import Final

from qsh.wire.packet_frames import MAX_PACKET, PacketReader, frame

__all__ = ["carry"]

READ_BYTES: Final = 256 * 1024
AT_ONCE: Final = 64
"""Packets in one write: fewer turns of the ssh server."""


def carry(source: int, sink: int, port: int) -> int:
    """Until either side ends; the exit status."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", port))
        answers = Thread(target=_answers, args=(udp, sink), daemon=True)
        answers.start()
        reader = PacketReader()
        with contextlib.suppress(OSError):
            while data := os.read(source, READ_BYTES):
                for packet in reader.feed(data):
                    udp.send(packet)
            return 0
    return 1


def _answers(udp: socket.socket, sink: int) -> None:
    """What does not fit in the socket's buffer while ``sink`` takes nothing is lost: so the sender learns to be slower."""
    try:
        while True:
            parts = [frame(udp.recv(MAX_PACKET))]
            with contextlib.suppress(BlockingIOError):
                while len(parts) < AT_ONCE:
                    parts.append(frame(udp.recv(MAX_PACKET, socket.MSG_DONTWAIT)))
            data = b"".join(parts)
            while data:
                data = data[os.write(sink, data) :]
    except OSError:
        os._exit(1)  # the instance or the client is gone, and the other thread reads
