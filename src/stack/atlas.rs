//! What a stack of look-ups holds besides the files of every study: directories that a union has to merge or may stop at, long paths, files
//! to open, listings. It is a part of [`StackDefinition`]; stacks of other studies are spared it, since it grows with depth.

use std::path::{Path, PathBuf};

use super::definition::{DATA, FILE_MODE, SMALL, in_data};
use super::{DIR_MODE, Entry, StackDefinition, Targets};

/// Most directories and paths of a kind: directories of every layer make depth times as many folders on the disk.
const POOL_MAX: u32 = 32;
/// Most directories that are listed: each holds an entry for every layer as well.
const LISTED_MAX: u32 = 8;
/// Most files to open.
const UNSEEN_MAX: u32 = 200;
/// Most directories for the first look-up of a hit, and as many for that of a miss: enough for a median of a few blocks, few enough that cold
/// caches can be made for each.
const FIRST_MAX: u32 = 8;
/// How the names of their directories begin.
const FIRST: &str = "first-";
/// Components of a long path, the file included, counted from the study's folder.
const PATH_COMPONENTS: u32 = 16;

/// `data/p-<n>/1/2/../14/f`.
fn long_path(index: u32) -> PathBuf {
    let mut path = in_data('p', index);
    path.extend((1..PATH_COMPONENTS - 1).map(|n| n.to_string()));
    path.join("f")
}

/// A directory for one first look-up. It lies in the root: no two of them share a folder that one of them would find known.
fn first_folder(index: u32) -> PathBuf {
    format!("{FIRST}{index:06}").into()
}

impl StackDefinition {
    /// The study's stack with what look-ups need besides, in pools as long as `files` or shorter:
    ///
    /// * `data/o-<n>`, which the base has and the top layer has opaque, so that a union may stop at the top; not in a single layer;
    /// * `data/m-<n>`, which every layer has; the top one and the base have a file in it, from which a merge can be told;
    /// * `data/p-<n>/1/2/../14/f`, a file at the end of folders that the target layer alone has;
    /// * `data/r-<n>`, files of the target layer;
    /// * `data/l-<n>`, which every layer has with one file in it;
    /// * `first-<n>`, which every layer has, all alike: the target layer has `f` in them. In one half `f` is looked up, in the other a name that
    ///   is nowhere, once and nothing else.
    pub fn with_atlas(mut self, target_layer: u32, files: u32) -> StackDefinition {
        let depth = self.layers.len();
        let small = |path: PathBuf| Entry::File { path, size_bytes: SMALL, mode: FILE_MODE };
        let in_layer = |layer: usize| format!("of-{layer:04}");
        for (index, entries) in self.layers.iter_mut().enumerate() {
            let layer = index + 1;
            let (is_top, is_base) = (layer == 1, layer == depth);
            for n in 0..files.min(POOL_MAX) {
                let opaque = in_data('o', n);
                if depth > 1 && (is_top || is_base) {
                    entries.push(small(opaque.join(if is_top { "above" } else { "below" })));
                }
                if depth > 1 && is_top {
                    entries.push(Entry::Opaque { path: opaque });
                }
                let merged = in_data('m', n);
                entries.push(Entry::Dir { path: merged.clone(), mode: DIR_MODE });
                if is_top || is_base {
                    entries.push(small(merged.join(in_layer(layer))));
                }
                if u32::try_from(layer) == Ok(target_layer) {
                    entries.push(small(long_path(n)));
                }
            }
            if u32::try_from(layer) == Ok(target_layer) {
                entries.extend((0..files.min(UNSEEN_MAX)).map(|n| small(in_data('r', n))));
            }
            entries.extend((0..files.min(LISTED_MAX)).map(|n| small(in_data('l', n).join(in_layer(layer)))));
            for n in 0..2 * files.min(FIRST_MAX) {
                entries.push(Entry::Dir { path: first_folder(n), mode: DIR_MODE });
                if u32::try_from(layer) == Ok(target_layer) {
                    entries.push(small(first_folder(n).join("f")));
                }
            }
        }
        self
    }
}

/// Adds the names that look-ups operate on besides those of every study.
pub(super) fn targets(definition: &StackDefinition, targets: &mut Targets) {
    let named = |path: &Path, letter: char| {
        let name = path.strip_prefix(DATA).ok().and_then(|rest| rest.iter().next()).and_then(|name| name.to_str());
        name.is_some_and(|name| name.strip_prefix(letter).is_some_and(|rest| rest.starts_with('-')))
    };
    let is_first = |path: &Path| path.to_str().is_some_and(|name| name.starts_with(FIRST));
    for entry in definition.layers.iter().flatten() {
        match entry {
            Entry::File { path, .. } if is_first(path) => targets.first_hits.push(path.clone()),
            Entry::Opaque { path } if named(path, 'o') => targets.opaque.push(path.clone()),
            Entry::File { path, .. } if named(path, 'p') => targets.paths.push(path.clone()),
            Entry::File { path, .. } if named(path, 'r') => targets.unseen.push(path.clone()),
            _ => {}
        }
    }
    let half = targets.first_hits.len() / 2;
    targets.first_misses = targets.first_hits.drain(half..).map(|path| path.with_file_name("n")).collect();
    // Every layer has these: once is enough.
    for entry in definition.layers.first().into_iter().flatten() {
        match entry {
            Entry::Dir { path, .. } if named(path, 'm') => targets.merged.push(path.clone()),
            Entry::File { path, .. } if named(path, 'l') => targets.listed.extend(path.parent().map(Path::to_owned)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_stack_of_look_ups_is_the_study_s_with_pools_for_every_kind() {
        for (depth, target) in [(1, 1), (2, 1), (2, 2), (5, 3), (5, 5)] {
            let plain = StackDefinition::study(depth, target, 3, 10);
            let atlas = plain.clone().with_atlas(target, 3);
            atlas.validate().unwrap();
            assert_ne!(atlas.key(1), plain.key(1));
            let (with, without) = (atlas.targets(), plain.targets());
            assert_eq!(
                (&with.hits, &with.misses, &with.whiteouts),
                (&without.hits, &without.misses, &without.whiteouts)
            );
            assert_eq!(without.names().count(), without.hits.len() + without.misses.len() + without.whiteouts.len());
            assert_eq!(with.opaque.len(), if depth > 1 { 3 } else { 0 });
            let others = [&with.merged, &with.paths, &with.unseen, &with.listed];
            assert!(others.iter().all(|pool| pool.len() == 3), "{others:?}");
            assert_eq!((with.first_hits.len(), with.first_misses.len()), (3, 3));
            assert_eq!(with.names().count(), without.names().count() + with.opaque.len() + 12 + 6);

            let having =
                |path: &Path| atlas.layers.iter().filter(|layer| layer.iter().any(|e| e.path() == path)).count();
            assert_eq!(having(&with.merged[0]), depth as usize);
            assert_eq!(having(&with.paths[2]), 1);
            assert_eq!(with.paths[2].strip_prefix(DATA).unwrap().iter().count(), 16);
            let folders: HashSet<_> =
                with.first_hits.iter().chain(&with.first_misses).map(|path| path.parent()).collect();
            assert_eq!(folders.len(), 6);
            assert!(folders.into_iter().flatten().all(|folder| having(folder) == depth as usize));
            assert!(with.first_hits.iter().all(|path| having(path) == 1));
            assert!(with.first_misses.iter().all(|path| having(path) == 0));
            let entries = atlas.layers.iter().flatten().filter(|e| e.path().parent() == Some(&with.listed[1]));
            assert_eq!(entries.count(), depth as usize);
        }
    }

    #[test]
    fn pools_of_directories_stay_small_when_files_are_many() {
        let targets = StackDefinition::study(3, 3, 5000, 10).with_atlas(3, 5000).targets();
        let lengths =
            [&targets.opaque, &targets.merged, &targets.paths, &targets.unseen, &targets.listed].map(Vec::len);
        assert_eq!(lengths, [32, 32, 32, 200, 8]);
        assert_eq!([&targets.first_hits, &targets.first_misses].map(Vec::len), [8, 8]);
    }
}
