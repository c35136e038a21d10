"""What the configuration has said so far: raw values by attribute, and where each came from."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Settings"]


class Settings:
    """Values by attribute name. An absent attribute has not been set by anybody."""

    __slots__ = ("sources", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def copy(self) -> Settings:
        """An independent copy; lists are copied, their members are never changed."""
        other = Settings()
        other.values = {
            name: list(value) if isinstance(value, list) else value
            for name, value in self.values.items()
        }
        other.sources = dict(self.sources)
        return other

    def first(self, attribute: str, value: Any, source: str = "") -> None:
        """Set the attribute unless somebody has: the first value wins."""
        if attribute not in self.values:
            self.put(attribute, value, source)

    def put(self, attribute: str, value: Any, source: str = "") -> None:
        """Set the attribute whatever was there."""
        self.values[attribute] = value
        self.sources[attribute] = source

    def add(self, attribute: str, value: Any, source: str = "") -> None:
        """Append to a list unless the same member is there."""
        members = self.values.setdefault(attribute, [])
        if value not in members:
            members.append(value)
        self.sources.setdefault(attribute, source)

    def get(self, attribute: str, default: Any = None) -> Any:
        """The value, or ``default`` if it was never set."""
        return self.values.get(attribute, default)
