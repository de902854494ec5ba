//! Which files of an imported image a case operates on: by size and layer, drawn by the run's seed, so that every driver gets the same; or all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::view::Visible;
use super::{FileFact, ItemKind, LayerStack, Targets};

/// What is wanted of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// Seed of the draw.
    pub seed: u64,
    /// How many, at most.
    pub files: u32,
    /// About how long: from half to twice as many bytes. `None`: any length but none.
    pub size_bytes: Option<u64>,
    /// The layer that holds them, from 1 (the top); `None`: any.
    pub layer: Option<u32>,
}

/// Files in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileTotals {
    /// How many there are.
    pub count: u32,
    /// The median of their sizes.
    pub median_bytes: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

impl LayerStack {
    /// Targets among the files of an imported image, all below one folder of the root: the one with most files that fit. Hits and the files
    /// that are only opened are different files; names that are nowhere lie in the folders of the hits; whiteouts are the image's own that
    /// hide something, and nothing where it has none.
    ///
    /// Left out are files that a first write changes in more than their content (set-id bits, capabilities), and files with several names.
    pub fn select(&self, selection: &Selection) -> Targets {
        let mut targets = Targets::default();
        let odd = self.odd_files();
        let mut by_folder: BTreeMap<PathBuf, Vec<(blake3::Hash, &Path)>> = BTreeMap::new();
        for (path, _, visible) in self.view.entries() {
            let Visible::File(fact) = visible else { continue };
            if fits(fact, selection)
                && !odd.contains(&(fact.layer, path))
                && let Some(top) = path.iter().next().filter(|_| path.components().count() > 1)
            {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&selection.seed.to_le_bytes()).update(path.as_os_str().as_encoded_bytes());
                by_folder.entry(top.into()).or_default().push((hasher.finalize(), path));
            }
        }
        let Some((folder, mut drawn)) = by_folder.into_iter().max_by_key(|(_, files)| files.len()) else {
            return targets;
        };
        drawn.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()).then(a.1.cmp(b.1)));
        let wanted = usize::try_from(selection.files).unwrap_or(usize::MAX);
        let mut drawn = drawn.into_iter().map(|(_, path)| path.to_owned());
        targets.hits = drawn.by_ref().take(wanted).collect();
        targets.unseen = drawn.take(wanted).collect();
        let parents: BTreeSet<&Path> = targets.hits.iter().filter_map(|path| path.parent()).collect();
        // Of a folder at the root itself a study looks names up, and does not list it.
        let listed = parents.iter().filter(|path| path.components().count() > 1);
        targets.listed = listed.map(|path| path.to_path_buf()).collect();
        let nowhere = |(n, path): (usize, &PathBuf)| path.with_file_name(format!("layerbench-nowhere-{n:06}"));
        let there = |path: &PathBuf| self.view.has(path);
        targets.misses = targets.hits.iter().enumerate().map(nowhere).filter(|path| !there(path)).collect();
        targets.whiteouts = self.hidden_below(&folder).into_iter().take(wanted).collect();
        targets
    }

    /// Everything that the merged view has: its files, what is neither file nor folder, and its folders, the root among them.
    pub fn everything(&self) -> Targets {
        let mut targets = Targets { listed: vec![PathBuf::new()], ..Targets::default() };
        for (path, _, visible) in self.view.entries() {
            let kind = match visible {
                Visible::Dir => &mut targets.listed,
                Visible::File(_) => &mut targets.hits,
                Visible::Symlink { .. } | Visible::Special => &mut targets.unseen,
            };
            kind.push(path.to_owned());
        }
        targets
    }

    /// The files of the merged view, in numbers.
    pub fn totals(&self) -> FileTotals {
        let size = |(_, _, visible): (_, _, &Visible)| match visible {
            Visible::File(fact) => Some(fact.size_bytes),
            _ => None,
        };
        let mut sizes: Vec<u64> = self.view.entries().filter_map(size).collect();
        sizes.sort_unstable();
        FileTotals {
            count: u32::try_from(sizes.len()).unwrap_or(u32::MAX),
            median_bytes: sizes.get(sizes.len() / 2).copied().unwrap_or(0),
            bytes: sizes.iter().fold(0, |sum, size| sum.saturating_add(*size)),
        }
    }

    /// Paths below a folder that a whiteout hides, sorted.
    fn hidden_below(&self, folder: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for index in 0..self.depth() {
            for path in self.marks(index).whiteouts {
                let busy = !self.view.is_idle(index, path) && !self.view.has(path);
                // Its folder must be there to look in.
                let parent = path.parent().is_some_and(|parent| self.view.has(parent));
                if busy && parent && path.starts_with(folder) && path != folder {
                    found.insert(path.to_owned());
                }
            }
        }
        found
    }

    /// Files that are not for a study, each with its layer from 1.
    fn odd_files(&self) -> HashSet<(u32, &Path)> {
        let mut odd = HashSet::new();
        for (index, items) in self.items().iter().enumerate() {
            let layer = u32::try_from(index + 1).unwrap_or(u32::MAX);
            for item in items {
                let ItemKind::File { links, .. } = item.kind else { continue };
                let loses_something = item.mode & 0o6000 != 0 || item.mode & 0o400 == 0;
                if links > 1 || loses_something || item.xattrs.contains_key("security.capability") {
                    odd.insert((layer, item.path.0.as_path()));
                }
            }
        }
        odd
    }
}

fn fits(fact: &FileFact, selection: &Selection) -> bool {
    let about = |size: u64| fact.size_bytes >= size / 2 && fact.size_bytes / 2 <= size;
    // Two bytes are the least that every trigger can be tried on.
    fact.size_bytes >= 2
        && selection.layer.is_none_or(|layer| layer == fact.layer)
        && selection.size_bytes.is_none_or(about)
}
