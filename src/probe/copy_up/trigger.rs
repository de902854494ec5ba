//! What brings a file up: a function a trigger, which is the timed operation, and what each leaves behind. The probe calls them; each is a
//! handful of system calls on names relative to one open folder, and nothing else.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno as NixErrno;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::first_write;
use crate::sys::mapping::{StoredPage, store_byte};
use crate::workload::Trigger;

/// Which operation on the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// The one that copies up.
    First,
    /// The same again, where the copy is there already.
    Second,
}

impl Round {
    /// One value for the first, another for the second.
    pub(super) fn pick<T>(self, first: T, second: T) -> T {
        match self {
            Round::First => first,
            Round::Second => second,
        }
    }
}

/// Permissions that a chmod gives, first and second: neither is a study's own.
pub(super) const MODES: [u32; 2] = [0o600, 0o640];
/// Times that utimensat sets, in seconds since 1970.
pub(super) const TIMES: [i64; 2] = [1_000_000_000, 1_000_000_001];
/// Attributes that setxattr makes.
pub(super) const XATTRS: [&str; 2] = ["user.layerbench.first", "user.layerbench.second"];
/// Their value.
pub(super) const XATTR_VALUE: &[u8] = b"1";
/// What is put behind a target's name by rename and link.
const SUFFIXES: [&str; 2] = [".again-1", ".again-2"];

/// The other names of a target, in the same folder.
pub(super) fn other_names(name: &Path) -> [PathBuf; 2] {
    SUFFIXES.map(|suffix| {
        let mut name = name.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

/// A file to operate on. Everything is known before the clock runs.
#[derive(Debug)]
pub(super) struct File {
    /// Its name, relative to the folder that the operations start from.
    pub name: CString,
    /// Its other names, for rename and link.
    pub others: [CString; 2],
    /// The byte that is written.
    pub byte: u8,
    /// Its length.
    pub size_bytes: u64,
    /// Its owner.
    pub owner: (u32, u32),
}

/// What an operation leaves open: closing and unmapping are not part of its time.
#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    Open(OwnedFd),
    Mapped(OwnedFd, #[allow(dead_code, reason = "it is kept to be unmapped later")] StoredPage),
}

/// A trigger's operation: on a file, from an open folder that is the working directory as well, since not every call takes a folder.
pub(super) type Operation = fn(BorrowedFd<'_>, &File, Round) -> Result<Held>;

/// The operation of a trigger.
pub(super) fn operation(trigger: Trigger) -> Operation {
    match trigger {
        Trigger::Write => write,
        Trigger::Append => append,
        Trigger::OpenTruncate => open_truncate,
        Trigger::OpenRdwr => open_rdwr,
        Trigger::Chmod => chmod,
        Trigger::Chown => chown,
        Trigger::Utimens => utimens,
        Trigger::Link => link,
        Trigger::Rename => rename,
        Trigger::Setxattr => setxattr,
        Trigger::Truncate => truncate,
        Trigger::MmapStore => mmap_store,
    }
}

/// fsync of the file that an operation was about: by the descriptor that it left, else by one that is opened for it.
pub(super) fn sync(trigger: Trigger, folder: BorrowedFd<'_>, file: &File, round: Round, held: &Held) -> Result<()> {
    match held {
        Held::Open(fd) | Held::Mapped(fd, _) => rustix::fs::fsync(fd),
        Held::Nothing => {
            let name = match trigger {
                Trigger::Rename => round.pick(&file.others[0], &file.others[1]),
                _ => &file.name,
            };
            rustix::fs::fsync(rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
        }
    }
}

/// Reads the first byte of a file that its trigger has been at, if it has one.
pub(super) fn seen(trigger: Trigger, folder: BorrowedFd<'_>, file: &File) -> Result<()> {
    let name = if trigger == Trigger::Rename { &file.others[0] } else { &file.name };
    let fd = rustix::fs::openat(folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::pread(&fd, &mut [0], 0).map(drop)
}

fn open(folder: BorrowedFd<'_>, file: &File, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(folder, &file.name, flags | OFlags::CLOEXEC, Mode::empty())
}

fn written(result: Result<usize>) -> Result<()> {
    if result? == 1 { Ok(()) } else { Err(Errno::IO) }
}

fn write(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    first_write(folder, &file.name, file.byte).map(Held::Open)
}

fn append(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    let fd = open(folder, file, OFlags::WRONLY | OFlags::APPEND)?;
    written(rustix::io::write(&fd, &[file.byte]))?;
    Ok(Held::Open(fd))
}

/// The second truncates an empty file.
fn open_truncate(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    open(folder, file, OFlags::WRONLY | OFlags::TRUNC).map(Held::Open)
}

fn open_rdwr(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    open(folder, file, OFlags::RDWR).map(Held::Open)
}

fn chmod(folder: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    rustix::fs::chmodat(folder, &file.name, Mode::from_raw_mode(round.pick(MODES[0], MODES[1])), AtFlags::empty())?;
    Ok(Held::Nothing)
}

fn chown(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    let (uid, gid) = file.owner;
    rustix::fs::chownat(folder, &file.name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::empty())?;
    Ok(Held::Nothing)
}

fn utimens(folder: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    let time = Timespec { tv_sec: round.pick(TIMES[0], TIMES[1]), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(folder, &file.name, &times, AtFlags::empty())?;
    Ok(Held::Nothing)
}

/// The second makes another name.
fn link(folder: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    let to = round.pick(&file.others[0], &file.others[1]);
    rustix::fs::linkat(folder, &file.name, folder, to, AtFlags::empty())?;
    Ok(Held::Nothing)
}

/// The second renames once more: no layer has the name that it takes away, so that it leaves no whiteout.
fn rename(folder: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    let from = round.pick(&file.name, &file.others[0]);
    rustix::fs::renameat(folder, from, folder, round.pick(&file.others[0], &file.others[1]))?;
    Ok(Held::Nothing)
}

/// The second makes another attribute. By the working directory: setxattrat(2) is of Linux 6.13.
fn setxattr(_: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    rustix::fs::setxattr(&file.name, round.pick(XATTRS[0], XATTRS[1]), XATTR_VALUE, XattrFlags::empty())?;
    Ok(Held::Nothing)
}

/// To one byte less, then to one byte less again. By the working directory: no truncate takes a folder.
fn truncate(_: BorrowedFd<'_>, file: &File, round: Round) -> Result<Held> {
    let length = file.size_bytes.checked_sub(round.pick(1, 2)).and_then(|length| i64::try_from(length).ok());
    let length = length.ok_or(Errno::INVAL)?;
    nix::unistd::truncate(file.name.as_c_str(), length)
        .map(|()| Held::Nothing)
        .map_err(|e: NixErrno| Errno::from_raw_os_error(e as i32))
}

fn mmap_store(folder: BorrowedFd<'_>, file: &File, _: Round) -> Result<Held> {
    let fd = open(folder, file, OFlags::RDWR)?;
    let page = store_byte(fd.as_fd(), file.byte).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(Held::Mapped(fd, page))
}

/// Makes a folder the working directory until it is dropped.
#[derive(Debug)]
pub(super) struct WorkingFolder {
    before: OwnedFd,
}

impl WorkingFolder {
    pub(super) fn enter(folder: BorrowedFd<'_>) -> Result<WorkingFolder> {
        let before = rustix::fs::openat(CWD, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::process::fchdir(folder)?;
        Ok(WorkingFolder { before })
    }
}

impl Drop for WorkingFolder {
    fn drop(&mut self) {
        // It was the working directory a moment ago. Should it be forbidden by now, then so is everything that follows.
        rustix::process::fchdir(&self.before).ok();
    }
}
