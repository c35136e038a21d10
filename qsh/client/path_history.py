"""What became of a client's connections: moves to another path, and connections that a session went on with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.client.leaving_udp import Leavings
    from qsh.client.path_choice import Moves

__all__ = ["PathHistory"]


class PathHistory:
    """One for each client or master; every :class:`~qsh.client.link.Link` of it has the same one."""

    def __init__(self) -> None:
        self.migrations = 0
        """How often a connection has gone on from or to another address."""
        self.resumes = 0
        """How often a session has gone on with another connection."""
        self.last_move: tuple[str, str] | None = None
        """From where and to where the last migration went, as the caller has put it."""

        self.moves: Moves | None = None
        """To better ways; None: there was no thought of any yet."""
        self.leavings: Leavings | None = None
        """Of UDP, for a stream; None: as above."""

    def migrated(self, before: str, after: str) -> None:
        """A connection has moved: the new path is validated. ``before`` and ``after`` are for people: ``192.0.2.1:40000``."""
        self.migrations += 1
        self.last_move = (before, after)

    def resumed(self) -> None:
        """Another connection carries on what the one before carried."""
        self.resumes += 1
