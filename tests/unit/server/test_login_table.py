"""Every request in every phase (docs/protocol.md 5.5)."""

from __future__ import annotations

import pytest

from qsh.errors import RemoteProtocolError
from qsh.server import login_table
from qsh.server.login_table import LoginTable

ID = b"i" * 46
OTHER = b"o" * 46


def table(phase: str) -> LoginTable:
    found = LoginTable(grace_s=120, max_attempts=3)
    if phase == "unknown":
        return found
    found.sign(ID, 1, now=0)
    if phase in ("judging", "admitted"):
        assert found.login(ID, now=1) == 1
    if phase == "admitted":
        found.judged(ID, accepted=True, counts=False)
    return found


@pytest.mark.parametrize(
    ("phase", "permitted"),
    [("unknown", False), ("signed", True), ("judging", False), ("admitted", False)],
)
def test_login_in_every_phase(phase: str, permitted: bool) -> None:
    found = table(phase)
    if permitted:
        assert found.login(ID, now=1) == 1
    else:
        with pytest.raises(RemoteProtocolError) as error:
            found.login(ID, now=1)
        assert error.value.code == "not-permitted"


@pytest.mark.parametrize(
    ("phase", "permitted"),
    [("unknown", True), ("signed", False), ("judging", False), ("admitted", False)],
)
def test_sign_in_every_phase(phase: str, permitted: bool) -> None:
    found = table(phase)
    if permitted:
        found.sign(ID, 0, now=1)
    else:
        with pytest.raises(RemoteProtocolError):
            found.sign(ID, 0, now=1)


@pytest.mark.parametrize(
    ("phase", "permitted"),
    [("unknown", False), ("signed", False), ("judging", False), ("admitted", True)],
)
def test_moved_in_every_phase(phase: str, permitted: bool) -> None:
    found = table(phase)
    if permitted:
        assert found.moved(ID) == found.moved(ID) == 1
    else:
        with pytest.raises(RemoteProtocolError, match="moved") as error:
            found.moved(ID)
        assert error.value.code == "not-permitted"


def test_a_signature_opens_one_session() -> None:
    found = table("admitted")
    found.judged(ID, accepted=False, counts=True)
    with pytest.raises(RemoteProtocolError, match="ADMITTED"):
        found.login(ID, now=2)


def test_an_ended_login_is_remembered() -> None:
    found = table("admitted")
    found.forget(ID)
    with pytest.raises(RemoteProtocolError, match="twice"):
        found.sign(ID, 0, now=3)


def test_the_memory_of_ended_logins_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_table, "MAX_USED", 1)
    found = table("admitted")
    found.sign(OTHER, 0, now=1)
    found.login(OTHER, now=1)
    found.judged(OTHER, accepted=True, counts=False)
    found.forget_all()
    assert len(found) == 0
    found.sign(ID, 0, now=2)
    with pytest.raises(RemoteProtocolError, match="twice"):
        found.sign(OTHER, 0, now=2)


def test_login_grace_time() -> None:
    found = table("signed")
    with pytest.raises(RemoteProtocolError, match="LoginGraceTime"):
        found.login(ID, now=121)


def test_only_failures_count() -> None:
    found = table("signed")
    for _ in range(5):
        found.login(ID, now=1)
        assert not found.judged(ID, accepted=False, counts=False)
    for attempt in range(3):
        found.login(ID, now=1)
        assert found.judged(ID, accepted=False, counts=True) is (attempt == 2)
    with pytest.raises(RemoteProtocolError, match="MaxAuthTries"):
        found.login(ID, now=1)


def test_what_is_no_failure_ends_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_table, "MAX_JUDGED", 5)
    found = table("signed")
    for attempt in range(5):
        found.login(ID, now=1)
        assert found.judged(ID, accepted=False, counts=False) is (attempt == 4)
    with pytest.raises(RemoteProtocolError, match="MaxAuthTries"):
        found.login(ID, now=1)


def test_the_users_own_limit() -> None:
    """MaxAuthTries after Match; of several users on one connection the least counts."""
    found = table("signed")
    for limit, last in ((9, False), (None, False), (9, False), (4, True)):
        found.login(ID, now=1)
        assert found.judged(ID, accepted=False, counts=True, limit=limit) is last
    with pytest.raises(RemoteProtocolError, match="MaxAuthTries"):
        found.login(ID, now=1)


def test_a_limit_that_changes_between_attempts_is_no_fault_of_the_front() -> None:
    """It was told that there may be another: the table must not call that a broken rule."""
    found = table("signed")
    found.login(ID, now=1)
    assert not found.judged(ID, accepted=False, counts=True)
    found.renew(120, 1)
    found.login(ID, now=1)
    assert found.judged(ID, accepted=False, counts=True)
    with pytest.raises(RemoteProtocolError, match="MaxAuthTries"):
        found.login(ID, now=1)


def test_forgotten_is_unknown() -> None:
    found = table("signed")
    found.forget(ID)
    found.forget(ID)
    with pytest.raises(RemoteProtocolError, match="unknown"):
        found.login(ID, now=1)


def test_the_table_is_bounded_and_old_entries_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_table, "MAX_ENTRIES", 2)
    found = table("signed")
    found.sign(OTHER, 0, now=100)
    found.sign(b"x" * 46, 0, now=101)
    assert len(found) == 2
    assert found.login(OTHER, now=102) == 0
    with pytest.raises(RemoteProtocolError) as raised:
        found.login(ID, now=102)
    assert raised.value.code == "too-late", "an honest front cannot know that its entry is gone"


def test_who_is_let_in_is_not_dropped_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_table, "MAX_ENTRIES", 2)
    found = table("admitted")
    for number in range(9):
        found.sign(bytes([number]) * 46, 0, now=3)
    assert found.prove(ID) == 1
    found.forget(ID)
    with pytest.raises(RemoteProtocolError) as raised:
        found.login(ID, now=4)
    assert raised.value.code == "not-permitted", "what was used up is no matter of room"


def test_expiry_spares_admitted_sessions() -> None:
    found = table("admitted")
    found.expire(now=1e9)
    assert len(found) == 1


def test_without_a_grace_time_what_is_never_used_still_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(login_table, "MAX_ENTRIES", 1)
    found = LoginTable(grace_s=0, max_attempts=3)
    found.sign(ID, 0, now=0)
    assert found.login(ID, now=599) == 0
    found.judged(ID, accepted=False, counts=False)
    found.sign(OTHER, 0, now=601)
    assert len(found) == 1


@pytest.mark.parametrize("phase", ["unknown", "signed", "judging"])
def test_no_proof_before_the_login(phase: str) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        table(phase).prove(ID)
    assert error.value.code == "not-permitted"


def test_proofs_once_for_each_login() -> None:
    found = table("admitted")
    assert found.prove(ID) == 1
    with pytest.raises(RemoteProtocolError, match="proved"):
        found.prove(ID)
    with pytest.raises(RemoteProtocolError, match="unknown"):
        found.prove(OTHER)
    found.forget(ID)
    with pytest.raises(RemoteProtocolError, match="unknown"):
        found.prove(ID)
