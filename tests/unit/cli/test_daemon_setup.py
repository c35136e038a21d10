"""Sockets at qshd's start."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from qsh.cli import daemon_setup


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5.0
        monkeypatch.setattr(daemon_setup, "monotonic_s", lambda: self.now)
        monkeypatch.setattr(daemon_setup.time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


class Port:
    """Somebody has it until ``free_s``."""

    def __init__(self, clock: Clock, free_s: float, number: int = errno.EADDRINUSE) -> None:
        self._clock, self._free_s, self._number = clock, free_s, number

    def bind(self, _host: str, _port: int) -> socket.socket:
        if self._clock.now < self._free_s:
            raise OSError(self._number, os.strerror(self._number))
        return socket.socket()


def test_a_port_that_the_front_of_a_killed_qshd_still_has_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    daemon_setup._patiently(Port(clock, 5.5).bind, "", 22).close()
    assert 5.5 <= clock.now < 5.6


@pytest.mark.parametrize(
    ("number", "waited_s"), [(errno.EADDRINUSE, daemon_setup.PORT_S), (errno.EACCES, 0.0)]
)
def test_a_port_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, number: int, waited_s: float
) -> None:
    clock = Clock(monkeypatch)
    with pytest.raises(OSError, match=os.strerror(number)):
        daemon_setup._patiently(Port(clock, 99.0, number).bind, "", 22)
    assert clock.now == pytest.approx(5.0 + waited_s, abs=0.05)


def test_a_port_that_one_family_has_is_not_taken_in_the_other_alone() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        with pytest.raises(OSError, match="in use"):
            daemon_setup.bind_one("", other.getsockname()[1])
