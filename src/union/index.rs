//! The merged content of one directory: which names there are, and which layer each comes from.
//!
//! Built once per directory by reading it in every layer that has it; kept true afterwards by the operations, since lowers are
//! immutable and the upper is ours. No system call here but those of a listing, which reads a directory of one layer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::ops::Bound;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType};

use super::Res;
use super::layers::{Layer, Layers, Meaning, UPPER, is_overlay_opaque, is_overlay_whiteout, meaning, read_opened};
use super::target::Target;

/// What the lowers hold under a name, whiteouts between them already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lower {
    /// The topmost layer that has it.
    pub(super) layer: Layer,
    pub(super) kind: FileType,
    /// For a directory: all layers that contribute to it, top first, `layer` included. A layer further down than an opaque one may
    /// still be in it: that shows when the directory itself is read.
    pub(super) dirs: Vec<Layer>,
}

/// One name of a directory. It may be invisible (whited out): then it is kept for the whiteout and for what is below.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Inode number, 0 until somebody asks.
    ino: AtomicU64,
    /// Place in the order of listings.
    cookie: u64,
    /// What the upper has.
    pub(super) upper: Option<FileType>,
    /// Whether the upper has `.wh.<name>`.
    pub(super) whiteout: bool,
    pub(super) lower: Option<Lower>,
}

impl Entry {
    /// The type under which the name is visible, if it is.
    pub(super) fn visible(&self) -> Option<FileType> {
        self.upper.or_else(|| if self.whiteout { None } else { self.lower.as_ref().map(|lower| lower.kind) })
    }

    /// Topmost layer of a visible name.
    pub(super) fn layer(&self) -> Option<Layer> {
        if self.upper.is_some() {
            Some(UPPER)
        } else if self.whiteout {
            None
        } else {
            self.lower.as_ref().map(|lower| lower.layer)
        }
    }

    /// The lowers that contribute to a visible directory of this name.
    pub(super) fn dirs(&self) -> &[Layer] {
        match &self.lower {
            Some(lower) if !self.whiteout && self.visible() == Some(FileType::Directory) => &lower.dirs,
            _ => &[],
        }
    }

    /// The inode number; `next` makes one for a name that has none yet.
    pub(super) fn ino(&self, next: impl FnOnce() -> u64) -> u64 {
        match self.ino.load(Ordering::Acquire) {
            0 => {
                let fresh = next();
                match self.ino.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => fresh,
                    Err(other) => other,
                }
            }
            ino => ino,
        }
    }

    pub(super) fn set_ino(&self, ino: u64) {
        self.ino.store(ino, Ordering::Release);
    }
}

/// The names of one directory.
#[derive(Debug, Default)]
pub(super) struct DirIndex {
    names: HashMap<Arc<OsStr>, Entry>,
    /// The same names in the order in which they came, by cookie. A name keeps its cookie as long as it is there and no cookie is used
    /// twice, so that a listing can go on from a cookie at any time: what stayed is met exactly once, whatever came and went meanwhile.
    order: BTreeMap<u64, Arc<OsStr>>,
    /// Whatever changes what a listing shows uses up a cookie, so that it tells one state of the directory from another.
    last_cookie: u64,
}

/// What one layer has in a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    real: Vec<(Arc<OsStr>, FileType)>,
    whiteouts: Vec<OsString>,
    /// Those of them that the kernel's overlay made.
    of_overlay: Vec<OsString>,
    opaque: bool,
    opaque_of_overlay: bool,
}

impl Listing {
    /// Reads a directory that is open for reading.
    pub(super) fn read(layer: Layer, dir: &Arc<OwnedFd>) -> Res<Listing> {
        let mut listing = Listing::default();
        read_opened(dir.as_fd(), |name, kind, _| match meaning(name) {
            Meaning::Real => listing.real.push((Arc::from(name), kind)),
            Meaning::Whiteout(hidden) => listing.whiteouts.push(hidden.to_os_string()),
            Meaning::Opaque => listing.opaque = true,
            Meaning::Reserved => {}
        })?;
        let Listing { real, of_overlay, .. } = &mut listing;
        let mut failed = Ok(());
        real.retain_mut(|(name, kind)| {
            if !matches!(kind, FileType::Unknown | FileType::CharacterDevice) || failed.is_err() {
                return true;
            }
            match rustix::fs::statat(dir, &**name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_overlay_whiteout(layer, &stat) => {
                    of_overlay.push(name.to_os_string());
                    return false;
                }
                Ok(stat) => *kind = FileType::from_raw_mode(stat.st_mode),
                // A device of which nothing can be had is listed like any other file of that sort.
                Err(errno) if *kind == FileType::Unknown => failed = Err(errno),
                Err(_) => {}
            }
            true
        });
        failed?;
        listing.whiteouts.extend(listing.of_overlay.iter().cloned());
        listing.opaque_of_overlay = !listing.opaque && is_overlay_opaque(&Target::Open(Arc::clone(dir)));
        listing.opaque |= listing.opaque_of_overlay;
        Ok(listing)
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.opaque
    }

    /// Whether the kernel's overlay wrote to the directory.
    pub(super) fn has_overlays_marks(&self) -> bool {
        self.opaque_of_overlay || !self.of_overlay.is_empty()
    }

    /// Makes of the upper's directory what aufs would have made of it: whiteouts of the kernel's overlay have the names that they hide, and nothing
    /// could be made in their place.
    pub(super) fn convert(&self, layers: &Layers, dir: BorrowedFd<'_>) -> Res<()> {
        for name in &self.of_overlay {
            layers.hide(dir, name)?;
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        }
        if self.opaque_of_overlay { layers.make_opaque(dir) } else { Ok(()) }
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.real.len() + self.whiteouts.len()
    }
}

impl DirIndex {
    /// Merges what the layers have, top first. Returns the index and how many of the layers count: those below an opaque one do not.
    pub(super) fn build(layers: Vec<(Layer, Listing)>) -> (DirIndex, usize) {
        let mut index = DirIndex::default();
        // Names that end in a layer above, by a whiteout or by a file: nothing further down adds to them.
        let mut sealed: HashSet<OsString> = HashSet::new();
        let mut used = 0;
        for (layer, Listing { real, whiteouts, opaque, .. }) in layers {
            used += 1;
            for (name, kind) in real {
                if layer == UPPER {
                    index.entry(name).upper = Some(kind);
                } else if !sealed.contains(&*name) {
                    let goes_on = add_lower(&mut index.entry(Arc::clone(&name)).lower, layer, kind);
                    if !goes_on {
                        sealed.insert(name.to_os_string());
                    }
                }
            }
            for name in whiteouts {
                if layer == UPPER {
                    index.entry(Arc::from(name)).whiteout = true;
                } else {
                    sealed.insert(name);
                }
            }
            if opaque {
                break;
            }
        }
        (index, used)
    }

    /// The entry of a name, made if there is none.
    fn entry(&mut self, name: Arc<OsStr>) -> &mut Entry {
        let DirIndex { names, order, last_cookie } = self;
        names.entry(name).or_insert_with_key(|name| {
            *last_cookie += 1;
            order.insert(*last_cookie, Arc::clone(name));
            Entry { cookie: *last_cookie, ..Entry::default() }
        })
    }

    pub(super) fn get(&self, name: &OsStr) -> Option<&Entry> {
        self.names.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &OsStr) -> Option<&mut Entry> {
        self.names.get_mut(name)
    }

    /// The entry under which a visible name is known.
    pub(super) fn visible(&self, name: &OsStr) -> Option<&Entry> {
        self.names.get(name).filter(|entry| entry.visible().is_some())
    }

    /// Records that the upper now has this name, as inode `ino`.
    pub(super) fn put(&mut self, name: &OsStr, kind: FileType, ino: u64, whiteout: bool) {
        self.last_cookie += 1;
        let entry = self.entry(Arc::from(name));
        entry.upper = Some(kind);
        entry.whiteout = whiteout;
        entry.set_ino(ino);
    }

    /// Records that the upper no longer has this name, and whether a whiteout is in its place.
    pub(super) fn take(&mut self, name: &OsStr, whiteout: bool) {
        self.last_cookie += 1;
        if whiteout {
            let entry = self.entry(Arc::from(name));
            entry.upper = None;
            entry.whiteout = true;
            entry.set_ino(0);
        } else if let Some(entry) = self.names.remove(name) {
            self.order.remove(&entry.cookie);
        }
    }

    /// Whether nothing is visible.
    pub(super) fn is_empty(&self) -> bool {
        self.names.values().all(|entry| entry.visible().is_none())
    }

    /// Whether the lowers have no name that is not whited out.
    pub(super) fn lower_is_empty(&self) -> bool {
        self.names.values().all(|entry| entry.lower.is_none() || entry.whiteout)
    }

    /// Forgets the lowers: the directory has become opaque.
    pub(super) fn drop_lowers(&mut self) {
        let order = &mut self.order;
        self.names.retain(|_, entry| {
            entry.lower = None;
            let stays = entry.upper.is_some() || entry.whiteout;
            if !stays {
                order.remove(&entry.cookie);
            }
            stays
        });
    }

    /// Forgets everything: the directory is gone.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.order.clear();
    }

    /// The last cookie that was used: another one after each change.
    pub(super) fn newest(&self) -> u64 {
        self.last_cookie
    }

    /// Visible names whose cookie is greater, with cookie, entry and type, in the order of listings.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = (u64, &OsStr, &Entry, FileType)> {
        self.order.range((Bound::Excluded(cookie), Bound::Unbounded)).filter_map(|(cookie, name)| {
            let entry = self.names.get(name)?;
            entry.visible().map(|kind| (*cookie, &**name, entry, kind))
        })
    }
}

/// Adds what the next layer down has. False if the name ends here: a directory goes on below only while every layer in between has it as
/// a directory, anything else hides what is below it.
fn add_lower(lower: &mut Option<Lower>, layer: Layer, kind: FileType) -> bool {
    match lower {
        None => {
            let dirs = if kind == FileType::Directory { vec![layer] } else { Vec::new() };
            *lower = Some(Lower { layer, kind, dirs });
            kind == FileType::Directory
        }
        Some(lower) if lower.kind == FileType::Directory && kind == FileType::Directory => {
            lower.dirs.push(layer);
            true
        }
        Some(_) => false,
    }
}
