"""Contract of the Rust module.

Asynchronous calls take a ``token``: an int chosen by the caller. Their result arrives as a completion
``(token, value, None)`` or ``(token, None, (kind, code, text))`` from :meth:`Runtime.completions`;
``Runtime.fileno()`` becomes readable when completions wait (one wake-up for many). Native threads never take
the GIL; every method releases it before it takes a lock of the engine.

Error kinds: ``timeout`` ``refused`` ``host-key-revoked`` ``handshake`` (TLS alert or bad signature, text says)
``version`` (no common protocol) ``closed-by-peer`` (code = application code, text = its reason) ``closed-locally``
``reset-by-peer`` (stateless reset) ``transport`` (QUIC protocol error) ``lost`` (any other loss of the connection);
for streams ``reset`` and ``stopped`` (code = the peer's application code), ``stream-closed`` (ours, already finished);
for splices ``fd-closed`` (EPIPE/ECONNRESET on the descriptor, code = errno) ``fd-error`` (code = errno) ``cancelled``;
``setup`` for bad arguments found late. Bad arguments found at once raise ValueError or OSError.
"""

from typing import final

__all__ = [
    "Connection",
    "Endpoint",
    "Incoming",
    "RecvStream",
    "Runtime",
    "SendStream",
    "Signer",
    "ed25519_sign",
    "peel",
    "version",
    "warm_up",
]

_Completion = tuple[int, object, tuple[str, int, str] | None]

def version() -> str:
    """``"quinn 0.11.12"``-like text, for -V and bug reports."""

def warm_up() -> None:
    """Draw the process's first random bytes on a native thread, so that no user waits for it.

    The module itself starts no thread and draws no random bytes at import.
    """

@final
class Runtime:
    """tokio's threads and the completion queue. One per process, made after every fork.

    Stops its threads on :meth:`close`, or without waiting when collected.
    """

    def __new__(cls, worker_threads: int = 1) -> Runtime:
        """One worker moves more than several do unless several connections are busy: what arrives while it works is
        taken at once, and nothing is handed over between threads.
        """

    def fileno(self) -> int:
        """Descriptor that is readable while completions wait. Owned by the runtime."""

    def completions(self) -> list[_Completion]:
        """Take all waiting completions, and clear the descriptor."""

    def close(self, timeout_ms: int = 1000) -> bool:
        """Cancel everything, stop all threads (splice threads too); True if all ended in time. Idempotent."""

@final
class Signer:
    """A signing process on the other end of a SOCK_SEQPACKET unix socket (docs/protocol.md 8).

    ``public_keys`` are SubjectPublicKeyInfo DER, in the server's order of preference (used only where the client
    shows none: the client's order of signature schemes decides). ``socket_fd`` is duplicated.

    Request, one packet: u32 number, u8 key index, u16 TLS SignatureScheme, the TLS 1.3 CertificateVerify input.
    Answer, one packet: the same number, u16 n1, TLS signature, u16 n2, SSH signature blob over the session id;
    n1 = 0 refuses. All big-endian.
    No answer within ``deadline_ms`` fails that handshake; an answer that comes later is dropped.
    """

    def __new__(cls, public_keys: list[bytes], socket_fd: int, deadline_ms: int = 50) -> Signer: ...

@final
class Endpoint:
    """One UDP socket. ``socket_fd`` is a bound UDP socket, duplicated; buffer sizes are the caller's business."""

    def __new__(
        cls,
        runtime: Runtime,
        socket_fd: int,
        *,
        server: bool,
        reset_key: bytes | None = None,
        token_key: bytes | None = None,
        idle_s: float = 900.0,
        keep_alive_s: float = 0.0,
        initial_rtt_ms: float = 100.0,
        handshake_s: float = 30.0,
        bidi_streams: int = 1024,
        uni_streams: int = 1024,
        stream_window: int = 8388608,
        connection_window: int = 33554432,
        max_incoming: int = 1024,
    ) -> Endpoint:
        """``reset_key``/``token_key``: 32 or more bytes kept over restarts, else random.

        ``bidi_streams``, ``uni_streams``, ``connection_window`` (bytes) are what each new connection starts with;
        :meth:`Connection.set_limits` changes them. ``keep_alive_s`` 0 sends none. ``handshake_s`` bounds the time that
        :meth:`connect` and :meth:`Incoming.accept` may take (``timeout``). Raises OSError, ValueError.
        """

    def local_address(self) -> tuple[str, int]: ...
    def connect(
        self,
        token: int,
        host: str,
        port: int,
        *,
        server_name: str,
        schemes: list[int],
        trusted: list[bytes],
        revoked: list[bytes],
        key_log: str | None = None,
        qlog: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Completes with a Connection when the handshake is finished.

        ``host`` is an IP literal (an IPv6 scope as ``%N``). ``schemes`` are the TLS SignatureSchemes to offer, best
        first. A server key in ``revoked`` fails the handshake (``host-key-revoked``); any other finishes it, and
        :attr:`Connection.peer_key_trusted` says whether it is in ``trusted``. Nothing of ours is sent meanwhile.
        ``key_log`` (NSS key log) and ``qlog`` name files, made 0600, appended to. ``timeout_s`` replaces ``handshake_s``.
        """

    def accept(self, token: int) -> None:
        """Completes with the next Incoming, or None when the endpoint is closed."""

    def rebind(self, socket_fd: int) -> None:
        """Go on with another UDP socket (duplicated); connections migrate."""

    def open_connections(self) -> int: ...
    def close(self, code: int = 0, reason: bytes | None = None) -> None:
        """Close every connection and accept no more."""

    def wait_idle(self, token: int) -> None:
        """Completes with None when all connections have drained."""

@final
class Incoming:
    """A first packet that was not answered yet. Dropping it refuses."""

    @property
    def remote_address(self) -> tuple[str, int]: ...
    @property
    def address_validated(self) -> bool:
        """True when the peer has shown by a Retry or NEW_TOKEN token that it receives at its address."""

    def accept(self, token: int, signer: Signer) -> None:
        """Completes with a Connection as soon as the server's first flight is signed (0.5-RTT):

        ``session_id`` and ``host_signature`` are set, streams may be opened and written. The peer is unknown and its
        address not yet proven until :meth:`Connection.handshake_done` completes.
        """

    def retry(self) -> bool:
        """Ask the peer to prove its address; False (and the Incoming still usable) if it already has."""

    def refuse(self) -> None: ...
    def ignore(self) -> None: ...

@final
class Connection:
    """Collecting it closes it with code 0, whatever streams are left: keep it as long as they are wanted."""

    @property
    def session_id(self) -> bytes:
        """``b"qsh/1 session\\0"`` + SHA-256 of the TLS 1.3 CertificateVerify input: 46 bytes, equal on both sides."""

    @property
    def host_signature(self) -> bytes:
        """Server: the SSH signature blob over the session id, as the signer gave it. Client: empty."""

    @property
    def peer_key(self) -> bytes:
        """The server's raw public key (SubjectPublicKeyInfo DER), on both sides."""

    @property
    def peer_key_trusted(self) -> bool: ...
    @property
    def remote_address(self) -> tuple[str, int]:
        """The peer's present address; changes when it migrates."""

    @property
    def local_ip(self) -> str | None:
        """The address that the peer's packets came to, where the system tells."""

    def handshake_done(self, token: int) -> None:
        """Completes with None when the peer's Finished has arrived."""

    def open_bi(self, token: int) -> None:
        """Completes with (SendStream, RecvStream)."""

    def open_uni(self, token: int) -> None:
        """Completes with a SendStream."""

    def accept_bi(self, token: int) -> None:
        """Completes with (SendStream, RecvStream)."""

    def accept_uni(self, token: int) -> None:
        """Completes with a RecvStream."""

    def send_datagram(self, data: bytes) -> None:
        """Queue a datagram; the oldest waiting ones are dropped when the queue is full.

        ValueError: too large or not supported. On a lost connection it does nothing.
        """

    def read_datagram(self, token: int) -> None:
        """Completes with bytes."""

    def max_datagram_size(self) -> int | None: ...
    def set_limits(self, *, bidi_streams: int, uni_streams: int, connection_window: int) -> None:
        """What the peer may have open and send from now on; used to lift the limits of the time before authentication."""

    def stats(self) -> dict[str, int]:
        """rtt_us, cwnd, mtu, lost_packets, sent_packets, sent_bytes, received_packets, received_bytes,
        congestion_events, black_holes.
        """

    def close(self, code: int, reason: bytes) -> None: ...
    def flushed(self, token: int) -> None:
        """After :meth:`close`: completes with None when CONNECTION_CLOSE has been handed to the socket (or 100 ms passed)."""

    def closed(self, token: int) -> None:
        """Completes with (kind, code, text) when the connection is gone, whoever ended it. Never an error."""

@final
class SendStream:
    """Collecting one that was not finished resets it with code 0: what ends early must not look complete."""

    @property
    def id(self) -> int: ...
    @property
    def total(self) -> int:
        """Bytes accepted for sending so far (by write and splice)."""

    def set_priority(self, priority: int) -> None: ...
    def write(self, token: int, data: bytes) -> None:
        """Completes with None when all of it is in the send buffer. Calls are served in order."""

    def finish(self) -> None:
        """Half-close after everything written (queued behind pending writes)."""

    def reset(self, code: int) -> None: ...
    def acknowledged(self, token: int) -> None:
        """After :meth:`finish`: completes with None when the peer has acknowledged everything."""

    def splice_from(
        self, token: int, fd: int, *, shared: bool = False, finish: bool = True
    ) -> None:
        """Copy the descriptor into the stream until its end of file, then :meth:`finish` (if asked).

        Completes with the byte count. The engine takes over ``fd`` and closes it. ``shared``: the open file description
        is somebody else's too (standard input) and never made non-blocking: a pipe or terminal is opened anew through
        /proc, a socket is read with MSG_DONTWAIT, the rest gets a thread. Otherwise it is made non-blocking; what
        cannot be polled (regular files) gets a thread. EIO from a pty master counts as end of file. If the peer stops
        the stream: error ``stopped``. After an error the stream is not finished.
        """

    def cancel_splice(self) -> None:
        """End a running splice with ``cancelled``; bytes already read from the descriptor are sent first."""

@final
class RecvStream:
    """Collecting one that was not read to its end stops it with code 0."""

    @property
    def id(self) -> int: ...
    @property
    def total(self) -> int:
        """Bytes delivered so far (to read, or written to the descriptor by a splice)."""

    def read(self, token: int, max_bytes: int = 65536) -> None:
        """Completes with bytes; empty at the end of the stream."""

    def stop(self, code: int) -> None:
        """Tell the peer that nothing more is wanted."""

    def splice_to(self, token: int, fd: int, *, shared: bool = False) -> None:
        """Copy the stream into the descriptor until the stream's end; complete with the byte count once all is written.

        The engine takes over ``fd``: at the end it is shut down for writing (sockets) and closed. On ``fd-closed`` the
        stream is stopped with code 0. ``shared`` as in :meth:`SendStream.splice_from`.
        """

    def cancel_splice(self) -> None:
        """End a running splice with ``cancelled``; what was not written is there for the next read or splice."""

def peel(runtime: Runtime, send: SendStream, recv: RecvStream) -> int:
    """The stream as a descriptor of its own: one end of a socket pair whose other end is spliced natively both ways.

    The caller owns the returned descriptor. shutdown(SHUT_WR) on it half-closes the stream.
    """

def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """The Ed25519 signature (64 bytes) by the key with this seed. ValueError: the seed has not 32 bytes."""
