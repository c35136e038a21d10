"""Whether UDP gets to a host from here: asked now and then where packets go by something else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.addresses import udp_socket
from qsh.errors import QshError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.client.addresses import Address, Target

__all__ = ["tell_when_udp_answers", "udp_answers"]

_ANSWER_S: Final = 2.0
_FIRST_LOOK_S: Final = 2.0
_LOOK_S: Final = 10.0
_LONGEST_S: Final = 300.0
"""UDP that answers and is of no use all the same is asked less and less often."""
_PROBE: Final = b"\xc0\x0a\x1a\x2a\x3a" + b"\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1177)
"""An Initial of a version that nobody speaks (RFC 9000 15): a server answers with those that it does."""


async def udp_answers(target: Target, address: Address, port: int) -> bool:
    """Whether a packet gets there, and another back."""
    loop = asyncio.get_running_loop()
    try:
        with udp_socket(target, address.family) as sock:
            sock.setblocking(False)
            sock.connect((address.host, port))
            sock.send(_PROBE)
            async with asyncio.timeout(_ANSWER_S):
                return bool(await loop.sock_recv(sock, 2048))
    except (OSError, TimeoutError, QshError):
        return False


async def tell_when_udp_answers(
    target: Target, addresses: Sequence[Address], port: int, tell: Callable[[], None]
) -> None:
    """Until cancelled. ``tell`` is called whenever one of the addresses has answered."""
    pause_s, after_s = _FIRST_LOOK_S, _LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = _LOOK_S
        for address in addresses:
            if await udp_answers(target, address, port):
                tell()
                after_s = min(2 * after_s, _LONGEST_S)
                pause_s = after_s
                break
