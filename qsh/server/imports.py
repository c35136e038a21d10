"""A bar against imports in processes that have given up their rights (docs/architecture.md 2.4).

After setuid, or in an empty root, an import fails half-way or, worse, reads files that somebody else may have put there. So
everything is imported before, and a later import is an error that names the module.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["forbid"]


class _Bar:
    """A meta path finder that refuses everything."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ImportError always."""
        raise ImportError(f"import of {name} after rights were dropped: it must be preloaded")


def forbid() -> None:
    """From now on every import of a module that is not loaded raises ImportError."""
    sys.meta_path[:] = [_Bar]
