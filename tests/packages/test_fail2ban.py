"""What a real qshd logs of strangers, read by fail2ban's own matcher with the filter of packaging/."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

FILTER = Path(__file__).parents[2] / "packaging" / "fail2ban" / "filter.conf"
INJECTED = "x from 198.51.100.7 port 1 qsh"

pytestmark = pytest.mark.tool("fail2ban-regex")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def matched(log: str, tmp_path: Path) -> list[str]:
    """Addresses that would be counted, one for each line that matches."""
    file = tmp_path / "auth.log"
    file.write_text(log)
    folder = tmp_path / "filter.d"
    folder.mkdir()
    (folder / "qshd.conf").write_text(
        FILTER.read_text().replace("common.conf", "/etc/fail2ban/filter.d/common.conf")
    )
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", str(file), str(folder / "qshd.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    return re.findall(r"^\S+$", done.stdout, re.MULTILINE)


def as_syslog(lines: list[str]) -> str:
    return "".join(f"Nov 28 10:00:00 box {line}" for line in lines)


def test_the_jail_names_a_port_that_udp_has() -> None:
    """iptables looks names up for the protocol, and knows no ssh of UDP."""
    lines = (FILTER.parent / "jail.conf").read_text().splitlines()
    jail = dict(line.split(" = ") for line in lines if " = " in line)
    assert jail["protocol"] == "udp"
    assert jail["port"].isdigit() or socket.getservbyname(jail["port"], "udp")


@pytest.mark.parametrize("user", ["nobody-here", INJECTED, "a b", "root"])
def test_a_stranger_is_counted_by_his_own_address(
    server: LiveServer, user: str, tmp_path: Path
) -> None:
    before = len(server.log)
    (server.home / "authorized_keys").rename(server.home / "kept")
    try:
        done = server.run("true", options=("-l", user))
    finally:
        (server.home / "kept").rename(server.home / "authorized_keys")
    assert done.returncode == 255
    lines = [line for line in server.log[before:] if "Failed" in line]
    assert lines
    assert set(matched(as_syslog(lines), tmp_path)) == {"127.0.0.1"}


def test_who_is_let_in_is_not_counted(server: LiveServer, tmp_path: Path) -> None:
    before = len(server.log)
    assert server.run("true").returncode == 0
    lines = server.log[before:]
    assert any("Accepted" in line for line in lines)
    assert matched(as_syslog(lines), tmp_path) == []
