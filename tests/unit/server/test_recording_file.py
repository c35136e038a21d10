"""Files of recordings: names, directories, and writing that leaves whole lines."""

from __future__ import annotations

import os
import resource
import stat
from typing import TYPE_CHECKING

import pytest

from qsh.server.recording_file import open_recording, path_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("anna", "/r/anna/1000/20231114T221320Z.cast"),
        ("CORP\\anna", "/r/CORP_anna/1000/20231114T221320Z.cast"),
        ("../../etc", "/r/_._.._etc/1000/20231114T221320Z.cast"),
        ("..", "/r/_./1000/20231114T221320Z.cast"),
        ("%u", "/r/_u/1000/20231114T221320Z.cast"),
    ],
)
def test_names(user: str, expected: str) -> None:
    assert path_for("/r/%u/%U/%t.cast", user, 1000, 1_700_000_000.0) == expected


def test_a_file_and_its_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.cast"
    names = []
    for text in (b"one\n", b"two\n", b"three\n"):
        file = open_recording(str(path))
        file.write(text)
        file.close()
        file.close()
        names.append(file.path.removeprefix(f"{path.parent}/"))
    assert names == ["x.cast", "x-2.cast", "x-3.cast"]
    assert path.read_bytes() == b"one\n"
    assert (path.parent / "x-3.cast").read_bytes() == b"three\n"
    for each, mode in ((path, 0o600), (path.parent, 0o700), (path.parent.parent, 0o700)):
        assert stat.S_IMODE(each.stat().st_mode) == mode


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "x.cast").symlink_to(target)
    file = open_recording(str(tmp_path / "x.cast"))
    file.close()
    assert file.path.endswith("x-2.cast")
    assert not target.exists()


def test_directories_that_others_can_change(tmp_path: Path) -> None:
    directory = tmp_path / "shared" / "inner"
    directory.mkdir(parents=True)
    directory.parent.chmod(0o775)
    with pytest.raises(PermissionError, match="others can change the directory shared"):
        open_recording(str(directory / "x.cast"))
    directory.parent.chmod(0o1777)
    open_recording(str(directory / "x.cast")).close()


@pytest.mark.root
def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(PermissionError, match="theirs"):
        open_recording(str(tmp_path / "theirs" / "x.cast"))
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    with pytest.raises(PermissionError, match="theirs"):
        open_recording(str(tmp_path / "link" / "x.cast"))


def test_links_of_ours_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "one").symlink_to("real/../two")
    (tmp_path / "two").symlink_to(tmp_path / "real")
    open_recording(str(tmp_path / "one" / "new" / "x.cast")).close()
    assert (tmp_path / "real" / "new" / "x.cast").exists()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        open_recording(str(tmp_path / "loop" / "x.cast"))


@pytest.mark.root
def test_a_link_of_somebody_else(tmp_path: Path) -> None:
    """In a directory for all, as /tmp, it would lead a recording into any of root's directories."""
    tmp_path.chmod(0o1777)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.lchown(tmp_path / "link", 65534, 65534)
    with pytest.raises(PermissionError):
        open_recording(str(tmp_path / "link" / "new" / "x.cast"))
    assert not list((tmp_path / "real").iterdir())


def test_what_does_not_fit_leaves_whole_lines(tmp_path: Path) -> None:
    file = open_recording(str(tmp_path / "x.cast"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        file.write(b"1234\n")
        with pytest.raises(OSError, match="too large"):
            file.write(b"ab\ncdefgh\n")
        assert file.size == 8
        assert (tmp_path / "x.cast").read_bytes() == b"1234\nab\n"
        with pytest.raises(OSError, match="too large"):
            file.write(b"too long a line\n")
        assert (tmp_path / "x.cast").read_bytes() == b"1234\nab\n"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        file.close()
