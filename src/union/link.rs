//! Links: link, readlink.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType};

use super::copy_up::Data;
use super::layers::{self, UPPER};
use super::look_up::Found;
use super::node::{Node, read};
use super::numbers::FileKey;
use super::state::Union;
use super::target::Target;
use super::whiteout::remove_whiteout;
use super::{Errno, Res};

impl Union {
    /// Another name for a file.
    pub(super) fn link(&self, node: &Node, parent: u64, name: &OsStr) -> Res<Found> {
        layers::check_create(name)?;
        let inode = &node.inode;
        if inode.kind == FileType::Directory {
            return Err(Errno::PERM);
        }
        let parent = self.inode(parent)?;
        self.copy_up(&parent, Data::Whole)?;
        self.copy_up(inode, Data::Whole)?;
        let mut index = self.write_index(&parent)?;
        if index.visible(name).is_some() {
            return Err(Errno::EXIST);
        }
        let place = read(&inode.place);
        let Target::At(from, from_name) = self.target(inode, UPPER, place.orphan.as_ref())? else {
            // The last name is gone, and with it the file as far as names go.
            return Err(Errno::NOENT);
        };
        let dir = self.dir_fd(&parent, UPPER)?;
        rustix::fs::linkat(&*from, &from_name, &*dir, name, AtFlags::empty())?;
        if index.get(name).is_some_and(|entry| entry.whiteout) {
            remove_whiteout(dir.as_fd(), name);
        }
        let stat = rustix::fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.table.numbers.note(FileKey::new(UPPER, &stat), inode.ino);
        index.put(name, inode.kind, inode.ino, false);
        inode.add_name(&parent, name);
        Ok(Found { node: self.table.look_up(inode), stat })
    }

    pub(super) fn readlink(&self, node: &Arc<Node>) -> Res<Vec<u8>> {
        let place = read(&node.inode.place);
        match self.target(&node.inode, place.layer, place.orphan.as_ref())? {
            Target::At(dir, name) => rustix::fs::readlinkat(&*dir, &name, Vec::new()),
            Target::Fd(fd) | Target::Open(fd) => rustix::fs::readlinkat(&*fd, "", Vec::new()),
        }
        .map(|target| target.into_bytes())
    }
}
