"""usage: python3 udp_target.py ADDRESS

Where the UDP bench's forwards lead to: sends back what begins with "e", counts the rest, and answers "?" with how many came, and
when the first and the last, in microseconds. Prints its port. Standard library only.
"""

import socket
import sys
import time


def main(address: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    sock.bind((address, 0))
    print(sock.getsockname()[1], flush=True)
    buffer = bytearray(70000)
    count, first, last = 0, 0.0, 0.0
    while True:
        size, peer = sock.recvfrom_into(buffer)
        what = buffer[0] if size else 0
        if what == 0x65:
            sock.sendto(buffer[:size], peer)
        elif what == 0x3F:
            answer = f"? {count} {int((last - first) * 1e6)}"
            sock.sendto(answer.encode(), peer)
            count = 0
        else:
            last = time.perf_counter()
            first = first if count else last
            count += 1


if __name__ == "__main__":
    main(sys.argv[1])
