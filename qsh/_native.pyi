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

from collections.abc import Sequence
from typing import final

__all__ = [
    "MODE_ALTERNATE",
    "MODE_APP_CURSOR",
    "MODE_BRACKETED_PASTE",
    "MODE_INSERT",
    "MODE_MARGINS",
    "MODE_MOUSE",
    "MODE_NO_WRAP",
    "MODE_ORIGIN",
    "MODE_STRING",
    "MODE_SYNC",
    "Connection",
    "Endpoint",
    "Image",
    "Incoming",
    "Pages",
    "RecvStream",
    "Runtime",
    "Screen",
    "SendStream",
    "Signer",
    "Snapshot",
    "UdpListener",
    "confine",
    "drop_bounding_set",
    "ed25519_public",
    "ed25519_sign",
    "gulp",
    "look",
    "peel",
    "pour",
    "refuse_rare_calls",
    "version",
    "wait",
    "warm_up",
]

_Completion = tuple[int, object, tuple[str, int, str] | None]

def version() -> str:
    """``"quinn 0.11.12"``-like text, for -V and bug reports."""

def drop_bounding_set() -> None:
    """Take every capability out of the bounding and ambient sets of this thread. Raises OSError.

    To be called before the user id changes, which takes the right to do it.
    """

def confine(role: str, paths: Sequence[str] = ...) -> tuple[list[str], list[str]]:
    """For good: few or no capabilities, no new rights, not dumpable, and a seccomp filter for all threads.

    ``role``: "front"; "signer" (a process that has all its sockets and no threads); "recorder" and "records" (which write
    below ``paths``, directories and files that are there); Landlock lets these reach nothing else. "monitor": it stays root.
    Returns what is in force, and what this kernel does not have. Raises OSError.
    """

def refuse_rare_calls() -> None:
    """Have the kernel refuse this process, and programs that it starts, calls that nobody needs at a login: tracing, modules of
    the kernel, clocks and the like. Its rights stay. Raises OSError, without root too.
    """

def warm_up() -> None:
    """Draw the process's first random bytes on a native thread, so that no user waits for it.

    The module itself starts no thread and draws no random bytes at import.
    """

def gulp(fd: int, limit: int) -> tuple[bytes, int]:
    """Read a non-blocking descriptor until it has no more (1), its end or an error (2), or ``limit`` bytes, at most 1 MiB, are
    there (0).
    """

def pour(fd: int, data: bytes, start: int, limit_us: int) -> int:
    """Write ``data`` from ``start`` on to a non-blocking descriptor until all is written, nothing was taken for 0.3 ms, or
    ``limit_us`` has passed; the bytes that were taken. Raises OSError if none were.
    """

def look(master: int) -> bytes:
    """How a terminal treats keys, asked on its master side: input flags, local flags, foreground process group (4 bytes each),
    the characters ERASE, KILL, WERASE, EOF, LNEXT, REPRINT, INTR, QUIT, SUSP. Raises OSError: it is hung up.
    """

def wait(
    epoll: int,
    timeout_s: float | None,
    watched: list[tuple[int, bytes, float, float, float, float]],
) -> tuple[list[tuple[int, int]], bool]:
    """Wait for events of an epoll descriptor, at most ``timeout_s`` (None: without end), or until a terminal has changed:
    descriptors with their events, and whether one has.

    ``watched``: master side; what :func:`look` last told; seconds to the next look, from the one before to it, and to where the
    first one behind is the last; the longest interval. Each interval is twice the one before. Raises OSError.
    """

@final
class Image:
    """The memory of this process, put into a sealed file that is mapped privately in its place: processes that are forked from
    now on share it, and can give pages back that are as they were (:class:`Pages`).
    """

    def __new__(cls) -> Image:
        """Raises OSError: more than one thread runs, or the system does not have what it takes."""

    def fileno(self) -> int:
        """The file's descriptor, to be kept open where :meth:`pages` is used."""

    def pages(self) -> Pages:
        """The calling process's own pages over the image; opened while it may look at itself. Raises OSError."""

@final
class Pages:
    """Pages that this process has written to."""

    def give_back(self) -> int:
        """Drop those that equal the image's again; how many. One thread and no signal handler may run. Raises OSError."""

@final
class Runtime:
    """tokio's threads and the completion queue. One per process, made after every fork. A call with the token 2^64 - 1 completes
    nothing.

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
    """One UDP socket. ``socket_fd`` is a bound UDP socket, duplicated; buffer sizes are the caller's business.

    With ``peer`` it is one byte stream that carries packets (docs/protocol.md 15.1): a connected socket, or what is read
    from, with ``write_fd`` to write to, made non-blocking; both are duplicated. The packets that come from it come from
    ``peer``, an IP literal and port, and a client connects to just that; if UDP works there, :meth:`rebind` moves to it.
    Socket options are the caller's business too.
    """

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
        congestion: str = "own",
        peer: tuple[str, int] | None = None,
        write_fd: int | None = None,
        noise: int = 0,
        streams: bool = False,
    ) -> Endpoint:
        """``reset_key``/``token_key``: 32 or more bytes kept over restarts, else random.

        ``bidi_streams``, ``uni_streams``, ``connection_window`` (bytes) are what each new connection starts with;
        :meth:`Connection.set_limits` changes them. ``keep_alive_s`` 0 sends none. ``handshake_s`` bounds the time that
        :meth:`connect` and :meth:`Incoming.accept` may take (``timeout``). ``congestion`` is ``own`` or ``cubic``. ``noise``:
        bytes of others that may go before the stream's greeting. ``streams``: a UDP socket beside which :meth:`add_stream` puts
        streams. Raises OSError, ValueError.
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
        largest: int | None = None,
    ) -> None:
        """Completes with a Connection when the handshake is finished.

        ``host`` is an IP literal (an IPv6 scope as ``%N``). ``schemes`` are the TLS SignatureSchemes to offer, best
        first. A server key in ``revoked`` fails the handshake (``host-key-revoked``); any other finishes it, and
        :attr:`Connection.peer_key_trusted` says whether it is in ``trusted``. Nothing of ours is sent meanwhile.
        ``key_log`` (NSS key log) and ``qlog`` name files, made 0600, appended to. ``timeout_s`` replaces ``handshake_s``.
        ``largest``: bytes that no packet exceeds, at least 1200 (else what the first link takes).
        """

    def send_again(self) -> None:
        """On a client whose login is not over: send the last packets once more, and each packet twice from now on."""

    def login_over(self) -> None:
        """Keep no packets, and send none twice."""

    def accept(self, token: int) -> None:
        """Completes with the next Incoming, or None when the endpoint is closed."""

    def rebind(
        self,
        socket_fd: int,
        *,
        peer: tuple[str, int] | None = None,
        write_fd: int | None = None,
        noise: int = 0,
    ) -> None:
        """Go on with another UDP socket or stream (duplicated); connections migrate. Not for one with ``streams``."""

    def add_stream(
        self, token: int, fd: int, host: str, port: int, *, write_fd: int | None = None
    ) -> None:
        """Take packets from one more stream, whose peer is at this address; all descriptors are duplicated.

        Completes with its end, as :meth:`stream_ended`. It is closed (``idle``) when no packet of it is answered within 10 s;
        of 128 that carry no connection the oldest gives way (``closed``). Raises OSError (EMFILE: there are 4096), ValueError.
        """

    def close_stream(self, number: int) -> None:
        """Close one that was added (:attr:`Incoming.stream`), if it is there."""

    def keep_streams(self, numbers: set[int]) -> None:
        """Those of :attr:`Connection.on_stream`. Another that was answered is closed (``idle``) at the second call in a row."""

    def open_streams(self) -> int:
        """Streams that were added and are not over."""

    def stream_ended(self, token: int) -> None:
        """Completes with ``(why, head)`` when the stream of ``peer`` is over; connections stay and may be rebound.

        ``why``: ``end`` of its bytes, ``stranger`` (it does not begin with the greeting), ``malformed``, ``idle``, ``closed``
        by us, or the system's error. ``head``: the first bytes of one that has not greeted, at most 512.
        """

    def open_connections(self) -> int: ...
    def withheld(self) -> int:
        """Datagrams that a server did not send: more than three times what came from an address that has proven nothing
        (RFC 9000 8.1, 9.3).
        """

    def close(self, code: int = 0, reason: bytes | None = None) -> None:
        """Close every connection and accept no more; streams of packets when the connections have drained."""

    def wait_idle(self, token: int) -> None:
        """Completes with None when all connections have drained."""

@final
class Incoming:
    """A first packet that was not answered yet. Dropping it refuses."""

    @property
    def remote_address(self) -> tuple[str, int]: ...
    @property
    def address_validated(self) -> bool:
        """True when the peer has shown by a Retry or NEW_TOKEN token, or by a stream, that it receives at its address."""

    @property
    def stream(self) -> int:
        """The number of the stream that it came on; 0: UDP."""

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
    def first_id(self) -> bytes:
        """Server: the connection id in the peer's packets until it takes another, as when it moves. Client: empty."""

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
    def proven_address(self) -> tuple[str, int] | None:
        """Server: the peer's present address, if it is known to receive there (its port does not matter). Client: None."""

    @property
    def address_validated(self) -> bool:
        """Server: True when the peer has shown that it receives where its handshake came from, as of an Incoming or by a packet
        under the handshake's keys; known at the connection's end, too, whatever ended it. Client: False.
        """

    @property
    def on_stream(self) -> int:
        """The number of the stream that it is on now; 0: UDP."""

    @property
    def ids_retired(self) -> int:
        """How often the peer has retired a connection id: once for each migration, if it is honest. Each is replaced, and the
        replacement held until it is acknowledged.
        """

    @property
    def movements(self) -> int:
        """The paths so far, and the connection ids that the peer has retired, added up: it changes when either has grown."""

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
        """Queue a datagram; the oldest waiting ones are dropped when the queue (64 KiB) is full.

        ValueError: too large or not supported. On a lost connection it does nothing.
        """

    def read_datagram(self, token: int) -> None:
        """Completes with bytes: the next datagram that is no flow's. At most 64 KiB wait, then the oldest are dropped."""

    def splice_flow(self, token: int, flow: int, fd: int) -> None:
        """Move datagrams that begin with the number ``flow`` (a QUIC varint, RFC 9000 16) to and from a socket, natively.

        ``fd`` is an AF_UNIX SOCK_DGRAM or SOCK_SEQPACKET socket; the engine takes it over, whatever happens, and reads and
        writes it without ever waiting. What comes for the flow goes, without the number, as one datagram into it; what is
        read from it is sent behind the number. Dropped and counted (:meth:`flow_drops`): what the socket does not take at
        once, what has no number or one that is not spliced, an empty one for a SOCK_SEQPACKET socket; what is larger than
        :meth:`max_datagram_size`. Datagrams leave before stream data, but wait for the congestion window: 64 KiB of them,
        after that the oldest are dropped uncounted.

        Completes with None when the socket's other side is closed, the connection is gone, or after :meth:`end_flow`; with
        ``fd-error`` when the socket fails. A SOCK_DGRAM socket learns of its other side's end only when it is written to.
        From the first flow on, a datagram that is no flow's waits for :meth:`read_datagram`, or is dropped where nobody has ever
        called that. Raises ValueError (also: the number is spliced already, another kind of socket), OSError.
        """

    def splice_udp(
        self,
        token: int,
        flow: int,
        fd: int,
        send: SendStream,
        recv: RecvStream,
        *,
        by_stream: int = 65535,
        idle_s: float = 0.0,
    ) -> None:
        """Move a flow (:meth:`splice_flow`) to and from a connected UDP socket, and its stream, natively.

        The engine takes over ``fd``, whatever happens, and both halves of the stream, of which nothing can be asked after that.
        What is too large for a QUIC datagram, but at most ``by_stream`` bytes, goes on the stream: 16 bits of length, then the
        payload. Datagrams of UDP flows fill at most half of the 64 KiB of :meth:`splice_flow`; 64 KiB more wait in front
        of it, the oldest of them dropped and counted.

        Completes with ``(why, code, sent, received, dropped)`` (datagrams to and from the connection, and those lost here), never
        with an error: ``ended`` (the peer has finished the stream), ``reset`` (code: the peer's), ``socket`` (code: errno; the
        stream is reset with 3 for ECONNREFUSED, else with 2), ``idle`` (nothing for ``idle_s``, if that is not 0), ``closed``
        (:meth:`end_flow`, the connection is gone). Raises ValueError, OSError as :meth:`splice_flow`.
        """

    def end_flow(self, flow: int) -> None:
        """End one; nothing if there is none of this number. What waits in its socket is not sent."""

    def flow_drops(self) -> tuple[int, int]:
        """Datagrams of flows dropped so far: of those received, of those to be sent."""

    def flow_activity(self, token: int) -> None:
        """Completes with None when the next datagram of any flow has come or gone."""

    def path_news(self, token: int, *, first: bool) -> None:
        """Completes with the path's round-trip time in microseconds, lost packets of a million, and congestion window, when one
        differs from what was told before; ``first``: at once. None if it was called again meanwhile. Costs nothing while no
        datagram of a flow comes or goes.
        """

    def probe_path(self, data: bytes) -> None:
        """As :meth:`send_datagram`, though the congestion window is full: for a path that is not known yet."""

    def path_changed(self, token: int) -> None:
        """Completes with None when packets from another address of the peer's next make a path, which may fail its validation.

        Errors: the connection is gone.
        """

    def max_datagram_size(self) -> int | None: ...
    def set_limits(self, *, bidi_streams: int, uni_streams: int, connection_window: int) -> None:
        """What the peer may have open and send from now on; used to lift the limits of the time before authentication."""

    def stats(self) -> dict[str, int]:
        """rtt_us (stops left out), shortest_rtt_us (of the last minute), delivered_bytes (acknowledged), in_flight,
        waits (1: for an acknowledgement), path_challenges (received), cwnd,
        mtu, mtu_limit, lost_packets, sent_packets, sent_bytes, received_packets, received_bytes, congestion_events,
        black_holes, flows_dropped_in, flows_dropped_out.
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

    def unread(self, data: bytes) -> None:
        """Put back, once, what the read that has completed last brought too much: the next read or splice gets it."""

    def stop(self, code: int) -> None:
        """Tell the peer that nothing more is wanted."""

    def splice_to(self, token: int, fd: int, *, shared: bool = False) -> None:
        """Copy the stream into the descriptor until the stream's end; complete with the byte count once all is written.

        The engine takes over ``fd``: at the end it is shut down for writing (sockets) and closed. On ``fd-closed`` the
        stream is stopped with code 0. ``shared`` as in :meth:`SendStream.splice_from`.
        """

    def cancel_splice(self) -> None:
        """End a running splice with ``cancelled``; what was not written is there for the next read or splice."""

@final
class UdpListener:
    """A bound UDP socket whose peers have a flow each. ``fd`` is taken over, whatever happens. Collecting it closes it."""

    def __new__(
        cls,
        runtime: Runtime,
        fd: int,
        *,
        limit: int,
        idle_s: float,
        socks: bool = False,
        only: tuple[str, int] | None = None,
    ) -> UdpListener:
        """At most ``limit`` peers: a new one takes the place of one without an answer, or of one that was unused for 10 s (1 s
        after a question or two), the longest unused first; else it is not heard, as are more than 250 new ones a second.

        ``idle_s``: a flow ends when it was unused so long (0: never). ``socks``: datagrams have the header of RFC 1928 7
        (fragments are dropped); each target of a peer is a peer of its own. ``only``: the address that is heard; port 0: any
        port. Raises ValueError, OSError.
        """

    def peer(self, token: int) -> None:
        """Completes with ``(number, host, port, header)`` of the next new peer, None when the listener is closed. One at a time.

        What it sends meanwhile waits: 64 KiB of it, 256 KiB of all.
        """

    def attach(
        self,
        token: int,
        peer: int,
        connection: Connection,
        flow: int,
        send: SendStream,
        *,
        by_stream: int = 65535,
    ) -> None:
        """Its datagrams go on the stream from now on, which is taken over. Completes as :meth:`Connection.splice_udp`.

        Raises ValueError: there is no such peer any more, the flow's number is taken.
        """

    def opened(self, peer: int, recv: RecvStream) -> None:
        """The other side is there: from now on as :meth:`Connection.splice_udp`. The stream's half is taken over."""

    def forget(self, peer: int) -> None:
        """End its flow, if there is one; its next datagram makes it a new peer."""

    def counts(self) -> tuple[int, int]:
        """Peers there are, datagrams not heard; zeros when it is closed."""

    def close(self) -> None:
        """Hear nobody any more and end all flows. Idempotent."""

def peel(runtime: Runtime, send: SendStream, recv: RecvStream) -> int:
    """The stream as a descriptor of its own: one end of a socket pair whose other end is spliced natively both ways.

    The caller owns the returned descriptor. shutdown(SHUT_WR) on it half-closes the stream.
    """

def ed25519_public(seed: bytes) -> bytes:
    """The public half (32 bytes) of the Ed25519 key with this seed. ValueError: the seed has not 32 bytes."""

def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """The Ed25519 signature (64 bytes) by the key with this seed. ValueError: the seed has not 32 bytes."""

MODE_ALTERNATE: int
"""Bit of `Screen.modes`: the alternate screen is shown."""
MODE_BRACKETED_PASTE: int
"""Bit of `Screen.modes`: mode 2004."""
MODE_INSERT: int
"""Bit of `Screen.modes`: IRM, printed characters push others to the right."""
MODE_ORIGIN: int
"""Bit of `Screen.modes`: DECOM, rows count from the top margin."""
MODE_NO_WRAP: int
"""Bit of `Screen.modes`: DECAWM is off."""
MODE_MARGINS: int
"""Bit of `Screen.modes`: a scroll region other than the whole screen is set."""
MODE_APP_CURSOR: int
"""Bit of `Screen.modes`: DECCKM, cursor keys send SS3."""
MODE_MOUSE: int
"""Bit of `Screen.modes`: any mouse reporting (9, 1000, 1002, 1003)."""
MODE_SYNC: int
"""Bit of `Screen.modes`: a synchronised update (2026) is open. The model shows its content at once."""
MODE_STRING: int
"""Bit of `Screen.modes`: an OSC, DCS, APC, PM or SOS string is open."""

@final
class Snapshot:
    """An immutable copy of what a `Screen` shows and of its modes; equal rows are shared."""

    @property
    def offset(self) -> int:
        """Bytes fed when it was taken."""

    @property
    def history_end(self) -> int:
        """`Screen.history_end` when it was taken."""

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def alternate(self) -> bool:
        """Whether the alternate screen was shown."""

@final
class Screen:
    """A terminal without a window: applies output, tells what is shown, and writes repaints.

    Safe to use from several threads; each call is applied as a whole. Memory is bounded by the size
    of the screen and by ``history_lines``.
    """

    def __new__(cls, rows: int, cols: int, *, history_lines: int = 0) -> Screen:
        """A blank screen.

        Sizes are clamped: 2…1000 columns, 1…500 rows, at most 250,000 cells (rows give way).
        With ``history_lines`` 0, lines that scroll off are counted and forgotten.
        """

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def offset(self) -> int:
        """Bytes fed so far; an absolute position in the stream."""

    def skip_to(self, offset: int) -> None:
        """Count on from ``offset``; a sequence that is open is dropped."""

    @property
    def boundary(self) -> int:
        """Where the open sequence or UTF-8 character began; equals ``offset`` when none is open."""

    @property
    def modes(self) -> int:
        """MODE_* bits."""

    @property
    def title(self) -> str:
        """Window title, "" when none was set; without control characters, at most 4 KiB."""

    def feed(self, data: bytes) -> list[tuple[str, int, bytes]]:
        """Apply output; never raises.

        Returns at most 256 events (kind, offset just behind the sequence, data) in order; further
        ones are dropped:

        * ``query``: the reply of this model (DA, DSR, DECRQM, DECRQSS, XTVERSION, OSC 4/10/11/12,
          kitty flags, CSI 14/16/18 t, XTGETTCAP);
        * ``clipboard`` (OSC 52), ``notify`` (OSC 9/99/777), ``bell``: the sequence itself;
        * ``graphics``: sixel or kitty graphics have begun;
        * ``clear-history``: CSI 3 J;
        * ``rebuilt``: the model failed and was rebuilt from a recent picture; data is a text.
        """

    def resize(self, rows: int, cols: int) -> None:
        """Another size, clamped; the main screen is reflowed, margins are reset."""

    @property
    def cursor(self) -> tuple[int, int, bool, bool]:
        """Row and column from 0, whether the next character wraps first, whether it is visible."""

    def cell(self, row: int, col: int) -> tuple[str, int, int]:
        """Text with combining marks (" " when blank), width, style; ("", 0, 0) outside the screen.

        Width is 2 for a wide character, 0 for its right half (text ""). Equal styles look equal, but
        for the colour of underlines and hyperlinks; 0 is the default pen.
        """

    def row_cells(self, row: int, first: int = 0, end: int = ...) -> list[tuple[str, int, int]]:
        """`cell` of each column; empty outside the screen."""

    def row_end(self, row: int) -> int:
        """The column behind the last cell that is no default blank."""

    def row_text(self, row: int) -> str:
        """Text of a row without trailing blanks."""

    def row_wrapped(self, row: int) -> bool:
        """Whether the line goes on in the next row. Row -1 is the line that left the screen last."""

    def style_is_dim(self, style: int) -> bool:
        """Faint, or grey (bright black, 256-colours 232…250, RGB greys): how shells suggest."""

    def snapshot(self) -> Snapshot:
        """The picture now; rows that have not changed since the last one are shared with it."""

    def paint(
        self,
        history_from: int | None = None,
        marker: str = "",
        *,
        window: tuple[int, int] | None = None,
    ) -> bytes:
        """Bytes that bring any terminal to this screen, within one synchronised update.

        ``window``: rows and columns of that terminal (None: as the screen). A larger one shows the
        screen in its upper left corner; one that is smaller counts as equal.

        With ``history_from``, first the marker as a dim line (if any) and the history lines from
        that id on are printed on the main screen, so that they scroll into the terminal's own
        history. Title, pointer and colours are written only where set.
        """

    def paint_from(self, base: Snapshot, *, window: tuple[int, int] | None = None) -> bytes:
        """Bytes that bring a terminal showing ``base`` to this screen; empty when nothing differs.

        ``window``: as in `paint`, and as when ``base`` was painted. As `paint` when the size differs, or
        when the hidden main screen does.
        """

    def draw(
        self,
        cells: list[tuple[int, int, str, int, bool]],
        cursor: tuple[int, int] | None,
    ) -> bytes:
        """Bytes that draw over the screen and put the cursor at ``cursor`` (None: its true place).

        A cell is (row, col, text, style, underline); style -1 is that of the cell to its left.
        Pen, character sets, hyperlink and modes stay as the screen has them. The screen remembers
        only where the cursor was put: the bytes must be written, and `undraw` called and written
        before other output.
        """

    def undraw(self, cells: list[tuple[int, int]]) -> bytes:
        """Bytes that bring back the true content of cells, and the true cursor.

        What is behind the text of a row is erased to its end: whatever else was drawn there must be
        drawn again. Name both columns of a wide overlay character.
        """

    @property
    def history_first(self) -> int:
        """Id of the oldest line kept."""

    @property
    def history_end(self) -> int:
        """Id of the next line that leaves the top of the main screen; ids are never used again."""

    def history(
        self, first: int, end: int, *, plain: bool = False, max_bytes: int = 1 << 20
    ) -> list[tuple[bytes, bool]]:
        """Lines ``first`` … ``end`` - 1 as (UTF-8 text with SGR, whether it goes on in the next).

        Stops at about ``max_bytes``; lines no longer kept are left out. ``plain``: without SGR.
        """

    @property
    def memory_bytes(self) -> int:
        """Estimate of the heap in use: cells, rows for comparison, history."""
