"""The rehearsal may fail, but it must end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from qsh.config import daemon_parser
from qsh.server import login_script, preload, program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_rehearsal_without_processes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(program, "start", none_left)
    monkeypatch.setattr(program, "open_terminal", none_left)
    preload.rehearse(daemon_parser.parse("", "config", lambda pattern: []))


def test_nothing_of_the_administrators_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """qshd starts as root: a forced command or sshrc would have run twenty times before anybody has logged in."""
    ran = tmp_path / "ran"
    script = tmp_path / "sshrc"
    script.write_text(f"touch {ran}\n")
    monkeypatch.setattr(login_script, "SYSTEM_SCRIPT", str(script))
    monkeypatch.setattr(preload, "ROUNDS", 1)
    config = daemon_parser.parse(f"ForceCommand touch {ran}\n", "config", lambda pattern: [])
    started: list[object] = []
    start = program.start

    def watch(plan: Any, terminal: Any) -> Any:
        started.append(plan)
        return start(plan, terminal)

    monkeypatch.setattr("qsh.server.host.program.start", watch)
    preload.rehearse(config)
    assert started, "the control: programs were started"
    assert not ran.exists()


def test_the_rehearsed_login_goes_all_the_way(tmp_path: Path) -> None:
    """One that is refused would leave the rest of a login child's work to be done for the first time by each of them."""
    strict = "PermitRootLogin no\nUsePAM yes\nUseDNS yes\nAuthorizedKeysFile none\nMatch User *\nPermitTTY no\n"
    config = daemon_parser.parse(strict, "config", lambda pattern: [])
    assert preload._Attempt(config, str(tmp_path)).judge() == "accepted"
