"""StrictHostKeyChecking, known_hosts written, OpenSSH's words."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from qsh.client.host_key import HostKeyPolicy, KnownHost
from qsh.client.prompt import Prompter
from qsh.errors import HostKeyError

if TYPE_CHECKING:
    from pathlib import Path

    from qsh.auth.keys import PublicKey

    Keys = list[tuple[str, PublicKey]]


class Answers(Prompter):
    """A person with prepared answers."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__()
        self.answers, self.asked = list(answers), []

    def line(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.answers.pop(0)


def known(
    path: Path, strict: str = "ask", *, hashed: bool = False, port: int = 22, revoked: str = ""
) -> KnownHost:
    policy = HostKeyPolicy(
        strict=strict,
        user_files=[str(path)],
        global_files=[],
        hash_names=hashed,
        revoked_files=[revoked] if revoked else [],
    )
    return KnownHost(policy, "host.example", port, 22)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dir" / "known_hosts"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def test_unknown_yes_refuses(file: Path, keys: Keys) -> None:
    with pytest.raises(HostKeyError, match="Host key verification failed"):
        known(file, "yes").check(keys[0][1], "192.0.2.1", [], Answers())
    assert not file.exists()


@pytest.mark.parametrize("strict", ["accept-new", "no", "off"])
def test_unknown_is_added(file: Path, keys: Keys, strict: str, messages: list[str]) -> None:
    known(file, strict).check(keys[0][1], "192.0.2.1", [], Answers())
    assert file.read_text() == f"host.example ssh-ed25519 {keys[0][1].base64()}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    added = "Warning: Permanently added 'host.example' (ED25519) to the list of known hosts."
    assert added in messages
    assert known(file).trusted == [keys[0][1].spki()]


def test_asked(file: Path, keys: Keys) -> None:
    person = Answers("maybe", "yes")
    known(file, port=2222).check(keys[0][1], "192.0.2.1", [], person)
    assert person.asked[0].startswith(
        "The authenticity of host '[host.example]:2222 (192.0.2.1)' can't be established.\n"
        f"ED25519 key fingerprint is {keys[0][1].fingerprint()}.\n"
    )
    assert person.asked[1] == "Please type 'yes', 'no' or the fingerprint: "
    assert file.read_text().startswith("[host.example]:2222 ")


@pytest.mark.parametrize("answer", ["no", None, ""])
def test_asked_and_refused(file: Path, keys: Keys, answer: str | None) -> None:
    with pytest.raises(HostKeyError, match="Host key verification failed"):
        known(file).check(keys[0][1], "192.0.2.1", [], Answers(answer))
    assert not file.exists()


def test_fingerprint_is_an_answer(file: Path, keys: Keys) -> None:
    known(file).check(keys[0][1], "192.0.2.1", [], Answers(keys[0][1].fingerprint()))
    assert file.exists()


def test_hashed_and_appended_on_a_line_of_its_own(file: Path, keys: Keys) -> None:
    write(file, f"other ssh-ed25519 {keys[1][1].base64()}")
    known(file, "accept-new", hashed=True).check(keys[0][1], "192.0.2.1", [], Answers())
    lines = file.read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("|1|")
    assert known(file).trusted == [keys[0][1].spki()]


def test_changed(file: Path, keys: Keys) -> None:
    write(file, f"host.example ssh-ed25519 {keys[1][1].base64()}\n")
    for strict in ("ask", "yes", "accept-new"):
        with pytest.raises(HostKeyError) as caught:
            known(file, strict).check(keys[0][1], "192.0.2.1", [], Answers())
        text = str(caught.value)
        assert "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @" in text
        assert f"Offending ED25519 key in {file}:1" in text
        assert text.endswith("Host key verification failed.")


def test_changed_and_unchecked(file: Path, keys: Keys, messages: list[str]) -> None:
    write(file, f"host.example ssh-ed25519 {keys[1][1].base64()}\n")
    known(file, "no").check(keys[0][1], "192.0.2.1", [], Answers())
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in messages[-1]


def test_revoked(file: Path, keys: Keys, tmp_path: Path) -> None:
    write(file, f"@revoked * ssh-ed25519 {keys[0][1].base64()}\n")
    host = known(file, "no")
    assert host.revoked == [keys[0][1].spki()]
    with pytest.raises(HostKeyError, match="REVOKED HOST KEY DETECTED"):
        host.check(keys[0][1], "192.0.2.1", [], Answers())
    assert "REVOKED" in str(host.revoked_error())
    revoked = tmp_path / "revoked"
    revoked.write_text(keys[2][1].line() + "\n")
    assert keys[2][1].spki() in known(file, revoked=str(revoked)).revoked


def test_unreadable_revocation_list_refuses(file: Path, tmp_path: Path) -> None:
    krl = tmp_path / "krl"
    krl.write_bytes(b"SSHKRL\n\0\0\0\0\1")
    for path in (str(krl), str(tmp_path / "nothing")):
        with pytest.raises(HostKeyError):
            known(file, revoked=path)


def test_another_port_of_a_known_host_is_trusted(file: Path, keys: Keys) -> None:
    write(file, f"host.example ssh-ed25519 {keys[0][1].base64()}\n")
    assert known(file, port=4433).trusted == [keys[0][1].spki()]


def test_unwritable_file_is_no_obstacle(file: Path, keys: Keys, messages: list[str]) -> None:
    file.parent.write_text("not a directory")
    known(file, "accept-new").check(keys[0][1], "192.0.2.1", [], Answers())
    assert any("Failed to add the host to the list of known hosts" in line for line in messages)
