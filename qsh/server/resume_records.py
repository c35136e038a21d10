"""Who may resume what: a record, sealed by the monitor, that the client keeps (docs/protocol.md 5.6).

It says that a login of this user, with this key (empty: by password alone) and by these methods, brought this public half of a
client's in-memory key. Nothing is stored: a monitor that was started again has the same secret, since that hangs on the host
key, and knows its records again.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from qsh.auth.method_chains import METHODS, PUBLICKEY
from qsh.auth.sshwire import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.server.requests import Login

__all__ = ["LABEL", "MAX_METHODS", "ResumeRecords"]

LABEL: Final = b"resume records"
"""What the secret is derived for."""
UID_BYTES: Final = 4
SEALED_BYTES: Final = UID_BYTES + 32
MAX_METHODS: Final = 28
"""Of a login that gets a record, which has at most 64 bytes."""


class ResumeRecords:
    """Seals records, and opens its own. ``secret`` must never be in a front."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(
        self,
        user: str,
        uid: int,
        key: bytes,
        public: bytes,
        methods: Sequence[str] = (PUBLICKEY,),
    ) -> bytes:
        """``uid`` and ``methods`` in the clear, and a seal over everything: a name may be another's by the time it is used."""
        said = b"" if list(methods) == [PUBLICKEY] else bytes(map(METHODS.index, methods))
        return self._seal(user, uid, key, public, said)

    def _seal(self, user: str, uid: int, key: bytes, public: bytes, methods: bytes) -> bytes:
        number = uid.to_bytes(UID_BYTES, "big")
        text = Writer().text(user).string(number).string(key).string(public)
        if methods:
            text.string(methods)
        return number + hmac.digest(self._secret, text.bytes(), hashlib.sha256) + methods

    def opened(self, login: Login) -> int | None:
        """The uid that the record was made for; None: it is not ours, or of another user or key. It proves nothing by itself:
        the signature does.
        """
        resume = login.resume
        if resume is None or len(login.offers) > 1:
            return None
        uid = int.from_bytes(resume.record[:UID_BYTES], "big")
        key = login.offers[0] if login.offers else b""
        sealed = self._seal(login.user, uid, key, resume.key, resume.record[SEALED_BYTES:])
        return uid if hmac.compare_digest(sealed, resume.record) else None

    def methods(self, login: Login) -> list[str]:
        """What the login had done that is resumed; empty: the record is none of ours."""
        if login.resume is None or self.opened(login) is None:
            return []
        said = login.resume.record[SEALED_BYTES:]
        return [METHODS[each] for each in said] or [PUBLICKEY]
