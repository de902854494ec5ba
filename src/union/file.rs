//! Open files: open, read, write and what else works on a descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use rustix::fs::{FallocateFlags, OFlags, SeekFrom};

use super::copy_data::write_up_to_an_error;
use super::copy_up::{Data, open_quietly};
use super::layers::UPPER;
use super::node::{Inode, Node, lock, read, write};
use super::passthrough::{Serve, Writer, may_write};
use super::privileges::Caller;
use super::state::Union;
use super::unopened::Via;
use super::{Errno, Res};
use crate::sys::fuse::Backing;

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    node: Arc<Node>,
    /// Replaced when the file is copied up while it is open for reading and served by the daemon.
    file: RwLock<Held>,
    /// Kept while the open lasts, as the kernel demands.
    backing: Option<Arc<Backing>>,
    writable: bool,
}

#[derive(Debug)]
struct Held {
    file: Arc<OwnedFd>,
    upper: bool,
}

/// How an open is answered.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) handle: u64,
    pub(super) backing: Option<Arc<Backing>>,
}

impl Opened {
    /// The kernel names the node.
    pub(super) const NOT: Opened = Opened { handle: 0, backing: None };
}

impl OpenFile {
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(super) fn is_passthrough(&self) -> bool {
        self.backing.is_some()
    }

    /// Whether what it reads is the lower's.
    pub(super) fn reads_the_lower(&self) -> bool {
        !read(&self.file).upper
    }

    /// The descriptor, if it is one of the upper that can be written.
    pub(super) fn upper_file(&self) -> Option<Arc<OwnedFd>> {
        self.writable.then(|| Arc::clone(&read(&self.file).file))
    }
}

impl Union {
    pub(super) fn handle(&self, id: u64) -> Res<Arc<OpenFile>> {
        read(&self.handles).get(&id).cloned().ok_or(Errno::BADF)
    }

    /// Opens a regular file.
    pub(super) fn open(&self, node: &Arc<Node>, flags: OFlags, caller: Caller) -> Res<Opened> {
        let inode = &node.inode;
        let truncate = flags.contains(OFlags::TRUNC);
        let writable = may_write(flags);
        let mut fresh = None;
        if writable || truncate {
            self.room_for_an_open(caller)?;
            // Who may only read may be refused below, and then nothing may be lost.
            let data = if truncate && writable { Data::None } else { Data::Whole };
            fresh = self.copy_up_open(inode, data)?;
        }
        let mut io = lock(&node.io);
        let place = read(&inode.place);
        let (stays, superseded) = (place.orphan.is_some(), node.superseded());
        let again = inode.face() != inode.ino && lock(&self.sent_back).remove(&(inode.ino, caller.tid));
        // A name leads to the other node by now. Who was sent back already is served by the one that he reached: a second ESTALE would be the user's.
        let by_link = stays || superseded && (again || io.is_open() && self.names_lead_elsewhere(inode));
        if superseded && !by_link {
            self.send_back(inode, caller.tid);
            return Err(Errno::STALE);
        }
        // Reading what the opens of this node read is what the descriptor does that a link in /proc stands for.
        let as_before = by_link && !writable && io.holds_lower();
        let upper = place.layer == UPPER && !as_before;
        if truncate && !writable && io.is_open() {
            // The kernel refuses to truncate a running program only after it has asked here (POSIX leaves O_RDONLY|O_TRUNC undefined).
            // What else has the file open cannot be told from here.
            return Err(Errno::TXTBSY);
        }
        let target = || self.target(inode, place.layer, place.orphan.as_ref());
        let file = match (fresh, upper, writable || truncate) {
            (Some(file), ..) => file,
            (None, true, true) => Arc::new(match target()?.open(OFlags::RDWR | OFlags::NONBLOCK) {
                // Without privileges nobody reads what he may only write.
                Err(Errno::ACCESS) => target()?.open(OFlags::WRONLY | OFlags::NONBLOCK)?,
                other => other?,
            }),
            (None, true, false) => {
                self.room_for_an_open(caller)?;
                Arc::new(target()?.open(OFlags::RDONLY | OFlags::NONBLOCK)?)
            }
            (None, false, _) => match io.lower_file() {
                Some(file) => file,
                None => {
                    self.room_for_an_open(caller)?;
                    Arc::new(open_quietly(&target()?)?)
                }
            },
        };
        let writer = Writer::of(flags, caller, || rustix::fs::fstat(&file).ok(), &self.options.owners);
        let serve = io.open(&file, upper, writer, &self.passthrough);
        let backing = match serve {
            Serve::Kernel(id) => Some(id),
            Serve::Daemon => None,
            Serve::OtherNode => {
                drop((io, place));
                if !stays && !superseded {
                    self.supersede(node);
                    self.send_back(inode, caller.tid);
                }
                return Err(Errno::STALE);
            }
        };
        if truncate {
            // Only now: an open that goes to another node truncates there.
            if let Err(errno) = rustix::fs::ftruncate(&file, 0).and_then(|()| self.take_set_id(node, &file, caller)) {
                io.release(writable, false);
                return Err(errno);
            }
        }
        drop((io, place));
        Ok(self.opened(node, file, upper, backing, writer))
    }

    /// Whether no name leads to the superseded node of an inode any more. The kernel may remember it under each name until it has looked for the
    /// other one, which it does when it is sent back; a link in /proc leads a thread to the same node again at once.
    fn names_lead_elsewhere(&self, inode: &Inode) -> bool {
        inode.names().len() < 2 && self.table.get(inode.face()).is_some_and(|face| face.is_looked_up())
    }

    /// Notes whose open of a superseded node is answered with ESTALE.
    fn send_back(&self, inode: &Inode, tid: u32) {
        if tid != 0 {
            lock(&self.sent_back).insert((inode.ino, tid));
        }
    }

    /// Gives the inode another node; this one only serves the opens that it has.
    fn supersede(&self, node: &Arc<Node>) {
        {
            let _once = lock(&node.inode.copying);
            if node.superseded() {
                return;
            }
            self.table.supersede(&node.inode);
        }
        // What the kernel remembers of the old node is the lower's.
        self.attributes_changed(node);
    }

    /// Records an open that has been counted.
    pub(super) fn opened(
        &self,
        node: &Arc<Node>,
        file: Arc<OwnedFd>,
        upper: bool,
        backing: Option<Arc<Backing>>,
        writer: Option<Writer>,
    ) -> Opened {
        self.counters.opened(backing.is_some());
        self.reserve.note(&*file);
        let writable = writer.is_some();
        if upper {
            node.inode.opened(&file, writable);
        }
        if backing.is_some() && writer.is_some_and(|writer| writer.maps) && node.inode.may_be_mapped() {
            // What the kernel knows from before was told it for long.
            self.attributes_changed(node);
        }
        let open = OpenFile {
            node: Arc::clone(node),
            file: RwLock::new(Held { file, upper }),
            backing: backing.clone(),
            writable,
        };
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        write(&self.handles).insert(handle, Arc::new(open));
        Opened { handle, backing }
    }

    pub(super) fn release(&self, id: u64) {
        let Some(open) = write(&self.handles).remove(&id) else { return };
        open.node.inode.released(open.writable);
        if self.release_io(&open.node, open.writable) {
            self.attributes_changed(&open.node);
        }
        if open.writable {
            self.face_changed(&open.node);
        }
        let node = open.node.id;
        self.may_go(&open.node.inode);
        // The space of a file without a name is to be free when the file is closed.
        let named = read(&open.node.inode.place).orphan.is_none();
        if let Some(OpenFile { file, backing, .. }) = Arc::into_inner(open).filter(|_| named) {
            self.crew.behind.leave((file, backing));
        }
        self.table.collect(node);
    }

    /// Tells the kernel to forget the attributes of a node.
    pub(super) fn attributes_changed(&self, node: &Node) {
        self.changed(node, -1);
    }

    /// Tells the kernel to forget the listing of a directory, too.
    pub(super) fn content_changed(&self, node: &Node) {
        self.changed(node, 0);
    }

    /// Has the kernel forget attributes and what it keeps from `offset` on, which may be nothing (-1).
    fn changed(&self, node: &Node, offset: i64) {
        if let Some(notifier) = self.notifier.get() {
            // The kernel may wait here for pages that wait for us, unless it has them from elsewhere; for those of a listing while they are
            // copied to who reads, into whatever memory.
            let _away = (offset >= 0 || !self.passthrough.is_on()).then(|| self.crew.away());
            // A failure means that the kernel has forgotten the node already.
            let _ = notifier.inval_inode(fuser::INodeNo(node.id), offset, 0);
        }
    }

    /// What was changed through a node that only serves old opens has to show under the other one, too.
    pub(super) fn face_changed(&self, node: &Node) {
        if node.superseded()
            && let Some(face) = self.table.get(node.inode.face())
        {
            self.attributes_changed(&face);
        }
    }

    /// The descriptor to serve a request of an open with. A file that is served by the daemon follows its copy_up, since all opens of a node
    /// share the kernel's page cache: old data must not get into it.
    pub(super) fn file(&self, open: &OpenFile) -> Res<Arc<OwnedFd>> {
        {
            let held = read(&open.file);
            if held.upper || open.backing.is_some() || !open.node.inode.is_upper() {
                return Ok(Arc::clone(&held.file));
            }
        }
        let file = self.open_upper(&open.node.inode)?;
        *write(&open.file) = Held { file: Arc::clone(&file), upper: true };
        Ok(file)
    }

    /// Opens a file that is in the upper, for reading.
    fn open_upper(&self, inode: &Inode) -> Res<Arc<OwnedFd>> {
        let place = read(&inode.place);
        let target = self.target(inode, UPPER, place.orphan.as_ref())?;
        target.open(OFlags::RDONLY | OFlags::NONBLOCK).map(Arc::new)
    }

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    pub(super) fn read(&self, via: &Via, buffer: &mut [u8], offset: u64) -> Res<usize> {
        let file = self.to_read(via)?;
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&*file, rest, offset + done as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    /// Writes at `offset` and returns how much, which is less than all of it where there is no more space; `kill` is who writes, if that takes set-id
    /// bits away.
    pub(super) fn write(&self, via: &Via, data: &[u8], offset: u64, kill: Option<Caller>) -> Res<usize> {
        let file = self.to_write(via)?;
        let (written, done) = write_up_to_an_error(file.as_fd(), data, offset);
        if written == 0 {
            done?;
        }
        if let Some(caller) = kill {
            self.take_set_id_bits(via.node(), &file, caller)?;
        }
        Ok(written)
    }

    /// What there is to write back is in the upper, also where an open goes on reading the lower's data.
    pub(super) fn fsync(&self, via: &Via, data_only: bool) -> Res<()> {
        let inode = &via.node().inode;
        if !inode.is_upper() {
            return Ok(());
        }
        let held = self.to_read(via)?;
        let file = if via.reads_the_lower() { self.open_upper(inode)? } else { held };
        if data_only { rustix::fs::fdatasync(&*file) } else { rustix::fs::fsync(&*file) }
    }

    pub(super) fn fallocate(
        &self,
        via: &Via,
        mode: FallocateFlags,
        offset: u64,
        length: u64,
        caller: Caller,
    ) -> Res<()> {
        let file = self.to_write(via)?;
        rustix::fs::fallocate(&*file, mode, offset, length)?;
        self.take_set_id(via.node(), &file, caller)
    }

    pub(super) fn lseek(&self, via: &Via, to: SeekFrom) -> Res<u64> {
        rustix::fs::seek(&*self.to_read(via)?, to)
    }

    pub(super) fn copy_file_range(
        &self,
        from: (&Via, u64),
        to: (&Via, u64),
        length: u64,
        caller: Caller,
    ) -> Res<usize> {
        let (source, target) = (self.to_read(from.0)?, self.to_write(to.0)?);
        if from.0.is_passthrough() && to.0.is_passthrough() && self.copier.cannot_share(target.as_fd()) {
            // All that is left is to copy, which the kernel does without us, from one backing file to the other: it does not ask again.
            return Err(Errno::NOSYS);
        }
        let (mut off_in, mut off_out) = (from.1, to.1);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        let copied = rustix::fs::copy_file_range(&*source, Some(&mut off_in), &*target, Some(&mut off_out), length)?;
        self.take_set_id(to.0.node(), &target, caller)?;
        Ok(copied)
    }
}
