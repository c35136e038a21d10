"""OpenSSH's own regress scripts with ``qsh`` as the ssh that they test.

What they say of ``ssh -G``, of the command line and of the configuration is said of qsh. Where they log in, it is to an
sshd behind a ProxyCommand, so qsh is what other programs meet where there is no qshd: it must end up as ssh would.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REGRESS = Path(sys.prefix, "openssh", "regress")
"""What `packaging/setup.sh openssh-tests` brings."""
OF_DASH_G = ("cfginclude", "percent", "sshcfgparse")
OF_THE_WAY_TO_SSH = (
    "broken-pipe",
    "cert-file",
    "connect-uri",
    "envpass",
    "exit-status-signal",
    "forcecommand",
    "host-expand",
    "knownhosts",
    "knownhosts-command",
    "localcommand",
    "proxy-connect",
    "scp",
    "scp-uri",
    "scp3",
    "sftp-batch",
    "sftp-cmds",
    "sftp-uri",
    "stderr-after-eof",
    "yes-head",
)
PORT = "4242"
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.tool("test-exec.sh", "ssh", "sshd", "scp", "sftp", "ssh-keygen", "ssh-agent"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scripts keep keys and files; several use those of the first."""
    return tmp_path_factory.mktemp("regress")


@pytest.fixture(scope="module", autouse=True)
def _separation() -> None:
    """sshd as root wants a directory that its package's service makes."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)


def run(script: str, folder: Path, ssh: str) -> subprocess.CompletedProcess[str]:
    """test-exec.sh as their Makefile calls it."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    sshd = shutil.which("sshd", path=path)
    sftp = next((each for each in SFTP_SERVERS if Path(each).exists()), "")
    environment = {
        name: os.environ[name] for name in ("HOME", "LOGNAME", "USER") if name in os.environ
    }
    environment |= {
        "PATH": path,
        "OBJ": str(folder),
        "SUDO": "",
        "TEST_SHELL": "sh",
        "TEST_SSH_PORT": PORT,
        "TEST_SSH_SFTPSERVER": sftp,
        "TEST_SSH_SSH": ssh,
        "TEST_SSH_SSHD": str(sshd),
        "TEST_SSH_UNSAFE_PERMISSIONS": "1",  # the folder is below one that everybody may write to
    }
    return subprocess.run(
        ["sh", str(REGRESS / "test-exec.sh"), str(folder), str(REGRESS / f"{script}.sh")],
        cwd=REGRESS,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("script", [*OF_DASH_G, *OF_THE_WAY_TO_SSH])
def test_a_script_passes(script: str, folder: Path) -> None:
    done = run(script, folder, str(Path(sys.executable).with_name("qsh")))
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"^ok ", done.stdout, re.MULTILINE), done.stdout[-4000:]  # not left out


def test_a_script_fails_with_another_program(folder: Path) -> None:
    """The control: the scripts do look at what they are given."""
    assert run("sshcfgparse", folder, "/bin/true").returncode
