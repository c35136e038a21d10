"""Something fails while a host's key is checked: whatever it is, and wherever, the key is not accepted (CVE-2025-26465)."""

from __future__ import annotations

import sys
from inspect import CO_GENERATOR
from typing import TYPE_CHECKING

import pytest

from qsh.client.host_key import HostKeyPolicy, KnownHost
from tests.unit.client.test_host_key import Answers, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from qsh.auth.keys import PublicKey

    Keys = list[tuple[str, PublicKey]]

FAULTS = (MemoryError, OSError, TimeoutError, ValueError, KeyError, RecursionError)
MOST = 3000


class Fault:
    """Raises at the ``number``-th call of a function of qsh; in none that goes on, since its end is a call, too."""

    def __init__(self, number: int, error: type[Exception]) -> None:
        self.left, self.error = number, error

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and "/qsh/" in code.co_filename and not code.co_flags & CO_GENERATOR:
            self.left -= 1
            if self.left == 0:
                sys.setprofile(None)
                raise self.error("injected")


def outcomes(story: Callable[[], None], error: type[Exception]) -> list[bool]:
    """For a fault at each place in turn, whether ``story`` came to its end; until there is no further place."""
    found = []
    for number in range(1, MOST):
        fault = Fault(number, error)
        sys.setprofile(fault)
        try:
            story()
            passed = True
        except Exception:
            passed = False
        finally:
            sys.setprofile(None)
        if fault.left > 0:
            return found
        found.append(passed)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize(
    "line", ["host.example {other}", "@revoked * {key}", "@cert-authority * {other}", ""]
)
def test_a_key_that_is_not_known_is_never_accepted(
    tmp_path: Path, keys: Keys, line: str, error: type[Exception]
) -> None:
    file = tmp_path / "dir" / "known_hosts"
    texts = {
        "key": f"ssh-ed25519 {keys[0][1].base64()}",
        "other": f"ssh-ed25519 {keys[1][1].base64()}",
    }
    write(file, line.format(**texts) + "\n")
    policy = HostKeyPolicy(
        strict="yes", user_files=[str(file)], global_files=[], hash_names=False, revoked_files=[]
    )

    def story() -> None:
        KnownHost(policy, "host.example", 22, 22).check(keys[0][1], "192.0.2.1", [], Answers())

    found = outcomes(story, error)
    assert len(found) > 10, "the control: there are places"
    assert not any(found)


def test_one_that_is_known_is(tmp_path: Path, keys: Keys) -> None:
    """The control of the one above."""
    file = tmp_path / "dir" / "known_hosts"
    write(file, f"host.example ssh-ed25519 {keys[0][1].base64()}\n")
    policy = HostKeyPolicy(
        strict="yes", user_files=[str(file)], global_files=[], hash_names=False, revoked_files=[]
    )
    KnownHost(policy, "host.example", 22, 22).check(keys[0][1], "192.0.2.1", [], Answers())
