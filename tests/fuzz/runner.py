"""Finds the targets ``fuzz_*.py`` and feeds them: SEEDS, the inputs kept in corpus/, and changes of both.

A target has ``SEEDS`` and ``fuzz_one(data)``, which raises when its invariant does not hold, and says in its first
lines what the invariant is. An input that once failed is kept as ``corpus/<target>/<name>`` and replayed by every
test run.
"""

from __future__ import annotations

import importlib
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
MAX_BYTES = 1 << 16
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


class Target(Protocol):
    SEEDS: Sequence[bytes]

    @staticmethod
    def fuzz_one(data: bytes) -> None: ...


@dataclass
class Failure(Exception):
    """``data`` broke the invariant of ``target``."""

    target: str
    data: bytes
    seed: int

    def __str__(self) -> str:
        return f"{self.target}: seed {self.seed}, input {self.data.hex()}"


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("fuzz_*.py"))


def load(name: str) -> Target:
    return importlib.import_module(f"tests.fuzz.{name}")  # type: ignore[return-value]


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((HERE / "corpus" / name).glob("*"))]


def mutate(source: random.Random, inputs: Sequence[bytes]) -> bytes:
    """One of ``inputs``, changed in a few places, now and then spliced with another one."""
    data = bytearray(source.choice(inputs))
    for _ in range(1 + int(source.expovariate(0.4))):
        at = source.randrange(len(data) + 1)
        kind = source.randrange(7)
        if kind == 0:
            del data[at : at + source.randrange(1, 17)]
        elif kind == 1:
            data[at:at] = source.randbytes(source.randrange(1, 17))
        elif kind == 2 and at < len(data):
            data[at] ^= 1 << source.randrange(8)
        elif kind == 3 and at < len(data):
            data[at] = source.choice(INTERESTING)
        elif kind == 4:  # a length field
            size = source.choice((2, 4, 8))
            value = source.choice((0, len(data), 2 ** (8 * size) - 1, 2 ** (8 * size - 1)))
            data[at : at + size] = value.to_bytes(size, "big")
        elif kind == 5:
            data[at:] = source.choice(inputs)
        else:
            data[at:at] = data[at : at + source.randrange(1, 65)] * source.randrange(1, 9)
    return bytes(data[:MAX_BYTES])


def run(name: str, seconds: float, seed: int) -> int:
    """Feed ``name`` for ``seconds``; the number of inputs. Raises Failure."""
    target = load(name)
    inputs = [*target.SEEDS, *corpus(name), b""]
    source, end, count = random.Random(seed), time.monotonic() + seconds, 0
    fixed = iter(inputs)
    while (data := next(fixed, None)) is not None or time.monotonic() < end:
        data = mutate(source, inputs) if data is None else data
        try:
            target.fuzz_one(data)
        except BaseException as error:
            raise Failure(name, data, seed) from error
        count += 1
    return count
