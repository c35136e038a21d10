"""What a confined process cannot do any more: each call is made by a process that has confined itself (native/src/confine.rs)."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import ctypes, os, socket, sys, threading, resource, signal, time
from qsh import _native
held, missing = _native.confine({role!r}, {paths!r})
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


def confined(
    role: str, action: str, paths: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(role=role, action=action, paths=paths)],
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
    script = SCRIPT.format(role="front", action=action, paths=()).replace(
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


# -- who writes ---------------------------------------------------------------------------------

WRITERS_DEADLY = sorted(DEADLY.keys() - {"create a file", "truncate a file"})


@pytest.mark.parametrize("role", ["recorder", "records"])
@pytest.mark.parametrize("what", WRITERS_DEADLY)
def test_this_ends_who_writes(role: str, what: str) -> None:
    found = confined(role, DEADLY[what])
    assert found.returncode == -signal.SIGSYS, (found.stdout, found.stderr)


NEW = "os.close(os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))"
READ = "os.close(os.open({path!r}, os.O_RDONLY))"
CHANGE = "os.close(os.open({path!r}, os.O_RDWR))"


def test_a_recorder_makes_files_below_its_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "new", tmp_path / "inner" / "new"):
        path.parent.mkdir(exist_ok=True)
        found = confined("recorder", NEW.format(path=str(path)), (str(tmp_path),))
        assert (found.stdout, path.exists()) == ("done", True), found.stderr
    made = f"os.mkdir('further', dir_fd=os.open({str(tmp_path)!r}, os.O_PATH))"
    assert confined("recorder", made, (str(tmp_path),)).stdout == "done"


@pytest.mark.parametrize("action", [NEW, CHANGE, READ, "os.unlink({path!r})"])
def test_a_recorder_reaches_nothing_else(tmp_path: Path, action: str) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for folder in (own, other):
        folder.mkdir()
        (folder / "there").write_text("x")
    paths = [other / "new"] if action is NEW else [other / "there"]
    if action is not NEW:
        paths.append(own / "there")  # it reads and removes nothing of its own either
    for path in paths:
        found = confined("recorder", action.format(path=str(path)), (str(own),))
        assert found.stdout in (str(errno.EPERM), str(errno.EACCES)), path
    assert not (other / "new").exists()


def test_records_are_written_where_they_are(tmp_path: Path) -> None:
    there, other = tmp_path / "wtmp", tmp_path / "other"
    for path in (there, other):
        path.write_text("x")
    paths = (str(there), str(tmp_path / "missing"))
    write = f"os.pwrite(os.open({str(there)!r}, os.O_RDWR), b'y', 0)"
    assert confined("records", write, paths).stdout == "done"
    assert there.read_text() == "y"
    for action in (CHANGE.format(path=str(other)), NEW.format(path=str(tmp_path / "missing"))):
        assert confined("records", action, paths).stdout == str(errno.EACCES)


# -- the monitor, and what is refused to processes of a login --------------------------------------

MONITORS_OWN = {
    "kill another": "os.kill(os.getppid(), 0)",
    "wait for another": "os.pidfd_open(os.getppid())",
    "a pair": "socket.socketpair()",
    "a local socket": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "a file": "os.open('/etc/passwd', os.O_RDONLY)",
}
MONITORS_REFUSED = sorted(
    DEADLY.keys() - {"create a file", "truncate a file", "kill another", "kill by pidfd"}
)


@pytest.mark.parametrize("what", MONITORS_OWN)
def test_the_monitor_can_do_what_it_needs(what: str) -> None:
    found = confined("monitor", MONITORS_OWN[what])
    assert found.stdout == "done", found.stderr


def failing(action: str) -> str:
    """An action of the C library's that says so when it fails."""
    if not action.startswith("libc."):
        return action
    return f"assert {action} == -1; raise OSError(ctypes.get_errno(), '')"


@pytest.mark.parametrize("what", MONITORS_REFUSED)
def test_this_is_refused_to_the_monitor(what: str) -> None:
    found = confined("monitor", failing(DEADLY[what]))
    assert found.stdout == str(errno.EPERM), (found.returncode, found.stderr)


RARE = ("trace", "read others' memory", "bpf", "io_uring", "module", "perf")


@pytest.mark.root
@pytest.mark.parametrize("what", RARE)
def test_this_is_refused_at_a_login_and_to_what_it_starts(what: str) -> None:
    script = SCRIPT.format(role="", paths=(), action=failing(DEADLY[what])).replace(
        "held, missing = _native.confine('', ())\nassert \"seccomp\" in held, missing\n",
        "_native.refuse_rare_calls()\nif os.fork():\n    os.wait()\n    os._exit(0)\n",
    )
    assert "refuse" in script
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert found.stdout == str(errno.EPERM), found.stderr


@pytest.mark.root
def test_new_rights_are_not_refused_at_a_login() -> None:
    """A program of an administrator's may be one that changes its user."""
    script = (
        "import os; from qsh import _native; _native.refuse_rare_calls(); os.setuid(65534);"
        "os.execv('/bin/grep', ['grep', '-E', 'NoNewPrivs|Seccomp:', '/proc/self/status'])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert found.stdout.split() == ["NoNewPrivs:", "0", "Seccomp:", "2"]


def test_an_unknown_role_is_refused() -> None:
    found = confined("nobody", "None")
    assert "ValueError" in found.stderr
