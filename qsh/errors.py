"""The one exception tree of qsh.

QshError
├── UsageError                   a command line that cannot be understood
├── ConfigError                  a bad line in a configuration file (file, line, keyword)
├── KeyFormatError               a key, certificate or signature that cannot be parsed
├── KeyPassphraseError           an encrypted private key and no (or a wrong) passphrase
├── AgentError                   the ssh-agent refused, vanished or answered nonsense
├── HostKeyError                 the server's identity is not acceptable
├── AuthenticationError          the server did not let us in
│   └── PamError                 a call of libpam failed (call, code)
├── ProtocolError                a message that breaks qsh/1 (code)
│   ├── LocalProtocolError       we broke it: a bug of ours
│   └── RemoteProtocolError      the peer broke it
├── TransportError               the network or the engine (kind, code)
│   ├── ConnectError             no connection came about
│   ├── ConnectionLost           it was there and is gone
│   ├── StreamReset              the peer reset or stopped one stream
│   └── DescriptorError          the local end of a splice failed (errno)
├── ChannelError                 the server refused or lost a channel
├── ForwardError                 a forward cannot be had, and ExitOnForwardFailure says that it matters
├── RecordingError               a recording that cannot be read
└── StartupError                 a daemon that cannot start
"""

from __future__ import annotations

__all__ = [
    "AgentError",
    "AuthenticationError",
    "ChannelError",
    "ConfigError",
    "ConnectError",
    "ConnectionLost",
    "DescriptorError",
    "ForwardError",
    "HostKeyError",
    "KeyFormatError",
    "KeyPassphraseError",
    "LocalProtocolError",
    "PamError",
    "ProtocolError",
    "QshError",
    "RecordingError",
    "RemoteProtocolError",
    "StartupError",
    "StreamReset",
    "TransportError",
    "UsageError",
]


class QshError(Exception):
    """Base of everything qsh raises on purpose; its text is fit to be shown to the user."""


class UsageError(QshError):
    """A command line that cannot be understood."""


class ConfigError(QshError):
    """A bad line in a configuration file or a bad ``-o`` option.

    ``text`` says what is wrong; ``str()`` is OpenSSH's form ``FILE line N: text``.
    """

    def __init__(self, text: str, *, file: str = "", line: int = 0, keyword: str = "") -> None:
        self.text, self.file, self.line, self.keyword = text, file, line, keyword
        super().__init__(text)

    def __str__(self) -> str:
        if not self.file:
            return self.text
        return (
            f"{self.file} line {self.line}: {self.text}"
            if self.line
            else f"{self.file}: {self.text}"
        )


class KeyFormatError(QshError):
    """A key, certificate or signature that cannot be parsed."""


class KeyPassphraseError(QshError):
    """An encrypted private key and no passphrase, or the wrong one."""


class AgentError(QshError):
    """The ssh-agent refused, vanished or answered nonsense."""


class HostKeyError(QshError):
    """The server's identity is not acceptable."""


class AuthenticationError(QshError):
    """The server did not let us in."""


class PamError(AuthenticationError):
    """A call of libpam failed; ``code`` is its number."""

    def __init__(self, call: str, code: int, text: str) -> None:
        self.call, self.code = call, code
        super().__init__(f"PAM: {call}: {text}")


class ProtocolError(QshError):
    """A message that breaks qsh/1. ``code`` is the error's name on the wire (docs/protocol.md 9)."""

    def __init__(self, code: str, text: str = "") -> None:
        self.code = code
        super().__init__(f"{code}: {text}" if text else code)


class LocalProtocolError(ProtocolError):
    """We broke the protocol: a bug of ours."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""


class TransportError(QshError):
    """The network or the engine failed. ``kind`` is the engine's word, ``code`` its number."""

    def __init__(self, text: str, *, kind: str = "", code: int = 0) -> None:
        self.kind, self.code = kind, code
        super().__init__(text)


class ConnectError(TransportError):
    """No connection came about."""


class ConnectionLost(TransportError):
    """The connection was there and is gone."""


class StreamReset(TransportError):
    """The peer reset (``kind`` "reset") or stopped ("stopped") one stream; others live on."""


class DescriptorError(TransportError):
    """The local end of a splice failed; ``code`` is the errno."""


class ChannelError(QshError):
    """The server refused a channel or lost it. ``code`` is its word for a refusal (docs/protocol.md 9), ``detail`` the
    system's symbol for what failed.
    """

    def __init__(self, text: str, *, code: str = "", detail: str = "") -> None:
        self.code, self.detail = code, detail
        super().__init__(text)


class ForwardError(QshError):
    """A forward that was asked for cannot be had, and ExitOnForwardFailure says that it matters."""


class RecordingError(QshError):
    """A recording of a terminal, or a line of it, that cannot be read."""


class StartupError(QshError):
    """A daemon that cannot start."""
