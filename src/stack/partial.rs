//! Folders under construction: filled under a name that says so, then renamed, so that a folder with its proper name is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::remove_tree;
use super::{StackError, at};

/// What the names of unfinished folders hold after a dot and the final name.
const MARK: &str = ".partial-";

/// A folder that is being filled. Dropped without [`Partial::commit`], it is removed with all that is in it.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    finished: bool,
}

impl Partial {
    /// Makes an empty folder beside the place where it will go.
    pub(super) fn create(place: &Path) -> Result<Partial, StackError> {
        for path in names(place) {
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Partial { path, finished: false }),
                // A process that was killed left it, or another thread, or a process of that number in another namespace, is at it.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(at("create folder", &path)(e)),
            }
        }
        Err(at("create folder beside", place)(io::Error::from(io::ErrorKind::AlreadyExists)))
    }

    /// Takes a finished folder out of use, so that nobody ever meets half of it while it is being removed.
    pub(super) fn retire(place: &Path) -> Result<(), StackError> {
        let retired = Partial::create(place)?;
        // An empty folder gives way to the one that is renamed to it.
        fs::rename(place, &retired.path).map_err(at("rename", place))?;
        retired.remove()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its proper name. Where that is taken another process was faster with the same content: its folder stays, this one
    /// goes.
    pub(super) fn commit(mut self, place: &Path) -> Result<(), StackError> {
        match fs::rename(&self.path, place) {
            Ok(()) => {
                self.finished = true;
                Ok(())
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                self.remove()
            }
            Err(e) => Err(at("rename into", place)(e)),
        }
    }

    fn remove(mut self) -> Result<(), StackError> {
        self.finished = true;
        remove_tree(&self.path).map_err(at("remove", &self.path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // The error that led here is the one to report; what cannot be removed now, `clean` removes.
            remove_tree(&self.path).ok();
        }
    }
}

fn names(place: &Path) -> impl Iterator<Item = PathBuf> {
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let pid = std::process::id();
    (0..10_000u32).map(move |n| place.with_file_name(format!(".{name}{MARK}{pid}-{n}")))
}

/// Whether a name is one of an unfinished folder.
pub(super) fn is_partial(path: &Path) -> bool {
    path.file_name().map(|name| name.to_string_lossy()).is_some_and(|name| name.starts_with('.') && name.contains(MARK))
}
