"""What ssh says about host keys, word for word as OpenSSH 9.2 in Debian (sshconnect.c; compared in
the tests).

Each function gives lines for stderr without line ends, except the prompts, which end where the
cursor stays. Names are those of the command line or of known_hosts, never what a server sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.auth.randomart import randomart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.auth.keys import PublicKey
    from qsh.auth.known_hosts import KnownKey

__all__ = [
    "VERIFICATION_FAILED",
    "added_text",
    "ask_again_prompt",
    "ask_prompt",
    "changed_refusal",
    "changed_warning",
    "no_strict_key_text",
    "read_answer",
    "revoked_refusal",
    "revoked_warning",
]

RULE = "@" * 59
OTHER_NAMES_LIMIT = 8
"""Names listed for a key before the rest is only counted (sshconnect.c, MAX_OTHER_NAMES)."""

VERIFICATION_FAILED = "Host key verification failed."

ask_again_prompt = "Please type 'yes', 'no' or the fingerprint: "


def ask_prompt(
    name: str,
    address: str,
    key: PublicKey,
    other_names: Sequence[str] = (),
    *,
    other_type_known: bool = False,
    visual: bool = False,
    dns: bool | None = None,
    algorithm: str = "sha256",
) -> str:
    """The question for a new host; ``name`` and ``address`` as known_hosts has them, ``dns`` what
    SSHFP said."""
    end = (
        "\nbut keys of different type are already known for this host." if other_type_known else "."
    )
    lines = [
        f"The authenticity of host '{name[:200]} ({address})' can't be established{end}",
        f"{key.label} key fingerprint is {key.fingerprint(algorithm)}.",
    ]
    if visual:
        lines.append(randomart(key, algorithm))
    if dns is not None:
        lines.append(f"{'Matching' if dns else 'No matching'} host key fingerprint found in DNS.")
    lines += _other_names(other_names)
    lines.append("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
    return "\n".join(lines)


def _other_names(names: Sequence[str]) -> list[str]:
    if not names:
        return ["This key is not known by any other names."]
    lines = ["This host key is known by the following other names/addresses:"]
    lines += [f"    {name}" for name in names[:OTHER_NAMES_LIMIT]]
    if len(names) > OTHER_NAMES_LIMIT:
        lines.append(f"    ({len(names) - OTHER_NAMES_LIMIT} additional names omitted)")
    return lines


def read_answer(answer: str | None, fingerprint: str) -> bool | None:
    """What was meant: True, False, or None for "ask again" (sshconnect.c, confirm)."""
    if answer is None:
        return False
    words = answer.replace("\n", " ").replace("\t", " ").lstrip(" ").split(" ", 1)
    word = words[0]
    if not word or word.lower() == "no":
        return False
    if word.lower() == "yes" or word == fingerprint:
        return True
    return None


def changed_warning(
    name: str, key: PublicKey, offending: KnownKey, user_file: str, algorithm: str = "sha256"
) -> list[str]:
    """The banner; ``user_file`` is the first known_hosts file."""
    return [
        RULE,
        "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @",
        RULE,
        "IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
        "Someone could be eavesdropping on you right now (man-in-the-middle attack)!",
        "It is also possible that a host key has just been changed.",
        f"The fingerprint for the {key.label} key sent by the remote host is",
        f"{key.fingerprint(algorithm)}.",
        "Please contact your system administrator.",
        f"Add correct host key in {user_file[:100]} to get rid of this message.",
        f"Offending {offending.key.label} key in {offending.file}:{offending.line}",
        "  remove with:",
        f'  ssh-keygen -f "{offending.file}" -R "{name}"',
    ]


def changed_refusal(name: str) -> list[str]:
    """With StrictHostKeyChecking other than no."""
    return [
        f"Host key for {name[:200]} has changed and you have requested strict checking.",
        VERIFICATION_FAILED,
    ]


def revoked_warning(name: str, key: PublicKey) -> list[str]:
    """A key that is marked @revoked."""
    return [
        RULE,
        "@       WARNING: REVOKED HOST KEY DETECTED!               @",
        RULE,
        f"The {key.label} host key for {name} is marked as revoked.",
        "This could mean that a stolen key is being used to",
        "impersonate this host.",
    ]


def revoked_refusal(name: str, key: PublicKey) -> list[str]:
    """With StrictHostKeyChecking other than no."""
    return [
        f"{key.label} host key for {name[:200]} was revoked and you have "
        "requested strict checking.",
        VERIFICATION_FAILED,
    ]


def no_strict_key_text(name: str, key: PublicKey) -> list[str]:
    """A new key with StrictHostKeyChecking yes."""
    return [
        f"No {key.label} host key is known for {name[:200]} and you have "
        "requested strict checking.",
        VERIFICATION_FAILED,
    ]


def added_text(name: str, key: PublicKey) -> str:
    """After the key has been written down."""
    return f"Warning: Permanently added '{name[:200]}' ({key.label}) to the list of known hosts."
