"""authorized_keys: no text breaks the parser, and a restriction that was written is never lost."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from qsh.auth.authorized_keys import Visitor, authorize, find, parse_authorized_line
from qsh.auth.key_options import KeyOptions, parse_options
from qsh.errors import KeyFormatError
from tests.fuzz.fuzz_auth import KEYS

KEY = KEYS[0]
FLAGS = {
    "pty": "pty",
    "agent-forwarding": "agent_forwarding",
    "port-forwarding": "port_forwarding",
    "x11-forwarding": "x11_forwarding",
    "user-rc": "user_rc",
}
WORDS = st.sampled_from(
    [
        *("restrict", "no-pty", "pty", "cert-authority", ",", '"', "\\", " ", "="),
        *('command="x"', 'from="*"', 'permitopen="a:1"', 'permitlisten="1"', 'tunnel="1"'),
        *('expiry-time="20200101"', 'environment="A=b"'),
    ]
)


@given(st.text(max_size=100) | st.lists(WORDS, max_size=8).map("".join))
def test_options_never_crash(text: str) -> None:
    with contextlib.suppress(KeyFormatError):
        assert isinstance(parse_options(text), KeyOptions)
    parse_authorized_line(text)
    parse_authorized_line(f"{text} {KEY.line()}")
    authorize(f"{text} {KEY.line()}\n{text}", KEY, Visitor("u", "192.0.2.1", "h"), 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["no-", ""]), st.sampled_from([*FLAGS, "restrict"])), max_size=8
    )
)
def test_the_last_word_on_a_right_wins(words: list[tuple[str, str]]) -> None:
    expected = dict.fromkeys(FLAGS.values(), True)
    texts = []
    for no, flag in words:
        if flag == "restrict":
            expected = dict.fromkeys(FLAGS.values(), False)
            texts.append(flag)
        else:
            expected[FLAGS[flag]] = not no
            texts.append(no + flag)
    options = parse_options(",".join(texts))
    assert {name: getattr(options, name) for name in expected} == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=40))
def test_a_command_survives_quoting(command: str) -> None:
    """Only a backslash before a quote cannot be written: sshd has no escape for it either."""
    command = command.replace("\\", "")
    quoted = command.replace('"', '\\"')
    text = f'no-pty,command="{quoted}",no-user-rc {KEY.line()}\n'
    (found,) = find(text, KEY)
    assert found == (1, KeyOptions(pty=False, user_rc=False, command=command))
