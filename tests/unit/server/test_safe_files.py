"""StrictModes and the permissions of host keys."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.server.safe_files import Checked, check_private, read_checked, read_whole

if TYPE_CHECKING:
    from pathlib import Path

UID = os.geteuid()
LIMIT = 100


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir(mode=0o700)
    path = tmp_path / ".ssh" / "authorized_keys"
    path.write_bytes(b"ssh-ed25519 AAAA \xff\n")
    path.chmod(0o600)
    return path


def read(path: Path | str, home: Path, *, strict: bool = True, uid: int = UID) -> Checked:
    return read_checked(str(path), uid, str(home), strict=strict, limit=LIMIT)


def test_reads(keys: Path, tmp_path: Path) -> None:
    assert read(keys, tmp_path) == Checked("ssh-ed25519 AAAA \udcff\n")


def test_a_missing_file_is_nothing_to_say(tmp_path: Path) -> None:
    assert read(tmp_path / "no", tmp_path) == Checked()
    assert read(tmp_path / "no" / "more", tmp_path) == Checked()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_writable_file_is_refused(keys: Path, tmp_path: Path, mode: int) -> None:
    keys.chmod(mode)
    found = read(keys, tmp_path)
    assert found.text is None
    assert found.reason == (
        f"Authentication refused: bad ownership or modes for file {keys.resolve()}"
    )
    assert read(keys, tmp_path, strict=False).text


def test_a_readable_file_is_fine(keys: Path, tmp_path: Path) -> None:
    keys.chmod(0o644)
    assert read(keys, tmp_path).text


@pytest.mark.parametrize("place", [".ssh", "."])
def test_a_writable_directory_is_refused(keys: Path, tmp_path: Path, place: str) -> None:
    directory = (tmp_path / place).resolve()
    directory.chmod(0o775)
    assert read(keys, tmp_path).reason == (
        f"Authentication refused: bad ownership or modes for directory {directory}"
    )
    assert read(keys, tmp_path, strict=False).text


def test_what_is_above_the_home_does_not_count(keys: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert read(keys, tmp_path / ".ssh").text


def test_outside_the_home_everything_counts(keys: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    home = tmp_path / "home"
    home.mkdir()
    assert "for directory" in read(keys, home).reason


@pytest.mark.skipif(UID != 0, reason="chown needs root")
def test_a_file_of_somebody_else_is_refused(keys: Path, tmp_path: Path) -> None:
    os.chown(keys, 4242, -1)
    assert "bad ownership or modes for file" in read(keys, tmp_path).reason
    assert read(keys, tmp_path, uid=4242).text
    os.chown(keys.parent, 4243, -1)
    assert "bad ownership or modes for directory" in read(keys, tmp_path, uid=4242).reason


def test_a_link_is_followed_and_its_target_checked(keys: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(keys)
    assert read(link, tmp_path).text
    keys.chmod(0o666)
    assert str(keys.resolve()) in read(link, tmp_path).reason


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    found = read(link, tmp_path)
    assert found.text is None
    assert "Could not open" in found.reason


@pytest.mark.timeout(5)
def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    assert "is not a regular file" in read(path, tmp_path).reason


def test_devices_and_directories_are_refused(tmp_path: Path) -> None:
    assert "is not a regular file" in read("/dev/zero", tmp_path, strict=False).reason
    assert "is not a regular file" in read(tmp_path, tmp_path).reason


def test_a_large_file_is_refused(keys: Path, tmp_path: Path) -> None:
    keys.write_bytes(b"x" * LIMIT)
    assert len(read(keys, tmp_path).text or "") == LIMIT
    keys.write_bytes(b"x" * (LIMIT + 1))
    assert "larger than 100 bytes" in read(keys, tmp_path).reason


def test_a_file_without_a_size_is_bounded_too(tmp_path: Path) -> None:
    assert "larger than" in read("/proc/self/mountinfo", tmp_path, strict=False).reason


def test_a_path_with_a_nul_is_refused(tmp_path: Path) -> None:
    assert "Could not open" in read("/a\0b", tmp_path).reason


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_keys_that_nobody_else_can_touch(keys: Path, mode: int) -> None:
    keys.chmod(mode)
    assert check_private(str(keys)) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_private_keys_that_others_can_touch(keys: Path, mode: int) -> None:
    keys.chmod(mode)
    text = check_private(str(keys)) or ""
    assert "WARNING: UNPROTECTED PRIVATE KEY FILE!" in text
    assert f"Permissions 0{mode:o} for '{keys}' are too open." in text
    assert text.endswith("This private key will be ignored.")


def test_the_words_are_openssh_s(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    path.chmod(0o644)
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=False
    )
    assert (check_private(str(path)) or "-") in done.stderr.replace("\r\n", "\n")


def test_a_private_key_that_is_not_there_is_for_the_opener(tmp_path: Path) -> None:
    assert check_private(str(tmp_path / "no")) is None


def test_a_file_of_the_systems_is_read_up_to_a_limit(tmp_path: Path) -> None:
    (path := tmp_path / "text").write_bytes(b"x" * 100_000)
    assert read_whole(str(path)) == b"x" * 100_000
    assert read_whole(str(path), 70_000) == b"x" * 70_000
    os.mkfifo(pipe := tmp_path / "pipe")
    assert read_whole(str(pipe)) == b"", "it is not waited for"
