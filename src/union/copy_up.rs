//! copy_up: the first write to a lower file makes an upper one of it.
//!
//! The copy gets its content, owner, mode, extended attributes, ACLs and times before it gets its name: a crash leaves the old file or the new
//! one. Only the naming happens under the lock of the directory, so that copying a large file delays nobody but those who need this
//! very file.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, MutexGuard};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};

use super::counters::{CopyUpClock, Step};
use super::create::set_umask;
use super::hard_links::has_names;
use super::layers::{self, UPPER};
use super::node::{Inode, lock, read, write};
use super::privileges::{PERMISSIONS, SET_ID};
use super::state::Union;
use super::target::Target;
use super::{Errno, Res};

/// How much of a file's data is wanted in the upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    /// All of it.
    Whole,
    /// None: the caller truncates the file.
    None,
}

/// A finished copy on the file system of the upper, before it has its name there.
#[derive(Debug)]
pub(super) enum Fresh {
    /// A regular file that has no name at all (O_TMPFILE), open for reading and writing. Nothing is left of it if we die.
    Unnamed(Arc<OwnedFd>),
    /// A name in the scratch directory: whatever is no regular file; and, open, regular files where there is no O_TMPFILE.
    Scratch(OsString, Option<Arc<OwnedFd>>),
}

/// What became of one attempt.
enum Attempt {
    /// The inode is in the upper; the copy, if it is open.
    Done(Option<Arc<OwnedFd>>),
    /// It was renamed meanwhile.
    Renamed,
}

impl Fresh {
    /// The copy, if it is open.
    fn file(&self) -> Option<&Arc<OwnedFd>> {
        match self {
            Fresh::Unnamed(file) => Some(file),
            Fresh::Scratch(_, file) => file.as_ref(),
        }
    }

    fn target(&self, scratch: BorrowedFd<'_>) -> Res<Target> {
        Ok(match self {
            Fresh::Unnamed(file) | Fresh::Scratch(_, Some(file)) => Target::Open(Arc::clone(file)),
            Fresh::Scratch(name, None) => {
                Target::At(Arc::new(scratch.try_clone_to_owned().map_err(super::state::errno)?), name.clone())
            }
        })
    }

    pub(super) fn stat(&self, scratch: BorrowedFd<'_>) -> Res<Stat> {
        match self {
            Fresh::Unnamed(file) => rustix::fs::fstat(&**file),
            Fresh::Scratch(name, _) => rustix::fs::statat(scratch, name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Gives it a name, of which it may get several.
    pub(super) fn link(&self, scratch: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &OsStr) -> Res<()> {
        match self {
            Fresh::Scratch(own, _) => rustix::fs::linkat(scratch, own, dir, name, AtFlags::empty()),
            Fresh::Unnamed(file) => match rustix::fs::linkat(file, "", dir, name, AtFlags::EMPTY_PATH) {
                // Without CAP_DAC_READ_SEARCH; the way round it is that of open(2), "O_TMPFILE".
                Err(Errno::NOENT) => {
                    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                    rustix::fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
                }
                other => other,
            },
        }
    }

    /// Gives it its only name.
    fn name(&self, scratch: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &OsStr) -> Res<()> {
        match self {
            Fresh::Unnamed(_) => self.link(scratch, dir, name),
            Fresh::Scratch(own, _) => rustix::fs::renameat(scratch, own, dir, name),
        }
    }

    /// Takes away the name in the scratch directory, if there is one.
    pub(super) fn drop_scratch_name(&self, scratch: BorrowedFd<'_>) -> Res<()> {
        match self {
            Fresh::Unnamed(_) => Ok(()),
            Fresh::Scratch(own, _) => layers::remove_tree(scratch, own, FileType::Unknown),
        }
    }
}

impl Union {
    /// Makes sure that an inode is in the upper, with all its directories. To be called with no lock held. Afterwards it stays there.
    pub(super) fn copy_up(&self, inode: &Arc<Inode>, data: Data) -> Res<()> {
        self.copy_up_open(inode, data).map(drop)
    }

    /// As [`copy_up`](Union::copy_up); returns the file, open for reading and writing, if it was copied just now and is open.
    pub(super) fn copy_up_open(&self, inode: &Arc<Inode>, data: Data) -> Res<Option<Arc<OwnedFd>>> {
        if inode.is_upper() {
            return Ok(None);
        }
        if !self.layers.writable() {
            return Err(Errno::ROFS);
        }
        // A name can go or change while we look at it: then look again.
        for _ in 0..16 {
            self.copy_up_parents(inode)?;
            let _once = self.only_one(inode);
            if inode.is_upper() {
                return Ok(None);
            }
            let mut clock = self.counters.copy_up(inode.kind);
            if let Attempt::Done(file) = self.copy_up_once(inode, data, &mut clock)? {
                clock.done();
                return Ok(file);
            }
        }
        Err(Errno::STALE)
    }

    /// Waits for another copy_up of this inode; that can take long.
    fn only_one<'a>(&self, inode: &'a Inode) -> MutexGuard<'a, ()> {
        inode.copying.try_lock().unwrap_or_else(|_| {
            let _away = self.crew.away();
            lock(&inode.copying)
        })
    }

    /// Makes sure that all directories above an inode are in the upper, the topmost first. Trees may be deeper than a stack.
    fn copy_up_parents(&self, inode: &Inode) -> Res<()> {
        let mut above: Vec<Arc<Inode>> = Vec::new();
        while let Some((parent, _)) = above.last().map_or(inode, |dir| &**dir).name()
            && !parent.is_upper()
        {
            above.push(parent);
        }
        while let Some(dir) = above.pop() {
            self.copy_up(&dir, Data::Whole)?;
        }
        Ok(())
    }

    /// Copies and commits.
    fn copy_up_once(&self, inode: &Arc<Inode>, data: Data, clock: &mut CopyUpClock<'_>) -> Res<Attempt> {
        self.crew.watch();
        let (name, source, layer) = {
            let place = read(&inode.place);
            (inode.name(), self.target(inode, place.layer, place.orphan.as_ref())?, place.layer)
        };
        let source = if inode.kind == FileType::RegularFile { open_source(source, data)? } else { source };
        let stat = source.stat()?;
        if stat.st_nlink > 1 && inode.kind == FileType::RegularFile && !matches!(source, Target::Open(_)) {
            // All its names get the copy, and only one of them will be truncated.
            return Err(Errno::ACCESS);
        }
        clock.lap(Step::LookUp);
        let fresh = match inode.kind {
            FileType::RegularFile => self.new_file(&stat)?,
            kind => self.new_other(&source, kind, &stat)?,
        };
        let committed = self.fill(&source, &fresh, (&stat, data), clock).and_then(|()| {
            let committed = match name {
                _ if has_names(inode.kind, &stat) => self.commit_links(inode, layer, &stat, &fresh),
                Some((parent, name)) => self.commit(inode, &parent, &name, &fresh),
                None => self.commit_orphan(inode, &fresh),
            };
            clock.lap(Step::Rename);
            committed
        });
        if matches!(committed, Ok(true)) && self.mode_to_move(&stat) != 0 {
            let place = read(&inode.place);
            // It is there; that its owner may write in it is all that differs if this fails.
            let _ = self.target(inode, UPPER, place.orphan.as_ref()).and_then(|copy| copy.chmod(stat.st_mode));
        }
        if !matches!(committed, Ok(true)) {
            // The error that matters is the first one; what stays in scratch is removed by the next mount.
            let _ = fresh.drop_scratch_name(self.layers.scratch()?);
        }
        Ok(if committed? { Attempt::Done(fresh.file().cloned()) } else { Attempt::Renamed })
    }

    /// Gives the finished copy its name. False if the inode has another name by now.
    fn commit(&self, inode: &Arc<Inode>, parent: &Arc<Inode>, name: &OsStr, fresh: &Fresh) -> Res<bool> {
        let mut index = self.write_index(parent)?;
        let mut place = write(&inode.place);
        if !inode.is_named(parent, name) {
            drop((index, place));
            if inode.name().is_some() {
                return Ok(false);
            }
            return self.commit_orphan(inode, fresh);
        }
        let entry = index.get_mut(name).ok_or(Errno::STALE)?;
        let dir = self.dir_fd(parent, UPPER)?;
        keeping_times(parent, dir, |dir| fresh.name(self.layers.scratch()?, dir, name))?;
        entry.upper = Some(inode.kind);
        // Also where the index was read after the look-up.
        entry.set_ino(inode.ino);
        place.layer = UPPER;
        Ok(true)
    }

    /// Keeps the finished copy of a file that has no name.
    pub(super) fn commit_orphan(&self, inode: &Inode, fresh: &Fresh) -> Res<bool> {
        let scratch = self.layers.scratch()?;
        let file = match fresh {
            Fresh::Unnamed(file) => Arc::clone(file),
            Fresh::Scratch(name, _) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Arc::new(rustix::fs::openat(scratch, name, flags, Mode::empty())?)
            }
        };
        fresh.drop_scratch_name(scratch)?;
        let mut place = write(&inode.place);
        place.orphan = Some(file);
        place.layer = UPPER;
        Ok(true)
    }

    /// An empty file for a copy, if it is made for it with the mode that the copy will have where chown(2) would not take anything from it.
    fn new_file(&self, stat: &Stat) -> Res<Fresh> {
        // Who has no privileges needs to write in it for some attributes.
        let final_mode = stat.st_mode & SET_ID == 0 && !self.restricted;
        let mode = if final_mode { stat.st_mode & PERMISSIONS } else { 0o600 };
        match self.spare.as_ref().ok_or(Errno::ROFS)?.take(mode) {
            Ok(file) => return Ok(Fresh::Unnamed(file)),
            // A file system without O_TMPFILE; or a kernel: then this opens a directory for writing.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        let name = self.scratch_name();
        set_umask(0)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.layers.scratch()?, &name, flags, Mode::from_raw_mode(mode))?;
        Ok(Fresh::Scratch(name, Some(Arc::new(file))))
    }

    /// A directory without content, or a copy of what is neither that nor a regular file.
    fn new_other(&self, source: &Target, kind: FileType, stat: &Stat) -> Res<Fresh> {
        let (scratch, name) = (self.layers.scratch()?, self.scratch_name());
        match kind {
            FileType::Directory => rustix::fs::mkdirat(scratch, &name, Mode::RWXU)?,
            FileType::Symlink => {
                let Target::At(from, from_name) = source else { return Err(Errno::STALE) };
                let target = rustix::fs::readlinkat(&**from, from_name, Vec::new())?;
                rustix::fs::symlinkat(target, scratch, &name)?;
            }
            special => rustix::fs::mknodat(scratch, &name, special, Mode::RUSR | Mode::WUSR, stat.st_rdev)?,
        }
        Ok(Fresh::Scratch(name, None))
    }

    /// Gives a copy its data, if it has any, and its attributes.
    fn fill(
        &self,
        source: &Target,
        fresh: &Fresh,
        (stat, data): (&Stat, Data),
        clock: &mut CopyUpClock<'_>,
    ) -> Res<()> {
        // A file with several names gets them one after the other: none may show an empty file meanwhile.
        if (data == Data::Whole || stat.st_nlink > 1)
            && let (Target::Open(from), Some(to)) = (source, fresh.file())
        {
            let moved = self.copier.copy(from.as_fd(), to.as_fd(), stat, || self.crew.away())?;
            self.counters.moved(moved);
            if self.options.fsync && stat.st_size > 0 {
                clock.lap(Step::Data);
                let _away = self.crew.away();
                rustix::fs::fdatasync(to)?;
                clock.lap(Step::Fsync);
            }
        }
        clock.lap(Step::Data);
        self.copy_metadata(source, &fresh.target(self.layers.scratch()?)?, stat)?;
        clock.lap(Step::Attributes);
        Ok(())
    }

    /// Owner, extended attributes (ACLs and capabilities among them), mode, times: in this order, because chown clears capabilities and
    /// set-id bits, and everything else changes times.
    fn copy_metadata(&self, source: &Target, to: &Target, stat: &Stat) -> Res<()> {
        let now = to.stat()?;
        let mut mode = stat.st_mode | self.mode_to_move(stat);
        if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
            match to.chown(Some(stat.st_uid), Some(stat.st_gid)) {
                Ok(()) => {}
                // An owner that is not mapped here, or not ours to give: the copy belongs to who runs the daemon, as whom nobody else
                // may run it.
                Err(Errno::INVAL | Errno::PERM) if self.restricted => mode &= !SET_ID,
                Err(errno) => return Err(errno),
            }
        }
        let has_xattrs = self.copy_xattrs(source, to)?;
        // An ACL among the attributes has a say in the mode.
        let right = !has_xattrs && now.st_mode & PERMISSIONS == mode & PERMISSIONS;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink && !right {
            to.chmod(mode)?;
        }
        to.utimens(&times_of(stat))
    }

    /// What the mode of a copy needs besides until it is in its place: without privileges nobody moves a directory in which he may not write.
    pub(super) fn mode_to_move(&self, stat: &Stat) -> u32 {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory && self.restricted { Mode::RWXU.bits() & !stat.st_mode } else { 0 }
    }

    /// Whether there were any.
    fn copy_xattrs(&self, source: &Target, to: &Target) -> Res<bool> {
        let names = match source.list_xattrs() {
            Ok(names) => names,
            Err(Errno::OPNOTSUPP) => return Ok(false),
            Err(errno) => return Err(errno),
        };
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !layers::is_of_overlay(name)) {
            let name = OsStr::from_bytes(name);
            let Some(value) = source.xattr(name)? else { continue };
            match to.set_xattr(name, &value, XattrFlags::empty()) {
                Ok(()) => {}
                // trusted.* and security.* are for the real root.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) if self.restricted => {}
                // What only the file system of the lower knows.
                Err(Errno::OPNOTSUPP) if !matters_everywhere(name) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(!names.is_empty())
    }
}

/// Whether an attribute says who may do what: a copy without it would say something else.
fn matters_everywhere(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"security.") || name == layers::ACCESS_ACL || name == layers::DEFAULT_ACL
}

/// Changes a directory of the upper such that nobody can see it: it keeps its times.
pub(super) fn keeping_times(
    inode: &Inode,
    dir: Arc<OwnedFd>,
    change: impl FnOnce(BorrowedFd<'_>) -> Res<()>,
) -> Res<()> {
    // What somebody sets meanwhile must not be overwritten.
    let _alone = inode.dir.as_ref().map(|state| lock(&state.times));
    let before = rustix::fs::statat(&*dir, ".", AtFlags::SYMLINK_NOFOLLOW)?;
    change(dir.as_fd())?;
    // A failure here costs no more than a newer mtime.
    let _ = Target::At(dir, OsString::from(".")).utimens(&times_of(&before));
    Ok(())
}

/// Access and modification time, for utimensat.
fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Opens a lower file for copying. Of one that its reader may only write, nothing but the attributes is wanted.
fn open_source(source: Target, data: Data) -> Res<Target> {
    match open_quietly(&source) {
        Ok(file) => Ok(Target::Open(Arc::new(file))),
        Err(Errno::ACCESS) if data == Data::None => Ok(source),
        Err(errno) => Err(errno),
    }
}

/// Opens a lower file for reading.
pub(super) fn open_quietly(source: &Target) -> Res<OwnedFd> {
    layers::quietly(|quiet| source.open(OFlags::RDONLY | quiet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_capabilities_and_acls_are_never_left_out() {
        let matters = |name: &str| matters_everywhere(OsStr::new(name));
        for name in ["security.capability", "security.selinux", "system.posix_acl_access", "system.posix_acl_default"] {
            assert!(matters(name), "{name}");
        }
        for name in ["btrfs.compression", "user.note", "system.cifs_acl", "trusted.x"] {
            assert!(!matters(name), "{name}");
        }
    }
}
