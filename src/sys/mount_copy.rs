//! Private copies of mounts: the same files, with a behaviour of their own, that nobody else sees and that go with the descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::mount::{OpenTreeFlags, open_tree};

/// When reading a file changes its access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessTimes {
    /// Never.
    Never,
    /// If it is older than a day, or than the last change.
    Relative,
    /// Always.
    Always,
}

/// A copy of the mount that `dir` (O_PATH will do) is on, whose root is `dir`; with `submounts`, of those below it, too. Reading through it
/// changes access times as `times` says, where it does; those of directories unless the second word is false. It needs CAP_SYS_ADMIN in the
/// namespace of the mount, and Linux 5.12 for `times`. Like the mount itself it keeps the file system in use, but not busy: it can be unmounted elsewhere.
pub fn private_copy(dir: impl AsFd, submounts: bool, times: Option<(AccessTimes, bool)>) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::AT_EMPTY_PATH | OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, submounts);
    let copy = open_tree(dir, c"", flags)?;
    let Some((times, directories)) = times else { return Ok(copy) };
    let times = match times {
        AccessTimes::Never => libc::MOUNT_ATTR_NOATIME,
        AccessTimes::Relative => libc::MOUNT_ATTR_RELATIME,
        AccessTimes::Always => libc::MOUNT_ATTR_STRICTATIME,
    };
    let attributes = libc::mount_attr {
        attr_set: times | if directories { 0 } else { libc::MOUNT_ATTR_NODIRATIME },
        attr_clr: libc::MOUNT_ATTR__ATIME,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a literal with a NUL, the structure lives on this stack, and its size is what is passed; the kernel only reads both.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            copy.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    if done == 0 { Ok(copy) } else { Err(io::Error::last_os_error()) }
}
