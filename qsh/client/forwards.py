"""All forwards of a client, through its connections to the host: -L, -D, -R, -A, -X and -Y."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.client.channel_numbers import ChannelNumbers
from qsh.client.local_forwards import LocalForwards
from qsh.client.log import log
from qsh.client.remote_forwards import RemoteForwards
from qsh.client.server_streams import ServerStreams
from qsh.errors import ForwardError
from qsh.forward.windows import MAX_STREAMS, ReceiveWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.calls import Calls
    from qsh.client.link import Link
    from qsh.config.forwards import Forward
    from qsh.config.options import ClientOptions
    from qsh.wire.messages import Open

__all__ = ["Forwards"]


class Forwards:
    """:meth:`prepare`, :meth:`bind` before the login, :meth:`begin` after it, :meth:`go_on` with each later connection."""

    def __init__(self, options: ClientOptions, *, has_session: bool) -> None:
        self._options = options
        self.numbers = ChannelNumbers(1 if has_session else 0)
        self._streams = ServerStreams()
        self._local = LocalForwards(options, self.numbers)
        self._remote = RemoteForwards(options, self.numbers, self._streams)
        self._calls: Calls | None = None
        self.receives: ReceiveWindow | None = None
        """Of the connection in use."""

    def prepare(self) -> None:
        """Look for the agent and the display, if a program of the host may call them."""
        if self._options.forward_agent or self._options.forward_x11:
            from qsh.client.calls import Calls

            self._calls = Calls(self._options, self.numbers, self._streams)

    def tell_disabled(self) -> None:
        """Nothing is forwarded through a host that is not the one it was (sshconnect.c)."""
        options = self._options
        ports = options.local_forward or options.dynamic_forward or options.remote_forward
        if ports and options.exit_on_forward_failure:
            raise ForwardError("Error: forwarding disabled due to host key check failure")
        for what, is_set in (
            ("Agent", options.forward_agent),
            ("X11", options.forward_x11),
            ("Port", ports),
        ):
            if is_set:
                log.error(f"{what} forwarding is disabled to avoid man-in-the-middle attacks.")

    def offer(self, message: Open, *, agent: bool = True, x11: bool = True) -> Open:
        """OPEN of a channel whose programs may call what there is of these."""
        return message if self._calls is None else self._calls.offer(message, agent=agent, x11=x11)

    @property
    def remote(self) -> bool:
        """The host is to listen: what runs there should find that done."""
        return self._remote.wanted

    def bind(self) -> None:
        """Listen here. Raises ForwardError."""
        self._local.bind()

    async def begin(self, link: Link) -> None:
        """Lead connections through this one; returns when the host listens, too. Raises ForwardError, ConnectionLost."""
        self._use(link)
        await self._remote.ask()

    def go_on(self, link: Link) -> None:
        """The same again through a later connection, which does not wait for it."""
        self._use(link)
        self._remote.ask_again()

    async def idle(self) -> None:
        """Return when no forwarded connection is open. More may begin meanwhile."""
        await self.numbers.idle()

    # -- while the connection is there

    async def add(self, kind: str, forward: Forward) -> int:
        """One more (``local``, ``dynamic``, ``remote``), or one that is there already; the port that the host chose, or 0.

        Raises ListenError, ForwardError, ConnectionLost.
        """
        if kind == "remote":
            return await self._remote.add(forward)
        self._local.add(forward)
        return 0

    def cancel(self, kind: str, matches: Callable[[Forward], bool]) -> bool:
        """Take no more connections for forwards of this kind; whether there was one. Those that are open live on."""
        return (self._remote if kind == "remote" else self._local).cancel(matches)

    def begin_late(self, link: Link) -> None:
        """Of a client that began without any."""
        self._use(link)

    def _use(self, link: Link) -> None:
        link.forwards = self.numbers.lines
        receives = ReceiveWindow(link.connection, bidi_streams=MAX_STREAMS, uni_streams=MAX_STREAMS)
        self.receives = receives
        self._local.use(link, receives)
        self._remote.use(link, receives)
        if self._calls is not None:
            self._calls.use(receives)
        if self._streams.servers:
            self._streams.accept(link)
