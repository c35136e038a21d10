"""The front's part in a login by questions: it carries them between the login child and the client (docs/protocol.md 5.10-5.13).

The client's control stream is read only while a question stands; what the login child comes to meanwhile waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from qsh.errors import ChannelError
from qsh.server.links import ChildLink
from qsh.wire.messages import Auth, AuthAnswers, AuthQuestions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qsh.server.links import MonitorLink
    from qsh.server.requests import Login, Verdict
    from qsh.wire.messages import Message

__all__ = ["judge"]


async def judge(
    monitor: MonitorLink,
    request: Login,
    ask: Callable[[AuthQuestions], Awaitable[Message]],
    answered: Callable[[], None],
) -> tuple[Verdict, int, Auth | None]:
    """As ``monitor.login``, and what the client said instead of an answer: then the verdict is of no use to anybody.

    ``ask`` sends questions and returns the client's next message; ``answered`` is called when that is an answer: time counts from
    then on. Raises ChannelError, TransportError, ProtocolError.
    """
    verdict = asyncio.ensure_future(monitor.login(request))
    opening = asyncio.ensure_future(monitor.dialogue(request.session_id))
    carrying: asyncio.Future[Auth | None] | None = None
    instead = None
    try:
        await asyncio.wait({verdict, opening}, return_when=asyncio.FIRST_COMPLETED)
        if not verdict.done():
            carrying = asyncio.ensure_future(_carry(opening.result(), ask, answered))
            # a verdict waits for what the client still says; that nobody waits for it any more ends the dialogue
            await asyncio.wait({verdict, carrying}, return_when=asyncio.FIRST_EXCEPTION)
            instead = carrying.result() if carrying.done() else None
        elif opening.done():
            os.close(opening.result())  # refused before anything was asked
        return *(await verdict), instead
    finally:
        waited = [each for each in (verdict, opening, carrying) if each is not None]
        for each in waited:
            each.cancel()
        await asyncio.gather(*waited, return_exceptions=True)


async def _carry(
    descriptor: int,
    ask: Callable[[AuthQuestions], Awaitable[Message]],
    answered: Callable[[], None],
) -> Auth | None:
    """Until the login child asks no more, or the client says something else."""
    link = ChildLink(descriptor)
    try:
        while (asked := await link.questions()) is not None:
            said = await ask(AuthQuestions(asked.name, asked.instruction, asked.prompts))
            if isinstance(said, Auth):
                return said
            answered()
            if isinstance(said, AuthAnswers):
                with contextlib.suppress(ChannelError):  # its end: the verdict is near
                    link.answer([bytearray(answer.encode()) for answer in said.answers])
        return None
    finally:
        link.close()
