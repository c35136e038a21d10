"""AuthenticationMethods: which methods, in which order, make a login (model: OpenSSH's auth2.c, auth2_update_methods_lists).

A chain is a list of methods; a login is whole when one of the chains is. A method that was done is struck from the front of
every chain that begins with it; the others stay as they are. ``publickey,publickey`` wants two keys, which must differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["KEYBOARD", "METHODS", "PASSWORD", "PUBLICKEY", "Chains", "log_name", "parse"]

PUBLICKEY: Final = "publickey"
PASSWORD: Final = "password"  # noqa: S105 — a method's name
KEYBOARD: Final = "keyboard-interactive"
METHODS: Final = (PUBLICKEY, PASSWORD, KEYBOARD)
_DEVICES: Final = (f"{KEYBOARD}:pam",)
"""With the device named, as sshd takes it; there is no other device here."""


class Chains(NamedTuple):
    """What is still wanted. Without chains (``any``) one method is a login."""

    rest: tuple[tuple[str, ...], ...] = ()
    enabled: tuple[str, ...] = METHODS

    def can_go_on(self) -> list[str]:
        """Methods that may be tried now, in the order in which sshd names them; for AuthRefused."""
        if not self.rest:
            return list(self.enabled)
        heads = {chain[0] for chain in self.rest}
        return [method for method in self.enabled if method in heads]

    def permits(self, method: str) -> bool:
        """Whether it may be tried now."""
        return method in self.can_go_on()

    def after(self, method: str) -> Chains | None:
        """What is wanted when it was done; None: nothing, the login is whole. Only for what :meth:`permits`."""
        if not self.rest:
            return None
        left = tuple(chain[1:] if chain[0] == method else chain for chain in self.rest)
        return None if () in left else self._replace(rest=left)


def log_name(method: str) -> str:
    """As sshd's log and files call it; what is no method of ours is called none."""
    if method == KEYBOARD:
        return f"{KEYBOARD}/pam"
    return method if method in METHODS else "none"


def parse(words: Sequence[str], enabled: Collection[str]) -> Chains:
    """The chains of AuthenticationMethods that can be gone to their end with the ``enabled`` methods.

    Raises ConfigError: a method that is unknown, ``any`` beside others, or no chain that can be gone.
    """
    ordered = tuple(method for method in METHODS if method in enabled)
    if not words or list(words) == ["any"]:
        return Chains((), ordered)
    chains = tuple(tuple(_method(name) for name in word.split(",")) for word in words)
    usable = tuple(chain for chain in chains if all(method in ordered for method in chain))
    if not usable:
        raise ConfigError("AuthenticationMethods: every list has a method that is disabled")
    return Chains(usable, ordered)


def _method(name: str) -> str:
    if name in _DEVICES:
        return KEYBOARD
    if name not in METHODS:
        raise ConfigError(f"AuthenticationMethods: unknown method {name!r}")
    return name
