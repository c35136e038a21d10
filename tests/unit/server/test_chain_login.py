"""AuthenticationMethods in the login child: what counts as another step."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.auth import userauth
from qsh.auth.private import PrivateKey
from qsh.config.daemon_options import DaemonOptions
from qsh.config.daemon_parser import parse
from qsh.server import key_judge
from qsh.server.login import Judge
from qsh.server.penalties import cause_of
from qsh.server.requests import Login, Outcome, Step
from qsh.wire.messages import Proof
from tests.support.permission_cases import CASES, Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.auth.keys import PublicKey
    from qsh.server.pam_login import PamLogin

ME = pwd.getpwuid(os.getuid())
ONLY = None if os.geteuid() == 0 else os.geteuid()
SESSION_ID, HOST = b"i" * 46, b"host"
NOW = 1_800_000_000.0
CONFIG = """\
AuthenticationMethods publickey,publickey
AuthorizedKeysFile {where}/authorized_keys
TrustedUserCAKeys {where}/cas
PermitRootLogin yes
StrictModes no
UsePAM no
"""


@pytest.fixture
def where() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home" if os.geteuid() == 0 else Path.home()) as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.mark.parametrize("first", ["the key", "its certificate", "another key"])
def test_a_key_and_its_certificate_are_one(tmp_path: Path, where: Path, first: str) -> None:
    credentials = Credentials(tmp_path)
    certificate = credentials.prepare(CASES["a trusted authority"], where, ME.pw_name, "group")
    keys = {name: PrivateKey.load((tmp_path / name).read_bytes()) for name in ("key", "other")}
    plain, other = keys["key"].public, keys["other"].public
    (where / "authorized_keys").write_text(f"{plain.line()}\n{other.line()}\n")
    config = parse(CONFIG.format(where=where), "qshd_config")

    def judge(shown: PublicKey, *steps: Step, offered: bool = False) -> Outcome | str:
        data = userauth.signed_data(SESSION_ID, ME.pw_name, shown.type, shown.blob, HOST)
        proof = Proof(0, shown.type, keys["key"].sign(data))
        login = Login(
            SESSION_ID, ME.pw_name, ("127.0.0.1", 1), ("127.0.0.1", 22), [shown.blob],
            None if offered else proof,
        )  # fmt: skip
        return Judge(login, HOST, lambda *_: config.options, NOW, ONLY, steps=steps).judge().outcome

    done = {"the key": plain, "its certificate": certificate, "another key": other}[first]
    differs = first == "another key"
    for shown in (plain, certificate):
        assert judge(shown) == Outcome.PARTIAL
        step = Step("publickey", done.blob)
        assert judge(shown, step) == (Outcome.ACCEPTED if differs else Outcome.REFUSED)
        assert judge(shown, step, offered=True) == (
            Outcome.CONTINUE if differs else Outcome.REFUSED
        )


def test_before_a_question_nothing_of_the_users_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How long it takes until it is asked would tell who is a user here."""

    class Pam:
        counts = True

        def check_password(self, *, genuine: bool, empty: bool) -> str:
            assert not empty
            asked.append(genuine)
            return "no"

    read: list[str] = []
    asked: list[bool] = []
    monkeypatch.setattr(key_judge.KeyJudge, "_texts", lambda _, kind: read.append(kind) or [])
    options = DaemonOptions(use_pam=True, permit_root_login="yes")
    login = Login(SESSION_ID, ME.pw_name, ("127.0.0.1", 1), ("127.0.0.1", 22), method="password")
    pam: PamLogin = Pam()  # type: ignore[assignment]
    found = Judge(login, HOST, lambda *_: options, NOW, ONLY, pam=pam).judge()
    assert (found.outcome, asked, read) == (Outcome.REFUSED, [True], [])


@pytest.mark.parametrize("method", ["unknown user", "key of RefuseConnection", "invalid user x"])
def test_a_method_does_not_choose_its_penalty(method: str) -> None:
    options = DaemonOptions(permit_root_login="yes")
    login = Login(SESSION_ID, ME.pw_name, ("127.0.0.1", 1), ("127.0.0.1", 22), method=method)
    found = Judge(login, HOST, lambda *_: options, NOW, ONLY).judge()
    assert found.outcome == Outcome.REFUSED
    assert cause_of(found.reason) == "authfail"
    assert not found.reason.startswith("key ")
