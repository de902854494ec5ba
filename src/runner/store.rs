//! The store: the folder that holds stacks and, while a run lasts, the scratch folders of its cases; and what `clean` removes.
//!
//! `<store>/stacks/<key>/` are reusable; `<store>/scratch/<pid>-<case>-<attempt>/` belong to the process that holds the lock on
//! `<store>/lock`. The kernel lets go of the lock when that process dies, however it dies, so that whatever lies in scratch while
//! the lock is free was left behind.
//!
//! A store may be any folder, and `stacks` and `scratch` are names that others use too. So a folder is a store when it has the lock, and of what
//! lies in it only what has layerbench's own names and records is removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, StatVfs};

use super::plan::human;
use crate::host::mounts_below;
use crate::stack::folder::children;
use crate::stack::{self, StackDefinition};

/// Name of the file that is locked, and that makes a folder a store.
const LOCK: &str = "lock";
/// Folder of stacks in a store.
const STACKS: &str = "stacks";
/// Folder of what belongs to a run.
const SCRATCH: &str = "scratch";

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}{advice}", path = path.display(), advice = advice(errno))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// A folder of something else.
    #[error("{path} is not a store: it has no file {LOCK}, which layerbench makes in each; nothing was removed", path = path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else works in it.
    #[error("the store {path} is in use by another layerbench (its lock is held): wait for it, or give another --store", path = path.display())]
    Busy {
        /// The store.
        path: PathBuf,
    },
    /// Too small.
    #[error(
        "the store {path} needs {} for the stacks and the largest case, and has {} available: free space, or give another --store",
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

impl StoreError {
    /// Whether the folder that was named cannot be a store: another one has to be named.
    pub fn is_no_store(&self) -> bool {
        use io::ErrorKind;
        match self {
            StoreError::NoStore { .. } => true,
            StoreError::Io { operation, errno, .. } => {
                [CREATE, OPEN].contains(operation)
                    && !matches!(errno.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// Making the folder of a store.
const CREATE: &str = "create store";
/// Opening the file that is locked.
const OPEN: &str = "open";

fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> StoreError + 'a {
    move |errno| StoreError::Io { operation, path: path.to_owned(), errno: errno.into() }
}

/// What to do about an errno of a store.
fn advice(errno: &io::Error) -> &'static str {
    match errno.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => "; give --store a folder that you may write to",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space, or give another --store",
        _ => "",
    }
}

/// A store that this process has locked.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    // Held for its flock.
    _lock: File,
    /// What was not there before, the innermost first.
    new: Vec<PathBuf>,
}

impl Store {
    /// Makes the folder, if it is not there.
    pub fn create(path: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(path).map_err(at(CREATE, path))
    }

    /// Locks a store for this process and removes what an earlier one left: scratch and unfinished stacks.
    pub fn lock(path: &Path) -> Result<Store, StoreError> {
        // The folder of whoever starts this may be left meanwhile.
        let path = std::path::absolute(path).map_err(at(CREATE, path))?;
        let mut new = vec![path.join(STACKS), path.join(SCRATCH), path.join(LOCK)];
        new.extend(path.ancestors().map(Path::to_owned));
        new.retain(|path| path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound));
        let held = Store::create(&path).and_then(|()| {
            let root = fs::canonicalize(&path).map_err(at("resolve", &path))?;
            // What lies in a folder that was no store until now is nothing of ours.
            Ok((is_store(&root), Store::hold(root)?))
        });
        let (was_store, mut store) = held.inspect_err(|e| {
            // Whoever holds the lock has made it meanwhile.
            if !matches!(e, StoreError::Busy { .. }) {
                give_back(&new);
            }
        })?;
        store.new = new;
        if was_store {
            store.remove_all_scratch()?;
            // Whoever was building or importing them has been ended in the middle, or the lock would be held.
            for folder in stack::leftovers(&store.root)? {
                remove(&folder)?;
            }
        }
        Ok(store)
    }

    /// Takes the lock of a folder, and makes it a store by that.
    fn hold(root: PathBuf) -> Result<Store, StoreError> {
        let path = root.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(OPEN, &path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Store { root, _lock: lock, new: Vec::new() }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy { path: root }),
            Err(e) => Err(at("lock", &path)(e)),
        }
    }

    /// Removes what is there only because this process has locked the store, unless something is in it: for a command that has made nothing.
    pub fn give_back(&self) {
        give_back(&self.new);
    }

    /// Its folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for the stacks of a block of this process that are its alone: scratch, of an attempt that there is not.
    pub(super) fn of_block(&self, block: u32) -> PathBuf {
        self.scratch(usize::try_from(block).unwrap_or(usize::MAX), 0)
    }

    /// The scratch folder of an attempt, from 1, of a case of this process.
    pub fn scratch(&self, case: usize, attempt: u32) -> PathBuf {
        self.root.join(SCRATCH).join(format!("{}-{case}-{attempt}", std::process::id()))
    }

    /// Removes a scratch folder, if it is there.
    pub(super) fn remove_scratch(&self, path: &Path) -> Result<(), StoreError> {
        remove(path).map(drop)
    }

    /// Frees the space of a scratch folder and leaves its empty files until the run ends, or until the file system is nearly full. Deleting
    /// thousands of files between cases would disturb what follows: ext4 without a journal passes over inodes that were deleted in the last
    /// minutes, one by one, at every creation (fs/ext4/ialloc.c, `recently_deleted`), and a 4 KiB copy_up then takes several times as long.
    /// What is in use stays in any case.
    pub(super) fn retire_scratch(&self, path: &Path, in_use: Option<&Path>) -> Result<(), StoreError> {
        detach_mounts(path)?;
        if empty_files(path).is_err() {
            return self.remove_scratch(path);
        }
        // A disturbed case is better than one without room.
        if self.is_nearly_full()? { remove_scratch_but(&self.root, in_use) } else { Ok(()) }
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

    /// Removes all scratch, with what is mounted in it.
    pub fn remove_all_scratch(&self) -> Result<(), StoreError> {
        remove_scratch_in(&self.root)
    }

    /// Whether a stack is there already.
    pub(super) fn has_stack(&self, definition: &StackDefinition, seed: u64) -> bool {
        self.root.join(STACKS).join(definition.key(seed)).is_dir()
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
    /// Scratch folders and unfinished stacks removed.
    pub folders: Vec<PathBuf>,
    /// Finished stacks removed.
    pub stacks: Vec<PathBuf>,
    /// Imported images that stay.
    pub kept: Vec<PathBuf>,
    /// What stays because layerbench did not make it.
    pub foreign: Vec<PathBuf>,
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

/// Removes what earlier runs left in a store: scratch, unfinished stacks and the finished ones that are not to be kept, each with what is
/// mounted in it (a FUSE daemon ends with its mount, or has died with its run). Nothing else is touched. A store in use is left alone and is
/// an error, as is a folder that is none; an empty folder is clean.
pub fn clean(path: &Path, keep: Keep) -> Result<Leftovers, StoreError> {
    let root = fs::canonicalize(path).map_err(at("resolve", path))?;
    let listed = |folder: &Path| children(folder).map_err(at("list", folder));
    if !is_store(&root) {
        let is_empty = listed(&root)?.is_empty();
        return if is_empty { Ok(Leftovers::default()) } else { Err(StoreError::NoStore { path: root }) };
    }
    let mut found = Leftovers::default();
    let store = Store::hold(root.clone())?;
    let (scratch, stacks) = (root.join(SCRATCH), root.join(STACKS));
    let (ours, foreign): (Vec<PathBuf>, Vec<PathBuf>) =
        listed(&scratch)?.into_iter().partition(|path| is_scratch(path));
    found.foreign.extend(foreign);
    for folder in ours.into_iter().chain(stack::leftovers(&root)?) {
        found.mounts.extend(remove(&folder)?);
        found.folders.push(folder);
    }
    for folder in listed(&stacks)? {
        match (stack::is_in_store(&folder), keep) {
            (false, _) => found.foreign.push(folder),
            (true, Keep::Stacks) => {}
            (true, Keep::Images) if stack::is_image(&folder) => found.kept.push(folder),
            (true, _) => {
                found.mounts.extend(remove(&folder)?);
                found.stacks.push(folder);
            }
        }
    }
    let ours = [root.join(LOCK), scratch.clone(), stacks.clone()];
    found.foreign.extend(listed(&root)?.into_iter().filter(|path| !ours.contains(path)));
    // The lock goes last, and with it a store that nothing else is in.
    if remove_if_empty(&scratch)? & remove_if_empty(&stacks)? {
        fs::remove_file(root.join(LOCK)).map_err(at("remove", &root.join(LOCK)))?;
        drop(store);
        remove_if_empty(&root)?;
    }
    Ok(found)
}

/// Whether a folder is a store.
fn is_store(root: &Path) -> bool {
    root.join(LOCK).is_file()
}

/// Whether a name is one of [`Store::scratch`]'s: three numbers.
fn is_scratch(path: &Path) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('-').count() == 3 && name.split('-').all(is_number)
}

/// Removes the scratch of all cases of a store that this process has locked.
pub(super) fn remove_scratch_in(root: &Path) -> Result<(), StoreError> {
    remove_scratch_but(root, None)
}

fn remove_scratch_but(root: &Path, kept: Option<&Path>) -> Result<(), StoreError> {
    let scratch = root.join(SCRATCH);
    for folder in children(&scratch).map_err(at("list", &scratch))? {
        if is_scratch(&folder) && kept != Some(&*folder) {
            remove(&folder)?;
        }
    }
    remove_if_empty(&scratch).map(drop)
}

/// Removes empty folders and the lock, one after the other, until one stays. What stays, `clean` removes.
fn give_back(new: &[PathBuf]) {
    for path in new {
        // No file but the lock can be among them.
        let is_gone =
            if path.is_file() { fs::remove_file(path).is_ok() } else { matches!(remove_if_empty(path), Ok(true)) };
        if !is_gone {
            break;
        }
    }
}

/// Removes a folder with what is mounted in it; says what that was.
fn remove(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mounts = detach_mounts(path)?;
    remove_tree(path).map_err(at("remove", path))?;
    Ok(mounts)
}

/// Removes a folder that is empty; whether it is gone. A mount point stays, and so does what is a link to a folder elsewhere.
fn remove_if_empty(folder: &Path) -> Result<bool, StoreError> {
    use io::ErrorKind::{DirectoryNotEmpty, NotADirectory, NotFound, ResourceBusy};
    match fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == NotFound => Ok(true),
        Err(e) if matches!(e.kind(), DirectoryNotEmpty | NotADirectory | ResourceBusy) => Ok(false),
        Err(e) => Err(at("remove", folder)(e)),
    }
}

/// Detaches every mount below a folder, the innermost first; says which.
fn detach_mounts(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mounts = mounts_below(path).map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    for mount in mounts.iter().rev() {
        rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH).map_err(at("unmount", mount))?;
    }
    Ok(mounts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_has_names_that_nobody_else_makes() {
        let store = Store { root: "/s".into(), _lock: File::open("/").unwrap(), new: Vec::new() };
        assert!(is_scratch(&store.scratch(12, 3)));
        for name in ["x", "1-2", "1-2-3-4", "2026-11-", "a-1-2", "1--2", ".."] {
            assert!(!is_scratch(&Path::new("/s/scratch").join(name)), "{name}");
        }
    }
}
