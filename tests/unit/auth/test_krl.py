"""RevokedKeys: files that ssh-keygen made, and what it says of the same keys (ssh-keygen -Q)."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth.certificates import Certificate
from qsh.auth.keys import PublicKey
from qsh.auth.krl import MAGIC, RevokedKeys
from qsh.auth.sshwire import Writer
from qsh.errors import KeyFormatError
from tests.unit.auth.ssh_tools import certify, keygen, make_key, public

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Public key files by name: plain keys of two kinds, and certificates of two authorities."""
    folder = tmp_path_factory.mktemp("krl")
    for name in ("anna", "ben", "ca", "other-ca"):
        make_key(folder / name)
    make_key(folder / "rsa", "rsa")
    found = {name: folder / f"{name}.pub" for name in ("anna", "ben", "rsa", "ca", "other-ca")}
    for authority, serial in (
        ("ca", 0), ("ca", 1), ("ca", 7), ("ca", 70), ("ca", 2**64 - 1), ("other-ca", 7)
    ):  # fmt: skip
        name = f"{authority}-{serial}"
        certify(
            folder / authority,
            folder / "ben",
            "-I",
            f"id of {name}",
            "-z",
            str(serial),
            "-n",
            "ben",
        )
        found[name] = (folder / "ben-cert.pub").rename(folder / f"{name}.pub")
    return found


def told(file: Path, key: Path) -> bool:
    """Whether ssh-keygen calls the key revoked."""
    done = subprocess.run(
        ["ssh-keygen", "-Q", "-f", file, key], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode != 0


def ours(file: Path, key: Path) -> bool:
    revoked, offered = RevokedKeys.parse(file.read_bytes()), PublicKey.from_line(key.read_text())
    return revoked.has(offered, Certificate.parse(offered) if offered.is_certificate else None)


SPECS = {
    "nothing": ("", None, set()),
    "a key": ("key: {anna}", None, {"anna"}),
    "the key in certificates": (
        "key: {ben}", None, {"ben", "ca-0", "ca-1", "ca-7", "ca-70", "ca-18446744073709551615", "other-ca-7"}
    ),
    "an authority": ("key: {ca}", None, {"ca", "ca-0", "ca-1", "ca-7", "ca-70", "ca-18446744073709551615"}),
    "by SHA1": ("sha1: {rsa}", None, {"rsa"}),
    "by SHA256": ("sha256: {anna}", None, {"anna"}),
    "by its fingerprint": ("hash: SHA256:{anna_fingerprint}", None, {"anna"}),
    "an authority by SHA256": ("sha256: {other-ca}", None, {"other-ca", "other-ca-7"}),
    "a serial": ("serial: 7", "ca", {"ca-7"}),
    "the last serial": ("serial: 18446744073709551615", "ca", {"ca-18446744073709551615"}),
    "serials far apart": ("serial: 1\nserial: 70\nserial: 100000", "ca", {"ca-1", "ca-70"}),
    "serials close together": (
        "\n".join(f"serial: {n}" for n in range(1, 90, 3)), "ca", {"ca-1", "ca-7", "ca-70"}
    ),
    "a range": ("serial: 2-69", "ca", {"ca-7"}),
    "all serials": ("serial: 1-18446744073709551615", "ca", {"ca-1", "ca-7", "ca-70", "ca-18446744073709551615"}),
    "of any authority": ("serial: 7", "none", {"ca-7", "other-ca-7"}),
    "a key id": ("id: id of ca-0", "ca", {"ca-0"}),
    "a key id of another authority": ("id: id of other-ca-7", "ca", set()),
    "a key, named by a certificate": (
        "key: {ca-70}", None, {"ben", "ca-0", "ca-1", "ca-7", "ca-70", "ca-18446744073709551615", "other-ca-7"}
    ),
    "several": ("serial: 1\nid: id of ca-7\nkey: {anna}\nsha1: {rsa}", "ca", {"anna", "rsa", "ca-1", "ca-7"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_says_what_ssh_keygen_says(offered: dict[str, Path], tmp_path: Path, name: str) -> None:
    text, authority, expected = SPECS[name]
    lines = []
    for line in text.splitlines():
        kind, _, rest = line.partition(": {")
        if kind == "hash: SHA256:{anna_fingerprint}":
            lines.append(f"hash: {PublicKey.from_line(offered['anna'].read_text()).fingerprint()}")
        elif rest:
            lines.append(f"{kind}: {offered[rest[:-1]].read_text().strip()}")
        else:
            lines.append(line)
    spec, file = tmp_path / "spec", tmp_path / "krl"
    spec.write_text("\n".join(lines) + "\n")
    words = (
        [] if authority is None else ["-s", "none" if authority == "none" else offered[authority]]
    )
    keygen("-k", "-f", file, "-z", "42", *words, spec)
    assert {key for key, path in offered.items() if ours(file, path)} == expected
    assert {key for key, path in offered.items() if told(file, path)} == expected
    assert RevokedKeys.parse(file.read_bytes()).version == 42


LISTS = {
    "empty": ("", set()),
    "comments": ("# anna\n\n  # ben\n", set()),
    "a key": ("# who left\n  {anna}", {"anna"}),
    "an authority": ("{other-ca}", {"other-ca", "other-ca-7"}),
    "a certificate": ("{ca-1}", {"ben", "ca-0", "ca-1", "ca-7", "ca-70", "ca-18446744073709551615", "other-ca-7"}),
    "two": ("{rsa}\n{anna}", {"rsa", "anna"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_keys(offered: dict[str, Path], tmp_path: Path, name: str) -> None:
    text, expected = LISTS[name]
    for key, path in offered.items():
        text = text.replace(f"{{{key}}}", path.read_text())
    file = tmp_path / "list"
    file.write_text(text)
    assert {key for key, path in offered.items() if ours(file, path)} == expected


DSS = Writer().text("ssh-dss").mpint(1).mpint(1).mpint(1).mpint(1).bytes()


def test_a_type_that_nobody_logs_in_with_is_no_error() -> None:
    from base64 import b64encode

    line = f"ssh-dss {b64encode(DSS).decode()} old\n".encode()
    assert RevokedKeys.parse(line).blobs == set()


BAD_LISTS = (
    b"nonsense\n",
    b"ssh-ed25519 AAAA\n",
    b"ssh-dss AAAA\n",
    b"\xff\xfe\n",
    b"ssh-ed25519\n",
    b"from=x ssh-ed25519 AAAA\n",
)


@pytest.mark.parametrize("data", BAD_LISTS)
def test_a_line_that_is_no_key_spoils_the_list(data: bytes) -> None:
    with pytest.raises(KeyFormatError, match="line 2"):
        RevokedKeys.parse(b"# fine\n" + data)


def krl(*sections: tuple[int, bytes], version: int = 1) -> bytes:
    made = Writer().raw(MAGIC).uint32(version).uint64(1).uint64(2).uint64(0).string(b"").text("why")
    for kind, data in sections:
        made.byte(kind).string(data)
    return made.bytes()


def of_any(kind: int, data: bytes) -> tuple[int, bytes]:
    return 1, Writer().string(b"").string(b"").byte(kind).string(data).bytes()


EXTENSION = Writer().text("x@example.org").boolean(False).string(b"y").bytes()
CRITICAL = Writer().text("x@example.org").boolean(True).string(b"y").bytes()


def test_an_extension_that_is_not_critical_is_left_out(offered: dict[str, Path]) -> None:
    key = PublicKey.from_line(offered["anna"].read_text())
    digest = Writer().string(hashlib.sha256(key.blob).digest()).bytes()
    found = RevokedKeys.parse(krl((255, EXTENSION), of_any(0x39, EXTENSION), (5, digest)))
    assert found.has(key)
    assert found.comment == "why"


BAD = {
    "another version": krl(version=2),
    "cut short": krl((2, Writer().string(b"key").bytes()))[:-1],
    "an unknown section": krl((9, b"")),
    "a signature": krl((4, b"")),
    "a critical extension": krl((255, CRITICAL)),
    "a critical extension of certificates": krl(of_any(0x39, CRITICAL)),
    "an unknown section of certificates": krl(of_any(0x24, b"")),
    "a short hash": krl((3, Writer().string(b"x" * 19).bytes())),
    "half a serial": krl(of_any(0x20, b"1234")),
    "serial 0": krl(of_any(0x20, bytes(8))),
    "a bitmap with serial 0": krl(of_any(0x22, Writer().uint64(0).mpint(1).bytes())),
    "a bitmap beyond the last": krl(of_any(0x22, Writer().uint64(2**64 - 1).mpint(3).bytes())),
    "a range backwards": krl(of_any(0x21, Writer().uint64(5).uint64(4).bytes())),
    "more than a range": krl(of_any(0x21, Writer().uint64(4).uint64(5).byte(0).bytes())),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_understood_raises(name: str) -> None:
    with pytest.raises(KeyFormatError):
        RevokedKeys.parse(BAD[name])


@pytest.mark.parametrize(
    "name", sorted(set(BAD) - {"a signature", "a critical extension of certificates"})
)
def test_ssh_keygen_does_not_understand_it_either(
    offered: dict[str, Path], tmp_path: Path, name: str
) -> None:
    file = tmp_path / "krl"
    file.write_bytes(BAD[name])
    done = subprocess.run(
        ["ssh-keygen", "-Q", "-f", file, offered["anna"]], capture_output=True, check=False
    )
    assert done.returncode not in (0, 1)


def test_a_revoked_authority_is_so_for_its_certificates_only(
    key_files: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "list"
    file.write_text(public(key_files["ca"]).line() + "\n")
    assert not ours(file, key_files["ed25519"].with_name("ed25519.pub"))
