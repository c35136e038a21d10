"""Who may stay where it has moved to: rules for addresses, and nothing else (docs/protocol.md 5.9)."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.config import daemon_parser
from qsh.server.login import Judge
from qsh.server.moved_login import judge_move
from qsh.server.requests import OTHER_RULES, Login, Outcome
from qsh.wire.messages import Proof

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.server.requests import Address

ME = pwd.getpwuid(os.getuid()).pw_name
KEY = PrivateKey.load(generate_ed25519()[0].encode())
BEFORE, NOW, SERVER = ("192.0.2.1", 4711), ("198.51.100.1", 4712), ("192.0.2.2", 22)
THEN = 1_700_000_000.0


class Case(NamedTuple):
    reason: str
    config: str = ""
    line: str = ""
    listed: bool = True


CASES = {
    "no rule": Case(""),
    "from= names both": Case("", line='from="192.0.2.0/24,198.51.100.0/24" '),
    "from= does not name the new one": Case("is not authorized", line='from="192.0.2.0/24" '),
    "from= denies the new one": Case("is not authorized", line='from="*,!198.51.100.*" '),
    "AllowUsers": Case("AllowUsers", f"AllowUsers {ME}@192.0.2.*"),
    "DenyUsers": Case("DenyUsers", f"DenyUsers {ME}@198.51.100.*"),
    "RefuseConnection": Case("RefuseConnection", "Match Address 198.51.100.0/24\nRefuseConnection yes"),
    "no keys there": Case("PubkeyAuthentication no", "Match Address 198.51.100.0/24\nPubkeyAuthentication no"),
    "fewer rights there": Case(OTHER_RULES, "Match Address 198.51.100.0/24\nPermitTTY no"),
    "a command there": Case(OTHER_RULES, "Match Address 198.51.100.0/24\nForceCommand date"),
    "another banner there": Case("", "Match Address 198.51.100.0/24\nBanner /etc/issue"),
    "the key is gone": Case("", listed=False),
    "its time is over by now": Case("", line='expiry-time="20250101" '),
    "its time is over, and it may not be there": Case("is not authorized", line='expiry-time="20250101",from="192.0.2.*" '),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_who_may_stay(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    keys = tmp_path / "authorized_keys"
    keys.write_text(case.line + KEY.public.line() + "\n" if case.listed else "")
    text = f"StrictModes no\nPermitRootLogin yes\nAuthorizedKeysFile {keys}\n{case.config}\n"
    config = daemon_parser.parse(text, "qshd_config", lambda _: [])

    def options_for(login: Login, _: Account | None) -> DaemonOptions:
        where: dict[str, Any] = {"local_address": SERVER[0], "local_port": SERVER[1]}
        return config.for_connection(
            user=login.user, groups=(), host="", address=login.client[0], **where
        )

    def judge_at(client: Address) -> Judge:
        offers, proof = [b"another", KEY.public.blob], Proof(1, "ssh-ed25519", b"checked once")
        login = Login(b"i" * 46, ME, BEFORE, SERVER, offers, proof)
        login = msgspec.structs.replace(login, client=client)
        return Judge(login, b"host", options_for, THEN, None if os.geteuid() == 0 else os.geteuid())

    found = judge_move(judge_at, BEFORE, NOW)
    assert case.reason in found.reason
    assert found.outcome == (Outcome.REFUSED if case.reason else Outcome.ACCEPTED)
