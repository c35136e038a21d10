"""libpam, by ctypes: one handle, whose conversation is a function of ours (pam(3); Linux-PAM's numbers).

Not pamela or python-pam: a conversation here has many rounds with somebody far away, lives in a process of its own, and the
answers are wiped once the module has its copy.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_size_t,
    c_void_p,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.errors import PamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Converse = Callable[[Sequence["Said"]], Sequence[bytearray | None]]

__all__ = ["Pam", "Said", "is_there", "service_of", "wipe"]

LIBRARY: Final = "libpam.so.0"
SERVICES: Final = ("/etc/pam.d", "/usr/lib/pam.d", "/usr/share/pam.d")
FALLBACK: Final = "sshd"
"""The service of a system where nobody has said anything about qshd."""

SUCCESS: Final = 0
NEW_AUTHTOK_REQD: Final = 12
CONV_ERR: Final = 19
PROMPT_ECHO_OFF, PROMPT_ECHO_ON, ERROR_MSG, TEXT_INFO = 1, 2, 3, 4
MAX_MESSAGES: Final = 32
"""PAM_MAX_NUM_MSG"""
DISALLOW_NULL_AUTHTOK: Final = 0x1
ESTABLISH_CRED: Final = 0x2
DELETE_CRED: Final = 0x4
CHANGE_EXPIRED_AUTHTOK: Final = 0x20
USER, TTY, RHOST = 2, 3, 4
IDENT: Final = b"qshd"
"""What lines of modules in the log begin with, not the interpreter's name. openlog(3) keeps the address."""
LOG_PID, LOG_AUTH = 0x01, 4 << 3


class _Message(Structure):
    _fields_ = (("style", c_int), ("text", c_char_p))


class _Response(Structure):
    _fields_ = (("text", c_void_p), ("code", c_int))


_CONVERSE = CFUNCTYPE(
    c_int, c_int, POINTER(POINTER(_Message)), POINTER(POINTER(_Response)), c_void_p
)


class _Conversation(Structure):
    _fields_ = (("converse", _CONVERSE), ("data", c_void_p))


class Said(NamedTuple):
    """One message of a module: a question (``style`` PROMPT_…) or something to read."""

    style: int
    text: str

    @property
    def asks(self) -> bool:
        """It wants an answer."""
        return self.style in (PROMPT_ECHO_OFF, PROMPT_ECHO_ON)


def wipe(secret: bytearray) -> None:
    """Overwrite it where it lies."""
    secret[:] = bytes(len(secret))


def is_there() -> bool:
    """Whether this system has PAM, and we the rights that it takes."""
    if os.geteuid() != 0:
        return False
    try:
        _library()
    except OSError:
        return False
    return True


def service_of(name: str, directories: Sequence[str] = SERVICES) -> str:
    """The service whose rules hold: ``name``, or sshd's where there are none for it."""
    if any(os.path.exists(f"{directory}/{name}") for directory in directories):
        return name
    return FALLBACK


_loaded: list[Any] = []


def _library() -> tuple[Any, Any]:
    """libpam and the C library, loaded once. Raises OSError. Its names are for modules that were not linked with it, too."""
    if not _loaded:
        pam, libc = ctypes.CDLL(LIBRARY, ctypes.RTLD_GLOBAL), ctypes.CDLL(None)
        pam.pam_start.argtypes = (c_char_p, c_char_p, POINTER(_Conversation), POINTER(c_void_p))
        for name in ("authenticate", "acct_mgmt", "setcred", "open_session", "close_session"):
            getattr(pam, f"pam_{name}").argtypes = (c_void_p, c_int)
        pam.pam_chauthtok.argtypes = (c_void_p, c_int)
        pam.pam_end.argtypes = (c_void_p, c_int)
        pam.pam_set_item.argtypes = (c_void_p, c_int, c_char_p)
        pam.pam_get_item.argtypes = (c_void_p, c_int, POINTER(c_void_p))
        pam.pam_putenv.argtypes = (c_void_p, c_char_p)
        pam.pam_getenvlist.argtypes = (c_void_p,)
        pam.pam_getenvlist.restype = POINTER(c_void_p)
        pam.pam_strerror.argtypes = (c_void_p, c_int)
        pam.pam_strerror.restype = c_char_p
        libc.calloc.argtypes = (c_size_t, c_size_t)
        libc.calloc.restype = c_void_p
        libc.free.argtypes = (c_void_p,)
        libc.free.restype = None
        libc.openlog.argtypes = (c_char_p, c_int, c_int)
        libc.openlog.restype = None
        libc.openlog(IDENT, LOG_PID, LOG_AUTH)
        _loaded.append((pam, libc))
    found: tuple[Any, Any] = _loaded[0]
    return found


class Pam:
    """One handle. ``converse`` answers each message of a module with bytes, None for what asks nothing; what it raises, but for
    the end of the process, the module sees as a failed conversation, and :attr:`failure` keeps it.
    """

    def __init__(self, service: str, user: str, converse: Converse) -> None:
        """Raises PamError, OSError."""
        self._pam, self._libc = _library()
        self._converse = converse
        self.failure: Exception | None = None
        self._callback = _CONVERSE(self._answer)  # libpam keeps the address of both
        self._conversation = _Conversation(self._callback, None)
        self._handle = c_void_p()
        self._status = SUCCESS
        code = self._pam.pam_start(
            service.encode(),
            user.encode(errors="surrogateescape"),
            ctypes.byref(self._conversation),
            ctypes.byref(self._handle),
        )
        if code != SUCCESS:
            raise PamError("start", code, f"error {code}")

    def call(self, name: str, flags: int = 0) -> None:
        """``pam_name(handle, flags)``. Raises PamError."""
        self._status = getattr(self._pam, f"pam_{name}")(self._handle, c_int(flags))
        if self._status != SUCCESS:
            raise self._error(name, self._status)

    def _error(self, name: str, code: int) -> PamError:
        text = self._pam.pam_strerror(self._handle, c_int(code)) or b""
        return PamError(name, code, text.decode(errors="replace"))

    def set_item(self, item: int, text: str) -> None:
        """Raises PamError."""
        code = self._pam.pam_set_item(self._handle, item, text.encode(errors="surrogateescape"))
        if code != SUCCESS:
            raise self._error("set_item", code)

    @property
    def user(self) -> str:
        """PAM_USER, which a module may have changed."""
        found = c_void_p()
        if self._pam.pam_get_item(self._handle, USER, ctypes.byref(found)) or not found.value:
            return ""
        return ctypes.string_at(found.value).decode(errors="surrogateescape")

    def put_environment(self, name: str, value: str) -> None:
        """For modules to see. Raises PamError."""
        text = f"{name}={value}".encode(errors="surrogateescape")
        if (code := self._pam.pam_putenv(self._handle, text)) != SUCCESS:
            raise self._error("putenv", code)

    def environment(self) -> dict[str, str]:
        """What the modules want the session to have."""
        found = {}
        listed = self._pam.pam_getenvlist(self._handle)
        at = 0
        while listed and (address := listed[at]):
            name, _, value = (
                ctypes.string_at(address).decode(errors="surrogateescape").partition("=")
            )
            found[name] = value
            self._libc.free(address)
            at += 1
        self._libc.free(listed)
        return found

    def end(self) -> None:
        """Of the handle; idempotent."""
        if self._handle:
            self._pam.pam_end(self._handle, c_int(self._status))
            self._handle = c_void_p()

    def _answer(self, count: int, messages: Any, answers: Any, _data: Any) -> int:
        """Called by modules."""
        try:
            if not 0 < count <= MAX_MESSAGES:
                return CONV_ERR
            said = [
                Said(each.style, (each.text or b"").decode(errors="replace"))
                for each in (messages[at].contents for at in range(count))
            ]
            given = self._converse(said)
        except Exception as error:  # libpam called: nothing may be raised through C
            self.failure = error
            return CONV_ERR
        found = self._libc.calloc(count, ctypes.sizeof(_Response))
        if not found:
            return CONV_ERR
        responses = ctypes.cast(found, POINTER(_Response))
        for at, secret in enumerate(given[:count]):
            if secret is not None:
                responses[at].text = self._copy(secret)
        answers[0] = responses
        return SUCCESS

    def _copy(self, secret: bytearray) -> int:
        """Into memory that the module frees; ours is wiped."""
        copy: int = self._libc.calloc(len(secret) + 1, 1)
        if copy and secret:
            ctypes.memmove(copy, (ctypes.c_char * len(secret)).from_buffer(secret), len(secret))
        wipe(secret)
        return copy
