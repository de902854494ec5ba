//! Folders under construction: filled under a name that says so, then renamed, so that a folder with its proper name is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::folder::remove_tree;
use super::{StackError, at};

/// What the names of unfinished folders hold after a dot and the final name.
const MARK: &str = ".partial-";

/// What this process has under construction: a signal is the process's, and so is this.
static WORKS: Mutex<Works> = Mutex::new(Works { stopped: false, unfinished: 0, finished: Vec::new() });
/// Told when a folder is finished or removed.
static FEWER: Condvar = Condvar::new();

struct Works {
    stopped: bool,
    unfinished: usize,
    finished: Vec<PathBuf>,
}

fn works() -> MutexGuard<'static, Works> {
    // Nothing that holds it can panic half-way.
    WORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps for good once the making was ended: see [`stop`].
fn unless_stopped(works: MutexGuard<'static, Works>) -> MutexGuard<'static, Works> {
    FEWER.wait_while(works, |works| works.stopped).unwrap_or_else(PoisonError::into_inner)
}

/// What [`stop`] found.
#[derive(Debug)]
pub struct Stopped {
    /// What has its proper name by now, and is complete.
    pub finished: Vec<PathBuf>,
    /// Whether something unfinished is left, since whoever fills it did not stop in time.
    pub is_left: bool,
}

/// Ends the making of stacks in this process for good: who is at it stops before the next file or piece of one and removes what it has made, for
/// which there is `patience`. The thread that did so sleeps from then on, and says nothing: the caller ends the process.
pub fn stop(patience: Duration) -> Stopped {
    let mut works = works();
    works.stopped = true;
    let waited = FEWER.wait_timeout_while(works, patience, |works| works.unfinished > 0);
    let (mut works, _) = waited.unwrap_or_else(PoisonError::into_inner);
    Stopped { finished: std::mem::take(&mut works.finished), is_left: works.unfinished > 0 }
}

/// Whether to go on filling a folder. The error is seen by nobody, see [`stop`].
pub(super) fn go_on() -> io::Result<()> {
    go_on_with(&works())
}

fn go_on_with(works: &Works) -> io::Result<()> {
    if works.stopped { Err(io::Error::other("the process ends")) } else { Ok(()) }
}

/// A folder that is being filled. Dropped without [`Partial::commit`], it is removed with all that is in it.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    finished: bool,
}

impl Partial {
    /// Makes an empty folder beside the place where it will go.
    pub(super) fn create(place: &Path) -> Result<Partial, StackError> {
        let mut works = unless_stopped(works());
        for path in names(place) {
            match fs::create_dir(&path) {
                Ok(()) => {
                    works.unfinished += 1;
                    return Ok(Partial { path, finished: false });
                }
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
        // Held meanwhile: after a signal nothing gets its name any more, and what has it was there before.
        let mut works = works();
        go_on_with(&works).map_err(at("rename into", place))?;
        match fs::rename(&self.path, place) {
            Ok(()) => {
                self.finished = true;
                works.finished.push(place.to_owned());
                Ok(())
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                drop(works);
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
        let mut works = works();
        works.unfinished -= 1;
        FEWER.notify_all();
        drop(unless_stopped(works));
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
