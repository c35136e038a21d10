"""qshd under a service manager: readiness, sockets that outlive it, signs of life (docs/architecture.md 2.14)."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.service_manager import ServiceManager, SupervisedServer
from tests.support.terminal import OnTerminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMPT = b"ready$ "
SURVIVES = "DetachedMax 7d"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    found = ServiceManager(tmp_path)
    yield found
    found.close()


@pytest.fixture
def server(
    manager: ServiceManager, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SupervisedServer]:
    found = SupervisedServer(tmp_path_factory.mktemp("qshd"), manager, SURVIVES)
    yield found
    found.stop()


def open_shell(server: SupervisedServer) -> OnTerminal:
    argv = server.command("env PS1='ready$ ' HISTFILE= sh -i", options=("-t",))
    terminal = OnTerminal(argv, {**server.env, "TERM": "xterm-256color"})
    terminal.expect(PROMPT)
    return terminal


def test_readiness_sessions_and_the_end_are_told(
    manager: ServiceManager, server: SupervisedServer
) -> None:
    manager.expect("READY=1")
    with open_shell(server) as terminal:
        manager.expect("STATUS=Sessions: 1")
        terminal.type(b"exit\r")
        assert terminal.wait() == 0
    manager.expect("STATUS=Sessions: 0")
    server.process.terminate()
    server.process.wait(10)
    manager.expect("STOPPING=1")


def test_sockets_outlive_it_with_what_was_sent_meanwhile(
    manager: ServiceManager, server: SupervisedServer
) -> None:
    """The main process is killed, as a service manager would do that hears nothing from it; a terminal goes on."""
    manager.expect("READY=1")
    assert [name for name, _ in manager.store] == ["qshd-1"]
    with open_shell(server) as terminal:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.forget()
        terminal.type(
            b"echo $((6*7))\r"
        )  # nobody reads it yet, and nobody says that the port is closed
        server.start()
        terminal.expect(b"42\r\n")
        terminal.type(b"exit 5\r")
        assert terminal.wait() == 5
    assert not any(text.startswith("FDSTORE=1") for text in manager.hear()), "it was there already"


def test_another_port_lets_go_of_the_stored_one(
    manager: ServiceManager, server: SupervisedServer
) -> None:
    manager.expect("READY=1")
    before = server.port
    server.process.terminate()
    server.process.wait(10)
    server.forget()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server.port = sock.getsockname()[1]
    server.start()
    manager.expect("READY=1")
    (held,) = manager.store
    with socket.socket(fileno=os.dup(held[1])) as sock:
        assert sock.getsockname()[1] == server.port != before
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", before))  # it is free


def test_a_reload_is_told_and_moves_what_is_stored(
    manager: ServiceManager, server: SupervisedServer
) -> None:
    manager.expect("READY=1")
    manager.told.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    file = server.home / "qshd_config"
    file.write_text(file.read_text().replace(f"Port {server.port}", f"Port {port}"))
    server.process.send_signal(signal.SIGHUP)
    manager.expect("READY=1")
    assert any(text.startswith("RELOADING=1\nMONOTONIC_USEC=") for text in manager.told)
    manager.expect("FDSTOREREMOVE=1\nFDNAME=qshd-1")
    ((name, held),) = manager.store
    with socket.socket(fileno=os.dup(held)) as sock:
        assert (name, sock.getsockname()[1]) == ("qshd-2", port)


def test_signs_of_life(manager: ServiceManager, server: SupervisedServer) -> None:
    server.process.terminate()
    server.process.wait(10)
    server.forget()
    server.watchdog_us = 200_000
    server.start()
    manager.expect("WATCHDOG=1")


def test_a_socket_unit_says_where(manager: ServiceManager, server: SupervisedServer) -> None:
    server.process.terminate()
    server.process.wait(10)
    server.forget()
    manager.hear()
    for _, descriptor in manager.store:
        os.close(descriptor)
    given = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    given.bind(("127.0.0.1", 0))
    configured = server.port
    manager.store = [("qshd.socket", given.detach())]
    server.start()
    assert server.port != configured
    assert server.run("echo here").stdout == b"here\n"
