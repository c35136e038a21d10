"""Who may resume what: the login child's judgement of a resuming client, case by case (docs/protocol.md 5.6 to 5.8)."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.auth.resume_proof import resume_data
from qsh.config.daemon_options import DaemonOptions
from qsh.quic import ed25519_public, ed25519_sign
from qsh.server import login as module
from qsh.server.login import Judge
from qsh.server.requests import Login, Outcome, Step
from qsh.wire.messages import Resume

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qsh.server.login import Opinion
    from qsh.server.pam_login import PamLogin

ME = pwd.getpwuid(os.getuid())
SESSION_ID, OTHER_ID = b"i" * 46, b"o" * 46
SEED, OTHER_SEED = b"s" * 32, b"z" * 32
CLIENT, TICKET, RECORD = b"c" * 16, b"t" * 16, b"r" * 36
KEY, OTHER_KEY = (PrivateKey.load(generate_ed25519()[0].encode()) for _ in range(2))
NOW = 1_700_000_000.0


class Case(NamedTuple):
    """What differs from a client that comes back in good order, and what the log says of it ("": it is let in)."""

    reason: str
    line: str = ""
    """Options in front of the key's line."""
    key: PrivateKey = KEY
    """That the file names."""
    options: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody changes
    resume: dict[str, Any] = {}  # noqa: RUF012
    signed: dict[str, Any] = {}  # noqa: RUF012
    """What the signature is over, if it is not what is asked for."""
    seed: bytes = SEED
    login: dict[str, Any] = {}  # noqa: RUF012
    uid: int | None = ME.pw_uid
    done: tuple[str, ...] = ("publickey",)
    """By the login that is continued."""
    offers: bool = True


CASES = {
    "in good order": Case(""),
    "from= names the new address": Case("", line='from="192.0.2.0/24" '),
    "the key's line has lost rights meanwhile": Case("", line="restrict "),
    "another address, which from= does not name": Case("is not authorized", line='from="10.0.0.0/8" '),
    "the key's time is over": Case("is not authorized", line='expiry-time="20200101" '),
    "the key is in authorized_keys no more": Case("is not authorized", key=OTHER_KEY),
    "PermitRootLogin no": Case(
        "PermitRootLogin no" if ME.pw_uid == 0 else "", options={"permit_root_login": "no"}
    ),
    "Resume no": Case("Resume no", options={"resume": False}),
    "PubkeyAuthentication no": Case("PubkeyAuthentication no", options={"pubkey_authentication": False}),
    "more is wanted": Case(
        "wants more than was done", options={"authentication_methods": ("publickey,password",)}
    ),
    "more was done": Case(
        "", options={"authentication_methods": ("publickey,password",)}, done=("publickey", "password")
    ),
    "more was done than is wanted": Case("", done=("password", "publickey")),
    "by password": Case("", done=("password",), offers=False),
    "by password, where a key is wanted": Case(
        "wants more than was done",
        options={"authentication_methods": ("publickey",)}, done=("password",), offers=False,
    ),
    "PasswordAuthentication no": Case(
        "wants more than was done",
        options={"password_authentication": False}, done=("password",), offers=False,
    ),
    "by password, PermitRootLogin prohibit-password": Case(
        "PermitRootLogin" if ME.pw_uid == 0 else "",
        options={"permit_root_login": "prohibit-password"}, done=("password",), offers=False,
    ),
    "DenyUsers": Case("DenyUsers", options={"deny_users": (ME.pw_name,)}),
    "AllowUsers names another address": Case("AllowUsers", options={"allow_users": (f"{ME.pw_name}@10.0.0.1",)}),
    "the record is of another user": Case("none of this user's", uid=ME.pw_uid + 1),
    "the record is none": Case("none of this user's", uid=None),
    "an unknown user": Case("invalid user", login={"user": "no-such-user"}),
    "signed by another key": Case("signature is wrong", seed=OTHER_SEED),
    "a signature of another connection": Case("signature is wrong", signed={"session_id": OTHER_ID}),
    "a signature for another user": Case("signature is wrong", signed={"user": "bert"}),
    "a signature for another record": Case("signature is wrong", signed={"record": b"q" * 36}),
    "a signature for another session": Case("signature is wrong", signed={"session": "2"}),
    "a signature for another client": Case("signature is wrong", signed={"client": b"d" * 16}),
    "a signature for another ticket": Case("signature is wrong", signed={"ticket": b"u" * 16}),
    "a key that is none": Case("signature is wrong", resume={"key": b"\xff" * 32}),
    "no such session": Case("no such session", resume={"session": "9"}, signed={"session": "9"}),
    "somebody else's session": Case("no such session", resume={"session": "2"}, signed={"session": "2"}),
    "a name that is no name": Case("no such session", resume={"session": "../1"}, signed={"session": "../1"}),
    "another ticket": Case("no such session", resume={"ticket": b"u" * 16}, signed={"ticket": b"u" * 16}),
    "another client": Case("no such session", resume={"client": b"d" * 16}, signed={"client": b"d" * 16}),
}  # fmt: skip


class Pam:
    """Content with everybody."""

    expired = False

    def admit(self) -> None:
        return None


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], Opinion]:
    def holds(path: str, name: str, client: bytes, ticket: bytes) -> bool:
        assert path == str(tmp_path / "sessions" / str(ME.pw_uid))
        return (name, client, ticket) == ("1", CLIENT, TICKET)

    monkeypatch.setattr(module.session_question, "holds", holds)

    def run(case: Case) -> Opinion:
        keys = tmp_path / "authorized_keys"
        keys.write_text(case.line + case.key.public.line() + "\n")
        fields: dict[str, Any] = {
            "strict_modes": False,
            "permit_root_login": "yes",
            "authorized_keys_file": (str(keys),),
            "session_directory": str(tmp_path / "sessions"),
        }
        options = DaemonOptions(**(fields | case.options))
        request = Login(SESSION_ID, ME.pw_name, ("192.0.2.1", 4711), ("192.0.2.2", 22))
        said: dict[str, Any] = {
            "key": ed25519_public(SEED), "record": RECORD, "session": "1", "client": CLIENT, "ticket": TICKET,
        }  # fmt: skip
        said |= case.resume
        over = {"session_id": SESSION_ID, "user": request.user, **said} | case.signed
        del over["key"]
        resume = Resume(**said, signature=ed25519_sign(case.seed, resume_data(**over)))
        login = Login(
            request.session_id,
            case.login.get("user", request.user),
            request.client,
            request.server,
            [KEY.public.blob] if case.offers else [],
            resume=resume,
        )
        only = None if os.geteuid() == 0 else os.geteuid()
        steps = [Step(method) for method in case.done]
        pam: PamLogin = Pam()  # type: ignore[assignment]
        return Judge(
            login, b"host", lambda *_: options, NOW, only, case.uid, steps=steps, pam=pam
        ).judge()

    return run


@pytest.mark.parametrize("name", CASES)
def test_who_may_resume(judge: Callable[[Case], Opinion], name: str) -> None:
    """Whatever it is that is wrong, the client gets the same answer: refused, and nothing that it could try."""
    case = CASES[name]
    found = judge(case)
    assert case.reason in found.reason
    assert found.outcome == (Outcome.REFUSED if case.reason else Outcome.ACCEPTED)
    assert found.acceptable == ()


def test_the_rights_are_those_that_the_key_has_now(judge: Callable[[Case], Opinion]) -> None:
    free, restricted = (
        judge(CASES[name]) for name in ("in good order", "the key's line has lost rights meanwhile")
    )
    assert free.key_options is not None
    assert restricted.key_options is not None
    assert (free.key_options.pty, restricted.key_options.pty) == (True, False)
    assert free.key == restricted.key == f"ED25519 {KEY.public.fingerprint()}"
