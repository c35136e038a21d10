"""scp, sftp and rsync of this machine with qsh in ssh's place: what they pass, and what arrives."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.drop_in import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.drop_in import DropIn


def _digests(folder: Path) -> dict[str, tuple[str, int, int]]:
    """By name: content, mode, time of last change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (
                digest,
                stat.st_mode & 0o777,
                int(stat.st_mtime),
            )
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several sizes, with odd names, modes and times."""
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    for name, size in (("empty", 0), ("small", 11), ("inner/large ü", 3_000_000)):
        path = tree / name
        path.write_bytes(os.urandom(size))
        path.chmod(0o640)
        os.utime(path, (1_600_000_000, 1_600_000_000 + size))
    (tree / "small").chmod(0o755)
    return tree


# scp


@pytest.mark.tool("scp")
@pytest.mark.parametrize("mode", [(), ("-O",)], ids=["sftp", "legacy"])
def test_scp_both_ways(drop_in: DropIn, tree: Path, tmp_path: Path, mode: tuple[str, ...]) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    drop_in.run("scp", *mode, "-S", "qsh", "-p", "-r", tree, f"{HOST}:{there}")
    assert _digests(there) == _digests(tree)
    drop_in.run("scp", *mode, "-S", "qsh", "-p", "-r", f"{HOST}:{there}", back)
    assert _digests(back) == _digests(tree)
    prefix = ["-x", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "-oRemoteCommand=none"]
    for call in drop_in.calls:
        assert call[: len(prefix)] == prefix
        assert "--" in call


@pytest.mark.tool("scp")
def test_scp_passes_its_options_on(drop_in: DropIn, tree: Path, tmp_path: Path) -> None:
    port, user = str(drop_in.server.port), drop_in.server.user
    options = ("-4", "-C", "-B", "-c", "aes256-ctr", "-i", f"{drop_in.home}/id")
    options += ("-o", "ConnectTimeout=15", "-P", port)
    drop_in.run("scp", "-S", "qsh", *options, tree / "small", f"{user}@127.0.0.1:{tmp_path}/there")
    assert (tmp_path / "there").read_bytes() == (tree / "small").read_bytes()
    (call,) = drop_in.calls
    assert call[call.index("-p") + 1] == port
    assert call[-5:] == [user, "-s", "--", "127.0.0.1", "sftp"]
    assert "-oBatchmode=yes" in call


@pytest.mark.tool("scp")
@pytest.mark.parametrize("mode", [(), ("-O",)], ids=["sftp", "legacy"])
def test_scp_between_two_hosts_through_this_one(
    drop_in: DropIn, tree: Path, tmp_path: Path, mode: tuple[str, ...]
) -> None:
    words = (*mode, "-3", "-S", "qsh", "-p", "-r", f"{HOST}:{tree}", f"{HOST}:{tmp_path}/there")
    drop_in.run("scp", *words)
    assert _digests(tmp_path / "there") == _digests(tree)
    assert len(drop_in.calls) == 2


@pytest.mark.tool("scp")
def test_scp_from_host_to_host(drop_in: DropIn, tree: Path, tmp_path: Path) -> None:
    """-R: the first host runs scp, and that one finds an ssh of its own; here there is no way for it."""
    words = ("-R", "-S", "qsh", f"{HOST}:{tree}/small", f"{HOST}:{tmp_path}/there")
    drop_in.run("scp", *words, status=None)
    (call,) = drop_in.calls
    assert "-oClearAllForwardings=yes" in call
    assert "-n" in call
    assert call[-5:] == ["--", HOST, "scp", f"{tree}/small", f"{HOST}:{tmp_path}/there"]


@pytest.mark.tool("scp")
@pytest.mark.parametrize("mode", [(), ("-O",)], ids=["sftp", "legacy"])
def test_scp_of_what_is_not_there(drop_in: DropIn, tmp_path: Path, mode: tuple[str, ...]) -> None:
    words = ("scp", *mode, "-S", "qsh", f"{HOST}:/no/such/file", tmp_path / "x")
    assert b"No such file" in drop_in.run(*words, status=1).stderr


# sftp


@pytest.mark.tool("sftp")
def test_sftp_batch(drop_in: DropIn, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "batch").write_text(
        f'put -p -r {tree} {tmp_path}/there\nget -p "{tmp_path}/there/inner/large ü" {tmp_path}/back\n'
        f"rename {tmp_path}/there/small {tmp_path}/there/renamed\nls {tmp_path}/there\n"
    )
    done = drop_in.run("sftp", "-S", "qsh", "-b", tmp_path / "batch", HOST)
    assert b"renamed" in done.stdout
    assert (tmp_path / "back").read_bytes() == (tree / "inner/large ü").read_bytes()
    (call,) = drop_in.calls
    assert call[:3] == [
        "-oForwardX11 no",
        "-oPermitLocalCommand no",
        "-oClearAllForwardings yes",
    ]
    assert "-obatchmode yes" in call
    assert call[-4:] == ["-s", "--", HOST, "sftp"]


@pytest.mark.tool("sftp")
def test_sftp_with_a_port_and_a_server_by_path(drop_in: DropIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    batch = f"get {tmp_path}/file {tmp_path}/copy\n".encode()
    port = str(drop_in.server.port)
    path = "/usr/lib/openssh/sftp-server"
    words = ("-S", "qsh", "-P", port, "-s", path, "-b", "-", "127.0.0.1")
    drop_in.run("sftp", *words, stdin=batch)
    assert (tmp_path / "copy").read_text() == "text"
    (call,) = drop_in.calls
    assert f"-oPort {port}" in call
    assert call[-3:] == ["--", "127.0.0.1", path]


@pytest.mark.tool("sftp")
def test_a_batch_that_fails(drop_in: DropIn) -> None:
    words = ("sftp", "-S", "qsh", "-b", "-", HOST)
    assert b"not found" in drop_in.run(*words, stdin=b"get /no/such/file\n", status=1).stderr


@pytest.mark.tool("sftp")
def test_an_unknown_subsystem(drop_in: DropIn) -> None:
    done = drop_in.run("sftp", "-S", "qsh", "-s", "nothing", "-b", "-", HOST, status=255)
    assert b"subsystem request failed" in done.stderr


# the wrappers


@pytest.mark.tool("scp", "sftp")
def test_qscp_and_qsftp(drop_in: DropIn, tree: Path, tmp_path: Path) -> None:
    drop_in.run("qscp", "-p", tree / "small", f"{HOST}:{tmp_path}/there")
    assert (tmp_path / "there").read_bytes() == (tree / "small").read_bytes()
    batch = f"get {tmp_path}/there {tmp_path}/back\n".encode()
    drop_in.run("qsftp", "-b", "-", HOST, stdin=batch)
    assert (tmp_path / "back").read_bytes() == (tree / "small").read_bytes()
    assert len(drop_in.calls) == 2


# rsync


@pytest.mark.tool("rsync")
@pytest.mark.parametrize("command", ["qsh", "qsh -4", 'qsh -o "ConnectTimeout 15"'])
def test_rsync_both_ways(drop_in: DropIn, tree: Path, tmp_path: Path, command: str) -> None:
    there, back = f"{tmp_path}/there/", f"{tmp_path}/back/"
    drop_in.run("rsync", "-a", "-e", command, f"{tree}/", f"{HOST}:{there}")
    assert _digests(tmp_path / "there") == _digests(tree)
    drop_in.run("rsync", "-az", "-e", command, f"{HOST}:{there}", back)
    assert _digests(tmp_path / "back") == _digests(tree)
    assert [call[call.index(HOST) + 1 :][:2] for call in drop_in.calls] == [
        ["rsync", "--server"]
    ] * 2


@pytest.mark.tool("rsync")
def test_rsync_of_many_small_files(drop_in: DropIn, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1000):
        (many / str(number)).write_text(str(number) * 20)
    drop_in.run("rsync", "-a", "-e", "qsh", f"{many}/", f"{HOST}:{tmp_path}/there/")
    assert _digests(tmp_path / "there") == _digests(many)


@pytest.mark.tool("rsync")
def test_rsync_with_a_user(drop_in: DropIn, tree: Path, tmp_path: Path) -> None:
    user = drop_in.server.user
    target = f"{user}@{HOST}:{tmp_path}/there"
    drop_in.run("rsync", "-e", "qsh", tree / "small", target)
    assert (tmp_path / "there").read_bytes() == (tree / "small").read_bytes()
    assert drop_in.calls[0][:4] == ["-l", user, HOST, "rsync"]
