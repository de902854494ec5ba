//! Open files: open, read, write and what else works on a descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, RwLock};

use fuser::BackingId;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};

use super::copy_up::{Data, open_quietly, write_all};
use super::layers::UPPER;
use super::list::Listing;
use super::node::{Inode, Node, lock, read, write};
use super::passthrough::{MakeBacking, Serve};
use super::state::{Target, Union};
use super::{Errno, Res};

/// What the kernel has open.
#[derive(Debug)]
pub(super) enum Handle {
    File(OpenFile),
    Dir(OpenDir),
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct OpenFile {
    node: Arc<Node>,
    /// Replaced when the file is copied up while it is open for reading and served by the daemon.
    file: RwLock<Held>,
    /// Kept while the open lasts, as the kernel demands.
    backing: Option<Arc<BackingId>>,
    writable: bool,
}

#[derive(Debug)]
struct Held {
    file: Arc<OwnedFd>,
    upper: bool,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct OpenDir {
    pub(super) inode: Arc<Inode>,
    /// What was there when it was opened or rewound.
    pub(super) listing: Mutex<Option<Arc<Listing>>>,
}

/// How an open is answered.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) handle: u64,
    pub(super) backing: Option<Arc<BackingId>>,
}

impl Handle {
    /// The descriptor, if it is one of the upper that can be written.
    pub(super) fn upper_file(&self) -> Option<Arc<OwnedFd>> {
        match self {
            Handle::File(open) if open.writable => Some(Arc::clone(&read(&open.file).file)),
            _ => None,
        }
    }
}

impl Union {
    pub(super) fn keep(&self, handle: Handle) -> u64 {
        let id = self.next_handle.fetch_add(1, Ordering::Relaxed);
        write(&self.handles).insert(id, Arc::new(handle));
        id
    }

    pub(super) fn handle(&self, id: u64) -> Res<Arc<Handle>> {
        read(&self.handles).get(&id).cloned().ok_or(Errno::BADF)
    }

    /// Opens a regular file for the user `uid` and the thread `tid` (0: not known).
    pub(super) fn open(
        &self,
        node: &Arc<Node>,
        flags: OFlags,
        (uid, tid): (u32, u32),
        make: MakeBacking<'_>,
    ) -> Res<Opened> {
        let inode = &node.inode;
        let truncate = flags.contains(OFlags::TRUNC);
        let writable = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        if writable || truncate {
            self.copy_up(inode, if truncate { Data::None } else { Data::Whole })?;
        }
        let mut io = lock(&node.io);
        let place = read(&inode.place);
        let upper = place.layer == UPPER;
        let stays = place.orphan.is_some();
        if node.superseded() && !stays {
            // Only who opens through a link in /proc comes here a second time: the name leads to the other node by now. Reading the
            // old data is what the descriptor that the link stands for does.
            let known = self.table.get(inode.face()).is_some_and(|face| face.is_looked_up());
            if writable || !known || !io.holds_lower() || !self.comes_again(inode, tid) {
                return Err(Errno::STALE);
            }
            // The directory's index comes before the inode in the order of locks.
            drop(place);
            let file = self.open_lower(inode)?;
            let backing = io.share();
            drop(io);
            return Ok(self.opened(node, file, false, backing, false));
        }
        if inode.face() != inode.ino {
            lock(&self.sent_back).remove(&(inode.ino, tid));
        }
        if truncate && !writable && io.is_open() {
            // The kernel refuses to truncate a running program only after it has asked here (POSIX leaves O_RDONLY|O_TRUNC undefined).
            // What else has the file open cannot be told from here.
            return Err(Errno::TXTBSY);
        }
        let target = self.target(inode, place.layer, place.orphan.as_ref())?;
        let file = match (upper, writable || truncate) {
            (true, true) => target.open(OFlags::RDWR | OFlags::NONBLOCK)?,
            (true, false) => target.open(OFlags::RDONLY | OFlags::NONBLOCK)?,
            (false, _) => open_quietly(&target)?,
        };
        let serve = io.open(file.as_fd(), upper, writable, &self.passthrough, make);
        let backing = match serve {
            Serve::Kernel(id) => Some(id),
            Serve::Daemon => None,
            Serve::OtherNode => {
                drop((io, place));
                if !stays {
                    self.supersede(node);
                }
                return Err(Errno::STALE);
            }
        };
        if truncate {
            // Only now: an open that goes to another node truncates there.
            if let Err(errno) = rustix::fs::ftruncate(&file, 0).and_then(|()| self.drop_privileges(node, &target, uid))
            {
                io.release(writable);
                return Err(errno);
            }
        }
        drop((io, place));
        Ok(self.opened(node, file, upper, backing, writable))
    }

    /// Whether an open that reached a superseded node can be no name's. The kernel may remember that node under each name of the file, and
    /// goes on to the other one when it is sent back; a link in /proc leads a thread to the same node again at once.
    fn comes_again(&self, inode: &Inode, tid: u32) -> bool {
        if inode.names().len() < 2 {
            return true;
        }
        let mut sent_back = lock(&self.sent_back);
        let again = sent_back.remove(&(inode.ino, tid));
        if !again && tid != 0 {
            sent_back.insert((inode.ino, tid));
        }
        again
    }

    /// What the kernel does itself wherever else a file is written: a truncation takes set-id bits (unless root does it) and capabilities
    /// away (file_remove_privs in fs/inode.c). It leaves that to whoever handles O_TRUNC in open.
    fn drop_privileges(&self, node: &Node, target: &Target, uid: u32) -> Res<()> {
        const SET_UID: u32 = 0o4000;
        const SET_GID: u32 = 0o2000;
        const GROUP_EXECUTE: u32 = 0o0010;
        let mode = target.stat()?.st_mode;
        let group = if mode & GROUP_EXECUTE != 0 { SET_GID } else { 0 };
        let kept = mode & !(SET_UID | group);
        if uid != 0 && kept != mode {
            target.chmod(kept)?;
            self.attributes_changed(node);
        }
        match target.remove_xattr(OsStr::new("security.capability")) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            Err(Errno::PERM) if self.restricted => Ok(()),
            Err(errno) => Err(errno),
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

    /// The file of the topmost lower that has this inode: what it was before its copy_up.
    fn open_lower(&self, inode: &Inode) -> Res<OwnedFd> {
        let (parent, name) = inode.name().ok_or(Errno::STALE)?;
        let index = self.read_index(&parent)?;
        let layer =
            index.get(&name).and_then(|entry| entry.lower.as_ref()).map(|lower| lower.layer).ok_or(Errno::STALE)?;
        let dir = self.dir_fd(&parent, layer)?;
        open_quietly(&Target::At(dir, name))
    }

    /// Records an open that has been counted.
    pub(super) fn opened(
        &self,
        node: &Arc<Node>,
        file: OwnedFd,
        upper: bool,
        backing: Option<Arc<BackingId>>,
        writable: bool,
    ) -> Opened {
        let open = OpenFile {
            node: Arc::clone(node),
            file: RwLock::new(Held { file: Arc::new(file), upper }),
            backing: backing.clone(),
            writable,
        };
        Opened { handle: self.keep(Handle::File(open)), backing }
    }

    pub(super) fn release(&self, id: u64) {
        let Some(handle) = write(&self.handles).remove(&id) else { return };
        let ino = match &*handle {
            Handle::File(open) => {
                lock(&open.node.io).release(open.writable);
                if open.writable && open.backing.is_some() {
                    // Pages written through a mapping change times below without the kernel's FUSE side noticing.
                    self.attributes_changed(&open.node);
                }
                open.node.id
            }
            Handle::Dir(open) => open.inode.ino,
        };
        drop(handle);
        self.table.collect(ino);
    }

    /// Tells the kernel to forget the attributes of a node.
    pub(super) fn attributes_changed(&self, node: &Node) {
        if let Some(notifier) = self.notifier.get() {
            // A failure means that the kernel has forgotten the node already.
            let _ = notifier.inval_inode(fuser::INodeNo(node.id), -1, 0);
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

    /// The descriptor to serve a request with. A file that is served by the daemon follows its copy_up, since all opens of a node share
    /// the kernel's page cache: old data must not get into it.
    fn file(&self, id: u64) -> Res<Arc<OwnedFd>> {
        let handle = self.handle(id)?;
        let Handle::File(open) = &*handle else { return Err(Errno::ISDIR) };
        {
            let held = read(&open.file);
            if held.upper || open.backing.is_some() || !open.node.inode.is_upper() {
                return Ok(Arc::clone(&held.file));
            }
        }
        let inode = &open.node.inode;
        let place = read(&inode.place);
        let file = Arc::new(self.target(inode, UPPER, place.orphan.as_ref())?.open(OFlags::RDONLY | OFlags::NONBLOCK)?);
        *write(&open.file) = Held { file: Arc::clone(&file), upper: true };
        Ok(file)
    }

    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    pub(super) fn read(&self, id: u64, buffer: &mut [u8], offset: u64) -> Res<usize> {
        let file = self.file(id)?;
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

    pub(super) fn write(&self, id: u64, data: &[u8], offset: u64) -> Res<()> {
        write_all(self.file(id)?.as_fd(), data, offset)
    }

    pub(super) fn fsync(&self, id: u64, data_only: bool) -> Res<()> {
        let file = self.file(id)?;
        if data_only { rustix::fs::fdatasync(&*file) } else { rustix::fs::fsync(&*file) }
    }

    pub(super) fn fallocate(&self, id: u64, mode: FallocateFlags, offset: u64, length: u64) -> Res<()> {
        rustix::fs::fallocate(&*self.file(id)?, mode, offset, length)
    }

    pub(super) fn lseek(&self, id: u64, to: SeekFrom) -> Res<u64> {
        rustix::fs::seek(&*self.file(id)?, to)
    }

    pub(super) fn copy_file_range(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Res<usize> {
        let (source, target) = (self.file(from.0)?, self.file(to.0)?);
        let (mut off_in, mut off_out) = (from.1, to.1);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(1 << 30);
        rustix::fs::copy_file_range(&*source, Some(&mut off_in), &*target, Some(&mut off_out), length)
    }
}
