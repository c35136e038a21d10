"""Host keys, user keys and agents of qsh against a real qshd."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth.private import generate_ed25519
from tests.support.live_server import LiveServer, write_private
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def known(server: LiveServer, path: Path, strict: str = "yes") -> tuple[str, ...]:
    return ("-o", f"UserKnownHostsFile={path}", "-o", f"StrictHostKeyChecking={strict}")


# -- host keys


def test_changed_host_key(server: LiveServer, tmp_path: Path) -> None:
    _, other = generate_ed25519("other")
    path = tmp_path / "known_hosts"
    path.write_text(f"[127.0.0.1]:{server.port} {other.line()}\n")
    logins = "".join(server.log).count("Accepted")
    done = server.run("echo no", options=known(server, path, "accept-new"))
    assert done.returncode == 255
    assert done.stdout == b""
    text = done.stderr.decode()
    assert "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!" in text
    assert f"Offending ED25519 key in {path}:1" in text
    assert text.endswith("Host key verification failed.\r\n")
    assert "".join(server.log).count("Accepted") == logins


def test_unknown_host_key_strict(server: LiveServer, tmp_path: Path) -> None:
    done = server.run("echo no", options=known(server, tmp_path / "known_hosts"))
    assert done.returncode == 255
    assert b"No ED25519 host key is known for [127.0.0.1]:" in done.stderr


def test_revoked_host_key(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"* {server.host_key.line()}\n@revoked * {server.host_key.line()}\n")
    done = server.run("echo no", options=known(server, path))
    assert done.returncode == 255
    assert b"REVOKED HOST KEY DETECTED" in done.stderr


def test_new_host_is_asked_for(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    argv = server.command("echo in", options=known(server, path, "ask"))
    with OnTerminal(argv, server.env) as terminal:
        terminal.expect(b"can't be established.")
        terminal.expect(b"(yes/no/[fingerprint])? ")
        assert not path.exists()
        terminal.type(b"yes\r")
        terminal.expect(b"Warning: Permanently added")
        terminal.expect(b"in\r\n")
        assert terminal.wait() == 0
    assert path.read_text().startswith(f"[127.0.0.1]:{server.port} ssh-ed25519 ")


def test_nobody_to_ask(server: LiveServer, tmp_path: Path) -> None:
    done = server.run("echo no", options=known(server, tmp_path / "none", "ask"))
    assert done.returncode == 255
    assert done.stderr == b"Host key verification failed.\r\n"


@pytest.mark.parametrize(
    "kind", [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")]
)
def test_known_by_another_type_only(tmp_path: Path, kind: tuple[str, str]) -> None:
    """The server has an Ed25519 key too; a host known by another must not look changed."""
    path = tmp_path / "second"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind[0], "-b", kind[1], "-N", "", "-f", str(path)], check=True
    )
    server = LiveServer(tmp_path, f"HostKey {path}")
    try:
        words = path.with_suffix(".pub").read_text().split()
        (tmp_path / "known_hosts").write_text(f"127.0.0.1 {words[0]} {words[1]}\n")
        done = server.run("echo in", options=("-v",))
        assert done.stdout == b"in\n", done.stderr.decode()
        assert f"Server host key: {words[0]} ".encode() in done.stderr
    finally:
        server.stop()


def test_key_log(server: LiveServer, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    done = server.run("echo in", options=("-o", f"QshKeyLog={path}"))
    assert done.stdout == b"in\n"
    assert b"Warning: " in done.stderr
    assert b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


# -- user keys


def test_wrong_key(server: LiveServer, tmp_path: Path) -> None:
    text, _ = generate_ed25519("stranger")
    write_private(tmp_path / "id", text)
    config = tmp_path / "config"
    original = (server.home / "config").read_text()
    config.write_text(original.replace(f"{server.home}/id", f"{tmp_path}/id"))
    done = server.run("echo no", options=("-F", str(config)))
    assert done.returncode == 255
    assert done.stdout == b""
    assert done.stderr.decode() == (f"{server.user}@127.0.0.1: Permission denied (publickey).\r\n")


def test_the_right_key_among_many(server: LiveServer, tmp_path: Path) -> None:
    """The server names it, and next time it is the first."""
    lines = []
    for number in range(4):
        text, _ = generate_ed25519(f"stranger {number}")
        write_private(tmp_path / f"id{number}", text)
        lines.append(f"IdentityFile {tmp_path}/id{number}\n")
    config = tmp_path / "config"
    config.write_text("".join(lines) + (server.home / "config").read_text())
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    first = server.run("echo in", options=("-v", "-F", str(config)), env=env)
    assert first.stdout == b"in\n"
    assert b"Server accepts key" in first.stderr
    second = server.run("echo in", options=("-v", "-F", str(config)), env=env)
    assert second.stdout == b"in\n"
    assert b"Server accepts key" not in second.stderr


def sealed_config(server: LiveServer, tmp_path: Path) -> str:
    path = tmp_path / "id"
    write_private(path, (server.home / "id").read_text())
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    config = tmp_path / "config"
    original = (server.home / "config").read_text()
    config.write_text(original.replace(f"{server.home}/id", str(path)))
    return str(config)


def test_passphrase(server: LiveServer, tmp_path: Path) -> None:
    config = sealed_config(server, tmp_path)
    with OnTerminal(server.command("echo in", options=("-F", config)), server.env) as terminal:
        terminal.expect(f"Enter passphrase for key '{tmp_path}/id': ".encode())
        terminal.type(b"wrong\r")
        terminal.expect(b"Enter passphrase for key")
        terminal.type(b"secret\r")
        terminal.expect(b"in\r\n")
        assert terminal.wait() == 0


def test_no_passphrase_for_a_key_that_would_not_do(server: LiveServer, tmp_path: Path) -> None:
    config = sealed_config(server, tmp_path)
    authorized = server.home / "authorized_keys"
    before = authorized.read_text()
    authorized.write_text("")
    try:
        argv = server.command("echo in", options=("-F", config))
        with OnTerminal(argv, server.env) as terminal:
            terminal.expect(b"Permission denied (publickey).")
            assert terminal.wait() == 255
    finally:
        authorized.write_text(before)


def test_batch_mode_asks_nothing(server: LiveServer, tmp_path: Path) -> None:
    config = sealed_config(server, tmp_path)
    argv = server.command("echo in", options=("-F", config, "-o", "BatchMode=yes"))
    with OnTerminal(argv, server.env) as terminal:
        assert b"passphrase" not in terminal.expect(b"Permission denied (publickey).")
        assert terminal.wait() == 255


# -- the agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "agent.sock")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    wait_until(lambda: os.path.exists(path), "the agent's socket")
    yield path
    process.terminate()
    process.wait()


def agent_options(server: LiveServer, agent: str) -> tuple[str, ...]:
    known_hosts = f"UserKnownHostsFile={server.home}/known_hosts"
    return ("-F", "none", "-o", known_hosts, "-o", f"IdentityAgent={agent}", "-v")


def test_agent(server: LiveServer, agent: str) -> None:
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(server.home / "id")], check=True, env=env)
    done = server.run("echo in", options=agent_options(server, agent))
    assert done.stdout == b"in\n", done.stderr.decode()
    assert b"bound agent to hostkey" in done.stderr


def test_agent_with_restricted_key(server: LiveServer, agent: str, tmp_path: Path) -> None:
    """``ssh-add -h``: the agent signs for this host only, which session-bind proves."""
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    hosts = tmp_path / "hosts"
    _, other = generate_ed25519("other")
    hosts.write_text(f"right {server.host_key.line()}\nwrong {other.line()}\n")
    add = ["ssh-add", "-q", "-H", str(hosts), "-h"]
    subprocess.run([*add, "wrong", str(server.home / "id")], check=True, env=env)
    done = server.run("echo in", options=agent_options(server, agent))
    assert done.returncode == 255
    assert done.stdout == b""
    subprocess.run(["ssh-add", "-q", "-D"], check=True, env=env, stderr=subprocess.DEVNULL)
    subprocess.run([*add, "right", str(server.home / "id")], check=True, env=env)
    assert server.run("echo in", options=agent_options(server, agent)).stdout == b"in\n"


def test_agent_path_needs_no_cryptography(server: LiveServer, agent: str) -> None:
    env = {**os.environ, "SSH_AUTH_SOCK": agent}
    subprocess.run(["ssh-add", "-q", str(server.home / "id")], check=True, env=env)
    argv = server.command("true", options=agent_options(server, agent))
    code = (
        "import os, sys\n"
        "leave = os._exit\n"
        "def report(status):\n"
        "    os.write(1, b'cryptography %d\\n' % ('cryptography' in sys.modules))\n"
        "    leave(status)\n"
        "os._exit = report\n"
        "from qsh.cli.client import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [argv[0], "-c", code, *argv[3:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=server.env,
        timeout=20,
        check=False,
    )
    assert done.stdout == b"cryptography 0\n"


def test_dead_agent_is_no_obstacle(server: LiveServer, tmp_path: Path) -> None:
    path = str(tmp_path / "nobody")
    options = ("-o", f"IdentityAgent={path}")
    assert server.run("echo in", options=options).stdout == b"in\n"


# -- host certificates


def certified(home: Path, principals: str) -> LiveServer:
    """A server whose host key is certified by ``home``/ca."""
    text, authority = generate_ed25519("ca")
    write_private(home / "ca", text)
    (home / "ca.pub").write_text(authority.line() + "\n")
    server = LiveServer(home)
    server.stop()
    subprocess.run(
        [
            *("ssh-keygen", "-q", "-s", f"{home}/ca", "-I", "host", "-h"),
            *("-n", principals, f"{home}/host_key.pub"),
        ],
        check=True,
    )
    server.extra = f"HostCertificate {home}/host_key-cert.pub"
    server.start()
    (home / "known_hosts").write_text(f"@cert-authority * {authority.line()}\n")
    return server


def test_host_certificate(tmp_path: Path) -> None:
    server = certified(tmp_path, "127.0.0.1")
    try:
        done = server.run("echo in", options=("-v",))
        assert done.stdout == b"in\n", done.stderr.decode()
        assert b"matches the ED25519-CERT host certificate" in done.stderr
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["ca", "host_key"])
def test_a_revoked_host_certificate(tmp_path: Path, name: str) -> None:
    """By its authority, or by the key that it is about: @revoked goes before @cert-authority."""
    server = certified(tmp_path, "127.0.0.1")
    try:
        with (tmp_path / "known_hosts").open("a") as file:
            file.write(f"@revoked * {(tmp_path / f'{name}.pub').read_text()}")
        done = server.run("echo no")
        assert (done.returncode, done.stdout) == (255, b"")
        assert b"REVOKED HOST KEY DETECTED" in done.stderr
    finally:
        server.stop()


def test_a_host_certificate_of_an_unknown_authority(tmp_path: Path) -> None:
    server = certified(tmp_path, "127.0.0.1")
    try:
        (tmp_path / "known_hosts").write_text(
            f"@cert-authority *.example.org {(tmp_path / 'ca.pub').read_text()}"
        )
        done = server.run("echo no")
        assert (done.returncode, done.stdout) == (255, b"")
    finally:
        server.stop()


def test_host_certificate_for_another_host(tmp_path: Path) -> None:
    server = certified(tmp_path, "elsewhere")
    try:
        done = server.run("echo no")
        assert done.returncode == 255
        assert done.stdout == b""
        assert b"Host key verification failed." in done.stderr
    finally:
        server.stop()
