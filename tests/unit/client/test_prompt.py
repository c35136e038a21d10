"""Questions on the terminal and through SSH_ASKPASS (OpenSSH readpass.c)."""

from __future__ import annotations

import os
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import sys
from qsh.client.prompt import Prompter
prompter = Prompter(batch={batch})
print("got", repr(prompter.{call}), flush=True)
"""


def start(call: str, *, batch: bool = False, **env: str) -> OnTerminal:
    code = CODE.format(call=call, batch=batch)
    wanted = {**os.environ, **env}
    for name in ("DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
        if name not in env:
            wanted.pop(name, None)
    return OnTerminal([sys.executable, "-c", code], wanted)


def echoes(terminal: OnTerminal) -> bool:
    return bool(termios.tcgetattr(terminal.fd)[3] & termios.ECHO)


def test_a_passphrase_is_not_echoed() -> None:
    with start("passphrase('Secret: ')") as terminal:
        before = terminal.modes()
        terminal.expect(b"Secret: ")
        assert not echoes(terminal)
        terminal.type(b"hush\r")
        assert terminal.expect(b"got 'hush'") == b"\r\ngot 'hush'"
        assert terminal.wait() == 0
        assert terminal.modes() == before


def test_a_line_is_echoed() -> None:
    with start("line('Sure? ')") as terminal:
        terminal.expect(b"Sure? ")
        terminal.type(b"yes\r")
        assert terminal.expect(b"got 'yes'") == b"yes\r\ngot 'yes'"


def test_end_of_input_is_no_answer() -> None:
    with start("line('Sure? ')") as terminal:
        terminal.expect(b"Sure? ")
        terminal.type(b"\x04")
        terminal.expect(b"got None")


def test_interrupt_restores_and_kills() -> None:
    with start("passphrase('Secret: ')") as terminal:
        before = terminal.modes()
        terminal.expect(b"Secret: ")
        wait_until(lambda: not echoes(terminal), "echo off")
        terminal.type(b"\x03")
        assert terminal.wait() == -2
        assert terminal.modes() == before
        assert b"Traceback" not in terminal.output


def test_batch_mode_asks_nobody() -> None:
    with start("passphrase('Secret: ')", batch=True) as terminal:
        assert terminal.expect(b"got None") == b"got None"


@pytest.fixture
def askpass(tmp_path: Path) -> str:
    path = tmp_path / "askpass"
    path.write_text('#!/bin/sh\necho "$1" >&2\necho answer\n')
    path.chmod(0o700)
    return str(path)


@pytest.mark.parametrize(
    ("env", "asked"),
    [
        ({"SSH_ASKPASS_REQUIRE": "force"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer", "DISPLAY": ":0"}, True),
        ({"SSH_ASKPASS_REQUIRE": "prefer"}, False),
        ({"DISPLAY": ":0"}, False),
    ],
)
def test_askpass_rules_with_a_terminal(askpass: str, env: dict[str, str], asked: bool) -> None:
    with start("passphrase('Secret: ')", SSH_ASKPASS=askpass, **env) as terminal:
        terminal.expect(b"Secret: ")
        if not asked:
            terminal.type(b"typed\r")
        terminal.expect(b"got 'answer'" if asked else b"got 'typed'")


@pytest.mark.parametrize(
    ("env", "answer"),
    [
        ({"DISPLAY": ":0"}, "'answer'"),
        ({}, "None"),
        ({"DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "never"}, "None"),
    ],
)
def test_askpass_rules_without_a_terminal(askpass: str, env: dict[str, str], answer: str) -> None:
    wanted = {**os.environ, "SSH_ASKPASS": askpass}
    wanted.pop("DISPLAY", None)
    wanted.pop("SSH_ASKPASS_REQUIRE", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(call="passphrase('Secret: ')", batch=False)],
        env={**wanted, **env},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert done.stdout == f"got {answer}\n"


def test_an_askpass_that_is_not_there_is_told(tmp_path: Path) -> None:
    env = {**os.environ, "SSH_ASKPASS": f"{tmp_path}/none", "SSH_ASKPASS_REQUIRE": "force"}
    code = CODE.format(call="passphrase('x')", batch=False)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert done.stdout == b"got None\n"
    text = f"ssh_askpass: exec({tmp_path}/none): No such file or directory\r\n"
    assert done.stderr == text.encode()


def test_a_refusing_askpass_is_no_answer(tmp_path: Path) -> None:
    env = {**os.environ, "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(call="line('x')", batch=False)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "got None\n"
