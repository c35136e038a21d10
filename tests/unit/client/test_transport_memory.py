"""By which way a host was reached."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from qsh.client import host_state, transport_memory
from qsh.client.addresses import Address
from qsh.clock import wall_s

if TYPE_CHECKING:
    from pathlib import Path

HOST = Address(socket.AF_INET, "127.0.0.1")


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_a_way_is_remembered_for_one_host_and_port_until_udp_works() -> None:
    assert not host_state.has_any("transports")
    transport_memory.save(HOST, 22, "tcp")
    assert host_state.has_any("transports")
    assert transport_memory.load(HOST, 22) == "tcp"
    assert transport_memory.load(HOST, 23) == ""
    assert transport_memory.load(HOST._replace(host="127.0.0.2"), 22) == ""
    transport_memory.forget(HOST, 22)
    transport_memory.forget(HOST, 22)
    assert transport_memory.load(HOST, 22) == ""


def test_another_network_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    transport_memory.save(HOST, 22, "ssh")
    monkeypatch.setattr("qsh.client.network.mark", lambda family, host: b"another")
    assert transport_memory.load(HOST, 22) == ""


@pytest.mark.parametrize(
    "text", ["", "way tcp", "way pigeon\nsince {now}", "way tcp\nsince x", "way tcp\nsince {old}", "\xff"]
)  # fmt: skip
def test_what_is_old_or_odd_is_nothing(state_home: Path, text: str) -> None:
    transport_memory.save(HOST, 22, "tcp")
    (file,) = (state_home / "qsh" / "transports").iterdir()
    file.write_text(text.format(now=wall_s(), old=wall_s() - 8 * 86400))
    assert transport_memory.load(HOST, 22) == ""


def test_what_was_saved_a_moment_ago_is_not_of_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_memory, "wall_s", lambda: 1000.7)
    transport_memory.save(HOST, 22, "tcp")
    assert transport_memory.load(HOST, 22) == "tcp"
