//! What a stack holds, as data: the entries of each layer, and the stacks that studies measure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StackError, WHITEOUT_PREFIX};

/// One thing in one layer. Paths are relative to the layer's root; the folders above must be entries of the same layer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A directory.
    Dir {
        /// Where.
        path: PathBuf,
        /// Permissions.
        mode: u32,
    },
    /// A regular file with incompressible content made from the stack's seed.
    File {
        /// Where.
        path: PathBuf,
        /// Length.
        size_bytes: u64,
        /// Permissions.
        mode: u32,
    },
    /// A symbolic link.
    Symlink {
        /// Where.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// Hides a name of the layers below.
    Whiteout {
        /// The name that is hidden.
        path: PathBuf,
    },
    /// Makes a directory of this layer hide everything of the same name below.
    Opaque {
        /// The directory.
        path: PathBuf,
    },
}

impl Entry {
    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Entry::Dir { path, .. }
            | Entry::File { path, .. }
            | Entry::Symlink { path, .. }
            | Entry::Whiteout { path }
            | Entry::Opaque { path } => path,
        }
    }
}

/// A stack: the entries of each layer, the top layer first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StackDefinition {
    /// Layers, the top one first, the base last.
    pub layers: Vec<Vec<Entry>>,
}

/// Names that a study operates on, relative to the merged root, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    /// Files of the target layer.
    pub hits: Vec<PathBuf>,
    /// Names that are nowhere.
    pub misses: Vec<PathBuf>,
    /// Names that a whiteout hides.
    pub whiteouts: Vec<PathBuf>,
}

/// Directory that every layer of a study has.
const DATA: &str = "data";
/// Most names that a study hides: enough for a percentile, few enough not to make the stack about whiteouts.
const WHITEOUTS_MAX: u32 = 200;
/// Length of files that are only there to be there.
const SMALL: u64 = 64;
/// A study's ordinary permissions.
const DIR_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

fn in_data(prefix: char, index: u32) -> PathBuf {
    Path::new(DATA).join(format!("{prefix}-{index:06}"))
}

impl StackDefinition {
    /// The stack that a study measures. Every one of `depth` layers has `data/` with a small marker, so that a union has to merge them
    /// all. `target_layer` (from 1, the top) holds `data/f-<n>`, `files` of them. Names `data/w-<n>` lie in the target layer and are
    /// hidden by whiteouts in the layer above it, as deep as a whiteout can hide something there; where the target is the top layer, it
    /// has the whiteouts itself and the names lie below it, if anything does. `opaque/` of the base is hidden by the top layer's.
    pub fn study(depth: u32, target_layer: u32, files: u32, file_size_bytes: u64) -> StackDefinition {
        let whiteouts = files.min(WHITEOUTS_MAX);
        let (whiteout_layer, hidden_layer) = if target_layer > 1 { (target_layer - 1, target_layer) } else { (1, 2) };
        let small = |path: PathBuf| Entry::File { path, size_bytes: SMALL, mode: FILE_MODE };
        let layers = (1..=depth)
            .map(|layer| {
                let mut entries = vec![
                    Entry::Dir { path: DATA.into(), mode: DIR_MODE },
                    small(Path::new(DATA).join(format!("marker-{layer:04}"))),
                ];
                if layer == target_layer {
                    entries.extend((0..files).map(|n| Entry::File {
                        path: in_data('f', n),
                        size_bytes: file_size_bytes,
                        mode: FILE_MODE,
                    }));
                }
                if layer == hidden_layer {
                    entries.extend((0..whiteouts).map(|n| small(in_data('w', n))));
                }
                if layer == whiteout_layer {
                    entries.extend((0..whiteouts).map(|n| Entry::Whiteout { path: in_data('w', n) }));
                }
                if layer == depth || layer == 1 {
                    let name = if layer == depth { "opaque/below" } else { "opaque/above" };
                    entries.push(Entry::Dir { path: "opaque".into(), mode: DIR_MODE });
                    entries.push(small(name.into()));
                }
                if layer == 1 && depth > 1 {
                    entries.push(Entry::Opaque { path: "opaque".into() });
                }
                entries
            })
            .collect();
        StackDefinition { layers }
    }

    /// The names that a study operates on, if this is a study's stack.
    pub fn targets(&self) -> Targets {
        let mut targets = Targets::default();
        let named = |path: &Path, prefix: &str| {
            path.parent() == Some(Path::new(DATA))
                && path.file_name().is_some_and(|name| name.as_bytes().starts_with(prefix.as_bytes()))
        };
        for entry in self.layers.iter().flatten() {
            match entry {
                Entry::File { path, .. } if named(path, "f-") => targets.hits.push(path.clone()),
                Entry::Whiteout { path } if named(path, "w-") => targets.whiteouts.push(path.clone()),
                _ => {}
            }
        }
        let count = u32::try_from(targets.hits.len()).unwrap_or(u32::MAX);
        targets.misses = (0..count).map(|n| in_data('n', n)).collect();
        targets
    }

    /// Name of the stack's folder: a digest of definition and seed, so that a changed definition is another stack.
    pub fn key(&self, seed: u64) -> String {
        // serde_json writes fields in order of declaration: the same definition gives the same text.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"layerbench stack 1").update(&seed.to_le_bytes()).update(&text);
        hasher.finalize().to_hex().as_str().get(..16).unwrap_or_default().to_owned()
    }

    /// Bytes that the stack needs on a file system with blocks of 4 KiB, a block for each inode included.
    pub fn total_bytes(&self) -> u64 {
        const BLOCK: u64 = 4096;
        let content: u64 = self
            .layers
            .iter()
            .flatten()
            .map(|entry| match entry {
                Entry::File { size_bytes, .. } => size_bytes.div_ceil(BLOCK).saturating_mul(BLOCK),
                _ => 0,
            })
            .fold(0, u64::saturating_add);
        content.saturating_add(self.total_inodes() * BLOCK)
    }

    /// Inodes that the stack needs, those of `layers/`, `mnt/` and materialised layers included.
    pub fn total_inodes(&self) -> u64 {
        let entries: u64 = self.layers.iter().map(|layer| layer.len() as u64).sum();
        entries + 4 * self.layers.len() as u64 + 8
    }

    /// Refuses what cannot be built: no layers, paths that leave the layer, names that mean something to aufs, a path twice.
    pub fn validate(&self) -> Result<(), StackError> {
        let refuse = |path: &Path, reason: &str| {
            Err(StackError::Definition { path: path.to_owned(), reason: reason.to_owned() })
        };
        if self.layers.is_empty() {
            return refuse(Path::new(""), "it has no layer");
        }
        for layer in &self.layers {
            let mut seen = std::collections::HashSet::new();
            for entry in layer {
                let path = entry.path();
                if path.as_os_str().is_empty() || !path.components().all(|c| matches!(c, Component::Normal(_))) {
                    return refuse(path, "a path must be relative, without `.` and `..`");
                }
                if path.as_os_str().as_bytes().contains(&0) {
                    return refuse(path, "a path cannot hold a zero byte");
                }
                if path.iter().any(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes())) {
                    return refuse(path, "names that begin with .wh. are aufs's own: use a whiteout entry");
                }
                let kind = matches!(entry, Entry::Opaque { .. });
                if !seen.insert((path.to_owned(), kind)) {
                    return refuse(path, "a layer has it twice");
                }
            }
        }
        Ok(())
    }
}

/// `.wh.<name>` beside a path.
pub(super) fn whiteout_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(WHITEOUT_PREFIX);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whiteout_hides_something_wherever_a_layer_lies_below() {
        for (depth, target) in [(1, 1), (2, 1), (2, 2), (5, 3), (5, 5)] {
            let definition = StackDefinition::study(depth, target, 3, 10);
            definition.validate().unwrap();
            assert_eq!(definition.layers.len(), depth as usize);
            let targets = definition.targets();
            assert_eq!((targets.hits.len(), targets.misses.len(), targets.whiteouts.len()), (3, 3, 3));
            let layer_of = |wanted: &Entry| definition.layers.iter().position(|layer| layer.contains(wanted));
            let whiteout = layer_of(&Entry::Whiteout { path: "data/w-000000".into() }).unwrap();
            let hidden = layer_of(&Entry::File { path: "data/w-000000".into(), size_bytes: SMALL, mode: FILE_MODE });
            match hidden {
                Some(hidden) => assert!(whiteout < hidden, "depth {depth}, target {target}"),
                None => assert_eq!(depth, 1),
            }
            let hit = layer_of(&Entry::File { path: "data/f-000000".into(), size_bytes: 10, mode: FILE_MODE });
            assert_eq!(hit, Some(target as usize - 1));
        }
    }

    #[test]
    fn another_seed_or_definition_is_another_key() {
        let a = StackDefinition::study(2, 2, 3, 10);
        assert_eq!(a.key(1), a.clone().key(1));
        assert_ne!(a.key(1), a.key(2));
        assert_ne!(a.key(1), StackDefinition::study(2, 1, 3, 10).key(1));
    }

    #[test]
    fn entries_that_leave_the_layer_or_mean_something_to_aufs_are_refused() {
        for path in ["", "/etc", "../x", "a/../b", "./a", ".wh.x", "a/.wh..wh..opq", "a\0b"] {
            let definition = StackDefinition { layers: vec![vec![Entry::Dir { path: path.into(), mode: 0o755 }]] };
            assert!(definition.validate().is_err(), "{path:?}");
        }
        assert!(StackDefinition { layers: vec![] }.validate().is_err());
    }
}
