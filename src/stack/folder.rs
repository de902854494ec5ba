//! Listing and removing folders of a store. `runner` uses it for the parts of a store that are not stacks.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is in a folder, sorted; nothing where there is none.
pub(crate) fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Removes a tree, also when an ordinary user's has folders without permissions: a stack's that nobody may write, overlay's work/work of
/// mode 0.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        other => return other,
    }
    let mut pending = vec![path.to_owned()];
    while let Some(folder) = pending.pop() {
        let mode = fs::symlink_metadata(&folder)?.mode();
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode & 0o7777 | 0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path)
}
