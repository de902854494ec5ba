//! Inodes (what there is) and nodes (what the kernel knows), their names, and forgetting.
//!
//! Usually an inode has one node, and the node's id is the inode's number. Only the kernel's rule that all passthrough opens of a
//! node share one backing file makes a second one necessary: see `passthrough`.

use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use rustc_hash::FxHashMap;
use rustix::fs::FileType;

use super::index::DirIndex;
use super::layers::{Layer, UPPER};
use super::numbers::{Numbers, ROOT};
use super::passthrough::NodeIo;

/// Locks a mutex also after a panic elsewhere: every critical section leaves the data usable, and a file system has to go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], for reading.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock`], for writing.
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A name of an inode: its directory and the last component.
pub(super) type Name = (Arc<Inode>, OsString);

/// Where an inode is.
#[derive(Debug)]
pub(super) struct Place {
    /// The topmost layer that has it.
    pub(super) layer: Layer,
    /// The way to an inode that has lost its last known name while it is in use (O_PATH).
    pub(super) orphan: Option<Arc<OwnedFd>>,
}

/// A file or directory of the merged tree.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) ino: u64,
    pub(super) kind: FileType,
    /// Held for reading while a name of this inode is used in a system call, for writing while copy_up, rename or unlink change
    /// where the name leads. The order of all locks is in docs/union.md.
    pub(super) place: RwLock<Place>,
    /// Held for the whole of a copy_up, so that it happens once; taken before any other lock.
    pub(super) copying: Mutex<()>,
    /// The node id that look-ups hand out.
    face: AtomicU64,
    names: Mutex<Vec<Name>>,
    /// A descriptor of the file in the upper, while somebody has it open there.
    open: Mutex<Weak<OwnedFd>>,
    /// How many opens can write, through whichever node.
    writers: AtomicU32,
    /// Whether somebody may have mapped the file for writing. A mapping outlasts its open, and nobody is told when it goes.
    mapped: AtomicBool,
    /// Present for directories.
    pub(super) dir: Option<DirState>,
}

/// What only directories have.
#[derive(Debug)]
pub(super) struct DirState {
    /// The lowers that contribute, top first.
    pub(super) lowers: RwLock<Vec<Layer>>,
    /// The merged content, once somebody needed it.
    pub(super) index: RwLock<Option<DirIndex>>,
    /// How many more names may be looked up in several layers without it, once that is known.
    pub(super) names_left: OnceLock<AtomicU32>,
    /// Cached descriptors (O_PATH, or open for reading) of this directory in its layers, in the order of the layers' numbers.
    pub(super) fds: Mutex<Vec<(Layer, Arc<OwnedFd>)>>,
    /// Held by who sets the times of the directory in the upper.
    pub(super) times: Mutex<()>,
}

/// Descriptors that directories keep, in the whole process: the limit of open files is the process's too.
pub(super) static CACHED_FDS: AtomicUsize = AtomicUsize::new(0);

impl DirState {
    /// The descriptor in this layer, if it is kept.
    pub(super) fn cached(&self, layer: Layer) -> Option<Arc<OwnedFd>> {
        let fds = lock(&self.fds);
        let place = fds.binary_search_by_key(&layer, |(layer, _)| *layer);
        place.ok().and_then(|place| fds.get(place)).map(|(_, fd)| Arc::clone(fd))
    }

    /// Closes the kept descriptors: the directory is gone.
    pub(super) fn drop_fds(&self) {
        let fds = std::mem::take(&mut *lock(&self.fds));
        CACHED_FDS.fetch_sub(fds.len(), Ordering::Relaxed);
    }
}

impl Drop for DirState {
    fn drop(&mut self) {
        self.drop_fds();
    }
}

impl Inode {
    pub(super) fn file(ino: u64, kind: FileType, layer: Layer, name: Option<Name>) -> Inode {
        Inode {
            ino,
            kind,
            place: RwLock::new(Place { layer, orphan: None }),
            copying: Mutex::new(()),
            face: AtomicU64::new(ino),
            names: Mutex::new(name.into_iter().collect()),
            open: Mutex::new(Weak::new()),
            writers: AtomicU32::new(0),
            mapped: AtomicBool::new(false),
            dir: None,
        }
    }

    pub(super) fn directory(ino: u64, layer: Layer, lowers: Vec<Layer>, name: Option<Name>) -> Inode {
        let dir = DirState {
            lowers: RwLock::new(lowers),
            index: RwLock::new(None),
            names_left: OnceLock::new(),
            fds: Mutex::new(Vec::new()),
            times: Mutex::new(()),
        };
        Inode { dir: Some(dir), ..Inode::file(ino, FileType::Directory, layer, name) }
    }

    /// Whether a directory has content in more than one layer.
    pub(super) fn is_merged(&self) -> bool {
        let Some(dir) = &self.dir else { return false };
        read(&dir.lowers).len() + usize::from(self.is_upper()) > 1
    }

    /// The layers that have a directory, top first, of which these are the lowers.
    pub(super) fn layers(&self, lowers: &[Layer]) -> Vec<Layer> {
        self.is_upper().then_some(UPPER).into_iter().chain(lowers.iter().copied()).collect()
    }

    pub(super) fn is_upper(&self) -> bool {
        read(&self.place).layer == UPPER
    }

    pub(super) fn face(&self) -> u64 {
        self.face.load(Ordering::Acquire)
    }

    pub(super) fn set_face(&self, id: u64) {
        self.face.store(id, Ordering::Release);
    }

    /// Notes that somebody has the file open in the upper.
    pub(super) fn opened(&self, file: &Arc<OwnedFd>, writable: bool) {
        *lock(&self.open) = Arc::downgrade(file);
        self.writers.fetch_add(u32::from(writable), Ordering::AcqRel);
    }

    /// Notes that one of those is closed.
    pub(super) fn released(&self, writable: bool) {
        self.writers.fetch_sub(u32::from(writable), Ordering::AcqRel);
    }

    /// Notes that the file may be mapped for writing from now on; true if it could not before.
    pub(super) fn may_be_mapped(&self) -> bool {
        !self.mapped.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.mapped.load(Ordering::Acquire)
    }

    pub(super) fn writers(&self) -> u32 {
        self.writers.load(Ordering::Acquire)
    }

    /// The file of the upper, if somebody has it open.
    pub(super) fn open_file(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.open).upgrade()
    }

    /// One of the names, if any is known.
    pub(super) fn name(&self) -> Option<Name> {
        lock(&self.names).first().cloned()
    }

    /// All names that are known.
    pub(super) fn names(&self) -> Vec<Name> {
        lock(&self.names).clone()
    }

    pub(super) fn is_named(&self, parent: &Inode, name: &OsStr) -> bool {
        lock(&self.names).iter().any(|(p, n)| p.ino == parent.ino && n == name)
    }

    /// Adds a name; true if there was none.
    pub(super) fn add_name(&self, parent: &Arc<Inode>, name: &OsStr) -> bool {
        let mut names = lock(&self.names);
        let first = names.is_empty();
        if !names.iter().any(|(p, n)| p.ino == parent.ino && n == name) {
            names.push((Arc::clone(parent), name.to_os_string()));
        }
        first
    }

    /// Removes a name; true if it was the last one known.
    pub(super) fn remove_name(&self, parent: &Inode, name: &OsStr) -> bool {
        let mut names = lock(&self.names);
        names.retain(|(p, n)| p.ino != parent.ino || n != name);
        names.is_empty()
    }
}

/// What the kernel knows an inode by.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) inode: Arc<Inode>,
    /// Look-ups that the kernel has not forgotten yet.
    lookups: AtomicU64,
    /// The opens of this node, and the backing file that they share.
    pub(super) io: Mutex<NodeIo>,
}

impl Node {
    /// Whether look-ups hand out another node for the inode by now.
    pub(super) fn superseded(&self) -> bool {
        self.inode.face() != self.id
    }

    pub(super) fn is_looked_up(&self) -> bool {
        self.lookups.load(Ordering::Acquire) > 0
    }
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Table {
    /// The fastest hash will do: who chooses names for their numbers makes nothing but his own look-ups slower.
    nodes: RwLock<FxHashMap<u64, Arc<Node>>>,
    pub(super) numbers: Numbers,
}

impl Table {
    pub(super) fn new(root: Inode, numbers: Numbers) -> Table {
        let table = Table { nodes: RwLock::default(), numbers };
        table.insert_new(root.ino, Arc::new(root), 1);
        table
    }

    /// How many nodes there are.
    pub(super) fn count(&self) -> usize {
        read(&self.nodes).len()
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Node>> {
        read(&self.nodes).get(&id).cloned()
    }

    /// The inode of this number. If there is none it is made; and if there is one and `is_it` says that it is another file, with another number.
    pub(super) fn inode(
        &self,
        ino: u64,
        is_it: impl Fn(&Inode) -> bool,
        make: impl FnOnce(u64) -> Inode,
    ) -> Arc<Inode> {
        let mut ino = ino;
        loop {
            if let Some(node) = self.get(ino) {
                if is_it(&node.inode) {
                    return Arc::clone(&node.inode);
                }
                ino = self.numbers.count();
            }
            // Somebody else may have been faster: then it is asked again.
            if let Entry::Vacant(place) = write(&self.nodes).entry(ino) {
                return Arc::clone(&place.insert(new_node(ino, Arc::new(make(ino)), 0)).inode);
            }
        }
    }

    /// Another node for an inode, which look-ups hand out from now on.
    pub(super) fn supersede(&self, inode: &Arc<Inode>) -> Arc<Node> {
        let node = self.insert_new(self.numbers.count(), Arc::clone(inode), 0);
        inode.set_face(node.id);
        node
    }

    fn insert_new(&self, id: u64, inode: Arc<Inode>, lookups: u64) -> Arc<Node> {
        let node = new_node(id, inode, lookups);
        write(&self.nodes).insert(id, Arc::clone(&node));
        node
    }

    /// Counts a look-up that is about to be answered, and returns the node to answer with.
    pub(super) fn look_up(&self, inode: &Arc<Inode>) -> Arc<Node> {
        {
            // Under the lock, so that a concurrent forget cannot remove the node in between.
            let nodes = read(&self.nodes);
            if let Some(node) = nodes.get(&inode.face()) {
                node.lookups.fetch_add(1, Ordering::AcqRel);
                return Arc::clone(node);
            }
        }
        let mut nodes = write(&self.nodes);
        let id = inode.face();
        let node = nodes.entry(id).or_insert_with(|| new_node(id, Arc::clone(inode), 0));
        node.lookups.fetch_add(1, Ordering::AcqRel);
        Arc::clone(node)
    }

    /// The kernel takes back `count` look-ups.
    pub(super) fn forget(&self, id: u64, count: u64) {
        if self.take_back(id, count) {
            self.collect(id);
        }
    }

    /// As [`forget`](Table::forget), but the node stays; whether none of its look-ups is left.
    pub(super) fn take_back(&self, id: u64, count: u64) -> bool {
        let nodes = read(&self.nodes);
        // Not held: another thread may be about to see whether anybody does.
        let Some(node) = nodes.get(&id) else { return false };
        let before = node.lookups.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| Some(n.saturating_sub(count)));
        before.unwrap_or(0).saturating_sub(count) == 0
    }

    /// Removes a node that nobody uses, and then the directories that only it kept.
    pub(super) fn collect(&self, id: u64) {
        let mut ids = vec![id];
        while let Some(id) = ids.pop() {
            let removed = {
                let mut nodes = write(&self.nodes);
                // Counts of one mean: only the table. Open files hold their node; children hold their directory's inode.
                let idle = |node: &Arc<Node>| {
                    let inode_users = if node.id == node.inode.ino { 1 } else { usize::MAX };
                    id != ROOT
                        && !node.is_looked_up()
                        && Arc::strong_count(node) == 1
                        && Arc::strong_count(&node.inode) <= inode_users
                };
                if nodes.get(&id).is_some_and(idle) { nodes.remove(&id) } else { None }
            };
            let Some(node) = removed else { continue };
            if node.id != node.inode.ino {
                // Look-ups go on handing out this id: the kernel forgets a node also between the look-up that told it of the node and
                // the next one, and the older node must not come back then.
                ids.push(node.inode.ino);
            } else {
                ids.extend(lock(&node.inode.names).iter().map(|(parent, _)| parent.ino));
            }
        }
    }
}

impl Drop for Table {
    /// Directories first let go of those above: otherwise the last one of a deep tree would take all of them with it, one inside the other.
    fn drop(&mut self) {
        for node in read(&self.nodes).values() {
            lock(&node.inode.names).clear();
        }
    }
}

fn new_node(id: u64, inode: Arc<Inode>, lookups: u64) -> Arc<Node> {
    Arc::new(Node { id, inode, lookups: AtomicU64::new(lookups), io: Mutex::new(NodeIo::default()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Table, Arc<Inode>) {
        let table = Table::new(Inode::directory(ROOT, UPPER, Vec::new(), None), Numbers::new(false));
        let root = Arc::clone(&table.get(ROOT).unwrap().inode);
        (table, root)
    }

    fn child(table: &Table, parent: &Arc<Inode>, name: &str) -> u64 {
        let number = table.numbers.for_name(parent, OsStr::new(name));
        let name = Some((Arc::clone(parent), OsString::from(name)));
        let inode = table.inode(number, |_| false, |ino| Inode::directory(ino, UPPER, Vec::new(), name));
        table.look_up(&inode).id
    }

    #[test]
    fn a_forgotten_node_goes_and_a_directory_stays_while_a_child_is_known() {
        let (table, root) = table();
        let dir = child(&table, &root, "dir");
        let file = {
            let dir = Arc::clone(&table.get(dir).unwrap().inode);
            child(&table, &dir, "file")
        };
        table.forget(dir, 1);
        assert!(table.get(dir).is_some(), "the child still leads through it");
        table.forget(file, 1);
        assert!(table.get(file).is_none());
        assert!(table.get(dir).is_none(), "nobody needs it any more");
        table.forget(ROOT, 1);
        assert!(table.get(ROOT).is_some(), "the root never goes");
    }

    #[test]
    fn a_node_goes_only_with_its_last_look_up() {
        let (table, root) = table();
        let id = child(&table, &root, "file");
        let inode = Arc::clone(&table.get(id).unwrap().inode);
        table.look_up(&inode);
        drop(inode);
        table.forget(id, 1);
        assert!(table.get(id).is_some());
        table.forget(id, 5);
        assert!(table.get(id).is_none());
    }

    #[test]
    fn look_ups_go_to_the_newer_node_also_after_the_kernel_forgot_it_once() {
        let (table, root) = table();
        let old = child(&table, &root, "file");
        let inode = Arc::clone(&table.get(old).unwrap().inode);
        let new = table.supersede(&inode).id;
        assert_ne!(old, new);
        assert!(table.get(old).unwrap().superseded());
        assert_eq!(table.look_up(&inode).id, new);
        table.forget(new, 1);
        assert!(table.get(new).is_none());
        assert_eq!(table.look_up(&inode).id, new);
        drop(inode);
        table.forget(old, 1);
        assert!(table.get(old).is_some(), "its inode has another node");
        table.forget(new, 1);
        assert!(table.get(new).is_none() && table.get(old).is_none());
    }

    #[test]
    fn a_file_whose_number_another_file_has_gets_another_one() {
        let (table, root) = table();
        let one = child(&table, &root, "one");
        let find = |name: &'static str| {
            let own_name = Some((Arc::clone(&root), OsString::from(name)));
            let is_it = |inode: &Inode| inode.is_named(&root, OsStr::new(name));
            table.inode(one, is_it, |ino| Inode::file(ino, FileType::RegularFile, UPPER, own_name)).ino
        };
        assert_eq!(find("one"), one);
        assert_ne!(find("two"), one);
        let again = child(&table, &root, "one");
        assert_ne!(again, one, "the first file of this name is still known");
        table.forget(one, 1);
        assert_eq!(child(&table, &root, "one"), one);
    }
}
