//! Inode numbers.
//!
//! A file's number is made of its path, so that the next mount of the layers shows the same one, whatever file systems they lie on. A file
//! that takes its number to another name keeps it as long as the mount lasts, and so does one that has several names: that is written down
//! here, by what the file is in its layer. Such a number is not given to the next file at the old name. Where a number is in use,
//! because an older file of this name is still open or because two paths meet in one number, a counter gives another one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rustc_hash::FxHashMap;
use rustix::fs::Stat;

use super::layers::Layer;
use super::node::{Inode, lock};

/// The number of the root, as FUSE demands.
pub(super) const ROOT: u64 = 1;

/// The least number that is made of a path; those of the counter are below it. All are less than 2^53, since many programs keep numbers in
/// floating point (JavaScript, jq).
const FIRST_OF_PATHS: u64 = 1 << 52;

/// The number of a name in the directory of number `parent`, which is that of its own path: the same in every mount.
fn number_of_path(parent: u64, name: &OsStr) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(&parent.to_le_bytes()).update(name.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.finalize().as_bytes();
    FIRST_OF_PATHS | u64::from_le_bytes([a, b, c, d, e, f, g, h]) >> 12
}

/// One file of one layer. The device belongs to it: a layer may hold mount points, or subvolumes of btrfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileKey {
    layer: Layer,
    device: u64,
    ino: u64,
}

impl FileKey {
    pub(super) fn new(layer: Layer, stat: &Stat) -> FileKey {
        FileKey { layer, device: stat.st_dev, ino: stat.st_ino }
    }
}

/// The numbers of a mount.
#[derive(Debug)]
pub(super) struct Numbers {
    counter: AtomicU64,
    /// Whether all numbers come from the counter, which makes small ones.
    small: bool,
    noted: Mutex<Noted>,
}

/// Files whose number their path does not tell.
#[derive(Debug, Default)]
struct Noted {
    of: FxHashMap<FileKey, u64>,
    /// The same numbers, and how many keys have each: a file that is being copied up has two.
    taken: FxHashMap<u64, u32>,
}

impl Noted {
    fn insert(&mut self, key: FileKey, number: u64) {
        self.remove(key);
        self.of.insert(key, number);
        *self.taken.entry(number).or_default() += 1;
    }

    fn remove(&mut self, key: FileKey) {
        let Some(number) = self.of.remove(&key) else { return };
        if let Some(keys) = self.taken.get_mut(&number) {
            *keys -= 1;
            if *keys == 0 {
                self.taken.remove(&number);
            }
        }
    }
}

impl Numbers {
    /// `small` numbers are counted, and other ones after the next mount.
    pub(super) fn new(small: bool) -> Numbers {
        Numbers { counter: AtomicU64::new(ROOT + 1), small, noted: Mutex::default() }
    }

    /// A number that was never used.
    pub(super) fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The number for a file of this name that has none yet. An inode may have it already: see [`Table::inode`](super::node::Table::inode).
    pub(super) fn for_name(&self, parent: &Inode, name: &OsStr) -> u64 {
        if self.small {
            return self.count();
        }
        let number = number_of_path(parent.ino, name);
        if lock(&self.noted).taken.contains_key(&number) { self.count() } else { number }
    }

    /// The number of a file; `own` if none is noted. It is noted then, if other names are to lead to it.
    pub(super) fn of(&self, key: FileKey, has_names: bool, own: impl FnOnce() -> u64) -> u64 {
        if let Some(number) = lock(&self.noted).of.get(&key) {
            return *number;
        }
        let own = own();
        if !has_names {
            return own;
        }
        let mut noted = lock(&self.noted);
        // Another name was faster, it may be.
        if let Some(number) = noted.of.get(&key) {
            return *number;
        }
        noted.insert(key, own);
        own
    }

    /// Whether a number is made of a path, so that the path tells it again.
    pub(super) fn is_of_a_path(&self, number: u64) -> bool {
        number >= FIRST_OF_PATHS
    }

    /// Notes the number of a file.
    pub(super) fn note(&self, key: FileKey, number: u64) {
        lock(&self.noted).insert(key, number);
    }

    /// Notes the number of a file that has this one name, unless it is the name's.
    pub(super) fn note_unless_of(&self, parent: &Inode, name: &OsStr, key: FileKey, number: u64) {
        if !self.small && number != number_of_path(parent.ino, name) {
            self.note(key, number);
        }
    }

    /// The file is gone, or nothing leads to it any more.
    pub(super) fn forget(&self, key: FileKey) {
        lock(&self.noted).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::union::layers::UPPER;

    fn key(ino: u64) -> FileKey {
        FileKey { layer: UPPER, device: 1, ino }
    }

    #[test]
    fn numbers_of_paths_are_those_of_all_mounts_and_exact_in_floating_point() {
        // What earlier mounts showed, and git may have written down.
        let dir = number_of_path(ROOT, OsStr::new("dir"));
        assert_eq!((dir, number_of_path(dir, OsStr::new("file"))), (4_691_580_415_660_908, 5_744_524_499_119_627));
        for number in (0..100).map(|n| number_of_path(n, OsStr::new("name"))) {
            assert!((FIRST_OF_PATHS..1 << 53).contains(&number));
            assert_eq!(number as f64 as u64, number);
        }
    }

    #[test]
    fn a_number_that_a_file_took_to_another_name_is_free_when_the_file_is_gone() {
        let (numbers, root) = (Numbers::new(false), Inode::directory(ROOT, UPPER, Vec::new(), None));
        let [old, new] = ["old", "new"].map(OsStr::new);
        let number = numbers.for_name(&root, old);
        assert_eq!(numbers.for_name(&root, old), number);
        numbers.note_unless_of(&root, old, key(7), number);
        assert_eq!(numbers.for_name(&root, old), number, "it is the name's own");
        numbers.note_unless_of(&root, new, key(7), number);
        assert!(numbers.for_name(&root, old) < FIRST_OF_PATHS, "it lives at another name");
        assert_eq!(numbers.of(key(7), false, || 0), number);
        // A copy that takes its place.
        numbers.note(key(8), number);
        numbers.forget(key(7));
        assert!(numbers.for_name(&root, old) < FIRST_OF_PATHS, "the copy has it");
        numbers.forget(key(8));
        assert_eq!(numbers.for_name(&root, old), number);
        assert_eq!(numbers.of(key(8), false, || 5), 5);
    }

    #[test]
    fn all_names_of_a_file_lead_to_the_number_of_the_first() {
        let numbers = Numbers::new(true);
        assert_eq!(numbers.of(key(1), true, || 10), 10);
        assert_eq!(numbers.of(key(1), true, || 11), 10);
        assert_eq!(numbers.of(key(1), false, || 12), 10, "one name is left");
        let root = Inode::directory(ROOT, UPPER, Vec::new(), None);
        assert!(numbers.for_name(&root, OsStr::new("a")) < 10);
    }
}
