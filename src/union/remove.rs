//! Removing names: unlink and rmdir.
//!
//! The whiteout comes first and the file goes second: between the two the file is still there, since a real entry wins. Where the file cannot
//! go, the whiteout goes again, unless it was there before: then it hides what is below the file.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::copy_up::Data;
use super::hard_links::has_names;
use super::layers::{self, Layer, UPPER};
use super::node::{Inode, lock, write};
use super::numbers::FileKey;
use super::privileges::Caller;
use super::state::Union;
use super::whiteout::remove_whiteout;
use super::{Errno, Res};

impl Union {
    pub(super) fn unlink(&self, parent: u64, name: &OsStr, caller: Caller) -> Res<()> {
        layers::check_lookup(name)?;
        self.room_for_what_is_removed(caller)?;
        let parent = self.inode(parent)?;
        self.copy_up(&parent, Data::Whole)?;
        let mut index = self.write_index(&parent)?;
        let entry = index.visible(name).ok_or(Errno::NOENT)?;
        let (in_upper, hides, layer) =
            (entry.upper.is_some(), entry.lower.is_some(), entry.layer().ok_or(Errno::NOENT)?);
        let hidden = entry.whiteout;
        let (inode, stat) = self.child(&parent, name, entry)?;
        if inode.kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let mut place = write(&inode.place);
        // Where somebody has it open one descriptor is enough.
        let last = match inode.open_file().filter(|_| in_upper) {
            Some(file) => file,
            None => Arc::new(open_path(self.dir_fd(&parent, layer)?.as_fd(), name)?),
        };
        let dir = self.dir_fd(&parent, UPPER)?;
        if hides {
            self.layers.hide(dir.as_fd(), name)?;
        }
        if in_upper && let Err(errno) = rustix::fs::unlinkat(&*dir, name, AtFlags::empty()) {
            if hides && !hidden {
                remove_whiteout(dir.as_fd(), name);
            }
            return Err(errno);
        }
        index.take(name, hides);
        if inode.remove_name(&parent, name) {
            self.reserve.note(&*last);
            place.orphan = Some(last);
        }
        self.name_gone(&inode, layer, &stat);
        Ok(())
    }

    pub(super) fn rmdir(&self, parent: u64, name: &OsStr, caller: Caller) -> Res<()> {
        layers::check_lookup(name)?;
        self.room_for_what_is_removed(caller)?;
        let parent = self.inode(parent)?;
        self.copy_up(&parent, Data::Whole)?;
        let _two = lock(&self.two_dirs);
        let mut index = self.write_index(&parent)?;
        let entry = index.visible(name).ok_or(Errno::NOENT)?;
        let (in_upper, hides, layer) =
            (entry.upper.is_some(), entry.lower.is_some(), entry.layer().ok_or(Errno::NOENT)?);
        let hidden = entry.whiteout;
        let (inode, stat) = self.child(&parent, name, entry)?;
        let state = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        let mut content = self.write_index(&inode)?;
        if !content.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let mut place = write(&inode.place);
        let last = self.dir_fd(&inode, layer)?;
        let dir = self.dir_fd(&parent, UPPER)?;
        if hides {
            self.layers.hide(dir.as_fd(), name)?;
        }
        if in_upper && let Err(errno) = self.remove_upper_dir(dir.as_fd(), name) {
            if hides && !hidden {
                remove_whiteout(dir.as_fd(), name);
            }
            return Err(errno);
        }
        content.clear();
        write(&state.lowers).clear();
        index.take(name, hides);
        inode.remove_name(&parent, name);
        self.reserve.note(&*last);
        place.orphan = Some(last);
        state.drop_fds();
        self.name_gone(&inode, layer, &stat);
        Ok(())
    }

    /// Removes a directory of the upper in which nothing is visible: it may hold whiteouts. Those must not go before it does, or what
    /// they hide would show after a crash.
    pub(super) fn remove_upper_dir(&self, parent: BorrowedFd<'_>, name: &OsStr) -> Res<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        let scratch = self.layers.scratch()?;
        let temporary = self.scratch_name();
        match rustix::fs::renameat(parent, name, scratch, &temporary) {
            // Without privileges nobody moves a directory in which he may not write, or removes what is in it.
            Err(Errno::ACCESS) => {
                rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
                rustix::fs::renameat(parent, name, scratch, &temporary)?;
            }
            other => other?,
        }
        // It is gone for everybody; what stays in scratch is removed by the next mount.
        let _ = layers::remove_tree(scratch, &temporary, FileType::Directory);
        Ok(())
    }

    /// A file of which this was said has lost a name. If that was the last one, its number can be used again, below and here.
    pub(super) fn name_gone(&self, inode: &Inode, layer: Layer, stat: &Stat) {
        if !has_names(inode.kind, stat) {
            self.table.numbers.forget(FileKey::new(layer, stat));
        } else if inode.face() != inode.ino
            && let Some(face) = self.table.get(inode.face())
        {
            // The kernel may have counted one link less for the other node alone.
            self.attributes_changed(&face);
        }
    }
}

/// A descriptor that keeps a file reachable without its name.
pub(super) fn open_path(dir: BorrowedFd<'_>, name: &OsStr) -> Res<OwnedFd> {
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
