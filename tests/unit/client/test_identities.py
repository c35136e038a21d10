"""Which keys are offered and in which order (OpenSSH sshconnect2.c, pubkey_prepare)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from qsh.auth.agent import Identity
from qsh.auth.signatures import verify
from qsh.client.identities import Candidate, Keyring, order
from qsh.client.prompt import Prompter
from qsh.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qsh.auth.keys import PublicKey

    Keys = list[tuple[str, PublicKey]]


class FakeAgent:
    """Holds public keys; signs by naming the key."""

    def __init__(self, *keys: PublicKey, broken: bool = False) -> None:
        self.keys, self.broken = keys, broken

    def identities(self) -> tuple[Identity, ...]:
        return tuple(Identity(key.blob, key.comment) for key in self.keys)

    def sign(self, blob: bytes, data: bytes, algorithm: str) -> bytes:
        if self.broken:
            raise AgentError("agent refused operation")
        return b"agent:" + blob


class FakePrompter(Prompter):
    """Answers from a list."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[str] = []

    def passphrase(self, prompt: str) -> str | None:
        self.asked.append(prompt)
        return self.answers.pop(0)


def keyring(agent: FakeAgent | None = None, *answers: str | None) -> Keyring:
    return Keyring(agent, FakePrompter(*answers), 3)  # type: ignore[arg-type]


def named(keys: Keys, number: int, *, agent: bool = False) -> Candidate:
    path = "" if agent else f"/id_{number}"
    return Candidate(keys[number][1], path or f"key {number}", path, in_agent=agent)


def numbers(keys: Keys, candidates: list[Candidate]) -> list[int]:
    return [[key for _, key in keys].index(each.public) for each in candidates]


def test_configured_agent_keys_come_first(keys: Keys) -> None:
    agent = [named(keys, number, agent=True) for number in (0, 1, 2)]
    files = [named(keys, number) for number in (2, 3)]
    found = order(files, [], agent, identities_only=False)
    assert numbers(keys, found) == [2, 0, 1, 3]
    assert found[0].in_agent
    assert found[0].path == "/id_2"


def test_identities_only(keys: Keys) -> None:
    agent = [named(keys, number, agent=True) for number in (0, 1, 2)]
    files = [named(keys, number) for number in (2, 3)]
    assert numbers(keys, order(files, [], agent, identities_only=True)) == [2, 3]


def test_public_file_without_private_needs_the_agent(keys: Keys) -> None:
    only_public = Candidate(keys[0][1], "/id_0")
    assert order([only_public], [], [], identities_only=True) == []
    agent = [named(keys, 0, agent=True)]
    assert numbers(keys, order([only_public], [], agent, identities_only=True)) == [0]


def test_a_public_file_takes_the_agents_key_or_says_that_there_is_none(
    keys: Keys, tmp_path: Path, messages: list[str]
) -> None:
    path = tmp_path / "key.pub"
    path.write_text(f"{keys[0][1].type} {keys[0][1].base64()}\n")

    def offered(agent: FakeAgent | None) -> list[tuple[bytes, bool]]:
        found = keyring(agent).candidates([str(path)], [], identities_only=True)
        return [(each.public.blob, each.in_agent) for each in found]

    def loads() -> list[str]:
        return [line for line in messages if line.startswith("Load key")]

    assert offered(FakeAgent(keys[0][1])) == [(keys[0][1].blob, True)]
    assert not loads()
    assert offered(FakeAgent(keys[1][1])) == []
    assert offered(None) == []
    assert loads() == [
        f'Load key "{path}": a public key, and the agent does not hold its key',
        f'Load key "{path}": a public key, and there is no agent',
    ]


def test_no_key_twice(keys: Keys) -> None:
    files = [named(keys, 1), named(keys, 1)]
    assert numbers(keys, order(files, [], [], identities_only=False)) == [1]


def test_files_are_read(keys: Keys, key_file: Callable[[int], Path]) -> None:
    paths = [str(key_file(0)), str(key_file(1)), "/nowhere/id"]
    ring = keyring()
    found = ring.candidates(paths, [], identities_only=False)
    assert numbers(keys, found) == [0, 1]
    signature = ring.sign(found[1], b"data", "ssh-ed25519")
    assert signature is not None
    assert verify(keys[1][1], signature, b"data")


def test_too_open_key_file_is_ignored(
    keys: Keys, key_file: Callable[[int], Path], messages: list[str]
) -> None:
    path = key_file(0)
    path.chmod(0o644)
    ring = keyring()
    (candidate,) = ring.candidates([str(path)], [], identities_only=False)
    assert ring.sign(candidate, b"data", "ssh-ed25519") is None
    text = "\n".join(messages)
    assert "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @" in text
    assert f"Permissions 0644 for '{path}' are too open." in text
    assert "This private key will be ignored." in text
    assert f'Load key "{path}": bad permissions' in text


def errors(messages: list[str]) -> list[str]:
    return [text for text in messages if not text.startswith("debug")]


def test_what_is_wrong_with_a_file_is_said_once(
    keys: Keys, key_file: Callable[[int], Path], messages: list[str]
) -> None:
    path = key_file(0)
    path.chmod(0o644)
    ring = keyring()
    (candidate,) = found = ring.candidates([str(path)], [], identities_only=False)
    ring.preload(found, "")
    assert ring.sign(candidate, b"data", "ssh-ed25519") is None
    assert messages.count(f'Load key "{path}": bad permissions') == 1


def test_a_file_that_is_no_key_is_named(tmp_path: Path, messages: list[str]) -> None:
    path = tmp_path / "id"
    path.write_bytes(b"\xff\x00 no key")
    assert keyring().candidates([str(path)], [], identities_only=False) == []
    assert errors(messages) == [f'Load key "{path}": invalid format']


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, messages: list[str]) -> None:
    path = tmp_path / "id"
    path.mkdir()
    assert keyring().candidates([str(path), f"{path}2"], [], identities_only=False) == []
    assert errors(messages) == [f'Load key "{path}": Is a directory']


def test_encrypted_file_asks_when_it_signs(keys: Keys, key_file: Callable[[int], Path]) -> None:
    path = key_file(0)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ring = keyring(None, "wrong", "secret")
    (candidate,) = ring.candidates([str(path)], [], identities_only=False)
    assert candidate.needs_person
    prompter = ring._prompter
    assert isinstance(prompter, FakePrompter)
    assert prompter.asked == []
    assert ring.sign(candidate, b"data", "ssh-ed25519") is not None
    assert prompter.asked == [f"Enter passphrase for key '{path}': "] * 2


@pytest.mark.parametrize("answers", [("",), (None,), ("a", "b", "c")])
def test_no_passphrase_no_signature(
    key_file: Callable[[int], Path], answers: tuple[str | None, ...]
) -> None:
    path = key_file(0)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ring = keyring(None, *answers)
    (candidate,) = ring.candidates([str(path)], [], identities_only=False)
    assert ring.sign(candidate, b"data", "ssh-ed25519") is None


def test_sealed_pem_file_is_unsealed_last(tmp_path: Path) -> None:
    path = tmp_path / "pem"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "secret", "-f", str(path)],
        check=True,
    )
    (tmp_path / "pem.pub").unlink()
    ring = keyring(None, "secret")
    assert ring.candidates([str(path)], [], identities_only=False) == []
    candidate = ring.unseal()
    assert candidate is not None
    signature = ring.sign(candidate, b"data", "ecdsa-sha2-nistp256")
    assert signature is not None
    assert verify(candidate.public, signature, b"data")
    assert ring.unseal() is None


def test_certificate_next_to_its_key(tmp_path: Path, key_file: Callable[[int], Path]) -> None:
    path, authority = key_file(0), key_file(1)
    (tmp_path / "id_0.pub").write_text(
        subprocess.run(
            ["ssh-keygen", "-y", "-f", str(path)], check=True, capture_output=True, text=True
        ).stdout
    )
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "x", "-n", "u", str(path) + ".pub"],
        check=True,
    )
    found = keyring().candidates([str(path)], [], identities_only=False)
    assert [candidate.public.label for candidate in found] == ["ED25519", "ED25519-CERT"]
    explicit = keyring().candidates(
        [str(path)], [str(tmp_path / "id_0-cert.pub")], identities_only=False
    )
    assert [candidate.public.label for candidate in explicit] == ["ED25519-CERT", "ED25519"]
    ring = keyring()
    cert = ring.candidates([str(path)], [], identities_only=False)[1]
    assert ring.sign(cert, b"data", cert.public.type) is not None


def test_agent_signs_and_fails(keys: Keys, messages: list[str]) -> None:
    ring = keyring(FakeAgent(keys[0][1]))
    (candidate,) = ring.candidates([], [], identities_only=False)
    assert ring.sign(candidate, b"data", "ssh-ed25519") == b"agent:" + keys[0][1].blob
    ring = keyring(FakeAgent(keys[0][1], broken=True))
    (candidate,) = ring.candidates([], [], identities_only=False)
    assert ring.sign(candidate, b"data", "ssh-ed25519") is None
    assert any("signing failed for ED25519" in line for line in messages)


def test_garbage_key_file(tmp_path: Path, messages: list[str]) -> None:
    path = tmp_path / "id"
    path.touch(mode=0o600)
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n")
    assert keyring().candidates([str(path)], [], identities_only=False) == []
    assert any(line.startswith(f'Load key "{path}": ') for line in messages)
