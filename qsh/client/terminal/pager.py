"""The user's pager on lines that are not on the screen (``~h``)."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from typing import Final

from qsh.client.log import log

__all__ = ["page"]

_DEFAULT: Final = "less -R +G"


async def page(text: bytes) -> None:
    """Show ``text`` and return when the user has left the pager. The terminal must be as the user had it."""
    command = os.environ.get("PAGER")
    words = shlex.split(command) if command else shlex.split(_DEFAULT)
    env = {**os.environ, "LESS": os.environ.get("LESS") or "-R"}
    with os.fdopen(os.memfd_create("qsh-history"), "w+b") as file:
        file.write(text)
        file.seek(0)
        try:
            process = subprocess.Popen(words, stdin=file, env=env)  # noqa: ASYNC220 - fork and exec only
        except OSError as error:
            log.error(f"qsh: pager {words[0]}: {error.strerror}")
            return
    over = asyncio.Event()
    pidfd = os.pidfd_open(process.pid)
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        if process.poll() is None:
            process.terminate()
        process.wait()
