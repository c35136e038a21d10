"""What a server signs with each of its other host keys, to prove to a client that it holds them (docs/protocol.md 3.5)."""

from __future__ import annotations

from typing import Final

from qsh.auth.sshwire import Writer

__all__ = ["proof_data"]

LABEL: Final = "qsh/1 host key proof"
"""Begins the text, behind its length: neither a handshake (RFC 8446 4.4.3), nor a session id, nor what SSH signs does so."""


def proof_data(session_id: bytes, blob: bytes) -> bytes:
    """For the key ``blob``, in the connection with this session id."""
    return Writer().text(LABEL).string(session_id).string(blob).bytes()
