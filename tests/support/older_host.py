"""A session host as version 0.1.0 had it, as far as others talk to it: a process of its own that shares no code with qsh.

What it says and understands is written down here once more, as MessagePack without types, and is not to follow what qsh becomes:
a host lives on when its qshd is replaced by a newer one. ``tests/data/session-host-0.1.0.json`` has the same as bytes.

    python older_host.py DIRECTORY NAME JOURNAL [ancient]

Its "program" shows what is typed, says ``got LINE`` for a line, and ends with ``exit STATUS``. Each message goes to the journal,
a line of JSON. ``ancient``: of a version that nobody knows any more, whose answers mean nothing to others.
"""

from __future__ import annotations

import array
import json
import os
import selectors
import socket
import sys
from typing import Any

from msgspec import msgpack

PROMPT = b"ready$ "
TICKET = b"T" * 16
RIGHTS = {
    "forced_command": None,
    "pty": True,
    "agent_forwarding": True,
    "port_forwarding": True,
    "x11_forwarding": False,
}
"""Without ``recorded`` and ``recorded_or_none``, which it has never heard of."""
TTY = [1, 35, 127, 21, 23, 4, 22, 18, 3, 28, 26, 1, "older"]
INPUT, REPORT, DETACH, FETCH, ENDED_ACK, REPAINT = 1, 2, 4, 5, 6, 7
OUTPUT, FRAME, ENDED, HISTORY_LINES, ATTACHED, DETACHED = 17, 19, 20, 21, 22, 23
ROWS, COLS = 24, 80


class Host:
    """One terminal, any number of clients; they share what is typed."""

    def __init__(self, directory: str, name: str, journal: str, *, ancient: bool) -> None:
        self.name, self.ancient = name, ancient
        self.journal = open(journal, "a", buffering=1)  # noqa: SIM115 - as long as we live
        self.loop = selectors.DefaultSelector()
        self.output = bytearray(PROMPT)
        self.line = bytearray()
        self.status: int | None = None
        self.received: dict[bytes, int] = {}
        """Bytes that each client has typed."""
        self.clients: list[Client] = []
        self.over = False
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.path.join(directory, name)
        listener.bind(f"{path}.new")
        listener.listen(8)
        os.rename(f"{path}.new", path)  # who sees it can have it
        self.loop.register(listener, selectors.EVENT_READ, lambda: self.accept(listener))

    def run(self) -> None:
        while not self.over:
            for key, _ in self.loop.select():
                key.data()

    def note(self, message: Any) -> None:
        def plain(value: Any) -> Any:
            return value.decode("latin-1") if isinstance(value, bytes) else repr(value)

        self.journal.write(json.dumps(message, default=plain) + "\n")

    def accept(self, listener: socket.socket) -> None:
        sock, _ = listener.accept()
        Caller(self, sock)

    def put(self, data: bytes) -> None:
        self.output += data
        for client in list(self.clients):
            client.show()

    def typed(self, data: bytes) -> None:
        for each in data:
            if each != 0x0D:
                self.line.append(each)
                self.put(bytes([each]))
                continue
            line, self.line = bytes(self.line), bytearray()
            if line.startswith(b"exit "):
                self.status = int(line[5:])
                self.put(b"\r\n")
                for client in list(self.clients):
                    client.say(ENDED, len(self.output), self.status, None, False)
            else:
                self.put(b"\r\ngot " + line + b"\r\n" + PROMPT if line else b"\r\n" + PROMPT)


class Caller:
    """Who asks at the door: a packet is a map whose ``t`` is its kind. Keys that are not known are passed over."""

    def __init__(self, host: Host, sock: socket.socket) -> None:
        self.host, self.sock = host, sock
        self.client: Client | None = None
        host.loop.register(sock, selectors.EVENT_READ, self.ready)

    def ready(self) -> None:
        data = self.sock.recv(320 * 1024)
        question = msgpack.decode(data) if data else None
        self.host.note(question)
        answer = getattr(self, "on_" + question["t"].replace("-", "_"), None) if question else None
        if answer is None:  # its end, or what is not known, which was an error
            self.close()
        elif self.host.ancient:
            self.say({"t": "hello", "version": 0})
        else:
            answer(question)

    def close(self) -> None:
        self.host.loop.unregister(self.sock)
        self.sock.close()

    def say(self, answer: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        self.sock.sendmsg([msgpack.encode(answer)], rights if descriptors else [])

    def on_describe(self, _: dict[str, Any]) -> None:
        description = {
            "name": self.host.name,
            "host": "laptop",
            "started": 1.5,
            "traffic": 2.5,
            "rows": ROWS,
            "cols": COLS,
            "command": "older",
            "attached": len(self.host.clients),
            "detached_since": 0.0 if self.host.clients else 2.5,
            "idle": False,
            "ended": False,
            "silent": 0,
        }
        self.say({"t": "described", "description": description, "rights": RIGHTS})

    def on_holds(self, question: dict[str, Any]) -> None:
        known = question["client"] in self.host.received and question["ticket"] == TICKET
        refusal = {"t": "refused", "code": "not-permitted", "text": "no"}
        self.say({"t": "done"} if known else refusal)

    def on_attach(self, question: dict[str, Any]) -> None:
        request, rights = question["request"], question["rights"]
        assert [type(value) for value in (request["client"], question.get("address", ""))] == [
            bytes,
            str,
        ]
        assert all(isinstance(rights[name], bool) for name in list(RIGHTS)[1:])
        streams, datagrams = socket.socketpair(), socket.socketpair(type=socket.SOCK_DGRAM)
        self.client = Client(self.host, request, streams[0], datagrams[0])
        self.say({"t": "opened"}, (streams[1].fileno(), datagrams[1].fileno()))
        streams[1].close()
        datagrams[1].close()

    def on_hangup(self, _: dict[str, Any]) -> None:
        self.host.over = True

    def on_path(self, news: dict[str, Any]) -> None:
        assert news["rtt_us"] >= 0 <= news["loss_ppm"]

    def on_call_over(self, _: dict[str, Any]) -> None:
        pass

    def on_detach(self, question: dict[str, Any]) -> None:
        assert question["rights"]["pty"]
        for client in list(self.host.clients):
            client.say(DETACHED, "by-command")
            client.close()
        self.say({"t": "done"})

    def on_kill(self, question: dict[str, Any]) -> None:
        assert question["rights"]["pty"]
        for client in list(self.host.clients):
            client.say(DETACHED, "killed")
        self.say({"t": "done"})
        self.host.over = True

    def on_history(self, question: dict[str, Any]) -> None:
        assert question["lines"] > 0
        text = bytes(self.host.output).replace(b"\r", b"") + b"\n"
        self.say({"t": "lines", "data": text, "last": True})


class Client:
    """One that is attached: frames of a length and an array whose first item is its kind. What it has more is passed over."""

    def __init__(
        self, host: Host, request: dict[str, Any], stream: socket.socket, datagrams: socket.socket
    ) -> None:
        self.host, self.stream, self.datagrams = host, stream, datagrams
        self.name: bytes = request["client"]
        self.buffer = b""
        resumes = request.get("ticket") == TICKET and self.name in host.received
        self.shown = request["consumed"] if resumes else len(host.output)
        received = host.received.setdefault(self.name, 0)
        self.say(ATTACHED, host.name, TICKET, self.shown if resumes else 0, received, ROWS, COLS)
        if not resumes:
            whole = bytes(host.output)
            self.say(
                FRAME, 0, self.shown, b"\x1b[H\x1b[2J" + whole, received, received, TTY, 0, 0, True
            )
        host.clients.append(self)
        host.loop.register(stream, selectors.EVENT_READ, self.ready)
        host.loop.register(datagrams, selectors.EVENT_READ, self.datagram)
        self.typed(request.get("typed_from", 0), request.get("typed", b""))
        self.show()
        if host.status is not None:
            self.say(ENDED, len(host.output), host.status, None, False)

    def say(self, *message: Any) -> None:
        data = msgpack.encode(message)
        self.stream.sendall(len(data).to_bytes(4, "big") + data)

    def show(self) -> None:
        """What it has not been sent."""
        if self.shown < len(self.host.output):
            done, at = self.host.received[self.name], self.shown
            self.shown = len(self.host.output)
            self.say(OUTPUT, at, bytes(self.host.output[at:]), done, done, TTY)

    def typed(self, offset: int, data: bytes) -> None:
        """What is new of it, once."""
        known = self.host.received[self.name]
        if offset <= known < offset + len(data):
            self.host.received[self.name] = offset + len(data)
            self.host.typed(data[known - offset :])

    def datagram(self) -> None:
        message = msgpack.decode(self.datagrams.recv(65536))
        if message[0] == INPUT:
            self.typed(message[1], message[2])

    def ready(self) -> None:
        try:
            data = self.stream.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.close()
            return
        self.buffer += data
        while len(self.buffer) >= 4 and self in self.host.clients:
            size = int.from_bytes(self.buffer[:4], "big")
            if len(self.buffer) < 4 + size:
                return
            message, self.buffer = (
                msgpack.decode(self.buffer[4 : 4 + size]),
                self.buffer[4 + size :],
            )
            self.host.note(message)
            self.take(*message)

    def take(self, kind: int, *rest: Any) -> None:
        if kind == INPUT:
            self.typed(rest[0], rest[1])
        elif kind == DETACH:
            self.say(DETACHED, "requested")
            self.close()
        elif kind == FETCH:
            self.say(HISTORY_LINES, rest[0], rest[1], [], 0, 0, True)
        elif kind == ENDED_ACK:
            self.host.over = True
        elif kind == REPAINT:
            at = len(self.host.output)
            self.say(
                FRAME, at, at, b"\x1b[H\x1b[2J" + bytes(self.host.output), 0, 0, TTY, 0, 0, True
            )
        else:
            assert kind in (REPORT, 3, 8), kind

    def close(self) -> None:
        if self in self.host.clients:
            self.host.clients.remove(self)
            for sock in (self.stream, self.datagrams):
                self.host.loop.unregister(sock)
                sock.close()


if __name__ == "__main__":
    Host(*sys.argv[1:4], ancient=sys.argv[4:] == ["ancient"]).run()
