"""Escape keys (qsh(1), ESCAPE CHARACTERS)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.terminal.escape import Action, EscapeFilter, echo, help_text

TILDE = ord("~")


def joined(items: list[bytes | Action]) -> list[bytes | Action]:
    """Neighbouring bytes as one."""
    result: list[bytes | Action] = []
    for item in items:
        if isinstance(item, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += item
        else:
            result.append(item)
    return result


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"~.", [Action.TERMINATE]),
        (b"x~.", [b"x~."]),
        (b"ls\r~.", [b"ls\r", Action.TERMINATE]),
        (b"ls\n~?", [b"ls\n", Action.HELP]),
        (b"~~", [b"~"]),
        (b"~~.", [b"~."]),
        (b"~x", [b"~x"]),
        (b"~\x1a", [Action.SUSPEND]),
        (b"~?~.", [Action.HELP, Action.TERMINATE]),
        (b"~B~#", [Action.BREAK, Action.LIST]),
        (b"~v~V", [Action.MORE_VERBOSE, Action.LESS_VERBOSE]),
        (b"~d", [b"~d"]),
        (b"\r~", [b"\r"]),
        (b"", []),
    ],
)
def test_escapes(typed: bytes, meant: list[bytes | Action]) -> None:
    whole = EscapeFilter(TILDE)
    assert joined(whole.receive(typed)) == meant
    single = EscapeFilter(TILDE)
    assert joined([item for byte in typed for item in single.receive(bytes([byte]))]) == meant


def test_no_escape_character() -> None:
    keys = EscapeFilter(None)
    assert keys.receive(b"~.\r~.") == [b"~.\r~."]


def test_other_escape_character() -> None:
    keys = EscapeFilter(0x1D)
    assert keys.receive(b"~.\r\x1d.") == [b"~.\r", Action.TERMINATE]
    assert echo(0x1D, Action.TERMINATE) == "^]."


@pytest.mark.parametrize("character", [ord("."), ord("?"), ord("B")])
def test_escape_character_that_is_a_key_too(character: int) -> None:
    """Typed twice it is sent once, whatever else the key would mean."""
    assert EscapeFilter(character).receive(bytes([character, character])) == [bytes([character])]


def test_help_lists_every_action() -> None:
    text = help_text(TILDE, persistent=True, commands=True)
    for action in Action:
        key = action.value.decode()
        shown = {"\x1a": "^Z", "V": "V/v", "v": "V/v"}.get(key, key)
        assert f" ~{shown}" in text
    assert "~~ " in text


@given(st.lists(st.binary(max_size=8)))
def test_without_escapes_nothing_changes(parts: list[bytes]) -> None:
    """Invariant: text in which no line starts with the character passes unchanged, however cut."""
    parts = [b"x"] + [part.replace(b"\r", b" ").replace(b"\n", b" ") for part in parts]
    keys = EscapeFilter(TILDE)
    out = [item for part in parts for item in keys.receive(part)]
    assert all(isinstance(item, bytes) for item in out)
    assert b"".join(item for item in out if isinstance(item, bytes)) == b"".join(parts)


@given(st.binary(max_size=64), st.integers(min_value=0, max_value=64))
def test_cutting_changes_nothing(data: bytes, cut: int) -> None:
    whole, parts = EscapeFilter(TILDE), EscapeFilter(TILDE)
    assert joined(whole.receive(data)) == joined(
        parts.receive(data[:cut]) + parts.receive(data[cut:])
    )
