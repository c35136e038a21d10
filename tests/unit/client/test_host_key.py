"""StrictHostKeyChecking, known_hosts written, OpenSSH's words."""

from __future__ import annotations

import asyncio
import stat
from typing import TYPE_CHECKING

import pytest

from qsh.auth.key_proof import proof_data
from qsh.auth.known_hosts import format_line
from qsh.auth.private import PrivateKey
from qsh.client.host_key import HostKeyPolicy, KnownHost
from qsh.client.host_key_update import update
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


# -- UpdateHostKeys ------------------------------------------------------------------------------


def line(keys: Keys, number: int, names: str = "host.example") -> str:
    return f"{names} {keys[number][1].line()}\n"


def blobs(keys: Keys, *numbers: int) -> list[bytes]:
    return [keys[number][1].blob for number in numbers]


def test_keys_that_are_learned(file: Path, keys: Keys) -> None:
    write(file, "# mine\n" + line(keys, 0) + line(keys, 2))
    host = known(file)
    found = host.unknown(keys[0][1], blobs(keys, 1, 2, 3, 1))
    assert found == [keys[1][1], keys[3][1]], "those that are not known, each once"
    before = file.read_text()
    host.learn(found)
    added = [f"host.example {key.type} {key.base64()}" for key in found]
    assert file.read_text().splitlines() == [*before.splitlines(), *added]
    assert known(file).unknown(keys[0][1], blobs(keys, 1, 2, 3)) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{1}",
        "other.example {0}",
        "*.example {0}",
        "host.example,192.0.2.1 {0}",
        "host.example {0}\nhost.* {4}",
        "host.example {0}\nother.example {1}",
        "host.example {0}\n@revoked * {1}",
        "@cert-authority host.example {0}",
    ],
)
def test_when_nothing_is_learned(file: Path, keys: Keys, text: str) -> None:
    write(file, text.format(*(key.line() for _, key in keys)) + "\n")
    assert known(file).unknown(keys[0][1], blobs(keys, 1)) == []


def test_keys_of_others_and_nonsense_are_not_learned(file: Path, keys: Keys) -> None:
    write(file, line(keys, 0))
    assert known(file, port=4433).unknown(keys[0][1], blobs(keys, 1)) == [], (
        "known without the port"
    )
    assert known(file).unknown(keys[0][1], [b"", b"nonsense", keys[0][1].blob]) == []
    host = known(file, "no")
    host.check(keys[1][1], "192.0.2.1", [], Answers())
    assert host.changed
    assert host.unknown(keys[1][1], blobs(keys, 2)) == []


def test_a_global_file_is_not_the_users(file: Path, keys: Keys) -> None:
    write(file, line(keys, 0))
    policy = HostKeyPolicy(strict="ask", user_files=["/nonesuch"], global_files=[str(file)])
    host = KnownHost(policy, "host.example", 22, 22)
    assert host.unknown(keys[0][1], blobs(keys, 1)) == []


def test_hashed_names_stay_hashed(file: Path, keys: Keys) -> None:
    write(file, format_line(["host.example"], keys[0][1], hashed=True))
    host = known(file)
    host.learn(host.unknown(keys[0][1], blobs(keys, 1)))
    assert "host.example" not in file.read_text()
    assert known(file).unknown(keys[0][1], blobs(keys, 1, 2)) == [keys[2][1]]


class Proving:
    """A host that proves its keys, or something like it."""

    def __init__(self, keys: Keys, session_id: bytes = b"i" * 46, signer: int = 1) -> None:
        self.connection, self.session_id = self, b"i" * 46
        self.other_keys = blobs(keys, 1)
        key = PrivateKey.load(keys[signer][0].encode(), None, "k")
        self.proofs = [key.sign(proof_data(session_id, self.other_keys[0]))]

    async def prove_keys(self) -> list[bytes]:
        return self.proofs


@pytest.mark.parametrize(
    ("answers", "learned"), [(None, True), (("yes",), True), (("x", "no"), False), ((None,), False)]
)
def test_proofs_and_the_question(
    file: Path, keys: Keys, messages: list[str], answers: tuple[str, ...] | None, learned: bool
) -> None:
    write(file, line(keys, 0))
    host, link = known(file), Proving(keys)
    prompter = None if answers is None else Answers(*answers)
    asyncio.run(update(link, host, host.unknown(keys[0][1], link.other_keys), prompter))  # type: ignore[arg-type]
    assert (keys[1][1].base64() in file.read_text()) is learned
    assert f"Learned new hostkey: ED25519 {keys[1][1].fingerprint()}" in messages
    assert prompter is None or prompter.asked[0] == "Accept updated hostkeys? (yes/no): "


@pytest.mark.parametrize("wrong", ["session", "key", "none", "nonsense"])
def test_what_is_no_proof(file: Path, keys: Keys, messages: list[str], wrong: str) -> None:
    write(file, line(keys, 0))
    host = known(file)
    link = Proving(
        keys, *([b"j" * 46] if wrong == "session" else []), signer=2 if wrong == "key" else 1
    )
    link.proofs = {"none": [], "nonsense": [b"x"]}.get(wrong, link.proofs)
    asyncio.run(update(link, host, host.unknown(keys[0][1], link.other_keys), None))  # type: ignore[arg-type]
    assert file.read_text() == line(keys, 0)
    assert not any("Learned" in message for message in messages)
