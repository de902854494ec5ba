//! The bytes of a copy_up: shared where the file system can, copied inside the kernel where it cannot, and holes left out.
//!
//! They go through a pipe of our own and not through copy_file_range(2), which has one of 64 KiB inside: from a pipe that holds more the file
//! system below takes larger pieces, in larger folios and fewer transactions. Not too large: ext4 looks at every block of a folio for each small
//! write into it, so that a copy in folios of 1 MiB is written to at half the rate later on, while one in 256 KiB is as good as one in 64.

use std::cell::Cell;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{SeekFrom, Stat};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, splice};

use super::{Errno, Res};

/// Below this, to copy takes less time than to share blocks (XFS) or to move pages through a pipe (ext4), and less than to look for holes.
const SMALL_BYTES: u64 = 64 << 10;
/// From here on, to copy takes milliseconds.
const LARGE_BYTES: u64 = 16 << 20;
/// A piece, where the kernel does not copy by itself.
const PIECE_BYTES: usize = 128 << 10;
/// What a pipe is to hold. Linux gives anybody up to 1 MiB (/proc/sys/fs/pipe-max-size).
const PIPE_BYTES: usize = 256 << 10;

/// How the file system of the upper copies, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// It said that it cannot share blocks.
    cannot_share: AtomicBool,
}

/// How bytes got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many were copied, holes not counted.
    Copied(u64),
    /// The file of this size shares its blocks.
    Shared(u64),
}

impl Copier {
    /// Copies the content of `from`, whose attributes are given, to the empty file `to`. What `long` returns is kept while much is copied.
    pub(super) fn copy<T>(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
        long: impl FnOnce() -> T,
    ) -> Res<Moved> {
        let size = stat.st_size as u64;
        // In units of 512 bytes, whatever the file system's own are (stat(2)).
        let dense = (stat.st_blocks as u64).saturating_mul(512) >= size;
        if size == 0 {
            return Ok(Moved::Copied(0));
        }
        if dense && size < SMALL_BYTES {
            return copy_through_buffer(from, to, 0, size).map(|()| Moved::Copied(size));
        }
        if self.share(from, to) {
            return Ok(Moved::Shared(size));
        }
        let _long = (size >= LARGE_BYTES).then(long);
        if dense {
            return copy_range(from, to, 0, size).map(|()| Moved::Copied(size));
        }
        let (end, copied) = copy_what_is_data(from, to, size)?;
        if end < size {
            // The size of a file that ends in a hole.
            rustix::fs::ftruncate(to, size)?;
        }
        Ok(Moved::Copied(copied))
    }

    /// Whether the file system of `file`, which is open for writing, cannot share blocks. A file that is asked to share with itself stays as it is.
    pub(super) fn cannot_share(&self, file: BorrowedFd<'_>) -> bool {
        !self.share(file, file) && self.cannot_share.load(Ordering::Relaxed)
    }

    /// FICLONE: both files get the same blocks. Whether it worked.
    fn share(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
        if self.cannot_share.load(Ordering::Relaxed) {
            return false;
        }
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => true,
            Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
                self.cannot_share.store(true, Ordering::Relaxed);
                false
            }
            // This file cannot (EXDEV: its layer is on another file system); others may.
            Err(_) => false,
        }
    }
}

/// Copies all but the holes. Returns where the last data ended, and how much there was.
fn copy_what_is_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Res<(u64, u64)> {
    let (mut position, mut copied) = (0, 0);
    while position < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size).clamp(start, size);
        if end == start {
            break;
        }
        copy_range(from, to, start, end)?;
        copied += end - start;
        position = end;
    }
    Ok((position, copied))
}

/// Copies inside the kernel, or through a buffer where it cannot.
fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Res<()> {
    // One a thread, since a copy keeps its thread; empty whenever it lies here.
    thread_local!(static PIPE: Cell<Option<Pipe>> = const { Cell::new(None) });
    let mut position = start;
    let done = PIPE.take().map_or_else(Pipe::new, Ok).and_then(|pipe| {
        pipe.copy(from, to, &mut position, end)?;
        PIPE.set(Some(pipe));
        Ok(())
    });
    match done {
        // A file system without splice, a user with too many pipes, or no descriptor left.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::MFILE | Errno::NFILE) => {
            copy_through_buffer(from, to, position, end)
        }
        other => other,
    }
}

/// A pipe through which pages go from one file to another.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> Res<Pipe> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES)?;
        Ok(Pipe { read, write })
    }

    /// Copies up to `end` or the end of the file; `position` is how far it came. After an error something may be left in the pipe.
    fn copy(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, position: &mut u64, end: u64) -> Res<()> {
        while *position < end {
            let length = usize::try_from(end - *position).unwrap_or(usize::MAX).min(PIPE_BYTES);
            let mut held = retry_on_intr(|| {
                splice(from, Some(&mut { *position }), &self.write, None, length, SpliceFlags::empty())
            })?;
            if held == 0 {
                return Ok(());
            }
            while held > 0 {
                let written = retry_on_intr(|| {
                    splice(&self.read, None, to, Some(&mut { *position }), held, SpliceFlags::empty())
                })?;
                if written == 0 {
                    return Err(Errno::IO);
                }
                held -= written.min(held);
                *position += written as u64;
            }
        }
        Ok(())
    }
}

fn copy_through_buffer(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Res<()> {
    let mut position = start;
    let mut buffer = vec![0; usize::try_from(end - position).unwrap_or(usize::MAX).min(PIECE_BYTES)];
    while position < end {
        let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..length).ok_or(Errno::IO)?;
        let got = match rustix::io::pread(from, &mut *part, position) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        write_all(to, part.get(..got).ok_or(Errno::IO)?, position)?;
        position += got as u64;
    }
    Ok(())
}

/// Writes all of `data` at `offset`.
fn write_all(to: BorrowedFd<'_>, data: &[u8], offset: u64) -> Res<()> {
    write_up_to_an_error(to, data, offset).1
}

/// As [`write_all`], and says how much was written.
pub(super) fn write_up_to_an_error(to: BorrowedFd<'_>, data: &[u8], offset: u64) -> (usize, Res<()>) {
    let mut done = 0;
    while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pwrite(to, rest, offset + done as u64) {
            Ok(0) => return (done, Err(Errno::IO)),
            Ok(written) => done += written,
            Err(Errno::INTR) => {}
            Err(errno) => return (done, Err(errno)),
        }
    }
    (done, Ok(()))
}
