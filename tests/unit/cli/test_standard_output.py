"""Readers that go away, and disks that are full."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from qsh.cli.standard_output import print_text

if TYPE_CHECKING:
    import pytest


def test_a_text_comes_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert print_text("words\n", "qsh") == 0
    assert capfd.readouterr() == ("words\n", "")


def test_a_reader_that_went_away_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as raw:
        monkeypatch.setattr(sys, "stdout", Text(raw.fileno()))
        assert print_text("words\n", "qsh") == 255
    assert capfd.readouterr().err == ""


def test_a_full_disk_is(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(sys, "stdout", Text(full))
    assert print_text("words\n", "qshctl") == 255
    os.close(full)
    assert capfd.readouterr().err == "qshctl: standard output: No space left on device\n"


class Text:
    """Standard output, unbuffered."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def flush(self) -> None:
        pass
