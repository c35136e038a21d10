"""A login that may do nothing but transfer files: ForceCommand internal-sftp, as sshd has it."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

INIT = struct.pack(">IBI", 5, 1, 3)
"""SSH_FXP_INIT of version 3 (draft-ietf-secsh-filexfer-02 4)."""

pytestmark = pytest.mark.tool("/usr/lib/openssh/sftp-server")


@pytest.fixture(scope="module", params=["internal-sftp", "internal-sftp -l INFO -R"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"ForceCommand {request.param}")
    yield server
    server.stop()


@pytest.mark.parametrize("options", [("-s",), ()])
def test_whatever_is_asked_for_it_is_the_sftp_server(
    server: LiveServer, options: tuple[str, ...]
) -> None:
    words = server.command("sftp" if options else "echo not this", options=options)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=server.env
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(INIT)
        client.stdin.flush()
        length, kind, version = struct.unpack(">IBI", client.stdout.read(9))
        client.stdin.close()  # before the answer it would end the server
        rest = client.stdout.read()
    assert (kind, version) == (2, 3), "SSH_FXP_VERSION"
    assert length == 5 + len(rest)


def test_a_program_of_a_similar_name_is_another() -> None:
    """The control: only the word itself stands for the server."""
    from qsh.server.session_rules import _sftp_server

    assert _sftp_server("internal-sftpd") is None
    assert _sftp_server("'internal-sftp") is None
    found = _sftp_server("internal-sftp -d '/a b'")
    assert found is not None
    assert found[1:] == ("-d", "/a b")
