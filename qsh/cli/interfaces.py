"""The addresses of this machine's interfaces, for ``Match localnetwork``: getifaddrs(3)."""

from __future__ import annotations

import ctypes
import socket
import sys

__all__ = ["local_addresses"]

IFF_UP = 1


class _IfAddrs(ctypes.Structure):
    pass


_IfAddrs._fields_ = [  # the first five members are the same on Linux and the BSDs
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
]


def local_addresses() -> list[str]:
    """Every IPv4 and IPv6 address of every interface that is up, as text."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_IfAddrs)()
    if libc.getifaddrs(ctypes.byref(head)) != 0:
        return []
    found: list[str] = []
    try:
        entry = head
        while entry:
            item = entry.contents
            if item.address and item.flags & IFF_UP:
                text = _text(item.address)
                if text:
                    found.append(text)
            entry = item.next
    finally:
        libc.freeifaddrs(head)
    return found


def _text(address: int) -> str:
    family = int(ctypes.c_ushort.from_address(address).value)
    if sys.byteorder == "little" and not sys.platform.startswith("linux"):
        family >>= 8  # BSD: sa_len comes first
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, ctypes.string_at(address + 4, 4))
    if family == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, ctypes.string_at(address + 8, 16))
    return ""
