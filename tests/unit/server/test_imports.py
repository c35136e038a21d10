"""After rights are dropped nothing is imported (docs/architecture.md 2.4)."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
from qsh.server import imports
imports.forbid()
import os
try:
    import wave
except ImportError as error:
    print(error)
"""


def test_an_import_is_refused_by_name() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("import of wave after rights were dropped")
