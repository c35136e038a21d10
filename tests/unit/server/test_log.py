"""Remote text in qshd's log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qsh.server import log as module
from qsh.server.log import Log, printable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("anna", "anna"),
        ("a\nb\r\t\0\x1b[2J\x7f\x9b", "a\\x0ab\\x0d\\x09\\x00\\x1b[2J\\x7f\\x9b"),
        ("a\u2028b\u202ec\ud800", "a\\u2028b\\u202ec\\ud800"),
        ("Käthe \N{SNOWMAN}", "Käthe \N{SNOWMAN}"),
        ("x" * 5000, "x" * 1000 + "..."),
        ("\n" * 5000, "\\x0a" * 250 + "..."),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_one_line_per_event() -> None:
    read, write = os.pipe()
    log = Log("INFO", file=write)
    log.info("Failed publickey for x\nqshd[1]: Accepted publickey for root")
    log.debug("not at this level")
    os.close(write)
    with open(read) as file:
        (line,) = file.read().splitlines()
    assert "qshd[" in line
    assert line.endswith("x\\x0aqshd[1]: Accepted publickey for root")


def test_a_full_disk_is_no_obstacle() -> None:
    with open("/dev/full", "w") as file:
        Log("INFO", file=file.fileno()).error("nobody reads this")


def test_no_codec_is_loaded() -> None:
    """In the front an import is an error, and so is the first use of a codec."""
    code = (
        "import sys; from qsh.server.log import printable; before = set(sys.modules);"
        "printable('\\n\\ud800\\u2028'); assert set(sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_syslog_that_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYSLOG_SOCKET", str(tmp_path / "log"))

    def syslog() -> socket.socket:
        (tmp_path / "log").unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(str(tmp_path / "log"))
        return sock

    with syslog():
        log = Log("INFO", to_stderr=False)
    log.info("nobody hears this")
    with syslog() as sock:
        sock.settimeout(5)
        log.info("again")
        assert sock.recv(1000).endswith(b": again")
    assert log._socket is not None
    log._socket.close()


def test_json_is_one_object_a_line_with_the_fields_of_the_event() -> None:
    read, write = os.pipe()
    log = Log("INFO", file=write, form="json")
    log.info("Accepted publickey for x\ny", event="login-accepted", user="x\ny", port=22)
    log.debug("not at this level", event="no")
    os.close(write)
    with open(read) as file:
        (line,) = file.read().splitlines()
    told = json.loads(line)
    assert told.pop("time") > 1e9
    assert told == {
        "level": "info",
        "process": "qshd",
        "pid": os.getpid(),
        "message": "Accepted publickey for x\\x0ay",
        "event": "login-accepted",
        "user": "x\\x0ay",
        "port": 22,
    }


def test_journald_gets_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_SOCKET", f"{tmp_path}/journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(f"{tmp_path}/journal")
        log = Log("INFO", form="journal", facility="AUTHPRIV")
        log.role = "qshd-front"
        log.error("x\nMESSAGE=forged", event="login-failed", user="a\nQSH_USER=root")
        entry = journal.recv(4096).decode().splitlines()
        for sock in (log._socket,):
            assert sock is not None
            sock.close()
    assert entry == [
        "MESSAGE=x\\x0aMESSAGE=forged",
        "PRIORITY=3",
        "SYSLOG_FACILITY=10",
        "SYSLOG_IDENTIFIER=qshd-front",
        f"SYSLOG_PID={os.getpid()}",
        "QSH_EVENT=login-failed",
        "QSH_USER=a\\x0aQSH_USER=root",
    ]


def test_without_journald_it_is_text() -> None:
    read, write = os.pipe()
    Log("INFO", file=write, form="journal").info("hello", event="x")
    os.close(write)
    with open(read) as file:
        assert file.read().endswith("]: hello\n")


def test_json_to_syslog_has_its_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYSLOG_SOCKET", f"{tmp_path}/log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(f"{tmp_path}/log")
        log = Log("INFO", to_stderr=False, form="json")
        log.info("hello")
        packet = syslog.recv(4096).decode()
        assert log._socket is not None
        log._socket.close()
    assert packet.startswith(f"<38>qshd[{os.getpid()}]: {{")
    assert json.loads(packet.partition(": ")[2])["message"] == "hello"
