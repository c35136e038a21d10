"""``-A`` against a real qshd with real agents: what goes through, what does not, and whom a terminal's programs call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.agent import SshAgent
from tests.support.live_server import LiveServer
from tests.support.procs import tree
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FORWARD = ("-o", "IdentityAgent=SSH_AUTH_SOCK", "-A")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), "DetachedMax 1h")
    yield server
    server.stop()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[SshAgent]:
    with SshAgent(tmp_path) as agent:
        yield agent


def test_the_list_of_keys(server: LiveServer, agent: SshAgent) -> None:
    done = server.run("ssh-add -L", options=FORWARD, env=agent.env)
    assert (done.stdout.decode().strip(), done.stderr, done.returncode) == (agent.public, b"", 0)


def test_a_signature(server: LiveServer, agent: SshAgent, tmp_path: Path) -> None:
    done = server.run(f"ssh-add -T {agent.key}.pub && echo signed", options=FORWARD, env=agent.env)
    assert (done.stdout, done.returncode) == (b"signed\n", 0), done.stderr


@pytest.mark.parametrize("what", ["-D", "-d {key}.pub", "-X", "-e /nonesuch.so", "{key}"])
def test_what_would_change_the_agent_is_refused(
    server: LiveServer, agent: SshAgent, what: str
) -> None:
    command = f"ssh-add {what.format(key=agent.key)}"
    done = server.run(command, options=FORWARD, env=agent.env, stdin=b"1234\n")
    assert done.returncode != 0
    assert agent.ssh_add("-L").stdout.decode().strip() == agent.public


def test_locking_is_refused(server: LiveServer, agent: SshAgent) -> None:
    """As what ssh-add(1) would send, since it asks only a terminal for the pass phrase."""
    code = "import os,socket;s=socket.socket(socket.AF_UNIX);s.connect(os.environ['SSH_AUTH_SOCK'])"
    code += ";s.sendall(bytes.fromhex('00000006160000000178'));print(s.recv(9))"
    done = server.run(f'{sys.executable} -S -c "{code}"', options=FORWARD, env=agent.env)
    assert done.stdout == b"b'\\x00\\x00\\x00\\x01\\x05'\n", done.stderr
    assert agent.ssh_add("-L").stdout.decode().strip() == agent.public


SHOW = "echo ${SSH_AUTH_SOCK-none}"


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-A", "-a"),
        ("-oForwardAgent=no",),
        ("-A", "-oIdentityAgent=none"),
        ("-oForwardAgent=/nonesuch",),
        ("-oForwardAgent=$NONESUCH",),
    ],
)
def test_without(server: LiveServer, agent: SshAgent, options: tuple[str, ...]) -> None:
    used = () if "-oIdentityAgent=none" in options else ("-oIdentityAgent=SSH_AUTH_SOCK",)
    done = server.run(SHOW, options=(*used, *options), env=agent.env)
    assert done.stdout == b"none\n"


@pytest.mark.parametrize("value", ["{path}", "$MINE", "${{MINE}}"])
def test_another_agent_than_the_login_uses(server: LiveServer, agent: SshAgent, value: str) -> None:
    option = f"-oForwardAgent={value.format(path=agent.path)}"
    done = server.run("ssh-add -L", options=(option,), env={"MINE": str(agent.path)})
    assert done.stdout.decode().strip() == agent.public


@pytest.mark.parametrize(
    ("config", "key", "may"),
    [
        ("", "", True),
        ("AllowAgentForwarding yes", "", True),
        ("AllowAgentForwarding no", "", False),
        ("DisableForwarding yes", "", False),
        ("Match User *\nAllowAgentForwarding no\nMatch all", "", False),
        ("", "restrict ", False),
        ("", "no-agent-forwarding ", False),
        ("", "restrict,agent-forwarding ", True),
    ],
)
def test_what_the_server_permits(
    tmp_path: Path, agent: SshAgent, config: str, key: str, may: bool
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    server = LiveServer(home, config)
    try:
        keys = home / "authorized_keys"
        keys.write_text(key + keys.read_text())
        done = server.run(SHOW, options=FORWARD, env=agent.env)
        assert (done.stdout != b"none\n") is may
        assert (done.stderr, done.returncode) == (b"", 0)
    finally:
        server.stop()


def test_the_socket_is_the_users_and_goes_with_the_program(
    server: LiveServer, agent: SshAgent
) -> None:
    command = f"{SHOW}; stat -c %a $SSH_AUTH_SOCK ${{SSH_AUTH_SOCK%/*}}"
    path, *modes = server.run(command, options=FORWARD, env=agent.env).stdout.split()
    assert modes == [b"600", b"700"]
    wait_until(lambda: not Path(os.fsdecode(path)).exists())


def test_a_login_from_there_with_the_agents_key(
    server: LiveServer, agent: SshAgent, tmp_path: Path
) -> None:
    """The next hop binds the agent's connection to itself, and signs."""
    home = tmp_path / "home"
    home.mkdir()
    second = LiveServer(home)
    try:
        (home / "authorized_keys").write_text(agent.public + "\n")
        (home / "config").write_text(
            (home / "config").read_text().replace("IdentityAgent none", "IdentityAgent $SSH_AUTH_SOCK")
            .replace(f"IdentityFile {home}/id", f"IdentityFile {agent.key}.pub")
        )  # fmt: skip
        agent.key.unlink()
        inner = " ".join(f"'{word}'" for word in second.command("echo there", options=("-v",)))
        done = server.run(inner, options=FORWARD, env=agent.env)
        assert (done.stdout, done.returncode) == (b"there\n", 0), done.stderr
        assert b"bound agent to hostkey" in done.stderr
    finally:
        second.stop()


def test_restrictions_of_a_key_hold(server: LiveServer, agent: SshAgent, tmp_path: Path) -> None:
    """``ssh-add -h``: a key for this host alone is not there for programs on it; one for a host behind it is."""
    known = tmp_path / "known_hosts"
    known.write_text(f"first {server.host_key.line()}\nsecond {agent.public}\n")
    listed = {}
    for limits in ((), ("-h", "first"), ("-h", "first", "-h", "first>second"), ("-h", "second")):
        agent.add("-q", "-D")
        agent.add("-q", "-H", str(known), *limits, str(agent.key))
        listed[limits[1::2]] = server.run("ssh-add -L", options=FORWARD, env=agent.env).stdout
    assert [agent.public.encode() in found for found in listed.values()] == [
        True,
        False,
        True,
        False,
    ]


def test_nothing_is_forwarded_to_a_host_that_is_another(
    server: LiveServer, agent: SshAgent, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"* {agent.public}\n")
    options = (
        f"-oUserKnownHostsFile={known}",
        "-oStrictHostKeyChecking=no",
        "-oUpdateHostKeys=yes",
    )
    forwards = (*FORWARD, "-X", "-R", "0:localhost:1")
    env = {**agent.env, "DISPLAY": ":1"}
    done = server.run(f"{SHOW}; echo ${{DISPLAY-none}}", options=(*options, *forwards), env=env)
    assert done.stdout == b"none\nnone\n"
    for what in (b"Agent", b"X11", b"Port"):
        text = b" forwarding is disabled to avoid man-in-the-middle attacks."
        assert what + text in done.stderr
    assert known.read_text() == f"* {agent.public}\n"
    done = server.run(
        "echo on", options=(*options, *forwards, "-oExitOnForwardFailure=yes"), env=env
    )
    assert (done.stdout, done.returncode) == (b"", 255)
    assert b"Error: forwarding disabled due to host key check failure" in done.stderr


# -- a terminal that outlives its clients --------------------------------------------------------


def attach(server: LiveServer, agent: SshAgent, *options: str) -> OnTerminal:
    argv = [sys.executable, "-m", "qsh.cli.control", "attach", "-F", f"{server.home}/config"]
    argv += ["-p", str(server.port), *options, server.target, "1"]
    return OnTerminal(argv, {**server.env, **agent.env})


def keys_at(path: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "SSH_AUTH_SOCK": path}
    return subprocess.run(["ssh-add", "-L"], env=env, capture_output=True, check=False, timeout=20)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LiveServer]:
    home = tmp_path / "home"
    home.mkdir()
    server = LiveServer(home, "DetachedMax 1h")
    yield server
    server.stop()


def shown_path(terminal: OnTerminal) -> str:
    """SSH_AUTH_SOCK of the shell there."""
    terminal.expect(b"ready$ ")
    terminal.type(b"echo at $SSH_AUTH_SOCK.\r")
    terminal.expect(b"at /")
    return "/" + terminal.expect(b".\r\n").decode().partition(".\r")[0]


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[tuple[SshAgent, SshAgent]]:
    with SshAgent(tmp_path, "one") as one, SshAgent(tmp_path, "two") as two:
        yield one, two


def on_terminal(server: LiveServer, agent: SshAgent) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t", *FORWARD))
    return OnTerminal(argv, {**server.env, **agent.env})


def test_one_path_for_the_agents_of_all_clients(
    own_server: LiveServer, agents: tuple[SshAgent, SshAgent]
) -> None:
    one, two = agents
    with on_terminal(own_server, one) as first:
        path = shown_path(first)
        assert keys_at(path).stdout.decode().strip() == one.public
        os.kill(first.pid, signal.SIGKILL)
        with attach(own_server, two, *FORWARD) as second:
            second.expect(b"ready$ ")
            second.type(b"ssh-add -L\r")
            second.expect(two.public.encode()[:60])
            with attach(own_server, one) as third:
                third.expect(b"ready$ ")
                assert keys_at(path).stdout.decode().strip() == two.public, "the third has none"
            second.type(b"exit 3\r")
            assert second.wait() == 3


def test_nobody_is_called_without_a_client(
    own_server: LiveServer, agents: tuple[SshAgent, SshAgent]
) -> None:
    one, two = agents
    with on_terminal(own_server, one) as first:
        path = shown_path(first)
        first.type(b"\r~d")
        assert first.wait() == 0
    wait_until(lambda: any("is detached" in line for line in own_server.log))
    done = keys_at(path)
    assert (done.stdout, done.returncode) == (b"", 1)
    assert b"agent refused operation" in done.stderr
    with attach(own_server, two, *FORWARD) as second:
        second.expect(b"ready$ ")
        assert keys_at(path).stdout.decode().strip() == two.public


def test_after_a_lost_connection(own_server: LiveServer, agent: SshAgent) -> None:
    with on_terminal(own_server, agent) as terminal:
        path = shown_path(terminal)
        (front,) = [pid for pid in tree(own_server.process.pid) if name_of(pid) == "qshd-front"]
        wait_until(lambda: age_s(front) > 1.2, "a front that is replaced")
        os.kill(front, signal.SIGKILL)
        terminal.type(b"\r")
        wait_until(lambda: keys_at(path).stdout.decode().strip() == agent.public)
        terminal.type(b"exit 3\r")
        assert terminal.wait() == 3
        wait_until(lambda: not Path(path).exists())


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def age_s(pid: int) -> float:
    """Of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
