"""Argument lists that programs write and the versions in this machine do not: as docs/compat.md has them, word for word."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from tests.support.drop_in import HOST
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn

SCP = (
    *("-x", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oRemoteCommand=none"),
    *("-oRequestTTY=no", "-oControlMaster=no"),
)
"""What scp of OpenSSH 10.5 begins with."""
SFTP = (
    *("-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes"),
    "-oControlMaster no",
)
"""And its sftp."""


def _words(drop_in: DropIn) -> tuple[str, ...]:
    """Options that scp and sftp pass on, in their order."""
    flags = ("-4", "-A", "-C", "-v", "-q", "-c", "aes256-ctr", "-i", f"{drop_in.home}/id")
    return (*flags, "-o", "ConnectTimeout=15", "-F", f"{drop_in.home}/drop_in_config", "-J", "none")


# scp and sftp


@pytest.mark.parametrize("mode", ["sftp", "legacy"])
def test_scp(drop_in: DropIn, tmp_path: Path, mode: str) -> None:
    """All that scp 10.5 can pass on at once; ``-oBatchMode=yes`` is the second process of ``-3 -O``."""
    common = (*SCP, *_words(drop_in), "-oBatchmode=yes", "-oBatchMode=yes", "-oForwardAgent=no")
    common += ("-p", str(drop_in.server.port), "-l", drop_in.server.user)
    if mode == "legacy":
        (tmp_path / "file").write_text("text")
        words = (*common, "--", HOST, f"scp -f {tmp_path}/file")
        done = drop_in.run("qsh", *words, stdin=b"\0\0\0")
        assert done.stdout.endswith(b" 4 file\ntext\0")
    else:
        assert _is_sftp(drop_in, *common, "-s", "--", HOST, "sftp")


def test_scp_from_host_to_host(drop_in: DropIn) -> None:
    """``-R``: options that are passed on, ``-p`` and ``-l``, three words after the host."""
    words = ("-x", "-oClearAllForwardings=yes", "-n", *_words(drop_in))
    words += ("-p", str(drop_in.server.port), "-l", drop_in.server.user)
    done = drop_in.run("qsh", *words, "--", HOST, "echo", "/x", "u@h2:/y", stdin=b"unread")
    assert done.stdout == b"/x u@h2:/y\n"


@pytest.mark.parametrize("tail", [("-s", "--", HOST, "sftp"), ("--", HOST, "{server}")])
def test_sftp(drop_in: DropIn, tail: tuple[str, ...]) -> None:
    words = (*SFTP, *_words(drop_in), "-v", "-v", "-obatchmode yes", "-oForwardAgent no")
    words += (f"-oPort {drop_in.server.port}", "-l", drop_in.server.user)
    server = "/usr/lib/openssh/sftp-server"
    assert _is_sftp(drop_in, *words, *(word.format(server=server) for word in tail))


def _is_sftp(drop_in: DropIn, *words: str) -> bool:
    """An SSH_FXP_INIT of version 3 gets an SSH_FXP_VERSION."""
    process = subprocess.Popen(
        ["qsh", *words],
        env=drop_in.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes.fromhex("000000050100000003"))
    process.stdin.flush()
    answer = process.stdout.read(9)
    process.communicate(timeout=20)
    return answer[4:] == bytes.fromhex("0200000003") and process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_scp_kills_it(drop_in: DropIn, tmp_path: Path, number: signal.Signals) -> None:
    """It ends at once, and what runs on the host ends too."""
    words = (*SCP, "-l", drop_in.server.user, "--", HOST, f"echo $$ > {tmp_path}/pid; exec cat")
    process = subprocess.Popen(
        ["qsh", *words], env=drop_in.env, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        path = tmp_path / "pid"
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), "the program")
        process.send_signal(number)
        assert process.wait(20) != 0
        wait_until(lambda: not os.path.exists(f"/proc/{path.read_text().strip()}"), "its end")
    finally:
        process.kill()
        process.communicate()


# rsync


def test_shared_descriptors_stay_as_they_are(drop_in: DropIn) -> None:
    """rsync's end of the pipes may be blocking, or not: both sides share the flags of a socketpair's end with their parent."""
    for blocking in (True, False):
        here, there = os.pipe()
        out, into = os.pipe()
        os.set_blocking(here, blocking)
        os.set_blocking(into, blocking)
        data = bytes(range(256)) * 4096
        process = subprocess.Popen(
            ["qsh", "-l", drop_in.server.user, HOST, "rsync() { cat; }; rsync", "--server", "."],
            env=drop_in.env,
            stdin=here,
            stdout=into,
            start_new_session=True,
        )
        with open(there, "wb") as writer, open(out, "rb") as reader:
            writer.write(data[:65536])
            writer.flush()
            assert reader.read(65536) == data[:65536]
            assert os.get_blocking(here) == os.get_blocking(into) == blocking
            os.close(into)
            writer.close()
            assert reader.read() == b""
        os.close(here)
        assert process.wait(20) == 0


# Ansible


def _ansible(drop_in: DropIn, path: Path, *words: str) -> tuple[str, ...]:
    """Everything that ansible-core 2.19 may write before the host, in its order."""
    parts = (
        *words,
        *("-C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"),
        *("-o", "StrictHostKeyChecking=no", "-o", f"Port={drop_in.server.port}"),
        *("-o", "IdentitiesOnly=yes", "-o", f'IdentityFile="{drop_in.home}/id"'),
    )
    login = ("-o", f'User="{drop_in.server.user}"', "-o", "ConnectTimeout=10")
    return (*parts, *login, "-o", f'ControlPath="{path}"', "-o", "NumberOfPasswordPrompts=1")


KEYS_ONLY = (
    *("-o", "KbdInteractiveAuthentication=no", "-o"),
    "PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey",
    *("-o", "PasswordAuthentication=no"),
)
PKCS11 = (
    *("-o", "KbdInteractiveAuthentication=no", "-o", "PreferredAuthentications=publickey"),
    *("-o", "PasswordAuthentication=no", "-o", "PKCS11Provider=/usr/lib/none.so", "-vvv"),
)


@pytest.mark.parametrize("first", [(), KEYS_ONLY, PKCS11], ids=["plain", "keys", "pkcs11"])
def test_ansible(drop_in: DropIn, tmp_path: Path, first: tuple[str, ...]) -> None:
    """A task, its second call with ``-tt`` over the same connection, ``-O check``, and reset_connection's ``-O stop``."""
    words = _ansible(drop_in, tmp_path / "cp", *first)
    assert drop_in.run("qsh", *words, HOST, "/bin/sh -c 'echo ~ && sleep 0'").stdout == (
        os.path.expanduser("~").encode() + b"\n"
    )
    assert drop_in.run("qsh", *words, "-tt", HOST, "exit 3", status=3).stdout == b""
    assert b"Master running" in drop_in.run("qsh", *words, "-O", "check", HOST).stderr
    assert b"Stop listening" in drop_in.run("qsh", *words, "-O", "stop", HOST).stderr
    done = drop_in.run("qsh", *words, "-O", "check", HOST, status=255)
    assert b"Control socket connect" in done.stderr
    assert b"Bad configuration option" not in done.stderr


def test_standard_input_is_a_terminal(drop_in: DropIn, tmp_path: Path) -> None:
    """Without ``-tt`` the program there has none, and the modes of ours stay."""
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    words = ("qsh", *_ansible(drop_in, tmp_path / "cp"), "-oControlMaster=no", HOST, "tty; exit 5")
    process = subprocess.Popen(
        words, env=drop_in.env, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.communicate(timeout=20)[0] == b"not a tty\n"
    assert process.returncode == 5
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


# mosh, sshuttle


def test_mosh_through_its_own_proxy_is_refused_where_ssh_may_not_take_over(drop_in: DropIn) -> None:
    """mosh's default: the ProxyCommand opens a TCP connection, and tells the address by it."""
    proxy = "ProxyCommand='/usr/bin/mosh' '--family=prefer-inet' --fake-proxy -- %h %p"
    words = ("-S", "none", "-o", proxy, "-n", "-tt", HOST, "--", "mosh-server new")
    done = drop_in.run("qsh", *words, status=255)
    assert b"ProxyCommand does not work over QUIC" in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize("delimiter", [("--",), ()], ids=["delimiter", "--no-cmd-delimiter"])
def test_sshuttle(drop_in: DropIn, delimiter: tuple[str, ...]) -> None:
    port, target = str(drop_in.server.port), f"{drop_in.server.user}@127.0.0.1"
    words = ("-p", port, target, *delimiter, "/bin/sh -c 'exec cat; exit 97'")
    assert drop_in.run("qsh", *words, stdin=b"\0SSHUTTLE").stdout == b"\0SSHUTTLE"


# letters with a value


@pytest.mark.parametrize(
    "option",
    [
        *(
            "-b 127.0.0.1",
            "-B lo",
            "-c aes256-ctr",
            "-e none",
            "-e ^A",
            "-e ~",
            "-J none",
            "-P tag",
        ),
        *("-I /usr/lib/none.so", "-m hmac-sha2-256", "-S none", "-A", "-a", "-f", "-M", "-X", "-Y"),
        *("-t", "-tt"),
    ],
)
def test_a_letter_does_no_harm(drop_in: DropIn, option: str) -> None:
    """Those that change nothing about a command's output."""
    assert drop_in.run("qsh", *option.split(), HOST, "echo hi").stdout.strip() == b"hi"
