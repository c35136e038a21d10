"""One stream through splices of pipes, client and server in two processes: MB/s up and down.

python bench/native_splice.py [MB] [server address]
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from qsh.quic import (
    Connection,
    Driver,
    Signer,
    client_endpoint,
    client_socket,
    server_endpoint,
    server_socket,
)

ED25519 = 0x0807
BLOCK = bytes(1 << 18)


def answer(key: ed25519.Ed25519PrivateKey, line: socket.socket) -> None:
    while packet := line.recv(4096):
        line.sendall(packet[:4] + b"\0\x40" + key.sign(packet[7:]) + b"\0\x01x")


def pump(fd: int, size: int) -> None:
    while size > 0:
        size -= os.write(fd, BLOCK[:size])
    os.close(fd)


def drain(fd: int) -> int:
    size = 0
    while data := os.read(fd, 1 << 20):
        size += len(data)
    os.close(fd)
    return size


async def serve(bind_ip: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    threading.Thread(target=answer, args=(key, ours), daemon=True).start()
    async with Driver() as driver:
        with server_socket(0, bind_ip) as udp:
            endpoint = server_endpoint(driver, udp)
        print(endpoint.local_address[1], flush=True)
        incoming = await endpoint.accept()
        assert incoming is not None
        connection = await incoming.accept(Signer([public], theirs.fileno(), 1000))
        while True:
            try:
                stream = await connection.accept_bi()
            except Exception:
                return
            size = int.from_bytes(await stream.recv.read(8), "big")
            read_end, write_end = os.pipe()
            if size:
                threading.Thread(target=pump, args=(write_end, size)).start()
                await stream.send.splice_from(read_end)
            else:
                counted = asyncio.create_task(asyncio.to_thread(drain, read_end))
                await stream.recv.splice_to(write_end)
                await counted
                stream.send.finish()
            await stream.send.acknowledged()


async def up(connection: Connection, size: int) -> float:
    stream = await connection.open_bi()
    await stream.send.write(bytes(8))
    await asyncio.sleep(0.1)
    read_end, write_end = os.pipe()
    start = time.perf_counter()
    threading.Thread(target=pump, args=(write_end, size)).start()
    assert await stream.send.splice_from(read_end) == size
    await stream.recv.read()
    return time.perf_counter() - start


async def down(connection: Connection, size: int) -> float:
    stream = await connection.open_bi()
    read_end, write_end = os.pipe()
    counted = asyncio.create_task(asyncio.to_thread(drain, read_end))
    start = time.perf_counter()
    await stream.send.write(size.to_bytes(8, "big"))
    await stream.recv.splice_to(write_end)
    assert await counted == size
    return time.perf_counter() - start


async def main(size: int, server: str) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        [sys.executable, __file__, "serve", server], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        async with Driver() as driver:
            with client_socket(server) as udp:
                endpoint = client_endpoint(driver, udp)
            connection = await endpoint.connect(
                server, port, server_name="bench", schemes=[ED25519]
            )
            for name, run in (("up", up), ("down", down)) * 3:
                before = time.process_time()
                seconds = await run(connection, size)
                cpu = time.process_time() - before
                stats = connection.stats()
                print(
                    f"{name:5}{size / seconds / 1e6:8.0f} MB/s  cpu {cpu / seconds:4.2f}"
                    f"  mtu {stats['mtu']} lost {stats['lost_packets']} holes {stats['black_holes']} rtt {stats['rtt_us']} us"
                )
            connection.close()
            await connection.flushed()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2]))
    else:
        megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
        asyncio.run(main(megabytes * 1_000_000, sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"))
