//! Other forms of a stack's layers: with overlay's whiteouts, and as a plain folder.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

use super::definition::whiteout_path;
use super::view::Visible;
use super::{Entry, LayerStack, OPAQUE_NAME, StackError, at, diff};

/// The form in which a driver takes layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// As stored: whiteouts and opaque directories the aufs way.
    Aufs,
    /// Whiteouts are character devices 0:0, opaque directories have an extended attribute
    /// (Documentation/filesystems/overlayfs.rst of the kernel).
    Overlay,
    /// No layers: one plain folder with the merged view.
    Flat,
}

/// Folder of materialised layers in a stack.
const OVERLAY: &str = "overlay";

/// Lower folders for overlay: `diff/<id>` where a layer hides nothing, `overlay/<id>` where it does.
pub(super) fn overlay(stack: &LayerStack) -> Result<Vec<PathBuf>, StackError> {
    let mut folders = Vec::with_capacity(stack.depth());
    for (record, entries) in stack.manifest.layers.iter().zip(&stack.manifest.definition.layers) {
        let source = diff(&stack.root, &record.id);
        if !entries.iter().any(|entry| matches!(entry, Entry::Whiteout { .. } | Entry::Opaque { .. })) {
            folders.push(source);
            continue;
        }
        let folder = stack.root.join(OVERLAY).join(&record.id);
        if !folder.is_dir() {
            let parent = stack.root.join(OVERLAY);
            fs::create_dir_all(&parent).map_err(at("create folder", &parent))?;
            // Unlike a pid, a name cannot come back in another namespace: cases count their pids from anew there.
            let partial = tempfile_name(&parent, &record.id);
            materialise(&source, &partial, entries)?;
            match fs::rename(&partial, &folder) {
                Ok(()) => {}
                // Another process was faster, with the same content.
                Err(_) if folder.is_dir() => fs::remove_dir_all(&partial).map_err(at("remove", &partial))?,
                Err(e) => return Err(at("rename into", &folder)(e)),
            }
        }
        folders.push(folder);
    }
    Ok(folders)
}

fn tempfile_name(parent: &Path, id: &str) -> PathBuf {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    parent.join(format!(".{}.partial-{}-{now}", id.get(..12).unwrap_or(id), std::process::id()))
}

/// Rebuilds a layer with overlay's marks. Files are hard links: the same inodes, so the same pages of memory.
fn materialise(source: &Path, target: &Path, entries: &[Entry]) -> Result<(), StackError> {
    copy_folder(source, target)?;
    for entry in entries {
        match entry {
            Entry::Dir { path, .. } => copy_folder(&source.join(path), &target.join(path))?,
            Entry::File { path, .. } | Entry::Symlink { path, .. } => {
                make_parents(source, target, path)?;
                let (from, to) = (source.join(path), target.join(path));
                fs::hard_link(&from, &to).map_err(at("hard-link", &to))?;
            }
            Entry::Whiteout { path } => {
                make_parents(source, target, path)?;
                let place = target.join(path);
                mknodat(CWD, &place, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
                    .map_err(at("create whiteout", &place))?;
            }
            Entry::Opaque { path } => {
                make_parents(source, target, path)?;
                copy_folder(&source.join(path), &target.join(path))?;
                make_opaque(&target.join(path))?;
            }
        }
    }
    Ok(())
}

/// Folders above an entry that are not entries themselves.
fn make_parents(source: &Path, target: &Path, path: &Path) -> Result<(), StackError> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()).collect();
    above.reverse();
    above.into_iter().try_for_each(|folder| copy_folder(&source.join(folder), &target.join(folder)))
}

/// Makes a folder with the mode and owner of another, if it is not there.
fn copy_folder(source: &Path, target: &Path) -> Result<(), StackError> {
    match fs::create_dir(target) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(at("create folder", target)(e)),
    }
    let meta = fs::metadata(source).map_err(at("stat", source))?;
    let made = fs::metadata(target).map_err(at("stat", target))?;
    if (meta.uid(), meta.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::chown(target, Some(meta.uid()), Some(meta.gid())).map_err(at("chown", target))?;
    }
    fs::set_permissions(target, fs::Permissions::from_mode(meta.mode() & 0o7777)).map_err(at("chmod", target))
}

/// Marks a folder opaque for mounts by root (trusted.*, which only root may write) and for mounts with `userxattr` (user.*).
fn make_opaque(folder: &Path) -> Result<(), StackError> {
    match rustix::fs::setxattr(folder, "trusted.overlay.opaque", b"y", XattrFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP) => {}
        Err(e) => return Err(at("set trusted.overlay.opaque of", folder)(e)),
    }
    rustix::fs::setxattr(folder, "user.overlay.opaque", b"y", XattrFlags::empty())
        .map_err(at("set user.overlay.opaque of", folder))
}

/// Copies the merged view into a folder. Contents by reflink where the file system can, else by copy_file_range.
pub(super) fn flat(stack: &LayerStack, into: &Path) -> Result<(), StackError> {
    let mut modes = Vec::new();
    for (path, visible) in stack.view.entries() {
        let place = into.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(at("create folder", parent))?;
        }
        match visible {
            Visible::Dir { mode } => {
                fs::create_dir_all(&place).map_err(at("create folder", &place))?;
                modes.push((place, *mode));
            }
            // std::fs::copy keeps the mode and leaves the copying to the kernel.
            Visible::File(fact) => {
                fs::copy(&fact.path, &place).map_err(at("copy to", &place))?;
            }
            Visible::Symlink { target } => {
                std::os::unix::fs::symlink(target, &place).map_err(at("create symbolic link", &place))?;
            }
        }
    }
    // Last, and the innermost first: a folder that may not be written must be filled before.
    for (place, mode) in modes.into_iter().rev() {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).map_err(at("chmod", &place))?;
    }
    Ok(())
}

/// Names of a layer's folder that are marks, for whoever compares what is there with what should be.
pub(super) fn mark_of(entry: &Entry) -> Option<PathBuf> {
    match entry {
        Entry::Whiteout { path } => Some(whiteout_path(path)),
        Entry::Opaque { path } => Some(path.join(OPAQUE_NAME)),
        _ => None,
    }
}
