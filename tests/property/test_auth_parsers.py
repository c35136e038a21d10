"""Parsers of qsh/auth raise their documented error or nothing, and what is written is read back."""

from __future__ import annotations

import contextlib
import fnmatch
import ipaddress
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.auth.absolute_time import parse_absolute_time
from qsh.auth.address_match import (
    match_address_list,
    match_cidr_list,
    match_hostname,
)
from qsh.auth.agent import FrameDecoder, decode_identities, decode_signature, decode_success
from qsh.auth.keys import PublicKey
from qsh.auth.openssh_file import OpensshFile
from qsh.auth.private import PrivateKey, is_encrypted, public_of
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import AgentError, KeyFormatError, KeyPassphraseError
from qsh.patterns import match_pattern
from tests.fuzz.fuzz_auth import KEYS, SEEDS, fuzz_one, mutate

PATTERNS = st.text("ab*?", max_size=8)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    fuzz_one(data)


@settings(max_examples=150)
@given(st.integers())
def test_changed_blobs(seed: int) -> None:
    fuzz_one(mutate(random.Random(seed)))


@given(st.text(max_size=100))
def test_key_lines(line: str) -> None:
    with contextlib.suppress(KeyFormatError):
        PublicKey.from_line(line)


@given(st.integers(0, 2**4096), st.text(), st.binary(), st.booleans())
def test_wire_roundtrip(number: int, text: str, blob: bytes, flag: bool) -> None:
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()
    reader = Reader(Writer().mpint(number).text(text).string(blob).boolean(flag).bytes())
    assert reader.mpint(canonical=True) == number
    assert (reader.text(), reader.string(), reader.boolean()) == (text, blob, flag)
    reader.end()


@given(st.sampled_from(KEYS), st.text("abc é#\"'", max_size=20))
def test_key_line_roundtrip(key: PublicKey, comment: str) -> None:
    comment = comment.strip()
    again = PublicKey.from_line(PublicKey(key.type, key.blob, comment).line())
    assert (again, again.comment) == (key, comment)


@given(st.binary(max_size=300))
def test_private_files(data: bytes) -> None:
    for text in (data, b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + data):
        for parse in (is_encrypted, public_of, PrivateKey.load, OpensshFile.parse):
            with contextlib.suppress(KeyFormatError, KeyPassphraseError):
                parse(text)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_agent_frames(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(Writer().string(body).bytes() for body in bodies)
    decoder, found = FrameDecoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.receive(stream[:size])
        stream = stream[size:]
    decoder.receive_eof()
    assert found == bodies


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x0c", b"\x0e", b"\x0c\0\0\0\1"]))
def test_agent_answers(body: bytes, prefix: bytes) -> None:
    for decode in (decode_identities, decode_signature, decode_success):
        with contextlib.suppress(AgentError):
            decode(prefix + body)


@given(st.text("ab", max_size=8), PATTERNS)
def test_patterns_are_those_of_fnmatch(text: str, pattern: str) -> None:
    assert match_pattern(text, pattern) is bool(re.match(fnmatch.translate(pattern), text))


@given(st.text("ab", max_size=8), PATTERNS)
def test_negation_always_wins(text: str, pattern: str) -> None:
    if match_pattern(text, pattern):
        assert match_hostname(text, f"*,!{pattern}") == match_hostname(text, f"!{pattern},*") == -1


@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128))
def test_blocks_are_those_of_ipaddress(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    base: ipaddress.IPv4Address | ipaddress.IPv6Address,
    bits: int,
) -> None:
    block = f"{base}/{bits}"
    try:
        expected = address in ipaddress.ip_network(block)
    except ValueError:
        with pytest.raises(KeyFormatError):
            match_cidr_list(str(address), block)
        return
    assert match_cidr_list(str(address), block) is expected
    assert match_address_list(str(address), block) == expected


@given(st.text(max_size=30), st.text("0123456789.:/*!,abcdef%", max_size=30))
def test_address_lists(address: str, patterns: str) -> None:
    for match in (match_address_list, match_cidr_list):
        with contextlib.suppress(KeyFormatError):
            match(address, patterns)


@given(st.text(max_size=20) | st.text("0123456789ZUTC", max_size=17))
def test_dates(text: str) -> None:
    with contextlib.suppress(KeyFormatError):
        assert parse_absolute_time(text) > 0


def test_seeds_are_accepted() -> None:
    assert len({PublicKey.from_blob(blob).type for blob in SEEDS[:5]}) == 5
