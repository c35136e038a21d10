"""The commonest key, an Ed25519 key in a plain OpenSSH file, without loading ``cryptography``.

That library takes longer to import than a login takes. Who signs is the caller's: a function of a
seed and a message (the engine has one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.auth.openssh_file import OpensshFile
from qsh.auth.sshwire import Reader, Writer
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from qsh.auth.keys import PublicKey

    Sign = Callable[[bytes, bytes], bytes]

__all__ = ["SeedKey"]

TYPE = "ssh-ed25519"


class SeedKey:
    """A key that signs for SSH. Its repr shows the fingerprint only."""

    __slots__ = ("_seed", "_sign", "public")

    public: Final[PublicKey]

    def __init__(self, public: PublicKey, seed: bytes, sign: Sign) -> None:
        self.public = public
        self._seed, self._sign = seed, sign

    def __repr__(self) -> str:
        return f"<SeedKey {self.public.fingerprint()}>"

    @classmethod
    def load(cls, data: bytes, sign: Sign) -> SeedKey | None:
        """The key, or None for every other kind of file: private.py reads those."""
        if not OpensshFile.is_one(data):
            return None
        try:
            file = OpensshFile.parse(data)
            if file.is_encrypted or file.public.type != TYPE:
                return None
            seed = _seed(file)
        except KeyFormatError:
            return None
        return None if seed is None else cls(file.public, seed, sign)

    def sign(self, data: bytes, algorithm: str = TYPE) -> bytes:
        """An SSH signature blob. A certificate's algorithm signs as the key in it does."""
        if algorithm.removesuffix("-cert-v01@openssh.com") != TYPE:
            raise KeyFormatError(f"a key of type {TYPE} cannot sign {algorithm}")
        return Writer().text(TYPE).string(self._sign(self._seed, data)).bytes()


def _seed(file: OpensshFile) -> bytes | None:
    """None when the private part does not belong to the public key or is damaged."""
    reader = Reader(file.sealed)
    if reader.uint32() != reader.uint32() or reader.text() != TYPE:
        return None
    public, both = reader.string(), reader.string()
    if len(both) != 64 or both[32:] != public or public != file.public.parts.public:
        return None
    return both[:32]
