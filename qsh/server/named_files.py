"""What the configuration names and logins will need: said at the start, by ``qshd -t`` and on SIGHUP, before nobody gets in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from qsh.auth.krl import RevokedKeys
from qsh.errors import KeyFormatError
from qsh.server import account as accounts
from qsh.server import safe_files
from qsh.server.key_judge import MAX_KEY_FILE, MAX_REVOKED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.config.daemon_options import DaemonConfig

__all__ = ["complaints"]

NONE: Final = "none"
_NAMES: Final = {
    "banner": "Banner",
    "revoked_keys": "RevokedKeys",
    "trusted_user_ca_keys": "TrustedUserCAKeys",
    "authorized_keys_command": "AuthorizedKeysCommand",
    "authorized_keys_command_user": "AuthorizedKeysCommandUser",
    "authorized_principals_command": "AuthorizedPrincipalsCommand",
    "authorized_principals_command_user": "AuthorizedPrincipalsCommandUser",
}
_USERS: Final = ("authorized_keys_command_user", "authorized_principals_command_user")


def complaints(config: DaemonConfig) -> list[str]:
    """Of files that cannot be used now; they may be there when they are needed, so qshd starts all the same."""
    found: dict[str, None] = {}
    for field, value in _named(config):
        if value == NONE:
            continue
        reason = None
        name = _NAMES[field]
        if field == "revoked_keys":
            if reason := _revoked(value):
                found[f"{name} {value}{reason}"] = None
        elif field == "trusted_user_ca_keys":
            if reason := _readable(value, ours=config.options.strict_modes):
                found[f"{name} {value}: {reason}"] = None
        elif field == "banner":
            if reason := _readable(value):
                found[f"{name} {value}: {reason}; nothing is shown"] = None
        elif field in _USERS:
            if "%" not in value and accounts.lookup(value) is None:
                found[f"{name} {value}: there is no such user; the command will not run"] = None
        else:
            path = value.split(" ", 1)[0]
            if not path.startswith(("'", '"')) and (
                reason := safe_files.program_refusal(path, os.geteuid())
            ):
                found[f"{name} {path}: {reason}"] = None
    return list(found)


def _named(config: DaemonConfig) -> Iterator[tuple[str, str]]:
    for field in _NAMES:
        yield field, getattr(config.options, field)
    for setting in config.settings:
        if setting.field in _NAMES:
            yield setting.field, setting.value


def _revoked(path: str) -> str | None:
    try:
        RevokedKeys.parse(safe_files.read_all(path, MAX_REVOKED))
    except OSError as error:
        reason = error.strerror or str(error)
    except KeyFormatError as error:
        reason = str(error)
    else:
        others = safe_files.others_may_write(os.stat(path))
        return others and f" {others}, who could take keys out of it"
    return f": {reason}; as long as that is so no key is accepted"


def _readable(path: str, *, ours: bool = False) -> str | None:
    try:
        safe_files.read_all(path, MAX_KEY_FILE, ours=ours)
    except OSError as error:
        return error.strerror or str(error)
    return None
