"""No text makes qshd's parser raise anything but ConfigError, and what it takes can be printed."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.config.daemon_dump import dump
from qsh.config.daemon_import import survey
from qsh.config.daemon_parser import parse
from qsh.config.daemon_schema import ALIASES, KEYWORDS
from qsh.errors import ConfigError

WORDS = 'yes no none any 22 0 1h 10:30:100 /x a@b * !x "" " A=1 10.0.0.0/8 [::1]:22 %u % # +ssh-ed25519 all user=x \''
ARGUMENTS = st.lists(st.sampled_from(WORDS.split()) | st.text(max_size=12), max_size=4).map(
    " ".join
)
LINES = st.lists(
    st.builds(
        "{} {}".format,
        st.sampled_from([*KEYWORDS, *ALIASES, "match", "include"]) | st.text(max_size=8),
        ARGUMENTS,
    ),
    max_size=6,
).map("\n".join)


@settings(max_examples=400, deadline=None)
@given(LINES, LINES)
def test_only_config_errors(text: str, included: str) -> None:
    with contextlib.suppress(ConfigError):
        config = parse(text, "/f", lambda pattern: [("/x", included)])
        dump(config)
        dump(config, "user=bob,addr=10.0.0.1,host=h,laddr=::1,lport=22")
        config.options.listen()
        config.options.user_refusal("bob", ("g",), "10.0.0.1", "h")


@settings(max_examples=200, deadline=None)
@given(LINES, LINES)
def test_what_is_imported_means_the_same(text: str, included: str) -> None:
    """A line of an sshd_config is in one list of the survey, and what is made of the file is what was read."""

    def read(pattern: str) -> list[tuple[str, str]]:
        return [("/x", included)]

    try:
        found = survey(text, "/f", read)
    except ConfigError:
        return
    seen: list[str] = []
    parse(text, "/f", read, include_directory="/etc/ssh", visit=lambda line: seen.append(line.text))
    lists = (found.same, found.different, found.unused, found.refused)
    assert sum(map(len, lists)) == len(seen)
    again: list[str] = []
    made = found.rewrite(text, "/f")
    parse(made, "/made", read, visit=lambda line: again.append(line.text))
    assert again == seen


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse(text, "/f")


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(max_size=20))
def test_a_key_file_never_leaves_its_directory(user: str, home: str) -> None:
    for path in parse("AuthorizedKeysFile /keys/%u", "/f").options.authorized_keys_paths(
        user, 7, home
    ):
        assert path.startswith("/keys/")
        assert path.count("/") == 2
        assert not path.endswith(("/.", "/.."))
