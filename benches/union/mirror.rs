//! A FUSE file system that shows one folder as it is, reads passed through by the kernel, and that does nothing else: no layers, no copy_up,
//! nothing written, nothing checked. What a program needs for its files here is what it needs with any FUSE file system with passthrough:
//! whoever is as fast cannot be made faster.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackingId, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr,
    Request,
};
use rustc_hash::FxHashMap;
use rustix::fs::{AtFlags, FileType as Kind, Mode, OFlags, Stat};

use crate::null::FOREVER;

/// The word that makes the benchmark serve this file system, followed by the folder.
pub const SERVE: &str = "serve-mirror";

/// A file: its directory and its name in it; of a directory its own descriptor as well.
struct Node {
    parent: Arc<OwnedFd>,
    name: OsString,
    own: Option<Arc<OwnedFd>>,
}

struct Mirror {
    nodes: RwLock<Vec<Arc<Node>>>,
    known: Mutex<FxHashMap<(u64, OsString), u64>>,
    open: Mutex<FxHashMap<u64, (OwnedFd, Arc<BackingId>)>>,
    next: AtomicU64,
}

fn open_dir(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        _ => FileType::RegularFile,
    }
}

fn kind(stat: &Stat) -> FileType {
    file_type(Kind::from_raw_mode(stat.st_mode))
}

fn attributes(ino: u64, stat: &Stat) -> FileAttr {
    let time = |s: i64, ns: u64| -> SystemTime { UNIX_EPOCH + Duration::new(s as u64, ns as u32) };
    FileAttr {
        ino: INodeNo(ino),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind(stat),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn code(errno: rustix::io::Errno) -> Errno {
    Errno::from_i32(errno.raw_os_error())
}

impl Mirror {
    fn new(folder: &Path) -> Mirror {
        let root = Arc::new(OwnedFd::from(File::open(folder).unwrap()));
        let node = Arc::new(Node { parent: Arc::clone(&root), name: ".".into(), own: Some(root) });
        Mirror {
            // Numbers are places in this list; 0 is nobody's.
            nodes: RwLock::new(vec![Arc::clone(&node), node]),
            known: Mutex::default(),
            open: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    fn node(&self, ino: INodeNo) -> Arc<Node> {
        Arc::clone(&self.nodes.read().unwrap()[ino.0 as usize])
    }
}

fn stat(node: &Node) -> rustix::io::Result<Stat> {
    rustix::fs::statat(&*node.parent, &node.name, AtFlags::SYMLINK_NOFOLLOW)
}

impl Filesystem for Mirror {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Without the last one the kernel asks for an attribute before each write.
        let wanted =
            InitFlags::FUSE_PASSTHROUGH | InitFlags::FUSE_NO_OPENDIR_SUPPORT | InitFlags::FUSE_HANDLE_KILLPRIV_V2;
        config.add_capabilities(wanted).unwrap();
        config.set_max_stack_depth(1).unwrap();
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let dir = self.node(parent).own.clone().unwrap();
        let found = match rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(errno) => return reply.error(code(errno)),
        };
        let mut known = self.known.lock().unwrap();
        let ino = *known.entry((parent.0, name.to_owned())).or_insert_with(|| {
            let own = (kind(&found) == FileType::Directory).then(|| Arc::new(open_dir(&dir, name).unwrap()));
            let mut nodes = self.nodes.write().unwrap();
            nodes.push(Arc::new(Node { parent: dir, name: name.to_owned(), own }));
            nodes.len() as u64 - 1
        });
        reply.entry(&FOREVER, &attributes(ino, &found), Generation(0));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match stat(&self.node(ino)) {
            Ok(found) => reply.attr(&FOREVER, &attributes(ino.0, &found)),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let node = self.node(ino);
        let access = OFlags::from_bits_truncate(flags.0 as u32) & OFlags::ACCMODE;
        let file = rustix::fs::openat(&*node.parent, &node.name, access | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let backing = Arc::new(reply.open_backing(&file).unwrap());
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap().insert(handle, (file, Arc::clone(&backing)));
        reply.opened_passthrough(FileHandle(handle), FopenFlags::empty(), &backing);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        // Closed behind the answer, and behind the lock.
        let closed = self.open.lock().unwrap().remove(&handle.0);
        reply.ok();
        drop(closed);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENODATA);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let dir = self.node(ino).own.clone().unwrap();
        let entries = rustix::fs::Dir::read_from(&*dir).unwrap();
        for (n, entry) in entries.enumerate().skip(offset as usize) {
            let entry = entry.unwrap();
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if reply.add(INodeNo(entry.ino()), n as u64 + 1, file_type(entry.file_type()), name) {
                break;
            }
        }
        reply.ok();
    }
}

/// The file system that shows this folder.
pub fn new(folder: &Path) -> impl Filesystem {
    Mirror::new(folder)
}
