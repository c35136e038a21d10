//! One descriptor made ready for splicing.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{self, Errno};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

/// Linux's largest pipe for an ordinary user (fs.pipe-max-size).
const PIPE_BYTES: usize = 1 << 20;
/// Buffers per writev: enough for 360 kB of 1.4 kB packets, well below IOV_MAX.
pub(crate) const MAX_SLICES: usize = 256;
/// What poll(2) promises to fit into a pipe that is writable.
const PIPE_BUF: usize = 4096;
/// The device number of /dev/ptmx: opening it anew would make another terminal.
const PTMX: (u32, u32) = (5, 2);
/// The device number of /dev/null.
const NULL: (u32, u32) = (1, 3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Socket,
    Pipe,
    Terminal,
    File,
    /// Takes everything at once and cannot be polled; a thread would cost more than the write.
    Null,
    Other,
}

/// A descriptor and how it is to be used.
pub(crate) struct Port {
    fd: OwnedFd,
    kind: Kind,
    blocking: bool,
}

impl Port {
    /// `shared`: its open file description is also somebody else's, who must not see O_NONBLOCK.
    pub(crate) fn new(fd: OwnedFd, shared: bool, mode: OFlags) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&fd)?;
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Kind::Socket,
            FileType::Fifo => Kind::Pipe,
            FileType::CharacterDevice if rustix::termios::isatty(&fd) => Kind::Terminal,
            FileType::CharacterDevice if device == NULL => Kind::Null,
            FileType::RegularFile => Kind::File,
            FileType::Directory => return Err(Errno::ISDIR),
            _ => Kind::Other,
        };
        if kind == Kind::Pipe {
            let _ = rustix::pipe::fcntl_setpipe_size(&fd, PIPE_BYTES);
        }
        let (fd, blocking) = match kind {
            Kind::Socket => (fd, false),
            Kind::Null => (fd, mode != OFlags::WRONLY),
            Kind::File | Kind::Other => (fd, true),
            Kind::Terminal if shared && device == PTMX => (fd, true),
            Kind::Pipe | Kind::Terminal if shared => match reopen(&fd, mode) {
                Ok(own) => (own, false),
                Err(_) => (fd, true),
            },
            Kind::Pipe | Kind::Terminal => {
                let flags = rustix::fs::fcntl_getfl(&fd)?;
                rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
                (fd, false)
            }
        };
        Ok(Self { fd, kind, blocking })
    }

    /// One end of a socket pair of our own.
    pub(crate) fn socket(fd: OwnedFd) -> Self {
        Self {
            fd,
            kind: Kind::Socket,
            blocking: false,
        }
    }

    pub(crate) fn needs_thread(&self) -> bool {
        self.blocking
    }

    /// Written to without waiting for anything.
    pub(crate) fn never_blocks(&self) -> bool {
        self.kind == Kind::Null
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Read into the spare capacity. 0 is the end of the file; a pty whose other side is gone says so by EIO.
    pub(crate) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let result = match self.kind {
            Kind::Socket => {
                rustix::net::recv(&self.fd, spare_capacity(buffer), RecvFlags::DONTWAIT)
                    .map(|(n, _)| n)
            }
            _ => io::read(&self.fd, spare_capacity(buffer)),
        };
        match result {
            Err(Errno::IO) if self.kind == Kind::Terminal => Ok(0),
            other => other,
        }
    }

    /// Write some of the buffers. One that may block writes no more than poll(2) has promised.
    pub(crate) fn write(&self, buffers: &[Bytes]) -> io::Result<usize> {
        let promised = self.blocking && self.kind != Kind::File;
        if promised {
            let Some(first) = buffers.first() else {
                return Ok(0);
            };
            return io::write(&self.fd, &first[..first.len().min(PIPE_BUF)]);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let count = buffers.len().min(MAX_SLICES);
        for (slice, buffer) in slices.iter_mut().zip(buffers) {
            *slice = IoSlice::new(buffer);
        }
        match self.kind {
            Kind::Socket => rustix::net::sendmsg(
                &self.fd,
                &slices[..count],
                &mut SendAncillaryBuffer::default(),
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ),
            _ => io::writev(&self.fd, &slices[..count]),
        }
    }

    /// Tell the reader that there is no more: sockets have a way to say it, the rest is told by closing.
    pub(crate) fn shutdown_write(&self) {
        if self.kind == Kind::Socket {
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
        }
    }

    /// Let a writer on the other side of a socket see that nobody reads any more.
    pub(crate) fn shutdown_read(&self) {
        if self.kind == Kind::Socket {
            let _ = rustix::net::shutdown(&self.fd, Shutdown::Read);
        }
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

/// The same pipe or terminal with a file description of our own, which may be non-blocking.
fn reopen(fd: &OwnedFd, mode: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}
