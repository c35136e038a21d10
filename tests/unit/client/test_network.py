"""Telling networks apart, and remembering them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from qsh.client import network
from qsh.client.keep_alive import Learned

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_what_is_learned_belongs_to_a_network() -> None:
    network.save(b"here", Learned(110.0, 126.0))
    assert network.load(b"here") == Learned(110.0, 126.0)
    assert network.load(b"there") == Learned()


def test_no_network_has_no_memory(state_home: Path) -> None:
    network.save(b"", Learned(110.0, 126.0))
    assert network.load(b"") == Learned()
    assert not list(state_home.iterdir())


@pytest.mark.parametrize(
    "text", ["", "survived_s x", "lost_s nan\nsurvived_s inf", "survived_s -3"]
)
def test_garbage_is_ignored(state_home: Path, text: str) -> None:
    network.save(b"here", Learned(25.0))
    (file,) = (state_home / "qsh" / "networks").iterdir()
    file.write_text(text)
    assert network.load(b"here") == Learned()


def test_the_prefix_is_in_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_ROUTES", str(tmp_path / "no"))
    assert network.mark(socket.AF_INET, "127.0.0.5") == bytes((127, 0, 0))
    assert network.mark(socket.AF_INET, "not an address") == b""


def test_the_router_is_in_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routes, neighbours = tmp_path / "route", tmp_path / "arp"
    routes.write_text("Iface Destination Gateway Flags\nwlan0 00000000 0101A8C0 0003\n")
    monkeypatch.setattr(network, "_ROUTES", str(routes))
    monkeypatch.setattr(network, "_NEIGHBOURS", str(neighbours))
    neighbours.write_text("IP address HW type\n192.168.1.1 0x1 0x2 02:00:00:00:00:07 * wlan0\n")
    assert network.mark(socket.AF_INET, "127.0.0.1") == b"\x7f\0\x0002:00:00:00:00:07"
    neighbours.write_text("IP address HW type\n")
    assert network.mark(socket.AF_INET, "127.0.0.1") == b"\x7f\0\0"
