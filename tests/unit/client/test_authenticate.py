"""The login dialogue, client side (docs/protocol.md 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.auth.keys import PublicKey
from qsh.auth.sshwire import Writer
from qsh.auth.userauth import signed_data
from qsh.client.authenticate import Authenticator
from qsh.client.identities import Candidate
from qsh.wire.framing import LIMIT_BEFORE_AUTH, encode
from qsh.wire.messages import MAX_OFFERS, AuthContinue, AuthRefused

if TYPE_CHECKING:
    Keys = list[tuple[str, PublicKey]]


class FakeRing:
    """Signs by echoing; notes who was asked to."""

    def __init__(self, *, refuses: tuple[Candidate, ...] = (), sealed: tuple[Candidate, ...] = ()):
        self.refuses, self.sealed = refuses, list(sealed)
        self.signed: list[Candidate] = []

    def sign(self, candidate: Candidate, data: bytes, algorithm: str) -> bytes | None:
        self.signed.append(candidate)
        return None if candidate in self.refuses else data

    def unseal(self) -> Candidate | None:
        return self.sealed.pop(0) if self.sealed else None


def candidates(keys: Keys, **needs: bool) -> list[Candidate]:
    return [
        Candidate(key, f"/id_{n}", f"/id_{n}", encrypted=needs.get(f"k{n}", False))
        for n, (_, key) in enumerate(keys[:3])
    ]


def start(offers: list[Candidate], ring: FakeRing, remembered: str = "") -> Authenticator:
    return Authenticator(
        "user", offers, ring, session_id=b"sid", host_key=b"host", remembered=remembered
    )


def test_first_names_all_and_is_signed_by_one(keys: Keys) -> None:
    offers, ring = candidates(keys), FakeRing()
    auth = start(offers, ring).first()
    assert [offer.blob for offer in auth.offers] == [each.public.blob for each in offers]
    assert auth.proof is not None
    assert auth.proof.offer == 0
    assert auth.proof.algorithm == "ssh-ed25519"
    wanted = signed_data(b"sid", "user", "ssh-ed25519", offers[0].public.blob, b"host")
    assert auth.proof.signature == wanted
    assert ring.signed == offers[:1]


def test_the_remembered_key_signs(keys: Keys) -> None:
    offers = candidates(keys)
    auth = start(offers, FakeRing(), offers[2].mark).first()
    assert auth.proof is not None
    assert auth.proof.offer == 2


def test_keys_that_need_a_person_do_not_sign_first(keys: Keys) -> None:
    ring = FakeRing()
    offers = candidates(keys, k0=True)
    auth = start(offers, ring, offers[0].mark).first()
    assert auth.proof is not None
    assert auth.proof.offer == 1
    ring = FakeRing()
    auth = start(candidates(keys, k0=True, k1=True, k2=True), ring).first()
    assert auth.proof is None
    assert ring.signed == []


def test_a_key_that_cannot_sign_is_passed_over(keys: Keys) -> None:
    offers = candidates(keys)
    auth = start(offers, FakeRing(refuses=(offers[0],))).first()
    assert auth.proof is not None
    assert auth.proof.offer == 1


def test_the_server_says_which_would_do(keys: Keys) -> None:
    offers, ring = candidates(keys, k1=True), FakeRing()
    dialogue = start(offers, ring)
    dialogue.first()
    auth = dialogue.answer(AuthContinue([0, 1, 99 % MAX_OFFERS]))
    assert auth is not None
    assert [offer.blob for offer in auth.offers] == [offers[1].public.blob]
    assert auth.proof is not None
    assert auth.proof.offer == 0
    assert ring.signed == [offers[0], offers[1]]
    assert dialogue.used == offers[1]
    assert dialogue.answer(AuthRefused(["publickey"])) is None


def test_the_next_acceptable_key_after_a_refusal(keys: Keys) -> None:
    offers = candidates(keys)
    dialogue = start(offers, FakeRing(refuses=(offers[1],)))
    dialogue.first()
    auth = dialogue.answer(AuthContinue([1, 2]))
    assert auth is not None
    assert auth.offers[0].blob == offers[2].public.blob


def test_a_final_refusal_ends_it(keys: Keys) -> None:
    offers = candidates(keys)
    dialogue = start(offers, FakeRing(sealed=(offers[2],)))
    dialogue.first()
    assert dialogue.answer(AuthRefused(["publickey", "password"], final=True)) is None
    assert dialogue.methods == ["publickey", "password"]


def test_sealed_files_come_last(keys: Keys) -> None:
    offers = candidates(keys)
    dialogue = start(offers[:1], FakeRing(sealed=(offers[2],)))
    dialogue.first()
    auth = dialogue.answer(AuthRefused(["publickey"]))
    assert auth is not None
    assert auth.offers[0].blob == offers[2].public.blob
    assert dialogue.answer(AuthRefused(["publickey"])) is None


def test_no_keys_at_all() -> None:
    auth = start([], FakeRing()).first()
    assert auth.offers == []
    assert auth.proof is None


def test_offers_stay_within_the_message(keys: Keys) -> None:
    modulus = (1 << 16383) | 1
    large = [
        Candidate(
            PublicKey.from_blob(
                Writer().text("ssh-rsa").mpint(65537).mpint(modulus + 2 * n).bytes()
            ),
            f"/id_{n}",
            f"/id_{n}",
        )
        for n in range(80)
    ]
    auth = start([*large, *candidates(keys)], FakeRing()).first()
    assert len(auth.offers) <= MAX_OFFERS
    assert len(encode(auth)) < LIMIT_BEFORE_AUTH
