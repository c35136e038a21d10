//! Reading what a terminal's master side has: the kernel gives a page at a time, so many reads make one gulp.

use std::os::fd::RawFd;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustix::io::Errno;

/// The largest gulp.
const LIMIT: usize = 1 << 20;

/// What a gulp found behind the bytes.
enum Behind {
    More,
    Nothing,
    End,
}

/// Read a non-blocking descriptor until it has no more, or `limit` bytes are there.
#[pyfunction]
pub(crate) fn gulp(py: Python<'_>, fd: RawFd, limit: usize) -> (Bound<'_, PyBytes>, u8) {
    let (data, behind) = py.detach(|| read(fd, limit.min(LIMIT)));
    (PyBytes::new(py, &data), behind as u8)
}

fn read(fd: RawFd, limit: usize) -> (Vec<u8>, Behind) {
    let mut data = Vec::with_capacity(limit);
    while data.len() < limit {
        match crate::raw::read(fd, &mut data) {
            Ok(0) => return (data, Behind::End),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return (data, Behind::Nothing),
            Err(_) => return (data, Behind::End),
        }
    }
    (data, Behind::More)
}
