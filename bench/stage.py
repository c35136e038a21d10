"""Who is measured and where: programs, their servers, networks, processes and their cost."""

from __future__ import annotations

import contextlib
import os
import pty
import secrets
import select
import shutil
import signal
import statistics
import subprocess
import termios
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.netns import named
from tests.support.procs import PROMPT, Daemon, Files, LoginUser, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.netns import Network

__all__ = ["Cgroup", "Stage", "Terminal", "Tool", "quantile", "summary"]

SIZE_KB = 1024
QUICSSH_PORT = 4433
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Tool:
    """A program with the options that it is measured with."""

    name: str
    server: str
    """sshd or qshd"""
    options: tuple[str, ...] = ()
    exec: bool = True
    """Whether it can run a command without a terminal."""


OPENSSH = Tool("ssh", "sshd")
OPENSSH_GCM = Tool("ssh aes128-gcm", "sshd", ("-c", "aes128-gcm@openssh.com"))
QSH = Tool("qsh", "qshd")
MOSH = Tool("mosh", "sshd", exec=False)
TSSH = Tool("tssh", "sshd")
TSSH_KCP = Tool("tssh kcp", "sshd", ("--kcp",))
QUICSSH = Tool("quicssh-rs", "sshd")
PEERS = {tool.name: tool for tool in (OPENSSH, MOSH, TSSH, TSSH_KCP, QUICSSH)}
"""What the terminal is compared with."""


def quantile(values: Sequence[float], fraction: float) -> float:
    """By nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-fraction * len(ranked) // 1) - 1))]


def summary(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    return {
        "n": len(values),
        "min": round(min(values), digits),
        "median": round(statistics.median(values), digits),
        "p99": round(quantile(values, 0.99), digits),
        "max": round(max(values), digits),
    }


class Cgroup:
    """Counts what the processes in it cost, those that ended too."""

    def __init__(self, name: str) -> None:
        self.path = _cgroup2() / f"qsh-bench-{secrets.token_hex(4)}-{name}"
        self.path.mkdir()

    @property
    def wrap(self) -> list[str]:
        """Words before a command, so that it runs in here."""
        return ["sh", "-c", f'echo 0 > {self.path}/cgroup.procs && exec "$@"', "sh"]

    def cpu_s(self) -> float:
        text = (self.path / "cpu.stat").read_text()
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        return [int(word) for word in (self.path / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.path} does not empty")


def _cgroup2() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    raise SystemExit("bench: no cgroup2 is mounted")


class Stage:
    """One network with both servers on it, and everything that a measurement needs; ends what it began."""

    def __init__(self, network: Network | None = None, *, server: str = "") -> None:
        """Without a network: loopback. ``server`` goes into both servers' configuration."""
        self._stack = ExitStack()
        self._carrier: subprocess.Popen[bytes] | None = None
        self.name = ""
        try:
            if network is not None:
                self._stack.enter_context(network)
            self.network = network
            self.user = self._stack.enter_context(LoginUser())
            self.files = self._stack.enter_context(Files(self.user.name, server=server))
            self.client_cost = self._cgroup("client")
            self.server_cost = {name: self._cgroup(name) for name in ("sshd", "qshd")}
            side = network.server if network else None
            self.daemons = {
                name: self._stack.enter_context(
                    getattr(Daemon, name)(self.files, side=side, wrap=self.server_cost[name].wrap)
                )
                for name in ("sshd", "qshd")
            }
        except BaseException:
            self.close()
            raise

    def _cgroup(self, name: str) -> Cgroup:
        group = Cgroup(name)
        self._stack.callback(group.close)
        return group

    def give_name(self, name: str) -> None:
        """Clients know the host by it, with both of its addresses."""
        assert self.network is not None
        server, hosts = self.network.server, self.files.home / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n{server.ip4} {name}\n{server.ip6} {name}\n")
        self.name = name

    @property
    def host(self) -> str:
        if self.name:
            return self.name
        return self.network.server.ip4 if self.network else "127.0.0.1"

    @property
    def env(self) -> dict[str, str]:
        return self.files.env

    def argv(self, tool: Tool, *command: str) -> list[str]:
        """The client's words, run on the client's side and counted there."""
        port = self.daemons[tool.server].port
        if tool.name == "mosh":
            ssh = f"ssh -F {self.files.home}/ssh_config -p {port}"
            words = ["mosh", f"--ssh={ssh}", f"{self.user.name}@{self.host}"]
        elif tool.name.startswith("tssh"):
            config = f"{self.files.home}/ssh_config"
            words = [
                "tssh",
                "--udp",
                *tool.options,
                "-F",
                config,
                "-p",
                str(port),
                self.host,
                *command,
            ]
        elif tool is QUICSSH:
            self._carry(port)
            proxy = f"ProxyCommand=quicssh-rs client quic://{self.host}:{QUICSSH_PORT}"
            words = self.files.ssh(self.host, port, *command, options=("-o", proxy))
        else:
            make = self.files.qsh if tool.server == "qshd" else self.files.ssh
            words = make(self.host, port, *command, options=tool.options)
        words = [*self.client_cost.wrap, *words]
        if self.name:
            words = named(f"{self.files.home}/hosts", words)
        return self.network.client.argv(words) if self.network else words

    def _carry(self, port: int) -> None:
        """quicssh-rs beside sshd: QUIC in, TCP to sshd."""
        if self._carrier is not None:
            return
        words = ["quicssh-rs", "server", "-l", f"{self.host}:{QUICSSH_PORT}", "-p", f"{self.host}:{port}"]  # fmt: skip
        words = [*self.server_cost["sshd"].wrap, *words]
        words = self.network.server.argv(words) if self.network else words
        self._carrier = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        self._stack.callback(self._carrier.wait)
        self._stack.callback(self._carrier.kill)

    def python(self, program: Path) -> str:
        """A command line of the far side that runs a copy of ``program``, which needs the standard library only."""
        copy = self.files.home / program.name
        if not copy.exists():
            shutil.copy(program, copy)
            copy.chmod(0o644)
        found = shutil.which("python3", path=SYSTEM_PATH)
        if found is None:
            raise SystemExit(f"bench: no python3 in {SYSTEM_PATH}")
        return f"{found} {copy}"

    def run(self, tool: Tool, command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.argv(tool, command), env=self.env, check=False, **options)

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Terminal:
    """A client on a pseudo-terminal. Times are those of the reads."""

    def __init__(self, stage: Stage, tool: Tool, rows: int = 24, columns: int = 80) -> None:
        self.started = time.perf_counter()
        self.shown = bytearray()
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(ours, (rows, columns))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *stage.argv(tool)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=stage.env,
        )  # fmt: skip
        os.close(theirs)
        self.fd = ours

    def expect(self, text: bytes, limit_s: float = 30.0) -> float:
        """When ``text`` was shown. What came before and it are taken."""
        deadline = time.perf_counter() + limit_s
        while (at := self.shown.find(text)) < 0:
            left_s = deadline - time.perf_counter()
            if left_s <= 0 or not select.select([self.fd], [], [], left_s)[0]:
                raise TimeoutError(f"{text!r} is not shown, but {bytes(self.shown[-500:])!r}")
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError as error:
                raise TimeoutError(f"the client ended, showing {bytes(self.shown)!r}") from error
        now = time.perf_counter()
        del self.shown[: at + len(text)]
        return now

    def drain(self, text: bytes, limit_s: float) -> tuple[float, int]:
        """When ``text`` was shown, and how many bytes came until then; they are not kept."""
        deadline = time.perf_counter() + limit_s
        kept, count = b"", 0
        while (left_s := deadline - time.perf_counter()) > 0:
            if not select.select([self.fd], [], [], left_s)[0]:
                break
            data = os.read(self.fd, 65536)
            count += len(data)
            if text in kept + data:
                return time.perf_counter(), count
            kept = data[-len(text) :]
        raise TimeoutError(f"{text!r} is not shown after {count} bytes")

    def prompt(self) -> float:
        """Seconds from the start of the client to the first prompt."""
        return self.expect(PROMPT.strip().encode()) - self.started

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def pids(self) -> list[int]:
        return tree(self.process.pid)

    def close(self) -> None:
        """As if the window was closed."""
        if self.process.poll() is None:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
        os.close(self.fd)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def installed(tool: Tool) -> bool:
    return shutil.which(tool.name.split()[0]) is not None or tool is QSH
