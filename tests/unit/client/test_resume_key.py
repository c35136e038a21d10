"""The client's own key for coming back: what it says, and who takes over when that is refused (docs/protocol.md 5.6)."""

from __future__ import annotations

from typing import Any

from qsh.auth.keys import PublicKey
from qsh.auth.resume_proof import public_blob, resume_data, signature_blob
from qsh.auth.signatures import verify
from qsh.client.resume_key import ResumeFirst, ResumeKey
from qsh.wire.messages import Attach, Auth, AuthContinue, AuthRefused, Offer, Open

CLIENT, TICKET = b"c" * 16, b"t" * 16
ATTACH = Open("attach", b"1", terminal=Attach(CLIENT, ticket=TICKET))


def granted() -> ResumeKey:
    key = ResumeKey()
    key.granted(b"record", b"blob")
    return key


def test_what_is_signed() -> None:
    key = granted()
    auth = key.auth("anna", b"sid", ATTACH)
    assert auth is not None
    assert (auth.user, auth.offers, auth.proof) == ("anna", [Offer(b"blob")], None)
    resume = auth.resume
    assert resume is not None
    assert (resume.key, resume.record, resume.session) == (key.public, b"record", "1")
    assert (resume.client, resume.ticket) == (CLIENT, TICKET)
    data = resume_data(b"sid", "anna", b"record", "1", CLIENT, TICKET)
    public = PublicKey.from_blob(public_blob(key.public))
    assert verify(public, signature_blob(resume.signature), data)


def test_every_process_has_its_own() -> None:
    assert ResumeKey().public != ResumeKey().public


def test_when_there_is_nothing_to_resume() -> None:
    assert ResumeKey().auth("anna", b"sid", ATTACH) is None, "no record"
    key = granted()
    assert key.auth("anna", b"sid", None) is None
    assert key.auth("anna", b"sid", Open("exec", b"date")) is None
    assert key.auth("anna", b"sid", Open("attach", b"1", terminal=Attach(CLIENT))) is None
    key.granted(b"", b"other")
    assert key.auth("anna", b"sid", ATTACH) is not None, "a login that brings none takes none away"


class Login:
    """The login's own key."""

    methods = ["keyboard"]  # noqa: RUF012 - nobody changes it

    def __init__(self) -> None:
        self.made = 0
        self.heard: list[Any] = []

    def make(self) -> Any:
        self.made += 1
        return self

    def first(self) -> Auth:
        return Auth("anna", [Offer(b"first")])

    def answer(self, message: Any) -> Auth | None:
        self.heard.append(message)
        return None


def test_a_refusal_leads_to_the_login_s_key() -> None:
    key, login = granted(), Login()
    both = ResumeFirst(key, login.make)
    assert (login.made, both.methods) == (0, ["publickey"]), "no agent is asked before"
    assert both.answer(AuthRefused(["publickey"])) == login.first()
    assert key.auth("anna", b"sid", ATTACH) is None, "it is not tried again and again"
    assert both.methods == ["keyboard"]
    more = AuthContinue([0])
    assert both.answer(more) is None
    assert (login.made, login.heard) == (1, [more])


def test_a_last_refusal_is_the_last() -> None:
    login = Login()
    assert ResumeFirst(granted(), login.make).answer(AuthRefused(final=True)) is None
    assert login.made == 0
