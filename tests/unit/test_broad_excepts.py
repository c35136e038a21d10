"""Who catches everything says why: it raises again what it has tidied up after, ends its process, or has a comment."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

QSH = Path(__file__).parents[2] / "qsh"
BROAD = {"BaseException", "Exception"}


def silent(source: str) -> list[int]:
    """Lines of handlers that do none of it."""
    lines = source.splitlines()
    return [
        handler.lineno
        for handler, ends in _handlers(ast.parse(source))
        if "#" not in lines[handler.lineno - 1] and not ends and not _raises(handler)
    ]


def _handlers(tree: ast.AST) -> Iterator[tuple[ast.ExceptHandler, bool]]:
    """All broad ones, and whether their process ends behind them."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody", "handlers"):
            body = getattr(node, name, None)
            for at, statement in enumerate(body if isinstance(body, list) else ()):
                if isinstance(statement, ast.Try):
                    behind = [*statement.finalbody, *body[at + 1 :]]  # type: ignore[index]
                    ends = any(_ends_process(after) for after in behind)
                    yield from ((found, ends) for found in statement.handlers if _is_broad(found))


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in BROAD for node in ast.walk(handler.type))


def _ends_process(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) in {"os._exit", "_leave"}


def _raises(handler: ast.ExceptHandler) -> bool:
    """At its end, whatever else happens."""
    return isinstance(handler.body[-1], ast.Raise)


def test_every_broad_except_has_its_reason() -> None:
    found = {
        f"{path.relative_to(QSH)}:{line}"
        for path in QSH.rglob("*.py")
        for line in silent(path.read_text())
    }
    assert found == set()


@pytest.mark.parametrize(
    ("handler", "is_silent"),
    [
        ("except Exception:\n    pass", True),
        ("except:\n    pass", True),
        ("except (OSError, BaseException):\n    pass", True),
        ("except OSError:\n    pass", False),
        ("except Exception:  # for this reason\n    pass", False),
        ("except BaseException:\n    tidy()\n    raise", False),
        ("except BaseException:\n    log()\nos._exit(1)", False),
        ("except BaseException:\n    if odd:\n        raise\n    log()", True),
    ],
)
def test_the_check_itself(handler: str, is_silent: bool) -> None:
    assert bool(silent(f"try:\n    work()\n{handler}\n")) is is_silent
