"""No refusal is sent before its time, by whatever method somebody tried (CVE-2026-60001)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from qsh.server import connection as module
from qsh.server.connection import Limits, ServerConnection
from qsh.server.failure_delay import failure_delay_s
from qsh.server.requests import Outcome, Verdict
from qsh.wire import framing
from qsh.wire.control import ServerControl
from qsh.wire.messages import Auth, AuthRefused, Banner, Offer, Proof

ID, SALT = bytes(46), b"s" * 16
PROOF = Proof(0, "ssh-ed25519", b"signature")
REQUESTS = {
    "no method": Auth("anna", []),
    "a key that is only offered": Auth("anna", [Offer(b"key")]),
    "a key and its proof": Auth("anna", [Offer(b"key")], PROOF),
    "a key of a session": Auth("anna", [Offer(b"key")], PROOF, resume=b"record"),
    "password": Auth("anna", method="password"),
    "keyboard-interactive": Auth("anna", method="keyboard-interactive"),
    "what there is not": Auth("anna", method="frob"),
}
SAID: dict[str, dict[str, Any]] = {
    "once": {},
    "with a notice": {"notices": ["go away"]},
    "for good": {"final": True},
    "though the key would do": {"outcome": Outcome.CONTINUE, "final": True},
}


@pytest.mark.parametrize("said", SAID)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_refusal_waits_for_its_time(
    monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    verdict = Verdict(ID, **({"outcome": Outcome.REFUSED} | SAID[said]))
    happened: list[object] = []
    monkeypatch.setattr(module, "monotonic_s", lambda: 7.0)

    async def slept(seconds: float) -> None:
        happened.append(seconds)

    async def judged(*_: object) -> tuple[Verdict, int, None]:
        return verdict, -1, None

    async def login(_: object) -> tuple[Verdict, int]:
        return verdict, -1

    async def write(data: bytes) -> None:
        decoder: framing.FrameDecoder[Any] = framing.FrameDecoder(AuthRefused | Banner)
        decoder.feed(data)
        happened.append(type(decoder.next()))

    async def acknowledged() -> None: ...

    async def main() -> None:
        send = SimpleNamespace(write=write, finish=lambda: None, acknowledged=acknowledged)
        control: Any = SimpleNamespace(send=send)
        at: Any = SimpleNamespace(
            remote_address=("::1", 1), session_id=ID, on_stream=1, stats=lambda: {}
        )
        monitor: Any = SimpleNamespace(login=login)
        nothing: Any = None
        served = ServerConnection(
            at, nothing, monitor, Limits(0, SALT), ("::1", 22), lambda: None, nothing
        )
        served._wire = wire = ServerControl()
        monkeypatch.setattr(wire, "send", framing.encode)
        monkeypatch.setattr(served, "_watch_client", acknowledged)
        monkeypatch.setattr(module, "judge", judged)
        with monkeypatch.context() as patched:
            patched.setattr(module.asyncio, "sleep", slept)
            try:
                await served._login(control, REQUESTS[name])
            except module._TooManyTries:
                assert verdict.final

    asyncio.run(main())
    notices = [Banner] * len(verdict.notices)
    assert happened == [*notices, failure_delay_s("anna", 0.0, SALT), AuthRefused]
