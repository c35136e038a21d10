"""Invariant: whatever AUTH a client sends, the monitor's and the login child's answer is an outcome, no exception; without the
user's key it is never that the client is let in.
"""

from __future__ import annotations

import os
import pwd

from qsh.auth.sshwire import Writer
from qsh.config.daemon_options import DaemonOptions
from qsh.errors import RemoteProtocolError
from qsh.server.login import Judge
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import MAX_PACKET, FrontRequest, Login, Outcome
from qsh.server.resume_records import ResumeRecords
from qsh.wire import framing
from qsh.wire.messages import Auth, Offer, Proof, Resume

__all__ = ["fuzz_one"]

ME = pwd.getpwuid(os.getuid()).pw_name
SESSION_ID = b"i" * 46
HOST_KEY = Writer().text("ssh-ed25519").string(bytes(range(32))).bytes()
SIGNATURE = Writer().text("ssh-ed25519").string(b"\1" * 64).bytes()
OPTIONS = DaemonOptions(
    authorized_keys_file=("/dev/null",), session_directory="/nowhere", permit_root_login="yes"
)
RECORDS = ResumeRecords(b"s" * 32)
SEEDS = tuple(
    framing.encode(auth)[4:]
    for auth in (
        Auth(ME, [Offer(HOST_KEY)], Proof(0, "ssh-ed25519", SIGNATURE)),
        Auth(ME, [Offer(HOST_KEY)] * 9),
        Auth(
            ME,
            [Offer(HOST_KEY)],
            resume=Resume(b"k" * 32, b"r" * 36, "1", b"c" * 16, b"t" * 16, b"s" * 64),
        ),
        Auth("../%u\n", []),
    )
)


def fuzz_one(data: bytes) -> None:
    """As a message of the client, and as a packet of a front that is not what it was."""
    _of_a_front(data)
    frames: framing.FrameDecoder[Auth] = framing.FrameDecoder(Auth)
    try:
        frames.feed(len(data).to_bytes(4, "big") + data)
        auth = frames.next()
    except RemoteProtocolError:
        return
    assert auth is not None
    login = Login(
        SESSION_ID,
        auth.user,
        ("127.0.0.1", 1),
        ("127.0.0.1", 2),
        [offer.blob for offer in auth.offers],
        auth.proof,
        auth.resume_key,
        auth.resume,
    )
    uid = RECORDS.opened(login)
    assert uid is None, "a record that nobody has sealed"
    judge = Judge(login, HOST_KEY, lambda *_: OPTIONS, 0.0, resumes=uid)
    opinion = judge.judge()
    assert opinion.outcome == Outcome.REFUSED


def _of_a_front(data: bytes) -> None:
    ours, theirs = packet_pair()
    with ours, theirs:
        ours.send(data[:MAX_PACKET])
        try:
            PacketSocket(theirs, FrontRequest).receive()
        except (RemoteProtocolError, EOFError):
            pass
