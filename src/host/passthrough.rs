//! Whether the kernel reads and writes files of a FUSE mount by itself: tried with a file system that is never mounted anywhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_string, fsopen};

use crate::sys::fuse::Backing;

/// <linux/fuse.h>: the first request of a connection.
const FUSE_INIT: u32 = 26;
/// Size of `struct fuse_in_header`.
const IN_HEADER: usize = 40;
/// Size of `struct fuse_out_header` and of `struct fuse_init_out`.
const OUT_HEADER: usize = 16;
const INIT_OUT: usize = 64;
/// Flag of fuse_init_in and fuse_init_out: `flags2` is there.
const INIT_EXT: u32 = 1 << 30;
/// Bit 37 of the flags, of which `flags2` holds those from 32 on.
const PASSTHROUGH: u32 = 1 << 5;
/// FUSE_MIN_READ_BUFFER.
const BUFFER: usize = 8192;
/// The request is queued while the file system is created; a kernel that takes longer has lost it.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Agrees on passthrough with the kernel and hands it a file. An error says which step was refused.
pub(super) fn try_passthrough() -> Result<(), String> {
    let step = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    let mut device = options.open("/dev/fuse").map_err(step("open /dev/fuse"))?;
    // Held until the end: without it the connection goes.
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| step("fsopen fuse")(e.into()))?;
    let fd = device.as_raw_fd().to_string();
    for (key, value) in
        [("source", "layerbench"), ("fd", &fd), ("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")]
    {
        fsconfig_set_string(context.as_fd(), key, value).map_err(|e| step("fsconfig")(e.into()))?;
    }
    fsconfig_create(context.as_fd()).map_err(|e| step("create a FUSE file system")(e.into()))?;
    let mut ready = [PollFd::new(&device, PollFlags::IN)];
    if poll(&mut ready, Some(&PATIENCE)).map_err(|e| step("wait for FUSE_INIT")(e.into()))? == 0 {
        return Err("the kernel sent no FUSE_INIT".into());
    }
    let mut request = vec![0; BUFFER];
    let length = device.read(&mut request).map_err(step("read FUSE_INIT"))?;
    let reply = init_reply(request.get(..length).unwrap_or_default())?;
    device.write_all(&reply).map_err(step("answer FUSE_INIT"))?;
    let backing = memfd_create("layerbench-passthrough", MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|e| step("make a file in memory")(e.into()))?;
    Backing::new(&Arc::new(device), &backing).map(|_| ()).map_err(step("hand a file to the kernel"))
}

/// The answer to FUSE_INIT that asks for passthrough and nothing else; an error where the kernel does not offer it.
fn init_reply(request: &[u8]) -> Result<Vec<u8>, String> {
    let word = |at: usize| -> Result<u32, String> {
        let bytes = request.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(|| format!("FUSE_INIT has {} bytes only", request.len()))
    };
    // fuse_in_header: len, opcode, unique (8 bytes). fuse_init_in: major, minor, max_readahead, flags, flags2.
    if word(4)? != FUSE_INIT {
        return Err(format!("the first request is {} and not FUSE_INIT", word(4)?));
    }
    let (major, minor, flags) = (word(IN_HEADER)?, word(IN_HEADER + 4)?, word(IN_HEADER + 12)?);
    if flags & INIT_EXT == 0 || word(IN_HEADER + 16)? & PASSTHROUGH == 0 {
        return Err("the kernel does not offer it (Linux before 6.9, or without CONFIG_FUSE_PASSTHROUGH)".into());
    }
    let unique = request.get(8..16).unwrap_or_default();
    let mut reply = Vec::with_capacity(OUT_HEADER + INIT_OUT);
    let put = |reply: &mut Vec<u8>, value: u32| reply.extend(value.to_ne_bytes());
    put(&mut reply, u32::try_from(OUT_HEADER + INIT_OUT).unwrap_or_default());
    put(&mut reply, 0);
    reply.extend(unique);
    // fuse_init_out: major, minor, max_readahead, flags, max_background and congestion_threshold (u16 each), max_write, time_gran,
    // max_pages and map_alignment (u16 each), flags2, max_stack_depth; the rest is zero.
    for value in [major, minor, 0, INIT_EXT, 0, 4096, 1, 0, PASSTHROUGH, 1] {
        put(&mut reply, value);
    }
    reply.resize(OUT_HEADER + INIT_OUT, 0);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, flags: u32, flags2: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [104, opcode, 7, 0, 1, 0, 0, 0, 0, 0, 7, 45, 131_072, flags, flags2] {
            bytes.extend(u32::to_ne_bytes(value));
        }
        bytes.resize(104, 0);
        bytes
    }

    #[test]
    fn the_answer_has_the_kernels_size_and_asks_for_passthrough() {
        let reply = init_reply(&request(FUSE_INIT, INIT_EXT, PASSTHROUGH | 1)).unwrap();
        assert_eq!(reply.len(), 80);
        let word = |at: usize| u32::from_ne_bytes(reply[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(4), word(8)), (80, 0, 7), "length, error, unique");
        assert_eq!((word(16), word(20)), (7, 45), "the kernel's version");
        // Offsets of flags, flags2 and max_stack_depth in fuse_init_out are 12, 32 and 36.
        assert_eq!((word(28), word(48), word(52)), (INIT_EXT, PASSTHROUGH, 1));
    }

    #[test]
    fn a_kernel_that_does_not_offer_it_or_says_something_else_is_refused() {
        for (bytes, words) in [
            (request(FUSE_INIT, INIT_EXT, 1), "does not offer"),
            (request(FUSE_INIT, 0, PASSTHROUGH), "does not offer"),
            (request(1, INIT_EXT, PASSTHROUGH), "not FUSE_INIT"),
            (request(FUSE_INIT, INIT_EXT, PASSTHROUGH)[..50].to_vec(), "50 bytes"),
            (Vec::new(), "0 bytes"),
        ] {
            let error = init_reply(&bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
