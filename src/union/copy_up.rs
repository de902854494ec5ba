//! copy_up: the first write to a lower file makes an upper one of it.
//!
//! The copy is made in the scratch directory with its owner, mode, extended attributes, ACLs and times, and then renamed: a crash leaves
//! the old file or the new one. Only the rename happens under the lock of the directory, so that copying a large file delays nobody
//! but those who need this very file.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags};

use super::hard_links::LinkKey;
use super::layers::{self, UPPER};
use super::node::{Inode, lock, read, write};
use super::state::{Target, Union};
use super::{Errno, Res};

/// The bits that let a program run as its owner or group.
const SET_ID: u32 = 0o6000;

/// How much of a file's data is wanted in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// All of it.
    Whole,
    /// None: the caller truncates the file.
    None,
}

impl Union {
    /// Makes sure that an inode is in the upper, with all its directories. To be called with no lock held. Afterwards it stays there.
    pub(super) fn copy_up(&self, inode: &Arc<Inode>, data: Data) -> Res<()> {
        if inode.is_upper() {
            return Ok(());
        }
        if !self.layers.writable() {
            return Err(Errno::ROFS);
        }
        // A name can go or change while we look at it: then look again.
        for _ in 0..16 {
            if let Some((parent, _)) = inode.name() {
                self.copy_up(&parent, Data::Whole)?;
            }
            let _once = lock(&inode.copying);
            if inode.is_upper() || self.copy_up_once(inode, data)? {
                return Ok(());
            }
        }
        Err(Errno::STALE)
    }

    /// Copies and commits. False if the inode was renamed meanwhile.
    fn copy_up_once(&self, inode: &Arc<Inode>, data: Data) -> Res<bool> {
        let (name, source, layer) = {
            let place = read(&inode.place);
            (inode.name(), self.target(inode, place.layer, place.orphan.as_ref())?, place.layer)
        };
        let scratch = self.layers.scratch()?;
        let temporary = self.scratch_name();
        let copied = self.copy_to(&source, inode.kind, scratch, &temporary, data);
        let committed = copied.and_then(|stat| match name {
            _ if LinkKey::of(layer, inode.kind, &stat).is_some() => self.commit_links(inode, layer, &stat, &temporary),
            Some((parent, name)) => self.commit(inode, &parent, &name, &temporary),
            None => self.commit_orphan(inode, scratch, &temporary),
        });
        if !matches!(committed, Ok(true)) {
            // The error that matters is the first one; what stays in scratch is removed by the next mount.
            let _ = layers::remove_tree(scratch, &temporary, FileType::Unknown);
        }
        committed
    }

    /// Gives the finished copy its name.
    fn commit(&self, inode: &Arc<Inode>, parent: &Arc<Inode>, name: &OsStr, temporary: &OsStr) -> Res<bool> {
        let mut index = self.write_index(parent)?;
        let mut place = write(&inode.place);
        if !inode.is_named(parent, name) {
            drop((index, place));
            if inode.name().is_some() {
                return Ok(false);
            }
            return self.commit_orphan(inode, self.layers.scratch()?, temporary);
        }
        let entry = index.get_mut(name).ok_or(Errno::STALE)?;
        let parent_fd = self.dir_fd(parent, UPPER)?;
        let before = rustix::fs::statat(&*parent_fd, ".", AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::renameat(self.layers.scratch()?, temporary, &*parent_fd, name)?;
        entry.upper = Some(inode.kind);
        place.layer = UPPER;
        // Nobody has changed the directory as far as anybody can see. A failure here costs no more than a newer mtime.
        let _ = Target::At(parent_fd, OsString::from(".")).utimens(&times_of(&before));
        Ok(true)
    }

    /// Keeps the finished copy of a file that has no name.
    pub(super) fn commit_orphan(&self, inode: &Inode, scratch: BorrowedFd<'_>, temporary: &OsStr) -> Res<bool> {
        let fd =
            rustix::fs::openat(scratch, temporary, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let flags = if inode.dir.is_some() { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(scratch, temporary, flags)?;
        let mut place = write(&inode.place);
        place.orphan = Some(Arc::new(fd));
        place.layer = UPPER;
        Ok(true)
    }

    /// Copies one file, with everything but the content of a directory, to `name` in `dir`. Returns the attributes of the source.
    fn copy_to(&self, source: &Target, kind: FileType, dir: BorrowedFd<'_>, name: &OsStr, data: Data) -> Res<Stat> {
        let stat = source.stat()?;
        let private = Mode::RUSR | Mode::WUSR;
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let to = rustix::fs::openat(dir, name, flags, private)?;
                // A file with several names gets them one after the other: none may show an empty file meanwhile.
                if (data == Data::Whole || stat.st_nlink > 1) && stat.st_size > 0 {
                    let from = open_quietly(source)?;
                    copy_data(from.as_fd(), to.as_fd(), stat.st_size as u64)?;
                    if self.options.fsync {
                        rustix::fs::fdatasync(&to)?;
                    }
                }
            }
            FileType::Directory => rustix::fs::mkdirat(dir, name, Mode::RWXU)?,
            FileType::Symlink => {
                let Target::At(from, from_name) = source else { return Err(Errno::STALE) };
                let target = rustix::fs::readlinkat(&**from, from_name, Vec::new())?;
                rustix::fs::symlinkat(target, dir, name)?;
            }
            special => rustix::fs::mknodat(dir, name, special, private, stat.st_rdev)?,
        }
        let to = Target::At(Arc::new(dir.try_clone_to_owned().map_err(super::state::errno)?), name.to_os_string());
        self.copy_metadata(source, &to, &stat)?;
        Ok(stat)
    }

    /// Owner, extended attributes (ACLs and capabilities among them), mode, times: in this order, because chown clears capabilities and
    /// set-id bits, and everything else changes times.
    pub(super) fn copy_metadata(&self, source: &Target, to: &Target, stat: &Stat) -> Res<()> {
        let now = to.stat()?;
        let mut mode = stat.st_mode;
        if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
            match to.chown(Some(stat.st_uid), Some(stat.st_gid)) {
                Ok(()) => {}
                // An owner that is not mapped here, or not ours to give: the copy belongs to who runs the daemon, as whom nobody else
                // may run it.
                Err(Errno::INVAL | Errno::PERM) if self.restricted => mode &= !SET_ID,
                Err(errno) => return Err(errno),
            }
        }
        self.copy_xattrs(source, to)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            to.chmod(mode)?;
        }
        to.utimens(&times_of(stat))
    }

    fn copy_xattrs(&self, source: &Target, to: &Target) -> Res<()> {
        let names = match source.list_xattrs() {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name = OsStr::from_bytes(name);
            let Some(value) = source.xattr(name)? else { continue };
            match to.set_xattr(name, &value, XattrFlags::empty()) {
                Ok(()) => {}
                // trusted.* and security.* are for the real root.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) if self.restricted => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// Access and modification time, for utimensat.
pub(super) fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Opens a lower file for reading without touching its access time, where that is allowed (owner or root).
pub(super) fn open_quietly(source: &Target) -> Res<OwnedFd> {
    match source.open(OFlags::RDONLY | OFlags::NOATIME) {
        Err(Errno::PERM) => source.open(OFlags::RDONLY),
        other => other,
    }
}

/// Copies `size` bytes: shares the blocks where the file system can (FICLONE), else copies only what is data, so that holes stay holes.
fn copy_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Res<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut in_kernel = true;
    let mut position = 0;
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
        copy_range(from, to, start, end, &mut in_kernel)?;
        position = end;
    }
    // The size of a file that ends in a hole.
    rustix::fs::ftruncate(to, size)
}

fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64, in_kernel: &mut bool) -> Res<()> {
    let mut position = start;
    while *in_kernel && position < end {
        let (mut off_in, mut off_out) = (position, position);
        let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut off_in), to, Some(&mut off_out), length) {
            Ok(0) => return Ok(()),
            Ok(copied) => position += copied as u64,
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => *in_kernel = false,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut buffer = vec![0; usize::try_from(end - position).unwrap_or(usize::MAX).min(128 * 1024)];
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
pub(super) fn write_all(to: BorrowedFd<'_>, mut data: &[u8], mut offset: u64) -> Res<()> {
    while !data.is_empty() {
        match rustix::io::pwrite(to, data, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                data = data.get(written..).unwrap_or_default();
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
