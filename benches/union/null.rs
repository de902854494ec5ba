//! A FUSE file system that does nothing: the cost of asking any FUSE daemon. Served by a process of its own, as the union is, with as many
//! threads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{Config, Errno, FileAttr, FileType, Filesystem, Generation, INodeNo, ReplyAttr, ReplyEntry, Request};

/// The word that makes the benchmark serve this file system.
pub const SERVE: &str = "serve-null";
/// A name that is answered at once with "no such file".
pub const MISSING: &str = "m";

/// Numbers of files: each name is another one, so that the kernel has as much to do as with any file system.
struct Null(AtomicU64);

fn attributes(ino: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 4096,
        blocks: 8,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if ino == 1 { FileType::Directory } else { FileType::RegularFile },
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// How long the kernel may keep an answer.
pub const FOREVER: Duration = Duration::from_secs(86_400);

impl Filesystem for Null {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let missing = name.as_encoded_bytes().starts_with(MISSING.as_bytes());
        let ino = if missing { 0 } else { self.0.fetch_add(1, Ordering::Relaxed) };
        reply.entry(&FOREVER, &attributes(ino), Generation(0));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<fuser::FileHandle>, reply: ReplyAttr) {
        if ino.0 == 1 { reply.attr(&FOREVER, &attributes(1)) } else { reply.error(Errno::ENOENT) }
    }
}

/// The file system that does nothing.
pub fn new() -> impl Filesystem {
    Null(AtomicU64::new(2))
}

/// Serves a file system of this benchmark's own until it is unmounted, with as many threads as the union has.
pub fn serve(filesystem: impl Filesystem, mountpoint: &Path) {
    let mut config = Config::default();
    config.n_threads = Some(layerbench::union::UnionOptions::default().threads);
    config.clone_fd = true;
    // What a thread that reads the device is told when the mount goes, if it is not ENODEV.
    if let Err(e) = fuser::mount(filesystem, mountpoint, &config) {
        assert_eq!(e.raw_os_error(), Some(libc::ECONNABORTED), "{e}");
    }
}

/// A file system of this benchmark's own, mounted. A new one knows no name.
pub struct Mounted {
    pub at: PathBuf,
    daemon: Child,
}

impl Mounted {
    /// Starts this program again, to serve what the words say; the mount point is added to them.
    pub fn new(scratch: &Path, words: &[&OsStr]) -> Mounted {
        let at = scratch.join(words[0]);
        std::fs::create_dir_all(&at).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        layerbench::sys::process::die_with_parent(&mut command);
        let daemon = command.args(words).arg(&at).stdin(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while layerbench::driver::find_mount(&at).unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(10), "{words:?} did not mount");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::metadata(&at).unwrap();
        Mounted { at, daemon }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        nix::mount::umount(&self.at).unwrap();
        assert!(self.daemon.wait().unwrap().success());
    }
}
