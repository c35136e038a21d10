"""A rehearsal of everything that a login child and a session host do, before the spawner's image is frozen.

Forks share the image's pages until they write to them. A module first imported after the fork costs every
session its own copy (7 MB for cryptography); code first *run* after it still costs the pages that its caches
and new objects land on. So qshd goes through logins and sessions itself before the first fork. Measured before there were
terminals: 1.9 MB private to an idle session host instead of 2.8 (and 7.4 with nothing preloaded).
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - the name service's texts
import glob  # noqa: F401
import os
import pwd
import shutil
import signal
import socket
import stringprep  # noqa: F401
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from qsh.auth import authorized_keys, userauth
from qsh.auth.keys import PublicKey
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.clock import monotonic_s
from qsh.server import account
from qsh.server.account import Account
from qsh.server.host import SessionHost
from qsh.server.idle_pages import IdlePages
from qsh.server.image_layout import fill_gaps, move_together
from qsh.server.log import Log
from qsh.server.login_child import LoginChild
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    Adopt,
    ChannelOpened,
    Grant,
    HostAnswer,
    HostReport,
    HostRequest,
    Judgement,
    Login,
    OpenChannel,
    PathState,
    Resize,
    SpawnLogin,
    SpawnSession,
)
from qsh.server.session_rules import SessionRules
from qsh.wire.messages import Attach, Proof, Pty
from qsh.wire.terminal import (
    Ended,
    EndedAck,
    Frame,
    HostFrame,
    Input,
    Output,
    Report,
    Resized,
    TerminalDecoder,
    encode,
    encode_datagram,
)

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonConfig

__all__ = ["rehearse"]

ROUNDS: Final = 10
"""CPython specialises code on its eighth run; after that it writes to it no more."""
ROUND_S: Final = 5.0
TURN_S: Final = 0.05
"""A rehearsal may fail, but it ends."""
PTY: Final = Pty("xterm", 24, 80, modes={1: 3, 53: 1})
CLIENT: Final = ("127.0.0.1", 1)
SERVER: Final = ("127.0.0.1", 22)


def rehearse(config: DaemonConfig) -> None:
    """Go through logins and sessions. Needs no key, no network and no user but the present one."""
    _load_other_key_types()
    _read_authorized_keys()
    filling = fill_gaps()
    with tempfile.TemporaryDirectory(prefix="qshd-rehearsal-") as folder:
        attempt = _Attempt(config, folder)
        move_together(attempt.judge)
        move_together(lambda: _be_session(config))
        for _ in range(ROUNDS):
            attempt.judge()
            _be_session(config)
    del filling
    signal.Signals(signal.SIGHUP)


def _load_other_key_types() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        ec.derive_private_key(1, curve).public_key()
    rsa.RSAPublicNumbers(65537, (1 << 2047) + 1).public_key()


def _read_authorized_keys() -> None:
    _, public = generate_ed25519("rehearsal")
    visitor = authorized_keys.Visitor("rehearsal", *(CLIENT[0], CLIENT[0]))
    options = 'from="10.0.0.0/8,!10.1.0.0/16,127.*",expiry-time="20990101",restrict,pty'
    authorized_keys.authorize(f"{options} {public.line()}\n", public, visitor, 0.0)


class _Attempt:
    """A login with a key, all that a login child does with it; by a configuration without anything that would run or ask."""

    def __init__(self, config: DaemonConfig, folder: str) -> None:
        text, public = generate_ed25519("rehearsal")
        key = PrivateKey.load(text.encode(), None, "rehearsal")
        blob = PublicKey.from_line(public.line()).blob
        path = os.path.join(folder, "authorized_keys")
        with open(path, "w") as file:
            file.write(f"{public.line()}\n")
        options = replace(
            config.options,
            authorized_keys_file=(path,),
            authorized_keys_command="none",
            authorized_principals_command="none",
            permit_root_login="yes",
            strict_modes=False,
            use_pam=False,
            use_dns=False,
        )  # nobody logs in, and a program must not be told that somebody does
        self._child = LoginChild(replace(config, options=options, settings=()), 0, Log("QUIET"))
        session_id, user = bytes(46), pwd.getpwuid(os.geteuid()).pw_name
        data = userauth.signed_data(session_id, user, "ssh-ed25519", blob, blob)
        proof = Proof(0, "ssh-ed25519", key.sign(data))
        login = Login(session_id, user, CLIENT, SERVER, [blob], proof)
        self._request = msgspec.msgpack.encode(SpawnLogin(1, login, blob, None))

    def judge(self) -> str:
        """The outcome."""
        monitor, child = packet_pair()
        try:
            request = msgspec.msgpack.decode(self._request, type=SpawnLogin)
            self._child.judge(request, child)
            link: PacketSocket[HostReport] = PacketSocket(monitor, HostReport)
            received = link.receive()
        finally:
            monitor.close()
            child.close()
        found = None if received is None else received[0]
        return found.outcome if isinstance(found, Judgement) else ""


def _be_session(config: DaemonConfig) -> None:
    front, host_front = packet_pair()
    monitor, host_monitor = packet_pair()
    peer: PacketSocket[HostAnswer] = PacketSocket(front, HostAnswer)
    user = account.lookup("root")
    groups = user.groups if user is not None else (0,)
    someone = Account("root", os.getuid(), os.getgid(), groups, "/", "/bin/sh")
    grant = Grant(someone, None, None, CLIENT, SERVER)
    packed = msgspec.msgpack.encode(SpawnSession(1, grant))
    granted = msgspec.msgpack.decode(packed, type=SpawnSession).grant
    options = replace(config.options, force_command="none")  # nobody has logged in
    rules = SessionRules(granted, options, rehearsed=True)
    directory = tempfile.mkdtemp(prefix="qshd-rehearsal-")
    host = SessionHost(
        PacketSocket(host_front, HostRequest),
        PacketSocket(host_monitor, Adopt),
        rules,
        directory,
        pages=IdlePages(lambda: 0),
    )
    deadline = monotonic_s() + ROUND_S
    try:
        _use_programs(host, peer, deadline)
        _use_terminal(host, peer, deadline)
    finally:
        host.close()
        shutil.rmtree(directory, ignore_errors=True)
        for end in (front, host_front, monitor, host_monitor):
            end.close()


def _answer(
    host: SessionHost, peer: PacketSocket[HostAnswer], deadline: float
) -> tuple[HostAnswer | None, list[int]]:
    while monotonic_s() < deadline:
        received = peer.receive()
        if received is not None:
            return received
        host.turn(TURN_S)
    return None, []


def _use_programs(host: SessionHost, peer: PacketSocket[HostAnswer], deadline: float) -> None:
    for pty in (None, PTY):
        peer.send(OpenChannel(4, "exec", b"true", pty))
        peer.send(Resize(4, 25, 80))
        answer, descriptors = _answer(host, peer, deadline)
        for descriptor in descriptors:
            os.close(descriptor)
        if isinstance(answer, ChannelOpened):
            _answer(host, peer, deadline)


def _use_terminal(host: SessionHost, peer: PacketSocket[HostAnswer], deadline: float) -> None:
    """Two clients at one terminal: raw output for the first, paintings for the other."""
    command = b"read x; echo $x; exit"
    peer.send(OpenChannel(8, "exec", command, PTY, terminal=Attach(b"1" * 16)))
    peer.send(PathState(10_000, 0, 14_000))
    answer, first = _answer(host, peer, deadline)
    if not isinstance(answer, ChannelOpened):
        return
    peer.send(OpenChannel(12, "attach", b"1", PTY, terminal=Attach(b"2" * 16, read_only=True)))
    _, second = _answer(host, peer, deadline)
    clients = [_Visitor(socket.socket(fileno=found[0])) for found in (first, second) if found]
    datagrams = socket.socket(fileno=first[1])
    datagrams.send(encode_datagram(Input(0, b"rehears")))
    clients[0].send(Resized(0, 30, 90), Input(0, b"rehearsal\r"), Report(0, 10_000))
    while monotonic_s() < deadline and not all(client.ended for client in clients):
        host.turn(TURN_S)
        for client in clients:
            client.read()
    for client in clients:
        client.stream.close()
    datagrams.close()
    for descriptor in second[1:]:
        os.close(descriptor)
    host.turn(0)
    host.turn(0)


class _Visitor:
    """Reads what a host says, until the end."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.stream.setblocking(False)
        self._decoder: TerminalDecoder[HostFrame] = TerminalDecoder(HostFrame)
        self.ended = False

    def send(self, *messages: Input | Report | Resized | EndedAck) -> None:
        """To the host."""
        with contextlib.suppress(OSError):
            self.stream.send(b"".join(encode(message) for message in messages))

    def read(self) -> None:
        """What is there."""
        try:
            data = self.stream.recv(65536)
        except BlockingIOError:
            return
        self.ended = self.ended or not data
        for message in self._decoder.receive(data):
            if isinstance(message, Output | Frame):
                self.send(Report(message.offset + len(message.data) * isinstance(message, Output)))
            elif isinstance(message, Ended):
                self.send(EndedAck())
                self.ended = True
