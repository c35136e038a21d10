from __future__ import annotations

import pytest

from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError


def test_values_come_back() -> None:
    blob = (
        Writer()
        .byte(7)
        .boolean(True)
        .uint32(1)
        .uint64(2)
        .string(b"s")
        .text("té")
        .mpint(0x80)
        .raw(b"!")
    )
    reader = Reader(blob.bytes())
    assert (reader.byte(), reader.boolean(), reader.uint32(), reader.uint64()) == (7, True, 1, 2)
    assert (reader.string(), reader.text(), reader.mpint(canonical=True)) == (b"s", "té", 0x80)
    assert reader.remaining == 1
    assert reader.rest() == b"!"
    reader.end()


@pytest.mark.parametrize(
    ("value", "encoded"),
    [  # RFC 4251 section 5
        (0, "00000000"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
        (0x80, "000000020080"),
    ],
)
def test_mpint_is_that_of_rfc_4251(value: int, encoded: str) -> None:
    assert Writer().mpint(value).bytes().hex() == encoded
    assert Reader(bytes.fromhex(encoded)).mpint(canonical=True) == value


def test_every_prefix_of_a_blob_is_truncated() -> None:
    blob = Writer().string(b"abc").uint32(9).bytes()
    for size in range(len(blob)):
        reader = Reader(blob[:size])
        with pytest.raises(KeyFormatError, match="truncated"):
            reader.string(), reader.uint32()


@pytest.mark.parametrize("blob", ["000000018f", "00000802" + "01" * 0x802])
def test_mpint_refuses_negative_and_huge(blob: str) -> None:
    with pytest.raises(KeyFormatError):
        Reader(bytes.fromhex(blob)).mpint()


@pytest.mark.parametrize("blob", ["0000000100", "000000020001"])
def test_needless_zeros_only_pass_where_signatures_are_read(blob: str) -> None:
    Reader(bytes.fromhex(blob)).mpint()
    with pytest.raises(KeyFormatError, match="zeros"):
        Reader(bytes.fromhex(blob)).mpint(canonical=True)


@pytest.mark.parametrize("raw", [b"a\0b", b"\xff"])
def test_text_has_one_reading(raw: bytes) -> None:
    with pytest.raises(KeyFormatError):
        Reader(Writer().string(raw).bytes()).text()


def test_trailing_bytes() -> None:
    with pytest.raises(KeyFormatError, match="2 bytes too many"):
        Reader(b"ab").end()
