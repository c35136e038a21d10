"""What a login child asks of the system, and what it need not ask."""

from __future__ import annotations

import pytest

from qsh.config import daemon_parser
from qsh.server import login_child as module
from qsh.server.account import Account
from qsh.server.log import Log
from qsh.server.login_child import LoginChild
from qsh.server.requests import Login

LOGIN = Login(b"i" * 46, "anna", ("192.0.2.1", 1), ("192.0.2.2", 22))
ANNA = Account("anna", 1, 1, (1,), "/", "/bin/sh")


@pytest.mark.parametrize(("text", "expected"), [("", 0), ("Match Group staff\nPermitTTY no\n", 1)])
def test_groups_have_names_only_where_a_match_may_want_them(
    text: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Account] = []

    def names(account: Account) -> tuple[str, ...]:
        asked.append(account)
        return ("staff",)

    monkeypatch.setattr(module, "group_names", names)
    config = daemon_parser.parse(text, "config", lambda pattern: [])
    options = LoginChild(config, 0, Log("QUIET"))._options_for(LOGIN, ANNA)
    assert options.permit_tty is not bool(expected)
    assert len(asked) == expected
