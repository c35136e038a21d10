"""KnownHostsCommand: a program that prints lines of known_hosts, run as ssh runs it, without a shell."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from qsh.client.log import log
from qsh.errors import ConfigError, HostKeyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.auth.keys import PublicKey
    from qsh.config.options import ClientOptions

__all__ = ["known_hosts_command"]

_NOTHING = "NONE"


def known_hosts_command(
    options: ClientOptions, command: str, name: str
) -> Callable[[PublicKey | None], str]:
    """What runs ``command`` for the host ``name``: for the key that the host showed, or before one is known.

    Raises ConfigError; what it returns raises HostKeyError if the program fails.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words or not os.path.isabs(words[0]):
        raise ConfigError("KnownHostsCommand path is not absolute")

    def run(key: PublicKey | None) -> str:
        about = {"I": "ORDER", "t": _NOTHING, "K": _NOTHING, "f": _NOTHING}
        if key is not None:
            kind, blob, *_ = key.line().split()
            about = {"I": "HOSTNAME", "t": kind, "K": blob, "f": key.fingerprint()}
        argv = [options.expand("knownhostscommand", word, H=name, **about) for word in words]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
            )
        except OSError as error:
            log.error(f"KnownHostsCommand: {argv[0]}: {error.strerror}")
            return ""
        if done.returncode != 0:
            text = f"KnownHostsCommand {argv[0]} failed, status {done.returncode}"
            raise HostKeyError(f"{text}\nKnownHostsCommand failed")
        return done.stdout.decode("utf-8", "surrogateescape")

    return run
