//! Threads for descriptors that cannot be polled or must not be made non-blocking.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{self, Errno};

use crate::runtime::lock;

/// Their deepest frame is a system call with an array of 256 `IoSlice`.
const STACK_BYTES: usize = 128 * 1024;
/// How often a closing runtime looks whether its threads have ended.
const JOIN_STEP: Duration = Duration::from_millis(2);

/// The threads of one runtime, all ended by one descriptor that becomes readable for good.
pub(crate) struct Threads {
    running: Mutex<Vec<JoinHandle<()>>>,
    all: Arc<OwnedFd>,
}

/// What makes one thread leave its poll: its own signal, or the runtime's.
#[derive(Clone)]
pub(crate) struct Leave {
    own: Arc<OwnedFd>,
    all: Arc<OwnedFd>,
}

fn signal(fd: &OwnedFd) {
    let _ = io::write(fd, &1u64.to_ne_bytes());
}

impl Threads {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            running: Mutex::default(),
            all: Arc::new(new_signal()?),
        })
    }

    pub(crate) fn leave(&self) -> io::Result<Leave> {
        Ok(Leave {
            own: Arc::new(new_signal()?),
            all: self.all.clone(),
        })
    }

    pub(crate) fn spawn(&self, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new()
            .name("qsh-splice".into())
            .stack_size(STACK_BYTES)
            .spawn(body)?;
        let mut running = lock(&self.running);
        running.retain(|t| !t.is_finished());
        running.push(thread);
        Ok(())
    }

    pub(crate) fn cancel(&self) {
        signal(&self.all);
    }

    /// True if all have ended before the deadline.
    pub(crate) fn join(&self, deadline: Instant) -> bool {
        for thread in std::mem::take(&mut *lock(&self.running)) {
            while !thread.is_finished() {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(JOIN_STEP);
            }
            let _ = thread.join();
        }
        true
    }
}

fn new_signal() -> io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

impl Leave {
    pub(crate) fn signal(&self) {
        signal(&self.own);
    }

    /// Wait until the descriptor is ready; false when told to leave.
    pub(crate) fn wait(&self, fd: &OwnedFd, flags: PollFlags) -> io::Result<bool> {
        loop {
            let mut fds = [
                PollFd::new(fd, flags),
                PollFd::new(&*self.own, PollFlags::IN),
                PollFd::new(&*self.all, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) if !fds[1].revents().is_empty() || !fds[2].revents().is_empty() => {
                    return Ok(false);
                }
                Ok(_) if !fds[0].revents().is_empty() => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
    }
}
