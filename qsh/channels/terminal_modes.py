"""SSH's encoded terminal modes ⇄ termios (RFC 4254 section 8, RFC 8160, OpenSSH's ttymodes.h).

Both ends need it: the client encodes its terminal, the server applies that to the new pty.
Opcode 16 (VSWTCH) is left out: glibc has no such name, so OpenSSH on Linux never sends it.
"""

from __future__ import annotations

import termios
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["apply", "encode"]

IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED, CC = range(7)
"""Places in the list that tcgetattr returns."""

DISABLED: Final = 255
"""On the wire: the special character is off. In termios on Linux that is 0."""

CS7_OPCODE, CS8_OPCODE, PARENB_OPCODE, ISPEED_OPCODE, OSPEED_OPCODE = 90, 91, 92, 128, 129

CHARACTERS: Final = {
    1: termios.VINTR,
    2: termios.VQUIT,
    3: termios.VERASE,
    4: termios.VKILL,
    5: termios.VEOF,
    6: termios.VEOL,
    7: termios.VEOL2,
    8: termios.VSTART,
    9: termios.VSTOP,
    10: termios.VSUSP,
    12: termios.VREPRINT,
    13: termios.VWERASE,
    14: termios.VLNEXT,
    18: termios.VDISCARD,
}

IUTF8: Final = 0x4000
"""The same bit on Linux and macOS; Python 3.11's termios does not name it."""

_IFLAGS = ("IGNPAR", "PARMRK", "INPCK", "ISTRIP", "INLCR", "IGNCR", "ICRNL", "IUCLC")
_LFLAGS = ("ISIG", "ICANON", "XCASE", "ECHO", "ECHOE", "ECHOK", "ECHONL", "NOFLSH", "TOSTOP")
_OFLAGS = ("OPOST", "OLCUC", "ONLCR", "OCRNL", "ONOCR", "ONLRET")


def _named(first: int, field: int, names: tuple[str, ...]) -> dict[int, tuple[int, int]]:
    """Opcodes from ``first`` on; those that this system's termios does not have are left out."""
    flags = ((code, getattr(termios, name, 0)) for code, name in enumerate(names, first))
    return {code: (field, bit) for code, bit in flags if bit}


FLAGS: Final = {
    **_named(30, IFLAG, (*_IFLAGS, "IXON", "IXANY", "IXOFF", "IMAXBEL")),
    42: (IFLAG, IUTF8),
    **_named(50, LFLAG, (*_LFLAGS, "IEXTEN", "ECHOCTL", "ECHOKE", "PENDIN")),
    **_named(70, OFLAG, _OFLAGS),
    **_named(92, CFLAG, ("PARENB", "PARODD")),
}
"""Opcode → (place in the list, bit)."""

_BAUD_OF: Final[dict[int, int]] = {
    getattr(termios, name): int(name[1:])
    for name in dir(termios)
    if name[0] == "B" and name[1:].isdigit()
}
_SPEED_OF: Final = {baud: speed for speed, baud in _BAUD_OF.items()}


def encode(attributes: list[Any]) -> dict[int, int]:
    """The modes of a terminal: opcode → value. ``attributes`` is what tcgetattr returned."""
    modes: dict[int, int] = {}
    for opcode, place in CHARACTERS.items():
        char = _ordinal(attributes[CC][place])
        modes[opcode] = char or DISABLED
    for opcode, (field, bit) in FLAGS.items():
        modes[opcode] = int(attributes[field] & bit != 0)
    size = attributes[CFLAG] & termios.CSIZE
    modes[CS7_OPCODE] = int(size & termios.CS7 != 0)  # OpenSSH sends 1 for CS8 too
    modes[CS8_OPCODE] = int(size & termios.CS8 != 0)
    modes[ISPEED_OPCODE] = _BAUD_OF.get(attributes[ISPEED], 9600)
    modes[OSPEED_OPCODE] = _BAUD_OF.get(attributes[OSPEED], 9600)
    return modes


def apply(attributes: list[Any], modes: Mapping[int, int]) -> list[Any]:
    """A copy of a pty's ``attributes`` with ``modes`` applied; unknown opcodes, speeds: no change.

    Eight bits and no parity stay: a pty has nothing else, and glibc makes asking for it an error (EINVAL).
    """
    result = [*attributes[:CC], list(attributes[CC])]
    for opcode, value in modes.items():
        if opcode in CHARACTERS:
            char = 0 if value == DISABLED else value & 0xFF
            result[CC][CHARACTERS[opcode]] = bytes((char,))
        elif opcode in FLAGS and opcode != PARENB_OPCODE:
            field, bit = FLAGS[opcode]
            result[field] = result[field] | bit if value else result[field] & ~bit
    result[ISPEED] = _SPEED_OF.get(modes.get(ISPEED_OPCODE, 0) or -1, result[ISPEED])
    result[OSPEED] = _SPEED_OF.get(modes.get(OSPEED_OPCODE, 0) or -1, result[OSPEED])
    return result


def _ordinal(char: object) -> int:
    """VMIN and VTIME come as int, the others as one byte."""
    return char[0] if isinstance(char, bytes) else int(str(char))
