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


def carry(source: int, sink: int, port: int, moved_to: str = "") -> int:
    """Until either side ends; the exit status.

    ``moved_to``: a connection that came to another address of this machine goes on at this one. It is answered from there: so
    whoever is on this machine may send us packets, of which QUIC takes only those that are the other end's.
    """
    host = moved_to or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        where = (host, port)
        if moved_to:
            udp.bind((host, 0))
        else:
            udp.connect(where)
        answers = Thread(target=_answers, args=(udp, sink), daemon=True)
        answers.start()
        reader = PacketReader()
        with contextlib.suppress(OSError):
            while data := os.read(source, READ_BYTES):
                for packet in reader.feed(data):
                    udp.sendto(packet, where) if moved_to else udp.send(packet)
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
