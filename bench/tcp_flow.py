"""usage: python -m bench.tcp_flow receive|send ADDRESS PORT

One greedy TCP flow with Cubic, the neighbour that fills the link's queue.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.netns import Network

__all__ = ["beside"]

PORT = 5999
BLOCK = 65536
START_S = 5.0
CONTROL = b"cubic"


@contextlib.contextmanager
def beside(network: Network, way: str) -> Iterator[None]:
    """``down``, from the server's host to the client's, or ``up``, for as long as the block lasts."""
    ends = (network.client, network.server) if way == "down" else (network.server, network.client)
    words = [sys.executable, "-m", "bench.tcp_flow"]
    where = [ends[0].ip4, str(PORT)]
    receiver = ends[0].popen([*words, "receive", *where], stdout=subprocess.PIPE)
    started = [receiver]
    try:
        assert receiver.stdout is not None
        if receiver.stdout.readline() != b"ready\n":
            raise SystemExit("bench: the other flow's receiver did not start")
        started.append(ends[1].popen([*words, "send", *where]))
        yield
        if any(process.poll() is not None for process in started):
            raise SystemExit("bench: the other flow ended before the measurement")
    finally:
        for process in started:
            process.kill()
            process.wait()
        if receiver.stdout is not None:
            receiver.stdout.close()


def main(what: str, address: str, port: str) -> None:
    if what == "receive":
        with socket.create_server((address, int(port))) as listening:
            print("ready", flush=True)
            flow, _ = listening.accept()
            while flow.recv(BLOCK):
                pass
        return
    deadline = time.monotonic() + START_S
    with socket.socket() as flow:
        flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONTROL)
        flow.settimeout(max(0.0, deadline - time.monotonic()))
        flow.connect((address, int(port)))
        flow.settimeout(None)
        while True:
            flow.sendall(bytes(BLOCK))


if __name__ == "__main__":
    main(*sys.argv[1:])
