"""Completions of the engine as asyncio futures, and its errors as ours."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from qsh import _native
from qsh.errors import (
    ConnectError,
    ConnectionLost,
    DescriptorError,
    HostKeyError,
    StreamReset,
    TransportError,
)
from qsh.quic.early import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from qsh.quic.early import Early

    Taker = Callable[[Any, Exception | None], None]

__all__ = ["Driver", "Pending", "ed25519_public", "ed25519_sign", "engine_version", "warm_up"]

P = ParamSpec("P")
T = TypeVar("T")

ed25519_public = _native.ed25519_public
ed25519_sign = _native.ed25519_sign
engine_version = _native.version
warm_up = _native.warm_up

UNHEARD: Final = (1 << 64) - 1
"""The token of calls that nobody waits for (native/src/runtime.rs)."""
_STREAM_KINDS: Final = frozenset({"reset", "stopped"})
_DESCRIPTOR_KINDS: Final = frozenset({"fd-closed", "fd-error"})
_LOCAL_KINDS: Final = frozenset({"stream-closed", "cancelled", "setup"})
"""Neither the peer's nor the network's doing."""


def error_of(kind: str, code: int, text: str) -> HostKeyError | TransportError:
    """The exception for a completion's error."""
    if kind == "host-key-revoked":
        return HostKeyError(text)
    if kind in _STREAM_KINDS:
        return StreamReset(text, kind=kind, code=code)
    if kind in _DESCRIPTOR_KINDS:
        return DescriptorError(text, kind=kind, code=code)
    if kind in _LOCAL_KINDS:
        return TransportError(text, kind=kind, code=code)
    return ConnectionLost(text or kind, kind=kind, code=code)


def connect_error_of(error: TransportError) -> ConnectError:
    """The same error, from a connection that never was."""
    return ConnectError(str(error), kind=error.kind, code=error.code)


def discard(value: object) -> None:
    """Close what nobody waits for any more."""
    match value:
        case tuple():
            for part in value:
                discard(part)
        case _native.Connection():
            value.close(0, b"")
        case _native.SendStream():
            value.reset(0)
        case _native.RecvStream():
            value.stop(0)
        case _native.Incoming():
            value.refuse()
        case _:
            pass


class Driver:
    """Owns the engine's threads. One per process, made inside its event loop and after every fork."""

    def __init__(self, worker_threads: int = 1, early: Early | None = None) -> None:
        """With ``early`` its engine is taken over instead of starting one."""
        self.native = early.runtime if early is not None else _native.Runtime(worker_threads)
        self._loop = asyncio.get_running_loop()
        self._tokens = count(TOKEN + 1)
        self._waiting: dict[int, asyncio.Future[Any] | Taker] = {}
        self._closed = False
        self.begun: asyncio.Future[Any] | None = None
        """The result of the call that ``early`` has begun."""
        if early is not None:
            self.begun = self._waiting[TOKEN] = self._loop.create_future()
        self._loop.add_reader(self.native.fileno(), self._drain)

    def call(
        self, method: Callable[Concatenate[int, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[Any]:
        """Start an asynchronous call of the engine. The result of a cancelled one is closed, not leaked."""
        if self._closed:
            raise TransportError("the engine is closed", kind="closed-locally")
        token = next(self._tokens)
        method(token, *args, **kwargs)
        future = self._waiting[token] = self._loop.create_future()
        return future

    def call_back(self, method: Callable[[int], None], take: Taker) -> None:
        """Start an asynchronous call whose result or error goes to ``take`` in the engine's own wake-up, where a future costs its
        waiter two or three more turns of the loop.
        """
        if self._closed:
            raise TransportError("the engine is closed", kind="closed-locally")
        token = next(self._tokens)
        method(token)
        self._waiting[token] = take

    def call_unheard(
        self, method: Callable[Concatenate[int, P], None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Start an asynchronous call whose result nobody waits for; it wakes nobody."""
        if self._closed:
            raise TransportError("the engine is closed", kind="closed-locally")
        method(UNHEARD, *args, **kwargs)

    def _drain(self) -> None:
        for token, value, error in self.native.completions():
            future = self._waiting.pop(token, None)
            if future is None:
                discard(value)
            elif not isinstance(future, asyncio.Future):
                self._hand(future, value, None if error is None else error_of(*error))
            elif future.done():
                discard(value)
            elif error is not None:
                future.set_exception(error_of(*error))
                future.exception()  # seen: a call that nobody awaits any more is no news for stderr
            else:
                future.set_result(value)

    def _hand(self, take: Taker, value: object, error: Exception | None) -> None:
        try:
            take(value, error)
        except Exception as failure:  # the other completions are not its business
            context = {"message": "a taker of a completion failed", "exception": failure}
            self._loop.call_exception_handler(context)

    @property
    def closed(self) -> bool:
        """No call can be started any more."""
        return self._closed

    def close(self, timeout_ms: int = 1000) -> bool:
        """Stop the engine; whoever still waits is cancelled. True if all its threads ended in time."""
        if self._closed:
            return True
        self._closed = True
        self._loop.remove_reader(self.native.fileno())
        ended = self.native.close(timeout_ms)
        self._drain_closed()
        return ended

    def _drain_closed(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if isinstance(future, asyncio.Future):
                future.cancel()
        for _token, value, _error in self.native.completions():
            discard(value)

    async def __aenter__(self) -> Driver:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Pending(Generic[T]):
    """A call whose result must not get lost when its waiter is cancelled: the next waiter gets it."""

    def __init__(self, start: Callable[[], asyncio.Future[T]]) -> None:
        self._start = start
        self._future: asyncio.Future[T] | None = None
        self._awaited = False

    @property
    def busy(self) -> bool:
        """Whether a call is out (or its result waits)."""
        return self._future is not None

    async def wait(self) -> T:
        """The result of the call that is out, else of a new one. One waiter at a time."""
        if self._awaited:
            raise RuntimeError("already awaited by another task")
        if self._future is None:
            self._future = self._start()
        future = self._future
        if not future.done():
            # Not await: that would cancel the call with its waiter; and asyncio.wait costs more than the rest.
            waiter: asyncio.Future[None] = future.get_loop().create_future()

            def wake(_: object) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            future.add_done_callback(wake)
            self._awaited = True
            try:
                await waiter
            finally:
                self._awaited = False
                future.remove_done_callback(wake)
        self._future = None
        return future.result()
