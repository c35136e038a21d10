"""A rehearsal of everything that a login child and a session host do, before the spawner's image is frozen.

Forks share the image's pages until they write to them. A module first imported after the fork costs every
session its own copy (7 MB for cryptography); code first *run* after it still costs the pages that its caches
and new objects land on. So qshd goes through logins and sessions itself before the first fork. Measured: 1.9 MB private
to an idle session host instead of 2.8 (and 7.4 with nothing preloaded).
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the name service's texts
import glob  # noqa: F401
import os
import signal
import stringprep  # noqa: F401
from typing import TYPE_CHECKING, Final

import msgspec

from qsh.auth import authorized_keys, signatures, userauth
from qsh.auth.key_options import KeyOptions
from qsh.auth.keys import PublicKey
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.server import account
from qsh.server.account import Account
from qsh.server.host import SessionHost
from qsh.server.login import Judge
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    Grant,
    HostAnswer,
    HostReport,
    HostRequest,
    Login,
    OpenChannel,
    Resize,
    SpawnSession,
)
from qsh.server.session_rules import SessionRules
from qsh.wire.messages import Proof, Pty

if TYPE_CHECKING:
    from qsh.config.daemon_options import DaemonConfig
    from qsh.server.requests import ChannelOpened

__all__ = ["rehearse"]

ROUNDS: Final = 10
"""CPython specialises code on its eighth run; after that it writes to it no more."""
CLIENT: Final = ("127.0.0.1", 1)
SERVER: Final = ("127.0.0.1", 22)


def rehearse(config: DaemonConfig) -> None:
    """Go through logins and sessions. Needs no key, no network and no user but the present one."""
    _load_other_key_types()
    _read_authorized_keys()
    for _ in range(ROUNDS):
        _log_in(config)
        for pty in (None, Pty("xterm", 24, 80, modes={1: 3, 53: 1})):
            _be_session(config, pty)
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


def _log_in(config: DaemonConfig) -> None:
    text, public = generate_ed25519("rehearsal")
    key = PrivateKey.load(text.encode(), None, "rehearsal")
    blob = PublicKey.from_line(public.line()).blob
    session_id = bytes(46)
    data = userauth.signed_data(session_id, "root", "ssh-ed25519", blob, blob)
    proof = Proof(0, "ssh-ed25519", key.sign(data))
    signatures.verify(public, proof.signature, data, proof.algorithm)
    login = Login(session_id, "root", CLIENT, SERVER, [blob], proof)
    Judge(login, blob, lambda login, account: config.options, 0.0).judge()


def _be_session(config: DaemonConfig, pty: Pty | None) -> None:
    front, host_front = packet_pair()
    monitor, host_monitor = packet_pair()
    peer: PacketSocket[ChannelOpened] = PacketSocket(front, HostAnswer)
    peer.send(OpenChannel(4, "exec", b"true", pty))
    peer.send(Resize(4, 25, 80))
    user = account.lookup("root")
    groups = user.groups if user is not None else (0,)
    someone = Account("root", os.getuid(), os.getgid(), groups, "/", "/bin/true")
    grant = Grant(someone, config.options, KeyOptions(), CLIENT, SERVER)
    packed = msgspec.msgpack.encode(SpawnSession(1, grant))
    rules = SessionRules(msgspec.msgpack.decode(packed, type=SpawnSession).grant)
    host = SessionHost(
        PacketSocket(host_front, HostRequest), PacketSocket(host_monitor, HostReport), rules
    )
    host.run(until_end=True)
    received = peer.receive()
    for descriptor in received[1] if received is not None else ():
        os.close(descriptor)
    for end in (front, host_front, monitor, host_monitor):
        end.close()
