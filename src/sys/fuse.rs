//! FUSE passthrough: files that the kernel reads and writes by itself. fuser knows them only where a session of its own reads /dev/fuse.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};
use std::sync::Arc;
use std::time::Duration;

use fuser::{FileAttr, FileHandle, FopenFlags, Generation, ReplyCreate, ReplyOpen};

/// `struct fuse_backing_map` of <linux/fuse.h>.
#[repr(C)]
pub struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

/// Has the descriptor `number` stand for the device, whatever it stood for.
pub fn put_in_place(number: RawFd, device: &File) -> io::Result<()> {
    // SAFETY: the call takes numbers and touches no memory. Whoever owns the descriptor goes on owning one of the same number.
    let result = unsafe { libc::dup3(device.as_raw_fd(), number, libc::O_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

mod raw {
    // FUSE_DEV_IOC_MAGIC is 229.
    nix::ioctl_write_ptr!(backing_open, 229, 1, super::BackingMap);
    nix::ioctl_write_ptr!(backing_close, 229, 2, u32);
}

/// A file that the kernel has been handed, to be read and written without the daemon. It is taken back when this is dropped; opens that use it
/// keep it.
#[derive(Debug)]
pub struct Backing {
    device: Arc<File>,
    id: u32,
}

impl Backing {
    /// FUSE_DEV_IOC_BACKING_OPEN. The connection of this device must have agreed on FUSE_PASSTHROUGH; EPERM without it or without
    /// CAP_SYS_ADMIN in the initial user namespace, ENOTTY before Linux 6.9.
    pub fn new(device: &Arc<File>, file: impl AsFd) -> io::Result<Backing> {
        let map = BackingMap { fd: file.as_fd().as_raw_fd(), flags: 0, padding: 0 };
        // SAFETY: the structure has the kernel's layout and outlives the call, which only reads it; both descriptors are open meanwhile.
        let id = unsafe { raw::backing_open(device.as_raw_fd(), &raw const map) }?;
        Ok(Backing { device: Arc::clone(device), id: u32::try_from(id).map_err(io::Error::other)? })
    }

    /// Answers an open: the kernel reads and writes this file.
    pub fn opened(&self, reply: ReplyOpen, handle: FileHandle) {
        // SAFETY: the id is of this connection, and stays open as long as `self`; what wraps it gives it back below.
        let id = unsafe { reply.wrap_backing(self.id) };
        reply.opened_passthrough(handle, FopenFlags::empty(), &id);
        id.into_raw();
    }

    /// Answers a create, in the same way.
    pub fn created(
        &self,
        reply: ReplyCreate,
        ttl: &Duration,
        attr: &FileAttr,
        generation: Generation,
        handle: FileHandle,
    ) {
        // SAFETY: as above.
        let id = unsafe { reply.wrap_backing(self.id) };
        reply.created_passthrough(ttl, attr, generation, handle, FopenFlags::empty(), &id);
        id.into_raw();
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        // SAFETY: the kernel reads one u32, which outlives the call; the descriptor is open meanwhile. It fails where the connection has
        // ended, and the file is given back then.
        let _ = unsafe { raw::backing_close(self.device.as_raw_fd(), &raw const self.id) };
    }
}
