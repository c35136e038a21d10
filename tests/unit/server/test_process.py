"""Names of processes: each is one of a few words, whatever strangers call themselves."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

QSH = Path(__file__).parents[3] / "qsh"
TITLE = re.compile(r"qshd-[a-z]{1,10}")
"""15 bytes, which is what Linux keeps. A user's name would be cut there, and could be made to look like another process."""
OTHER_WAYS = re.compile(
    r"setproctitle|PR_SET_NAME|PR_SET_MM|/proc/[^\"']*/comm\"?, *\"[wa]|sys\.argv\[0\] *="
)


def titles(source: str) -> list[object]:
    """What is passed to set_title; None for what is no constant."""
    return [
        node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) == "set_title"
    ]


def test_titles_are_constants() -> None:
    found = [title for path in QSH.rglob("*.py") for title in titles(path.read_text())]
    assert len(found) > 5
    assert all(isinstance(title, str) and TITLE.fullmatch(title) for title in found), found


def test_nobody_sets_one_otherwise() -> None:
    for path in QSH.rglob("*.py"):
        if path.name != "process.py":
            assert not OTHER_WAYS.search(path.read_text()), path


@pytest.mark.parametrize(
    "source", ['set_title(f"qshd: {user} [priv]")', "process.set_title(user)", "set_title(TITLE)"]
)
def test_the_check_sees_a_name(source: str) -> None:
    """The control."""
    assert titles(source) == [None]
