"""UDP that is blocked in mid-session where only sshd answers on TCP: the connection goes on through SSH, and comes back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.blocked_udp import (
    DOWN,
    IN_VAIN,
    LEAVING,
    LIMIT_S,
    RETURNING,
    TCP,
    UP,
    BlockedUdp,
    flow_of,
    typing,
)
from tests.support.netns import Network
from tests.support.procs import BIN, Daemon, Files
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.tool("tmux", "nft")]

DELAY_MS = 10
SINGLE_LOGIN = 1


@pytest.fixture
def rules() -> str:
    """Of both servers."""
    return "LogLevel INFO\n"


@pytest.fixture
def site(tmp_path: Path, rules: str) -> Iterator[BlockedUdp]:
    """root, since nobody else may run what the tests run."""
    user: Any = SimpleNamespace(name="root", home=tmp_path)
    with Files("root", server=rules) as files, Network.link(delay_ms=DELAY_MS) as network:
        side = network.server
        with Daemon.qshd(files, side=side) as qshd, Daemon.sshd(files, side=side) as sshd:
            found = BlockedUdp(network, files, qshd, user)
            command = f"QshBootstrapCommand={BIN}/qshd"
            found.port = sshd.port
            found.options = ("-o", f"QshPort={qshd.port}", "-o", command)
            yield found


def test_a_terminal_goes_on_by_ssh_and_comes_back(site: BlockedUdp) -> None:
    """It is the same connection all the time, and no byte is lost or doubled."""
    work = site.work()
    try:
        typing(work, lambda: len(work.typed) > 100, "work")
        site.block()
        typing(work, lambda: site.said(LEAVING + b"ssh") == 1, "the move to SSH", "blocked")
        work.type("by-ssh ")
        work.hears("by-ssh")
        wait_until(lambda: site.status()["migrations"] == 1, "the move in the status")
        assert site.status()["transport"] == "ssh"
        site.unblock()
        typing(work, lambda: site.said(RETURNING) == 1, "the move back", "later")
        wait_until(lambda: site.status()["migrations"] == 2, "the move back in the status")
        assert site.status()["transport"] == "udp"
        site.block(TCP)  # nothing needs it any more
        typing(work, lambda: "heard udp-3" in "\n".join(work.screen.lines()), "the end", "udp")
        assert site.logins() == SINGLE_LOGIN
        work.end()
    finally:
        work.screen.close()


@pytest.mark.parametrize("family", ["ip4", "ip6"])
def test_a_program_goes_on(site: BlockedUdp, family: str) -> None:
    site.host = getattr(site.network.server, family)
    with site.popen() as client:
        flow = flow_of(client)
        flow.await_more()
        site.block()
        wait_until(lambda: site.said(LEAVING) == 1, "the move to SSH", LIMIT_S)
        flow.await_more()
        site.unblock()
        wait_until(lambda: site.said(RETURNING) == 1, "the move back", LIMIT_S)
        site.block(TCP)
        flow.await_more()
        flow.end()
        assert client.wait(LIMIT_S) == 0
    assert site.logins() == SINGLE_LOGIN


@pytest.mark.parametrize("rules", ["LogLevel INFO\nDenyUsers root@127.0.0.1\n"])
def test_where_rules_forbid_what_comes_from_the_host_itself(site: BlockedUdp) -> None:
    """The server sees the packets come from loopback. The terminal waits for UDP then, as where there is no SSH."""
    work = site.work()
    try:
        typing(work, lambda: len(work.typed) > 100, "work")
        site.block(UP + DOWN)
        forbidden = b"the server's rules forbid the way through ssh"
        typing(work, lambda: site.said(forbidden) == 1, "word of the rules", "blocked")
        site.unblock()
        typing(work, lambda: "heard later-3" in "\n".join(work.screen.lines()), "contact", "later")
        assert site.said(LEAVING) == 1
        work.end()
    finally:
        work.screen.close()


def test_without_a_qshd_to_run_there_is_no_way(site: BlockedUdp) -> None:
    site.options = (*site.options[:-1], "QshBootstrapCommand=/nowhere/qshd")
    with site.popen() as client:
        flow = flow_of(client)
        flow.await_more()
        site.block()
        wait_until(
            lambda: site.said(IN_VAIN + b"through SSH: there is no qshd") == 1,
            "an attempt",
            LIMIT_S,
        )
        site.unblock()
        flow.await_more()
        flow.end()
        assert client.wait(LIMIT_S) == 0
    assert not site.said(LEAVING)
