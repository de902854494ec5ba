//! The store: the folder that holds stacks and, while a run lasts, the scratch folders of its cases; and what `clean` removes.
//!
//! `<store>/stacks/<key>/` are reusable; `<store>/scratch/<pid>-<case>-<attempt>/` belong to the process that holds the lock on
//! `<store>/lock`. The kernel lets go of the lock when that process dies, however it dies, so that whatever lies in scratch while
//! the lock is free was left behind.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfs};

use super::plan::human;
use crate::host::mounts_below;
use crate::stack::folder::children;
use crate::stack::{self, StackDefinition};

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// Somebody else works in it.
    #[error("the store {path} is in use by another layerbench (its lock is held): wait for it, or give another --store", path = path.display())]
    Busy {
        /// The store.
        path: PathBuf,
    },
    /// Too small.
    #[error(
        "the store {path} needs {needed} bytes ({}) for the stacks and the largest case, and has {available} bytes ({}) available: free space, or give another --store",
        human(*needed), human(*available), path = path.display()
    )]
    Space {
        /// The store.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// Stacks cannot be listed or removed.
    #[error(transparent)]
    Stack(#[from] stack::StackError),
}

fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> StoreError + 'a {
    move |errno| StoreError::Io { operation, path: path.to_owned(), errno: errno.into() }
}

/// A store that this process has locked.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    // Held for its flock.
    _lock: File,
}

impl Store {
    /// Makes the folder, if it is not there.
    pub fn create(path: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(path).map_err(at("create store", path))
    }

    /// Locks a store for this process and removes the scratch that an earlier one left.
    pub fn lock(path: &Path) -> Result<Store, StoreError> {
        Store::create(path)?;
        let root = fs::canonicalize(path).map_err(at("resolve", path))?;
        let lock_path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(at("open", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::Busy { path: root }),
            Err(e) => return Err(at("lock", &lock_path)(e)),
        }
        let store = Store { root, _lock: lock };
        store.remove_scratch(&store.root.join("scratch"))?;
        Ok(store)
    }

    /// Its folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The scratch folder of an attempt of a case of this process.
    pub(super) fn scratch(&self, case: usize, attempt: u32) -> PathBuf {
        self.root.join("scratch").join(format!("{}-{case}-{attempt}", std::process::id()))
    }

    /// Removes a scratch folder, if it is there.
    pub(super) fn remove_scratch(&self, path: &Path) -> Result<(), StoreError> {
        detach_mounts(path)?;
        remove_tree(path).map_err(at("remove", path))
    }

    /// Frees the space of a scratch folder and leaves its empty files until the run ends, or until the file system is nearly full. Deleting
    /// thousands of files between cases would disturb what follows: ext4 without a journal passes over inodes that were deleted in the last
    /// minutes, one by one, at every creation (fs/ext4/ialloc.c, `recently_deleted`), and a 4 KiB copy_up then takes several times as long.
    pub(super) fn retire_scratch(&self, path: &Path) -> Result<(), StoreError> {
        detach_mounts(path)?;
        if empty_files(path).is_err() {
            return self.remove_scratch(path);
        }
        // A disturbed case is better than one without room.
        if self.is_nearly_full()? { self.remove_all_scratch() } else { Ok(()) }
    }

    /// Whether what is left may be too little for the next case.
    fn is_nearly_full(&self) -> Result<bool, StoreError> {
        /// Several times what a case makes; the smallest disk of a guest has twice as many.
        const INODES: u64 = 8192;
        /// Emptied files take none: folders do.
        const BYTES: u64 = 32 << 20;
        let stat = self.stat()?;
        // btrfs counts no inodes.
        let inodes = stat.f_files > 0 && stat.f_favail < INODES;
        Ok(inodes || available_bytes(&stat) < BYTES)
    }

    fn stat(&self) -> Result<StatVfs, StoreError> {
        rustix::fs::statvfs(&self.root).map_err(at("statvfs", &self.root))
    }

    /// Removes the scratch of all cases.
    pub(super) fn remove_all_scratch(&self) -> Result<(), StoreError> {
        self.remove_scratch(&self.root.join("scratch"))
    }

    /// Whether a stack is there already.
    pub(super) fn has_stack(&self, definition: &StackDefinition, seed: u64) -> bool {
        self.root.join("stacks").join(definition.key(seed)).is_dir()
    }

    /// Refuses when fewer bytes are free than needed.
    pub(super) fn check_space(&self, needed: u64) -> Result<(), StoreError> {
        let available = available_bytes(&self.stat()?);
        if needed > available {
            return Err(StoreError::Space { path: self.root.clone(), needed, available });
        }
        Ok(())
    }
}

/// What `clean` found and removed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// Mounts detached.
    pub mounts: Vec<PathBuf>,
    /// Loop devices freed.
    pub loop_devices: Vec<PathBuf>,
    /// Scratch folders and unfinished stacks removed.
    pub folders: Vec<PathBuf>,
    /// Finished stacks removed.
    pub stacks: Vec<PathBuf>,
    /// Imported images that stay.
    pub kept: Vec<PathBuf>,
}

/// Which finished stacks `clean` leaves in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All.
    Stacks,
    /// Imported images: what is built again by the next run is removed.
    Images,
    /// None.
    Nothing,
}

/// Removes what earlier runs left in a store. Mounts go first (a FUSE daemon ends with its mount, or has died with its run), then loop
/// devices whose file lies in the store, scratch, unfinished stacks and the finished ones that are not to be kept. A store in use is left alone
/// and is an error; a store that is not there is already clean.
pub fn clean(path: &Path, keep: Keep) -> Result<Leftovers, StoreError> {
    let mut found = Leftovers::default();
    if !path.exists() {
        return Ok(found);
    }
    let root = fs::canonicalize(path).map_err(at("resolve", path))?;
    found.mounts = mounts_below(&root).map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    let scratch = root.join("scratch");
    found.folders.extend(children(&scratch).map_err(at("list", &scratch))?);
    let store = Store::lock(&root)?;
    detach_mounts(&root)?;
    found.loop_devices = free_loop_devices(&root)?;
    for partial in stack::leftovers(&root)? {
        remove_tree(&partial).map_err(at("remove", &partial))?;
        found.folders.push(partial);
    }
    if keep != Keep::Stacks {
        let stacks = root.join("stacks");
        let (kept, removed): (Vec<PathBuf>, Vec<PathBuf>) = children(&stacks)
            .map_err(at("list", &stacks))?
            .into_iter()
            .partition(|stack| keep == Keep::Images && stack::is_image(stack));
        found.stacks = removed;
        if !kept.is_empty() {
            for stack in &found.stacks {
                remove_tree(stack).map_err(at("remove", stack))?;
            }
            found.kept = kept;
            return Ok(found);
        }
        remove_tree(&stacks).map_err(at("remove", &stacks))?;
        // The lock goes last, and with it a store that nothing else is in.
        fs::remove_file(root.join("lock")).map_err(at("remove", &root.join("lock")))?;
        drop(store);
        match fs::remove_dir(&root) {
            Ok(()) => {}
            // Somebody keeps other things there; they are not ours.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => return Err(at("remove", &root)(e)),
        }
    }
    Ok(found)
}

/// Detaches every mount below a folder, the innermost first.
fn detach_mounts(path: &Path) -> Result<(), StoreError> {
    let mounts = mounts_below(path).map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    for mount in mounts.iter().rev() {
        rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH).map_err(at("unmount", mount))?;
    }
    Ok(())
}

/// Frees loop devices whose backing file lies below a folder.
fn free_loop_devices(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut freed = Vec::new();
    let sys = Path::new("/sys/block");
    for device in children(sys).unwrap_or_default() {
        let Ok(backing) = fs::read_to_string(device.join("loop/backing_file")) else { continue };
        let backing = backing.trim_end().trim_end_matches(" (deleted)");
        if !Path::new(backing).starts_with(root) {
            continue;
        }
        let Some(name) = device.file_name() else { continue };
        let node = Path::new("/dev").join(name);
        let file = File::open(&node).map_err(at("open", &node))?;
        crate::sys::loop_device::clear(&file).map_err(at("free loop device", &node))?;
        freed.push(node);
    }
    Ok(freed)
}

/// Bytes that a file system has left for an ordinary user.
fn available_bytes(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

/// Cuts every regular file of a tree to nothing.
fn empty_files(root: &Path) -> io::Result<()> {
    let mut pending = vec![root.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() && entry.metadata()?.len() > 0 {
                OpenOptions::new().write(true).truncate(true).open(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Removes a tree; what is not there is removed.
fn remove_tree(path: &Path) -> io::Result<()> {
    match stack::folder::remove_tree(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
