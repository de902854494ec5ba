//! Other forms of a stack's layers: with overlay's whiteouts, and as a plain folder.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, utimensat};
use rustix::io::Errno;

use super::definition::whiteout_path;
use super::partial::{Partial, go_on};
use super::{Entry, LayerStack, Marks, OPAQUE_NAME, StackError, WHITEOUT_PREFIX, at, diff, parallel, scan};

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
pub(super) const OVERLAY: &str = "overlay";

/// How a whiteout is written for overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhiteoutForm {
    /// A character device 0:0. Linux lets anyone make it, unlike other devices, since 5.8 (`vfs_mknod` in the kernel's fs/namei.c).
    Device,
    /// An empty file with the attribute `overlay.whiteout`, in a directory with `overlay.opaque=x`. Understood since Linux 6.7; for
    /// file systems that have no devices.
    Xattr,
}

/// Lower folders for overlay: `diff/<id>` where a layer hides nothing, `overlay/<id>` where it does. A layer whose root is opaque is the
/// last one: overlay merges the roots of all layers, whatever attributes they have.
pub(super) fn overlay(stack: &LayerStack) -> Result<Vec<PathBuf>, StackError> {
    let mut lowers = Vec::with_capacity(stack.depth());
    for (index, id) in stack.ids().into_iter().enumerate() {
        let source = diff(&stack.root, id);
        let marks = stack.marks(index);
        if marks.whiteouts.is_empty() && marks.opaque.is_empty() {
            lowers.push(source);
            continue;
        }
        let layer = stack.root.join(OVERLAY).join(id);
        if !layer.is_dir() {
            let parent = stack.root.join(OVERLAY);
            fs::create_dir_all(&parent).map_err(at("create folder", &parent))?;
            let partial = Partial::create(&layer)?;
            match materialise(stack, index, partial.path(), WhiteoutForm::Device) {
                Ok(()) => partial.commit(&layer)?,
                Err(StackError::Io { operation: CREATE_WHITEOUT, errno, .. }) if no_devices(&errno) => {
                    drop(partial);
                    let partial = Partial::create(&layer)?;
                    materialise(stack, index, partial.path(), WhiteoutForm::Xattr)?;
                    partial.commit(&layer)?;
                }
                Err(e) => return Err(e),
            }
        } else {
            renew_marks(&layer, &marks)?;
        }
        lowers.push(layer);
        if marks.opaque.iter().any(|path| path.as_os_str().is_empty()) {
            break;
        }
    }
    Ok(lowers)
}

const CREATE_WHITEOUT: &str = "create whiteout";

fn no_devices(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL))
}

/// Rebuilds a layer with overlay's marks in an empty folder. What is no folder is a hard link: the same inode, so the same pages of memory.
///
/// A whiteout that hides nothing is left out: overlay hides whiteouts only while it merges directories, so that in a directory which no
/// layer below has, the names would be listed.
fn materialise(stack: &LayerStack, index: usize, target: &Path, form: WhiteoutForm) -> Result<(), StackError> {
    let Some(source) = stack.layer_folders().into_iter().nth(index) else { return Ok(()) };
    let mut folders = vec![PathBuf::new()];
    let mut done = 0;
    // Folders are appended while they are walked, an outer one before what is in it.
    while let Some(folder) = folders.get(done).cloned() {
        done += 1;
        go_on().map_err(at("fill", target))?;
        let from = source.join(&folder);
        for entry in fs::read_dir(&from).map_err(at("list", &from))? {
            let entry = entry.map_err(at("list", &from))?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let to = target.join(&path);
            if name == OPAQUE_NAME {
                mark(&target.join(&folder), "opaque", b"y")?;
            } else if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes()) {
                let hidden = folder.join(OsStr::from_bytes(hidden));
                if !stack.view.is_idle(index, &hidden) {
                    make_whiteout(&target.join(hidden), form)?;
                }
            } else if entry.file_type().map_err(at("stat", &from))?.is_dir() {
                fs::create_dir(&to).map_err(at("create folder", &to))?;
                folders.push(path);
            } else {
                fs::hard_link(source.join(&path), &to).map_err(at("hard-link", &to))?;
            }
        }
    }
    for folder in folders.iter().rev() {
        copy_attributes(&source.join(folder), &target.join(folder))?;
    }
    Ok(())
}

fn make_whiteout(path: &Path, form: WhiteoutForm) -> Result<(), StackError> {
    match form {
        WhiteoutForm::Device => mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
            .map_err(at(CREATE_WHITEOUT, path)),
        WhiteoutForm::Xattr => {
            fs::File::create_new(path).map_err(at("create", path))?;
            mark_whiteout(path)
        }
    }
}

/// The marks of a whiteout that is a file. An opaque directory needs none: what it could hide is hidden.
fn mark_whiteout(path: &Path) -> Result<(), StackError> {
    mark(path, "whiteout", b"")?;
    path.parent().map_or(Ok(()), |parent| mark(parent, "opaque", b"x"))
}

/// Adds the marks for mounts by root, which an ordinary user could not write when the layer was materialised.
fn renew_marks(layer: &Path, marks: &Marks) -> Result<(), StackError> {
    for path in &marks.opaque {
        mark(&layer.join(path), "opaque", b"y")?;
    }
    for path in &marks.whiteouts {
        let path = layer.join(path);
        if path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            mark_whiteout(&path)?;
        }
    }
    Ok(())
}

/// Sets an attribute of overlay for mounts by root (`trusted.overlay.*`, which only root may read and write) and for mounts with `userxattr`
/// (`user.overlay.*`). One of them is enough for the mounts that this process can make.
fn mark(path: &Path, name: &str, value: &[u8]) -> Result<(), StackError> {
    let set = |namespace: &str| {
        let name = format!("{namespace}.overlay.{name}");
        let mut found = [0; 2];
        match rustix::fs::lgetxattr(path, &name, &mut found) {
            Ok(length) if found.get(..length) == Some(value) => Ok(()),
            _ => rustix::fs::lsetxattr(path, &name, value, XattrFlags::empty()),
        }
    };
    match (set("trusted"), set("user")) {
        (Ok(()), Ok(()) | Err(Errno::OPNOTSUPP)) => Ok(()),
        (Err(Errno::PERM | Errno::OPNOTSUPP), Ok(())) => Ok(()),
        (_, Err(e)) => Err(at("set user.overlay attribute of", path)(e)),
        (Err(e), Ok(())) => Err(at("set trusted.overlay attribute of", path)(e)),
    }
}

/// Gives what lies at one path the owner, extended attributes, mode and times of what lies at another; of a link itself.
fn copy_attributes(source: &Path, target: &Path) -> Result<(), StackError> {
    let meta = fs::symlink_metadata(source).map_err(at("stat", source))?;
    let made = fs::symlink_metadata(target).map_err(at("stat", target))?;
    if (meta.uid(), meta.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::lchown(target, Some(meta.uid()), Some(meta.gid())).map_err(at("chown", target))?;
    }
    for (name, value) in scan::xattrs(source).map_err(at("read extended attributes of", source))? {
        rustix::fs::lsetxattr(target, name.as_slice(), &value, XattrFlags::empty())
            .map_err(at("set extended attribute of", target))?;
    }
    // Links have no mode. Another owner has taken set-id bits away: the mode comes after it.
    if !meta.is_symlink() {
        fs::set_permissions(target, fs::Permissions::from_mode(meta.mode() & 0o7777)).map_err(at("chmod", target))?;
    }
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(meta.atime(), meta.atime_nsec()),
        last_modification: time(meta.mtime(), meta.mtime_nsec()),
    };
    utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at("set times of", target))
}

/// Copies the merged view into an empty folder, with everything that a layer keeps of a file. `copy_file_range` (by way of `std::fs::copy`) shares
/// blocks where the file system can, and copies in the kernel where it cannot.
pub(super) fn flat(stack: &LayerStack, into: &Path) -> Result<(), StackError> {
    let (mut folders, mut others, mut links) = (Vec::new(), Vec::new(), Vec::new());
    let mut first_names: HashMap<(u64, u64), PathBuf> = HashMap::new();
    for (path, source) in stack.places() {
        let place = into.join(path);
        let meta = fs::symlink_metadata(&source).map_err(at("stat", &source))?;
        if meta.is_dir() {
            fs::create_dir(&place).map_err(at("create folder", &place))?;
            folders.push((source, place));
            continue;
        }
        // A name in overlay's form of the layer counts too: one that is alone here is no more than looked up.
        if meta.nlink() > 1 {
            match first_names.entry((meta.dev(), meta.ino())) {
                Occupied(first) => {
                    links.push((first.get().clone(), place));
                    continue;
                }
                Vacant(first) => {
                    first.insert(place.clone());
                }
            }
        }
        others.push((source, place, meta));
    }
    parallel::map(
        &stack.root,
        &others,
        || (),
        |(), (source, place, meta)| {
            if meta.is_symlink() {
                let target = fs::read_link(source).map_err(at("read symbolic link", source))?;
                std::os::unix::fs::symlink(target, place).map_err(at("create symbolic link", place))?;
            } else if meta.is_file() {
                fs::copy(source, place).map_err(at("copy to", place))?;
            } else {
                let made =
                    mknodat(CWD, place, FileType::from_raw_mode(meta.mode()), Mode::RUSR | Mode::WUSR, meta.rdev());
                made.map_err(at("create device", place))?;
            }
            copy_attributes(source, place)
        },
    )?;
    for (first, place) in links {
        fs::hard_link(&first, &place).map_err(at("hard-link", &place))?;
    }
    // Last, and the innermost first: a folder that may not be written must be filled before.
    folders.into_iter().rev().try_for_each(|(source, place)| copy_attributes(&source, &place))
}

/// The mark, as stored, that an entry is.
pub(super) fn mark_of(entry: &Entry) -> Option<PathBuf> {
    match entry {
        Entry::Whiteout { path } => Some(whiteout_path(path)),
        Entry::Opaque { path } => Some(path.join(OPAQUE_NAME)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::StackDefinition;

    #[test]
    fn without_devices_whiteouts_are_files_with_attributes() {
        // Not beside the sources, which an ordinary user may not be able to write.
        let store = tempfile::tempdir().unwrap();
        let definition = StackDefinition::study(3, 2, 2, 10);
        let stack = LayerStack::ensure(store.path(), &definition, 1, &|_| ()).unwrap();
        let target = store.path().join("layer");
        fs::create_dir(&target).unwrap();
        match materialise(&stack, 0, &target, WhiteoutForm::Xattr) {
            Err(StackError::Io { errno, .. }) if Errno::from_io_error(&errno) == Some(Errno::OPNOTSUPP) => {
                eprintln!("skipped: {} has no extended attributes", store.path().display());
                return;
            }
            other => other.unwrap(),
        }
        let value = |path: &str, name: &str| {
            let mut found = [0; 4];
            let length = rustix::fs::lgetxattr(target.join(path), name, &mut found);
            length.map(|length| found[..length].to_vec())
        };
        assert_eq!(value("data/w-000000", "user.overlay.whiteout"), Ok(b"".to_vec()));
        assert_eq!(value("data", "user.overlay.opaque"), Ok(b"x".to_vec()));
        assert_eq!(value("opaque", "user.overlay.opaque"), Ok(b"y".to_vec()));
        let meta = fs::symlink_metadata(target.join("data/w-000001")).unwrap();
        assert!(meta.is_file() && meta.len() == 0);
        let marker = "data/marker-0001";
        let inode = |folder: &Path| fs::metadata(folder.join(marker)).unwrap().ino();
        assert_eq!(inode(&target), inode(&stack.layer_folders()[0]));
    }
}
