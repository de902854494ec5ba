//! Listing directories.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};

use super::file::{Handle, OpenDir};
use super::layers::UPPER;
use super::node::{lock, read};
use super::state::{Found, Union};
use super::{Errno, Res};

/// The names of a directory at one moment, `.` and `..` included. The position in it is the offset that readdir hands out, so that
/// files created or removed meanwhile neither hide nor repeat others.
pub(super) type Listing = Vec<Listed>;

/// One name.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: OsString,
    pub(super) kind: FileType,
    pub(super) ino: u64,
}

impl Union {
    pub(super) fn opendir(&self, id: u64) -> Res<u64> {
        let inode = self.inode(id)?;
        Ok(self.keep(Handle::Dir(OpenDir { inode, listing: Default::default() })))
    }

    /// The listing of an open directory; a new one at offset 0, which is where rewinddir(3) leads.
    pub(super) fn listing(&self, handle: u64, offset: u64) -> Res<Arc<Listing>> {
        let handle = self.handle(handle)?;
        let Handle::Dir(open) = &*handle else { return Err(Errno::NOTDIR) };
        let mut kept = lock(&open.listing);
        if let Some(listing) = kept.as_ref().filter(|_| offset > 0) {
            return Ok(Arc::clone(listing));
        }
        let index = self.read_index(&open.inode)?;
        let parent = open.inode.name().map_or(open.inode.ino, |(parent, _)| parent.ino);
        let dots = [(".", open.inode.ino), ("..", parent)];
        let mut listing: Listing = dots
            .map(|(name, ino)| Listed { name: OsString::from(name), kind: FileType::Directory, ino })
            .into_iter()
            .collect();
        listing.extend(index.iter().map(|(name, entry, kind)| Listed {
            name: name.clone(),
            kind,
            ino: entry.ino(|| self.table.fresh()),
        }));
        drop(index);
        let listing = Arc::new(listing);
        *kept = Some(Arc::clone(&listing));
        Ok(listing)
    }

    /// Looks up a listed name, unless it is gone by now.
    pub(super) fn listed(&self, handle: u64, name: &OsStr) -> Option<Found> {
        let handle = self.handle(handle).ok()?;
        let Handle::Dir(open) = &*handle else { return None };
        self.look_up(open.inode.ino, name).ok()
    }

    pub(super) fn fsyncdir(&self, handle: u64) -> Res<()> {
        let handle = self.handle(handle)?;
        let Handle::Dir(open) = &*handle else { return Err(Errno::NOTDIR) };
        let place = read(&open.inode.place);
        if place.layer != UPPER {
            return Ok(());
        }
        let fd = self.target(&open.inode, UPPER, place.orphan.as_ref())?.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::fsync(fd.as_fd())
    }
}
