//! Building a stack: into a folder that is not its own yet, by two threads, then renamed.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::content::Writer;
use super::definition::whiteout_path;
use super::manifest::{FileRecord, LayerRecord, Manifest, SCHEMA_VERSION};
use super::{Entry, OPAQUE_NAME, StackDefinition, StackError, WHITEOUT_MODE, at, diff};

/// Threads that write files. One makes the next content while another waits for the kernel.
const THREADS: usize = 2;

pub(super) fn build(
    store: &Path,
    root: &Path,
    definition: &StackDefinition,
    seed: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), StackError> {
    let stacks = root.parent().unwrap_or(store);
    fs::create_dir_all(stacks).map_err(at("create folder", stacks))?;
    check_space(stacks, definition)?;
    let key = definition.key(seed);
    let partial = stacks.join(format!(".{key}.partial-{}", std::process::id()));
    let built = fill(&partial, &key, definition, seed, progress).and_then(|()| match fs::rename(&partial, root) {
        Ok(()) => Ok(()),
        // Another process was faster, with the same content.
        Err(_) if root.is_dir() => fs::remove_dir_all(&partial).map_err(at("remove", &partial)),
        Err(e) => Err(at("rename into", root)(e)),
    });
    if built.is_err() && partial.exists() {
        // The error that matters is the first; what cannot be removed now, `clean` removes.
        fs::remove_dir_all(&partial).ok();
    }
    built
}

fn check_space(stacks: &Path, definition: &StackDefinition) -> Result<(), StackError> {
    let stat = rustix::fs::statvfs(stacks).map_err(at("statvfs", stacks))?;
    let space = |unit, needed, available| StackError::Space { path: stacks.to_owned(), unit, needed, available };
    let (needed, available) = (definition.total_bytes(), stat.f_bavail.saturating_mul(stat.f_frsize));
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

fn layer_id(key: &str, index: usize) -> String {
    blake3::hash(format!("layerbench layer {key} {index}").as_bytes()).to_hex().to_string()
}

/// One file to write.
struct Task<'a> {
    layer: usize,
    index: usize,
    path: &'a Path,
    size_bytes: u64,
    mode: u32,
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
        fs::create_dir_all(&path).map_err(at("create folder", &path))?;
    }
    let umask = umask();
    let mut tasks = Vec::new();
    for (layer, (id, entries)) in ids.iter().zip(&definition.layers).enumerate() {
        let folder = diff(root, id);
        make_folder(&folder, 0o755, umask)?;
        let path = root.join("mnt").join(id);
        fs::create_dir(&path).map_err(at("create folder", &path))?;
        let below: String = ids.iter().skip(layer + 1).map(|id| format!("{id}\n")).collect();
        let path = root.join("layers").join(id);
        fs::write(&path, below).map_err(at("write", &path))?;
        make_entries(&folder, layer, entries, umask, &mut tasks)?;
    }
    let files = write_files(root, &ids, &tasks, seed, umask, progress)?;
    let mut layers: Vec<LayerRecord> = ids.into_iter().map(|id| LayerRecord { id, files: Vec::new() }).collect();
    for (task, record) in tasks.iter().zip(files) {
        if let (Some(layer), Some(record)) = (layers.get_mut(task.layer), record) {
            layer.files.push(record);
        }
    }
    Manifest { schema_version: SCHEMA_VERSION, seed, definition: definition.clone(), layers }.save(root)
}

/// Makes everything of a layer but its regular files, which become tasks.
fn make_entries<'a>(
    folder: &Path,
    layer: usize,
    entries: &'a [Entry],
    umask: u32,
    tasks: &mut Vec<Task<'a>>,
) -> Result<(), StackError> {
    let mut made: HashSet<PathBuf> = HashSet::new();
    for entry in entries {
        let path = folder.join(entry.path());
        if let Some(parent) = path.parent().filter(|parent| *parent != folder && !made.contains(*parent)) {
            fs::create_dir_all(parent).map_err(at("create folder", parent))?;
            made.insert(parent.to_owned());
        }
        match entry {
            Entry::Dir { mode, .. } => {
                make_folder(&path, *mode, umask)?;
                made.insert(path);
            }
            Entry::File { path, size_bytes, mode } => {
                tasks.push(Task { layer, index: tasks.len(), path, size_bytes: *size_bytes, mode: *mode });
            }
            Entry::Symlink { target, .. } => {
                std::os::unix::fs::symlink(target, &path).map_err(at("create symbolic link", &path))?;
            }
            Entry::Whiteout { path: hidden } => {
                make_mark(&folder.join(whiteout_path(hidden)))?;
            }
            Entry::Opaque { .. } => {
                fs::create_dir_all(&path).map_err(at("create folder", &path))?;
                make_mark(&path.join(OPAQUE_NAME))?;
            }
        }
    }
    Ok(())
}

fn make_mark(path: &Path) -> Result<(), StackError> {
    OpenOptions::new().write(true).create_new(true).mode(WHITEOUT_MODE).open(path).map(drop).map_err(at("create", path))
}

fn make_folder(path: &Path, mode: u32, umask: u32) -> Result<(), StackError> {
    match fs::create_dir(path) {
        Ok(()) => {}
        // Made already for something inside it.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(at("create folder", path)(e)),
    }
    if mode != 0o777 & !umask {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at("chmod", path))?;
    }
    Ok(())
}

/// The process's umask, read without changing it; all bits when unknown, so that modes are set one by one.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

/// Writes the files of all layers. Threads take the next file from a counter; the first error stops them all.
fn write_files(
    root: &Path,
    ids: &[String],
    tasks: &[Task],
    seed: u64,
    umask: u32,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Option<FileRecord>>, StackError> {
    let next = AtomicUsize::new(0);
    let records = Mutex::new((vec![None; tasks.len()], 0u64));
    let work = || -> Result<(), StackError> {
        let mut writer = Writer::new();
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(id) = ids.get(task.layer) else { continue };
            let record = write_file(&mut writer, &diff(root, id), task, seed, umask).inspect_err(|_| {
                next.store(tasks.len(), Ordering::Relaxed);
            })?;
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = records.0.get_mut(task.index) {
                *slot = Some(record);
            }
            records.1 += task.size_bytes;
            progress(records.1);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..THREADS).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for helper in helpers {
            let ended = helper
                .join()
                .unwrap_or_else(|_| Err(at("write files in", root)(io::Error::other("a thread ended unexpectedly"))));
            result = result.and(ended);
        }
        result
    })?;
    Ok(records.into_inner().unwrap_or_else(PoisonError::into_inner).0)
}

fn write_file(
    writer: &mut Writer,
    folder: &Path,
    task: &Task,
    seed: u64,
    umask: u32,
) -> Result<FileRecord, StackError> {
    let path = folder.join(task.path);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(task.mode).open(&path).map_err(at("create", &path))?;
    let written = writer.write(&mut file, seed, task.layer, task.path, task.size_bytes).map_err(at("write", &path))?;
    if task.mode & umask != 0 || task.mode & 0o7000 != 0 {
        file.set_permissions(fs::Permissions::from_mode(task.mode)).map_err(at("chmod", &path))?;
    }
    Ok(FileRecord {
        path: task.path.to_owned(),
        size_bytes: task.size_bytes,
        blake3: written.digest.to_hex().to_string(),
        first_byte: written.first_byte,
    })
}
