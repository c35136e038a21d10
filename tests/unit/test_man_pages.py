"""The man pages name every option, keyword and escape that there is, and none that there is not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from qsh.cli.arguments import FLAGS, WITH_VALUE
from qsh.cli.control import app
from qsh.cli.daemon_arguments import GETOPT
from qsh.cli.daemon_reload import AT_START
from qsh.config.daemon_schema import SCHEMA, UNUSED
from qsh.config.schema import KEYWORDS
from qsh.terminal.escape import Action

MAN = Path(__file__).parents[2] / "man"
PAGES = sorted(path.name for path in MAN.glob("*.[1-8]"))
FORMER_VERSIONS = {"1"}
"""Flags of old ssh clients that end in an error: not worth a line."""


def items(page: str, macro: str) -> list[list[str]]:
    """The words after each ``.It macro``, split where the macro is repeated or at a comma."""
    found = []
    for line in (MAN / page).read_text().splitlines():
        if line.startswith(f".It {macro} "):
            rest = line.removeprefix(f".It {macro} ").replace(f" {macro} ", " ")
            found.append([word for word in rest.split(" , ") if word])
    return found


def flags(page: str) -> set[str]:
    return {word.split()[0] for item in items(page, "Fl") for word in item}


def synopsis(page: str) -> set[str]:
    text = (MAN / page).read_text().partition(".Sh SYNOPSIS")[2].partition(".Sh DESCRIPTION")[0]
    single = re.findall(r"^\.Op Fl ([0-9A-Za-z])\b(?! *$)", text, re.MULTILINE)
    joined = re.findall(r"^\.Op Fl ([0-9A-Za-z]+)$", text, re.MULTILINE)
    return {*single, *"".join(joined)}


def keywords(page: str) -> set[str]:
    return {word for item in items(page, "Cm") for word in item if re.match(r"[A-Z]\w+$", word)}


def test_the_six_pages_are_there() -> None:
    assert PAGES == ["qscp.1", "qsh.1", "qsh_config.5", "qshctl.1", "qshd.8", "qshd_config.5"]


def test_qsh_flags() -> None:
    expected = set(FLAGS + WITH_VALUE) - FORMER_VERSIONS
    assert flags("qsh.1") == expected
    assert expected - synopsis("qsh.1") <= {"2"}


def test_qsh_escapes() -> None:
    listed = {key for item in items("qsh.1", "Cm") for key in item if key.startswith("~")}
    wanted = {action.value.decode().replace("\x1a", "^Z") for action in Action}
    assert listed == {f"~{key}" for key in wanted | {"~"}}


def test_qshd_flags() -> None:
    expected = set(GETOPT.replace(":", ""))
    assert flags("qshd.8") == expected
    assert synopsis("qshd.8") == expected


def test_qsh_config_keywords() -> None:
    known = {keyword.name: keyword.status for keyword in KEYWORDS.values()}
    documented = keywords("qsh_config.5")
    assert documented - set(known) == set()
    assert {name for name in known if name.startswith("Qsh")} <= documented
    assert {name for name in documented if known[name] != "used"} == set()


def test_qshd_config_keywords_are_in_their_place() -> None:
    idle = (MAN / "qshd_config.5").read_text().partition(".Sh KEYWORDS WITHOUT EFFECT")[2]
    unused = {keyword.name for keyword in SCHEMA if keyword.status == UNUSED}
    effective = {keyword.name for keyword in SCHEMA} - unused
    assert keywords("qshd_config.5") == effective | {"Include", "Match"}
    assert set(re.findall(r"^\.Cm (\S+) [,.]$", idle, re.MULTILINE)) == unused


def test_what_a_reload_cannot_change_is_named() -> None:
    listed = (
        (MAN / "qshd.8").read_text().partition("takes effect only when")[2].partition("a first")[0]
    )
    named = {keyword.name for keyword in SCHEMA if keyword.field in AT_START}
    of_instances = {"QshInstanceIdle", "QshInstancePorts"}  # of a qshd that is not reloaded at all
    assert set(re.findall(r"[A-Z]\w+", listed)) - {"Cm", "Nm"} == named - of_instances


def test_qshctl_commands_and_options() -> None:
    group = typer.main.get_command(app)
    commands = getattr(group, "commands", {})
    assert commands
    text = (MAN / "qshctl.1").read_text()
    assert set(re.findall(r"^\.It Cm ([\w-]+)", text, re.MULTILINE)) == set(commands)
    for name, command in commands.items():
        section = re.search(
            rf"^\.It Cm {name}\b.*?(?=^\.It Cm |^\.El)", text, re.MULTILINE | re.DOTALL
        )
        assert section is not None
        for parameter in command.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"Fl {option[1:].replace('-', chr(92) + '-')}" in section[0], (name, option)


@pytest.mark.tool("mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_page_is_well_formed(page: str) -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", MAN / page], capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout == ""
