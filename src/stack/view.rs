//! The merged view of a stack: what each path means, by the rules of a union. Computed from the manifest, not from the disk.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::definition::{folders, xattrs};
use super::manifest::Manifest;
use super::{Entry, diff};

/// What is known of a visible file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFact {
    /// BLAKE3 of its content.
    pub digest: blake3::Hash,
    /// Length.
    pub size_bytes: u64,
    /// First byte; 0 for an empty file.
    pub first_byte: u8,
    /// Permissions.
    pub mode: u32,
    /// How many attributes it has: [`super::attribute`] says which.
    pub xattrs: u32,
    /// The layer that holds it, from 1 (the top).
    pub layer: u32,
    /// Where it lies, absolute when the stack's root is.
    pub path: PathBuf,
}

/// What a path of the merged view is.
#[derive(Debug, Clone)]
pub(super) enum Visible {
    Dir { mode: u32 },
    File(FileFact),
    Symlink { target: PathBuf },
}

/// Paths of the merged view; a folder comes before what is in it.
#[derive(Debug)]
pub(super) struct View {
    entries: BTreeMap<PathBuf, Visible>,
    idle_whiteouts: HashSet<(usize, PathBuf)>,
}

impl View {
    pub(super) fn new(root: &Path, manifest: &Manifest) -> View {
        let mut entries: BTreeMap<PathBuf, Visible> = BTreeMap::new();
        let mut idle_whiteouts = HashSet::new();
        // From the base up: each layer first hides, then adds.
        for (index, (layer, record)) in manifest.definition.layers.iter().zip(&manifest.layers).enumerate().rev() {
            for entry in layer {
                if let Entry::Opaque { path } = entry {
                    remove_tree(&mut entries, path, false);
                }
            }
            for entry in layer {
                if let Entry::Whiteout { path } = entry {
                    if !entries.contains_key(path) {
                        idle_whiteouts.insert((index, path.clone()));
                    }
                    remove_tree(&mut entries, path, true);
                }
            }
            for (path, mode) in folders(layer) {
                if !matches!(entries.get(path), Some(Visible::Dir { .. })) {
                    remove_tree(&mut entries, path, true);
                }
                entries.insert(path.to_owned(), Visible::Dir { mode });
            }
            let mut files = record.files.iter();
            let xattrs = xattrs(layer);
            for entry in layer {
                match entry {
                    Entry::File { path, mode, .. } => {
                        remove_tree(&mut entries, path, true);
                        // Records stand in the definition's order.
                        let Some(file) = files.next() else { continue };
                        let Ok(digest) = blake3::Hash::from_hex(&file.blake3) else { continue };
                        let fact = FileFact {
                            digest,
                            size_bytes: file.size_bytes,
                            first_byte: file.first_byte.unwrap_or(0),
                            mode: *mode,
                            xattrs: xattrs.get(path.as_path()).copied().unwrap_or(0),
                            layer: u32::try_from(index + 1).unwrap_or(u32::MAX),
                            path: diff(root, &record.id).join(path),
                        };
                        entries.insert(path.clone(), Visible::File(fact));
                    }
                    Entry::Symlink { path, target } => {
                        remove_tree(&mut entries, path, true);
                        entries.insert(path.clone(), Visible::Symlink { target: target.clone() });
                    }
                    Entry::Dir { .. } | Entry::Whiteout { .. } | Entry::Opaque { .. } | Entry::Xattrs { .. } => {}
                }
            }
        }
        View { entries, idle_whiteouts }
    }

    pub(super) fn file(&self, path: &Path) -> Option<FileFact> {
        match self.entries.get(path) {
            Some(Visible::File(fact)) => Some(fact.clone()),
            _ => None,
        }
    }

    /// Names of what a folder holds, sorted.
    pub(super) fn names_in(&self, folder: &Path) -> Vec<OsString> {
        self.entries
            .range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded))
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(folder))
            .filter(|path| path.parent() == Some(folder))
            .filter_map(|path| path.file_name().map(OsString::from))
            .collect()
    }

    /// Whether a whiteout of a layer (index from 0, the top) hides nothing, since no layer below has the name.
    pub(super) fn is_idle(&self, layer: usize, whiteout: &Path) -> bool {
        self.idle_whiteouts.contains(&(layer, whiteout.to_owned()))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&Path, &Visible)> {
        self.entries.iter().map(|(path, visible)| (path.as_path(), visible))
    }
}

/// Removes what lies below a path, and the path itself if wanted.
fn remove_tree(entries: &mut BTreeMap<PathBuf, Visible>, path: &Path, itself: bool) {
    let doomed: Vec<PathBuf> = entries
        .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
        .map(|(found, _)| found)
        // Paths are ordered by component, so that a tree is one run.
        .take_while(|found| found.starts_with(path))
        .filter(|found| itself || found.as_path() != path)
        .cloned()
        .collect();
    for found in doomed {
        entries.remove(&found);
    }
}
