//! Writing to a terminal that is being read: it takes a few kilobytes at a time, so many writes make one pouring.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::io::Errno;

/// A terminal that takes nothing for so long is not being read; waiting is not this module's business then.
const PATIENCE: Duration = Duration::from_micros(300);

/// Write `data` from `start` on to a non-blocking descriptor, as long as it goes on taking some and `limit_us` has not passed;
/// how much it took. An error that comes after some was taken is left for the next call.
#[pyfunction]
pub(crate) fn pour(
    py: Python<'_>,
    fd: RawFd,
    data: &[u8],
    start: usize,
    limit_us: u64,
) -> PyResult<usize> {
    let rest = data.get(start..).unwrap_or_default();
    py.detach(|| write(fd, rest, Duration::from_micros(limit_us)))
        .map_err(|error| PyOSError::new_err((error.raw_os_error(), error.to_string())))
}

fn write(fd: RawFd, data: &[u8], limit: Duration) -> Result<usize, Errno> {
    let end = Instant::now() + limit;
    let mut done = 0;
    while done < data.len() {
        match crate::raw::write(fd, &data[done..]) {
            Ok(size) => done += size,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() || !crate::raw::is_writable(fd, left.min(PATIENCE))? {
                    return Ok(done);
                }
            }
            Err(error) if done == 0 => return Err(error),
            Err(_) => return Ok(done),
        }
    }
    Ok(done)
}
