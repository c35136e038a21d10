"""What the configuration names and logins will need: said at the start, by ``qshd -t`` and on SIGHUP, before nobody gets in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsh.auth.krl import RevokedKeys
from qsh.errors import KeyFormatError
from qsh.server import safe_files
from qsh.server.key_judge import MAX_KEY_FILE, MAX_REVOKED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.config.daemon_options import DaemonConfig

__all__ = ["complaints"]

NONE: Final = "none"


def complaints(config: DaemonConfig) -> list[str]:
    """Of files that cannot be used now; they may be there when they are needed, so qshd starts all the same."""
    found: dict[str, None] = {}
    for field, value in _named(config):
        if value == NONE:
            continue
        reason = None
        if field == "revoked_keys":
            if reason := _revoked(value):
                found[
                    f"RevokedKeys {value}: {reason}; as long as that is so no key is accepted"
                ] = None
        elif field == "trusted_user_ca_keys":
            if reason := _readable(value):
                found[f"TrustedUserCAKeys {value}: {reason}"] = None
        else:
            name = "".join(word.capitalize() for word in field.split("_"))
            path = value.split(" ", 1)[0]
            if not path.startswith(("'", '"')) and (
                reason := safe_files.program_refusal(path, os.geteuid())
            ):
                found[f"{name} {path}: {reason}"] = None
    return list(found)


def _named(config: DaemonConfig) -> Iterator[tuple[str, str]]:
    fields = (
        "revoked_keys",
        "trusted_user_ca_keys",
        "authorized_keys_command",
        "authorized_principals_command",
    )
    for field in fields:
        yield field, getattr(config.options, field)
    for setting in config.settings:
        if setting.field in fields:
            yield setting.field, setting.value


def _revoked(path: str) -> str | None:
    try:
        RevokedKeys.parse(safe_files.read_all(path, MAX_REVOKED))
    except OSError as error:
        return error.strerror or str(error)
    except KeyFormatError as error:
        return str(error)
    return None


def _readable(path: str) -> str | None:
    try:
        safe_files.read_all(path, MAX_KEY_FILE)
    except OSError as error:
        return error.strerror or str(error)
    return None
