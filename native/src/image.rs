//! The memory that a daemon's processes share: a sealed file, mapped privately where the heap was.
//!
//! After a fork a page that a process writes to is its own for good, even if what it wrote was a count that went up and down again: with
//! anonymous memory nobody can tell. Over a file one can: a page that equals the file's again is dropped, and the next
//! access maps the file's page. A third of what a session host writes is of that kind.

use std::fs::File;

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::raw::{HUGE, collapse, drop_page, map_over, thread_block};

const PAGE: usize = 4096;
/// What surrounds the address of `errno` belongs to the C library and to the kernel, which writes there whenever it likes (rseq).
const AROUND_THREAD_BLOCK: usize = 64 * 1024;
/// Bits of /proc/PID/pagemap (the kernel's Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
/// Entries of the page map that are read at a time.
const ENTRIES: usize = 256;

/// A part of the address space, and where it begins in the file.
#[derive(Clone, Copy)]
struct Range {
    start: usize,
    end: usize,
    offset: u64,
    sparse: bool,
}

/// The image of this process and of those that it forks from now on.
#[pyclass(module = "qsh._native", frozen)]
pub(crate) struct Image {
    file: File,
    ranges: Vec<Range>,
}

/// What a process needs to look at its own pages, opened while it may.
#[pyclass(module = "qsh._native", frozen)]
pub(crate) struct Pages {
    image: Py<Image>,
    memory: File,
    map: File,
    stat: File,
}

#[pymethods]
impl Image {
    #[new]
    fn new() -> PyResult<Self> {
        Self::make().map_err(os_error)
    }

    fn fileno(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn pages(slf: Py<Self>) -> PyResult<Pages> {
        let open = |name: &str| File::open(format!("/proc/self/{name}"));
        Ok(Pages {
            image: slf,
            memory: open("mem").map_err(os_error)?,
            map: open("pagemap").map_err(os_error)?,
            stat: open("stat").map_err(os_error)?,
        })
    }
}

#[pymethods]
impl Pages {
    fn give_back(&self) -> PyResult<usize> {
        self.drop_equal().map_err(os_error)
    }
}

fn os_error(error: Error) -> PyErr {
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, error.to_string())),
        None => PyOSError::new_err(error.to_string()),
    }
}

impl Image {
    fn make() -> Result<Self> {
        be_alone(&File::open("/proc/self/stat")?)?;
        if rustix::param::page_size() != PAGE {
            return Err(Error::new(ErrorKind::Unsupported, "pages are not of 4 KiB"));
        }
        let file = File::from(memfd_create(
            "qshd-image",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?);
        let memory = File::open("/proc/self/mem")?;
        let map = File::open("/proc/self/pagemap")?;
        let ranges = ranges(&std::fs::read_to_string("/proc/self/maps")?, thread_block());
        let size = ranges
            .last()
            .map_or(0, |last| last.offset + (last.end - last.start) as u64)
            .next_multiple_of(HUGE);
        ftruncate(&file, size)?;
        // From here until all is mapped nothing on the heap may change: no allocation, no lock, only this stack.
        for range in &ranges {
            copy(range, &memory, &map, &file)?;
        }
        // A fork counts the pages that it shares, and so does its end: once for each piece. A kernel may refuse, and nothing is lost.
        let _ = collapse(&file, size);
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        for range in &ranges {
            map_over(range.start, range.end - range.start, &file, range.offset)?;
        }
        Ok(Self { file, ranges })
    }
}

impl Pages {
    /// Drop what equals the image again. One thread, and no signal handler, or a page could change between the look and the drop;
    /// no other can begin, since the caller has the GIL.
    fn drop_equal(&self) -> Result<usize> {
        be_alone(&self.stat)?;
        let image = self.image.get();
        let mut dropped = 0;
        let (mut ours, mut its) = ([0u8; PAGE], [0u8; PAGE]);
        for range in &image.ranges {
            each_page(range, &self.map, |page, entry| {
                if entry & PRESENT == 0 || entry & OF_FILE != 0 {
                    return Ok(());
                }
                self.memory.read_exact_at(&mut ours, page as u64)?;
                let offset = range.offset + (page - range.start) as u64;
                image.file.read_exact_at(&mut its, offset)?;
                if ours == its {
                    drop_page(page, PAGE)?;
                    dropped += 1;
                }
                Ok(())
            })?;
        }
        Ok(dropped)
    }
}

/// An error unless the process has one thread: num_threads of `stat` (proc_pid_stat(5)).
fn be_alone(stat: &File) -> Result<()> {
    let mut text = [0u8; 512];
    let size = stat.read_at(&mut text, 0)?;
    let text = String::from_utf8_lossy(&text[..size]);
    let after_name = text.rsplit(')').next().unwrap_or_default();
    match after_name.split_ascii_whitespace().nth(17) {
        Some("1") => Ok(()),
        _ => Err(Error::new(ErrorKind::ResourceBusy, "more than one thread")),
    }
}

/// Call `visit` with the address of each page and its entry in the page map.
fn each_page(
    range: &Range,
    map: &File,
    mut visit: impl FnMut(usize, u64) -> Result<()>,
) -> Result<()> {
    let mut entries = [0u8; ENTRIES * 8];
    let mut page = range.start;
    while page < range.end {
        let count = ((range.end - page) / PAGE).min(ENTRIES);
        map.read_exact_at(&mut entries[..count * 8], (page / PAGE * 8) as u64)?;
        for entry in entries[..count * 8].chunks_exact(8) {
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(entry);
            visit(page, u64::from_ne_bytes(bytes))?;
            page += PAGE;
        }
    }
    Ok(())
}

fn copy(range: &Range, memory: &File, map: &File, file: &File) -> Result<()> {
    let mut buffer = [0u8; PAGE];
    each_page(range, map, |page, entry| {
        if range.sparse && entry & (PRESENT | SWAPPED) == 0 {
            return Ok(()); // never touched: zeros in the file too
        }
        memory.read_exact_at(&mut buffer, page as u64)?;
        file.write_all_at(&buffer, range.offset + (page - range.start) as u64)
    })
}

/// The parts of `maps` (/proc/PID/maps) that are private and writable, without stacks, the kernel's own and what is around `excluded`.
fn ranges(maps: &str, excluded: usize) -> Vec<Range> {
    let mut found = Vec::new();
    let mut offset = 0;
    let hole = (excluded.saturating_sub(AROUND_THREAD_BLOCK) & !(PAGE - 1))
        ..((excluded + AROUND_THREAD_BLOCK) & !(PAGE - 1));
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(span), Some("rw-p")) = (fields.next(), fields.next()) else {
            continue;
        };
        let name = fields.nth(3).unwrap_or("");
        let Some((start, end)) = span.split_once('-') else {
            continue;
        };
        let (Ok(start), Ok(end)) = (
            usize::from_str_radix(start, 16),
            usize::from_str_radix(end, 16),
        ) else {
            continue;
        };
        if !(name.is_empty() || name == "[heap]" || name.starts_with('/')) {
            continue;
        }
        for (start, end) in [(start, end.min(hole.start)), (start.max(hole.end), end)] {
            if start < end {
                let sparse = !name.starts_with('/');
                found.push(Range {
                    start,
                    end,
                    offset,
                    sparse,
                });
                offset += (end - start) as u64;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_what_was_there_and_can_be_sealed() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("image", flags).unwrap());
        ftruncate(&file, 2 * HUGE).unwrap();
        let places = [0, PAGE as u64, HUGE - 5, 2 * HUGE - 5];
        for at in places {
            file.write_all_at(b"there", at).unwrap();
        }
        let _ = collapse(&file, 2 * HUGE); // as above: not every kernel does
        fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
        for at in places {
            let mut found = [0; 5];
            file.read_exact_at(&mut found, at).unwrap();
            assert_eq!(&found, b"there");
        }
    }

    const MAPS: &str = "\
555500000000-555500002000 r--p 00000000 fe:00 1 /usr/bin/python3
555500002000-555500004000 rw-p 00002000 fe:00 1 /usr/bin/python3
555500010000-555500020000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
7f0000200000-7f0000201000 rw-s 00000000 00:01 5 /memfd:x (deleted)
7fff00000000-7fff00021000 rw-p 00000000 00:00 0 [stack]
7fff00030000-7fff00031000 r-xp 00000000 00:00 0 [vdso]
";

    #[test]
    fn private_and_writable_but_no_stack() {
        let found = ranges(MAPS, 0x1000_0000);
        let spans: Vec<_> = found
            .iter()
            .map(|r| (r.start, r.end, r.offset, r.sparse))
            .collect();
        assert_eq!(
            spans,
            [
                (0x5555_0000_2000, 0x5555_0000_4000, 0, false),
                (0x5555_0001_0000, 0x5555_0002_0000, 0x2000, true),
                (0x7f00_0000_0000, 0x7f00_0010_0000, 0x12000, true),
            ]
        );
    }

    #[test]
    fn around_the_thread_block_nothing_is_taken() {
        let found = ranges(MAPS, 0x7f00_0008_0123);
        let spans: Vec<_> = found.iter().map(|r| (r.start, r.end)).collect();
        assert_eq!(
            spans[2..],
            [
                (0x7f00_0000_0000, 0x7f00_0007_0000),
                (0x7f00_0009_0000, 0x7f00_0010_0000)
            ]
        );
    }
}
