"""What the command line of ``~C`` does: forwards come and go while a session runs (OpenSSH's process_cmdline)."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from qsh.config.forwards import UDP, Forward, parse_forward
from qsh.errors import ForwardError, QshError
from qsh.forward.listening import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.client.forwards import Forwards
    from qsh.config.options import ClientOptions

__all__ = ["CommandLine"]

_KINDS: Final = {"L": "local", "R": "remote", "D": "dynamic"}
_HELP: Final = """\
Commands:
      -L[bind_address:]port:host:hostport    Request local forward
      -R[bind_address:]port:host:hostport    Request remote forward
      -D[bind_address:]port                  Request dynamic forward
      -KL[bind_address:]port                 Cancel local forward
      -KR[bind_address:]port                 Cancel remote forward
      -KD[bind_address:]port                 Cancel dynamic forward"""
_HELP_LOCAL: Final = """
      !args                                  Execute local command"""


class CommandLine:
    """Of one session. ``forwards`` makes them where there were none."""

    def __init__(self, options: ClientOptions, forwards: Callable[[], Forwards]) -> None:
        self._options, self._forwards = options, forwards

    async def run(self, line: str) -> str:
        """The answer, lines without an end; empty where there is nothing to say."""
        line = line.lstrip().removeprefix("-")
        if not line:
            return ""
        if line[0] in "hH?":
            return _HELP + (_HELP_LOCAL if self._options.permit_local_command else "")
        if line[0] == "!" and self._options.permit_local_command:
            return await _local(line[1:])
        cancels = line[0] == "K"
        line = line[1:] if cancels else line
        kind = _KINDS.get(line[:1])
        if kind is None:
            return "Invalid command."
        if cancels:
            return self._cancel(kind, line[1:].strip())
        return await self._add(kind, line[1:].strip())

    async def _add(self, kind: str, text: str) -> str:
        environment = self._options.environment
        forward = None
        if kind != "dynamic":
            forward = parse_forward(text, environment, remote=kind == "remote")
        if forward is None and kind != "local":  # -R may be both
            forward = parse_forward(text, environment, dynamic=True, remote=kind == "remote")
        if forward is None:
            what = "remote" if kind == "remote" else "local"
            return f"Bad {what} forwarding specification."
        try:
            port = await self._forwards().add(kind, forward)
        except ListenError as error:
            return f"{error}\nPort forwarding failed."
        except ForwardError:
            return "Port forwarding failed."
        except QshError as error:
            return f"{error}\nPort forwarding failed."
        return f"Forwarding port.\nAllocated port {port}." if port else "Forwarding port."

    def _cancel(self, kind: str, text: str) -> str:
        udp = text.startswith(UDP)
        wanted = parse_forward(text.removeprefix(UDP), self._options.environment, dynamic=True)
        if wanted is None:
            return "Bad forwarding close specification."
        wanted.udp = udp

        def matches(known: Forward) -> bool:
            if known.dynamic != (kind == "dynamic") and kind != "remote":
                return False
            return _listens(known) == _listens(wanted)

        found = self._forwards().cancel(kind, matches)
        return "Canceled forwarding." if found else "Unknown port forwarding."


def _listens(forward: Forward) -> tuple[object, ...]:
    return forward.udp, forward.listen_path, forward.listen_host or "localhost", forward.listen_port


async def _local(command: str) -> str:
    """With no terminal of its own: that stays raw."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    process = await asyncio.create_subprocess_exec(
        shell,
        "-c",
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode(errors="replace").rstrip("\n")
