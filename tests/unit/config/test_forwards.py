"""Forwards of datagrams: ``udp/`` before a specification."""

from __future__ import annotations

import pytest

from qsh.config.forwards import Forward, parse_forward

from .world import World


def parsed(spec: str, **how: bool) -> Forward | None:
    return parse_forward(spec, World(), **how)


@pytest.mark.parametrize(
    ("spec", "listens", "port", "to"),
    [
        ("udp/53:ns:5353", None, 53, ("ns", 5353)),
        ("udp/*:53:ns:5353", "*", 53, ("ns", 5353)),
        ("udp/[::1]:53:[::2]:5353", "::1", 53, ("::2", 5353)),
        (" udp/:53:ns:5353", "", 53, ("ns", 5353)),
    ],
)
def test_datagrams(spec: str, listens: str | None, port: int, to: tuple[str, int]) -> None:
    for remote in (False, True):
        forward = parsed(spec, remote=remote)
        assert forward == Forward(listens, port, *to, udp=True)
        assert forward != Forward(listens, port, *to)


@pytest.mark.parametrize(
    "spec", ["udp/", "udp/53", "udp/53:ns", "udp//s:ns:53", "udp/53:/s", "udp/0:ns:53"]
)
def test_no_datagrams(spec: str) -> None:
    assert parsed(spec) is None
    assert parsed(spec, dynamic=True) is None


def test_a_path_that_begins_so() -> None:
    forward = parsed("./udp/53:ns:53")
    assert forward is not None
    assert (forward.listen_path, forward.udp) == ("./udp/53", False)


def test_a_free_port_is_the_hosts_choice() -> None:
    assert parsed("udp/0:ns:53", remote=True) == Forward(None, 0, "ns", 53, udp=True)
