"""What the daemon does in signal handlers: it sets a flag, and that is all (CVE-2024-6387 was work in one)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "qsh"
FILES = sorted(
    [*(ROOT / "server").glob("*.py"), *(ROOT / "cli").glob("daemon*.py"), ROOT / "cli/instance.py"]
)


def handlers(tree: ast.AST) -> list[ast.expr]:
    """The second arguments of signal.signal()."""
    return [
        call.args[1]
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "signal.signal"
        and len(call.args) == 2
    ]


def alternatives(handler: ast.expr) -> list[ast.expr]:
    return [handler.body, handler.orelse] if isinstance(handler, ast.IfExp) else [handler]


def only_sets(tree: ast.AST, name: str) -> bool:
    """Whether each function of that name does nothing but give attributes a constant."""
    found = [
        each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == name
    ]
    return bool(found) and all(
        isinstance(step, ast.Assign) and isinstance(step.value, ast.Constant)
        for each in found
        for step in each.body
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_handlers_only_set_flags(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for handler in (one for each in handlers(tree) for one in alternatives(each)):
        text = ast.unparse(handler)
        does_nothing = isinstance(handler, ast.Lambda) and isinstance(handler.body, ast.Constant)
        sets = isinstance(handler, ast.Attribute) and only_sets(tree, handler.attr)
        assert text.startswith("signal.SIG_") or does_nothing or sets, f"{path.name}: {text}"


def test_there_are_some() -> None:
    monitor = ast.parse((ROOT / "server/monitor.py").read_text())
    assert any(isinstance(each, ast.Attribute) for each in handlers(monitor))
