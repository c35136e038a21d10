from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.known_hosts import KnownHosts, format_line, hash_host, host_and_port
from tests.unit.auth.ssh_tools import keygen, public

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.auth.keys import PublicKey


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    return {name: public(path) for name, path in key_files.items()}


def entry(names: str, key: PublicKey, marker: str = "") -> str:
    return f"{marker} {names} {key.type} {key.base64()} comment\n".lstrip(" ")


def known(text: str, host: str, port: int = 22, **more: object) -> list[int]:
    record = KnownHosts.parse([("f", text)]).lookup(host, port, **more)  # type: ignore[arg-type]
    return [k.line for k in record.known]


@pytest.mark.parametrize(
    ("names", "host", "port", "expected"),
    [
        ("h", "h", 22, True),
        ("H.Example", "h.eXAMPLE", 22, True),
        ("h", "h", 2222, False),
        ("[h]:2222", "h", 2222, True),
        ("[h]:2222", "h", 22, False),
        ("[H]:2222", "h", 2222, True),
        ("a,h,b", "h", 22, True),
        ("*.example", "h.example", 22, True),
        ("*.example", "example", 22, False),
        ("h?", "h1", 22, True),
        ("*,!h", "h", 22, False),
        ("*,!h", "g", 22, True),
        ("!h", "g", 22, False),
        ("[*]:2222", "h", 2222, True),
        ("*", "h", 2222, True),
        ("192.0.2.1", "192.0.2.1", 22, True),
        ("2001:db8::1", "2001:DB8::1", 22, True),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, True),
    ],
)
def test_names(
    keys: dict[str, PublicKey], names: str, host: str, port: int, expected: bool
) -> None:
    assert known(entry(names, keys["ed25519"]), host, port) == ([1] if expected else [])


def test_hashed_names(keys: dict[str, PublicKey], tmp_path: Path) -> None:
    text = format_line(["Host.example", "[h]:2222"], keys["rsa"], hashed=True)
    assert known(text, "host.EXAMPLE") == [1]
    assert known(text, "h", 2222) == [2]
    assert known(text, "h") == []
    path = tmp_path / "known_hosts"
    path.write_text(text)
    assert "line 1 " in keygen("-F", "host.example", "-f", path)
    plain = tmp_path / "plain"
    plain.write_text(entry("host.example,[h]:2222", keys["rsa"]))
    keygen("-H", "-f", plain)
    assert known(plain.read_text(), "h", 2222) == [2]


def test_hash_host_is_the_hmac_of_the_name() -> None:
    salt = bytes(range(20))
    assert hash_host("h", salt) == hash_host("h", salt) != hash_host("g", salt)
    assert hash_host("h") != hash_host("h")
    assert hash_host("h", salt).startswith("|1|AAECAwQFBgcICQoLDA0ODxAREhM=|")


@pytest.mark.parametrize("names", ["|1|", "|1|AA==|x", "|2|x|y", "|1|é|x", "|", "|1|!!|"])
def test_bad_hashes_match_nothing(keys: dict[str, PublicKey], names: str) -> None:
    assert known(entry(names, keys["ed25519"]), "h") == []


def test_order_of_names(keys: dict[str, PublicKey]) -> None:
    """The port dialled, then sshd's port, then the bare host, as practice.md 2 has it."""
    text = entry("[h]:4433", keys["ed25519"]) + entry("[h]:2222", keys["rsa"])
    text += entry("h", keys["other"])
    record = KnownHosts.parse([("f", text)]).lookup("h", 4433, fallback_port=2222)
    assert record.name == "[h]:4433"
    assert [k.line for k in record.known] == [1]
    assert [k.line for k in record.fallback] == [2, 3]
    record = KnownHosts.parse([("f", text)]).lookup("h", 22)
    assert ([k.line for k in record.known], record.fallback) == ([3], ())


def test_host_key_alias_is_the_only_name(keys: dict[str, PublicKey]) -> None:
    text = entry("h", keys["ed25519"]) + entry("Alias", keys["rsa"])
    record = KnownHosts.parse([("f", text)]).lookup("h", 2222, alias="aLIAS")
    assert (record.name, [k.line for k in record.known], record.fallback) == ("alias", [2], ())


def test_markers(keys: dict[str, PublicKey]) -> None:
    text = entry("*.example", keys["ca"], "@cert-authority") + entry("h.*", keys["rsa"], "@revoked")
    text += entry("other", keys["other"], "@revoked") + entry("[h.example]:1", keys["ed25519"])
    record = KnownHosts.parse([("f", text)]).lookup("h.example", 1)
    assert [k.line for k in record.authorities] == [1]
    assert [k.line for k in record.revoked] == [2]
    assert [k.line for k in record.known] == [4]


def test_of_the_address_only_revocations_count(keys: dict[str, PublicKey]) -> None:
    text = entry("h", keys["rsa"]) + entry("192.0.2.1", keys["other"])
    text += entry("192.0.2.*", keys["ca"], "@cert-authority")
    text += entry("192.0.2.*", keys["ed25519"], "@revoked")
    record = KnownHosts.parse([("f", text)]).lookup("h", address="192.0.2.1")
    assert [k.line for k in record.known] == [1]
    assert record.authorities == ()
    assert [k.line for k in record.revoked] == [4]


def test_several_files_in_order(keys: dict[str, PublicKey]) -> None:
    files = [("a", "# c\n\n" + entry("h", keys["rsa"])), ("b", "\t " + entry("h", keys["other"]))]
    record = KnownHosts.parse(files).lookup("h")
    assert [(k.file, k.line) for k in record.known] == [("a", 3), ("b", 1)]
    assert record.known[0].key == keys["rsa"]


def test_bad_lines_are_skipped_with_a_warning(keys: dict[str, PublicKey]) -> None:
    text = (
        "h\n@wrong h ssh-rsa AAAA\nh ssh-rsa AAAA\nh 1024 35 1234\n@revoked @revoked h x y\n"
        "other ssh-rsa AAAA\nh # no key\n" + entry("h", keys["rsa"])
    )
    hosts = KnownHosts.parse([("f", text)])
    assert [w.split(" ")[0] for w in hosts.warnings] == ["f:1:", "f:2:", "f:5:", "f:7:"]
    record = hosts.lookup("h")
    assert [w.split(" ")[0] for w in record.warnings] == ["f:3:", "f:4:"]
    assert [k.line for k in record.known] == [8]


def test_other_names(keys: dict[str, PublicKey]) -> None:
    text = entry("g", keys["rsa"]) + entry("h", keys["rsa"]) + entry("x", keys["other"])
    text += entry("y", keys["rsa"], "@revoked") + format_line(["z"], keys["rsa"], hashed=True)
    hosts = KnownHosts.parse(
        [("/home/u/.ssh/known_hosts", text), ("/etc/k", entry("a,b", keys["rsa"]))]
    )
    assert hosts.other_names(keys["rsa"], "h", "/home/u") == (
        "~/.ssh/known_hosts:1: g",
        "~/.ssh/known_hosts:5: [hashed name]",
        "/etc/k:1: a,b",
    )
    assert hosts.other_names(keys["rsa"], "h", "/home")[0] == "~/u/.ssh/known_hosts:1: g"
    assert hosts.other_names(keys["rsa"], "h")[0] == "/home/u/.ssh/known_hosts:1: g"


def test_format_line(keys: dict[str, PublicKey]) -> None:
    key = keys["ed25519"]
    assert format_line(["H", "192.0.2.1"], key) == f"h,192.0.2.1 {key.type} {key.base64()}\n"
    assert len(format_line(["h", "i"], key, hashed=True).splitlines()) == 2
    assert host_and_port("H", 22) == host_and_port("h", 0) == "h"
    assert host_and_port("H", 2222) == "[h]:2222"
