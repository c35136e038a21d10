"""What a run of the client is for, when it is not what a command line of ssh's says."""

from __future__ import annotations

__all__ = ["Request"]


class Request:
    """A channel of kind ``attach`` (``command``: the session's name) or ``sessions`` (a command of docs/protocol.md 10.11)."""

    def __init__(
        self, kind: str, command: bytes, *, output: int = 1, history_lines: int = 0
    ) -> None:
        """``output``: descriptor of the channel's standard output; ``history_lines``: to be printed above the screen."""
        self.kind, self.command = kind, command
        self.output, self.history_lines = output, history_lines
