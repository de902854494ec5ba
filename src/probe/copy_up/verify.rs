//! Did each trigger do what it is for, to every target, in the container and in upper, and to nothing else? The probe alone uses it.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::trigger::{MODES, TIMES, XATTR_VALUE, XATTRS, other_names};
use super::{changed, owner};
use crate::probe::{Container, ProbeError, READ_BUFFER_BYTES, Trial, at, read_all};
use crate::stack::{FileFact, attribute};
use crate::workload::Trigger;

/// What a content should be, made from the lower file's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    /// Its first byte, where it is another one.
    first: Option<u8>,
    /// How much of the lower file it begins with.
    length: u64,
    /// What follows.
    tail: Vec<u8>,
}

fn edit(trigger: Trigger, fact: &FileFact) -> Edit {
    let byte = changed(fact.first_byte);
    let whole = Edit { first: None, length: fact.size_bytes, tail: Vec::new() };
    match trigger {
        // At the start of an empty file a byte is what follows.
        Trigger::Write if fact.size_bytes == 0 => Edit { tail: vec![byte], ..whole },
        Trigger::Write | Trigger::MmapStore => Edit { first: Some(byte), ..whole },
        Trigger::Append => Edit { tail: vec![byte; 2], ..whole },
        Trigger::OpenTruncate => Edit { length: 0, ..whole },
        Trigger::Truncate => Edit { length: fact.size_bytes.saturating_sub(2), ..whole },
        _ => whole,
    }
}

/// Whether a trigger changes the content, or the length, of a file.
fn changes_content(trigger: Trigger) -> bool {
    use Trigger::{Append, MmapStore, OpenTruncate, Truncate, Write};
    matches!(trigger, Write | Append | OpenTruncate | Truncate | MmapStore)
}

/// Whether a union may find that a trigger changes nothing, and leave the file where it is.
fn may_stay_below(trigger: Trigger) -> bool {
    matches!(trigger, Trigger::OpenRdwr | Trigger::Chown)
}

/// Digests of a file as it is, and as it should be after an edit.
fn digests(path: &Path, edit: &Edit) -> Result<(blake3::Hash, blake3::Hash), ProbeError> {
    let (mut plain, mut edited) = (blake3::Hasher::new(), blake3::Hasher::new());
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    let mut left = edit.length;
    let mut first = edit.first;
    read_all(path, &mut buffer, |piece| {
        plain.update(piece);
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        let taken = piece.get(..taken).unwrap_or_default();
        left -= taken.len() as u64;
        match (taken.split_first(), first.take()) {
            (Some((_, rest)), Some(byte)) => edited.update(&[byte]).update(rest),
            (_, unused) => {
                first = unused;
                edited.update(taken)
            }
        };
    })
    .map_err(at("read", path))?;
    edited.update(&edit.tail);
    Ok((plain.finalize(), edited.finalize()))
}

fn wrong<T>(path: &Path, what: impl std::fmt::Display) -> Result<T, ProbeError> {
    Err(ProbeError::Wrong(format!("{} {what}", path.display())))
}

fn stat(path: &Path) -> Result<Metadata, ProbeError> {
    fs::symlink_metadata(path).map_err(at("stat", path))
}

/// The facts of a file that is not there: `None`.
fn stat_if_there(path: &Path) -> Result<Option<Metadata>, ProbeError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(at("stat", path)(e)),
    }
}

fn has_attribute(path: &Path, name: &str) -> Result<Option<Vec<u8>>, ProbeError> {
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path, name, &mut value[..]) {
        Ok(length) => Ok(Some(value.get(..length).unwrap_or_default().to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
        // Longer than any that is asked for.
        Err(Errno::RANGE) => Ok(Some(Vec::new())),
        Err(e) => Err(at("read an extended attribute of", path)(e)),
    }
}

/// Whether a file of overlay's upper holds attributes alone, its data being the lower file's.
fn is_metacopy(path: &Path) -> Result<bool, ProbeError> {
    for name in ["trusted.overlay.metacopy", "user.overlay.metacopy"] {
        if has_attribute(path, name)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was found of all targets together.
#[derive(Debug, Default)]
struct Tally {
    files: usize,
    in_upper: usize,
    metacopies: usize,
    /// Files whose names have different inode numbers in the container.
    several_numbers: usize,
    /// Files of which the container says that they have fewer names than they have.
    wrong_numbers: usize,
}

pub(super) fn verify(trial: &mut Trial) -> Result<(), ProbeError> {
    let mut tally = Tally::default();
    for name in &trial.targets.hits {
        target(trial, name, &mut tally)?;
    }
    let (trigger, Tally { files, in_upper, metacopies, several_numbers, wrong_numbers }) =
        (trial.params.trigger.as_str(), tally);
    if in_upper < files {
        trial.notes.push(format!("{trigger} brought {in_upper} of {files} files up: it changes nothing of them"));
    }
    if metacopies > 0 {
        trial.notes.push(format!("{metacopies} of {files} files in upper hold attributes alone (metacopy)"));
    }
    if several_numbers > 0 {
        trial
            .notes
            .push(format!("the names of {several_numbers} of {files} linked files have different inode numbers"));
    }
    if wrong_numbers > 0 {
        trial.notes.push(format!("the container shows too few links of {wrong_numbers} of {files} linked files"));
    }
    Ok(())
}

fn target(trial: &Trial, name: &Path, tally: &mut Tally) -> Result<(), ProbeError> {
    let trigger = trial.params.trigger;
    let container = trial.first()?;
    let fact = trial.fact(name)?;
    let edit = edit(trigger, &fact);
    let (lower, expected) = digests(&fact.path, &edit)?;
    untouched(trigger, &fact, lower)?;

    let others = other_names(name);
    let (present, absent): (Vec<&Path>, Vec<&Path>) = match trigger {
        Trigger::Rename => (vec![&others[1]], vec![name, &others[0]]),
        Trigger::Link => (vec![name, &others[0], &others[1]], Vec::new()),
        _ => (vec![name], vec![&others[0], &others[1]]),
    };
    for name in absent {
        let path = container.merged.join(name);
        if stat_if_there(&path)?.is_some() {
            return wrong(&path, format_args!("is there after {}", trigger.as_str()));
        }
    }
    for name in &present {
        let path = container.merged.join(name);
        if trigger == Trigger::MmapStore {
            // What was stored need not have left the cache of a union's own file.
            let file = fs::File::open(&path).map_err(at("open", &path))?;
            file.sync_all().map_err(at("fsync", &path))?;
        }
        content(&path, expected)?;
        attributes(trial, &fact, &path, &edit)?;
    }
    one_file(container, trigger, &present, tally)?;
    upper(container, trigger, &present, expected, tally)
}

fn content(path: &Path, expected: blake3::Hash) -> Result<(), ProbeError> {
    let (found, _) = digests(path, &Edit { first: None, length: 0, tail: Vec::new() })?;
    if found == expected { Ok(()) } else { wrong(path, "is not the original with what the operation changes") }
}

/// The file of the layer is as it was built.
fn untouched(trigger: Trigger, fact: &FileFact, digest: blake3::Hash) -> Result<(), ProbeError> {
    let path = &fact.path;
    let meta = stat(path)?;
    let same = digest == fact.digest && meta.len() == fact.size_bytes && meta.mode() & 0o7777 == fact.mode;
    let marked = trigger == Trigger::Setxattr && has_attribute(path, XATTRS[0])?.is_some()
        || trigger == Trigger::Utimens && TIMES.contains(&meta.mtime())
        || other_names(path).iter().any(|other| other.symlink_metadata().is_ok());
    if same && !marked { Ok(()) } else { wrong(path, "is a lower file and was changed") }
}

/// Size, mode, owner, times and extended attributes, as the container has them.
fn attributes(trial: &Trial, fact: &FileFact, path: &Path, edit: &Edit) -> Result<(), ProbeError> {
    let trigger = trial.params.trigger;
    let meta = stat(path)?;
    let size = edit.length + edit.tail.len() as u64;
    if meta.len() != size {
        return wrong(path, format_args!("has {} bytes, not {size}", meta.len()));
    }
    let (mode, wanted) =
        (meta.permissions().mode() & 0o7777, if trigger == Trigger::Chmod { MODES[1] } else { fact.mode });
    if mode != wanted {
        return wrong(path, format_args!("has mode {mode:04o}, not {wanted:04o}"));
    }
    let wanted = owner(trial, fact)?;
    if (meta.uid(), meta.gid()) != wanted {
        return wrong(path, format_args!("belongs to {}:{}, not {}:{}", meta.uid(), meta.gid(), wanted.0, wanted.1));
    }
    let time = match trigger {
        Trigger::Utimens => Some((TIMES[1], 0)),
        // A volume's files have times of their own.
        _ if changes_content(trigger) || trial.volume.is_some() => None,
        _ => {
            let lower = stat(&fact.path)?;
            Some((lower.mtime(), lower.mtime_nsec()))
        }
    };
    if let Some(wanted) = time.filter(|wanted| *wanted != (meta.mtime(), meta.mtime_nsec())) {
        return wrong(
            path,
            format_args!("was modified at {}.{:09}, not {}.{:09}", meta.mtime(), meta.mtime_nsec(), wanted.0, wanted.1),
        );
    }
    let ours = (0..fact.xattrs).map(attribute).map(|(name, value)| (name, value.into_bytes()));
    let set = XATTRS.iter().filter(|_| trigger == Trigger::Setxattr);
    for (name, value) in ours.chain(set.map(|name| ((*name).to_owned(), XATTR_VALUE.to_vec()))) {
        if has_attribute(path, &name)?.as_ref() != Some(&value) {
            return wrong(path, format_args!("does not have the attribute {name}"));
        }
    }
    Ok(())
}

/// The names that link made are names of one file. overlay without an index, as ordinary users mount it, may show it under several inode
/// numbers: then it is one file in upper, and that is what is asked for.
fn one_file(container: &Container, trigger: Trigger, present: &[&Path], tally: &mut Tally) -> Result<(), ProbeError> {
    if trigger != Trigger::Link {
        return Ok(());
    }
    let inodes = |root: &Path| -> Result<HashSet<u64>, ProbeError> {
        present.iter().map(|name| Ok(stat(&root.join(name))?.ino())).collect()
    };
    let fewest = |root: &Path| -> Result<u64, ProbeError> {
        let each = present.iter().map(|name| Ok(stat(&root.join(name))?.nlink()));
        each.collect::<Result<Vec<u64>, ProbeError>>().map(|names| names.into_iter().min().unwrap_or(0))
    };
    // A layer that lies in two forms has a name more.
    let wanted = present.len() as u64;
    if fewest(&container.merged)? < wanted {
        let names = fewest(&container.upper)?;
        if names < wanted {
            return wrong(&container.upper, format_args!("has a file with {names} names, not {wanted}"));
        }
        // fuse-overlayfs 2.0 makes the link and shows the number from before: a wrong answer, not a wrong measurement.
        tally.wrong_numbers += 1;
    }
    if inodes(&container.merged)?.len() > 1 {
        if inodes(&container.upper)?.len() > 1 {
            let names: Vec<_> = present.iter().map(|name| name.to_string_lossy()).collect();
            return wrong(&container.upper, format_args!("has several files for the links {}", names.join(", ")));
        }
        tally.several_numbers += 1;
    }
    Ok(())
}

/// Upper holds the file under each of its names, with its content or, where nothing but attributes was changed, a metacopy.
fn upper(
    container: &Container,
    trigger: Trigger,
    present: &[&Path],
    expected: blake3::Hash,
    tally: &mut Tally,
) -> Result<(), ProbeError> {
    tally.files += 1;
    let paths: Vec<PathBuf> = present.iter().map(|name| container.upper.join(name)).collect();
    for path in &paths {
        if stat_if_there(path)?.is_none() {
            if may_stay_below(trigger) {
                return Ok(());
            }
            return wrong(path, format_args!("is not in upper after {}", trigger.as_str()));
        }
    }
    tally.in_upper += 1;
    let path = paths.first().map(PathBuf::as_path).unwrap_or(&container.upper);
    if !changes_content(trigger) && is_metacopy(path)? {
        tally.metacopies += 1;
        return Ok(());
    }
    paths.iter().try_for_each(|path| content(path, expected))
}
