"""What a client signs to resume a terminal with the key that lives only in its memory (docs/protocol.md 5.6)."""

from __future__ import annotations

from typing import Final

from qsh.auth.sshwire import Writer

__all__ = ["KEY_TYPE", "public_blob", "resume_data", "signature_blob"]

LABEL: Final = "qsh/1 resume"
"""Begins the text, behind its length: no other text that a key of SSH's or of qsh's signs does so."""
KEY_TYPE: Final = "ssh-ed25519"


def resume_data(
    session_id: bytes, user: str, record: bytes, session: str, client: bytes, ticket: bytes
) -> bytes:
    """The text: this connection, this login of before, this terminal."""
    text = Writer().text(LABEL).string(session_id).text(user).string(record)
    return text.text(session).string(client).string(ticket).bytes()


def public_blob(public: bytes) -> bytes:
    """The 32 bytes as an SSH key."""
    return Writer().text(KEY_TYPE).string(public).bytes()


def signature_blob(signature: bytes) -> bytes:
    """The 64 bytes as an SSH signature."""
    return Writer().text(KEY_TYPE).string(signature).bytes()
