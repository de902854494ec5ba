//! A modelled disk that can be mounted: a FUSE file system with one file, whose reads and writes take as long as the model says, below a loop
//! device with direct I/O, below ext4. The bytes lie in memory.
//!
//! One thread serves, so that requests wait for one another as they do for the one arm of a disk. What FUSE and the loop device add is tens
//! of microseconds to the model's milliseconds.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, SessionACL, WriteFlags,
};

use super::disk::{DataSheet, SpinningDisk};
use crate::sys;

/// Type of the mount of the file system with the disk in it.
pub const FS_TYPE: &str = "fuse.layerbench-disk";
/// The disk's file in it.
const FILE: &str = "disk";
/// How long a device may stay busy after its file system was unmounted.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Why a modelled disk is not there.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// A program failed.
    #[error("{program}: {said}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// Somebody is there.
    #[error("unmount {}: {}; a process has a file or its working directory there: end it, then try again", .0.display(), rustix::io::Errno::BUSY)]
    Busy(PathBuf),
    /// There is no modelled disk at this place.
    #[error("{} is not a modelled disk that layerbench has mounted", .0.display())]
    NotOurs(PathBuf),
}

fn at<'a, E: Into<io::Error>>(operation: &'static str, path: &'a Path) -> impl FnOnce(E) -> DiskError + 'a {
    move |errno| DiskError::Io { operation, path: path.to_owned(), errno: errno.into() }
}

// --- the daemon ------------------------------------------------------------------------------------------------------------------------

/// Makes a disk with an empty ext4 on it and serves it at `folder` until it is unmounted.
///
/// # Errors
/// What kept it from being made or mounted.
pub fn serve(sheet: DataSheet, size_bytes: u64, folder: &Path) -> Result<(), DiskError> {
    let image: File = rustix::fs::memfd_create("layerbench-disk", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(at("make room in memory for", folder))?
        .into();
    image.set_len(size_bytes).map_err(at("set the size of", folder))?;
    // On the image itself: a file system is made before anybody measures. Its tables are made now, so that none are made meanwhile.
    let own = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&image));
    program("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &own])?;
    let (last, unused) = mpsc::channel();
    let edge = Edge {
        image,
        size_bytes,
        disk: Mutex::new(SpinningDisk::new(sheet, size_bytes)),
        start: Instant::now(),
        users: AtomicUsize::new(0),
        last,
    };
    const DEVICE: &str = "/dev/fuse";
    let device = File::options().read(true).write(true).open(DEVICE).map_err(at("open", Path::new(DEVICE)))?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", std::os::fd::AsRawFd::as_raw_fd(&device));
    let flags = nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOSUID;
    nix::mount::mount(Some(sheet.name), folder, Some(FS_TYPE), flags, Some(options.as_str()))
        .map_err(at("mount", folder))?;
    let session = Session::from_fd(edge, device.into(), SessionACL::Owner, Config::default());
    let session = session.and_then(Session::spawn).map_err(at("start serving at", folder))?;
    // Its last user is the loop device, which goes when the file system on it is unmounted, whoever does that. An error means that the serving
    // thread has ended, because somebody unmounted the folder.
    if unused.recv().is_ok() {
        rustix::mount::unmount(folder, rustix::mount::UnmountFlags::DETACH).map_err(at("unmount", folder))?;
    }
    let ended = session.join();
    // Whoever waits for the disk's end may have been faster.
    fs::remove_dir(folder).ok();
    match ended {
        // How the kernel says that the mount has gone (fs/fuse/dev.c, `fuse_dev_do_read`).
        Err(e) if e.raw_os_error() != Some(libc::ECONNABORTED) => Err(at("serve the disk at", folder)(e)),
        _ => Ok(()),
    }
}

/// Runs a program that says nothing unless it fails.
fn program(name: &'static str, words: &[&str]) -> Result<String, DiskError> {
    let output = Command::new(name).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|e| DiskError::Program {
        program: name,
        said: format!("{e}; it comes with util-linux, mount or e2fsprogs"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DiskError::Program { program: name, said: if said.is_empty() { output.status.to_string() } else { said } })
}

/// What fuser calls.
struct Edge {
    image: File,
    size_bytes: u64,
    disk: Mutex<SpinningDisk>,
    start: Instant,
    /// How often the disk's file is open.
    users: AtomicUsize,
    /// Told when nobody has it open any more.
    last: mpsc::Sender<()>,
}

const ROOT: INodeNo = INodeNo(1);
const DISK: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(86_400);

impl Edge {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let is_disk = ino == DISK;
        FileAttr {
            ino,
            size: if is_disk { self.size_bytes } else { 0 },
            blocks: if is_disk { self.size_bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_disk { FileType::RegularFile } else { FileType::Directory },
            perm: if is_disk { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }

    /// Waits until the disk is done with what it is asked for now.
    fn wait(&self, ask: impl FnOnce(&mut SpinningDisk, u64) -> u64) {
        let now = self.start.elapsed().as_nanos() as u64;
        // Nothing in there can panic half-way.
        let done = ask(&mut self.disk.lock().unwrap_or_else(PoisonError::into_inner), now);
        if let Some(left) = Duration::from_nanos(done).checked_sub(self.start.elapsed()) {
            std::thread::sleep(left);
        }
    }
}

impl fuser::Filesystem for Edge {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == ROOT && name == FILE {
            reply.entry(&TTL, &self.attributes(DISK), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(ino));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.users.fetch_add(1, Ordering::Relaxed);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
        if self.users.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nobody listens to the second time.
            self.last.send(()).ok();
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = self.size_bytes.saturating_sub(offset).min(u64::from(size));
        let mut bytes = vec![0; left as usize];
        match self.image.read_exact_at(&mut bytes, offset) {
            Ok(()) => {
                self.wait(|disk, now| disk.read(now, offset, left));
                reply.data(&bytes);
            }
            Err(e) => reply.error(e.into()),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if offset.saturating_add(data.len() as u64) > self.size_bytes {
            return reply.error(Errno::ENOSPC);
        }
        match self.image.write_all_at(data, offset) {
            Ok(()) => {
                self.wait(|disk, now| disk.write(now, offset, data.len() as u64));
                reply.written(data.len() as u32);
            }
            Err(e) => reply.error(e.into()),
        }
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.wait(SpinningDisk::flush);
        reply.ok();
    }
}

// --- who uses it -----------------------------------------------------------------------------------------------------------------------

/// A modelled disk, as it was mounted.
#[derive(Debug)]
pub struct Attached {
    /// Its loop device.
    pub device: PathBuf,
}

/// Puts a loop device over the disk that is served at `folder`, and mounts it at `mountpoint`. It all goes when that is unmounted, by whatever
/// program, and where this fails.
///
/// # Errors
/// The step that failed.
pub fn attach(folder: &Path, mountpoint: &Path) -> Result<Attached, DiskError> {
    let file = folder.join(FILE);
    // The disk ends with its last user: until the loop device is one for good, that is this process.
    let _user = File::open(&file).map_err(at("open", &file))?;
    let device = program("losetup", &["--find", "--show", "--direct-io=on", &file.to_string_lossy()])?;
    let device = PathBuf::from(device);
    let flags = rustix::mount::MountFlags::empty();
    let mounted =
        rustix::mount::mount(&device, mountpoint, "ext4", flags, None).map_err(at("mount ext4 at", mountpoint));
    let freed = File::open(&device).and_then(|file| sys::loop_device::clear(&file)).map_err(at("free", &device));
    mounted.and(freed).map(|()| Attached { device })
}

/// Takes a modelled disk away: the file system, the loop device over it, and the daemon with all that lies on it. While it is mounted elsewhere
/// too, all but the file system stay.
///
/// # Errors
/// The step that failed; EBUSY where somebody uses it.
pub fn detach(mountpoint: &Path, device: &Path) -> Result<(), DiskError> {
    let folder = folder_below(device).ok_or_else(|| DiskError::NotOurs(mountpoint.to_owned()))?;
    rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::empty()).map_err(|errno| match errno {
        rustix::io::Errno::BUSY => DiskError::Busy(mountpoint.to_owned()),
        errno => at("unmount", mountpoint)(errno),
    })?;
    let table = crate::host::mount_table().map_err(at("read", Path::new("/proc/self/mountinfo")))?;
    if table.iter().any(|entry| Path::new(&entry.source) == device) { Ok(()) } else { release(&folder) }
}

/// Waits until the daemon that serves at a folder has ended, and ends it if it has no users.
///
/// # Errors
/// The step that failed.
pub fn release(folder: &Path) -> Result<(), DiskError> {
    let start = Instant::now();
    loop {
        // The daemon does both when its last user goes, a moment after that was told to: who is first does not matter.
        let unmounted = rustix::mount::unmount(folder, rustix::mount::UnmountFlags::empty());
        match (fs::remove_dir(folder), unmounted) {
            (Ok(()), _) => return Ok(()),
            (Err(e), _) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            (Err(_), _) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            (_, Err(errno)) if errno != rustix::io::Errno::INVAL => return Err(at("unmount", folder)(errno)),
            (Err(e), _) => return Err(at("remove", folder)(e)),
        }
    }
}

/// Where the disk below a loop device is served; `None` if it is none of ours.
fn folder_below(device: &Path) -> Option<PathBuf> {
    let name = device.file_name()?.to_str()?;
    let backing = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    let file = Path::new(backing.trim_end());
    let folder = file.parent().filter(|_| file.file_name() == Some(OsStr::new(FILE)))?;
    mount_source(folder).map(|_| folder.to_owned())
}

/// First column of the mount of ours at a folder: the name of the modelled disk.
fn mount_source(folder: &Path) -> Option<String> {
    let table = crate::host::mount_table().ok()?;
    let entry = table.into_iter().rfind(|entry| entry.mountpoint == folder)?;
    (entry.fs_type == FS_TYPE).then_some(entry.source)
}

/// What is modelled below a device, in words.
pub(super) fn model_below(device: &str) -> Option<String> {
    let source = mount_source(&folder_below(Path::new(device))?)?;
    let about = super::DISKS.iter().find(|sheet| sheet.name == source).map_or("unknown", |sheet| sheet.about);
    Some(format!("{source}, {about}"))
}
