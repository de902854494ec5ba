//! The merged view of a stack: what each path means, by the rules of a union. Computed from the manifest, not from the disk.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::ops::Bound;
use std::path::{Component, Path, PathBuf};

use super::definition::{folders, xattrs};
use super::image::{Image, Item, ItemKind};
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
    Dir,
    File(FileFact),
    Symlink {
        target: PathBuf,
    },
    /// A device or a pipe; in imported images alone.
    Special,
}

/// What each path is, and the layer that says so (from 0, the top): of a folder that several have, the topmost.
type Entries = BTreeMap<PathBuf, (usize, Visible)>;

/// Paths of the merged view; a folder comes before what is in it.
#[derive(Debug)]
pub(super) struct View {
    entries: Entries,
    idle_whiteouts: HashSet<(usize, PathBuf)>,
}

/// What a layer says, in any order but for folders: an outer one before an inner one.
#[derive(Debug, Default)]
struct Layer<'a> {
    opaque: Vec<&'a Path>,
    whiteouts: Vec<&'a Path>,
    folders: Vec<&'a Path>,
    others: Vec<(&'a Path, Visible)>,
}

fn layer_number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

impl View {
    /// Of a stack that was built.
    pub(super) fn new(root: &Path, manifest: &Manifest) -> View {
        let layers = manifest.definition.layers.iter().zip(&manifest.layers).enumerate();
        View::merged(layers.rev().map(|(index, (entries, record))| {
            let mut layer = Layer { folders: folders(entries).into_keys().collect(), ..Layer::default() };
            let mut files = record.files.iter();
            let xattrs = xattrs(entries);
            for entry in entries {
                match entry {
                    Entry::Opaque { path } => layer.opaque.push(path),
                    Entry::Whiteout { path } => layer.whiteouts.push(path),
                    Entry::File { path, mode, .. } => {
                        // Records stand in the definition's order.
                        let Some(file) = files.next() else { continue };
                        let Ok(digest) = blake3::Hash::from_hex(&file.blake3) else { continue };
                        let fact = FileFact {
                            digest,
                            size_bytes: file.size_bytes,
                            first_byte: file.first_byte.unwrap_or(0),
                            mode: *mode,
                            xattrs: xattrs.get(path.as_path()).copied().unwrap_or(0),
                            layer: layer_number(index),
                            path: diff(root, &record.id).join(path),
                        };
                        layer.others.push((path, Visible::File(fact)));
                    }
                    Entry::Symlink { path, target } => {
                        layer.others.push((path, Visible::Symlink { target: target.clone() }));
                    }
                    Entry::Dir { .. } | Entry::Xattrs { .. } => {}
                }
            }
            (index, layer)
        }))
    }

    /// Of an imported image.
    pub(super) fn of_image(root: &Path, image: &Image, items: &[Vec<Item>]) -> View {
        View::merged(image.layers.iter().zip(items).enumerate().rev().map(|(index, (record, items))| {
            let mut layer = Layer::default();
            for item in items {
                let path = item.path.0.as_path();
                match &item.kind {
                    // The root is no entry of itself.
                    ItemKind::Dir if path.as_os_str().is_empty() => {}
                    ItemKind::Dir => layer.folders.push(path),
                    ItemKind::Opaque => layer.opaque.push(path),
                    ItemKind::Whiteout => layer.whiteouts.push(path),
                    ItemKind::Symlink { target } => {
                        layer.others.push((path, Visible::Symlink { target: target.0.clone() }));
                    }
                    ItemKind::Special { .. } => layer.others.push((path, Visible::Special)),
                    ItemKind::File { size_bytes, blake3, first_byte, .. } => {
                        let Ok(digest) = blake3::Hash::from_hex(blake3) else { continue };
                        let fact = FileFact {
                            digest,
                            size_bytes: *size_bytes,
                            first_byte: first_byte.unwrap_or(0),
                            mode: item.mode,
                            xattrs: 0,
                            layer: layer_number(index),
                            path: diff(root, &record.id).join(path),
                        };
                        layer.others.push((path, Visible::File(fact)));
                    }
                }
            }
            (index, layer)
        }))
    }

    /// From the base up, each with its index from 0 (the top): a layer first hides, then adds.
    fn merged<'a>(layers: impl Iterator<Item = (usize, Layer<'a>)>) -> View {
        let mut entries = Entries::new();
        let mut idle_whiteouts = HashSet::new();
        for (index, layer) in layers {
            for path in layer.opaque {
                remove_tree(&mut entries, path, false);
            }
            for path in layer.whiteouts {
                if !entries.contains_key(path) {
                    idle_whiteouts.insert((index, path.to_owned()));
                }
                remove_tree(&mut entries, path, true);
            }
            for path in layer.folders {
                if !matches!(entries.get(path), Some((_, Visible::Dir))) {
                    remove_tree(&mut entries, path, true);
                }
                entries.insert(path.to_owned(), (index, Visible::Dir));
            }
            for (path, visible) in layer.others {
                remove_tree(&mut entries, path, true);
                entries.insert(path.to_owned(), (index, visible));
            }
        }
        View { entries, idle_whiteouts }
    }

    pub(super) fn file(&self, path: &Path) -> Option<FileFact> {
        match self.entries.get(path) {
            Some((_, Visible::File(fact))) => Some(fact.clone()),
            _ => None,
        }
    }

    /// What a path means once every symbolic link in it is followed, as a process whose root is the view's would; `None` where there is nothing,
    /// or links that go in circles.
    pub(super) fn resolve(&self, path: &Path) -> Option<PathBuf> {
        /// Most links that the kernel follows (MAXSYMLINKS of include/linux/namei.h).
        const LINKS_MAX: u32 = 40;
        let mut links = 0;
        let mut resolved = PathBuf::new();
        let mut left: Vec<OsString> = parts(path);
        while let Some(part) = left.pop() {
            if part == ".." {
                resolved.pop();
                continue;
            }
            let next = resolved.join(&part);
            match &self.entries.get(&next)?.1 {
                Visible::Symlink { target } => {
                    links += 1;
                    if links > LINKS_MAX {
                        return None;
                    }
                    if target.is_absolute() {
                        resolved = PathBuf::new();
                    }
                    left.extend(parts(target));
                }
                _ => resolved = next,
            }
        }
        Some(resolved)
    }

    /// Whether the merged view has anything of that name.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.entries.contains_key(path)
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

    /// Every path with its layer (from 0, the top) and what it is; a folder comes before what is in it.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Path, usize, &Visible)> {
        self.entries.iter().map(|(path, (layer, visible))| (path.as_path(), *layer, visible))
    }
}

/// The parts of a path that lead somewhere, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(_) | Component::ParentDir => Some(part.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// Removes what lies below a path, and the path itself if wanted.
fn remove_tree(entries: &mut Entries, path: &Path, itself: bool) {
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
