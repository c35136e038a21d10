"""known_hosts: lookups agree with ``ssh-keygen -F``, and no text breaks the parser."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qsh.auth.host_identity import Verdict, decide, scheme_order
from qsh.auth.known_hosts import KnownHosts, format_line, hash_host, host_and_port
from tests.fuzz.fuzz_auth import KEYS

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = ("a", "b.example", "A", "192.0.2.1")
PORTS = (22, 2222)
NAME = st.builds(host_and_port, st.sampled_from(HOSTS), st.sampled_from(PORTS))
PATTERN = st.one_of(NAME, st.sampled_from(["*", "b.*", "?", "[*]:2222", "!a", "![a]:2222", ""]))
NAMES = st.one_of(
    st.lists(PATTERN, min_size=1, max_size=3).map(",".join).filter(bool),
    NAME.map(lambda name: hash_host(name, bytes(20))),
    st.sampled_from(["|1|", "|1|AAAA|AAAA", "|x"]),
)
KEY = st.sampled_from([f"{key.type} {key.base64()}" for key in KEYS] + ["ssh-rsa AAAA", "x"])
MARKER = st.sampled_from(["", "", "@revoked ", "@cert-authority ", "@x ", " \t"])
LINE = st.one_of(
    st.builds(lambda marker, names, key: f"{marker}{names} {key}", MARKER, NAMES, KEY),
    st.sampled_from(["", "# comment", "a"]),
)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(LINE, max_size=6), st.sampled_from(HOSTS), st.sampled_from(PORTS))
def test_lookup_agrees_with_ssh_keygen(
    tmp_path: Path, lines: list[str], host: str, port: int
) -> None:
    text = "".join(f"{line}\n" for line in lines)
    path = tmp_path / "known_hosts"
    path.write_text(text)
    name = host_and_port(host, port)
    command = ["ssh-keygen", "-F", name, "-f", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    record = KnownHosts.parse([("f", text)]).lookup(host, port, alias=name)
    ours = {k.line for group in (record.known, record.authorities, record.revoked) for k in group}
    found = {int(n) for n in re.findall(r"found: line (\d+)", printed)}
    # ssh-keygen -F also shows lines whose key nobody can read
    unreadable = {int(w.split(":")[1]) for w in record.warnings}
    assert ours == found - unreadable


@given(st.text(max_size=300), st.text(min_size=1, max_size=10), st.integers(0, 65535))
def test_no_text_breaks_the_parser(text: str, host: str, port: int) -> None:
    hosts = KnownHosts.parse([("f", text)])
    record = hosts.lookup(host, port, address="192.0.2.1", fallback_port=2222)
    scheme_order(record)
    hosts.other_names(KEYS[0], record.name)
    assert decide(record, KEYS[0], host, 0).verdict is not Verdict.REVOKED


@given(st.lists(NAME, min_size=1, max_size=3), st.sampled_from(KEYS), st.booleans())
def test_what_is_written_is_found(names: list[str], key: object, hashed: bool) -> None:
    text = format_line(names, key, hashed)  # type: ignore[arg-type]
    for name in names:
        record = KnownHosts.parse([("f", text)]).lookup("x", alias=name)
        assert {k.key for k in record.known} == {key}
