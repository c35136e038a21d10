"""What the list of sessions says about one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Description"]


@dataclass(frozen=True, slots=True)
class Description:
    """Times are seconds since 1970."""

    name: str
    host: str
    started: float
    traffic: float
    rows: int
    cols: int
    command: str
    attached: int
    detached_since: float
    """0 while somebody is attached."""
    idle: bool
    """Nothing runs in it but its shell."""
    ended: bool = False
    silent: int = 0
    """Clients that do not acknowledge what they are sent; not among ``attached``."""
    lost: bool = False
    """The last client said no goodbye: it may come back."""
