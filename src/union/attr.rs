//! Attributes: getattr, setattr, statfs.

use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, StatVfs, Timespec, Timestamps};

use super::copy_up::Data;
use super::file::OpenFile;
use super::layers::UPPER;
use super::node::{Inode, Node, Place, lock, read};
use super::privileges::{Caller, PERMISSIONS};
use super::state::Union;
use super::{Errno, Res};

/// What a setattr asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<Timespec>,
    pub(super) mtime: Option<Timespec>,
}

/// "Leave this time as it is", for utimensat(2).
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };

impl Union {
    pub(super) fn getattr(&self, node: &Node) -> Res<Stat> {
        let place = read(&node.inode.place);
        self.target_of_attributes(&node.inode, &place)?.stat().map(|stat| linked(stat, &node.inode, &place))
    }

    /// Changes what is asked for.
    pub(super) fn setattr(
        &self,
        node: &Node,
        change: &Change,
        handle: Option<&Arc<OpenFile>>,
        caller: Caller,
    ) -> Res<Stat> {
        let inode = &node.inode;
        let data = if change.size == Some(0) { Data::None } else { Data::Whole };
        let unopened = change.size.is_some() && self.leaves_out_opens();
        let fresh = if unopened { Some(self.unopened(node, Some(data))?) } else { self.copy_up_open(inode, data)? };
        let place = read(&inode.place);
        let target = self.target_of_attributes(inode, &place)?;
        if let Some(size) = change.size {
            let file = match handle.and_then(|handle| handle.upper_file()).or(fresh) {
                Some(file) => file,
                None => Arc::new(target.open(OFlags::WRONLY | OFlags::NONBLOCK)?),
            };
            rustix::fs::ftruncate(&*file, size)?;
            self.take_set_id(node, &file, caller)?;
        }
        if *change == Change::default() && inode.dir.is_none() {
            // chown(2) to -1 and -1, which takes set-id bits away. The kernel asks for no owner here: what others may not do is left undone.
            let owner = self.options.owners.show(target.stat()?).st_uid;
            if caller.is_root() || caller.uid == owner {
                self.take_set_gid(&target, caller)?;
                target.chown(None, None)?;
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            if inode.dir.is_none() {
                // The file system below looks at its own caller's groups (setattr_should_drop_sgid in fs/attr.c). The group from before counts.
                self.take_set_gid(&target, caller)?;
            }
            target.chown(change.uid, change.gid)?;
        }
        if let Some(mode) = change.mode {
            if inode.kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            if mode & PERMISSIONS == 0 && inode.kind == FileType::CharacterDevice && target.stat()?.st_rdev == 0 {
                // The next mount would take it for overlay's.
                return Err(Errno::PERM);
            }
            target.chmod(mode)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: change.atime.unwrap_or(OMIT),
                last_modification: change.mtime.unwrap_or(OMIT),
            };
            // A copy_up in a directory sets them to what they were.
            let _alone = inode.dir.as_ref().map(|state| lock(&state.times));
            target.utimens(&times)?;
        }
        self.face_changed(node);
        target.stat().map(|stat| linked(stat, inode, &place))
    }

    /// Of the file system that takes the writes.
    pub(super) fn statfs(&self) -> Res<StatVfs> {
        let layer = if self.layers.writable() { UPPER } else { 0 };
        // Not every system call accepts O_PATH here.
        let root = rustix::fs::openat(
            self.layers.root(layer)?,
            ".",
            OFlags::RDONLY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        rustix::fs::fstatvfs(root)
    }
}

/// The links of what lost its last name in the upper: its lower does not know. Of a file that has several there, it is not known which of them still
/// show.
fn linked(mut stat: Stat, inode: &Inode, place: &Place) -> Stat {
    if place.orphan.is_some() && place.layer != UPPER && (inode.dir.is_some() || stat.st_nlink == 1) {
        stat.st_nlink = 0;
    }
    stat
}
