//! Building a stack: into a folder that does not have its name yet, by several threads, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, XattrFlags, openat};

use super::content::Writer;
use super::definition::{folders, xattrs};
use super::manifest::{FileRecord, LayerRecord, Manifest, SCHEMA_VERSION};
use super::partial::Partial;
use super::{
    Entry, StackDefinition, StackError, WHITEOUT_MODE, at, attribute, diff, forms, layer_id, layers_file, mnt, parallel,
};

/// Builds a stack at `root`, which must not be there, or be complete by the hand of another process when the build ends.
pub(super) fn build(
    root: &Path,
    definition: &StackDefinition,
    seed: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), StackError> {
    let partial = Partial::create(root)?;
    check_space(partial.path(), definition)?;
    fill(partial.path(), &definition.key(seed), definition, seed, progress)?;
    partial.commit(root)
}

fn check_space(folder: &Path, definition: &StackDefinition) -> Result<(), StackError> {
    let stat = rustix::fs::statvfs(folder).map_err(at("statvfs", folder))?;
    let place = folder.parent().unwrap_or(folder);
    let space = |unit, needed, available| StackError::Space { path: place.to_owned(), unit, needed, available };
    let (needed, available) = (definition.bytes_on_disk(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize));
    if needed > available {
        return Err(space("bytes", needed, available));
    }
    // A file system without a table of inodes (btrfs) reports none at all.
    let (needed, available) = (definition.total_inodes(), stat.f_favail);
    if stat.f_files > 0 && needed > available {
        return Err(space("inodes", needed, available));
    }
    Ok(())
}

/// One file to write.
struct Task<'a> {
    layer: usize,
    folder: &'a Path,
    path: &'a Path,
    size_bytes: u64,
    mode: u32,
    /// How many attributes it has.
    xattrs: u32,
}

fn fill(
    root: &Path,
    key: &str,
    definition: &StackDefinition,
    seed: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), StackError> {
    let ids: Vec<String> = (0..definition.layers.len()).map(|index| layer_id(key, index)).collect();
    for folder in ["diff", "layers", "mnt"] {
        let path = root.join(folder);
        fs::create_dir(&path).map_err(at("create folder", &path))?;
    }
    let umask = umask();
    let layers: Vec<(usize, &str, &[Entry])> = ids
        .iter()
        .zip(&definition.layers)
        .enumerate()
        .map(|(index, (id, entries))| (index, id.as_str(), entries.as_slice()))
        .collect();
    parallel::map(
        root,
        &layers,
        || (),
        |(), (index, id, entries)| {
            let path = mnt(root, id);
            fs::create_dir(&path).map_err(at("create folder", &path))?;
            let path = layers_file(root, id);
            fs::write(&path, parents(&ids, *index)).map_err(at("write", &path))?;
            make_frame(&diff(root, id), entries)
        },
    )?;
    let tasks: Vec<Task> = layers.iter().flat_map(|(index, _, entries)| tasks(*index, entries)).collect();
    let mut records = write_files(root, &ids, &tasks, seed, umask, progress)?.into_iter();
    // Last: a folder that its owner may not write must be filled before.
    parallel::map(root, &layers, || (), |(), (_, id, entries)| set_modes(&diff(root, id), entries))?;
    let layers = layers
        .iter()
        .map(|(_, id, entries)| LayerRecord {
            id: (*id).to_owned(),
            files: records.by_ref().take(tasks_of(entries)).collect(),
        })
        .collect();
    Manifest { schema_version: SCHEMA_VERSION, seed, definition: definition.clone(), layers }.save(root)
}

/// Content of `layers/<id>`: the ids of all layers below, top first, one a line.
pub(super) fn parents(ids: &[impl AsRef<str>], index: usize) -> String {
    ids.iter().skip(index + 1).flat_map(|id| [id.as_ref(), "\n"]).collect()
}

fn tasks(layer: usize, entries: &[Entry]) -> impl Iterator<Item = Task<'_>> {
    let xattrs = xattrs(entries);
    entries.iter().filter_map(move |entry| match entry {
        Entry::File { path, size_bytes, mode } => {
            let folder = path.parent().unwrap_or(Path::new(""));
            let xattrs = xattrs.get(path.as_path()).copied().unwrap_or(0);
            Some(Task { layer, folder, path, size_bytes: *size_bytes, mode: *mode, xattrs })
        }
        _ => None,
    })
}

fn tasks_of(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| matches!(entry, Entry::File { .. })).count()
}

/// Makes everything of a layer but its regular files.
fn make_frame(layer: &Path, entries: &[Entry]) -> Result<(), StackError> {
    fs::create_dir(layer).map_err(at("create folder", layer))?;
    for folder in folders(entries).into_keys() {
        let path = layer.join(folder);
        fs::create_dir(&path).map_err(at("create folder", &path))?;
    }
    for entry in entries {
        if let Entry::Symlink { path, target } = entry {
            let path = layer.join(path);
            std::os::unix::fs::symlink(target, &path).map_err(at("create symbolic link", &path))?;
        }
        if let Some(mark) = forms::mark_of(entry) {
            let path = layer.join(mark);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(WHITEOUT_MODE).open(&path).map_err(at("create", &path))?;
        }
    }
    Ok(())
}

/// Gives the folders of a layer their modes, the innermost first.
fn set_modes(layer: &Path, entries: &[Entry]) -> Result<(), StackError> {
    let modes = folders(entries).into_iter().rev().map(|(folder, mode)| (layer.join(folder), mode));
    for (path, mode) in modes.chain([(layer.to_owned(), super::DIR_MODE)]) {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(at("chmod", &path))?;
    }
    Ok(())
}

/// The process's umask, read without changing it; all bits when unknown, so that modes are set one by one.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

/// What a thread keeps from file to file: its buffer, and the folder of the last file.
struct Thread<'a> {
    writer: Writer,
    folder: Option<(usize, &'a Path, OwnedFd)>,
}

fn write_files(
    root: &Path,
    ids: &[String],
    tasks: &[Task],
    seed: u64,
    umask: u32,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<FileRecord>, StackError> {
    let written = Mutex::new(0u64);
    parallel::map(
        root,
        tasks,
        || Thread { writer: Writer::new(), folder: None },
        |thread, task| {
            let record = write_file(thread, root, ids, task, seed, umask)?;
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            *written += task.size_bytes;
            progress(*written);
            Ok(record)
        },
    )
}

fn write_file<'a>(
    thread: &mut Thread<'a>,
    root: &Path,
    ids: &[String],
    task: &Task<'a>,
    seed: u64,
    umask: u32,
) -> Result<FileRecord, StackError> {
    let layer = || diff(root, ids.get(task.layer).map_or("", String::as_str));
    let path = || layer().join(task.path);
    let folder = match &mut thread.folder {
        Some((layer, folder, fd)) if *layer == task.layer && *folder == task.folder => fd,
        slot => {
            let folder = layer().join(task.folder);
            let fd = rustix::fs::open(&folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(at("open", &folder))?;
            &mut slot.insert((task.layer, task.folder, fd)).2
        }
    };
    let name = task.path.file_name().unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&*folder, name, flags, Mode::from_raw_mode(task.mode & 0o777));
    let mut file = File::from(file.map_err(|e| at("create", &path())(e))?);
    let written = thread
        .writer
        .write(&mut file, seed, task.layer, task.path, task.size_bytes, task.mode)
        .map_err(|e: io::Error| at("write", &path())(e))?;
    // Asked for at creation, less what the umask takes and what a write takes away again.
    if task.mode & (umask | 0o7000) != 0 {
        file.set_permissions(fs::Permissions::from_mode(task.mode)).map_err(|e| at("chmod", &path())(e))?;
    }
    for (name, value) in (0..task.xattrs).map(attribute) {
        rustix::fs::fsetxattr(&file, &name, value.as_bytes(), XattrFlags::empty())
            .map_err(|e| at("set extended attribute of", &path())(e))?;
    }
    Ok(FileRecord {
        path: task.path.to_owned(),
        size_bytes: task.size_bytes,
        blake3: written.digest.to_hex().to_string(),
        first_byte: written.first_byte,
    })
}
