"""Kind of forward × switch × Match × key option: who forbids one forbids it, and "disable all" disables all."""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from qsh.auth.key_options import parse_options
from qsh.config.daemon_parser import parse
from qsh.server.event_loop import EventLoop
from qsh.server.forward_rules import ForwardRules
from qsh.server.forwards import HostForwards
from qsh.server.requests import Connect, Connected, ListenOn, ListensOn
from qsh.wire.messages import Target

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

UDP, UDP_ANY = Target("127.0.0.1", 80), Target("127.0.0.1", 0)
PORT, PATH = Target("localhost", 80), Target(path=b"/run/socket")
CONNECT, CONNECT_PATH, LISTEN, LISTEN_PATH = "connect", "connect-path", "listen", "listen-path"
AGENT, X11 = "agent", "x11"
PORTS: Final = frozenset({CONNECT, CONNECT_PATH, LISTEN, LISTEN_PATH})
ALL: Final = PORTS | {AGENT, X11}
CALLS: Final = ALL - PORTS
PATHS: Final = frozenset({CONNECT_PATH, LISTEN_PATH})
NOTHING: Final = frozenset[str]()

SWITCHES: Final[dict[str, AbstractSet[str]]] = {
    "": ALL,
    "DisableForwarding no": ALL,
    "DisableForwarding yes": NOTHING,
    "AllowTcpForwarding yes": ALL,
    "AllowTcpForwarding all": ALL,
    "AllowTcpForwarding no": ALL - {CONNECT, LISTEN},
    "AllowTcpForwarding local": ALL - {LISTEN},
    "AllowTcpForwarding remote": ALL - {CONNECT},
    "AllowStreamLocalForwarding no": ALL - PATHS,
    "AllowStreamLocalForwarding local": ALL - {LISTEN_PATH},
    "AllowStreamLocalForwarding remote": ALL - {CONNECT_PATH},
    "PermitOpen any": ALL,
    "PermitOpen none": ALL - {CONNECT, CONNECT_PATH},
    "PermitOpen localhost:80 other:81": ALL - {CONNECT_PATH},
    "PermitOpen localhost:*": ALL - {CONNECT_PATH},
    "PermitOpen *:*": ALL,
    "PermitOpen *:80": ALL - {CONNECT_PATH},
    "PermitOpen localhost:81 [::1]:80": ALL - {CONNECT, CONNECT_PATH},
    "PermitListen any": ALL,
    "PermitListen none": ALL - {LISTEN, LISTEN_PATH},
    "PermitListen 80": ALL - {LISTEN_PATH},
    "PermitListen localhost:*": ALL - {LISTEN_PATH},
    "PermitListen local*:80": ALL - {LISTEN_PATH},
    "PermitListen 127.0.0.1:80": ALL - {LISTEN, LISTEN_PATH},
    "GatewayPorts yes": ALL,
    "AllowAgentForwarding yes": ALL,
    "AllowAgentForwarding no": ALL - {AGENT},
    "X11Forwarding yes": ALL,
    "X11Forwarding no": ALL - {X11},
    "ForceCommand true": ALL,
    "PermitTTY no": ALL,
}
KEY_OPTIONS: Final[dict[str, AbstractSet[str]]] = {
    "": ALL,
    "restrict": NOTHING,
    "no-port-forwarding": CALLS,
    "restrict,pty": NOTHING,
    "restrict,port-forwarding": PORTS,
    "restrict,agent-forwarding": frozenset({AGENT}),
    "restrict,X11-forwarding": frozenset({X11}),
    "no-agent-forwarding,no-x11-forwarding": PORTS,
    "no-agent-forwarding": ALL - {AGENT},
    "no-X11-forwarding": ALL - {X11},
    'command="true"': ALL,
    'permitopen="localhost:80"': ALL - {CONNECT_PATH},
    'permitopen="localhost:*"': ALL - {CONNECT_PATH},
    'permitopen="*:*"': ALL,
    'permitopen="[/run/socket]:*"': ALL - {CONNECT},
    'permitopen="other:80"': ALL - {CONNECT, CONNECT_PATH},
    'permitopen="localhost:81",permitopen="localhost:80"': ALL - {CONNECT_PATH},
    'permitlisten="80"': ALL - {LISTEN_PATH},
    'permitlisten="localhost:80"': ALL - {LISTEN_PATH},
    'permitlisten="8080"': ALL - {LISTEN, LISTEN_PATH},
    'restrict,permitopen="localhost:80"': NOTHING,
    'restrict,port-forwarding,permitopen="localhost:80"': PORTS - {CONNECT_PATH},
}


def rules(config: str, key: str) -> ForwardRules:
    options = parse(config, "/f").for_connection(user="anna", address="10.0.0.1")
    return ForwardRules(options, parse_options(key))


def permitted(config: str, key: str) -> set[str]:
    """X11 is off unless a line says otherwise: here it is on."""
    on = "" if config.startswith("X11Forwarding") else "X11Forwarding yes\n"
    made = rules(on + config, key)
    found = {CONNECT} if made.may_connect(PORT) else set()
    found |= {CONNECT_PATH} if made.may_connect(PATH) else set()
    found |= {LISTEN} if made.may_listen(PORT) else set()
    found |= {AGENT} if made.may_call_agent else set()
    found |= {X11} if made.may_call_display else set()
    return found | ({LISTEN_PATH} if made.may_listen(PATH) else set())


@pytest.mark.parametrize(("switch", "key"), [*product(SWITCHES, KEY_OPTIONS)])
def test_both_must_agree(switch: str, key: str) -> None:
    """``restrict`` covers every kind; a list narrows only its own (CVE-2026-73283)."""
    expected = SWITCHES[switch] & KEY_OPTIONS[key]
    assert permitted(switch, key) == expected
    assert permitted(f"Match User anna\n{switch}", key) == expected
    assert permitted(f"Match User ben\n{switch}", key) == KEY_OPTIONS[key], "it is not about her"


@pytest.mark.parametrize(("switch", "key"), [*product(SWITCHES, KEY_OPTIONS)])
def test_disabled_is_disabled(switch: str, key: str) -> None:
    for off in ("DisableForwarding yes\n", "Match Address 10.0.0.0/8\nDisableForwarding yes\n"):
        assert permitted(off + switch, key) == NOTHING


def test_a_display_is_not_for_everybody_who_says_nothing() -> None:
    assert rules("", "").may_call_agent
    assert not rules("", "").may_call_display


@pytest.mark.parametrize(("switch", "key"), [*product(SWITCHES, KEY_OPTIONS)])
def test_datagrams_are_permitted_as_connections_are(switch: str, key: str) -> None:
    for off in ("", "DisableForwarding yes\n"):
        made, said = rules(off + switch, key), list[object]()

        def tell(message: object, descriptors: list[int], said: list[object] = said) -> None:
            said.append(message)
            for descriptor in descriptors:
                os.close(descriptor)

        loop = EventLoop()
        host = HostForwards(loop, made, tell, lambda _: None)
        host.take(Connect(4, UDP, udp=True))
        host.take(ListenOn(1, UDP_ANY, udp=True))
        connected, listens = said
        assert isinstance(connected, Connected) is made.may_connect(UDP)
        assert isinstance(listens, ListensOn)
        assert (listens.code == "") is made.may_listen(UDP_ANY)
        if off:
            assert getattr(connected, "code", "") == listens.code == "not-permitted"
        host.close()
        loop.close()


def test_a_match_takes_back_what_is_forbidden_for_all() -> None:
    config = "AllowTcpForwarding no\nPermitOpen none\nMatch User anna\nAllowTcpForwarding local\nPermitOpen any"
    assert permitted(config, "") == ALL - {LISTEN}


@pytest.mark.parametrize(
    ("host", "port", "may"),
    [("LOCALHOST", 80, True), ("localhost", 81, False), ("", 80, False), ("localhost", 0, False)],
)
def test_where_a_forward_may_listen(host: str, port: int, may: bool) -> None:
    assert rules("PermitListen localhost:80", "").may_listen(Target(host, port)) is may
    assert rules("", 'permitlisten="localhost:80"').may_listen(Target(host, port)) is may


def test_names_to_connect_to_are_compared_as_they_are() -> None:
    """As in OpenSSH: a name is not looked up, and its case counts."""
    made = rules("PermitOpen localhost:80", "")
    assert not made.may_connect(Target("127.0.0.1", 80))
    assert not made.may_connect(Target("LOCALHOST", 80))
