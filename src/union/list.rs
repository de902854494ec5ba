//! Listing directories.
//!
//! There are no open directories here: a listing goes on from the cookie of the last name that was handed out, and the index keeps
//! cookies valid (see `index`). The kernel therefore need not tell of opendir(3), and keeps listings itself.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags};

use super::Res;
use super::index::Entry;
use super::layers::UPPER;
use super::node::{Inode, read};
use super::state::{Found, Union};

/// Cookies of `.` and `..`; the names of the index follow.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// One name of a listing.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    /// Where to go on after it.
    pub(super) cookie: u64,
    pub(super) name: &'a OsStr,
    pub(super) kind: FileType,
    pub(super) ino: u64,
}

/// What whoever takes the names says to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It was taken.
    Left,
    /// It did not fit any more.
    None,
}

impl Union {
    /// Hands out the names after `cookie` until there is no more room. 0 is the beginning.
    pub(super) fn list(&self, id: u64, cookie: u64, mut take: impl FnMut(&Listed<'_>) -> Room) -> Res<()> {
        self.walk(&*self.inode(id)?, cookie, |listed, _| take(listed))
    }

    /// As [`list`](Union::list), with a look-up of each name; `.` and `..` have none. A look-up that found no room is taken back.
    pub(super) fn list_with_look_ups(
        &self,
        id: u64,
        cookie: u64,
        mut take: impl FnMut(&Listed<'_>, Option<&Found>) -> Room,
    ) -> Res<()> {
        let inode = self.inode(id)?;
        self.walk(&inode, cookie, |listed, entry| {
            let Some(entry) = entry else { return take(listed, None) };
            // A name that cannot be looked up is not there for anybody: the listing goes on without it.
            let Ok((child, stat)) = self.child(&inode, listed.name, entry) else { return Room::Left };
            let found = Found { node: self.table.look_up(&child), stat };
            let room = take(listed, Some(&found));
            if room == Room::None {
                drop(child);
                self.table.forget(found.node.id, 1);
            } else {
                self.counters.listed();
            }
            room
        })
    }

    fn walk(&self, inode: &Inode, cookie: u64, mut take: impl FnMut(&Listed<'_>, Option<&Entry>) -> Room) -> Res<()> {
        let parent = inode.name().map_or(inode.ino, |(parent, _)| parent.ino);
        for (dot, name, ino) in [(DOT, ".", inode.ino), (DOT_DOT, "..", parent)] {
            let listed = Listed { cookie: dot, name: OsStr::new(name), kind: FileType::Directory, ino };
            if cookie < dot && take(&listed, None) == Room::None {
                return Ok(());
            }
        }
        let index = self.read_index(inode)?;
        for (place, name, entry, kind) in index.after(cookie.saturating_sub(DOT_DOT)) {
            let ino = entry.ino(|| self.table.fresh());
            if take(&Listed { cookie: place.saturating_add(DOT_DOT), name, kind, ino }, Some(entry)) == Room::None {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn fsyncdir(&self, id: u64) -> Res<()> {
        let inode = self.inode(id)?;
        let place = read(&inode.place);
        if place.layer != UPPER {
            return Ok(());
        }
        let fd = self.target(&inode, UPPER, place.orphan.as_ref())?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fsync(fd.as_fd())
    }
}
