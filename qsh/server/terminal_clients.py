"""Who is attached to one terminal: whose size it has, who gets raw output, who takes its programs' calls. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qsh.server.attachment import Attachment
    from qsh.server.attachment_link import AttachmentLink
    from qsh.server.client_calls import Callee
    from qsh.server.requests import CallKind
    from qsh.server.terminal_model import TerminalModel

__all__ = ["MAX_ROWS", "AttachedClient", "Size", "TerminalClients", "Visitor"]

Size = tuple[int, int, int, int]
"""Rows, columns, and pixels of both."""
MAX_ROWS, MIN_COLS, MAX_COLS = 500, 2, 1000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who attaches: its address, and the channel of its connection, for the log."""

    address: str
    on_end: Callable[[], None]
    """Called when the attachment has ended."""
    callee: Callee | None = None
    """It takes calls of the terminal's programs (docs/protocol.md 13)."""


@dataclass(slots=True)
class AttachedClient:
    """From its attaching to the end of its stream."""

    link: AttachmentLink
    visitor: Visitor
    silent: bool = False

    @property
    def attachment(self) -> Attachment:
        return self.link.attachment

    @property
    def counts(self) -> bool:
        """It is there, as far as anybody knows."""
        return not self.silent and not self.attachment.over


class TerminalClients:
    """In the order in which they came."""

    def __init__(self, model: TerminalModel) -> None:
        self._model = model
        self._clients: list[AttachedClient] = []

    def __iter__(self) -> Iterator[AttachedClient]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def enter(self, link: AttachmentLink, visitor: Visitor) -> None:
        """One more."""
        self._clients.append(AttachedClient(link, visitor))

    def leave(self, link: AttachmentLink) -> AttachedClient | None:
        """One less; None: it had left before."""
        client = next((client for client in self._clients if client.link is link), None)
        if client is not None:
            self._clients.remove(client)
        return client

    def of(self, visitor: Visitor) -> AttachedClient | None:
        """The one that came by this channel."""
        return next((client for client in self._clients if client.visitor is visitor), None)

    def callee(self, kind: CallKind) -> Callee | None:
        """The newest client that takes such calls and is there, as far as anybody knows."""
        for client in reversed(self._clients):
            callee = client.visitor.callee
            if callee is not None and kind in callee.kinds and client.counts:
                return callee
        return None

    def types_alone(self, client: AttachedClient) -> bool:
        """Whether nobody else who is attached can type."""
        return not client.attachment.read_only and all(
            other is client or other.attachment.over or other.attachment.read_only
            for other in self._clients
        )

    # -- who is there --------------------------------------------------------------------------

    @property
    def attached(self) -> int:
        """How many have not left."""
        return sum(not client.attachment.over for client in self._clients)

    @property
    def silent(self) -> int:
        """How many of these do not acknowledge what they are sent."""
        return sum(client.silent and not client.attachment.over for client in self._clients)

    def look_for_silence(self, now: float) -> bool:
        """Whether some are dead, or back: the size is that of those who are there."""
        changed = False
        for client in self._clients:
            due = client.attachment.silent_at
            silent = due is not None and now >= due
            changed |= silent != client.silent
            client.silent = silent
        return changed

    @property
    def _awake(self) -> list[AttachedClient]:
        """Who counts; if nobody does, all that have not left."""
        awake = [client for client in self._clients if client.counts]
        return awake or [client for client in self._clients if not client.attachment.over]

    # -- who gets raw output -------------------------------------------------------------------

    @property
    def passing(self) -> Attachment | None:
        """Who gets it now."""
        for client in self._clients:
            attachment = client.attachment
            if attachment.started and attachment.passing:
                return attachment
        return None

    def choose_passing(self, now: float) -> None:
        """The newest client that may type and whose window is the terminal's gets raw output; nobody else does."""
        chosen = None
        for client in self._awake:
            attachment = client.attachment
            if attachment.size[:2] == self._model.size and not attachment.read_only:
                chosen = attachment
        for client in self._clients:
            client.attachment.may_pass = client.attachment is chosen
        for client in self._clients:
            if not client.attachment.may_pass:
                client.attachment.update(now)

    # -- sizes ---------------------------------------------------------------------------------

    def clamped(self, size: Size) -> Size:
        """As much of it as a terminal has; without rows or columns the terminal's own."""
        rows, cols, xpixel, ypixel = size
        if not rows or not cols:
            return (*self._model.size, xpixel, ypixel)
        return min(rows, MAX_ROWS), min(max(cols, MIN_COLS), MAX_COLS), xpixel, ypixel

    def smallest_size(self) -> Size | None:
        """The smallest of each dimension: all see all of the terminal. None: nobody is there."""
        for client in self._clients:
            client.attachment.size = self.clamped(client.attachment.size)
        sizes = [client.attachment.size for client in self._awake]
        if not sizes:
            return None
        rows, cols = min(size[0] for size in sizes), min(size[1] for size in sizes)
        xpixel, ypixel = next((size[2:] for size in sizes if size[:2] == (rows, cols)), (0, 0))
        return rows, cols, xpixel, ypixel

    def resized(self, asked: Size) -> None:
        """The terminal has got its size: the model has limits of its own, and who asked for more got what there is."""
        for client in self._clients:
            if client.attachment.size[:2] == asked[:2]:
                client.attachment.size = (*self._model.size, *asked[2:])
