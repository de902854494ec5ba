//! What the kernel offers to the probes: each is tried.

use std::fs::OpenOptions;
use std::io;

use rustix::io::Errno;

use super::passthrough;
use crate::record::{Capabilities, Feature, Privileges};
use crate::sys;
use crate::sys::fuse_ring::{self, Ring, SWITCH};

/// Tries everything that the probes and drivers may want.
pub(super) fn probe(privileges: Privileges) -> Capabilities {
    let fuse = fuse();
    Capabilities {
        mount_api: mount_api(),
        fuse_passthrough: fuse_passthrough(privileges, &fuse),
        fuse_uring: Some(fuse_uring(&fuse)),
        fuse,
        cachestat: cachestat(),
        drop_caches: drop_caches(),
        pagemap: pagemap(),
    }
}

/// fsopen answers EPERM to a caller who may not mount, ENOSYS where it does not exist.
fn mount_api() -> Feature {
    match rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) | Err(Errno::PERM) => Feature::available("fsopen, fsconfig, fsmount, move_mount"),
        Err(e) => Feature::missing(
            format!("fsopen: {}", io::Error::from(e)),
            "use Linux 5.2 or later; overlay2 falls back to mount(2)",
        ),
    }
}

fn fuse() -> Feature {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Feature::available("/dev/fuse can be opened"),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Feature::missing(
            format!("open /dev/fuse: {e}"),
            "it is for all users where udev made it; as root: chmod 666 /dev/fuse",
        ),
        Err(e) => Feature::missing(
            format!("open /dev/fuse: {e}"),
            "load the module (modprobe fuse), or give the container --device /dev/fuse",
        ),
    }
}

/// Only CAP_SYS_ADMIN of the initial user namespace may hand files to the kernel (fs/fuse/backing.c, `fuse_backing_open`).
fn fuse_passthrough(privileges: Privileges, fuse: &Feature) -> Feature {
    if !fuse.is_available() {
        return fuse.clone();
    }
    if privileges != Privileges::Root {
        return Feature::missing(
            "the kernel allows passthrough to root alone",
            "run as root; without it the daemon serves reads and writes",
        );
    }
    match passthrough::try_passthrough() {
        Ok(()) => Feature::available("the kernel took a file"),
        Err(reason) => Feature::missing(reason, "use Linux 6.9 or later with CONFIG_FUSE_PASSTHROUGH"),
    }
}

/// The kernel offers it to new mounts while its switch is on (fs/fuse/dev_uring.c, `enable_uring`), and who may not use io_uring cannot take it.
fn fuse_uring(fuse: &Feature) -> Feature {
    if !fuse.is_available() {
        return fuse.clone();
    }
    match fuse_ring::is_offered() {
        Ok(true) => match Ring::new(&[0], 0) {
            Ok(_) => Feature::available(format!("{SWITCH} is on")),
            Err(e) => Feature::missing(format!("io_uring: {e}"), "allow io_uring (kernel.io_uring_disabled, seccomp)"),
        },
        Ok(false) => Feature::missing(format!("{SWITCH} is off"), format!("as root: echo Y > {SWITCH}")),
        Err(_) => Feature::missing(format!("no {SWITCH}"), "use Linux 6.14 or later with CONFIG_FUSE_IO_URING"),
    }
}

fn cachestat() -> Feature {
    // A file of our own: of others' the kernel tells nothing to who could not write to them.
    let file = rustix::fs::memfd_create("layerbench-cachestat", rustix::fs::MemfdFlags::CLOEXEC);
    match file.map_err(io::Error::from).and_then(sys::cache::cachestat) {
        Ok(_) => Feature::available("cachestat(2) answers"),
        Err(e) => Feature::missing(format!("cachestat: {e}"), "use Linux 6.5 or later; mincore(2) is used instead"),
    }
}

fn drop_caches() -> Feature {
    match OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches") {
        Ok(_) => Feature::available("/proc/sys/vm/drop_caches can be written"),
        Err(e) => {
            Feature::missing(format!("open /proc/sys/vm/drop_caches for writing: {e}"), "run as root of the machine")
        }
    }
}

fn pagemap() -> Feature {
    let frames = std::fs::File::open("/proc/self/exe").and_then(|file| sys::pagemap::frame_numbers(&file));
    match frames {
        Ok(frames) if frames.iter().any(Option::is_some) => Feature::available("page frame numbers are shown"),
        Ok(_) => Feature::missing("/proc/self/pagemap hides frame numbers", "run as root (CAP_SYS_ADMIN)"),
        Err(e) => Feature::missing(format!("/proc/self/pagemap: {e}"), "run as root (CAP_SYS_ADMIN)"),
    }
}
