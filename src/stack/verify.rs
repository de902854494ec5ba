//! Is what lies on disk still what was built?

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::build::parents;
use super::definition::{folders, whiteout_path, xattrs};
use super::image::{Image, Item, ItemKind};
use super::manifest::{FileRecord, LayerRecord, Manifest};
use super::{Entry, LayerStack, OPAQUE_NAME, StackError, attribute, forms, layers_file, mnt, parallel, scan};

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Regular files whose content was digested.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Every discrepancy, with its path relative to the stack's root.
    pub problems: Vec<String>,
}

/// One thing that should be in a layer.
struct Expected<'a> {
    /// Relative to the stack's root.
    name: PathBuf,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Dir { mode: u32 },
    File { record: &'a FileRecord, mode: u32, xattrs: u32 },
    Symlink { target: &'a Path },
    Mark,
}

pub(super) fn verify(stack: &LayerStack, manifest: &Manifest) -> Result<VerifyReport, StackError> {
    let mut report = VerifyReport::default();
    frame(stack, &mut report.problems);
    for (record, entries) in layers(manifest) {
        let expected = expected(record, entries);
        let layer = Path::new("diff").join(&record.id);
        let found = walk(&stack.root, &layer, &mut report.problems);
        let wanted: HashSet<&Path> = expected.iter().map(|thing| thing.name.as_path()).collect();
        for name in found.iter().filter(|name| !wanted.contains(name.as_path())) {
            report.problems.push(format!("{}: not part of the stack", name.display()));
        }
        let checked = parallel::map(
            &stack.root,
            &expected,
            || (),
            |(), thing| Ok(check(&stack.root.join(&thing.name), &thing.kind).unwrap_or_else(|e| (0, Some(missing(&e))))),
        )?;
        for (thing, (bytes, problem)) in expected.iter().zip(checked) {
            if matches!(thing.kind, Kind::File { .. }) {
                report.files += 1;
                report.bytes += bytes;
            }
            report.problems.extend(problem.map(|problem| format!("{}: {problem}", thing.name.display())));
        }
    }
    Ok(report)
}

/// Whether every part of a stack is in its place, without a look at the contents.
pub(super) fn is_complete(stack: &LayerStack, manifest: &Manifest) -> bool {
    let mut problems = Vec::new();
    frame(stack, &mut problems);
    problems.is_empty()
        && layers(manifest).all(|(record, entries)| {
            expected(record, entries).iter().all(|thing| {
                let path = stack.root.join(&thing.name);
                fs::symlink_metadata(&path).is_ok_and(|meta| unlike(&meta, &thing.kind).is_none())
            })
        })
}

fn layers(manifest: &Manifest) -> impl Iterator<Item = (&LayerRecord, &Vec<Entry>)> {
    manifest.layers.iter().zip(&manifest.definition.layers)
}

/// Verifies an imported image: every entry is as it was when it had been unpacked, with its owner if wanted.
pub(super) fn verify_image(
    stack: &LayerStack,
    image: &Image,
    items: &[Vec<Item>],
    owners: bool,
) -> Result<VerifyReport, StackError> {
    let mut report = VerifyReport::default();
    frame(stack, &mut report.problems);
    for (record, known) in image.layers.iter().zip(items) {
        let layer = Path::new("diff").join(&record.id);
        let named = |item: &Item| match item.kind {
            ItemKind::Whiteout => layer.join(whiteout_path(&item.path.0)),
            ItemKind::Opaque => layer.join(&item.path.0).join(OPAQUE_NAME),
            _ => layer.join(&item.path.0),
        };
        let found = match scan::layer(&stack.root.join(&layer), &|path, _| scan::content(path)) {
            Ok(found) => found,
            Err((path, e)) => {
                let path = path.strip_prefix(&stack.root).unwrap_or(&path);
                report.problems.push(format!("{}: {}", path.display(), missing(&e)));
                continue;
            }
        };
        for item in &found {
            if let ItemKind::File { size_bytes, .. } = item.kind {
                report.files += 1;
                report.bytes += size_bytes;
            }
        }
        let by_name =
            |items| -> BTreeMap<PathBuf, &Item> { Iterator::map(<[Item]>::iter(items), |i| (named(i), i)).collect() };
        let (known, found): (BTreeMap<_, _>, BTreeMap<_, _>) = (by_name(known.as_slice()), by_name(found.as_slice()));
        for name in found.keys().filter(|name| !known.contains_key(*name)) {
            report.problems.push(format!("{}: not part of the stack", name.display()));
        }
        for (name, item) in &known {
            let problem = match found.get(name) {
                None => Some("missing".to_owned()),
                Some(found) => item.difference(found, owners).map(|what| format!("{what} is not what was imported")),
            };
            report.problems.extend(problem.map(|problem| format!("{}: {problem}", name.display())));
        }
    }
    Ok(report)
}

fn missing(e: &io::Error) -> String {
    if e.kind() == io::ErrorKind::NotFound { "missing".into() } else { e.to_string() }
}

/// Checks what is around the layers: `layers/`, `mnt/`, and that nothing else is beside them.
fn frame(stack: &LayerStack, problems: &mut Vec<String>) {
    let root = &stack.root;
    let ids = stack.ids();
    for folder in ["diff", "layers", "mnt"] {
        let names = match names(&root.join(folder)) {
            Ok(names) => names,
            Err(e) => {
                problems.push(format!("{folder}: {}", missing(&e)));
                continue;
            }
        };
        let known: HashSet<&str> = ids.iter().copied().collect();
        for name in names.iter().filter(|name| !known.contains(name.as_str())) {
            problems.push(format!("{folder}/{name}: not part of the stack"));
        }
    }
    for (index, id) in ids.iter().enumerate() {
        match fs::read(layers_file(root, id)) {
            Ok(text) if text == parents(&ids, index).as_bytes() => {}
            Ok(_) => problems.push(format!("layers/{id}: does not list the layers below")),
            Err(e) => problems.push(format!("layers/{id}: {}", missing(&e))),
        }
        match names(&mnt(root, id)) {
            Ok(names) if names.is_empty() => {}
            Ok(_) => problems.push(format!("mnt/{id}: not empty")),
            Err(e) => problems.push(format!("mnt/{id}: {}", missing(&e))),
        }
    }
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Everything that a layer holds as stored.
fn expected<'a>(record: &'a LayerRecord, entries: &'a [Entry]) -> Vec<Expected<'a>> {
    let layer = Path::new("diff").join(&record.id);
    let folders = folders(entries).into_iter().map(|(path, mode)| (layer.join(path), Kind::Dir { mode }));
    let mut all: Vec<Expected> = folders
        .chain([(layer.clone(), Kind::Dir { mode: super::DIR_MODE })])
        .map(|(name, kind)| Expected { name, kind })
        .collect();
    let mut records = record.files.iter();
    let xattrs = xattrs(entries);
    for entry in entries {
        let kind = match entry {
            Entry::Dir { .. } | Entry::Xattrs { .. } => continue,
            // The manifest was refused unless its records stand in the definition's order.
            Entry::File { path, mode, .. } => match records.next() {
                Some(record) => {
                    let xattrs = xattrs.get(path.as_path()).copied().unwrap_or(0);
                    Kind::File { record, mode: *mode, xattrs }
                }
                None => continue,
            },
            Entry::Symlink { target, .. } => Kind::Symlink { target },
            Entry::Whiteout { .. } | Entry::Opaque { .. } => Kind::Mark,
        };
        let path = forms::mark_of(entry).unwrap_or_else(|| entry.path().to_owned());
        all.push(Expected { name: layer.join(path), kind });
    }
    all
}

/// What is wrong with the inode of a thing.
fn unlike(meta: &Metadata, kind: &Kind) -> Option<String> {
    let mode = |wanted: u32| {
        let found = meta.mode() & 0o7777;
        (found != wanted).then(|| format!("mode {found:04o}, not {wanted:04o}"))
    };
    let size = |wanted: u64| (meta.len() != wanted).then(|| format!("{} bytes, not {wanted}", meta.len()));
    match kind {
        Kind::Dir { mode: wanted } if meta.is_dir() => mode(*wanted),
        Kind::Dir { .. } => Some("not a directory".into()),
        Kind::File { record, mode: wanted, .. } if meta.is_file() => size(record.size_bytes).or_else(|| mode(*wanted)),
        Kind::Mark if meta.is_file() => size(0),
        Kind::File { .. } | Kind::Mark => Some("not a regular file".into()),
        Kind::Symlink { .. } if meta.is_symlink() => None,
        Kind::Symlink { .. } => Some("not a symbolic link".into()),
    }
}

/// Checks one thing with its content; returns how many bytes were digested and what is wrong.
fn check(path: &Path, kind: &Kind) -> io::Result<(u64, Option<String>)> {
    let meta = fs::symlink_metadata(path)?;
    if let Some(problem) = unlike(&meta, kind) {
        return Ok((0, Some(problem)));
    }
    match kind {
        Kind::Dir { .. } | Kind::Mark => Ok((0, None)),
        Kind::Symlink { target } => {
            let found = fs::read_link(path)?;
            Ok((0, (found != *target).then(|| format!("points to {}, not {}", found.display(), target.display()))))
        }
        Kind::File { record, xattrs, .. } => {
            for (name, value) in (0..*xattrs).map(attribute) {
                let mut found = [0; 64];
                let length = rustix::fs::getxattr(path, &name, &mut found[..]);
                if length.ok().and_then(|length| found.get(..length)) != Some(value.as_bytes()) {
                    return Ok((0, Some(format!("its attribute {name} is not {value:?}"))));
                }
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(fs::File::open(path)?)?;
            let right = hasher.finalize().to_hex().as_str() == record.blake3;
            Ok((hasher.count(), (!right).then(|| "the content is not what was written".into())))
        }
    }
}

/// Everything below a folder of the root, with names relative to the root. What cannot be listed is a problem.
fn walk(root: &Path, folder: &Path, problems: &mut Vec<String>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(name) = pending.pop() {
        let listed = fs::read_dir(root.join(&name)).and_then(|entries| {
            entries
                .map(|entry| entry.and_then(|e| Ok((e.file_name(), e.file_type()?.is_dir()))))
                .collect::<io::Result<Vec<_>>>()
        });
        match listed {
            Ok(entries) => {
                for (entry, is_dir) in entries {
                    let name = name.join(entry);
                    if is_dir {
                        pending.push(name.clone());
                    }
                    found.insert(name);
                }
            }
            // That it is missing is found when it is looked for.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => problems.push(format!("{}: cannot be listed: {e}", name.display())),
        }
    }
    found
}
