"""usage: python3 forward_target.py ADDRESS

Where the benches' forwards lead to. The first byte of a connection says what for: d sends so many MiB as the line says,
u takes everything and answers with a byte at the end, e sends back what comes. Prints its port. Standard library only.
"""

import contextlib
import socket
import sys
import threading

BLOCK = bytes(1 << 20)


def serve(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), sock:
        what = sock.recv(1)
        if what == b"d":
            line = b""
            while not line.endswith(b"\n"):
                line += sock.recv(1)
            for _ in range(int(line)):
                sock.sendall(BLOCK)
        elif what == b"u":
            while sock.recv(1 << 20):
                pass
            sock.sendall(b"x")
        else:
            while data := sock.recv(65536):
                sock.sendall(data)


def main(address: str) -> None:
    with socket.create_server((address, 0), backlog=1024) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            sock, _ = listening.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
