//! A way to one file of one layer, and the system calls on it. Which layer, and whether it may be changed, others decide.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use rustix::fs::{
    fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr, lremovexattr,
    lsetxattr, removexattr, setxattr,
};

use super::privileges::PERMISSIONS;
use super::{Errno, Res};

/// The longest value of an extended attribute, and the longest list of names, that Linux knows (include/uapi/linux/limits.h).
const XATTR_SIZE_MAX: usize = 65536;

/// A way to one file of one layer, for system calls.
#[derive(Debug)]
pub(super) enum Target {
    /// A name in a directory; `.` for the directory itself.
    At(Arc<OwnedFd>, OsString),
    /// The file (O_PATH, or any other): it has no name any more.
    Fd(Arc<OwnedFd>),
    /// The file, open for reading or writing.
    Open(Arc<OwnedFd>),
}

impl Target {
    /// A path for the calls that know no descriptors. /proc has to be mounted.
    fn proc_path(&self) -> OsString {
        match self {
            Target::At(dir, name) => {
                let mut path = OsString::from(format!("/proc/self/fd/{}/", dir.as_raw_fd()));
                path.push(name);
                path
            }
            Target::Fd(fd) | Target::Open(fd) => OsString::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        }
    }

    /// The names of all extended attributes, each with a NUL behind it.
    pub(super) fn list_xattrs(&self) -> Res<Vec<u8>> {
        // Few files have many: one call does for most.
        let mut capacity = 256;
        loop {
            let mut names = Vec::with_capacity(capacity);
            let spare = spare_capacity(&mut names);
            let got = match self {
                Target::Open(fd) => flistxattr(fd, spare),
                Target::Fd(_) => listxattr(self.proc_path(), spare),
                Target::At(..) => llistxattr(self.proc_path(), spare),
            };
            match got {
                Ok(_) => return Ok(names),
                Err(Errno::RANGE) if capacity < XATTR_SIZE_MAX => capacity = XATTR_SIZE_MAX,
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The value of an extended attribute; `None` if there is none of that name.
    pub(super) fn xattr(&self, name: &OsStr) -> Res<Option<Vec<u8>>> {
        // Most attributes that anybody asks for are short (capabilities: 20 bytes) or missing: one call does for both.
        let mut capacity = 256;
        loop {
            let mut value = Vec::with_capacity(capacity);
            let spare = spare_capacity(&mut value);
            let got = match self {
                Target::Open(fd) => fgetxattr(fd, name, spare),
                Target::Fd(_) => getxattr(self.proc_path(), name, spare),
                Target::At(..) => lgetxattr(self.proc_path(), name, spare),
            };
            match got {
                Ok(_) => return Ok(Some(value)),
                Err(Errno::NODATA) => return Ok(None),
                Err(Errno::RANGE) if capacity < XATTR_SIZE_MAX => capacity = XATTR_SIZE_MAX,
                Err(errno) => return Err(errno),
            }
        }
    }

    pub(super) fn set_xattr(&self, name: &OsStr, value: &[u8], flags: XattrFlags) -> Res<()> {
        match self {
            Target::Open(fd) => fsetxattr(fd, name, value, flags),
            Target::Fd(_) => setxattr(self.proc_path(), name, value, flags),
            Target::At(..) => lsetxattr(self.proc_path(), name, value, flags),
        }
    }

    pub(super) fn remove_xattr(&self, name: &OsStr) -> Res<()> {
        match self {
            Target::At(..) => lremovexattr(self.proc_path(), name),
            Target::Fd(_) => removexattr(self.proc_path(), name),
            Target::Open(fd) => fremovexattr(fd, name),
        }
    }

    pub(super) fn stat(&self) -> Res<Stat> {
        match self {
            Target::At(dir, name) => rustix::fs::statat(&**dir, name, AtFlags::SYMLINK_NOFOLLOW),
            Target::Fd(fd) | Target::Open(fd) => rustix::fs::fstat(&**fd),
        }
    }

    pub(super) fn open(&self, flags: OFlags) -> Res<OwnedFd> {
        match self {
            Target::At(dir, name) => {
                rustix::fs::openat(&**dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            }
            _ => rustix::fs::openat(CWD, self.proc_path(), flags | OFlags::CLOEXEC, Mode::empty()),
        }
    }

    pub(super) fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Res<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Target::At(dir, name) => rustix::fs::chownat(&**dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            Target::Fd(fd) | Target::Open(fd) => rustix::fs::chownat(&**fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    /// Not for symbolic links: they have no mode.
    pub(super) fn chmod(&self, mode: u32) -> Res<()> {
        let mode = Mode::from_raw_mode(mode & PERMISSIONS);
        match self {
            Target::At(dir, name) => rustix::fs::chmodat(&**dir, name, mode, AtFlags::empty()),
            Target::Open(fd) => rustix::fs::fchmod(&**fd, mode),
            Target::Fd(_) => rustix::fs::chmodat(CWD, self.proc_path(), mode, AtFlags::empty()),
        }
    }

    pub(super) fn utimens(&self, times: &Timestamps) -> Res<()> {
        match self {
            Target::At(dir, name) => rustix::fs::utimensat(&**dir, name, times, AtFlags::SYMLINK_NOFOLLOW),
            Target::Open(fd) => rustix::fs::futimens(&**fd, times),
            Target::Fd(_) => rustix::fs::utimensat(CWD, self.proc_path(), times, AtFlags::empty()),
        }
    }
}
