from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.host_identity import Verdict, decide, scheme_order
from qsh.auth.known_hosts import HostRecord, KnownHosts, format_line
from tests.unit.auth.ssh_tools import certify, public

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.auth.keys import PublicKey

NOW = 1_700_000_000.0
ALL = [0x0807, 0x0403, 0x0503, 0x0603, 0x0806, 0x0805, 0x0804]
RSA = ALL[4:]


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    return {name: public(path) for name, path in key_files.items()}


@pytest.fixture(scope="module")
def certificates(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    def make(*args: str) -> PublicKey:
        return certify(key_files["ca"], key_files["ed25519"], "-I", "id", *args)

    return {
        "good": make("-h", "-n", "h", "-V", "always:forever"),
        "expired": make("-h", "-n", "h", "-V", "20200101:20210101"),
        "user": make("-n", "h"),
    }


def record(*entries: tuple[str, str, PublicKey], port: int = 22) -> HostRecord:
    text = "".join(f"{marker} {format_line([name], key)}".lstrip() for marker, name, key in entries)
    return KnownHosts.parse([("f", text)]).lookup("h", port)


def verdict(found: HostRecord, key: PublicKey, *certificates: PublicKey) -> Verdict:
    return decide(found, key, "h", NOW, certificates).verdict


def test_plain_keys(keys: dict[str, PublicKey]) -> None:
    key, other = keys["ed25519"], keys["other"]
    assert verdict(record(), key) is Verdict.NEW
    assert verdict(record(("", "h", key)), key) is Verdict.TRUSTED
    assert verdict(record(("", "h", other), ("", "h", key)), key) is Verdict.TRUSTED
    assert verdict(record(("", "h", other)), key) is Verdict.CHANGED
    assert verdict(record(("@cert-authority", "h", key)), key) is Verdict.NEW


def test_a_key_of_another_type_is_a_change_as_for_ssh(keys: dict[str, PublicKey]) -> None:
    decision = decide(record(("", "h", keys["rsa"])), keys["ed25519"], "h", NOW)
    assert decision.verdict is Verdict.CHANGED
    assert decision.found is not None
    assert decision.found.line == 1


def test_other_ports_help_to_trust_only(keys: dict[str, PublicKey]) -> None:
    key, rsa = keys["ed25519"], keys["rsa"]
    assert verdict(record(("", "h", key), port=2222), key) is Verdict.TRUSTED
    assert verdict(record(("", "h", rsa), port=2222), key) is Verdict.NEW_OTHER_TYPE_KNOWN
    assert verdict(record(("", "h", keys["other"]), port=2222), key) is Verdict.NEW


def test_revoked_wins(keys: dict[str, PublicKey], certificates: dict[str, PublicKey]) -> None:
    key = keys["ed25519"]
    assert verdict(record(("", "h", key), ("@revoked", "*", key)), key) is Verdict.REVOKED
    assert verdict(record(("@revoked", "other", key)), key) is Verdict.NEW
    authority = ("@cert-authority", "h", keys["ca"])
    revoked = ("@revoked", "*", keys["ca"])
    assert verdict(record(authority, revoked), key, certificates["good"]) is Verdict.REVOKED


def test_certificates(keys: dict[str, PublicKey], certificates: dict[str, PublicKey]) -> None:
    key, authority = keys["ed25519"], ("@cert-authority", "h", keys["ca"])
    assert verdict(record(authority), key) is Verdict.NEW
    assert verdict(record(), key, certificates["good"]) is Verdict.NEW
    good = decide(record(authority), key, "h", NOW, [certificates["good"]])
    assert good.verdict is Verdict.TRUSTED
    assert good.found is not None
    assert good.found.key == keys["ca"]
    changed = ("", "h", keys["other"])
    assert verdict(record(authority, changed), key, certificates["good"]) is Verdict.TRUSTED
    assert verdict(record(authority, changed), key, certificates["expired"]) is Verdict.CHANGED
    both = (certificates["expired"], certificates["good"])
    assert verdict(record(authority), key, *both) is Verdict.TRUSTED


def test_bad_certificates(keys: dict[str, PublicKey], certificates: dict[str, PublicKey]) -> None:
    key, authority = keys["ed25519"], ("@cert-authority", "h", keys["ca"])
    for name, reason in (("expired", "expired"), ("user", "not a host certificate")):
        decision = decide(record(authority), key, "h", NOW, [certificates[name]])
        assert decision.verdict is Verdict.BAD_CERTIFICATE
        assert decision.reason == f"Certificate invalid: {reason}"
        assert decision.without is Verdict.NEW
    elsewhere = decide(record(authority), key, "elsewhere", NOW, [certificates["good"]])
    assert elsewhere.reason == "Certificate invalid: name is not a listed principal"


def test_a_certificate_of_another_key_proves_nothing(
    keys: dict[str, PublicKey], certificates: dict[str, PublicKey]
) -> None:
    authority = ("@cert-authority", "h", keys["ca"])
    assert verdict(record(authority), keys["other"], certificates["good"]) is Verdict.NEW
    assert verdict(record(authority), keys["ed25519"], keys["ed25519"]) is Verdict.NEW


def test_scheme_order(keys: dict[str, PublicKey]) -> None:
    assert scheme_order(record()) == ALL
    by_rsa = record(("", "h", keys["rsa"]))
    assert scheme_order(by_rsa) == RSA + ALL[:4]
    assert scheme_order(by_rsa, only_known=True) == RSA
    assert scheme_order(by_rsa, True, only_known=True) == RSA + ALL[:4]
    mixed = record(("", "h", keys["rsa"]), ("", "h", keys["ecdsa384"]))
    assert scheme_order(mixed, only_known=True) == [0x0503, *RSA]
    assert scheme_order(record(), only_known=True) == ALL
    assert scheme_order(record(("", "h", keys["rsa"]), port=2222), only_known=True) == RSA
