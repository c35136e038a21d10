"""Accounts that may and may not be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qsh.server import account
from qsh.server.account import Account

if TYPE_CHECKING:
    from pathlib import Path

NOW = 20_000 * 86400.0


def someone(**changes: object) -> Account:
    fields: dict[str, object] = {
        "name": "anna", "uid": 1000, "gid": 1000, "groups": (1000,), "home": "/", "shell": "/bin/sh",
    }  # fmt: skip
    return Account(**(fields | changes))  # type: ignore[arg-type]


def test_lookup_finds_root() -> None:
    found = account.lookup("root")
    assert found is not None
    assert (found.uid, found.home) == (0, "/root")


@pytest.mark.parametrize(
    "name", ["", "no-such-user", "-root", "ro\0ot", "../root", "ro/ot", "\udcff"]
)
def test_lookup_of_what_is_no_name(name: str) -> None:
    assert account.lookup(name) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("anna:*:19000:0:99999:7:::", None),
        ("anna:$y$hash:19000:0:99999:7:::", None),
        ("anna:!:19000:0:99999:7:::", "locked"),
        ("anna:!$y$hash:19000:0:99999:7:::", "locked"),
        ("anna:*:19000:0:99999:7::20000:", "expired"),
        ("anna:*:19000:0:99999:7::20001:", None),
        ("annabel:!:19000:0:99999:7:::", None),
        ("anna:!", None),
    ],
)
def test_shadow(
    tmp_path: Path, line: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    shadow = tmp_path / "shadow"
    shadow.write_text(f"root:*:1:0:99999:7:::\n{line}\n")
    found = account.unusable(
        someone(), NOW, locked_counts=True, shadow=str(shadow), nologin=str(tmp_path / "none")
    )
    assert (reason is None) == (found is None)
    assert reason is None or reason in str(found)


def test_shell_and_nologin(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert "does not exist" in str(
        account.unusable(
            someone(shell=missing), NOW, locked_counts=True, shadow=missing, nologin=missing
        )
    )
    assert "not executable" in str(
        account.unusable(
            someone(shell=str(plain)), NOW, locked_counts=True, shadow=missing, nologin=missing
        )
    )
    assert "exists" in str(
        account.unusable(someone(), NOW, locked_counts=True, shadow=missing, nologin=str(plain))
    )
    assert (
        account.unusable(
            someone(uid=0), NOW, locked_counts=True, shadow=missing, nologin=str(plain)
        )
        is None
    )


def test_a_locked_password_counts_only_without_pam(tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("anna:!:19000:0:99999:7:::\n")
    paths = {"shadow": str(shadow), "nologin": str(tmp_path / "none")}
    assert "locked" in str(account.unusable(someone(), NOW, locked_counts=True, **paths))
    assert account.unusable(someone(), NOW, locked_counts=False, **paths) is None
