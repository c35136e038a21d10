"""What a confined process cannot do any more: each call is made by a process that has confined itself (native/src/confine.rs)."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, os, socket, sys, threading, resource, signal, time
from qsh import _native
held, missing = _native.confine({role!r})
assert "seccomp" in held, missing
libc = ctypes.CDLL(None, use_errno=True)
try:
    {action}
except OSError as error:
    sys.stdout.write(str(error.errno))
else:
    sys.stdout.write("done")
sys.stdout.flush()
os._exit(0)
"""

DEADLY = {
    "exec": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "vfork": "libc.vfork()",
    "create a file": "os.open('/tmp/qsh-confined', os.O_WRONLY | os.O_CREAT, 0o600)",
    "truncate a file": "os.open('/dev/null', os.O_WRONLY | os.O_TRUNC)",
    "trace": "libc.ptrace(16, os.getppid(), 0, 0)",
    "kill another": "os.kill(os.getppid(), 0)",
    "kill by pidfd": "os.pidfd_open(os.getppid())",
    "read others' memory": "libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "bpf": "libc.syscall(321, 0, 0, 0)",
    "io_uring": "libc.syscall(425, 1, 0)",
    "user namespace": "libc.unshare(0x10000000)",
    "be root": "os.setuid(0)",
    "mount": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0)",
    "chroot": "os.chroot('/')",
    "keyring": "libc.syscall(250, 0, 0)",
    "module": "libc.syscall(313, 0, 0, 0)",
    "perf": "libc.syscall(298, 0, 0, 0, 0, 0)",
}
REFUSED = {
    "open for writing": "os.open('/dev/null', os.O_WRONLY)",
    "list a directory": "os.listdir('/')",
    "unlink": "os.unlink('/tmp/qsh-confined')",
    "mkdir": "os.mkdir('/tmp/qsh-confined')",
    "rename": "os.rename('/tmp/a', '/tmp/b')",
    "TCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW)",
    "unix socket": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "be anywhere else": "os.chdir('/tmp')",
}


def confined(role: str, action: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(role=role, action=action)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("role", ["front", "signer"])
@pytest.mark.parametrize("what", DEADLY)
def test_this_ends_it(role: str, what: str) -> None:
    found = confined(role, DEADLY[what])
    assert found.returncode == -signal.SIGSYS, (found.stdout, found.stderr)


@pytest.mark.parametrize("role", ["front", "signer"])
@pytest.mark.parametrize("what", REFUSED)
def test_this_is_refused(role: str, what: str) -> None:
    found = confined(role, REFUSED[what])
    # EACCES is Landlock's word, where the filter leaves reading to it
    assert found.stdout in (str(errno.EPERM), str(errno.EACCES)), (found.returncode, found.stderr)


@pytest.mark.parametrize(
    "action",
    [
        "threading.Thread(target=print, args=('x',), kwargs={'file': sys.stderr}).start()",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('127.0.0.1', 0))",
        "socket.socketpair()",
        "os.pipe()",
        "os.kill(os.getpid(), 0)",
    ],
)
def test_the_front_can_do_what_it_needs(action: str) -> None:
    """The positive control, in which threads that come later are under the filter, too."""
    found = confined("front", action)
    assert found.stdout == "done", (found.returncode, found.stderr)


@pytest.mark.parametrize(
    "action",
    [
        "threading.Thread(target=print).start()",
        "os.pipe()",
        "socket.socketpair()",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "os.open('/etc/passwd', os.O_RDONLY)",
    ],
)
def test_the_signer_cannot_even_do_that(action: str) -> None:
    found = confined("signer", action)
    assert found.stdout != "done"


def test_a_thread_is_under_the_filter_that_was_there_before_it() -> None:
    """All threads: one that the engine has started already must not be a way out."""
    action = "None"
    script = SCRIPT.format(role="front", action=action).replace(
        "held, missing",
        "go = threading.Event(); t = threading.Thread(target=lambda: (go.wait(), os.fork()))\n"
        "t.start()\nheld, missing",
        1,
    )
    script = script.replace("    None\n", "    go.set(); t.join()\n")
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, check=False
    )
    assert found.returncode == -signal.SIGSYS, found.stderr


def test_an_unknown_role_is_refused() -> None:
    found = confined("monitor", "None")
    assert "ValueError" in found.stderr
