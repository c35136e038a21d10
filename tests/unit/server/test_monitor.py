"""The monitor against a front, a spawner and login children that are played by the test (docs/architecture.md 2.2, 2.3)."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from qsh.auth.key_options import KeyOptions
from qsh.auth.key_proof import proof_data
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.auth.signatures import verify
from qsh.clock import monotonic_s
from qsh.config.daemon_options import DaemonOptions
from qsh.config.daemon_penalties import PenaltyRules
from qsh.server import judging, login_children, turns
from qsh.server import monitor as module
from qsh.server.account import Account
from qsh.server.admission import Limits
from qsh.server.host_keys import CERTIFICATE_VERIFY, HostKeys, session_id_of
from qsh.server.log import Log
from qsh.server.monitor import Monitor
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    OTHER_RULES,
    SIGNER,
    Counts,
    Forget,
    Grant,
    HostReport,
    Identity,
    Judgement,
    Local,
    Login,
    MonitorAnswer,
    Moved,
    MoveVerdict,
    Outcome,
    Penalised,
    Proofs,
    Prove,
    Reaped,
    RecordLogin,
    RecordLogout,
    Reloaded,
    Rules,
    Serve,
    SignerRequest,
    Spawned,
    SpawnerReport,
    SpawnerRequest,
    SpawnFailed,
    SpawnLogin,
    SpawnSession,
    StartFront,
    StartSigner,
    TerminalLogin,
    Verdict,
)
from qsh.server.signer import SigningService
from qsh.wire.messages import Proof, Resume

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = ("192.0.2.1", 4711)
SERVER = ("192.0.2.2", 22)


def message(number: int) -> bytes:
    """What a handshake's CertificateVerify covers."""
    return CERTIFICATE_VERIFY + number.to_bytes(32, "big")


def login(number: int) -> Login:
    return Login(session_id_of(message(number)), "anna", CLIENT, SERVER)


def grant() -> Grant:
    someone = Account("anna", os.getuid(), os.getgid(), (os.getgid(),), "/", "/bin/sh")
    return Grant(someone, DaemonOptions(), KeyOptions(), CLIENT, SERVER)


@dataclass
class World:
    """A monitor, and both ends of everything that it talks to."""

    grace_s: float = 100.0
    penalties: PenaltyRules = field(default_factory=lambda: PenaltyRules(max=1234.0))
    spawner: PacketSocket[Any] = field(init=False)
    front: PacketSocket[Any] = field(init=False)
    sign: socket.socket = field(init=False)
    open: list[Any] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    """What the monitor has for fronts from the signer."""
    signer: SigningService | None = None

    def __post_init__(self) -> None:
        self.keys = [
            PrivateKey.load(generate_ed25519(name)[0].encode(), None, name)
            for name in ("host", "other", "third")
        ]
        ours, theirs = packet_pair()
        self.spawner = PacketSocket(theirs, SpawnerRequest)
        self.read_log, self.write_log = os.pipe()
        self.monitor = Monitor(
            PacketSocket(ours, SpawnerReport),
            self.kept.append,
            Log("DEBUG3", file=self.write_log),
            self.grace_s,
            3,
            root=False,
            penalties=self.penalties,
        )
        self.open += [ours, theirs]
        self.monitor._selector.register(
            self.monitor.spawner, select.EPOLLIN, self.monitor._read_spawner
        )
        self.monitor._signer.start()
        self.take_signer()
        self.turn()
        self.take_front()

    def take_signer(self) -> None:
        """The real one, with the keys that are there now."""
        request, (link,) = self.asked()
        assert isinstance(request, StartSigner)
        self.signer_link: PacketSocket[Any] = PacketSocket(
            socket.socket(fileno=link), SignerRequest
        )
        self.open.append(self.signer_link)
        self.signer = SigningService(
            self.signer_link, HostKeys(self.keys), Log("DEBUG3", file=self.write_log)
        )
        self.signer.begin()

    def end_signer(self) -> None:
        """Without a word."""
        if self.signer is not None:
            self.signer._drop_front()
        self.signer = None
        self.signer_link.close()

    def take_front(self) -> None:
        request, (link, sign) = self.asked()
        assert isinstance(request, StartFront)
        self.front = PacketSocket(socket.socket(fileno=link), MonitorAnswer)
        self.sign = socket.socket(fileno=sign)
        self.sign.setblocking(False)
        self.open += [self.front, self.sign]
        self.front.receive()

    def turn(self) -> None:
        """What the monitor's loop does, until nothing is left to do."""
        for _ in range(2000):
            self.monitor._turn(0)
            self.monitor._expire()
            for _ in range(4):
                try:
                    if self.signer is not None:
                        self.signer.turn(0)
                except EOFError:
                    self.end_signer()
            if not self.monitor._selector.select(0):
                return

    def asked(self) -> tuple[Local, list[int]]:
        """The next request to the spawner."""
        received = self.spawner.receive()
        assert received is not None
        return received

    def signature(self, body: bytes) -> bytes:
        self.sign.send(b"\0\0\0\7" + body)
        self.turn()
        answer = self.sign.recv(4096)
        assert answer[:4] == b"\0\0\0\7"
        return answer[4:]

    def handshake(self, number: int) -> bool:
        return self.signature(b"\0\x08\x07" + message(number)) != b"\0\0"

    def ask(self, *requests: Local) -> None:
        for request in requests:
            self.front.send(request)
        self.turn()

    def child(self, number: int, pid: int = 0) -> PacketSocket[Any]:
        """The login child for the Login that was asked for."""
        self.ask(login(number))
        request, (link,) = self.asked()
        assert isinstance(request, SpawnLogin)
        assert request.login == login(number)
        if pid:
            self.spawner.send(Spawned(request.number, pid))
            self.turn()
        self.open.append(child := PacketSocket(socket.socket(fileno=link), HostReport))
        return child

    def judge(self, child: PacketSocket[Any], judgement: Judgement) -> None:
        child.send(judgement)
        self.turn()

    def verdict(self) -> tuple[Verdict, list[int]] | None:
        return self.front.receive()

    @property
    def front_dropped(self) -> bool:
        try:
            while self.front.receive() is not None:
                pass
        except EOFError:
            return True
        return False

    def log(self) -> str:
        os.set_blocking(self.read_log, False)
        try:
            return os.read(self.read_log, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        self.end_signer()
        for each in self.open:
            each.close()
        for session in self.monitor._children.sessions.values():
            session.link.close()
        for link in (
            self.monitor._front.link,
            self.monitor._signer._front,
            self.monitor._signer.link,
            self.monitor._selector,
        ):
            if link is not None:
                link.close()
        os.close(self.read_log)
        os.close(self.write_log)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


# -- signing -------------------------------------------------------------------------------------


def test_a_handshake_that_is_signed_twice_lets_in_once(world: World) -> None:
    """The signer has no memory; the table has, and two signatures of one handshake are one."""
    assert world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    world.asked()
    assert world.handshake(1)
    assert "the same handshake twice" in world.log()
    world.ask(login(1))
    assert world.front_dropped


def test_the_monitor_knows_of_a_signature_before_the_front_has_it(world: World) -> None:
    """A monitor that is busy hears of both at once, in the wrong order."""
    assert world.signer is not None
    world.sign.send(b"\0\0\0\7\0\x08\x07" + message(1))
    world.signer.turn(1)
    assert len(world.sign.recv(4096)) > 100
    world.front.send(login(1))
    world.monitor._front.read()
    assert isinstance(world.asked()[0], SpawnLogin)
    assert not world.front_dropped


def test_a_monitor_that_is_stuck_delays_no_handshake(world: World) -> None:
    assert world.signer is not None
    for number in range(200):
        world.sign.send(b"\0\0\0\7\0\x08\x07" + message(number))
        world.signer.turn(1)
        assert len(world.sign.recv(4096)) > 100
    world.turn()
    assert len(world.monitor._judging.table) == 200


def test_nothing_is_signed_that_a_stuck_monitor_cannot_learn_of(world: World) -> None:
    assert world.signer is not None
    signed = 0
    for number in range(20_000):
        world.sign.send(b"\0\0\0\7\0\x08\x07" + message(number))
        world.signer.turn(1)
        if world.sign.recv(4096)[4:] == b"\0\0":
            break
        signed += 1
    assert 500 < signed < 20_000
    world.turn()
    assert signed <= len(world.monitor._judging.table) <= signed + 1
    assert world.handshake(20_001)


def test_a_signer_that_died_is_replaced_and_the_front_does_not_notice(world: World) -> None:
    world.spawner.send(Spawned(SIGNER, 0))
    assert world.handshake(1)
    world.end_signer()
    world.turn()
    world.sign.send(b"\0\0\0\7\0\x08\x07" + message(2))
    world.monitor._signer_ended()
    timeout = world.monitor._timeout()
    assert timeout is not None
    assert timeout <= 1.0
    world.monitor._signer.due_s = 0.0
    world.monitor._expire()
    world.take_signer()
    world.turn()
    assert len(world.sign.recv(4096)) > 100, "what it was asked meanwhile"
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    assert not world.front_dropped
    assert len(world.kept) == 1


def test_other_keys_after_a_restart_of_the_signer_are_told_to_the_front(world: World) -> None:
    """With another socket to the signer: the numbers of keys mean others now."""
    world.end_signer()
    world.turn()
    world.monitor._signer_ended()
    world.monitor._signer.due_s = 0.0
    world.monitor._expire()
    world.keys.reverse()
    world.take_signer()
    world.turn()
    received = world.front.receive()
    assert received is not None
    identity, (sign,) = received
    assert identity == Identity([key.public.blob for key in world.keys])
    world.sign.close()
    world.sign = socket.socket(fileno=sign)
    world.sign.setblocking(False)
    world.open.append(world.sign)
    assert world.handshake(1)
    assert "the host keys or their certificates are others now" in world.log()
    assert not world.front_dropped


def renewed(world: World) -> None:
    """The host keys are read again, as after a SIGHUP, and are in another order; the front has heard of them."""
    world.monitor._signer.renew()
    world.turn()
    world.monitor._signer_ended()
    if world.monitor._signer.due_s is not None:
        world.monitor._signer.due_s = 0.0
        world.monitor._expire()
    world.keys.reverse()
    world.take_signer()
    world.turn()
    received = world.front.receive()
    assert received is not None
    identity, (sign,) = received
    assert identity == Identity([key.public.blob for key in world.keys])
    os.close(sign)


def test_what_was_signed_before_the_keys_are_read_again_may_log_in(world: World) -> None:
    """The monitor reads what the signer has said of it, late as it may be, before it has another signer."""
    assert world.signer is not None
    world.sign.send(b"\0\0\0\7\0\x08\x07" + message(1))
    world.signer.turn(1)
    assert len(world.sign.recv(4096)) > 100
    world.monitor._signer.renew()
    world.sign.send(b"\0\0\0\7\0\x08\x07" + message(2))
    with contextlib.suppress(EOFError):
        world.signer.turn(1)
    world.end_signer()
    if world.sign.recv(4096)[4:] != b"\0\0":
        world.front.send(login(2))
    world.front.send(login(1))
    world.turn()
    assert not world.front_dropped


def test_a_login_is_judged_by_the_key_of_its_own_handshake(world: World) -> None:
    """Whatever keys there are by now: else its proof fits no more."""
    first = world.keys[0].public.blob
    assert world.handshake(1)
    assert world.handshake(2)
    judged(world, login(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    renewed(world)
    spawn, _ = moving(world)
    assert spawn.host_key == first
    world.ask(login(2))
    spawn, _ = world.asked()
    assert isinstance(spawn, SpawnLogin)
    assert spawn.host_key == first


def test_other_keys_are_not_proved_to_who_was_told_of_those_before(world: World) -> None:
    admitted(world, 1)
    renewed(world)
    world.ask(Prove(login(1).session_id))
    assert world.front.receive() == (Proofs(login(1).session_id), [])


def test_a_signer_that_never_had_keys_ends_qshd() -> None:
    world = World()
    world.monitor._signer.held = None
    world.monitor._signer_ended()
    assert world.monitor._stop
    assert world.monitor.exit_status == 255
    world.close()


def test_proofs_that_nobody_can_make_any_more_are_answered(world: World) -> None:
    world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    world.verdict()
    world.front.send(Prove(login(1).session_id))
    world.monitor._front.read()
    world.end_signer()
    world.turn()
    received = world.front.receive()
    assert received is not None
    assert received[0] == Proofs(login(1).session_id)


@pytest.mark.parametrize(
    "report", [Verdict(login(1).session_id, Outcome.ACCEPTED), Reaped(1, 0), Serve()]
)
def test_a_signer_that_breaks_the_rules_is_replaced(
    world: World, report: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("qsh.server.signer_link.os.kill", lambda pid, _: killed.append(pid))
    world.monitor._signer.pid = 4711
    world.signer_link.send(report)
    world.turn()
    assert killed == [4711]
    assert not world.front_dropped


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\x08\x07",
        b"\0\x08\x07" + b"SSH-2.0-x" * 11,
        b"\0\x08\x07" + message(1).replace(b"server", b"client"),
        b"\0\x08\x07" + message(1) + b"x",
        b"\0\x08\x07" + message(1)[:-1],
        b"\0\x08\x07" + message(1) * 9,
        b"\3\x08\x07" + message(1),
        b"\xff\x08\x07" + message(1),
        b"\0\x04\x03" + message(1),
        b"\0\0\0" + message(1),
    ],
)
def test_nothing_else_is_signed(world: World, body: bytes) -> None:
    assert world.signature(body) == b"\0\0"
    assert len(world.monitor._judging.table) == 0, "what was not signed may not log in"


def test_a_login_for_a_handshake_that_no_key_signed_ends_the_front(world: World) -> None:
    world.signature(b"\xff\x08\x07" + message(1))
    world.ask(login(1))
    assert world.front_dropped
    assert world.spawner.receive() is None


def test_packets_without_a_number_and_descriptors_on_the_signing_socket(world: World) -> None:
    for packet in (b"\0", b"\0\0\0", bytes(100_000)):
        world.sign.send(packet)
        world.turn()
        assert world.sign.recv(4096).endswith(b"\0\0")
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(world.sign, [b"\0\0\0\7"], [0] * 200)
    world.turn()
    assert len(os.listdir("/proc/self/fd")) == before


# -- logins --------------------------------------------------------------------------------------


def test_a_login(world: World) -> None:
    world.handshake(1)
    child = world.child(1)
    world.judge(child, Judgement(Outcome.ACCEPTED, grant=grant(), key="ED25519 x"))
    answer = world.verdict()
    assert answer is not None
    verdict, descriptors = answer
    assert verdict.outcome == Outcome.ACCEPTED
    request, (to_monitor, to_front) = world.asked()
    assert isinstance(request, SpawnSession)
    os.write(to_front, b"hello")
    assert os.read(descriptors[0], 10) == b"hello"
    for descriptor in (*descriptors, to_monitor, to_front):
        os.close(descriptor)
    assert "Accepted publickey for anna from 192.0.2.1 port 4711" in world.log()


def admitted(world: World, number: int) -> None:
    world.handshake(number)
    world.judge(world.child(number), Judgement(Outcome.ACCEPTED, grant=grant()))
    answer, request = world.verdict(), world.asked()
    assert answer is not None
    for descriptor in (*answer[1], *request[1]):
        os.close(descriptor)


def test_the_other_keys_are_proved_once_after_the_login(world: World) -> None:
    session_id = login(1).session_id
    admitted(world, 1)
    world.ask(Prove(session_id))
    answer = world.front.receive()
    assert answer is not None
    proofs = answer[0]
    assert proofs.session_id == session_id
    assert len(proofs.signatures) == 2, "the first has signed the handshake"
    for key, proof in zip(world.keys[1:], proofs.signatures, strict=True):
        assert verify(key.public, proof, proof_data(session_id, key.public.blob))
        assert not verify(key.public, proof, proof_data(session_id, world.keys[0].public.blob))
        assert not verify(key.public, proof, session_id), "it is nothing that anything else signs"
    world.ask(Prove(session_id))
    assert world.front_dropped


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_is_proved_for_who_is_not_let_in(world: World, number: int) -> None:
    world.handshake(1)
    world.ask(Prove(login(number).session_id))
    assert world.front_dropped
    assert "broke the rules" in world.log()


def test_one_signature_opens_one_session(world: World) -> None:
    """A front that was broken into forgets the session id, has the same handshake signed again and repeats the login."""
    world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    for descriptor in world.asked()[1]:
        os.close(descriptor)
    world.ask(Forget(login(1).session_id))
    assert world.handshake(1)
    world.ask(login(1))
    assert world.front_dropped


def test_another_front_cannot_use_it_either(world: World) -> None:
    world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    for descriptor in world.asked()[1]:
        os.close(descriptor)
    world.front.close()
    world.turn()
    world.monitor._front.since_s -= 10
    world.monitor._front_ended()
    world.take_front()
    assert world.handshake(1)
    world.ask(login(1))
    assert world.front_dropped


def test_forgetting_and_signing_again_does_not_double_a_login_that_is_being_judged(
    world: World,
) -> None:
    world.handshake(1)
    first = world.child(1)
    world.ask(Forget(login(1).session_id))
    world.handshake(1)
    second = world.child(1)
    with pytest.raises(OSError, match="Broken pipe"):
        first.send(Judgement(Outcome.ACCEPTED, grant=grant()))
    world.judge(second, Judgement(Outcome.ACCEPTED, grant=grant()))
    request, descriptors = world.asked()
    assert isinstance(request, SpawnSession)
    for descriptor in descriptors:
        os.close(descriptor)
    assert world.spawner.receive() is None


def test_descriptors_from_the_front_are_closed(world: World) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for count in (1, 4, 100):
        socket.send_fds(world.front.sock, [b"\x82\xa1t\xa6forget\xaasession_id\xc4." + bytes(46)], [0] * count)  # fmt: skip
        world.turn()
    assert not world.front_dropped
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "packet",
    [
        b"\xc1",
        b"\x80",
        b"\x81\xa1t\xa5login",
        b"\x81\xa1t\xa7verdict",
        b"\x91" * 5000,
        bytes(300_000),
        b"\x82\xa1t\xa6forget\xaasession_id\xc4\x01x",
    ],
)
def test_bad_packets_end_the_front(world: World, packet: bytes) -> None:
    world.front.sock.send(packet)
    world.turn()
    assert world.front_dropped
    assert "broke the rules" in world.log()


@pytest.mark.parametrize("method", ["publickey", "password"])
def test_a_method_together_with_keys_ends_the_front(world: World, method: str) -> None:
    """It would be judged by its key, and remembered as a step without one: its options forgotten, and good for a second step."""
    world.handshake(1)
    world.ask(msgspec.structs.replace(resumable(1), method=method))
    assert world.front_dropped
    assert world.spawner.receive() is None


def test_a_login_a_moment_late_is_refused_and_no_more(world: World) -> None:
    world.handshake(1)
    world.monitor._judging.table._entries[login(1).session_id].deadline_s = 0.0
    world.ask(login(1))
    answer = world.verdict()
    assert answer is not None
    assert (answer[0].outcome, answer[0].final) == (Outcome.REFUSED, True)
    assert world.spawner.receive() is None


def test_as_many_attempts_as_permitted(world: World) -> None:
    world.handshake(1)
    for attempt in range(3):
        world.judge(world.child(1), Judgement(Outcome.REFUSED, reason="no"))
        answer = world.verdict()
        assert answer is not None
        assert answer[0].final is (attempt == 2)
    world.ask(login(1))
    assert world.front_dropped


def test_a_flood_of_logins_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_children, "MAX_JUDGING", 5)
    for number in range(8):
        world.handshake(number)
        world.ask(login(number))
    assert len(begun(world)) == 5
    refused = [world.verdict() for _ in range(3)]
    assert all(answer is not None and answer[0].outcome == Outcome.REFUSED for answer in refused)


def begun(world: World) -> list[PacketSocket[Any]]:
    """Login children that the spawner is asked for."""
    children = list[PacketSocket[Any]]()
    while (received := world.spawner.receive()) is not None:
        children.append(PacketSocket(socket.socket(fileno=received[1][0]), HostReport))
    world.open += children
    return children


@pytest.fixture
def burst(world: World, monkeypatch: pytest.MonkeyPatch) -> list[PacketSocket[Any]]:
    """Four ask, two may; their login children."""
    monkeypatch.setattr(turns, "AT_ONCE", 2)
    for number in range(4):
        world.handshake(number)
        world.ask(login(number))
    return begun(world)


def test_a_burst_of_logins_is_judged_in_turns(world: World, burst: list[PacketSocket[Any]]) -> None:
    assert len(burst) == 2
    world.judge(burst[0], Judgement(Outcome.REFUSED, reason="no"))
    assert len(begun(world)) == 1
    world.judge(burst[1], Judgement(Outcome.REFUSED, reason="no"))
    assert len(begun(world)) == 1


def test_who_goes_away_before_his_turn_is_not_judged(
    world: World, burst: list[PacketSocket[Any]]
) -> None:
    world.ask(Forget(login(2).session_id, answered=True))
    assert "did not wait for the judgement" in world.log()
    world.judge(burst[0], Judgement(Outcome.REFUSED, reason="no"))
    request, (link,) = world.asked()
    os.close(link)
    assert isinstance(request, SpawnLogin)
    assert request.login == login(3)


def test_who_waits_is_refused_when_his_time_is_over(
    world: World, burst: list[PacketSocket[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = world.monitor._judging.deadlines_s[0] + 10
    monkeypatch.setattr(module, "monotonic_s", lambda: late)
    world.turn()
    answers = [world.verdict() for _ in range(4)]
    assert {answer[0].session_id for answer in answers if answer is not None} == {
        login(number).session_id for number in range(4)
    }
    assert begun(world) == []


def test_nobody_is_judged_for_a_front_that_ended(
    world: World, burst: list[PacketSocket[Any]]
) -> None:
    world.front.close()
    world.turn()
    assert begun(world) == []


def test_a_login_that_hangs_holds_up_the_others_for_a_moment(
    world: World, burst: list[PacketSocket[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout = world.monitor._timeout()
    assert timeout is not None
    assert timeout <= turns.LONG_S
    later = module.monotonic_s() + turns.LONG_S
    monkeypatch.setattr(module, "monotonic_s", lambda: later)
    world.turn()
    assert len(begun(world)) == 2


@pytest.mark.parametrize(
    ("judgement", "penalty"),
    [
        (Judgement(Outcome.REFUSED, reason="invalid user 'x'"), "invaliduser"),
        (Judgement(Outcome.REFUSED, reason="not allowed because of RefuseConnection"), "refuseconnection"),
        (Judgement(Outcome.REFUSED, reason="no key of those offered is authorized"), "authfail"),
        (Judgement(Outcome.CONTINUE, [0], reason="nothing is proven"), ""),
    ],
)  # fmt: skip
def test_what_a_refusal_counts_as(world: World, judgement: Judgement, penalty: str) -> None:
    world.handshake(1)
    world.judge(world.child(1), judgement)
    answer = world.verdict()
    assert answer is not None
    assert answer[0].penalty == penalty


@pytest.mark.parametrize(("pid", "penalty"), [(2**22 + 1, "crash"), (0, "")])
def test_a_login_child_that_ends_without_a_judgement(world: World, pid: int, penalty: str) -> None:
    """It has crashed; or there was no process to be had for it."""
    world.handshake(1)
    world.child(1, pid).close()
    world.turn()
    answer = world.verdict()
    assert answer is not None
    assert (answer[0].outcome, answer[0].penalty) == (Outcome.REFUSED, penalty)


def test_no_descriptors_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> object:
        raise OSError(24, "Too many open files")

    world.handshake(1)
    monkeypatch.setattr(login_children, "packet_pair", none_left)
    world.ask(login(1))
    answer = world.verdict()
    assert answer is not None
    assert answer[0].outcome == Outcome.REFUSED
    assert "Too many open files" in world.log()


# -- login children ------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("known_first", [True, False])
def test_a_stuck_login_child_ends_with_its_connection(
    world: World, sleeper: subprocess.Popen[bytes], known_first: bool
) -> None:
    world.handshake(1)
    world.child(1, sleeper.pid if known_first else 0)
    world.handshake(2)
    world.judge(world.child(2), Judgement(Outcome.REFUSED, reason="others are served"))
    assert world.verdict() is not None
    world.ask(Forget(login(1).session_id))
    if not known_first:
        world.spawner.send(Spawned(1, sleeper.pid))
        world.turn()
    assert sleeper.wait(5) == -9
    assert not world.monitor._children.sessions


def test_a_stuck_login_child_ends_with_the_grace_time(
    world: World, sleeper: subprocess.Popen[bytes]
) -> None:
    world.handshake(1)
    world.child(1, sleeper.pid)
    (session,) = world.monitor._children.sessions.values()
    session.deadline_s = 0.0
    world.monitor._expire()
    assert sleeper.wait(5) == -9
    answer = world.verdict()
    assert answer is not None
    assert answer[0].outcome == Outcome.REFUSED


@pytest.mark.parametrize("packet", [b"", b"\xc1", b"\x81\xa1t\xa3tty"])
def test_a_login_child_that_ends_or_raves_is_a_refusal(world: World, packet: bytes) -> None:
    world.handshake(1)
    child = world.child(1)
    if packet:
        child.sock.send(packet)
    child.close()
    world.turn()
    answer = world.verdict()
    assert answer is not None
    assert answer[0].outcome == Outcome.REFUSED
    assert not world.monitor._children.sessions


def test_a_session_may_not_judge_again(world: World) -> None:
    world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    _, (to_monitor, to_front) = world.asked()
    world.verdict()
    host: PacketSocket[Any] = PacketSocket(socket.socket(fileno=to_monitor), HostReport)
    host.send(TerminalLogin("../etc/passwd", 1))
    host.send(Judgement(Outcome.ACCEPTED, grant=grant()))
    world.turn()
    assert world.spawner.receive() is None
    assert "broke the rules" in world.log()
    os.close(to_front)
    host.close()


def test_a_forget_and_a_judgement_in_one_turn(world: World) -> None:
    for number in range(20):
        world.handshake(number)
        child = world.child(number)
        world.front.send(Forget(login(number).session_id))
        child.send(Judgement(Outcome.REFUSED, reason="too late"))
    world.turn()
    assert not world.monitor._children.sessions
    assert not world.front_dropped


def test_the_end_of_the_front_and_its_judgements_in_one_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "AT_ONCE", 100)
    for number in range(20):
        world.handshake(number)
        world.child(number).send(Judgement(Outcome.REFUSED, reason="too late"))
    for number in range(20, 40):
        world.handshake(number)
        children = [world.child(number)]
    world.front.sock.send(b"\xc1")
    world.sign.send(b"\0\0\0\1")
    for child in children:
        child.send(Judgement(Outcome.REFUSED, reason="too late"))
    world.turn()
    assert not world.monitor._children.sessions


def test_a_front_that_could_not_be_forked_is_tried_again(world: World) -> None:
    world.monitor._front.since_s -= 10
    world.front.close()
    world.monitor._front_ended()
    for descriptor in world.asked()[1]:
        os.close(descriptor)
    world.spawner.send(SpawnFailed(0))
    world.turn()
    assert world.spawner.receive() is None
    assert "cannot start the front; trying again" in world.log()
    timeout = world.monitor._timeout()
    assert timeout is not None
    assert timeout <= 1.0
    world.monitor._front.due_s = 0.0
    world.turn()
    world.take_front()
    assert world.handshake(1)


def test_a_young_front_that_has_served_is_replaced_a_little_later(world: World) -> None:
    world.ask(Counts({}, 0, 0, {}, 0))
    world.front.close()
    world.monitor._front_ended()
    assert "the front ended; starting another" in world.log()
    assert world.spawner.receive() is None
    world.monitor._front.due_s = 0.0
    world.turn()
    world.take_front()
    assert world.handshake(1)


def test_the_next_front_hears_of_no_penalty_that_the_rules_do_not_know(world: World) -> None:
    """Those of the start, and then those that were read again."""
    again = Rules(1.0, 3, "", "INFO", Limits(penalties=PenaltyRules(max=7200.0)), [])
    for longest, reread in ((world.penalties.max, False), (7200.0, True)):
        if reread:
            world.spawner.send(Reloaded([], again))
            world.turn()
        world.ask(Penalised("192.0.2.7/32", float("inf"), active=True))
        world.monitor._front.since_s -= 10
        world.front.close()
        world.monitor._front_ended()
        _, (link, sign) = world.asked()
        os.close(sign)
        world.front = PacketSocket(socket.socket(fileno=link), MonitorAnswer)
        world.open.append(world.front)
        received = world.front.receive()
        assert received is not None
        (penalty,) = received[0].penalties
        assert penalty.until <= monotonic_s() + longest
        assert penalty.until > monotonic_s() + longest - 60


def test_a_front_that_never_served_ends_qshd(world: World) -> None:
    world.front.close()
    world.monitor._front_ended()
    assert "as soon as it was started" in world.log()
    assert world.monitor.exit_status == 255


def test_a_login_child_that_could_not_be_forked_kills_nobody(world: World) -> None:
    world.handshake(1)
    child = world.child(1)
    world.ask(Forget(login(1).session_id))
    child.close()
    world.spawner.send(SpawnFailed(1))
    world.turn()
    assert not world.monitor._children.abandoned


def test_login_records_are_left_to_the_spawner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_uid=os.getuid()))
    world.monitor._hosts.root = True
    world.handshake(1)
    world.judge(world.child(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    _, (to_monitor, to_front) = world.asked()
    world.spawner.send(Spawned(1, 4711, host=True))
    host: PacketSocket[Any] = PacketSocket(socket.socket(fileno=to_monitor), HostReport)
    host.send(TerminalLogin("pts/3", 4712))
    world.turn()
    record, _ = world.asked()
    assert isinstance(record, RecordLogin)
    assert (record.line, record.user, record.host) == ("pts/3", "anna", CLIENT[0])
    world.spawner.send(Reaped(4711, 0))
    world.turn()
    record, _ = world.asked()
    assert isinstance(record, RecordLogout)
    assert (record.line, record.pid) == ("pts/3", 4712)
    os.close(to_front)
    host.close()


# -- queues --------------------------------------------------------------------------------------


def test_what_the_front_could_not_take_comes_when_it_can(world: World) -> None:
    """A front that was busy or stopped: no verdict waits for the next one."""
    front = world.monitor._front.link
    assert front is not None
    count = 0
    while not front.waiting:
        front.send(Verdict(bytes(46), Outcome.REFUSED, notices=["x" * 10000]))
        count += 1
    world.turn()
    taken = 0
    while taken < count:
        world.turn()
        while world.verdict() is not None:
            taken += 1
    assert not front.waiting


def test_the_end_of_the_spawner_ends_qshd(world: World) -> None:
    world.spawner.close()
    world.turn()
    assert world.monitor._stop
    assert world.monitor.exit_status == 255


def test_unknown_children_are_ignored(world: World) -> None:
    for report in (Spawned(77, 1), Spawned(77, 1, host=True), Reaped(1, 9)):
        world.spawner.send(report)
    world.turn()
    assert not world.front_dropped


# -- resuming (docs/protocol.md 5.6) -------------------------------------------------------------

PUBLIC = b"p" * 32


def resumable(number: int) -> Login:
    offers, proof = [b"other", b"blob"], Proof(1, "ssh-ed25519", b"")
    found = login(number)
    return msgspec.structs.replace(found, offers=offers, proof=proof, resume_key=PUBLIC)


def resuming(number: int, record: bytes) -> Login:
    resume = Resume(PUBLIC, record, "1", b"c" * 16, b"t" * 16, b"s" * 64)
    return msgspec.structs.replace(login(number), offers=[b"blob"], resume=resume)


def judged(world: World, request: Login, judgement: Judgement) -> tuple[SpawnLogin, Verdict]:
    world.ask(request)
    spawn, (link,) = world.asked()
    assert isinstance(spawn, SpawnLogin)
    world.open.append(child := PacketSocket(socket.socket(fileno=link), HostReport))
    world.judge(child, judgement)
    answer = world.verdict()
    assert answer is not None
    for descriptor in answer[1]:
        os.close(descriptor)
    if judgement.grant is not None:
        world.open += [socket.socket(fileno=each) for each in world.asked()[1]]
    return spawn, answer[0]


ACCEPTED = Judgement(Outcome.ACCEPTED, grant=grant(), resumable=True)


def test_a_login_gets_a_record_of_its_key(world: World) -> None:
    for number in (1, 2):
        assert world.handshake(number)
    spawn, verdict = judged(world, resumable(1), ACCEPTED)
    assert spawn.resumes is None
    spawn, again = judged(world, resuming(2, verdict.resume), ACCEPTED)
    assert spawn.resumes == os.getuid()
    assert again.resume == b"", "the record that it has stays good"
    assert "Accepted publickey for anna" in (log := world.log())
    assert "Accepted resume for anna" in log


@pytest.mark.parametrize(
    ("changes", "judgement"),
    [
        ({}, Judgement(Outcome.ACCEPTED, grant=grant())),
        ({}, Judgement(Outcome.CONTINUE, [1], resumable=True)),
        ({}, Judgement(Outcome.REFUSED, resumable=True)),
        ({"resume_key": b""}, ACCEPTED),
        ({"resume_key": b"short"}, ACCEPTED),
    ],
)
def test_who_gets_no_record(world: World, changes: dict[str, Any], judgement: Judgement) -> None:
    assert world.handshake(1)
    _, verdict = judged(world, msgspec.structs.replace(resumable(1), **changes), judgement)
    assert verdict.resume == b""


def test_a_record_of_another_server_is_judged_like_none(world: World) -> None:
    """The login child runs all the same: a refusal takes as long as any."""
    assert world.handshake(1)
    spawn, verdict = judged(
        world, resuming(1, bytes(36)), Judgement(Outcome.REFUSED, reason="the record is not ours")
    )
    assert spawn.resumes is None
    assert verdict.outcome == Outcome.REFUSED
    assert "Failed resume for anna" in world.log()


# -- session hosts that go on (docs/architecture.md 2.19) -----------------------------------------

HOST_PID = 1 << 22
"""Of nobody."""
ADOPTED = Judgement(Outcome.ACCEPTED, grant=grant(), rights=b"same", adopts=HOST_PID)


@pytest.fixture
def orphaned(world: World) -> World:
    """A session host whose front has ended, and two handshakes with the next one."""
    assert world.handshake(1)
    spawn, _ = judged(world, login(1), Judgement(Outcome.ACCEPTED, grant=grant(), rights=b"same"))
    world.spawner.send(Spawned(spawn.number, HOST_PID, host=True))
    world.turn()
    world.monitor._front.since_s = 0.0
    world.monitor._front_ended()
    world.take_front()
    assert world.handshake(2)
    assert world.handshake(3)
    return world


def resumes(world: World, number: int) -> tuple[SpawnLogin, PacketSocket[Any]]:
    """What the spawner is asked, and the login child."""
    world.ask(resuming(number, bytes(36)))
    return spawned(world)


def spawned(world: World) -> tuple[SpawnLogin, PacketSocket[Any]]:
    spawn, (link,) = world.asked()
    assert isinstance(spawn, SpawnLogin)
    world.open.append(child := PacketSocket(socket.socket(fileno=link), HostReport))
    return spawn, child


def session_of(world: World) -> str:
    """Which one the front is told of, with a socket to it."""
    answer = world.verdict()
    assert answer is not None
    verdict, (host,) = answer
    os.close(host)
    assert verdict.outcome == Outcome.ACCEPTED
    return verdict.session


def test_two_clients_of_one_host_come_back_at_once(orphaned: World) -> None:
    """Both login children find it free. One has it, the other is judged again, and gets a host of its own."""
    (one, first), (two, second) = resumes(orphaned, 2), resumes(orphaned, 3)
    assert one.orphans == two.orphans == {HOST_PID: b"same"}
    orphaned.judge(first, ADOPTED)
    assert session_of(orphaned) == "1"
    orphaned.judge(second, ADOPTED)
    assert orphaned.verdict() is None
    again, third = spawned(orphaned)
    assert (again.login, again.host_key, again.orphans) == (two.login, two.host_key, {})
    orphaned.judge(third, Judgement(Outcome.ACCEPTED, grant=grant(), rights=b"same"))
    assert session_of(orphaned) == str(again.number)
    assert isinstance(orphaned.asked()[0], SpawnSession)


@pytest.mark.parametrize(
    "changes", [{"rights": b"others"}, {"adopts": HOST_PID + 1}, {"adopts": -1}]
)
def test_a_host_with_other_rights_goes_on_for_nobody(
    orphaned: World, changes: dict[str, Any]
) -> None:
    _, child = resumes(orphaned, 2)
    orphaned.judge(child, msgspec.structs.replace(ADOPTED, **changes))
    assert orphaned.verdict() is None
    assert spawned(orphaned)[0].orphans == {}
    assert resumes(orphaned, 3)[0].orphans == {HOST_PID: b"same"}, "it is still to be had"


def test_a_host_that_hears_nothing_goes_on_for_nobody(orphaned: World) -> None:
    (hosted,) = (each for each in orphaned.monitor._children.sessions.values() if each.orphan)
    orphaned.monitor._children.forget(hosted)
    assert resumes(orphaned, 2)[0].orphans == {}


# -- clients that move (docs/protocol.md 5.9) ----------------------------------------------------

ELSEWHERE = ("198.51.100.7", 4712)


def moving(world: World) -> tuple[SpawnLogin, PacketSocket[Any]]:
    """An admitted login has moved; what the spawner is asked, and the child."""
    world.ask(Moved(login(1).session_id, ELSEWHERE))
    spawn, (link,) = world.asked()
    assert isinstance(spawn, SpawnLogin)
    world.open.append(child := PacketSocket(socket.socket(fileno=link), HostReport))
    return spawn, child


@pytest.fixture
def let_in(world: World) -> World:
    assert world.handshake(1)
    judged(world, login(1), Judgement(Outcome.ACCEPTED, grant=grant()))
    world.log()
    return world


@pytest.mark.parametrize(
    ("judgement", "verdict", "told"),
    [
        (
            Judgement(Outcome.ACCEPTED),
            MoveVerdict(login(1).session_id, Outcome.ACCEPTED),
            "anna from 192.0.2.1 port 4711 qsh: moved to 198.51.100.7 port 4712\n",
        ),
        (
            Judgement(Outcome.REFUSED, reason="from="),
            MoveVerdict(login(1).session_id, Outcome.REFUSED),
            "Refused anna from 192.0.2.1 port 4711 qsh: moved to 198.51.100.7 port 4712: from=\n",
        ),
        (
            Judgement(Outcome.REFUSED, reason=OTHER_RULES),
            MoveVerdict(login(1).session_id, Outcome.REFUSED, rules=True),
            "other rules hold there",
        ),
    ],
)
def test_a_move_is_judged(
    let_in: World, judgement: Judgement, verdict: MoveVerdict, told: str
) -> None:
    spawn, child = moving(let_in)
    assert (spawn.moved_from, spawn.login.client) == (CLIENT, ELSEWHERE)
    assert spawn.then > 0
    let_in.judge(child, judgement)
    assert let_in.front.receive() == (verdict, [])
    assert told in let_in.log()
    spawn, child = moving(let_in)
    accepted = judgement.outcome == Outcome.ACCEPTED
    assert spawn.moved_from == (ELSEWHERE if accepted else CLIENT), "where it may be counts"


def test_one_move_at_a_time_is_judged(let_in: World) -> None:
    moving(let_in)
    let_in.ask(Moved(login(1).session_id, CLIENT))
    assert let_in.front.receive() == (MoveVerdict(login(1).session_id, Outcome.CONTINUE), [])


def test_a_child_that_dies_says_nothing_of_a_move(let_in: World) -> None:
    _, child = moving(let_in)
    child.close()
    let_in.turn()
    assert let_in.front.receive() == (MoveVerdict(login(1).session_id, Outcome.CONTINUE), [])
    let_in.ask(Prove(login(1).session_id))
    assert not let_in.front_dropped, "the login is what it was"


def test_only_who_was_let_in_moves(world: World) -> None:
    assert world.handshake(1)
    world.ask(Moved(login(1).session_id, ELSEWHERE))
    assert world.front_dropped


def test_who_has_no_session_any_more_does_not_move(let_in: World) -> None:
    """Its host may have ended, or given up its socket: that runs with its user's rights."""
    for host in let_in.open[-2:]:
        host.close()
    let_in.turn()
    let_in.ask(Moved(login(1).session_id, ELSEWHERE))
    assert let_in.front.receive() == (MoveVerdict(login(1).session_id, Outcome.REFUSED), [])


def test_a_users_own_qshd_ends_when_nobody_has_been_there_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    for each in (module, judging):
        monkeypatch.setattr(each, "monotonic_s", lambda: now_s)
    monitor = world.monitor
    monitor.idle_s = 50.0
    world.turn()
    assert monitor._timeout() == 50.0
    world.handshake(1)
    child = world.child(1)
    now_s += 60.0
    world.turn()
    assert not monitor._stop  # somebody is being judged
    world.judge(child, Judgement(Outcome.REFUSED, "no"))
    assert monitor._timeout() == 50.0
    now_s += 49.0
    world.turn()
    assert not monitor._stop
    now_s += 2.0
    world.turn()
    assert monitor._stop


def test_qshd_never_ends_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "monotonic_s", lambda: 1e9)
    world.turn()
    assert world.monitor._timeout() is None
    assert not world.monitor._stop


@pytest.mark.parametrize("offers", [[], [b"blob"]])
def test_a_refused_proof_for_an_offer_that_is_none_ends_nobody(
    world: World, offers: list[bytes]
) -> None:
    world.handshake(1)
    odd = msgspec.structs.replace(login(1), offers=offers, proof=Proof(7, "ssh-ed25519", b"x"))
    world.ask(odd)
    _, (link,) = world.asked()
    world.open.append(child := PacketSocket(socket.socket(fileno=link), HostReport))
    world.judge(child, Judgement(Outcome.REFUSED, reason="no such offer"))
    answer = world.verdict()
    assert answer is not None
    assert answer[0].outcome == Outcome.REFUSED
