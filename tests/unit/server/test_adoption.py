"""Which session host goes on after its front has ended."""

from __future__ import annotations

import os
from dataclasses import replace

import msgspec
import pytest

from qsh.auth.key_options import KeyOptions
from qsh.config.daemon_options import DaemonOptions
from qsh.server.account import Account
from qsh.server.adoption import choose, rights_of
from qsh.server.requests import Grant

ACCOUNT = Account("me", 1000, 1000, (1000,), "/home/me", "/bin/sh")
GRANT = Grant(ACCOUNT, None, None, ("192.0.2.1", 4711), ("192.0.2.2", 22))


@pytest.mark.parametrize(
    "changes",
    [
        {"client": ("192.0.2.7", 1)},
        {"server": ("192.0.2.3", 2222)},
        {"last_login": (1.0, "192.0.2.9")},
        {"environment": {"A": "b"}, "message": "hello"},
    ],
)
def test_where_the_client_is_makes_no_difference(changes: dict[str, object]) -> None:
    assert rights_of(msgspec.structs.replace(GRANT, **changes)) == rights_of(GRANT)


@pytest.mark.parametrize(
    "changes",
    [
        {"account": replace(ACCOUNT, uid=1001)},
        {"account": replace(ACCOUNT, groups=(1000, 27))},
        {"options": DaemonOptions(permit_tty=False)},
        {"key": KeyOptions(pty=False)},
        {"generation": 1},
        {"auth_info": "publickey"},
    ],
)
def test_what_it_may_do_does(changes: dict[str, object]) -> None:
    assert rights_of(msgspec.structs.replace(GRANT, **changes)) != rights_of(GRANT)


def test_the_process_that_listens_is_chosen_or_its_keeper() -> None:
    rights = rights_of(GRANT)
    me, parent = os.getpid(), os.getppid()
    assert choose({me: rights}, me, rights) == me
    assert choose({parent: rights}, me, rights) == parent
    assert choose({me: rights}, parent, rights) == 0, "another process"
    assert choose({me: b"more rights"}, me, rights) == 0
    assert choose({}, me, rights) == 0
    assert choose({0: rights}, 0, rights) == 0, "nobody said who listens"
    assert choose({me: rights}, 1 << 30, rights) == 0, "it has just ended"
