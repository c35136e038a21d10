"""A host without qshd must just work: executing ssh(1) with the same arguments (practice: mixed
fleets).

When: no QUIC answer within the limit while TCP on the ssh port greets with ``SSH-2.0``; or an
option (ProxyJump …) that QUIC cannot serve yet. Arguments that only qsh knows (``-o Qsh…``) are
taken out; everything else stays word for word.
"""

from __future__ import annotations

import os
import signal
import sys

from qsh.client.log import log
from qsh.errors import ConnectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

    from qsh.client.host_state import HostState

__all__ = ["exec_ssh", "patience_ms", "ways_after_ms"]

_PATIENCE_MS: Final = 300.0
_PATIENCE_RTTS: Final = 3.0
_PATIENCE_KNOWN_MS: Final = 2000.0
"""A host that once answered QUIC is waited for longer: it may be restarting, or packets were lost.
"""

_WAYS_AFTER_MS: Final = 200.0
_WAYS_AFTER_RTTS: Final = 2.0
"""An answer is due after one; another way that is begun needlessly costs a connection that says nothing."""
_DEPTH: Final = "QSH_FALLBACK_DEPTH"
_MAX_DEPTH: Final = 3
"""ssh may start qsh again as a ProxyCommand; a wrapper called ssh that starts qsh must not go on
for ever.
"""


def patience_ms(state: HostState) -> float:
    """How long QUIC may take to answer before ssh is considered."""
    floor = _PATIENCE_KNOWN_MS if state.answered else _PATIENCE_MS
    return max(floor, _PATIENCE_RTTS * state.rtt_ms)


def ways_after_ms(state: HostState) -> float:
    """How long UDP may take before other ways to qshd are tried beside it."""
    return max(_WAYS_AFTER_MS, _WAYS_AFTER_RTTS * state.rtt_ms)


def _is_self(path: str) -> bool:
    try:
        return os.path.samefile(path, sys.argv[0])
    except OSError:
        return False


def _find_ssh() -> str | None:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory or ".", "ssh")
        if os.path.isfile(path) and os.access(path, os.X_OK) and not _is_self(path):
            return path
    return None


def exec_ssh(arguments: Sequence[str], line: str) -> NoReturn:
    """Become ssh(1) with ``arguments``. ``line`` tells why, if standard error is a terminal.

    Raises ConnectError.
    """
    path = _find_ssh()
    if path is None:
        raise ConnectError("no ssh(1) in PATH to fall back to", kind="fallback")
    depth = int(os.environ.get(_DEPTH, "0")) if os.environ.get(_DEPTH, "0").isdigit() else 0
    if depth >= _MAX_DEPTH:
        raise ConnectError(f"{path} leads back to qsh: not falling back again", kind="fallback")
    os.environ[_DEPTH] = str(depth + 1)
    if log.debugging or (os.isatty(2) and not log.quiet):
        log.info(f"qsh: {line}")
    words = ["ssh", *arguments]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execv(path, [os.fsencode(word) for word in words])
    except OSError as error:
        raise ConnectError(f"{path}: {error.strerror}", kind="fallback") from None
