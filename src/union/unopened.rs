//! Reading and writing files that nobody has opened here.
//!
//! Where the kernel does not read and write files by itself, their pages are in its own cache, of this mount alone, and an open tells it nothing. So
//! the first open is answered with ENOSYS: the kernel asks at no open any more, nor tells when a file is closed, and its requests name the node
//! alone. Who opens a file again that is in memory then needs nobody here. The copy_up comes with the first write, or the truncation, and so
//! do errors that an open had. There are no handles at all then: the kernel would not tell us when to let go of one (fuse_file_put in
//! fs/fuse/file.c).

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use rustix::fs::OFlags;
use rustix::thread::{CapabilitySet, capabilities};

use super::copy_up::{Data, open_quietly};
use super::file::OpenFile;
use super::layers::UPPER;
use super::node::{Node, lock, read};
use super::passthrough::NodeIo;
use super::state::Union;
use super::{Res, UnionOptions};

/// By what the kernel names a file that it reads or writes.
#[derive(Debug)]
pub(super) enum Via {
    /// What was opened.
    Open(Arc<OpenFile>),
    /// The file itself.
    Node(Arc<Node>),
}

impl Via {
    pub(super) fn node(&self) -> &Arc<Node> {
        match self {
            Via::Open(open) => open.node(),
            Via::Node(node) => node,
        }
    }

    pub(super) fn is_passthrough(&self) -> bool {
        matches!(self, Via::Open(open) if open.is_passthrough())
    }

    /// Whether what it reads is the lower's, also where the file is in the upper by now.
    pub(super) fn reads_the_lower(&self) -> bool {
        matches!(self, Via::Open(open) if open.reads_the_lower())
    }
}

/// A file that is served without an open, and how far it can be used.
#[derive(Debug, Clone)]
pub(super) struct Unopened {
    pub(super) file: Arc<OwnedFd>,
    pub(super) upper: bool,
    pub(super) writable: bool,
}

impl Union {
    /// Whether the kernel may leave out opens, if it does not read and write files by itself. Permissions are then checked by the kernel when
    /// somebody opens, and here later: only a daemon that is refused nothing can do that. And where layers may change, an open is when the kernel looks.
    pub(super) fn can_do_without_opens(&self) -> bool {
        let all = || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::DAC_OVERRIDE));
        let ask = self
            .options
            .opens
            .unwrap_or_else(|| self.options.ttl_seconds < UnionOptions::default().ttl_seconds || !all());
        !ask
    }

    /// Whether the kernel is told to leave out opens.
    pub(super) fn leaves_out_opens(&self) -> bool {
        self.no_open.load(Ordering::Relaxed)
    }

    /// What a request names: a handle, or a node where it has none.
    pub(super) fn via(&self, node: u64, handle: u64) -> Res<Via> {
        if handle == 0 { self.node(node).map(Via::Node) } else { self.handle(handle).map(Via::Open) }
    }

    /// The descriptor to read from.
    pub(super) fn to_read(&self, via: &Via) -> Res<Arc<OwnedFd>> {
        match via {
            Via::Open(open) => self.file(open),
            Via::Node(node) => self.unopened(node, None),
        }
    }

    /// The descriptor to write to.
    pub(super) fn to_write(&self, via: &Via) -> Res<Arc<OwnedFd>> {
        match via {
            Via::Open(open) => self.file(open),
            Via::Node(node) => self.unopened(node, Some(Data::Whole)),
        }
    }

    /// The file of a node, which stays open for the next request (see `kept`). To write to it, with so much of what it had.
    pub(super) fn unopened(&self, node: &Node, write: Option<Data>) -> Res<Arc<OwnedFd>> {
        let inode = &node.inode;
        let fresh = write.map_or(Ok(None), |data| self.copy_up_open(inode, data))?;
        let io = lock(&node.io);
        let place = read(&inode.place);
        let upper = place.layer == UPPER;
        if let Some(file) = io.unopened(upper, write.is_some()) {
            return Ok(file);
        }
        self.make_room();
        let target = || self.target(inode, place.layer, place.orphan.as_ref());
        let open = |flags| target()?.open(flags | OFlags::NONBLOCK);
        let (file, writable) = match fresh {
            Some(file) => (file, true),
            None if upper && write.is_some() => (Arc::new(open(OFlags::RDWR)?), true),
            None if upper => (Arc::new(open(OFlags::RDONLY)?), false),
            None => (Arc::new(open_quietly(&target()?)?), false),
        };
        drop(place);
        self.keep_unopened(node, io, Unopened { file: Arc::clone(&file), upper, writable });
        Ok(file)
    }

    /// Keeps a file for the requests that name its node, unless descriptors are short: then it is open for this request alone.
    pub(super) fn keep_unopened(&self, node: &Node, mut io: MutexGuard<'_, NodeIo>, file: Unopened) {
        self.reserve.note(&*file.file);
        if file.upper {
            node.inode.opened(&file.file, false);
        }
        if self.reserve.spares(&*file.file) && io.keep_unopened(file) {
            drop(io);
            self.keep(node.id);
        }
    }
}
