"""AuthenticationMethods as in sshd_config(5)."""

from __future__ import annotations

import pytest

from qsh.auth import method_chains
from qsh.auth.method_chains import KEYBOARD, METHODS, PASSWORD, PUBLICKEY, Chains
from qsh.errors import ConfigError


def walked(words: list[str], *methods: str) -> Chains | None:
    """What is wanted after these methods."""
    chains: Chains | None = method_chains.parse(words, METHODS)
    for method in methods:
        assert chains is not None
        assert chains.permits(method)
        chains = chains.after(method)
    return chains


@pytest.mark.parametrize("words", [[], ["any"]])
@pytest.mark.parametrize("method", METHODS)
def test_without_chains_one_method_is_a_login(words: list[str], method: str) -> None:
    assert walked(words, method) is None


def test_a_chain_is_gone_in_its_order() -> None:
    chains = walked(["publickey,keyboard-interactive"])
    assert chains is not None
    assert chains.can_go_on() == [PUBLICKEY]
    assert not chains.permits(KEYBOARD)
    left = chains.after(PUBLICKEY)
    assert left is not None
    assert left.can_go_on() == [KEYBOARD]
    assert left.after(KEYBOARD) is None


def test_one_of_several_chains_is_enough() -> None:
    words = ["publickey,password", "publickey,keyboard-interactive"]
    left = walked(words, PUBLICKEY)
    assert left is not None
    assert left.can_go_on() == [PASSWORD, KEYBOARD]
    assert left.after(PASSWORD) is None
    assert left.after(KEYBOARD) is None


def test_chains_with_another_beginning_stay() -> None:
    left = walked(["publickey,password", "password,publickey"], PASSWORD)
    assert left is not None
    assert left.can_go_on() == [PUBLICKEY]
    assert left.rest == ((PUBLICKEY, PASSWORD), (PUBLICKEY,))
    assert left.after(PUBLICKEY) is None


def test_two_keys_may_be_wanted() -> None:
    left = walked(["publickey,publickey"], PUBLICKEY)
    assert left is not None
    assert left.can_go_on() == [PUBLICKEY]
    assert left.after(PUBLICKEY) is None


def test_a_device_may_be_named() -> None:
    assert walked(["keyboard-interactive:pam"], KEYBOARD) is None


def test_chains_with_a_disabled_method_do_not_count() -> None:
    chains = method_chains.parse(["publickey,password", "publickey"], [PUBLICKEY])
    assert chains.rest == ((PUBLICKEY,),)
    assert chains.can_go_on() == [PUBLICKEY]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["publickey,palmistry"], "unknown method 'palmistry'"),
        (["any", "publickey"], "unknown method 'any'"),
        (["publickey,"], "unknown method ''"),
        (["keyboard-interactive:skey"], "unknown method 'keyboard-interactive:skey'"),
        (["password"], "disabled"),
    ],
)
def test_what_cannot_be_gone_is_refused(words: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        method_chains.parse(words, [PUBLICKEY])
