//! The stack of jobs: a tree of files that looks like a source tree, spread over all layers, and beside it a database and what is known of
//! installed packages.
//!
//! Shape and sizes follow from the numbers of the definition alone, so that every run has the same tree; the seed decides what is in the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::definition::FILE_MODE;
use super::{Entry, PACKAGES, StackDefinition, Targets, database, packages, source};

/// The tree, relative to the root of a container.
pub const TREE: &str = "data/tree";
/// The database, relative to the root of a container. It has a table `items(id, value, filler)` with rows from 1 on; every `value` is 0.
pub const DATABASE: &str = "data/items.db";
/// Files of a folder.
const FILES_PER_FOLDER: u32 = 16;
/// Folders in a folder.
const FOLDERS_PER_FOLDER: u32 = 4;
/// One file in so many is a C source, the first among them.
const SOURCES_EVERY: u32 = 8;
/// Most C sources: compiling takes long.
const SOURCES_MAX: u32 = 32;
/// One file in so many lies in another layer than the others of its folder.
const STRAYS_EVERY: u64 = 8;
/// Largest file, in medians.
const LARGEST: u64 = 256;

/// `data/tree/1/0/3`: the path of folder `index`; folder 0 is the tree.
fn folder(index: u32) -> PathBuf {
    let Some(above) = index.checked_sub(1) else { return TREE.into() };
    folder(above / FOLDERS_PER_FOLDER).join((above % FOLDERS_PER_FOLDER).to_string())
}

fn hash(what: &str, path: &Path) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(what.as_bytes());
    hasher.update(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    *hasher.finalize().as_bytes()
}

fn number(what: &str, path: &Path) -> u64 {
    let bytes = hash(what, path);
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Size of a file: log-normal about the median, which is what file systems hold: N. Agrawal et al., "A Five-Year Study of File-System
/// Metadata" (FAST '07), where the median is 4 KiB in each of five years. The spread, 1.5 in natural logarithms, is narrower than that of
/// whole disks: a source tree has no films. Whole numbers only, so that no machine's logarithm makes another tree: twelve uniform
/// numbers make a normal one, and between powers of two the curve is a line.
fn size(median: u64, path: &Path) -> u64 {
    /// 1.5 / ln 2 in hundredths: powers of two in a standard deviation.
    const SPREAD_CENTI: i64 = 216;
    let bytes = hash("size", path);
    let sum: i64 =
        bytes.chunks_exact(2).take(12).map(|two| two.iter().fold(0, |n, byte| n << 8 | i64::from(*byte))).sum();
    // Of mean 0 and deviation 1, in 65536ths.
    let normal = sum - (6 << 16);
    let power = normal * SPREAD_CENTI / 100;
    let (whole, part) = (power >> 16, u128::from((power & 0xffff).unsigned_abs()));
    let line = u128::from(median) * ((1 << 16) + part);
    // Twelve numbers cannot be further than six deviations from their mean: `whole` is 12 at most.
    let size = line.checked_shr((16 - whole).unsigned_abs() as u32).unwrap_or(0);
    u64::try_from(size).unwrap_or(u64::MAX).min(median.saturating_mul(LARGEST))
}

impl StackDefinition {
    /// The stack of jobs: the study's frame, [`TREE`] with `files` regular files whose sizes have this median, and [`DATABASE`] and [`PACKAGES`] in the
    /// base.
    ///
    /// A folder holds 16 files and up to 4 folders. The files of a folder lie in one layer, which its path decides, as what is installed
    /// together does; but one in eight lies in another, as what is patched later does. One in eight is a C source that compiles and links with
    /// the others, `main.c` among them.
    pub fn tree(depth: u32, files: u32, median_bytes: u64) -> StackDefinition {
        let mut definition = StackDefinition::study(depth, depth, 0, 0);
        let folders = files.div_ceil(FILES_PER_FOLDER).max(1);
        for n in 0..files {
            let folder = folder(n % folders);
            let is_source = n.is_multiple_of(SOURCES_EVERY) && n / SOURCES_EVERY < SOURCES_MAX;
            let name = match (is_source, n) {
                (true, 0) => source::MAIN.to_owned(),
                (true, n) => format!("s_{n:06}.c"),
                (false, n) => format!("f-{n:06}"),
            };
            let path = folder.join(name);
            let size_bytes = size(median_bytes, &path).max(if is_source { source::LEAST } else { 0 });
            let stray = number("stray", &path).is_multiple_of(STRAYS_EVERY);
            let layer = number("layer", if stray { &path } else { &folder }) % u64::from(depth.max(1));
            if let Some(entries) = usize::try_from(layer).ok().and_then(|layer| definition.layers.get_mut(layer)) {
                entries.push(Entry::File { path, size_bytes, mode: FILE_MODE });
            }
        }
        if let Some(base) = definition.layers.last_mut() {
            base.push(Entry::File { path: DATABASE.into(), size_bytes: database::SIZE, mode: FILE_MODE });
            base.extend(packages::files().map(|path| {
                let size_bytes = packages::content(&path).map_or(0, |content| content.len() as u64);
                Entry::File { path, size_bytes, mode: FILE_MODE }
            }));
        }
        definition
    }
}

/// Adds the files of the tree, its folders to list, and what lies beside it.
pub(super) fn targets(definition: &StackDefinition, targets: &mut Targets) {
    let files = definition.layers.iter().flatten().filter_map(|entry| match entry {
        Entry::File { path, .. } => {
            [TREE, DATABASE, PACKAGES].iter().any(|place| path.starts_with(place)).then_some(path)
        }
        _ => None,
    });
    let mut found: Vec<PathBuf> = files.cloned().collect();
    found.sort();
    let folders: BTreeSet<&Path> =
        found.iter().flat_map(|path| path.ancestors().skip(1)).filter(|path| path.starts_with(TREE)).collect();
    targets.listed.extend(folders.into_iter().map(Path::to_owned));
    targets.hits.append(&mut found);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(median: u64, files: u32) -> Vec<u64> {
        let mut sizes: Vec<u64> = (0..files).map(|n| size(median, Path::new(&n.to_string()))).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn sizes_are_log_normal_about_the_median() {
        let drawn = sizes(4096, 20_000);
        let at = |share: f64| drawn[(share * 20_000.0) as usize] as f64;
        // exp(1.5 z): z = 0, 1, -1.
        assert!((at(0.5) / 4096.0 - 1.0).abs() < 0.06, "{}", at(0.5));
        assert!((at(0.8413) / at(0.5) / 4.48 - 1.0).abs() < 0.12, "{}", at(0.8413));
        assert!((at(0.5) / at(0.1587) / 4.48 - 1.0).abs() < 0.12, "{}", at(0.1587));
        assert!(*drawn.last().unwrap() <= 256 * 4096);
        assert!(sizes(0, 10).iter().all(|size| *size == 0));
        sizes(u64::MAX, 100);
    }

    #[test]
    fn a_tree_is_the_same_for_ever_and_lies_in_every_layer() {
        for (depth, files) in [(1, 1), (2, 12), (8, 2000)] {
            let definition = StackDefinition::tree(depth, files, 4096);
            definition.validate().unwrap();
            assert_eq!(definition, StackDefinition::tree(depth, files, 4096));
            let targets = definition.targets();
            let besides = 1 + packages::files().count();
            assert_eq!(targets.hits.len(), files as usize + besides, "and the databases");
            assert!(targets.misses.is_empty() && targets.whiteouts.is_empty());
            assert!(targets.hits.contains(&Path::new(TREE).join(source::MAIN)));
            assert_eq!(targets.listed.len(), files.div_ceil(FILES_PER_FOLDER) as usize);
        }
        let definition = StackDefinition::tree(8, 2000, 4096);
        let in_tree = |layer: &Vec<Entry>| layer.iter().filter(|entry| entry.path().starts_with(TREE)).count();
        assert!(definition.layers.iter().all(|layer| in_tree(layer) > 50));
        // Written down once: results of different versions are comparable only while this holds.
        assert_eq!(definition.key(1), "99a9a23db0c91502");
    }
}
