"""utmp, wtmp and lastlog, read back by the system's own programs."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

import pytest

from qsh.server import login_records
from qsh.server.login_records import (
    LASTLOG,
    UTMP,
    Paths,
    read_last_login,
    record_login,
    record_logout,
)

NOW = 1_795_000_000.25


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(*(str(tmp_path / name) for name in ("utmp", "wtmp", "lastlog")))
    for path in (found.utmp, found.wtmp, found.lastlog):
        Path(path).touch()
    return found


def log_in(paths: Paths, line: str = "pts/3", **more: object) -> list[str]:
    facts: dict[str, object] = {
        "user": "bob",
        "host": "client.example.com",
        "addr": "192.0.2.7",
        "pid": os.getpid(),
        "now": NOW,
    }
    return record_login(line, **{**facts, **more}, paths=paths)  # type: ignore[arg-type]


def records(path: str) -> list[tuple[object, ...]]:
    return list(UTMP.iter_unpack(Path(path).read_bytes()))


def out(*argv: str) -> str:
    env = {"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C"}
    return subprocess.run(argv, capture_output=True, text=True, check=True, env=env).stdout


def test_sizes_are_glibc_s() -> None:
    assert (UTMP.size, LASTLOG.size) == (384, 292)


def test_who_and_last_can_read_a_login(paths: Paths) -> None:
    assert log_in(paths) == []
    shown = out("who", paths.utmp)
    assert shown.split()[:2] == ["bob", "pts/3"]
    assert "(client.example.com)" in shown
    assert "still logged in" in out("last", "-f", paths.wtmp) or "gone" in out(
        "last", "-f", paths.wtmp
    )
    assert "192.0.2.7" in out("last", "-i", "-f", paths.wtmp)


def test_last_shows_how_long(paths: Paths) -> None:
    log_in(paths)
    assert record_logout("pts/3", os.getpid(), NOW + 3660, paths=paths) == []
    assert "(01:01)" in out("last", "-f", paths.wtmp)
    assert out("who", paths.utmp) == ""
    assert len(records(paths.utmp)) == 1
    assert len(records(paths.wtmp)) == 2


def test_utmpdump_reads_every_field(paths: Paths) -> None:
    log_in(paths, addr="2001:db8::5")
    shown = out("utmpdump", paths.wtmp)
    for part in ("[7]", f"[{os.getpid():05}]", "[ts/3", "[bob ", "[pts/3 ", "[2001:db8::5"):
        assert part in shown
    assert time.strftime("%Y-%m-%dT%H:%M:%S,250000", time.gmtime(NOW)) in shown


def test_a_terminal_has_one_entry(paths: Paths) -> None:
    log_in(paths, "pts/3")
    log_in(paths, "pts/4", user="eve")
    record_logout("pts/3", 1, NOW, paths=paths)
    log_in(paths, "pts/3", user="carl")
    assert [record[4].rstrip(b"\0") for record in records(paths.utmp)] == [b"carl", b"eve"]  # type: ignore[attr-defined]


def test_last_login(paths: Paths) -> None:
    assert read_last_login(1000, paths=paths) is None
    log_in(paths, uid=1000)
    assert read_last_login(1000, paths=paths) == (int(NOW), "client.example.com")
    assert read_last_login(999, paths=paths) is None
    assert read_last_login(1001, paths=paths) is None
    seconds, line, host = LASTLOG.unpack(Path(paths.lastlog).read_bytes()[1000 * 292 :])
    assert (seconds, line.rstrip(b"\0"), host.rstrip(b"\0")) == (
        int(NOW),
        b"pts/3",
        b"client.example.com",
    )


def test_lastlog_of_the_system_agrees(paths: Paths) -> None:
    if "-R" not in out("lastlog", "--help"):
        pytest.fail("lastlog(8) without --root")
    log_in(paths, user="root", uid=0)
    if os.geteuid() != 0:
        return  # chroot needs root; the layout is checked above
    root = Path(paths.utmp).parent
    (root / "var/log").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "var/log/lastlog").write_bytes(Path(paths.lastlog).read_bytes())
    shown = out("lastlog", "-R", str(root), "-u", "root")
    assert "pts/3" in shown
    assert "client.example" in shown


def test_missing_files_stay_missing(tmp_path: Path) -> None:
    paths = Paths(*(str(tmp_path / name) for name in ("utmp", "wtmp", "lastlog")))
    assert log_in(paths, uid=0) == []
    assert record_logout("pts/3", 1, NOW, paths=paths) == []
    assert read_last_login(0, paths=paths) is None
    assert list(tmp_path.iterdir()) == []


def test_links_are_not_followed(paths: Paths, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    os.unlink(paths.wtmp)
    os.symlink(target, paths.wtmp)
    complaints = log_in(paths)
    assert len(complaints) == 1
    assert complaints[0].startswith(paths.wtmp)
    assert target.read_bytes() == b""


def test_a_locked_file_costs_little_and_is_reported(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_records, "LOCK_PAUSE_S", 0.0)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:  # locks belong to processes
        held = os.open(paths.wtmp, os.O_RDWR)
        fcntl.lockf(held, fcntl.LOCK_EX)
        os.write(write_end, b"x")
        time.sleep(30)
        os._exit(0)
    try:
        os.read(read_end, 1)
        assert log_in(paths)[0].startswith(paths.wtmp)
        assert len(records(paths.utmp)) == 1
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(read_end)
        os.close(write_end)


def test_half_a_record_is_written_over(paths: Paths) -> None:
    log_in(paths)
    with open(paths.wtmp, "ab") as file:
        file.write(b"half")
    log_in(paths, "pts/4")
    assert os.path.getsize(paths.wtmp) == 2 * UTMP.size


@pytest.mark.parametrize("text", ["x" * 1000, "a\0b", "ü" * 200, ""])
def test_odd_texts_fit(paths: Paths, text: str) -> None:
    assert log_in(paths, text or "x", user=text, host=text, addr=text, uid=3) == []
    assert os.path.getsize(paths.utmp) == UTMP.size
    read_last_login(3, paths=paths)


def test_times_after_2038(paths: Paths) -> None:
    log_in(paths, uid=0, now=3_000_000_000.0)
    assert read_last_login(0, paths=paths) == (3_000_000_000, "client.example.com")


def test_other_machines_get_no_records(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_records, "MACHINES", frozenset())
    assert log_in(paths, uid=0) == []
    assert os.path.getsize(paths.wtmp) == 0
    assert read_last_login(0, paths=paths) is None


def test_mapped_addresses_are_ipv4(paths: Paths) -> None:
    log_in(paths, addr="::ffff:192.0.2.7")
    assert records(paths.utmp)[0][-1] == struct.pack("4B12x", 192, 0, 2, 7)
