"""Names of addresses, as a name server that means well or ill has them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from qsh.server import remote_name as module
from qsh.server.remote_name import look_up

HERE, V6 = "192.0.2.7", "2001:db8::7"


class Names:
    """A name server, as far as it is asked."""

    def __init__(self, pointers: dict[str, str], addresses: dict[str, list[str]]) -> None:
        self.pointers, self.addresses = pointers, addresses

    def getnameinfo(self, address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        if address[0] not in self.pointers:
            raise socket.gaierror(socket.EAI_NONAME, "no name")
        return self.pointers[address[0]], "0"

    def getaddrinfo(self, name: str, port: None, flags: int = 0) -> list[Any]:
        if flags == socket.AI_NUMERICHOST:
            if name.replace(".", "").isdigit():
                return [()]
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        if name not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return [(0, 0, 0, "", (address, 0)) for address in self.addresses[name]]


CASES = {
    "good": (Names({HERE: "Box.Example.ORG"}, {"box.example.org": ["192.0.2.1", HERE]}), HERE, "box.example.org", ""),
    "IPv6": (Names({V6: "box"}, {"box": ["2001:0db8:0::7"]}), V6, "box", ""),
    "no name": (Names({}, {}), HERE, HERE, ""),
    "a number for a name": (Names({HERE: "10.0.0.1"}, {}), HERE, HERE, "Nasty PTR record"),
    "a name without address": (Names({HERE: "box"}, {}), HERE, HERE, "failed"),
    "somebody else's name": (Names({HERE: "trusted"}, {"trusted": ["192.0.2.1"]}), HERE, HERE, "does not map back"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_whose_name_it_is(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    names, address, expected, reason = CASES[case]
    monkeypatch.setattr(module.socket, "getnameinfo", names.getnameinfo)
    monkeypatch.setattr(module.socket, "getaddrinfo", names.getaddrinfo)
    found = look_up(address)
    assert found.name == expected
    assert reason in found.reason
    assert bool(reason) is bool(found.reason)
