//! FUSE passthrough: the ioctls of /dev/fuse that fuser does only within a session of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// `struct fuse_backing_map` of <linux/fuse.h>.
#[repr(C)]
pub struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

mod raw {
    // FUSE_DEV_IOC_MAGIC is 229.
    nix::ioctl_write_ptr!(backing_open, 229, 1, super::BackingMap);
    nix::ioctl_write_ptr!(backing_close, 229, 2, u32);
}

/// FUSE_DEV_IOC_BACKING_OPEN: hands a file to the kernel, to be read and written without the daemon. Returns its id. The connection must
/// have agreed on FUSE_PASSTHROUGH; EPERM without it or without CAP_SYS_ADMIN in the initial user namespace, ENOTTY before Linux 6.9.
pub fn backing_open(device: &File, backing: impl AsFd) -> io::Result<u32> {
    let map = BackingMap { fd: backing.as_fd().as_raw_fd(), flags: 0, padding: 0 };
    // SAFETY: the structure has the kernel's layout and outlives the call, which only reads it; both descriptors are open meanwhile.
    let id = unsafe { raw::backing_open(device.as_raw_fd(), &raw const map) }?;
    u32::try_from(id).map_err(io::Error::other)
}

/// FUSE_DEV_IOC_BACKING_CLOSE: takes the file back; opens that use it keep it.
pub fn backing_close(device: &File, id: u32) -> io::Result<()> {
    // SAFETY: the kernel reads one u32, which outlives the call; the descriptor is open meanwhile.
    unsafe { raw::backing_close(device.as_raw_fd(), &raw const id) }?;
    Ok(())
}
