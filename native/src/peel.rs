//! A stream as a descriptor of its own, for programs that want one.

use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use pyo3::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};

use crate::quic::recv::RecvStream;
use crate::quic::send::SendStream;
use crate::runtime::{Runtime, os_error};
use crate::splice::Port;

/// Asked for as the pair's buffers; the kernel gives what net.core.wmem_max allows.
const BUFFER_BYTES: usize = 1 << 20;

/// The stream as one end of a socket pair whose other end is spliced both ways.
#[pyfunction]
pub(crate) fn peel(
    py: Python<'_>,
    runtime: &Runtime,
    send: &SendStream,
    recv: &RecvStream,
) -> PyResult<RawFd> {
    py.detach(|| {
        let (theirs, ours) = pair().map_err(os_error)?;
        let again = rustix::io::fcntl_dupfd_cloexec(&ours, 3).map_err(os_error)?;
        let engine = &runtime.engine;
        send.shared
            .splice(engine.unheard(), Port::socket(ours), true);
        recv.shared.splice(engine.unheard(), Port::socket(again));
        Ok(theirs.into_raw_fd())
    })
}

fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for end in [&a, &b] {
        let _ = sockopt::set_socket_send_buffer_size(end, BUFFER_BYTES);
    }
    Ok((a, b))
}
