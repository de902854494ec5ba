//! What hides names below: whiteouts, and the markers of opaque directories.
//!
//! All that are made are one empty file with many names, as aufs makes them (`AUFS_BASE_NAME` in its manual). A name more takes no inode: where none are
//! left, files can still be removed. The first name is in scratch; should it go, or have as many others as the file system allows, the next marker is a file
//! of its own and takes its place.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::create::set_umask;
use super::layers::{Layers, NAME_MAX, OPAQUE, WHITEOUT};
use super::{Errno, Res};

/// The name in scratch of what all markers are. No file that is only temporary is called so.
const BASE: &str = ".wh..wh.aufs";
/// The mode that aufs gives them, whoever asks.
const MODE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// The name of the whiteout that hides `name`. ENAMETOOLONG where no file system could store it.
pub(super) fn whiteout_name(name: &OsStr) -> Res<OsString> {
    let mut bytes = Vec::with_capacity(WHITEOUT.len() + name.len());
    bytes.extend_from_slice(WHITEOUT);
    bytes.extend_from_slice(name.as_bytes());
    if bytes.len() > NAME_MAX { Err(Errno::NAMETOOLONG) } else { Ok(OsString::from_vec(bytes)) }
}

/// Makes what all markers are, in an empty scratch.
pub(super) fn make_base(scratch: &OwnedFd) -> Res<()> {
    let base = rustix::fs::openat(scratch, BASE, new_file(), MODE)?;
    // This thread's umask is that of the whole process.
    rustix::fs::fchmod(base, MODE)
}

impl Layers {
    /// Hides `name` in the layers below this directory of the upper.
    pub(super) fn hide(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Res<()> {
        self.make_marker(dir, &whiteout_name(name)?)
    }

    /// Makes a directory of the upper opaque.
    pub(super) fn make_opaque(&self, dir: BorrowedFd<'_>) -> Res<()> {
        self.make_marker(dir, OsStr::from_bytes(OPAQUE))
    }

    fn make_marker(&self, dir: BorrowedFd<'_>, name: &OsStr) -> Res<()> {
        let scratch = self.scratch()?;
        let refused = match rustix::fs::linkat(scratch, BASE, dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => return Ok(()),
            Err(errno) => errno,
        };
        set_umask(0)?;
        match rustix::fs::openat(dir, name, new_file(), MODE) {
            Ok(_) => {}
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        if matches!(refused, Errno::MLINK | Errno::NOENT) {
            // Where it cannot take its place, the next one is a file of its own, too.
            let _ = rustix::fs::unlinkat(scratch, BASE, AtFlags::empty());
            let _ = rustix::fs::linkat(dir, name, scratch, BASE, AtFlags::empty());
        }
        Ok(())
    }
}

/// Removes the whiteout of a name that the upper has by now. A failure does no harm: a real entry wins over a whiteout.
pub(super) fn remove_whiteout(dir: BorrowedFd<'_>, name: &OsStr) {
    if let Ok(whiteout) = whiteout_name(name) {
        // A stale whiteout beside a real entry hides nothing: the caller's operation has succeeded.
        let _ = rustix::fs::unlinkat(dir, whiteout, AtFlags::empty());
    }
}

fn new_file() -> OFlags {
    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whiteout_that_would_not_fit_is_an_error() {
        assert_eq!(whiteout_name(OsStr::new("a")).unwrap(), ".wh.a");
        assert!(whiteout_name(OsStr::new(&"a".repeat(251))).is_ok());
        assert_eq!(whiteout_name(OsStr::new(&"a".repeat(252))).unwrap_err(), Errno::NAMETOOLONG);
    }
}
