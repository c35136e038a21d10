"""The command lines that editors with a remote side log (VSCode Remote-SSH), as far as they reach ssh."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.drop_in import HOST
from tests.support.procs import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn


def test_the_version_is_one_of_openssh(drop_in: DropIn) -> None:
    """``-V`` ends at once, and says OpenSSH_ with a number: else the program is "not a valid SSH binary"."""
    done = drop_in.run("qsh", "-V")
    assert re.search(rb"OpenSSH_\d+\.\d+", done.stderr)
    assert done.stdout == b""


class _Greeter:
    """A TCP server that greets each client and sends back what it hears."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.sendall(b"hello ")
                while data := sock.recv(65536):
                    sock.sendall(data)

    def close(self) -> None:
        self._listener.close()


def _through_socks(port: int, target: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"\x05\x01\x00")
        assert sock.recv(2) == b"\x05\x00"
        host = b"localhost"
        sock.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host + target.to_bytes(2, "big"))
        answer = sock.recv(10, socket.MSG_WAITALL)
        assert answer[:2] == b"\x05\x00", answer
        sock.sendall(b"there")
        sock.shutdown(socket.SHUT_WR)
        heard = b""
        while data := sock.recv(65536):
            heard += data
        return heard


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (("-v", "-T"), ()),
        (("-T",), ("sh",)),
        (("-T", "-o", "RemoteCommand=none"), ("sh",)),
        (("-v", "-tt"), ("sh",)),
    ],
    ids=["local server", "piped", "without RemoteCommand", "permitPtyAllocation"],
)
def test_a_script_on_standard_input_and_socks_beside_it(
    drop_in: DropIn, options: tuple[str, ...], command: tuple[str, ...]
) -> None:
    greeter, port = _Greeter(), free_port(socket.SOCK_STREAM)
    words = ["qsh", *options, "-D", str(port), "-o", "ConnectTimeout=15", HOST, *command]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=drop_in.env,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"stty -echo 2>/dev/null\necho listening''On==$((40+2))==\n")
        process.stdin.flush()
        while b"listeningOn==42==" not in (line := process.stdout.readline()):
            assert line, "it ended"
        # -D listens before the shell starts
        assert _through_socks(port, greeter.port) == b"hello there"
        process.stdin.write(b"exit 7\n")
        process.stdin.flush()
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 7
    finally:
        process.kill()
        process.communicate()
        greeter.close()
    if "-v" in options:
        text = stderr.decode()
        for line in (
            "debug1: Server host key: ssh-ed25519 SHA256:",
            f"Authenticated to 127.0.0.1 ([127.0.0.1]:{drop_in.server.port}) using",
            f"debug1: Local connections to LOCALHOST:{port} forwarded to remote address socks:0",
            f"debug1: Local forwarding listening on 127.0.0.1 port {port}.",
        ):
            assert line in text, text


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_without_dynamic_forwarding(drop_in: DropIn, shell: str) -> None:
    words = ("qsh", "-T", "-o", "ClearAllForwardings=true", HOST, shell)
    assert drop_in.run(*words, stdin=b"echo $((40+2))\n").stdout == b"42\n"


@pytest.mark.tool("scp")
def test_the_server_is_copied(drop_in: DropIn, tmp_path: Path) -> None:
    for name in ("server.tar.gz", "server.tar.gz.done"):
        (tmp_path / name).write_text(name)
    files = (tmp_path / "server.tar.gz", tmp_path / "server.tar.gz.done")
    (tmp_path / "there").mkdir()
    drop_in.run("qscp", "-o", "ConnectTimeout=15", *files, f"{HOST}:{tmp_path}/there")
    assert len(list((tmp_path / "there").iterdir())) == 2


def test_a_host_that_cannot_be_reached(drop_in: DropIn) -> None:
    words = ("qsh", "-T", "-o", "ConnectTimeout=15", "-p", "9", "127.0.0.1", "sh")
    done = drop_in.run(*words, status=255)
    assert b"Connection refused" in done.stderr
