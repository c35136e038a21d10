"""A certificate's principals are compared whole, whatever is in their names (CVE-2026-35414)."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from qsh.auth.certificates import USER, Certificate, check_user
from qsh.auth.key_options import KeyOptions
from qsh.auth.keys import PublicKey
from tests.fuzz.fuzz_auth import ED25519, RSA

KEY, AUTHORITY = PublicKey.from_blob(ED25519), PublicKey.from_blob(RSA)
NAME = st.text(alphabet="ab,*?! \t\n\0\\\"'", max_size=6)
NAMES = st.lists(NAME, max_size=4)


def certificate(principals: list[str]) -> Certificate:
    return Certificate(
        KEY, USER, 1, "id", tuple(principals), 0, 2**64 - 1, (), (), AUTHORITY, "rsa-sha2-512"
    )


@given(NAMES, NAMES)
@example(["root,anna"], ["anna"])
@example(["anna"], ["root,anna"])
@example([""], [""])
def test_of_a_key_line(principals: list[str], wanted: list[str]) -> None:
    """Commas divide the names of the line, and of nothing else; no name is no principal."""
    options = KeyOptions(principals=",".join(wanted))
    names = {name for each in wanted for name in each.split(",") if name}
    assert options.has_principal(certificate(principals)) is bool(names & set(principals))


@given(NAMES, NAME)
@example(["*"], "root")
@example(["root,anna"], "root")
@example([], "root")
def test_of_a_user(principals: list[str], user: str) -> None:
    refusal = check_user(certificate(principals), user, "192.0.2.1", 1.0)
    assert (refusal is None) is (user in principals)
