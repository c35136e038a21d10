"""docs/architecture.md names files that are there, and every file of qsh/ somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[\w./-]*\w\.(?:py|rs|md|json|pyi)\b")
FOLDERS = (
    "qsh",
    "native/src",
    "native/sim",
    "native/examples",
    "bench",
    "tests",
    "packaging",
    "docs",
)


def named(text: str) -> set[str]:
    """Files, by the end of their path."""
    return {name.removeprefix("../") for name in NAME.findall(text)}


def present() -> list[str]:
    """With a slash in front, so that ends of paths are whole names."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [f"/{path.relative_to(ROOT)}" for path in [*files, *ROOT.glob("*.*")]]


def test_what_is_named_is_there() -> None:
    found, paths = named((ROOT / "docs/architecture.md").read_text()), present()
    assert len(found) > 200
    assert {name for name in found if not any(path.endswith(f"/{name}") for path in paths)} == set()


def test_every_file_is_named() -> None:
    """A new one: where it belongs in section 2, or in 4.1."""
    found = named((ROOT / "docs/architecture.md").read_text())
    modules = [path.relative_to(ROOT) for path in (ROOT / "qsh").rglob("*.py")]
    left_out = {
        str(path)
        for path in modules
        if path.name != "__init__.py" and not any(f"/{path}".endswith(f"/{name}") for name in found)
    }
    assert len(modules) > 200
    assert left_out == set()


def test_files_that_contributing_names_are_there() -> None:
    found, paths = named((ROOT / "CONTRIBUTING.md").read_text()), present()
    assert len(found) > 30
    missing = {name for name in found if not any(path.endswith(f"/{name}") for path in paths)}
    assert missing <= {"tests/data/session-host-VERSION.json"}  # one for each version


def test_every_file_begins_with_what_it_is_for() -> None:
    silent = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "qsh").rglob("*.py")
        if not path.read_text().startswith('"""')
    }
    assert silent == set()
