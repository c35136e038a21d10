"""The channel that the terminal has at the moment, if any: its stream and its datagrams."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qsh.errors import QshError
from qsh.wire import flow
from qsh.wire.terminal import encode, encode_datagram

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.wire.terminal import Base

__all__ = ["TerminalChannel"]


class TerminalChannel:
    """Outlives the connections that it is on, one after the other."""

    def __init__(self) -> None:
        self.link: Link | None = None
        """The connection in use; the last one while there is none."""
        self.heard: ClientChannel | None = None
        """None: nobody hears us, from the loss of a connection to ATTACHED on the next one."""
        self._flow = b""

    def begin(
        self, link: Link, channel: ClientChannel, take: Callable[[ClientChannel, bytes], None]
    ) -> None:
        """Another one, which has not answered yet. Its datagrams go to ``take``."""
        self.link, self.heard = link, None
        self._flow = flow.prefix(channel.id)
        link.open_flow(channel.id, lambda data: take(channel, data))

    def write(self, message: Base) -> None:
        """A message on the stream."""
        if self.heard is not None:
            with contextlib.suppress(QshError):
                self.heard.send.put(encode(message))

    def send_datagram(self, message: Base, *, typed: bool = False) -> int:
        """The size; 0 if it could not be sent. ``typed``: keys for the first time, no copy and no question."""
        link = self.link
        assert link is not None  # noqa: S101 - the callers look
        data = self._flow + encode_datagram(message)
        try:
            link.connection.send_datagram(data)
        except (ValueError, QshError):
            return 0
        if link.roaming is not None:
            link.roaming.sent_datagram(typed=typed)
        return len(data)

    def stats(self) -> dict[str, int]:
        """Of the connection."""
        assert self.link is not None  # noqa: S101 - the callers look
        return self.link.connection.stats()
