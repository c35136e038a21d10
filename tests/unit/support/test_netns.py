"""The network emulator does what its parameters say."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.link import Direction
from tests.support.netns import JUMBO, Network, Side


def direction(**parameters: object) -> Direction:
    return Direction(0, 1, random.Random(1), **parameters)  # type: ignore[arg-type]


def test_delay_is_added() -> None:
    assert direction(delay_ms=50).admit(1000, now=10.0) == pytest.approx(10.05)


def test_rate_paces_and_a_full_queue_drops() -> None:
    way = direction(rate_mbit=8, queue=2500)  # 1 byte per microsecond
    assert way.admit(1000, 1.0) == pytest.approx(1.001)
    assert way.admit(1000, 1.0) == pytest.approx(1.002)
    assert way.admit(1000, 1.0) is None
    assert way.admit(1000, 1.001) == pytest.approx(1.003)
    assert way.counters["overflow"] == 1


def test_a_queue_in_packets_counts_those_that_fly() -> None:
    way = direction(rate_mbit=8, delay_ms=50, queue_packets=3)
    assert [way.admit(1000, 1.0) is None for _ in range(4)] == [False, False, False, True]
    assert way.admit(1000, 1.02) is None, "sent, but not at the sink"
    way.arrived()
    assert way.admit(1000, 1.06) is not None
    assert way.counters["overflow"] == 2


def test_loss_is_seeded() -> None:
    lost = [[direction(loss=0.3).admit(1, n) is None for n in range(1)] for _ in range(3)]
    assert lost[0] == lost[1] == lost[2]
    way = direction(loss=0.3)
    assert 250 < sum(way.admit(1, n) is None for n in range(1000)) < 350


def test_jitter_does_not_reorder_unless_asked() -> None:
    for reorder in (False, True):
        way = direction(jitter_ms=50, reorder=reorder)
        due = [way.admit(1, n / 1000) for n in range(200)]
        assert (due != sorted(due, key=lambda at: at or 0)) is reorder


def test_cut_and_mtu() -> None:
    assert direction(cut=True).admit(1, 0) is None
    assert direction(mtu=1400).admit(1401, 0) is None
    assert direction(mtu=1400).admit(1400, 0) is not None


def ping_ms(side: Side, host: str, *options: str) -> float:
    """RTT of one ping; infinity without an answer."""
    done = side.run(["ping", "-c1", "-W1", *options, host], capture_output=True, text=True)
    found = re.search(r"time=([\d.]+) ms", done.stdout)
    return float(found[1]) if found else float("inf")


@pytest.mark.root
@pytest.mark.tool("ip", "nsenter", "ping")
def test_link_has_the_delay_for_both_families_and_changes_while_it_runs() -> None:
    with Network.link(delay_ms=20) as net:
        for host in (net.server.ip4, net.server.ip6):
            ping_ms(net.client, host)
            assert 40 <= ping_ms(net.client, host) < 60
        net.set(delay_ms=0)
        assert ping_ms(net.client, net.server.ip4) < 20
        net.set(cut=True)
        assert ping_ms(net.client, net.server.ip4) == float("inf")
        net.set(cut=False, down={"loss": 1.0})
        assert ping_ms(net.client, net.server.ip4) == float("inf")
        assert net.counters()["down"]["lost"] >= 1
        net.set(loss=0.0)
        net.client.change_address("10.77.9.9")
        assert ping_ms(net.client, net.server.ip4) < 20


@pytest.mark.root
@pytest.mark.tool("ip", "nsenter", "ping")
@pytest.mark.parametrize("mtu", [1500, JUMBO])
def test_veth_has_the_mtu(mtu: int) -> None:
    with Network.veth(mtu) as net:
        whole = str(mtu - 28)
        assert ping_ms(net.client, net.server.ip4, "-M", "do", "-s", whole) < 20
        over = str(mtu - 27)
        assert ping_ms(net.client, net.server.ip4, "-M", "do", "-s", over) == float("inf")


@pytest.mark.root
@pytest.mark.tool("ip", "nsenter")
def test_the_end_takes_its_own_processes_only() -> None:
    with Network.veth() as first, Network.veth() as second:
        ours = first.server.popen(["sleep", "60"])
        theirs = second.server.popen(["sleep", "60"])
        first.close()
        assert ours.wait(5) == -15
        assert theirs.poll() is None
        assert not first.server.path.exists()
        assert second.server.path.exists()
    theirs.wait(5)
    assert not Path("/run/netns", second.client.name).exists()


@pytest.mark.root
@pytest.mark.tool("ip", "nsenter")
def test_a_namespace_hides_the_machines_network() -> None:
    with Network.veth() as net:
        links = net.client.run(["ip", "-o", "link"], stdout=subprocess.PIPE, text=True).stdout
        assert {line.split(": ")[1].split("@")[0] for line in links.splitlines()} >= {"lo", "wan0"}
        assert "eth0" not in links
