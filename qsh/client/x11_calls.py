"""Calls to the user's display: -X and -Y (docs/protocol.md 13.4; model: OpenSSH's clientloop.c and channels.c).

The host gets a cookie that is good for nothing else. Who calls shows it, and the display is shown its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.client import dialing
from qsh.client.forward_targets import shown
from qsh.client.log import log
from qsh.client.server_streams import refuse
from qsh.client.text import visible
from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError, TransportError
from qsh.forward.failure import NOT_PERMITTED, Failure, of_error
from qsh.forward.relay import Relay
from qsh.forward.x11_setup import Setup
from qsh.wire import framing
from qsh.wire.messages import X11, Opened, Target

if TYPE_CHECKING:
    import socket

    from qsh.config.options import ClientOptions
    from qsh.quic import Stream
    from qsh.wire.messages import Open

__all__ = ["Display", "DisplayCalls", "Secret", "find_secret", "parse_display"]

MAGIC: Final = "MIT-MAGIC-COOKIE-1"
COOKIE_BYTES: Final = 16
MAX_OPEN: Final = 128
"""Connections to the display at a time, and programs that have not shown who they are."""
FIRST_PORT: Final = 6000
SOCKETS: Final = "/tmp/.X11-unix"  # noqa: S108 - where X servers have them
SLACK_S: Final = 60
"""A generated cookie outlives our own limit: an X server that has forgotten it would let anybody in."""
XAUTH_S: Final = 20.0
_VALID: Final = re.compile(r"[A-Za-z0-9:/.\-_]+", re.ASCII)
_PARSED: Final = re.compile(r"(?P<host>[^:]*):(?P<number>[0-9]{1,5})(?:\.(?P<screen>[0-9]{1,3}))?")
_LISTED: Final = re.compile(
    r"\S+\s+(?P<protocol>[A-Za-z0-9.:_-]{1,64})\s+(?P<cookie>(?:[0-9a-f]{2}){1,256})\b"
)


class Display(NamedTuple):
    """What DISPLAY means."""

    targets: tuple[Target, ...]
    """Where it is; the first that takes a connection."""
    screen: int


class Secret(NamedTuple):
    """What the display wants to see."""

    protocol: str
    cookie: bytes


def parse_display(text: str) -> Display | None:
    """None for what is no display."""
    found = _PARSED.fullmatch(text)
    if found is None or int(found["number"]) + FIRST_PORT > 65535:
        return None
    number, screen = int(found["number"]), min(int(found["screen"] or 0), 255)
    if found["host"] in ("", "unix"):
        path = os.fsencode(f"{SOCKETS}/X{number}")
        return Display((Target(path=path), Target(path=b"\0" + path)), screen)
    return Display((Target(found["host"], FIRST_PORT + number),), screen)


def find_secret(options: ClientOptions, display: str) -> Secret | None:
    """What xauth(1) knows of the display; None, and a warning, where nothing may be forwarded."""
    trusted, xauth = bool(options.forward_x11_trusted), options.xauth_location
    found = None
    if not xauth or xauth.lower() == "none" or not os.access(xauth, os.X_OK):
        log.debug("No xauth program.")
    else:
        name = f"unix:{display[10:]}" if display.startswith("localhost:") else display
        found = (
            _listed([xauth, "list", name])
            if trusted
            else _generated(xauth, name, options.forward_x11_timeout)
        )
    if found is None and not trusted:
        log.error("Warning: untrusted X11 forwarding setup failed: xauth key data not generated")
    elif found is None:
        log.info("Warning: No xauth data; using fake authentication data for X11 forwarding.")
        found = Secret(MAGIC, secrets.token_bytes(COOKIE_BYTES))
    return found


def _generated(xauth: str, name: str, timeout_s: int) -> Secret | None:
    """A cookie by which the display restricts who shows it."""
    with tempfile.TemporaryDirectory(prefix="qsh-") as folder:
        file = os.path.join(folder, "xauthfile")
        argv = [xauth, "-f", file, "generate", name, MAGIC, "untrusted"]
        if timeout_s:
            argv += ["timeout", str(min(timeout_s + SLACK_S, 2**32 - 1))]
        if _output(argv) is None:
            return None
        return _listed([xauth, "-f", file, "list", name])


def _listed(argv: list[str]) -> Secret | None:
    found = _LISTED.match(_output(argv) or "")
    return None if found is None else Secret(found["protocol"], bytes.fromhex(found["cookie"]))


def _output(argv: list[str]) -> str | None:
    log.debug(f"x11_get_proto: {' '.join(argv)}", 2)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=XAUTH_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug(f"xauth: {error}")
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


class DisplayCalls:
    """To one display."""

    def __init__(self, display: Display, secret: Secret, refuse_at: float | None) -> None:
        self._display, self._secret, self._refuse_at = display, secret, refuse_at
        cookie = secrets.token_bytes(len(secret.cookie))
        self.offered = X11(secret.protocol, cookie, display.screen)
        """For OPEN."""
        self._open = 0

    @classmethod
    def of(cls, options: ClientOptions) -> DisplayCalls | None:
        """None where nothing is to be called, or cannot be."""
        if not options.forward_x11:
            return None
        text = os.environ.get("DISPLAY", "")
        if not text:
            log.debug("X11 forwarding requested but DISPLAY not set")
            return None
        display = parse_display(text) if _VALID.fullmatch(text) else None
        if display is None:
            log.info(f'DISPLAY "{visible(text)}" invalid; disabling X11 forwarding')
            return None
        untrusted_s = 0 if options.forward_x11_trusted else options.forward_x11_timeout
        refuse_at = monotonic_s() + untrusted_s if untrusted_s else None
        secret = find_secret(options, text)
        return None if secret is None else cls(display, secret, refuse_at)

    async def serve(self, stream: Stream, request: Open) -> None:
        """One call, to its end."""
        if self._open >= MAX_OPEN:
            await refuse(stream, Failure("resources", "too many connections to the display"))
            return
        self._open += 1
        try:
            await self._serve(stream, request)
        finally:
            self._open -= 1

    async def _serve(self, stream: Stream, request: Open) -> None:
        origin = (
            ""
            if request.origin is None
            else f"{visible(request.origin.host)} {request.origin.port}"
        )
        log.debug(f"client_request_x11: request from {origin}")
        if self._refuse_at is not None and monotonic_s() >= self._refuse_at:
            log.verbose("Rejected X11 connection after ForwardX11Timeout expired")
            await refuse(stream, NOT_PERMITTED)
            return
        first = await self._admitted(stream, request.x11)
        if first is None:
            log.info("X11 connection rejected because of wrong authentication.")
            await refuse(stream, NOT_PERMITTED)
            return
        try:
            sock = await self._connect()
        except OSError as error:
            where = shown(self._display.targets[0])
            log.error(f"connect {where}: {of_error(error).reason}")
            await refuse(stream, of_error(error))
            return
        relay = Relay(stream, sock)
        try:
            sock.send(first)  # its buffer is empty, and this is small
            await stream.send.write(framing.encode(Opened()))
        except BaseException:
            relay.give_up()
            raise
        try:
            await relay.run()
        except TransportError as error:
            log.debug(str(error), 2)

    async def _admitted(self, stream: Stream, shown_there: X11 | None) -> bytes | None:
        """What the display is to see of who calls; None for who does not show what he should."""
        setup = Setup()
        try:
            while setup.needed:
                setup.receive(await stream.recv.read(setup.needed))
        except RemoteProtocolError as error:
            log.debug(f"x11: {error}", 2)
            return None
        if shown_there is None or not setup.shows(
            shown_there.protocol.encode(), shown_there.cookie
        ):
            log.debug("X11 auth data does not match fake data.", 2)
            return None
        return setup.with_cookie(self._secret.protocol.encode(), self._secret.cookie)

    async def _connect(self) -> socket.socket:
        *others, last = self._display.targets
        for target in others:
            with contextlib.suppress(OSError):
                return await dialing.connect(target)
        return await dialing.connect(last)
