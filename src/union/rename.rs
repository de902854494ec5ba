//! rename(2), with RENAME_NOREPLACE and RENAME_EXCHANGE.
//!
//! A whiteout at the old name comes before the rename, and the one at the new name goes after it: a real entry wins over a whiteout, so
//! that at every moment each name shows what it showed before or what it shows afterwards.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fuser::RenameFlags;
use rustix::fs::{FileType, RenameFlags as Renameat};

use super::copy_up::Data;
use super::index::Entry;
use super::layers::{self, UPPER};
use super::node::{Inode, lock, read, write};
use super::numbers::FileKey;
use super::privileges::Caller;
use super::remove::open_path;
use super::state::{IndexWrite, Union};
use super::whiteout::remove_whiteout;
use super::{Errno, Res};

/// One end of a rename: a directory and a name in it.
#[derive(Debug)]
struct End<'a> {
    parent: Arc<Inode>,
    fd: Arc<OwnedFd>,
    name: &'a OsStr,
}

/// What the directories say about one end.
#[derive(Debug, Clone, Copy)]
struct Seen {
    kind: Option<FileType>,
    in_upper: bool,
    in_lower: bool,
    whiteout: bool,
}

impl Union {
    pub(super) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: RenameFlags, caller: Caller) -> Res<()> {
        if flags.contains(RenameFlags::RENAME_WHITEOUT) || (flags.bits() & !RenameFlags::all().bits()) != 0 {
            return Err(Errno::INVAL);
        }
        layers::check_lookup(from.1)?;
        layers::check_create(to.1)?;
        let exchange = flags.contains(RenameFlags::RENAME_EXCHANGE);
        let (source, target) = (self.end(from.0, from.1)?, self.end(to.0, to.1)?);
        self.prepare(&source)?;
        if exchange {
            self.prepare(&target)?;
        }
        let _two = lock(&self.two_dirs);
        let mut indexes = Indexes::lock(self, &source.parent, &target.parent)?;
        let (old, new) = (indexes.see(0, source.name), indexes.see(1, target.name));
        let kind = old.kind.ok_or(Errno::NOENT)?;
        if !old.in_upper {
            // It was replaced by another file after it was prepared.
            return Err(Errno::STALE);
        }
        let (moved, stat) = self.child(&source.parent, source.name, indexes.entry(0, source.name)?)?;
        let key = FileKey::new(UPPER, &stat);
        if exchange {
            return self.exchange(&mut indexes, &source, &target, (old, new), (&moved, key));
        }
        if new.kind.is_some() && flags.contains(RenameFlags::RENAME_NOREPLACE) {
            return Err(Errno::EXIST);
        }
        let replaced = match new.kind {
            None => None,
            Some(_) => Some(self.child(&target.parent, target.name, indexes.entry(1, target.name)?)?),
        };
        if let (Some((replaced, _)), Some(new_kind)) = (&replaced, new.kind) {
            if replaced.ino == moved.ino {
                // Two names of one file: rename(2) does nothing.
                return Ok(());
            }
            match (kind == FileType::Directory, new_kind == FileType::Directory) {
                (true, false) => return Err(Errno::NOTDIR),
                (false, true) => return Err(Errno::ISDIR),
                (true, true) if !self.read_index(replaced)?.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            }
            self.room_for_what_is_removed(caller)?;
        }
        if kind == FileType::Directory && new.in_lower {
            // It must not merge with what the new name hides.
            self.layers.make_opaque(self.dir_fd(&moved, UPPER)?.as_fd())?;
        }
        let last = match &replaced {
            None => None,
            Some((inode, _)) => Some(self.last_way(&target, inode)?),
        };
        if old.in_lower {
            self.layers.hide(source.fd.as_fd(), source.name)?;
        }
        let loses = replaced.as_ref().zip(last).map(|((inode, _), last)| (inode, last));
        if let Err(errno) = self.move_upper(&source, &target, (old, new), &moved, loses) {
            if old.in_lower && !old.whiteout {
                remove_whiteout(source.fd.as_fd(), source.name);
            }
            return Err(errno);
        }
        if new.whiteout {
            remove_whiteout(target.fd.as_fd(), target.name);
        }
        if let Some((inode, stat)) = replaced {
            let layer = read(&inode.place).layer;
            self.name_gone(&inode, layer, &stat);
        }
        self.table.numbers.note_unless_of(&target.parent, target.name, key, moved.ino);
        indexes.get(0).take(source.name, old.in_lower);
        indexes.get(1).put(target.name, kind, moved.ino, false);
        Ok(())
    }

    fn end<'a>(&self, parent: u64, name: &'a OsStr) -> Res<End<'a>> {
        let parent = self.inode(parent)?;
        self.copy_up(&parent, Data::Whole)?;
        let fd = self.dir_fd(&parent, UPPER)?;
        Ok(End { parent, fd, name })
    }

    /// Brings what is to be moved to the upper; EXDEV for a directory that has something below.
    fn prepare(&self, end: &End<'_>) -> Res<()> {
        let inode = {
            let index = self.read_index(&end.parent)?;
            let entry = index.visible(end.name).ok_or(Errno::NOENT)?;
            self.child(&end.parent, end.name, entry)?.0
        };
        if let Some(dir) = &inode.dir {
            let mut index = self.write_index(&inode)?;
            if !index.lower_is_empty() {
                return Err(Errno::XDEV);
            }
            let mut lowers = write(&dir.lowers);
            if !lowers.is_empty() {
                // Nothing shows from below, so that it may as well be opaque; then it can move like any directory of the upper.
                drop((index, lowers));
                self.copy_up(&inode, Data::Whole)?;
                index = self.write_index(&inode)?;
                lowers = write(&dir.lowers);
                if !index.lower_is_empty() {
                    return Err(Errno::XDEV);
                }
                self.layers.make_opaque(self.dir_fd(&inode, UPPER)?.as_fd())?;
                index.drop_lowers();
                lowers.clear();
            }
        }
        self.copy_up(&inode, Data::Whole)
    }

    /// The way to an inode that is about to lose this name.
    fn last_way(&self, end: &End<'_>, inode: &Inode) -> Res<OwnedFd> {
        let dir = self.dir_fd(&end.parent, read(&inode.place).layer)?;
        open_path(dir.as_fd(), end.name)
    }

    /// The rename itself, in the upper, and the names of both inodes: the one that moves and the one that is replaced, with the way to it.
    fn move_upper(
        &self,
        source: &End<'_>,
        target: &End<'_>,
        (old, new): (Seen, Seen),
        moved: &Arc<Inode>,
        replaced: Option<(&Arc<Inode>, OwnedFd)>,
    ) -> Res<()> {
        let directory = moved.dir.is_some();
        // Found before the locks are taken.
        let to_mark = match &replaced {
            Some((replaced, _)) if directory && new.in_upper && old.in_lower => Some(self.dir_fd(replaced, UPPER)?),
            _ => None,
        };
        // Nobody may use the name of a directory for the way to its content meanwhile, or the name of a file for the file: not of the one
        // that is replaced either, since its name leads to the other one at once.
        let (mut first, mut second) = match &replaced {
            Some((replaced, _)) if replaced.ino < moved.ino => (write(&replaced.place), Some(write(&moved.place))),
            Some((replaced, _)) => (write(&moved.place), Some(write(&replaced.place))),
            None => (write(&moved.place), None),
        };
        let _tree = directory.then(|| write(&self.tree));
        match rustix::fs::renameat(&*source.fd, source.name, &*target.fd, target.name) {
            Err(Errno::NOTEMPTY | Errno::EXIST) if directory && new.in_upper => {
                // The directory that is replaced holds whiteouts: it changes places, so that it is there until the other one is. For a moment it
                // has the old name, where after a crash it must not show what lies below that.
                if let Some(dir) = to_mark {
                    self.layers.make_opaque(dir.as_fd())?;
                }
                let exchange = || {
                    rustix::fs::renameat_with(&*source.fd, source.name, &*target.fd, target.name, Renameat::EXCHANGE)
                };
                exchange()?;
                if let Err(errno) = self.remove_upper_dir(source.fd.as_fd(), source.name) {
                    // The error that matters is the first one.
                    let _ = exchange();
                    return Err(errno);
                }
            }
            other => other?,
        }
        moved.add_name(&target.parent, target.name);
        moved.remove_name(&source.parent, source.name);
        if let Some((replaced, last)) = replaced {
            if replaced.remove_name(&target.parent, target.name) {
                let place = if replaced.ino < moved.ino { Some(&mut first) } else { second.as_mut() };
                if let Some(place) = place {
                    self.reserve.note(&last);
                    place.orphan = Some(Arc::new(last));
                }
            }
            if let Some(state) = &replaced.dir {
                state.drop_fds();
            }
        }
        Ok(())
    }

    fn exchange(
        &self,
        indexes: &mut Indexes<'_>,
        source: &End<'_>,
        target: &End<'_>,
        (old, new): (Seen, Seen),
        (moved, key): (&Arc<Inode>, FileKey),
    ) -> Res<()> {
        let (Some(old_kind), Some(new_kind)) = (old.kind, new.kind) else { return Err(Errno::NOENT) };
        if !new.in_upper {
            return Err(Errno::STALE);
        }
        let (other, stat) = self.child(&target.parent, target.name, indexes.entry(1, target.name)?)?;
        if other.ino == moved.ino {
            return Ok(());
        }
        for (inode, hides) in [(moved, new.in_lower), (&other, old.in_lower)] {
            if inode.dir.is_some() && hides {
                self.layers.make_opaque(self.dir_fd(inode, UPPER)?.as_fd())?;
            }
        }
        {
            let (first, second) = if moved.ino < other.ino { (moved, &other) } else { (&other, moved) };
            let _places = (write(&first.place), write(&second.place));
            let dirs = moved.dir.is_some() || other.dir.is_some();
            let _tree = dirs.then(|| write(&self.tree));
            rustix::fs::renameat_with(&*source.fd, source.name, &*target.fd, target.name, Renameat::EXCHANGE)?;
            moved.add_name(&target.parent, target.name);
            moved.remove_name(&source.parent, source.name);
            other.add_name(&source.parent, source.name);
            other.remove_name(&target.parent, target.name);
        }
        let numbers = &self.table.numbers;
        numbers.note_unless_of(&source.parent, source.name, FileKey::new(UPPER, &stat), other.ino);
        numbers.note_unless_of(&target.parent, target.name, key, moved.ino);
        indexes.get(0).put(source.name, new_kind, other.ino, old.whiteout);
        indexes.get(1).put(target.name, old_kind, moved.ino, new.whiteout);
        Ok(())
    }
}

/// The indexes of one or two directories, locked in the order of their numbers.
struct Indexes<'a> {
    first: IndexWrite<'a>,
    second: Option<IndexWrite<'a>>,
    /// Whether the first one is the target's.
    swapped: bool,
}

impl<'a> Indexes<'a> {
    fn lock(union: &Union, source: &'a Inode, target: &'a Inode) -> Res<Indexes<'a>> {
        if source.ino == target.ino {
            return Ok(Indexes { first: union.write_index(source)?, second: None, swapped: false });
        }
        let swapped = target.ino < source.ino;
        let (first, second) = if swapped { (target, source) } else { (source, target) };
        // Building an index takes locks of its own, so both are built before one is held.
        union.index(second)?;
        let first = union.write_index(first)?;
        Ok(Indexes { first, second: Some(union.write_index(second)?), swapped })
    }

    /// The index of the source's directory (0) or of the target's (1).
    fn get(&mut self, end: usize) -> &mut IndexWrite<'a> {
        match &mut self.second {
            Some(second) if (end == 1) != self.swapped => second,
            _ => &mut self.first,
        }
    }

    fn entry(&mut self, end: usize, name: &OsStr) -> Res<&Entry> {
        self.get(end).visible(name).ok_or(Errno::NOENT)
    }

    fn see(&mut self, end: usize, name: &OsStr) -> Seen {
        let entry = self.get(end).get(name);
        Seen {
            kind: entry.and_then(Entry::visible),
            in_upper: entry.is_some_and(|entry| entry.upper.is_some()),
            in_lower: entry.is_some_and(|entry| entry.lower.is_some()),
            whiteout: entry.is_some_and(|entry| entry.whiteout),
        }
    }
}
