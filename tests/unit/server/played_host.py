"""A session host that a test talks to as front, monitor and client."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from qsh.auth.key_options import KeyOptions
from qsh.config.daemon_options import DaemonOptions
from qsh.server.account import Account
from qsh.server.host import SessionHost
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    Adopt,
    ChannelOpened,
    Exited,
    Grant,
    HostAnswer,
    HostRequest,
    OpenChannel,
)
from qsh.server.session_commands import run
from qsh.server.session_directory import SessionDirectory
from qsh.server.session_rules import Rights, SessionRules
from qsh.wire.messages import Attach, Pty
from qsh.wire.terminal import (
    Attached,
    Frame,
    HostFrame,
    Input,
    Note,
    Output,
    Report,
    TerminalDecoder,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qsh.server.record_link import RecorderEnd

__all__ = [
    "LIMIT_S",
    "ME",
    "OPEN",
    "OTHER",
    "Client",
    "Played",
    "close_clients",
    "end_all",
    "read_all",
]

LIMIT_S = 20.0
OPEN: list[Client] = []
ME, OTHER = b"m" * 16, b"o" * 16


class Played:
    """A session host in a thread of its own."""

    def __init__(
        self,
        home: Path,
        *,
        key: KeyOptions | None = None,
        recorder: RecorderEnd | None = None,
        **options: Any,
    ) -> None:
        front, host_front = packet_pair()
        self.monitor, host_monitor = packet_pair()
        self.front: PacketSocket[Any] = PacketSocket(front, HostAnswer)
        account = Account("me", os.getuid(), os.getgid(), (), str(home), "/bin/sh")
        options.setdefault("session_directory", str(home / "sessions"))
        grant = Grant(
            account, DaemonOptions(**options), key or KeyOptions(), ("::1", 1), ("::1", 2)
        )
        self._ends = (host_front, host_monitor)
        self.lines: list[str] = []
        host = SessionHost(
            PacketSocket(host_front, HostRequest),
            PacketSocket(host_monitor, Adopt),
            SessionRules(grant, DaemonOptions()),
            log=self.lines.append,
            recorder=recorder,
        )
        self.thread = threading.Thread(target=host.run)
        self.thread.start()

    def ask(self, request: Any) -> tuple[Any, list[int]]:
        self.front.send(request)
        return self.hear()

    def hear(self) -> tuple[Any, list[int]]:
        self.front.sock.settimeout(LIMIT_S)
        received = self.front.receive()
        assert received is not None
        return received

    def open(self, command: bytes, *, channel: int = 4, client: Client | None = None) -> Client:
        client = client or Client()
        answer, descriptors = self.ask(
            OpenChannel(
                channel, "exec", command, Pty("xterm", 24, 80), terminal=Attach(client.name)
            )
        )
        assert isinstance(answer, ChannelOpened)
        assert answer.terminal
        client.take(descriptors)
        return client

    def attach(self, name: str, client: Client, *, channel: int = 8, **fields: Any) -> None:
        answer, descriptors = self.ask(
            OpenChannel(
                channel,
                "attach",
                name.encode(),
                Pty("xterm", 24, 80),
                terminal=Attach(client.name, **fields),
            )
        )
        assert isinstance(answer, ChannelOpened), answer
        client.take(descriptors)

    def command(self, text: bytes, channel: int = 12) -> tuple[int | None, bytes, bytes]:
        answer, descriptors = self.ask(OpenChannel(channel, "sessions", text))
        assert isinstance(answer, ChannelOpened), answer
        os.close(descriptors[0])
        out, err = (read_all(descriptor) for descriptor in descriptors[1:])
        ended, _ = self.hear()
        assert isinstance(ended, Exited)
        return ended.status, out, err

    def leave(self) -> None:
        """The front goes."""
        self.front.close()

    def close(self) -> None:
        self.front.close()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        for end in (self.monitor, *self._ends):
            end.close()


def read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


class Client:
    """What a client does: shows output, reports it, types."""

    def __init__(self, name: bytes = ME) -> None:
        self.name = name
        self.shown = bytearray()
        self.frames: list[Frame] = []
        self.offset = 0
        self.typed = 0
        self.applied = self.settled = 0
        self.states: list[Any] = []
        self.messages: list[Any] = []
        self.attached: Attached | None = None
        self.eof = False
        self.stream: socket.socket
        self.datagrams: socket.socket

    def take(self, descriptors: list[int]) -> None:
        self.stream, self.datagrams = (socket.socket(fileno=fd) for fd in descriptors)
        OPEN.append(self)
        self.datagrams.setblocking(False)
        self._decoder: TerminalDecoder[Any] = TerminalDecoder(HostFrame)
        self.eof = False
        self.messages.clear()
        self.until(lambda: bool(self.messages))
        assert isinstance(self.messages[0], Attached)
        self.attached = self.messages[0]

    def send(self, message: Any) -> None:
        self.stream.sendall(encode(message))

    def type(self, data: bytes) -> None:
        self.send(Input(self.typed, data, self.offset))
        self.typed += len(data)

    def until(self, done: Callable[[], bool], *, report: bool = True) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not done():
            left = deadline - time.monotonic()
            assert left > 0, (bytes(self.shown[-2000:]), self.messages[-5:])
            assert not self.eof, (bytes(self.shown[-2000:]), self.messages[-5:])
            readable, _, _ = select.select([self.stream], [], [], left)
            if readable:
                self._read(report)

    def _read(self, report: bool) -> None:
        try:
            data = self.stream.recv(1 << 16)
        except ConnectionResetError:  # it was closed with a report of ours unread
            data = b""
        self.eof = not data
        before = self.offset
        for message in self._decoder.receive(data):
            self._show(message)
        if report and self.offset != before:
            try:
                self.send(Report(self.offset, 1000))
            except OSError:
                self.eof = True

    def _show(self, message: Any) -> None:
        self.messages.append(message)
        if isinstance(message, Attached):
            self.offset = message.start
        elif isinstance(message, Output):
            assert message.offset == self.offset, "the stream has no holes"
            self.shown += message.data
            self.offset += len(message.data)
        elif isinstance(message, Frame):
            assert message.start == self.offset
            self.offset = message.offset
            self.frames.append(message)
        if isinstance(message, Output | Note | Frame):
            self.applied, self.settled = message.applied, message.settled
            if message.tty is not None:
                self.states.append(message.tty)

    def saw(self, text: bytes, **options: Any) -> None:
        self.until(
            lambda: text in self.shown or any(text in frame.data for frame in self.frames),
            **options,
        )

    def last(self, kind: type) -> Any:
        def found() -> list[Any]:
            return [message for message in self.messages if isinstance(message, kind)]

        self.until(lambda: bool(found()))
        return found()[-1]

    def close(self) -> None:
        self.stream.close()
        self.datagrams.close()


def close_clients() -> None:
    """Those of one test."""
    while OPEN:
        OPEN.pop().close()


def end_all(played: Played, home: Path) -> None:
    """Kill what is left, by the directory, so that the host ends."""
    directory = SessionDirectory(str(home / "sessions" / str(os.getuid())))
    for name in directory.names():
        run(directory, f"kill {name}".encode(), "me", Rights(None, True, True, True, True))
