//! The wait of a session host, and looks at its terminals meanwhile: a program that changes how its terminal treats keys wakes nobody,
//! and a look that finds nothing must not wake Python for it.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::termios::{SpecialCodeIndex, Termios};

/// Events that are taken at a time; what is left over is found by the next wait.
const EVENTS: usize = 64;
/// Whose codes are told, in the order of `TtyState`'s fields.
const KEYS: [SpecialCodeIndex; 9] = [
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VSUSP,
];
/// Flags of input, local flags, the foreground process group, keys.
const SIZE: usize = 4 + 4 + 4 + KEYS.len();

type Seen = [u8; SIZE];

/// How a terminal treats keys, and who is in its foreground.
#[pyfunction]
pub(crate) fn look(py: Python<'_>, master: RawFd) -> PyResult<Bound<'_, PyBytes>> {
    let seen = look_at(master).map_err(std::io::Error::from)?;
    Ok(PyBytes::new(py, &seen))
}

fn look_at(master: RawFd) -> Result<Seen, Errno> {
    let (state, group) = crate::raw::terminal_state(master)?;
    Ok(packed(&state, group))
}

fn packed(state: &Termios, group: i32) -> Seen {
    let mut seen = [0; SIZE];
    seen[0..4].copy_from_slice(&state.input_modes.bits().to_ne_bytes());
    seen[4..8].copy_from_slice(&state.local_modes.bits().to_ne_bytes());
    seen[8..12].copy_from_slice(&group.to_ne_bytes());
    for (place, key) in seen[12..].iter_mut().zip(KEYS) {
        *place = state.special_codes[key];
    }
    seen
}

/// A terminal's master side; how it was; seconds to the next look, from the one before to it, to where the first one behind is the last;
/// the longest interval.
type Watched = (RawFd, PyBackedBytes, f64, f64, f64, f64);

/// A terminal that is looked at while nothing happens.
struct Watch {
    master: RawFd,
    seen: PyBackedBytes,
    at: Duration,
    interval: Duration,
    last: Duration,
    longest: Duration,
}

impl Watch {
    fn new((master, seen, at, interval, last, longest): Watched) -> Self {
        Self {
            master,
            seen,
            at: span(at),
            interval: span(interval),
            last: span(last),
            longest: span(longest),
        }
    }

    /// When to look next, if ever.
    fn at(&self) -> Option<Duration> {
        (self.at.saturating_sub(self.interval) < self.last).then_some(self.at)
    }

    /// Whether a look was due that found something else than before.
    fn has_changed(&mut self, now: Duration) -> bool {
        if self.at().is_none_or(|at| now < at) {
            return false;
        }
        self.interval = (2 * self.interval).clamp(Duration::from_millis(1), self.longest);
        self.at = now + self.interval;
        look_at(self.master).is_ok_and(|seen| seen[..] != self.seen[..])
    }
}

fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

/// Wait for events, at most `timeout_s`, or until a look finds one of `watched` changed: the events, and whether one has.
#[pyfunction]
pub(crate) fn wait(
    py: Python<'_>,
    epoll: RawFd,
    timeout_s: Option<f64>,
    watched: Vec<Watched>,
) -> PyResult<(Vec<(RawFd, u32)>, bool)> {
    let began = Instant::now();
    let until = timeout_s.map(span);
    let mut watches: Vec<Watch> = watched.into_iter().map(Watch::new).collect();
    loop {
        match py.detach(|| wait_until(epoll, began, until, &mut watches)) {
            Ok(found) => return Ok(found),
            Err(Errno::INTR) => py.check_signals()?,
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}

fn wait_until(
    epoll: RawFd,
    began: Instant,
    until: Option<Duration>,
    watches: &mut [Watch],
) -> Result<(Vec<(RawFd, u32)>, bool), Errno> {
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let soonest = watches.iter().filter_map(Watch::at).chain(until).min();
        let limit = soonest.map(|at| milliseconds(at.saturating_sub(began.elapsed())));
        crate::raw::wait(epoll, &mut events, limit.as_ref())?;
        let now = began.elapsed();
        let mut changed = false;
        for watch in &mut *watches {
            changed |= watch.has_changed(now);
        }
        if changed || !events.is_empty() || until.is_some_and(|at| now >= at) {
            let found = events.iter().map(|event: &epoll::Event| {
                let (data, flags) = (event.data, event.flags);
                (descriptor(data), flags.bits())
            });
            return Ok((found.collect(), changed));
        }
    }
}

/// What Python has entered: the lower half of the number.
fn descriptor(data: epoll::EventData) -> RawFd {
    (data.u64() & 0xffff_ffff) as u32 as RawFd
}

/// Rounded up: nobody is woken before his time.
fn milliseconds(span: Duration) -> Timespec {
    let whole = span.as_nanos().div_ceil(1_000_000).min(86_400_000);
    let whole = i64::try_from(whole).unwrap_or(86_400_000);
    Timespec {
        tv_sec: whole / 1000,
        tv_nsec: whole % 1000 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_has_an_end() {
        assert_eq!(milliseconds(Duration::from_micros(1)).tv_nsec, 1_000_000);
        assert_eq!(milliseconds(Duration::ZERO).tv_nsec, 0);
        assert_eq!(milliseconds(Duration::MAX).tv_sec, 86_400);
    }
}
