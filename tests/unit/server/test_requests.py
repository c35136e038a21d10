"""Messages between qshd's processes: every kind that one socket carries can be told from the others, and is in the drawing."""

from __future__ import annotations

import re
from typing import get_args

import msgspec
import pytest

from qsh.server import requests
from qsh.server.requests import (
    FrontRequest,
    HostAnswer,
    HostReport,
    HostRequest,
    Local,
    MonitorAnswer,
    SignerReport,
    SignerRequest,
    SpawnerReport,
    SpawnerRequest,
)

SOCKETS = {
    "front to monitor": FrontRequest,
    "monitor to front": MonitorAnswer,
    "monitor to signer": SignerRequest,
    "signer to monitor": SignerReport,
    "monitor to spawner": SpawnerRequest,
    "spawner to monitor": SpawnerReport,
    "session host and login child to monitor": HostReport,
    "front to session host": HostRequest,
    "session host to front": HostAnswer,
}
ALONE = {"Adopt", "Begin", "Questions", "Answers"}
"""Sockets to a session host, and of a login child, that carry one kind."""


@pytest.mark.parametrize("socket", SOCKETS)
def test_kinds_of_a_socket_have_tags_of_their_own(socket: str) -> None:
    kinds = get_args(SOCKETS[socket])
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds) > 1
    msgspec.msgpack.Decoder(SOCKETS[socket])  # every annotation is found where the struct is


def test_every_kind_is_carried_by_some_socket() -> None:
    carried = {kind.__name__ for union in SOCKETS.values() for kind in get_args(union)}
    assert {kind.__name__ for kind in Local.__subclasses__() if _here(kind)} == carried | ALONE


def test_every_kind_is_in_the_drawing() -> None:
    drawing = requests.__doc__ or ""
    kinds = {kind.__name__ for kind in Local.__subclasses__() if _here(kind)}
    assert len(kinds) > 40
    assert {name for name in kinds if not re.search(rf"\b{name}\b", drawing)} == set()


def _here(kind: type) -> bool:
    return kind.__module__.startswith("qsh.server.requests.")
