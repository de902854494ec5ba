//! Which directories a union may not be made of: those that lie in one another. What is written in the upper must not show in a lower, which
//! does not change; and nobody's files may lie in the work directory, where everything is ours, or its files in a layer.
//!
//! Across file systems this is no matter: the upper and the work directory are used without what is mounted below them.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};

use super::UnionError;

/// A directory that was given, by the word for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) word: &'static str,
    pub(super) path: &'a Path,
    pub(super) fd: &'a OwnedFd,
}

/// A directory, whatever it is called: device and inode number.
type Identity = (u64, u64);

fn identity(fd: impl AsFd) -> Option<Identity> {
    rustix::fs::fstat(fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// A directory and those that it lies in, up to the end of its file system, or to where one may not look.
fn ancestors(fd: &OwnedFd) -> Vec<Identity> {
    let mut found = Vec::new();
    let mut above = None;
    while let Some(here) = above.as_ref().map_or_else(|| identity(fd), identity) {
        if found.first().is_some_and(|(device, _)| *device != here.0) || found.last() == Some(&here) {
            break;
        }
        found.push(here);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(above.as_ref().unwrap_or(fd), "..", flags, Mode::empty()) {
            Ok(parent) => above = Some(parent),
            Err(_) => break,
        }
    }
    found
}

/// The path of a directory without links, if /proc tells it.
fn real_path(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

fn refuse(inner: &Given<'_>, outer: &Given<'_>) -> UnionError {
    let (inner_path, outer_path) = (inner.path.display(), outer.path.display());
    UnionError::Config(format!(
        "{} {inner_path} is {} {outer_path}, or lies in it; they have to be beside each other",
        inner.word, outer.word
    ))
}

/// Refuses an upper, a work directory and lowers of which one is another or lies in it. Two lowers may: neither changes.
pub(super) fn check(lowers: &[Given<'_>], upper: Given<'_>, work: Given<'_>) -> Result<(), UnionError> {
    let places = [upper, work].map(|given| (given, ancestors(given.fd), real_path(given.fd)));
    let lies_in = |(_, above, _): &(Given<'_>, Vec<Identity>, _), outer: &Given<'_>| {
        identity(outer.fd).is_some_and(|outer| above.contains(&outer))
    };
    let [of_upper, of_work] = &places;
    if lies_in(of_work, &upper) {
        return Err(refuse(&work, &upper));
    }
    if lies_in(of_upper, &work) {
        return Err(refuse(&upper, &work));
    }
    for lower in lowers {
        let device = identity(lower.fd).map(|(device, _)| device);
        let path = real_path(lower.fd);
        for place in &places {
            let (given, above, real) = place;
            if lies_in(place, lower) {
                return Err(refuse(given, lower));
            }
            let same_device = above.first().map(|(device, _)| *device) == device;
            if let (Some(path), Some(real)) = (&path, real)
                && same_device
                && path.starts_with(real)
            {
                return Err(refuse(lower, given));
            }
        }
    }
    Ok(())
}

/// Refuses an upper and a work directory on two mounts, also of one file system: nothing can be moved from one to the other.
pub(super) fn check_mounts(upper: Given<'_>, work: Given<'_>) -> Result<(), UnionError> {
    let mount = |given: Given<'_>| {
        let found = statx(given.fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        // Linux 5.8.
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    if mount(upper) == mount(work) {
        return Ok(());
    }
    Err(UnionError::Config(format!(
        "{} {} and {} {} are on two mounts, between which nothing can be moved; give a {} on the mount of the {}",
        upper.word,
        upper.path.display(),
        work.word,
        work.path.display(),
        work.word,
        upper.word
    )))
}
