//! Is what lies on disk still what was built?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Entry, LayerStack, StackError, at, diff, forms};

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

pub(super) fn verify(stack: &LayerStack) -> Result<VerifyReport, StackError> {
    let mut report = VerifyReport::default();
    let ids: Vec<&str> = stack.manifest.layers.iter().map(|layer| layer.id.as_str()).collect();
    for (index, (record, entries)) in stack.manifest.layers.iter().zip(&stack.manifest.definition.layers).enumerate() {
        let below: String = ids.iter().skip(index + 1).map(|id| format!("{id}\n")).collect();
        let name = format!("layers/{}", record.id);
        match fs::read_to_string(stack.root.join(&name)) {
            Ok(text) if text == below => {}
            Ok(_) => report.problems.push(format!("{name}: does not list the layers below")),
            Err(e) => report.problems.push(format!("{name}: {e}")),
        }
        let mnt = format!("mnt/{}", record.id);
        if !stack.root.join(&mnt).is_dir() {
            report.problems.push(format!("{mnt}: missing"));
        }
        let folder = diff(&stack.root, &record.id);
        let found = walk(&folder)?;
        let digests: BTreeMap<&Path, (&str, u64)> =
            record.files.iter().map(|file| (file.path.as_path(), (file.blake3.as_str(), file.size_bytes))).collect();
        let mut expected: BTreeSet<PathBuf> = BTreeSet::new();
        for entry in entries {
            let path = forms::mark_of(entry).unwrap_or_else(|| entry.path().to_owned());
            expected.extend(path.ancestors().filter(|p| !p.as_os_str().is_empty()).map(Path::to_owned));
            let name = format!("diff/{}/{}", record.id, path.display());
            match check(&folder.join(&path), entry, &digests, &mut report) {
                Ok(None) => {}
                Ok(Some(problem)) => report.problems.push(format!("{name}: {problem}")),
                Err(e) if e.kind() == io::ErrorKind::NotFound => report.problems.push(format!("{name}: missing")),
                Err(e) => report.problems.push(format!("{name}: {e}")),
            }
        }
        for path in found.difference(&expected) {
            report.problems.push(format!("diff/{}/{}: not part of the stack", record.id, path.display()));
        }
    }
    Ok(report)
}

/// Compares one entry; `Some` says what is wrong.
fn check(
    path: &Path,
    entry: &Entry,
    digests: &BTreeMap<&Path, (&str, u64)>,
    report: &mut VerifyReport,
) -> io::Result<Option<String>> {
    let meta = fs::symlink_metadata(path)?;
    let kind = |right: bool, what: &str| Ok((!right).then(|| format!("not {what}")));
    let mode = |wanted: u32| {
        let found = meta.mode() & 0o7777;
        (found != wanted).then(|| format!("mode {found:o}, not {wanted:o}"))
    };
    match entry {
        Entry::Dir { mode: wanted, .. } if meta.is_dir() => Ok(mode(*wanted)),
        Entry::Dir { .. } => kind(false, "a directory"),
        Entry::Whiteout { .. } | Entry::Opaque { .. } => kind(meta.is_file() && meta.len() == 0, "an empty file"),
        Entry::Symlink { target, .. } if meta.is_symlink() => {
            kind(fs::read_link(path)? == *target, "a link to its target")
        }
        Entry::Symlink { .. } => kind(false, "a symbolic link"),
        Entry::File { .. } if !meta.is_file() => kind(false, "a regular file"),
        Entry::File { path: name, mode: wanted, .. } => {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(fs::File::open(path)?)?;
            report.files += 1;
            report.bytes += meta.len();
            Ok(match digests.get(name.as_path()) {
                Some((_, size)) if *size != meta.len() => Some(format!("{} bytes, not {size}", meta.len())),
                Some((digest, _)) if *digest == hasher.finalize().to_hex().as_str() => mode(*wanted),
                _ => Some("the content is not what was written".into()),
            })
        }
    }
}

/// Everything below a folder, relative to it.
fn walk(folder: &Path) -> Result<BTreeSet<PathBuf>, StackError> {
    let mut found = BTreeSet::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        let path = folder.join(&relative);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            // That it is missing is found when its entries are.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(at("list", &path)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(at("list", &path))?;
            let name = relative.join(entry.file_name());
            if entry.file_type().map_err(at("stat", &path))?.is_dir() {
                pending.push(name.clone());
            }
            found.insert(name);
        }
    }
    Ok(found)
}
