"""Texts for standard output, whoever reads there."""

from __future__ import annotations

import os
import sys

__all__ = ["print_text"]

FAILED = 255


def print_text(text: str, program: str) -> int:
    """The exit status of ``program``: a reader that went away is no error to tell, a disk that is full is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        os.write(2, f"{program}: standard output: {error.strerror}\n".encode())
        return FAILED
    return 0
