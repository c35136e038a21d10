"""Where things lie in the image that session hosts are forked from, so that each writes to few of its pages.

A page written to after a fork is a copy of one's own. Two things scatter the writes of a session host over a thousand
pages: its code, since CPython counts in what it cannot specialise (PEP 659), and new objects, since they go to whatever
gap is free.
"""

from __future__ import annotations

import gc
import sys
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fill_gaps", "move_together"]

POOL_BYTES: Final = 16 * 1024
"""A pool has objects of one size (CPython: Objects/obmalloc.c); sizes are multiples of 16 up to 512."""
SIZES: Final = range(512, 0, -16)
BYTES_HEADER: Final = 33
NEARLY: Final = 0.9
"""A pool of which so much was free was free altogether."""
MOST: Final = 65536


def fill_gaps() -> list[object]:
    """Objects that lie in all gaps of the object allocator; whoever forgets them makes gaps of them again."""
    kept: list[object] = []
    for size in SIZES:
        # made whole, since a list that grows would take part
        blocks: list[object] = [None] * MOST
        found: dict[int, int] = {}
        for number in range(MOST):
            block = blocks[number] = _block(size)
            pool = id(block) // POOL_BYTES
            found[pool] = found.get(pool, 0) + 1
            if found[pool] * size > NEARLY * POOL_BYTES:
                break
        kept += [block for block in blocks if block is not None and id(block) // POOL_BYTES != pool]
    return kept


def _block(size: int) -> object:
    if size == 16:
        return object()
    return complex(size, size) if size == 32 else bytes(size - BYTES_HEADER)


def move_together(run: Callable[[], object]) -> int:
    """Call ``run``, then give every function whose code ran in it a copy of that code, one after the other; how many. Generators,
    lambdas and other code within a function's go with it.
    """
    ran: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            ran.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    functions = [
        found
        for found in gc.get_objects()
        if isinstance(found, FunctionType) and _has_run(found.__code__, ran)
    ]
    for function in functions:
        function.__code__ = _copy(function.__code__)
    return len(functions)


def _has_run(code: CodeType, ran: set[CodeType]) -> bool:
    return code in ran or any(
        isinstance(constant, CodeType) and _has_run(constant, ran) for constant in code.co_consts
    )


def _copy(code: CodeType) -> CodeType:
    constants = tuple(
        _copy(constant) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    )
    return code.replace(co_consts=constants)
