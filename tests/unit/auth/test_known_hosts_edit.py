from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.auth.known_hosts import KnownHosts, format_line
from qsh.auth.known_hosts_edit import replace_entries
from tests.unit.auth.ssh_tools import keygen, public

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.auth.keys import PublicKey


@pytest.fixture(scope="module")
def keys(key_files: dict[str, Path]) -> dict[str, PublicKey]:
    return {name: public(path) for name, path in key_files.items()}


def test_keys_are_replaced_and_the_rest_stays(keys: dict[str, PublicKey]) -> None:
    rest = "# c\n\nbad\n" + "@revoked " + format_line(["h"], keys["other"])
    rest += format_line(["g"], keys["rsa"])
    text = rest + format_line(["h"], keys["rsa"]) + format_line(["h", "i"], keys["ed25519"])
    new = replace_entries(text, "H", [keys["ed25519"], keys["ecdsa256"]])
    assert new == (
        rest + format_line(["h", "i"], keys["ed25519"]) + format_line(["h"], keys["ecdsa256"])
    )
    assert replace_entries(new, "h", [keys["ed25519"], keys["ecdsa256"]]) is None


def test_address(keys: dict[str, PublicKey]) -> None:
    text = format_line(["h"], keys["rsa"])
    new = replace_entries(text, "h", [keys["rsa"]], address="192.0.2.1")
    assert new == text + format_line(["192.0.2.1"], keys["rsa"])
    both = replace_entries("", "h", [keys["rsa"]], address="192.0.2.1")
    assert both == format_line(["h", "192.0.2.1"], keys["rsa"])


def test_hashed(keys: dict[str, PublicKey]) -> None:
    new = replace_entries("", "h", [keys["rsa"]], hashed=True)
    assert new is not None
    assert new.startswith("|1|")
    assert KnownHosts.parse([("f", new)]).lookup("h").known[0].key == keys["rsa"]
    assert replace_entries(new, "h", [keys["rsa"]], hashed=True) is None


def test_removal_is_that_of_ssh_keygen(keys: dict[str, PublicKey], tmp_path: Path) -> None:
    text = format_line(["h"], keys["rsa"]) + format_line(["g", "h"], keys["other"])
    text += format_line(["g"], keys["rsa"]) + format_line(["h"], keys["ca"], hashed=True)
    path = tmp_path / "known_hosts"
    path.write_text(text)
    keygen("-R", "h", "-f", path)
    assert replace_entries(text, "h", []) == path.read_text()
    assert replace_entries(text, "nobody", []) is None
