//! Descriptors that cross the border from Python, and pages that are changed beneath it: the only file with `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::{self, Errno};
use rustix::mm;
use rustix::termios::{Termios, tcgetattr, tcgetpgrp};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use seccompiler::sock_filter;

use crate::splice::Port;

/// What the kernel can hold in one piece.
pub(crate) const HUGE: u64 = 2 * 1024 * 1024;

/// A duplicate of the caller's descriptor, close-on-exec. The caller keeps its own.
pub(crate) fn duplicate(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: `raw` is not negative, and the borrow ends with this call. If it is not open,
    // fcntl says EBADF; nothing else is done with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    io::fcntl_dupfd_cloexec(borrowed, 3)
}

/// Take over the caller's descriptor, which the contract says is ours to close from now on.
pub(crate) fn adopt(raw: RawFd) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative; borrowed for one fcntl that proves that it is open.
    io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(raw) })?;
    // SAFETY: it is open, and by the contract of splice_from/splice_to the caller has given it up.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Read into the spare capacity of `buffer` from the caller's descriptor, which stays the caller's.
pub(crate) fn read(raw: RawFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative; borrowed for one read(2), which says EBADF if it is not open.
    io::read(
        unsafe { BorrowedFd::borrow_raw(raw) },
        spare_capacity(buffer),
    )
}

/// Write to the caller's descriptor, which stays the caller's.
pub(crate) fn write(raw: RawFd, data: &[u8]) -> io::Result<usize> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative; borrowed for one write(2), which says EBADF if it is not open.
    io::write(unsafe { BorrowedFd::borrow_raw(raw) }, data)
}

/// Wait until the caller's descriptor takes bytes, or has an error to tell; false: not within `limit`.
pub(crate) fn is_writable(raw: RawFd, limit: Duration) -> io::Result<bool> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative; borrowed for one poll(2), which tells of one that is not open in its answer.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    let mut asked = [PollFd::from_borrowed_fd(borrowed, PollFlags::OUT)];
    let limit = Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
    match poll(&mut asked, Some(&limit)) {
        Ok(found) => Ok(found > 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error),
    }
}

/// How the caller's terminal treats keys, and its foreground process group; 0: there is none.
pub(crate) fn terminal_state(raw: RawFd) -> io::Result<(Termios, i32)> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: not negative; borrowed for two ioctls, which say EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    let state = tcgetattr(borrowed)?;
    match tcgetpgrp(borrowed) {
        Ok(group) => Ok((state, group.as_raw_nonzero().get())),
        Err(Errno::OPNOTSUPP) => Ok((state, 0)),
        Err(error) => Err(error),
    }
}

/// Fill the spare capacity of `events` with those of the caller's epoll descriptor, which stays the caller's.
pub(crate) fn wait(
    raw: RawFd,
    events: &mut Vec<epoll::Event>,
    limit: Option<&Timespec>,
) -> io::Result<()> {
    if raw < 0 {
        return Err(Errno::BADF);
    }
    events.clear();
    // SAFETY: not negative; borrowed for one epoll_wait(2), which says EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    epoll::wait(borrowed, spare_capacity(events), limit).map(drop)
}

/// Let tokio watch a descriptor. Must run inside the runtime.
pub(crate) fn watch(port: Port, interest: Interest) -> std::io::Result<AsyncFd<Port>> {
    // SAFETY: a `Port` owns its descriptor, always names the same one, and hands it to nobody; it is closed when the
    // `AsyncFd` drops it, after deregistration.
    unsafe { AsyncFd::register_with_interest(port, interest) }.map_err(std::io::Error::from)
}

/// An address in the calling thread's block, which the C library and the kernel share.
pub(crate) fn thread_block() -> usize {
    unsafe extern "C" {
        safe fn __errno_location() -> *mut std::ffi::c_int;
    }
    __errno_location() as usize
}

/// Put a file's pages where private memory is that has the same contents. Nothing else may run meanwhile.
pub(crate) fn map_over(start: usize, size: usize, file: &File, offset: u64) -> io::Result<()> {
    // SAFETY: the range is private writable memory of this process, and the file holds byte for byte what is there, so that whoever
    // points into it finds what was there. One thread, which changes nothing between the copy and this call.
    unsafe {
        mm::mmap(
            start as *mut std::ffi::c_void,
            size,
            mm::ProtFlags::READ | mm::ProtFlags::WRITE,
            mm::MapFlags::PRIVATE | mm::MapFlags::FIXED,
            file,
            offset,
        )
    }
    .map(drop)
}

/// Have the kernel put what a file of memory holds into pieces of `HUGE` bytes; `size` is that of a number of them.
pub(crate) fn collapse(file: &File, size: u64) -> io::Result<()> {
    let (none, piece) = (std::ptr::null_mut(), HUGE as usize);
    let size = usize::try_from(size).map_err(|_| Errno::OVERFLOW)?;
    let shared = mm::ProtFlags::READ | mm::ProtFlags::WRITE;
    // SAFETY: where the kernel finds room, so that nobody has a pointer into it; the file is mapped within what was reserved, and all
    // of that is given up again.
    unsafe {
        let reserved = mm::mmap_anonymous(
            none,
            size + piece,
            mm::ProtFlags::empty(),
            mm::MapFlags::PRIVATE | mm::MapFlags::NORESERVE,
        )?;
        let aligned = reserved.map_addr(|start| start.next_multiple_of(piece));
        let flags = mm::MapFlags::SHARED | mm::MapFlags::FIXED;
        let done = mm::mmap(aligned, size, shared, flags, file, 0)
            .map(|_| libc::madvise(aligned, size, libc::MADV_COLLAPSE));
        mm::munmap(reserved, size + piece)?;
        match done? {
            0 => Ok(()),
            _ => Err(Errno::NOTSUP),
        }
    }
}

/// Forget a private page over a file, which holds the same bytes.
pub(crate) fn drop_page(start: usize, size: usize) -> io::Result<()> {
    // SAFETY: the page lies in a range that `map_over` has mapped, and was just found equal to the file's, by the only thread; so
    // reading it gives the same bytes afterwards.
    unsafe {
        mm::madvise(
            start as *mut std::ffi::c_void,
            size,
            mm::Advice::LinuxDontNeed,
        )
    }
}

/// Have the kernel run `program` before every system call of this process, without giving up new rights (seccomp(2)).
pub(crate) fn filter_calls(program: &[sock_filter]) -> io::Result<()> {
    let given = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `given` and the program, whose layout is the kernel's, live for the call, which copies both.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const given,
        )
    };
    if done == 0 {
        return Ok(());
    }
    let code = std::io::Error::last_os_error().raw_os_error();
    Err(code.map_or(Errno::INVAL, Errno::from_raw_os_error))
}
