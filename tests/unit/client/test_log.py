"""Where messages go."""

from __future__ import annotations

import syslog
from typing import TYPE_CHECKING

from qsh.client.log import Log
from qsh.config.values import FACILITIES

if TYPE_CHECKING:
    import pytest


def test_the_system_log(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """-y: a line each, under the facility that was asked for."""
    opened: list[tuple[object, ...]] = []
    written: list[tuple[object, ...]] = []
    monkeypatch.setattr(syslog, "openlog", lambda *words: opened.append(words))
    monkeypatch.setattr(syslog, "syslog", lambda *words: written.append(words))
    log = Log()
    log.use_syslog("LOCAL3")
    log.info("one\ntwo\0")
    assert opened == [("qsh", syslog.LOG_PID, syslog.LOG_LOCAL3)]
    assert written == [(syslog.LOG_INFO, "one"), (syslog.LOG_INFO, "two")]
    assert capfd.readouterr().err == ""


def test_every_facility_is_known() -> None:
    for name in FACILITIES:
        assert isinstance(getattr(syslog, f"LOG_{name}"), int)
