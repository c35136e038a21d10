"""Several targets at a time, each in a process of its own: python -m tests.fuzz.side_by_side NAME SECONDS SEED is one of them.

A target that crashes its process, or hangs, is named as one whose invariant fails is.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.fuzz.runner import HERE, Failure, run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

LATE_S: Final = 120.0
"""Beyond its time, for the start of the process and a last slow input, on a busy machine; then it counts as hanging."""


@dataclass(frozen=True, slots=True)
class Result:
    """``inputs`` were tried; ``failure`` says what went wrong, if something did."""

    seed: int
    inputs: int
    failure: str = ""


def workers() -> int:
    """How many at a time."""
    return len(os.sched_getaffinity(0))


def begin(names: Iterable[str], seconds: float, *, idle: bool = False) -> dict[str, Future[Result]]:
    """Start with as many of ``names`` as there are processors; the others follow. ``idle``: with what nobody else needs."""
    pool = ThreadPoolExecutor(workers())
    started = {name: pool.submit(_one, name, seconds, idle) for name in names}
    pool.shutdown(wait=False)
    return started


def _one(name: str, seconds: float, idle: bool) -> Result:
    seed = random.SystemRandom().randrange(2**32)
    command = [sys.executable, "-m", "tests.fuzz.side_by_side", name, str(seconds), str(seed)]
    command += ["idle"] if idle else []
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=HERE.parent.parent,
            capture_output=True,
            text=True,
            timeout=seconds + LATE_S,
        )
    except subprocess.TimeoutExpired:
        return Result(seed, 0, f"{name}: seed {seed}, hangs")
    if done.returncode == 0:
        return Result(seed, int(done.stdout))
    return Result(seed, 0, f"{name}: seed {seed}, exit status {done.returncode}\n{done.stderr}")


def main(name: str, seconds: str, seed: str, idle: str = "") -> int:
    """Be one of them: the number of inputs on standard output. A failing input goes to corpus/."""
    if idle:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        print(run(name, float(seconds), int(seed)))
    except Failure as failure:
        folder = HERE / "corpus" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha256(failure.data).hexdigest()[:16]).write_bytes(failure.data)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
