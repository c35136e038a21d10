"""What DaemonOptions answers: sockets, key files, user lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qsh.config.daemon_parser import parse

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonOptions


def options(text: str) -> DaemonOptions:
    return parse(text, "/f").options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("", 22)]),
        ("Port 1\nPort 2", [("", 1), ("", 2)]),
        ("AddressFamily inet", [("0.0.0.0", 22)]),
        ("AddressFamily inet6\nPort 9", [("::", 9)]),
        ("ListenAddress 1.2.3.4\nPort 5", [("1.2.3.4", 5)]),
        ("ListenAddress ::1\nListenAddress [::1]:22\nListenAddress h:7", [("::1", 22), ("h", 7)]),
    ],
)
def test_listen(text: str, expected: list[tuple[str, int]]) -> None:
    assert options(text).listen() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("/home/bob/.ssh/authorized_keys", "/home/bob/.ssh/authorized_keys2")),
        ("AuthorizedKeysFile /k/%u-%U%% %h/x", ("/k/bob-7%", "/home/bob/x")),
        ("AuthorizedKeysFile none", ()),
    ],
)
def test_key_files(text: str, expected: tuple[str, ...]) -> None:
    assert options(text).authorized_keys_paths("bob", 7, "/home/bob") == expected


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0", "-x", "a\n"])
def test_doubtful_names_make_no_path(name: str) -> None:
    """GHSA-qr67-gv47-xwwh: %u must not lead out of a directory."""
    assert options("AuthorizedKeysFile /keys/%u").authorized_keys_paths(name, 7, "/h") == ()


def test_a_name_with_a_percent_sign_is_not_expanded_again() -> None:
    found = options("AuthorizedKeysFile /keys/%u").authorized_keys_paths("%h", 7, "/h")
    assert found == ("/keys/%h",)


@pytest.mark.parametrize(
    ("text", "user", "groups", "reason"),
    [
        ("", "bob", ("g",), None),
        ("", "bob", (), None),
        ("DenyUsers bob", "bob", ("g",), "listed in DenyUsers"),
        ("DenyUsers b?b eve", "bob", ("g",), "listed in DenyUsers"),
        ("DenyUsers bob\nAllowUsers bob", "bob", ("g",), "listed in DenyUsers"),
        ("AllowUsers eve", "bob", ("g",), "not listed in AllowUsers"),
        ("AllowUsers eve bob", "bob", ("g",), None),
        ("AllowUsers bob@10.0.0.0/8", "bob", ("g",), None),
        ("AllowUsers bob@192.0.2.*", "bob", ("g",), "not listed in AllowUsers"),
        ("AllowUsers bob@!10.1.2.3,*", "bob", ("g",), "not listed in AllowUsers"),
        ("AllowUsers bob@10.*,!www.example.com", "bob", ("g",), "not listed in AllowUsers"),
        ("AllowUsers *@*.example.com", "bob", ("g",), None),
        ("DenyUsers bob@www.example.com", "bob", ("g",), "listed in DenyUsers"),
        ("DenyGroups g", "bob", ("a", "g"), "a group is listed in DenyGroups"),
        ("AllowGroups x", "bob", ("g",), "none of user's groups are listed in AllowGroups"),
        ("AllowGroups g*", "bob", ("a", "gg"), None),
        ("AllowGroups g", "bob", (), "not in any group"),
        ("DenyGroups g", "bob", (), "not in any group"),
        ("RefuseConnection yes", "bob", ("g",), "of RefuseConnection"),
    ],
)
def test_user_lists(text: str, user: str, groups: tuple[str, ...], reason: str | None) -> None:
    found = options(text).user_refusal(user, groups, "10.1.2.3", "WWW.example.com")
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert found.endswith(reason)
