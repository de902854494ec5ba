//! The union itself: layers, nodes, open files; and how a descriptor, an index or an attribute is found.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustc_hash::FxHashMap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::copy_data::Copier;
use super::counters::Counters;
use super::crew::Crew;
use super::file::OpenFile;
use super::hard_links::KnownLinks;
use super::index::DirIndex;
use super::kept::Kept;
use super::lanes::{self, Lane, NO_URING};
use super::layers::{self, Layer, Layers, UPPER};
use super::node::{CACHED_FDS, Inode, Name, Node, Place, Table, lock, read, write};
use super::numbers::{Numbers, ROOT};
use super::refusal::PassthroughSwitch;
use super::reserve::Reserve;
use super::spare::Spare;
use super::target::Target;
use super::{Errno, Res, UnionConfig, UnionError, UnionOptions};

/// A mounted union.
#[derive(Debug)]
pub(super) struct Union {
    pub(super) layers: Layers,
    pub(super) options: UnionOptions,
    pub(super) table: Table,
    /// Taken for writing by the rename of a directory, for reading while a directory's name is turned into a descriptor.
    pub(super) tree: RwLock<()>,
    /// Taken by what needs the indexes of two directories at once.
    pub(super) two_dirs: Mutex<()>,
    /// Hard links of the lowers, as far as they were needed.
    pub(super) known_links: Mutex<KnownLinks>,
    /// Inodes and the threads whose open of them was sent back to find another node; used where an inode has two.
    pub(super) sent_back: Mutex<HashSet<(u64, u32)>>,
    pub(super) handles: RwLock<FxHashMap<u64, Arc<OpenFile>>>,
    pub(super) next_handle: AtomicU64,
    pub(super) kept: Kept,
    pub(super) reserve: Reserve,
    pub(super) passthrough: PassthroughSwitch,
    pub(super) counters: Counters,
    pub(super) crew: Arc<Crew>,
    /// Whether the kernel lets us do without opendir (Linux 5.1).
    pub(super) no_opendir: AtomicBool,
    /// Whether it lets us do without open where it reads and writes nothing by itself.
    pub(super) no_open: AtomicBool,
    pub(super) notifier: OnceLock<fuser::Notifier>,
    /// Those that are ready, until they are served.
    pub(super) lanes: Mutex<Vec<Lane>>,
    /// Whether this process is not the real root: an ordinary user, or the root of a user namespace. Some owners and attributes cannot be set
    /// then, and a copy_up goes without them.
    pub(super) restricted: bool,
    pub(super) copier: Copier,
    /// None where nothing can be changed.
    pub(super) spare: Option<Arc<Spare>>,
    next_scratch: AtomicU64,
    /// How many files this process may have open. Directories may take a quarter of them, each for itself.
    file_limit: usize,
}

impl Union {
    pub(super) fn new(config: &UnionConfig) -> Result<Union, UnionError> {
        let file_limit = raise_file_limit();
        make_room_for_files(file_limit);
        raise_size_limit();
        let layers = Layers::open(config)?;
        let lowers: Vec<Layer> = (0..layers.depth()).map(|n| n as Layer).collect();
        let top = if layers.writable() { UPPER } else { 0 };
        let root = Inode::directory(ROOT, top, lowers, None);
        let spare = layers.scratch().ok().map(Spare::new).transpose();
        let spare = spare.map_err(|errno| UnionError::io("open again", "the scratch directory", errno))?.map(Arc::new);
        let union = Union {
            layers,
            options: config.options.clone(),
            table: Table::new(root, Numbers::new(config.options.inode32)),
            tree: RwLock::new(()),
            two_dirs: Mutex::new(()),
            known_links: Mutex::new(KnownLinks::new()),
            sent_back: Mutex::new(HashSet::new()),
            handles: RwLock::new(FxHashMap::default()),
            next_handle: AtomicU64::new(1),
            kept: Kept::new(file_limit, config.options.ttl_seconds < UnionOptions::default().ttl_seconds),
            reserve: Reserve::of_this_process(),
            passthrough: PassthroughSwitch::new(config.options.passthrough),
            counters: Counters::new(),
            crew: Arc::new(Crew::new(config.options.threads)),
            no_opendir: AtomicBool::new(false),
            no_open: AtomicBool::new(false),
            notifier: OnceLock::new(),
            lanes: Mutex::default(),
            restricted: !rustix::process::geteuid().is_root()
                // Where /proc does not say, no more is dared than a namespace allows.
                || crate::sys::namespace::in_user_namespace().unwrap_or(true),
            copier: Copier::default(),
            spare,
            next_scratch: AtomicU64::new(0),
            file_limit,
        };
        // An unreadable or opaque root shows now, not at the first look-up.
        let root = union.inode(ROOT).map_err(|errno| UnionError::io("find", "/", errno))?;
        union.index(&root).map_err(|errno| UnionError::io("read layer", union.unreadable_layer(config), errno))?;
        Ok(union)
    }

    /// The path of the first layer whose root cannot be read.
    fn unreadable_layer(&self, config: &UnionConfig) -> std::path::PathBuf {
        let lowers = config.lower.iter().enumerate().map(|(n, path)| (n as Layer, path));
        let mut layers = config.upper.iter().map(|path| (UPPER, path)).chain(lowers);
        let readable =
            |layer| self.layers.root(layer).and_then(|root| layers::read_dir(root.as_fd(), |_, _| ())).is_ok();
        layers.find(|(layer, _)| !readable(*layer)).map(|(_, path)| path.clone()).unwrap_or_default()
    }

    pub(super) fn ttl(&self) -> Duration {
        Duration::from_secs(self.options.ttl_seconds)
    }

    /// Gets lanes ready, if the kernel agrees to use them.
    pub(super) fn prepare_lanes(&self, agree: impl FnOnce() -> bool) {
        match lanes::prepare(self.options.uring.unwrap_or(false), self.file_limit) {
            Ok(ready) if !ready.is_empty() && agree() => *lock(&self.lanes) = ready,
            Ok(_) => {}
            Err(error) => eprintln!("{NO_URING}{error}"),
        }
    }

    /// How deep file systems may be stacked below a passthrough file. One more than usual if a layer is on a stacked file system itself;
    /// this mount then cannot be a layer of another one.
    pub(super) fn stack_depth(&self) -> u32 {
        let stacked = (0..self.layers.depth()).map(|n| n as Layer).chain([UPPER]).any(|layer| {
            self.layers.root(layer).and_then(rustix::fs::fstatfs).is_ok_and(|statfs| layers::is_stacked(&statfs))
        });
        if stacked { 2 } else { 1 }
    }

    pub(super) fn node(&self, id: u64) -> Res<Arc<Node>> {
        self.table.get(id).ok_or(Errno::STALE)
    }

    pub(super) fn inode(&self, id: u64) -> Res<Arc<Inode>> {
        self.node(id).map(|node| Arc::clone(&node.inode))
    }

    /// The kernel takes back `count` look-ups of a node.
    pub(super) fn forget(&self, id: u64, count: u64) {
        if !self.table.take_back(id, count) {
            return;
        }
        if let Some(node) = self.table.get(id) {
            self.may_go(&node.inode);
        }
        self.table.collect(id);
    }

    /// A node or an open of this inode goes next. If it has no name, the file below may go with it, which takes long for a large one.
    pub(super) fn may_go(&self, inode: &Inode) {
        if read(&inode.place).orphan.is_some() {
            self.crew.watch();
        }
    }

    /// A name in the scratch directory that nobody else uses.
    pub(super) fn scratch_name(&self) -> OsString {
        OsString::from(format!("{:x}", self.next_scratch.fetch_add(1, Ordering::Relaxed)))
    }

    // --- descriptors -------------------------------------------------------------------------------------------------------------

    /// A descriptor of a directory in one of its layers. ENOENT if it has lost its name.
    pub(super) fn dir_fd(&self, inode: &Inode, layer: Layer) -> Res<Arc<OwnedFd>> {
        // Upwards to the next directory that has one, and down again. Trees may be deeper than a stack.
        'way: loop {
            let mut names: Vec<Name> = Vec::new();
            let mut fd = loop {
                let here = names.last().map_or(inode, |(parent, _)| &**parent);
                if here.ino == ROOT {
                    break Arc::clone(self.layers.root(layer)?);
                }
                if let Some(fd) = here.dir.as_ref().ok_or(Errno::NOTDIR)?.cached(layer) {
                    break fd;
                }
                names.push(here.name().ok_or(Errno::NOENT)?);
            };
            while let Some((parent, name)) = names.pop() {
                let child = names.last().map_or(inode, |(child, _)| &**child);
                let Some(opened) = self.open_named(child, (&parent, fd.as_fd()), &name, layers::open_dir_at)? else {
                    continue 'way;
                };
                fd = Arc::new(opened);
                self.keep_fd(child, layer, &fd);
            }
            return Ok(fd);
        }
    }

    /// Opens a directory in the one above it; `None` if it is no longer there under this name.
    pub(super) fn open_named(
        &self,
        inode: &Inode,
        (parent, fd): (&Inode, BorrowedFd<'_>),
        name: &OsStr,
        open: fn(BorrowedFd<'_>, &OsStr) -> Res<OwnedFd>,
    ) -> Res<Option<OwnedFd>> {
        // The name must not change between its reading and its use.
        let _tree = read(&self.tree);
        if inode.is_named(parent, name) { open(fd, name).map(Some) } else { Ok(None) }
    }

    /// Keeps a descriptor of a directory for the next time. Past the limit, descriptors live only as long as their operation.
    pub(super) fn keep_fd(&self, inode: &Inode, layer: Layer, fd: &Arc<OwnedFd>) {
        let Some(dir) = &inode.dir else { return };
        if CACHED_FDS.load(Ordering::Relaxed) < self.file_limit / 4 && self.reserve.spares(fd) {
            let mut fds = lock(&dir.fds);
            if let Err(place) = fds.binary_search_by_key(&layer, |(layer, _)| *layer) {
                CACHED_FDS.fetch_add(1, Ordering::Relaxed);
                fds.insert(place, (layer, Arc::clone(fd)));
            }
        }
    }

    /// The way to an inode in its topmost layer. The caller holds its `place`, so that the way stays right.
    pub(super) fn target(&self, inode: &Inode, layer: Layer, orphan: Option<&Arc<OwnedFd>>) -> Res<Target> {
        if let Some(fd) = orphan {
            return Ok(Target::Fd(Arc::clone(fd)));
        }
        if inode.dir.is_some() {
            return Ok(Target::At(self.dir_fd(inode, layer)?, OsString::from(".")));
        }
        let (parent, name) = inode.name().ok_or(Errno::STALE)?;
        Ok(Target::At(self.dir_fd(&parent, layer)?, name))
    }

    /// As [`target`](Union::target), for attributes. Where somebody has the file open, the descriptor leads there without a path.
    pub(super) fn target_of_attributes(&self, inode: &Inode, place: &Place) -> Res<Target> {
        match inode.open_file() {
            Some(file) if place.layer == UPPER => Ok(Target::Open(file)),
            _ => self.target(inode, place.layer, place.orphan.as_ref()),
        }
    }

    // --- directories -------------------------------------------------------------------------------------------------------------

    /// Makes sure that the index of a directory is there.
    pub(super) fn index(&self, inode: &Inode) -> Res<()> {
        let dir = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        if read(&dir.index).is_some() {
            return Ok(());
        }
        let mut index = write(&dir.index);
        if index.is_none() {
            *index = Some(self.build_index(inode, dir)?);
        }
        Ok(())
    }

    /// The index of a directory, for reading.
    pub(super) fn read_index<'a>(&self, inode: &'a Inode) -> Res<IndexRead<'a>> {
        self.index(inode)?;
        let dir = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        Ok(IndexRead(read(&dir.index)))
    }

    /// The index of a directory, for changing it.
    pub(super) fn write_index<'a>(&self, inode: &'a Inode) -> Res<IndexWrite<'a>> {
        self.index(inode)?;
        let dir = inode.dir.as_ref().ok_or(Errno::NOTDIR)?;
        Ok(IndexWrite(write(&dir.index)))
    }
}

/// A directory's index, locked for reading.
pub(super) struct IndexRead<'a>(RwLockReadGuard<'a, Option<DirIndex>>);

impl std::ops::Deref for IndexRead<'_> {
    type Target = DirIndex;
    fn deref(&self) -> &DirIndex {
        static EMPTY: OnceLock<DirIndex> = OnceLock::new();
        self.0.as_ref().unwrap_or_else(|| EMPTY.get_or_init(DirIndex::default))
    }
}

/// A directory's index, locked for changing.
pub(super) struct IndexWrite<'a>(RwLockWriteGuard<'a, Option<DirIndex>>);

impl std::ops::Deref for IndexWrite<'_> {
    type Target = DirIndex;
    fn deref(&self) -> &DirIndex {
        static EMPTY: OnceLock<DirIndex> = OnceLock::new();
        self.0.as_ref().unwrap_or_else(|| EMPTY.get_or_init(DirIndex::default))
    }
}

impl std::ops::DerefMut for IndexWrite<'_> {
    fn deref_mut(&mut self) -> &mut DirIndex {
        self.0.get_or_insert_with(DirIndex::default)
    }
}

/// The errno of an error of the standard library.
pub(super) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Raises the soft limit of open files to the hard one and returns it. A union of 500 layers with a few open files needs more than the
/// usual 1024.
fn raise_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    // No limit at all would be no reason to keep a million descriptors.
    current.unwrap_or(1 << 20).clamp(64, 1 << 18) as usize
}

/// Lets this process write files as large as it may. Whoever writes through the mount has a limit of his own, which the kernel looks at.
fn raise_size_limit() {
    let maximum = getrlimit(Resource::Fsize).maximum;
    // What is refused is no worse than before.
    let _ = setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum });
}

/// Has the kernel make the table of open files as large as a deep union needs it. To enlarge the table of a process with threads takes
/// milliseconds (synchronize_rcu in fs/file.c, expand_fdtable); most daemons have none yet when they come here.
fn make_room_for_files(limit: usize) {
    const ROOM: usize = 16_384;
    let last = i32::try_from(limit.min(ROOM)).unwrap_or(i32::MAX).saturating_sub(1);
    // Without the room it all works, if slower at first.
    if let Ok(file) = std::fs::File::open("/dev/null") {
        let _ = rustix::io::fcntl_dupfd_cloexec(&file, last);
    }
}
