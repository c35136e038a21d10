"""mosh, sshuttle and sshfs with qsh as their ssh."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import INTEROP
from tests.support.drop_in import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn

# mosh


@pytest.mark.tool("mosh", "script")
@pytest.mark.parametrize("how", ["local", "remote"])
def test_mosh(drop_in: DropIn, how: str) -> None:
    """From qsh's terminal to ``MOSH CONNECT`` and the client that follows; ``remote`` needs SSH_CONNECTION there."""
    target = HOST if how == "remote" else "127.0.0.1"
    port = () if how == "remote" else ("-p", str(drop_in.server.port))
    ssh = " ".join(("qsh", *port))
    inner = (
        f"mosh --ssh='{ssh}' --experimental-remote-ip={how} {target} -- sh -c 'echo mosh $((40+2))'"
    )
    env = {"TERM": "xterm", "LANG": "C.UTF-8"}
    done = drop_in.run("script", "-qec", f"stty rows 24 cols 80; {inner}", "/dev/null", env=env)
    assert b"mosh 42" in done.stdout
    call = drop_in.calls[0]
    assert call[call.index("-n") : call.index("--")][-3:] == ["-n", "-tt", target]
    assert call[-2] == "--"


# sshuttle


@pytest.mark.tool("sshuttle")
def test_sshuttle_handshake(drop_in: DropIn) -> None:
    """Its own start of the remote side: the program goes there over standard input and greets back."""
    port = drop_in.server.port
    program = (
        "import sshuttle.ssh\n"
        "options = dict(latency_control=True, latency_buffer_size=32768, auto_hosts=False, "
        "to_nameserver=None, auto_nets=False)\n"
        f"process, reader, _ = sshuttle.ssh.connect('qsh', '127.0.0.1:{port}', None, None, True, None, options)\n"
        "heard = b''\n"
        "while not heard.endswith(b'SSHUTTLE0001'):\n"
        "    part = reader.read(1)\n"
        "    assert part, heard\n"
        "    heard += part\n"
        "process.kill()\n"
    )
    drop_in.run(INTEROP / "python", "-c", program)
    (call,) = drop_in.calls
    assert call[:4] == ["-p", str(port), "127.0.0.1", "--"]
    assert call[4].startswith("/bin/sh -c ")


# sshfs


@pytest.mark.root
@pytest.mark.tool("sshfs", "fusermount3")
def test_sshfs(drop_in: DropIn, tmp_path: Path) -> None:
    """Through a mount."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / "file").write_text("text")
    words = ("sshfs", "-o", "ssh_command=qsh", f"{HOST}:{there}", here)
    drop_in.run(*words)
    (call,) = drop_in.calls
    assert call[-3:] == ["--", HOST, "sftp"]
    assert "-s" in call
    try:
        assert (here / "file").read_text() == "text"
        (here / "new").write_text("other")
        assert (there / "new").read_text() == "other"
    finally:
        subprocess.run(["fusermount3", "-u", here], check=True)
