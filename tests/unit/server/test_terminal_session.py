"""Terminals in the session host: real programs on real terminals, the front and the client played by the test."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from qsh.server.requests import (
    ChannelFailed,
    ChannelOpened,
    OpenChannel,
)
from qsh.server.session_question import holds
from qsh.terminal.screen import Screen
from qsh.wire.messages import Attach, Pty
from qsh.wire.terminal import (
    Detach,
    Detached,
    Ended,
    EndedAck,
    FetchHistory,
    Frame,
    HistoryLines,
    HostFrame,
    Input,
    Output,
    Report,
    Resized,
    decode_datagram,
    encode,
    encode_datagram,
)
from tests.unit.server.played_host import LIMIT_S, ME, OTHER, Client, Played, close_clients, end_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    close_clients()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path, detached_max=60)
    yield played
    if played.thread.is_alive():
        end_all(played, tmp_path)
    played.close()


def test_a_shell_echoes_and_its_exit_status_arrives(host: Played) -> None:
    client = host.open(b"read x; echo got-$x; exit 7")
    client.type(b"word\r")
    client.saw(b"got-word\r\n")
    assert bytes(client.shown).startswith(b"word\r\n"), "the kernel's echo"
    ended = client.last(Ended)
    assert (ended.status, ended.offset) == (7, client.offset)
    assert client.applied == client.typed
    client.send(EndedAck())
    client.close()


def test_the_kernels_echo_settles_what_was_typed(host: Played) -> None:
    client = host.open(b"cat")
    client.type(b"abc")
    client.saw(b"abc")
    client.until(lambda: client.settled == 3)
    assert client.states[-1].flags & 3 == 3
    assert client.states[-1].intr == 3
    client.close()


def test_a_secret_is_told(host: Played) -> None:
    client = host.open(b"stty -echo; echo ready; read x; stty echo; echo open; cat")
    client.saw(b"ready")
    client.until(lambda: bool(client.states) and client.states[-1].flags & 3 == 2)
    client.type(b"hidden\r")
    client.saw(b"open")
    client.type(b"x")
    client.until(lambda: client.states[-1].flags & 3 == 3)
    assert b"hidden" not in client.shown
    client.close()


def test_input_comes_once_by_whatever_way(host: Played) -> None:
    client = host.open(b"stty raw -echo; echo ready; head -c 6 | od -An -c; exit 0")
    client.saw(b"ready")
    client.datagrams.send(encode_datagram(Input(0, b"abc")))
    client.until(lambda: client.applied == 3)
    client.send(Input(0, b"abc"))
    client.datagrams.send(encode_datagram(Input(0, b"abc")))
    client.datagrams.send(encode_datagram(Input(9, b"zzz")))
    client.datagrams.send(b"\xc1 not a message")
    client.send(Input(3, b"def"))
    client.last(Ended)
    assert bytes(client.shown).split(b"ready")[1].split() == [b"a", b"b", b"c", b"d", b"e", b"f"]
    client.close()


def test_a_gap_ends_only_the_attachment(host: Played) -> None:
    client = host.open(b"cat")
    client.send(Input(5, b"x"))
    assert client.last(Detached).reason == "input-gap"
    client.until(lambda: client.eof)
    client.close()
    again = Client(OTHER)
    assert client.attached is not None
    host.attach(client.attached.name, again)
    again.type(b"alive\r")
    again.saw(b"alive")
    again.close()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Report(1 << 40), b"bad-offset"),
        (None, b"bad-message"),
    ],
)
def test_a_mad_client_is_put_out(host: Played, bad: Any, reason: bytes) -> None:
    client = host.open(b"cat")
    client.stream.sendall(encode(bad) if bad is not None else b"\0\0\0\1\xc1")
    assert client.last(Detached).reason == reason.decode()
    client.close()


def test_a_lost_client_resumes_and_nothing_is_lost_or_doubled(host: Played) -> None:
    client = host.open(b"stty raw -echo; i=0; while read -r x; do echo $x; done")
    client.type(b"one\n")
    client.saw(b"one\n")
    assert client.attached is not None
    for number in range(5):
        shown = client.offset
        client.send(Input(client.typed, word := f"word-{number}\n".encode(), client.offset))
        if number % 2:
            client.saw(word)
            shown = client.offset
        client.close()
        fresh = Client()
        fresh.shown, fresh.typed = client.shown, client.typed
        host.attach(
            client.attached.name,
            fresh,
            channel=20 + 4 * number,
            ticket=client.attached.ticket,
            consumed=shown,
        )
        assert fresh.attached is not None
        assert fresh.attached.start == shown
        assert fresh.attached.received in (client.typed, client.typed + len(word))
        missing = word[fresh.attached.received - client.typed :]
        fresh.typed = fresh.attached.received
        if missing:
            fresh.type(missing)
        fresh.saw(word)
        client = fresh
    expected = b"one\n" + b"".join(b"word-%d\n" % n for n in range(5))
    assert bytes(client.shown).endswith(expected)
    assert not client.frames, "all of it was in the log"
    client.close()


@pytest.mark.parametrize("heard", [b"", b"tw", b"two\n"])
def test_what_was_typed_comes_along_with_attach_and_counts_once(host: Played, heard: bytes) -> None:
    client = host.open(b"stty raw -echo; while read -r x; do echo $x; done")
    client.type(b"one\n")
    client.saw(b"one\n")
    assert client.attached is not None
    at, shown = client.typed, client.offset
    if heard:
        client.send(Input(at, heard, shown))
    fresh = Client()
    fresh.shown, fresh.typed = client.shown, at + 4
    ticket = client.attached.ticket
    host.attach("1", fresh, ticket=ticket, consumed=shown, typed=b"two\n", typed_from=at)
    assert fresh.attached is not None
    assert fresh.attached.received == at + 4
    fresh.saw(b"two\n")
    fresh.type(b"end\n")
    fresh.saw(b"end\n")
    assert bytes(fresh.shown).endswith(b"one\ntwo\nend\n")
    fresh.close()
    client.close()


def test_who_has_no_ticket_types_nothing_by_attach(host: Played) -> None:
    client = host.open(b"cat")
    stranger = Client(OTHER)
    host.attach("1", stranger, typed=b"word")
    assert stranger.attached is not None
    assert stranger.attached.received == 0
    stranger.close()
    client.close()


def test_the_end_waits_for_the_next_client(host: Played) -> None:
    client = host.open(b"read x; echo last words; exit 3")
    assert client.attached is not None
    client.send(Input(0, b"\r"))
    client.close()
    late = Client()
    host.attach("1", late, ticket=client.attached.ticket, consumed=0)
    assert late.attached is not None
    if not late.attached.received:
        late.type(b"\r")
    late.saw(b"last words")
    assert late.last(Ended).status == 3
    late.send(EndedAck())
    late.until(lambda: late.eof)
    late.close()
    answer, _ = host.ask(OpenChannel(16, "attach", b"1", terminal=Attach(ME)))
    assert isinstance(answer, ChannelFailed)
    assert answer.code == "session-lost"


def test_a_user_detaches(host: Played) -> None:
    client = host.open(b"cat")
    client.send(Detach())
    assert client.last(Detached).reason == "requested"
    client.close()


def test_the_smallest_window_wins(host: Played) -> None:
    client = host.open(b"while read x; do stty size; done")
    client.send(Resized(0, 65535, 65535))
    client.send(Resized(0, 50, 120))
    client.type(b"\r")
    client.saw(b"50 120")
    small = Client(OTHER)
    answer, descriptors = host.ask(
        OpenChannel(8, "attach", b"1", Pty("", 30, 200), terminal=Attach(OTHER))
    )
    assert isinstance(answer, ChannelOpened)
    small.take(descriptors)
    client.type(b"\r")
    client.saw(b"30 120")
    small.close()
    client.type(b"\r")
    client.until(lambda: bytes(client.shown).count(b"50 120") == 2 or len(client.frames) > 0)
    client.close()


def test_a_question_is_answered_by_one_side(host: Played) -> None:
    """By the client's terminal while it gets raw output; by the host when nobody is attached."""
    ask = b"stty raw -echo; printf '\\033[6n'; x=$(dd bs=1 count=6 2>/dev/null | od -An -tx1); echo $x"
    client = host.open(ask + b"; read y; printf '\\033[6n'; dd bs=1 count=6 2>/dev/null; cat")
    client.saw(b"\x1b[6n")
    client.type(b"\x1b[9;9R")
    client.saw(b"1b 5b 39 3b 39 52")
    client.send(Input(client.typed, b"\n"))
    client.close()
    late = Client(OTHER)
    host.attach("1", late)
    late.until(lambda: bool(late.frames))
    late.close()


def test_a_flood_is_held_back(host: Played) -> None:
    client = host.open(b"yes")
    client.saw(b"y\r\ny", report=False)
    sizes = []
    for _ in range(20):
        sizes.append(client.offset)
        client.until(lambda: bool(select.select([client.stream], [], [], 0.05)[0]) or True)
        if select.select([client.stream], [], [], 0)[0]:
            client._read(report=False)
    assert client.offset <= 256 * 1024
    client.type(b"\x03")
    client.send(Report(client.offset, 1000))
    ended = client.last(Ended)
    assert ended.signal == "INT"
    client.close()


def test_history_can_be_fetched(host: Played) -> None:
    client = host.open(b"seq 100; cat")
    client.saw(b"100\r\n")
    client.send(FetchHistory(7, 0, 1000))
    lines = client.last(HistoryLines)
    assert lines.number == 7
    assert [bytes(text) for text, _ in lines.lines][:3] == [b"1", b"2", b"3"]
    client.close()


def test_output_goes_as_a_datagram_too(host: Played) -> None:
    client = host.open(b"cat")
    client.type(b"q")
    client.saw(b"q", report=False)
    deadline = time.monotonic() + LIMIT_S
    seen: list[Any] = []
    while not any(isinstance(m, Output) and b"q" in m.data for m in seen):
        assert time.monotonic() < deadline
        if select.select([client.datagrams], [], [], 0.1)[0]:
            seen.append(decode_datagram(client.datagrams.recv(2048), HostFrame))
    client.close()


def test_a_client_that_shows_nothing_is_skipped_and_ends_with_the_same_screen(host: Played) -> None:
    """The screen is right after frames and raw bytes, and so is the history but for what is said to be missing."""
    client = host.open(b"seq 300000; printf ready; cat")
    client.until(lambda: len(client.messages) > 1, report=False)
    assert client.attached is not None
    screen = Screen(24, 80, history_lines=400_000)
    since = time.monotonic()
    while time.monotonic() - since < 1.5:  # shows nothing
        if select.select([client.stream], [], [], 0.1)[0]:
            client._read(report=False)
    client.send(Report(client.offset, 1000))
    client.until(lambda: any(frame.final for frame in client.frames))
    assert any(frame.skipped_end > 10_000 for frame in client.frames)
    client.type(b"typed")
    client.until(lambda: isinstance(client.messages[-1], Output) and client.applied == 5)
    client.until(lambda: b"typed" in client.shown or b"typed" in client.frames[-1].data)
    for message in client.messages:
        if isinstance(message, Output | Frame):
            screen.feed(message.data)
    rows = [screen.row_text(row) for row in range(24)]
    assert rows == [str(number) for number in range(299_978, 300_001)] + ["readytyped"]
    lines = [bytes(text) for text, _ in screen.history(0, 400_000, plain=True, max_bytes=1 << 24)]
    numbers = [int(line) for line in lines if line.strip().isdigit()]
    assert numbers == sorted(set(numbers)), "no line twice, none out of order"
    assert sum(b"lines skipped" in line for line in lines) >= 1


def test_ctrl_c_reaches_a_flood_whose_client_is_slow(host: Played) -> None:
    client = host.open(b"trap 'echo stopped; exit 5' INT; while :; do echo yyyyyyyyyyyyyyyy; done")
    client.until(lambda: client.offset > 10_000)
    client.type(b"\x03")
    client.saw(b"stopped")
    assert client.last(Ended).status == 5


def test_storms_of_sizes_and_reports_do_no_harm(host: Played) -> None:
    client = host.open(b"read x; stty size; cat")
    for number in range(3000):
        client.send(Resized(0, 1 + number % 700, 1 + number * 7 % 3000))
    client.send(Resized(0, 33, 44))
    client.type(b"\r")
    client.saw(b"33 44")


def test_input_faster_than_the_program_reads(host: Played) -> None:
    client = host.open(b"stty raw -echo; echo ready; sleep 1; head -c 300000 | wc -c")
    client.saw(b"ready")
    sender = threading.Thread(
        target=lambda: [client.type(b"z" * 10_000) for _ in range(30)], daemon=True
    )
    sender.start()
    client.saw(b"300000")
    sender.join(LIMIT_S)


def test_a_client_that_falls_silent_counts_no_more(
    host: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsh.server.attachment.SILENT_S", 0.3)
    dead, other = (
        host.open(b"stty -echo; echo ready; while read x; do stty size; done"),
        Client(OTHER),
    )
    assert dead.attached is not None
    dead.saw(b"ready")
    dead.send(Resized(0, 10, 40))
    host.attach(dead.attached.name, other)

    def row() -> tuple[int, int, int]:
        (found,) = json.loads(host.command(b"list")[1])
        return found["attached"], found["silent"], found["cols"]

    def types_until(size: bytes) -> None:
        for _ in range(1000):
            other.type(b"\r")
            other.until(lambda: other.settled == other.typed)
            if bytes(other.shown).endswith(size) or any(size in f.data for f in other.frames[-1:]):
                return
            time.sleep(0.01)
        raise AssertionError(size)

    types_until(b"10 40\r\n")
    assert row() == (2, 0, 40)
    types_until(b"24 80\r\n")
    assert row() == (1, 1, 80)
    dead.until(lambda: dead.offset >= other.offset)
    types_until(b"10 40\r\n")
    assert row() == (2, 0, 40)
    for client in (dead, other):
        client.close()


def test_a_terminal_says_whom_it_knows(host: Played, tmp_path: Path) -> None:
    """What a login child asks when a client comes back (docs/protocol.md 5.7)."""
    client = host.open(b"read x")
    assert client.attached is not None
    path, name, ticket = (
        str(tmp_path / "sessions" / str(os.getuid())),
        client.attached.name,
        client.attached.ticket,
    )
    assert holds(path, name, ME, ticket)
    assert not holds(path, name, OTHER, ticket)
    assert not holds(path, name, ME, bytes(16))
    assert not holds(path, name, ME, b"")
    assert not holds(path, "2", ME, ticket)
    assert not holds(path, "../" + name, ME, ticket)
    assert not holds(str(tmp_path), name, ME, ticket)
    client.type(b"\r")
    client.until(lambda: isinstance(client.messages[-1], Ended))
    assert holds(path, name, ME, ticket), "its end is still to be delivered"
    client.send(EndedAck())
    client.stream.close()
    host.leave()
    host.thread.join(LIMIT_S)
    assert not holds(path, name, ME, ticket)
