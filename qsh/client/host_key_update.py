"""UpdateHostKeys: learn the host's other keys once it has proved that it holds them (clientloop.c, update_known_hosts).

Keys are only added. OpenSSH's client also removes those that the server has no more; but the same line is often that of an
sshd beside, which may have others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.auth import signatures
from qsh.auth.key_proof import proof_data
from qsh.client.log import log

if TYPE_CHECKING:
    from qsh.auth.keys import PublicKey
    from qsh.client.host_key import KnownHost
    from qsh.client.link import Link
    from qsh.client.prompt import Prompter

__all__ = ["update"]

TRIES: Final = 3


async def update(
    link: Link, known: KnownHost, keys: list[PublicKey], prompter: Prompter | None
) -> None:
    """Ask for proofs of ``keys``, ask the user if there is a ``prompter``, and add them to known_hosts."""
    proofs = dict(zip(link.other_keys, await link.prove_keys(), strict=False))
    if not proofs:
        log.debug("the host proves none of its other keys")
        return
    session_id = link.connection.session_id
    for key in keys:
        proof = proofs.get(key.blob, b"")
        if not signatures.verify(key, proof, proof_data(session_id, key.blob)):
            log.error(f"server gave bad signature for {key.label} key: no host key is learned")
            return
    say = log.verbose
    if prompter is not None:
        say = log.info
        say("The server has updated its host keys.")
        say("These changes were verified by the server's existing trusted key.")
    for key in keys:
        say(f"Learned new hostkey: {key.label} {key.fingerprint()}")
    if prompter is None or _accepted(prompter):
        known.learn(keys)


def _accepted(prompter: Prompter) -> bool:
    for _ in range(TRIES):
        answer = prompter.line("Accept updated hostkeys? (yes/no): ")
        if answer is None or answer.lower() == "no":
            return False
        if answer.lower() == "yes":
            return True
        log.info("Please type 'yes' or 'no'.")
    return False
