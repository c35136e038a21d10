"""``qshctl import-sshd-config``: what an sshd_config means to qshd."""

from __future__ import annotations

import functools
import os
import sys

from qsh.config import daemon_import
from qsh.config.daemon_parser import BadConfiguration
from qsh.errors import ConfigError, StartupError

__all__ = ["report"]

EXIT_REFUSED = 1
EXIT_FAILURE = 255


def report(file: str, write: str | None, *, force: bool) -> int:
    """Print the report, write a qshd_config if ``write`` names one; the exit status."""
    from qsh.cli.daemon_setup import read_included

    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as opened:
            text = opened.read()
        lenient = functools.partial(
            read_included, strict=False
        )  # sshd reads them, whoever may write
        found = daemon_import.survey(text, file, lenient)
        sys.stdout.write(_shown(found.report()))
        if write is not None:
            _write(write, found.rewrite(text, file), force=force)
            sys.stdout.write(f"Written: {write}; check it with: qshd -t -f {write}\n")
    except BadConfiguration as error:
        sys.stderr.write("".join(f"{_shown(line)}\n" for line in error.report()))
        return EXIT_FAILURE
    except OSError as error:
        sys.stderr.write(f"qshctl: {error.filename or file}: {error.strerror}\n")
        return EXIT_FAILURE
    except (ConfigError, StartupError) as error:
        sys.stderr.write(f"qshctl: {error}\n")
        return EXIT_FAILURE
    return EXIT_REFUSED if found.refused else 0


def _shown(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _write(path: str, text: str, *, force: bool) -> None:
    """A new file, or with ``force`` one in the place of another. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
    scratch = f"{path}.{os.getpid()}"
    with open(
        os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600),
        "w",
        encoding="utf-8",
        errors="surrogateescape",
    ) as file:
        file.write(text)
    try:
        if force:
            os.rename(scratch, path)
        else:
            os.link(scratch, path)
    except FileExistsError:
        raise StartupError(f"{path} exists; --force replaces it") from None
    finally:
        if os.path.exists(scratch):
            os.unlink(scratch)
