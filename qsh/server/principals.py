"""Certificates of an authority in TrustedUserCAKeys: whom they may let in (auth2-pubkey.c: user_cert_trusted_ca).

Without AuthorizedPrincipalsFile and AuthorizedPrincipalsCommand a certificate must name the user. With one of them it must have
one of the names that stand there; a file that is not there names nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.auth.keys import PublicKey
from qsh.config.tokens import Tokens
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from qsh.auth.certificates import Certificate
    from qsh.server.account import Account

__all__ = ["COMMAND_TOKENS", "command_tokens", "listed"]

COMMAND_TOKENS = "hutTfFkKisU"


def listed(text: str, authority: PublicKey) -> bool:
    """Whether this authority is in the file; what is no key there counts for nothing."""
    needle = authority.base64()
    for line in text.split("\n"):
        if needle in line and not line.lstrip(" \t").startswith("#"):
            try:
                if PublicKey.from_line(line) == authority:
                    return True
            except KeyFormatError:
                continue
    return False


def command_tokens(certificate: Certificate, account: Account) -> Tokens:
    """What AuthorizedPrincipalsCommand may be told."""
    key, authority = certificate.key, certificate.authority
    return Tokens(
        {
            "h": account.home,
            "u": account.name,
            "U": str(account.uid),
            "t": key.type,
            "T": authority.type,
            "f": key.fingerprint(),
            "F": authority.fingerprint(),
            "k": key.base64(),
            "K": authority.base64(),
            "i": certificate.key_id,
            "s": str(certificate.serial),
        },
        COMMAND_TOKENS,
    )
