"""Every text is compared with what the installed ssh prints, against an sshd on the loopback."""

from __future__ import annotations

import os
import pty
import select
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from qsh.auth.host_texts import (
    added_text,
    ask_again_prompt,
    ask_prompt,
    changed_refusal,
    changed_warning,
    no_strict_key_text,
    read_answer,
    revoked_refusal,
    revoked_warning,
)
from qsh.auth.known_hosts import KnownHosts, KnownKey, format_line
from tests.unit.auth.ssh_tools import public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qsh.auth.keys import PublicKey

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
VERSION = SSHD and subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
needs_ssh_9_2 = pytest.mark.skipif(
    "OpenSSH_9.2" not in (VERSION or ""), reason="the texts are those of OpenSSH 9.2"
)


@dataclass
class Server:
    port: int
    folder: Path

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def command(self, *options: str) -> list[str]:
        given = [f"UserKnownHostsFile={self.known_hosts}", "GlobalKnownHostsFile=none", *options]
        args = ["ssh", "-F", "none", "-p", str(self.port)]
        return [*args, *(a for o in given for a in ("-o", o)), "127.0.0.1", "true"]

    def stderr(self, *options: str) -> list[str]:
        command = self.command("BatchMode=yes", "PasswordAuthentication=no", *options)
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return done.stderr.replace("\r\n", "\n").splitlines()

    def prompt(self, answer: str, *options: str) -> tuple[str, str]:
        """What ssh asks on its terminal, and what it says after ``answer``."""
        pid, tty = pty.fork()
        if pid == 0:
            os.execvp("ssh", self.command(*options))
        asked = _read_until(tty, "? ")
        os.write(tty, answer.encode() + b"\n")
        again = _read_until(tty, ": ")
        os.write(tty, b"no\n")
        os.close(tty)
        os.waitpid(pid, 0)
        # the carriage return is the terminal's: readpassphrase.c begins a line with it
        return asked.lstrip("\r"), again.replace(answer, "", 1).lstrip("\r\n")


def _read_until(tty: int, end: str) -> str:
    text, deadline = "", time.monotonic() + 20
    while not text.endswith(end) and time.monotonic() < deadline:
        if not select.select([tty], [], [], 1)[0]:
            continue
        try:
            text += os.read(tty, 4096).decode().replace("\r\n", "\n")
        except OSError:
            break
    return text


@pytest.fixture(scope="module")
def server(
    key_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sshd")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = [f"Port {port}", "ListenAddress 127.0.0.1", "UsePAM no", "PidFile none"]
    config.append(f"HostKey {key_files['ed25519']}")
    (folder / "sshd_config").write_text("\n".join(config) + "\n")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield Server(port, folder)
        process.terminate()


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    return {name: public(path) for name, path in key_files.items()}


@needs_ssh_9_2
class TestAgainstSsh:
    def test_new_and_strict(self, server: Server, keys: dict[str, PublicKey]) -> None:
        server.known_hosts.write_text("")
        printed = server.stderr("StrictHostKeyChecking=yes")
        assert printed == no_strict_key_text(server.name, keys["ed25519"])

    @pytest.mark.parametrize("known", ["other", "rsa"])
    def test_changed(self, server: Server, keys: dict[str, PublicKey], known: str) -> None:
        server.known_hosts.write_text("# c\n" + format_line([server.name], keys[known]))
        offending = KnownKey(keys[known], str(server.known_hosts), 2)
        expected = changed_warning(server.name, keys["ed25519"], offending, str(server.known_hosts))
        assert server.stderr() == expected + changed_refusal(server.name)

    def test_revoked(self, server: Server, keys: dict[str, PublicKey]) -> None:
        server.known_hosts.write_text("@revoked " + format_line(["*"], keys["ed25519"]))
        expected = revoked_warning(server.name, keys["ed25519"])
        assert server.stderr() == expected + revoked_refusal(server.name, keys["ed25519"])

    def test_added(self, server: Server, keys: dict[str, PublicKey]) -> None:
        server.known_hosts.write_text("")
        printed = server.stderr("StrictHostKeyChecking=accept-new")
        assert printed[0] == added_text(server.name, keys["ed25519"])
        assert server.known_hosts.read_text() == format_line([server.name], keys["ed25519"])

    @pytest.mark.parametrize("others", [0, 2, 11])
    def test_prompt(self, server: Server, keys: dict[str, PublicKey], others: int) -> None:
        key = keys["ed25519"]
        lines = [format_line([f"h{n}", f"i{n}"], key, hashed=n == 1) for n in range(others)]
        server.known_hosts.write_text("".join(lines))
        hosts = KnownHosts.parse([(str(server.known_hosts), "".join(lines))])
        names = hosts.other_names(key, server.name, os.environ.get("HOME", ""))
        visual = others == 2
        options = ["StrictHostKeyChecking=ask", f"VisualHostKey={'yes' if visual else 'no'}"]
        asked, again = server.prompt("perhaps", *options)
        assert asked == ask_prompt(server.name, server.name, key, names, visual=visual)
        assert again == ask_again_prompt


def test_answers() -> None:
    assert read_answer("yes", "SHA256:x") is True
    assert read_answer(" YES \n", "SHA256:x") is True
    assert read_answer("SHA256:x", "SHA256:x") is True
    assert read_answer("sha256:x", "SHA256:x") is None
    assert read_answer("", "SHA256:x") is False
    assert read_answer("No", "SHA256:x") is False
    assert read_answer(None, "SHA256:x") is False
    assert read_answer("y", "SHA256:x") is None


def test_prompt_variants(key_files: dict[str, Path]) -> None:
    key = public(key_files["ed25519"])
    text = ask_prompt("h", "192.0.2.1", key, other_type_known=True, dns=True)
    assert "established\nbut keys of different type are already known for this host.\n" in text
    assert "\nMatching host key fingerprint found in DNS.\n" in text
    assert "\nNo matching host key" in ask_prompt("h", "192.0.2.1", key, dns=False)
