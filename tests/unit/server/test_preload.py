"""The rehearsal may fail, but it must end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from qsh.config import daemon_parser
from qsh.server import preload, program

if TYPE_CHECKING:
    import pytest


def test_a_rehearsal_without_processes_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> NoReturn:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(program, "start", none_left)
    monkeypatch.setattr(program, "open_terminal", none_left)
    preload.rehearse(daemon_parser.parse("", "config", lambda pattern: []))
