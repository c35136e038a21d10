"""Where a forward leads to: as the wire has it, and as messages say it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.client.text import visible
from qsh.wire.messages import Target

if TYPE_CHECKING:
    from qsh.config.forwards import Forward

__all__ = ["shown", "target_of"]


def target_of(forward: Forward) -> Target:
    """Of a forward that is not dynamic."""
    if forward.connect_path is not None:
        return Target(path=os.fsencode(forward.connect_path))
    return Target(forward.connect_host or "", forward.connect_port)


def shown(target: Target) -> str:
    """In ssh's words."""
    if target.path:
        return f"socket {visible(os.fsdecode(target.path))}"
    return f"{visible(target.host)} port {target.port}"
