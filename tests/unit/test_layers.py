"""What import-linter cannot see: who imports the extension module (doc: docs/architecture.md, one door per dependency)."""

from __future__ import annotations

import ast
from pathlib import Path

QSH = Path(__file__).parents[2] / "qsh"
DOORS = {"quic", "terminal"}
OTHER_DOORS = {Path("server/image.py"), Path("server/confinement.py")}


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def test_only_the_facades_import_the_extension_module() -> None:
    users = {
        path.relative_to(QSH).parts[0]
        for path in QSH.rglob("*.py")
        if path.relative_to(QSH) not in OTHER_DOORS
        and any(name.startswith("qsh._native") for name in imported(path))
    }
    assert "quic" in users
    assert users <= DOORS
