"""ExposeAuthInfo: a file of the user's with what let him in, named by SSH_USER_AUTH (session.c: prepare_auth_info_file)."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING, Final

from qsh.auth.keys import PublicKey
from qsh.auth.method_chains import PUBLICKEY, log_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.server.requests import Login, Step
    from qsh.server.session_rules import SessionRules

__all__ = ["VARIABLE", "describe", "remove", "write"]

VARIABLE: Final = "SSH_USER_AUTH"
PREFIX: Final = "auth."


def describe(login: Login, steps: Sequence[Step] = ()) -> str:
    """A line for each method that counted, with its key."""
    lines = [_line(step.method, step.key) for step in steps if step.key or step.method != PUBLICKEY]
    if login.method:
        lines.append(_line(login.method))
    elif login.offers:
        proof = login.proof
        offer = 0 if login.resume is not None or proof is None else proof.offer
        lines.append(_line(PUBLICKEY, login.offers[offer]))
    return "".join(lines)


def _line(method: str, blob: bytes = b"") -> str:
    if not blob:
        return f"{log_name(method)}\n"
    key = PublicKey.from_blob(blob)
    return f"{method} {key.type} {key.base64()}\n"


def write(rules: SessionRules, directory: str, report: Callable[[str], None]) -> str:
    """The file's path; "" if there is to be none."""
    text = rules.grant.auth_info
    if not text:
        return ""
    path = os.path.join(directory, PREFIX + secrets.token_hex(8))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        report(f"ExposeAuthInfo: {path}: {error.strerror}")
        return ""
    return path


def remove(path: str) -> None:
    """At the end of the session host."""
    if path:
        with contextlib.suppress(OSError):
            os.unlink(path)
