"""By which way a host was reached last from this network, where that was not UDP: the next start tries it without waiting.

Files in ~/.local/state/qsh/transports, one for each network and host. UDP is tried beside the other way all the same, and an
answer by UDP ends the memory; so does a week, since networks change their rules.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from qsh.client import host_state, network
from qsh.clock import wall_s

if TYPE_CHECKING:
    from typing import Final

    from qsh.client.addresses import Address

__all__ = ["forget", "load", "save"]

_AGE_S: Final = 7 * 86400.0
_WAYS: Final = ("tcp", "ssh")


def _path(address: Address, port: int) -> str:
    here = network.mark(address.family, address.host)
    return host_state.place("transports", here + f" [{address.host}]:{port}".encode())


def load(address: Address, port: int) -> str:
    """``tcp``, ``ssh``, or nothing."""
    values = dict(host_state.read(_path(address, port)))
    with contextlib.suppress(ValueError):
        age_s = wall_s() - float(values.get("since", ""))
        if 0 <= age_s < _AGE_S and values.get("way") in _WAYS:
            return values["way"]
    return ""


def save(address: Address, port: int, way: str) -> None:
    """UDP did not get there, and this did."""
    host_state.replace(_path(address, port), [f"way {way}", f"since {int(wall_s())}"])


def forget(address: Address, port: int) -> None:
    """UDP works."""
    with contextlib.suppress(OSError):
        os.unlink(_path(address, port))
