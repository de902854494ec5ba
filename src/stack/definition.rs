//! What a stack holds, as data: the entries of each layer, and the stacks that studies measure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DIR_MODE, StackError, WHITEOUT_PREFIX, atlas, tree};

/// One thing in one layer. Paths are relative to the layer's root and are UTF-8. Folders above that are not entries of the same layer
/// themselves have mode 0755.
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
    /// A regular file with incompressible content made from the stack's seed. One that its owner may execute begins as a program that ends
    /// with status 0; below `data/tree`, one whose name ends in `.c` is C; `data/items.db` is a database.
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
    /// Gives a regular file of the same layer extended attributes, each with a short value: see [`attribute`].
    Xattrs {
        /// The file.
        path: PathBuf,
        /// How many.
        count: u32,
    },
}

/// Name and value of an attribute of [`Entry::Xattrs`], counted from 0. Anyone who may write a file may set it (xattr(7)).
pub fn attribute(index: u32) -> (String, String) {
    (format!("user.layerbench.{index:02}"), format!("value {index}"))
}

impl Entry {
    /// The path that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Entry::Dir { path, .. }
            | Entry::File { path, .. }
            | Entry::Symlink { path, .. }
            | Entry::Whiteout { path }
            | Entry::Opaque { path }
            | Entry::Xattrs { path, .. } => path,
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
    /// Directories that the top layer has opaque and the base has as well. These and what follows: see [`StackDefinition::with_atlas`].
    pub opaque: Vec<PathBuf>,
    /// Directories that every layer has.
    pub merged: Vec<PathBuf>,
    /// Files below many folders that the target layer alone has.
    pub paths: Vec<PathBuf>,
    /// Files to open, which nothing else is done with; where the targets are a whole image, what is neither file nor folder.
    pub unseen: Vec<PathBuf>,
    /// Directories that every layer has an entry in.
    pub listed: Vec<PathBuf>,
    /// Files of the target layer, each in a directory that every layer has and in which nothing else is looked up.
    pub first_hits: Vec<PathBuf>,
    /// Names that are nowhere, each in such a directory of its own.
    pub first_misses: Vec<PathBuf>,
}

impl Targets {
    /// Every name, of every kind.
    pub fn names(&self) -> impl Iterator<Item = &PathBuf> {
        let Targets { hits, misses, whiteouts, opaque, merged, paths, unseen, listed, first_hits, first_misses } = self;
        [hits, misses, whiteouts, opaque, merged, paths, unseen, listed, first_hits, first_misses].into_iter().flatten()
    }
}

/// Directory that every layer of a study has.
pub(super) const DATA: &str = "data";
/// Most names that a study hides: enough for a percentile, few enough not to make the stack about whiteouts.
const WHITEOUTS_MAX: u32 = 200;
/// Length of files that are only there to be there.
pub(super) const SMALL: u64 = 64;
/// A study's ordinary permissions.
pub(super) const FILE_MODE: u32 = 0o644;

pub(super) fn in_data(prefix: char, index: u32) -> PathBuf {
    Path::new(DATA).join(format!("{prefix}-{index:06}"))
}

/// Whether a path lies in `data/`, below a name that begins like this.
fn is_named(path: &Path, prefix: &str) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::Normal(DATA.as_ref()))
        && components.next().is_some_and(|name| name.as_os_str().as_bytes().starts_with(prefix.as_bytes()))
}

impl StackDefinition {
    /// The stack that a study measures. Every one of `depth` layers has `data/` with a small marker, so that a union has to merge them
    /// all. `target_layer` (from 1, the top) holds `data/f-<n>`, `files` of them. Names `data/w-<n>` lie in the target layer and are
    /// hidden by whiteouts in the layer above it, as deep as a whiteout can hide something there; where the target is the top layer, it
    /// has the whiteouts itself and the names lie below it. A single layer has none: there is nothing to hide, and a driver may take
    /// such a name for one that is nowhere. `opaque/` of the base is hidden by the top layer's.
    pub fn study(depth: u32, target_layer: u32, files: u32, file_size_bytes: u64) -> StackDefinition {
        let whiteouts = if depth > 1 { files.min(WHITEOUTS_MAX) } else { 0 };
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

    /// A study's stack with more to copy up: each target `data/f-<n>` lies `directories` folders deeper, in a chain of its own
    /// (`data/f-<n>/f`, `data/f-<n>/d/f`, ..), and has `xattrs` extended attributes.
    pub fn with_targets(mut self, directories: u32, xattrs: u32) -> StackDefinition {
        for entries in &mut self.layers {
            let mut attributes = Vec::new();
            for entry in entries.iter_mut() {
                let Entry::File { path, .. } = entry else { continue };
                if !is_named(path, "f-") {
                    continue;
                }
                if directories > 0 {
                    path.extend((1..directories).map(|_| "d"));
                    path.push("f");
                }
                if xattrs > 0 {
                    attributes.push(Entry::Xattrs { path: path.clone(), count: xattrs });
                }
            }
            entries.append(&mut attributes);
        }
        self
    }

    /// A study's stack whose targets are programs.
    pub fn with_programs(mut self) -> StackDefinition {
        for entry in self.layers.iter_mut().flatten() {
            if let Entry::File { path, mode, .. } = entry
                && is_named(path, "f-")
            {
                *mode = DIR_MODE;
            }
        }
        self
    }

    /// The names that a study operates on, if this is a study's stack.
    pub fn targets(&self) -> Targets {
        let mut targets = Targets::default();
        for entry in self.layers.iter().flatten() {
            match entry {
                Entry::File { path, .. } if is_named(path, "f-") => targets.hits.push(path.clone()),
                Entry::Whiteout { path } if is_named(path, "w-") => targets.whiteouts.push(path.clone()),
                _ => {}
            }
        }
        let count = u32::try_from(targets.hits.len()).unwrap_or(u32::MAX);
        targets.misses = (0..count).map(|n| in_data('n', n)).collect();
        atlas::targets(self, &mut targets);
        tree::targets(self, &mut targets);
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

    /// Bytes that the stack needs on a file system with blocks of 4 KiB; see [`StackDefinition::bytes_on_disk`].
    pub fn total_bytes(&self) -> u64 {
        self.bytes_on_disk(4096)
    }

    /// Bytes that the stack needs on a file system with blocks of `block` bytes, rather too many than too few: contents in whole blocks
    /// and what maps them, folders, `layers/`, `stack.json` and the inodes, with overlay's form of the layers that hide something.
    pub fn bytes_on_disk(&self, block: u64) -> u64 {
        /// Length of an inode of ext4 and XFS, at most.
        const INODE: u64 = 512;
        /// Length of an entry in `stack.json`, with a digest, less the path, which is there twice.
        const RECORD: u64 = 400;
        /// Length of a line of `layers/<id>`.
        const LINE: u64 = 65;
        let block = block.max(512);
        let whole = |bytes: u64| bytes.div_ceil(block).saturating_mul(block);
        let depth = self.layers.len() as u64;
        let mut bytes = (0..depth).map(|below| whole(below * LINE)).fold(0, u64::saturating_add);
        let mut manifest = 0u64;
        for entries in &self.layers {
            let mut names = 0u64;
            for entry in entries {
                let name = entry.path().as_os_str().len() as u64;
                // An entry of a folder is a name, a number and a length, and a tree of them is at least half full.
                names += 2 * (name + 16);
                manifest += RECORD + 2 * name;
                bytes = bytes.saturating_add(match entry {
                    Entry::File { size_bytes, .. } => whole(*size_bytes).saturating_add(size_bytes / 512),
                    Entry::Symlink { .. } => block,
                    // In the inode where there is room, else in a block of their own.
                    Entry::Xattrs { .. } => block,
                    _ => 0,
                });
            }
            let forms = 1 + u64::from(hides(entries));
            // The layer's folder and `mnt/<id>` come on top.
            bytes = bytes.saturating_add(forms * (whole(names) + (folders(entries).len() as u64 + 2) * block));
        }
        bytes.saturating_add(whole(manifest)).saturating_add(self.total_inodes() * INODE)
    }

    /// Inodes that the stack needs, those of `layers/`, `mnt/` and materialised layers included.
    pub fn total_inodes(&self) -> u64 {
        /// The stack's folder, what is in it, and `overlay/`.
        const FRAME: u64 = 6;
        let layers = self.layers.iter().map(|entries| {
            let given = |entry: &&Entry| !matches!(entry, Entry::Dir { .. } | Entry::Xattrs { .. });
            let given = entries.iter().filter(given).count() as u64;
            let folders = folders(entries).len() as u64;
            // Files and links are hard links in overlay's form; folders and whiteouts are not.
            let again = if hides(entries) { 1 + folders + entries.len() as u64 } else { 0 };
            given + folders + 3 + again
        });
        FRAME + layers.sum::<u64>()
    }

    /// Refuses what cannot be built: no layers, paths that leave the layer, names that mean something to aufs, a path twice, something
    /// inside what is no folder.
    pub fn validate(&self) -> Result<(), StackError> {
        /// Longest name that Linux's file systems take, in bytes.
        const NAME_MAX: usize = 255;
        let refuse = |path: &Path, reason: &str| {
            Err(StackError::Definition { path: path.to_owned(), reason: reason.to_owned() })
        };
        if self.layers.is_empty() {
            return refuse(Path::new(""), "it has no layer");
        }
        for layer in &self.layers {
            let mut seen = HashSet::new();
            for entry in layer {
                let path = entry.path();
                if path.to_str().is_none() {
                    return refuse(path, "a path must be UTF-8");
                }
                let plain = path.components().all(|c| matches!(c, Component::Normal(_)))
                    // `components` passes over `a/./b`, `a//b` and `a/`.
                    && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
                if path.as_os_str().is_empty() || !plain {
                    return refuse(path, "a path must be relative, without `.`, `..` and empty names");
                }
                if path.as_os_str().as_bytes().contains(&0) {
                    return refuse(path, "a path cannot hold a zero byte");
                }
                if path.iter().any(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes())) {
                    return refuse(path, "names that begin with .wh. are aufs's own: use a whiteout entry");
                }
                let prefix = if matches!(entry, Entry::Whiteout { .. }) { WHITEOUT_PREFIX.len() } else { 0 };
                if path.iter().any(|name| name.len() + prefix > NAME_MAX) {
                    return refuse(path, "a name is too long");
                }
                match entry {
                    Entry::Dir { mode, .. } | Entry::File { mode, .. } if *mode > 0o7777 => {
                        return refuse(path, "a mode has no bits above 07777");
                    }
                    Entry::File { size_bytes, .. } if i64::try_from(*size_bytes).is_err() => {
                        return refuse(path, "a file cannot be that large");
                    }
                    Entry::Symlink { target, .. } => match target.to_str() {
                        Some(text) if !text.is_empty() && !text.contains('\0') => {}
                        _ => {
                            return refuse(
                                path,
                                "the target of a symbolic link must be UTF-8, neither empty nor with a zero byte",
                            );
                        }
                    },
                    _ => {}
                }
                // What a layer says of one path once as a thing, and once more of that thing.
                let kind = match entry {
                    Entry::Opaque { .. } => 1,
                    Entry::Xattrs { .. } => 2,
                    _ => 0,
                };
                if !seen.insert((path, kind)) {
                    return refuse(path, "a layer has it twice");
                }
            }
            let folders = folders(layer);
            let no_folder = |entry: &&Entry| !matches!(entry, Entry::Dir { .. } | Entry::Opaque { .. });
            if let Some(entry) = layer.iter().filter(no_folder).find(|entry| folders.contains_key(entry.path())) {
                return refuse(entry.path(), "it is no folder, but the layer has something inside it");
            }
            let given = xattrs(layer);
            if !given.is_empty() {
                let files: HashSet<&Path> =
                    layer.iter().filter(|e| matches!(e, Entry::File { .. })).map(Entry::path).collect();
                if let Some(path) = given.into_keys().find(|path| !files.contains(path)) {
                    return refuse(path, "attributes can be given to a regular file of the same layer alone");
                }
            }
        }
        Ok(())
    }
}

/// Every folder of a layer with its mode, given or implied by what is inside, an outer one before an inner one.
pub(super) fn folders(entries: &[Entry]) -> BTreeMap<&Path, u32> {
    let mut folders = BTreeMap::new();
    let mut last = None;
    for entry in entries {
        let path = entry.path();
        let above = if matches!(entry, Entry::Opaque { .. }) { Some(path) } else { path.parent() };
        // Neighbours mostly lie in the same folder.
        if above != last {
            last = above;
            for folder in above.into_iter().flat_map(Path::ancestors).filter(|path| !path.as_os_str().is_empty()) {
                folders.entry(folder).or_insert(DIR_MODE);
            }
        }
        if let Entry::Dir { mode, .. } = entry {
            folders.insert(path, *mode);
        }
    }
    folders
}

/// How many attributes of ours each file of a layer has, where it has any.
pub(super) fn xattrs(entries: &[Entry]) -> HashMap<&Path, u32> {
    let given = entries.iter().filter_map(|entry| match entry {
        Entry::Xattrs { path, count } => Some((path.as_path(), *count)),
        _ => None,
    });
    given.collect()
}

/// Whether a layer hides something of the layers below, and so looks different to aufs and to overlay.
pub(super) fn hides(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| matches!(entry, Entry::Whiteout { .. } | Entry::Opaque { .. }))
}

/// `.wh.<name>` beside a path.
pub fn whiteout_path(path: &Path) -> PathBuf {
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
            assert_eq!((targets.hits.len(), targets.misses.len()), (3, 3));
            let layer_of = |wanted: &Entry| definition.layers.iter().position(|layer| layer.contains(wanted));
            let whiteout = layer_of(&Entry::Whiteout { path: "data/w-000000".into() });
            let hidden = layer_of(&Entry::File { path: "data/w-000000".into(), size_bytes: SMALL, mode: FILE_MODE });
            if depth == 1 {
                assert_eq!((targets.whiteouts.len(), whiteout, hidden), (0, None, None));
            } else {
                assert_eq!(targets.whiteouts.len(), 3);
                assert!(whiteout.unwrap() < hidden.unwrap(), "depth {depth}, target {target}");
            }
            let hit = layer_of(&Entry::File { path: "data/f-000000".into(), size_bytes: 10, mode: FILE_MODE });
            assert_eq!(hit, Some(target as usize - 1));
        }
    }

    #[test]
    fn targets_may_lie_in_chains_of_their_own_and_have_attributes() {
        let plain = StackDefinition::study(3, 2, 2, 10);
        assert_eq!(plain.clone().with_targets(0, 0), plain);
        let deep = plain.clone().with_targets(3, 4);
        deep.validate().unwrap();
        assert_eq!(deep.targets().hits, ["data/f-000000/d/d/f", "data/f-000001/d/d/f"].map(PathBuf::from));
        assert_eq!(deep.targets().whiteouts, plain.targets().whiteouts);
        assert_eq!(deep.targets().misses, plain.targets().misses);
        let given = deep.layers.iter().map(|layer| xattrs(layer).into_values().sum::<u32>());
        assert_eq!(given.collect::<Vec<_>>(), [0, 8, 0]);
        // Six folders more, and no inode for an attribute.
        assert_eq!(deep.total_inodes(), plain.total_inodes() + 6);
        assert_eq!(plain.with_targets(1, 0).targets().hits[1], Path::new("data/f-000001/f"));
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
        let long = "x".repeat(256);
        for path in
            ["", "/etc", "../x", "a/../b", "./a", "a/./b", "a//b", "a/", ".wh.x", "a/.wh..wh..opq", "a\0b", &long]
        {
            let definition = StackDefinition { layers: vec![vec![Entry::Dir { path: path.into(), mode: 0o755 }]] };
            assert!(definition.validate().is_err(), "{path:?}");
        }
        assert!(StackDefinition { layers: vec![] }.validate().is_err());
        let bytes = std::ffi::OsStr::from_bytes(b"a\xff");
        assert!(one(vec![Entry::Whiteout { path: bytes.into() }]).validate().is_err());
        assert!(one(vec![Entry::Whiteout { path: "x".repeat(252).into() }]).validate().is_err());
        one(vec![Entry::Whiteout { path: "x".repeat(251).into() }]).validate().unwrap();
    }

    fn one(layer: Vec<Entry>) -> StackDefinition {
        StackDefinition { layers: vec![layer] }
    }

    #[test]
    fn entries_that_contradict_each_other_are_refused() {
        let file = |path: &str| Entry::File { path: path.into(), size_bytes: 0, mode: 0o644 };
        let dir = |path: &str| Entry::Dir { path: path.into(), mode: 0o755 };
        for entries in [
            vec![file("a"), file("a")],
            vec![file("a"), dir("a")],
            vec![file("a"), file("a/b")],
            vec![file("a"), Entry::Opaque { path: "a".into() }],
            vec![Entry::Whiteout { path: "a".into() }, dir("a")],
            vec![Entry::Whiteout { path: "a".into() }, file("a/b")],
            vec![Entry::Symlink { path: "a".into(), target: "b".into() }, file("a/b/c")],
            vec![Entry::Symlink { path: "a".into(), target: "".into() }],
            vec![Entry::File { path: "a".into(), size_bytes: u64::MAX, mode: 0o644 }],
            vec![Entry::Dir { path: "a".into(), mode: 0o40755 }],
            vec![Entry::Xattrs { path: "a".into(), count: 1 }],
            vec![dir("a"), Entry::Xattrs { path: "a".into(), count: 1 }],
            vec![file("a"), Entry::Xattrs { path: "a".into(), count: 1 }, Entry::Xattrs { path: "a".into(), count: 2 }],
        ] {
            assert!(one(entries.clone()).validate().is_err(), "{entries:?}");
        }
        one(vec![dir("a"), Entry::Opaque { path: "a".into() }, file("a/b")]).validate().unwrap();
    }

    #[test]
    fn folders_are_found_whether_given_or_implied() {
        let entries = [
            Entry::File { path: "a/b/c".into(), size_bytes: 0, mode: 0o644 },
            Entry::Dir { path: "a".into(), mode: 0o700 },
            Entry::Opaque { path: "o".into() },
            Entry::Whiteout { path: "w/x".into() },
        ];
        let found: Vec<_> = folders(&entries).into_iter().map(|(path, mode)| (path.to_str().unwrap(), mode)).collect();
        assert_eq!(found, [("a", 0o700), ("a/b", DIR_MODE), ("o", DIR_MODE), ("w", DIR_MODE)]);
    }
}
