//! The folder of a layer that is being unpacked: every name is resolved below it, through no symbolic link, or not at all.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

/// Longest name that Linux's file systems take, in bytes.
const NAME_MAX: usize = 255;
/// Longest path of an entry, in bytes: the kernel takes 4096 with the store's own.
const PATH_MAX: usize = 3000;
/// Permissions of what is being unpacked: its own come last.
pub(super) const WORKING_MODE: Mode = Mode::RWXU;

/// The path of an entry below its layer: without `.`, empty names and a leading `/` (which means the layer's root to everything that unpacks
/// layers). The reason where it can be none.
pub(super) fn path_of(name: &[u8]) -> Result<PathBuf, String> {
    if name.contains(&0) {
        return Err("its name holds a zero byte".into());
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name leads out of its folder (..)".into()),
            part if part.len() > NAME_MAX => {
                return Err(format!("a name of {} bytes, more than {NAME_MAX}", part.len()));
            }
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    match path.as_os_str().len() {
        length if length > PATH_MAX => Err(format!("a path of {length} bytes, more than {PATH_MAX}")),
        _ => Ok(path),
    }
}

/// Why a folder cannot be had.
#[derive(Debug)]
pub(super) enum Barred {
    /// The archive's fault.
    Refused(String),
    /// The machine's.
    Failed(Errno),
}

/// An open folder, and the one below it that was used last.
#[derive(Debug)]
pub(super) struct Place {
    root: OwnedFd,
    last: Option<(PathBuf, OwnedFd)>,
}

impl Place {
    pub(super) fn open(folder: &Path) -> Result<Place, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Place { root: openat(CWD, folder, flags, Mode::empty())?, last: None })
    }

    /// Forgets the folder used last, which may have been removed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// A folder below; with `make`, whatever is missing is made, and `make` is told.
    pub(super) fn folder(
        &mut self,
        path: &Path,
        make: Option<&mut dyn FnMut(&Path)>,
    ) -> Result<BorrowedFd<'_>, Barred> {
        let known = self.last.as_ref().is_some_and(|(last, _)| last == path);
        if !known {
            let fd = match self.resolve(path) {
                Err(Errno::NOENT) => match make {
                    Some(made) => self.make_all(path, made),
                    None => Err(Errno::NOENT),
                },
                other => other,
            };
            let fd = fd.map_err(|e| match e {
                Errno::LOOP => Barred::Refused("the way to it leads through a symbolic link".into()),
                Errno::NOTDIR => Barred::Refused("the way to it leads through something that is no folder".into()),
                Errno::NAMETOOLONG => Barred::Refused("its name is too long for this file system".into()),
                Errno::XDEV => Barred::Refused("the way to it leaves the layer".into()),
                e => Barred::Failed(e),
            })?;
            self.last = Some((path.to_owned(), fd));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn make_all(&self, path: &Path, made: &mut dyn FnMut(&Path)) -> Result<OwnedFd, Errno> {
        let mut so_far = PathBuf::new();
        let mut fd = self.resolve(Path::new(""))?;
        for part in path {
            so_far.push(part);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fd = match openat(&fd, part, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    mkdirat(&fd, part, WORKING_MODE)?;
                    made(&so_far);
                    openat(&fd, part, flags, Mode::empty())?
                }
                other => other?,
            };
        }
        Ok(fd)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if path.as_os_str().is_empty() {
            return openat(&self.root, c".", flags, Mode::empty());
        }
        let how =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        // Without NOFOLLOW, a link at the end is told from what is neither a link nor a folder.
        match openat2(&self.root, path, flags - OFlags::NOFOLLOW, Mode::empty(), how) {
            // Linux before 5.6, or a filter of system calls that does not know it: the same, one name after the other.
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return other,
        }
        let mut fd = openat(&self.root, c".", flags, Mode::empty())?;
        for part in path.components() {
            let Component::Normal(part) = part else { return Err(Errno::XDEV) };
            fd = openat(&fd, part, flags, Mode::empty())?;
        }
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_below_the_layer_or_none() {
        for (name, path) in [("./a//b/./c/", "a/b/c"), ("/etc/passwd", "etc/passwd"), ("./", ""), ("/", "")] {
            assert_eq!(path_of(name.as_bytes()), Ok(PathBuf::from(path)), "{name}");
        }
        let long = "n".repeat(256);
        let deep = "abcdefg/".repeat(500);
        for name in ["../x", "a/../../x", "a/..", "a\0b", &long, &deep] {
            assert!(path_of(name.as_bytes()).is_err(), "{name}");
        }
    }

    #[test]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::os::unix::fs::symlink("in", folder.path().join("inside")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let mut place = Place::open(folder.path()).unwrap();
        let mut made = Vec::new();
        for path in ["out", "out/x", "inside/x", "file/x", "file"] {
            let result = place.folder(Path::new(path), Some(&mut |path: &Path| made.push(path.to_owned())));
            assert!(matches!(result, Err(Barred::Refused(_))), "{path}: {result:?}");
        }
        assert!(made.is_empty() && std::fs::read_dir(outside.path()).unwrap().next().is_none());
        place.folder(Path::new("in/a/b"), Some(&mut |path: &Path| made.push(path.to_owned()))).unwrap();
        assert_eq!(made, [PathBuf::from("in/a"), "in/a/b".into()]);
    }
}
