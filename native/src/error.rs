//! The one error type, and what each foreign error becomes in a completion.

use quinn::{ConnectionError, ReadError, StoppedError, TransportErrorCode, WriteError};
use rustix::io::Errno;

/// TLS alert `no_application_protocol`: the peer speaks no `qsh/1`.
const ALERT_NO_PROTOCOL: u64 = 0x100 + 120;
const CRYPTO_CODES: std::ops::Range<u64> = 0x100..0x200;

/// `(kind, code, text)` as Python sees it.
pub(crate) type Parts = (&'static str, u64, String);

#[derive(Debug)]
pub(crate) enum Error {
    Connection(ConnectionError),
    HostKeyRevoked,
    Timeout,
    ClosedLocally,
    Reset(u64),
    Stopped(u64),
    StreamClosed,
    DescriptorClosed(Errno),
    DescriptorFailed(Errno),
    Cancelled,
    Setup(String),
}

impl Error {
    pub(crate) fn parts(&self) -> Parts {
        match self {
            Self::Connection(e) => connection_parts(e),
            Self::HostKeyRevoked => ("host-key-revoked", 0, "the host key is revoked".into()),
            Self::Timeout => ("timeout", 0, "timed out".into()),
            Self::ClosedLocally => ("closed-locally", 0, "closed".into()),
            Self::Reset(code) => ("reset", *code, format!("stream reset by peer ({code})")),
            Self::Stopped(code) => ("stopped", *code, format!("stream stopped by peer ({code})")),
            Self::StreamClosed => ("stream-closed", 0, "stream is closed".into()),
            Self::DescriptorClosed(e) => ("fd-closed", raw(*e), e.to_string()),
            Self::DescriptorFailed(e) => ("fd-error", raw(*e), e.to_string()),
            Self::Cancelled => ("cancelled", 0, "cancelled".into()),
            Self::Setup(text) => ("setup", 0, text.clone()),
        }
    }
}

fn raw(errno: Errno) -> u64 {
    u64::from(errno.raw_os_error().unsigned_abs())
}

fn transport_parts(code: TransportErrorCode, text: String) -> Parts {
    let number = u64::from(code);
    let kind = match number {
        ALERT_NO_PROTOCOL => "version",
        n if CRYPTO_CODES.contains(&n) => "handshake",
        n if n == u64::from(TransportErrorCode::CONNECTION_REFUSED) => "refused",
        _ => "transport",
    };
    (kind, number, text)
}

fn connection_parts(error: &ConnectionError) -> Parts {
    let text = error.to_string();
    match error {
        ConnectionError::VersionMismatch => ("version", 0, text),
        ConnectionError::TransportError(e) => transport_parts(e.code, text),
        ConnectionError::ConnectionClosed(close) => transport_parts(close.error_code, text),
        ConnectionError::ApplicationClosed(close) => (
            "closed-by-peer",
            close.error_code.into_inner(),
            String::from_utf8_lossy(&close.reason).into_owned(),
        ),
        ConnectionError::Reset => ("reset-by-peer", 0, text),
        ConnectionError::TimedOut => ("timeout", 0, text),
        ConnectionError::LocallyClosed => ("closed-locally", 0, text),
        ConnectionError::CidsExhausted => ("lost", 0, text),
    }
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            WriteError::ConnectionLost(e) => Self::Connection(e),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::StreamClosed,
        }
    }
}

impl From<StoppedError> for Error {
    fn from(error: StoppedError) -> Self {
        match error {
            StoppedError::ConnectionLost(e) => Self::Connection(e),
            StoppedError::ZeroRttRejected => Self::StreamClosed,
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code.into_inner()),
            ReadError::ConnectionLost(e) => Self::Connection(e),
            ReadError::ClosedStream
            | ReadError::ZeroRttRejected
            | ReadError::IllegalOrderedRead => Self::StreamClosed,
        }
    }
}

impl From<quinn::ConnectError> for Error {
    fn from(error: quinn::ConnectError) -> Self {
        match error {
            quinn::ConnectError::EndpointStopping => Self::ClosedLocally,
            other => Self::Setup(other.to_string()),
        }
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Setup(error.to_string())
    }
}

/// Descriptor errors: a reader or writer that went away is told apart from a real fault.
impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::DescriptorClosed(errno),
            other => Self::DescriptorFailed(other),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Errno::from_io_error(&error).unwrap_or(Errno::IO).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alert_120_is_a_version_error() {
        let code = TransportErrorCode::crypto(120);
        assert_eq!(transport_parts(code, String::new()).0, "version");
        let code = TransportErrorCode::crypto(51);
        assert_eq!(transport_parts(code, String::new()).0, "handshake");
        let code = TransportErrorCode::CONNECTION_REFUSED;
        assert_eq!(transport_parts(code, String::new()).0, "refused");
    }

    #[test]
    fn descriptor_errors_are_told_apart() {
        assert_eq!(Error::from(Errno::PIPE).parts().0, "fd-closed");
        assert_eq!(Error::from(Errno::NOSPC).parts().0, "fd-error");
    }
}
