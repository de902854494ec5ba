//! The edge to fuser: decode, call, reply. No logic.
//!
//! Whoever replies holds no node any more: the kernel may have it forgotten at once, and a node that somebody holds stays.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, FileType as Kind, OFlags, SeekFrom, Stat, Timespec, XattrFlags};

use super::attr::Change;
use super::counters::Kind as Op;
use super::create::{Maker, New};
use super::crew::Turn;
use super::lanes::{self, Lane, Seat};
use super::list::{LookedUp, Room};
use super::look_up::Found;
use super::more::Place;
use super::node::{Node, lock};
use super::privileges::{Caller, PERMISSIONS};
use super::state::Union;

/// What fuser calls.
#[derive(Debug)]
pub(super) struct Edge(Arc<Union>, Of);

/// Whose session it is.
#[derive(Debug)]
enum Of {
    Device,
    /// Its thread takes its place there.
    Lane(Seat),
    More(Place),
}

/// So many bytes are read or written sooner than another thread is awake, where they are in memory. Where they come from a disk, one of those that
/// rest sees that this thread is held up: see `crew`.
const MOMENT: usize = 256 << 10;

/// Node ids are never used twice, so that one generation is enough.
const GENERATION: Generation = Generation(0);

fn code(errno: rustix::io::Errno) -> Errno {
    Errno::from_i32(errno.raw_os_error())
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::RegularFile | Kind::Unknown => FileType::RegularFile,
    }
}

fn time(seconds: i64, nanoseconds: u64) -> SystemTime {
    let nanoseconds = Duration::from_nanos(nanoseconds);
    let base = match u64::try_from(seconds) {
        Ok(seconds) => UNIX_EPOCH.checked_add(Duration::from_secs(seconds)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    };
    base.and_then(|base| base.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// The time that a request asks for.
fn timespec(time: TimeOrNow) -> Timespec {
    let time = match time {
        TimeOrNow::Now => return Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        TimeOrNow::SpecificTime(time) => time,
    };
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timespec { tv_sec: since.as_secs() as _, tv_nsec: since.subsec_nanos() as _ },
        // fuser 0.18 subtracts the nanoseconds of a time before 1970, which the kernel means to be added: this undoes it. A test holds
        // it to that.
        Err(before) => {
            let before = before.duration();
            Timespec { tv_sec: (before.as_secs() as i64).wrapping_neg(), tv_nsec: before.subsec_nanos() as _ }
        }
    }
}

fn attributes(ino: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: file_type(Kind::from_raw_mode(stat.st_mode)),
        perm: (stat.st_mode & PERMISSIONS) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: kernel_device(stat.st_rdev),
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

/// A device number in the 32-bit form of the FUSE protocol (new_encode_dev in include/linux/kdev_t.h).
fn kernel_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The reverse of [`kernel_device`].
fn user_device(device: u32) -> u64 {
    rustix::fs::makedev((device & 0xfff00) >> 8, (device & 0xff) | ((device >> 12) & 0xfff00))
}

fn caller(req: &Request) -> Caller {
    Caller { uid: req.uid(), gid: req.gid(), tid: req.pid() }
}

impl Edge {
    pub(super) fn new(union: Arc<Union>) -> Edge {
        Edge(union, Of::Device)
    }

    pub(super) fn of_lane(union: Arc<Union>, seat: Seat) -> Edge {
        Edge(union, Of::Lane(seat))
    }

    pub(super) fn of_more(union: Arc<Union>, place: Place) -> Edge {
        Edge(union, Of::More(place))
    }

    /// To be kept until the request is answered.
    fn turn(&self, req: &Request, kind: Op) -> Turn<'_> {
        self.0.counters.request(kind);
        self.0.crew.turn(req.pid(), kind)
    }

    /// The kernel may keep the attributes of a node unless they can change without it noticing.
    fn attr_ttl(&self, node: &Node, stat: &Stat) -> Duration {
        let unnoticed = || lock(&node.io).changes_unnoticed(stat.st_mode, node.inode.writers());
        if node.superseded() || node.inode.is_mapped() || unnoticed() { Duration::ZERO } else { self.0.ttl() }
    }

    fn entry(&self, found: Result<Found, rustix::io::Errno>, reply: ReplyEntry) {
        match found.map(|found| self.found(&found)) {
            Ok((attr_ttl, attr)) => reply.entry_with_ttls(&attr_ttl, &self.0.ttl(), &attr, GENERATION),
            Err(errno) => reply.error(code(errno)),
        }
    }

    /// What the kernel is told of a node's attributes, and for how long.
    fn shown(&self, node: &Node, stat: Stat) -> (Duration, FileAttr) {
        (self.attr_ttl(node, &stat), attributes(node.inode.ino, &self.presented(node, stat)))
    }

    fn attr(shown: Result<(Duration, FileAttr), rustix::io::Errno>, reply: ReplyAttr) {
        match shown {
            Ok((ttl, attr)) => reply.attr(&ttl, &attr),
            Err(errno) => reply.error(code(errno)),
        }
    }

    /// The attributes of a look-up. fuser takes the node's id from the inode number in them; where the two differ, the attributes
    /// expire at once and the kernel asks for the true ones.
    fn found(&self, found: &Found) -> (Duration, FileAttr) {
        let node = &found.node;
        let ttl = if node.id == node.inode.ino { self.attr_ttl(node, &found.stat) } else { Duration::ZERO };
        (ttl, attributes(node.id, &self.presented(node, found.stat)))
    }

    /// What the mount shows of a file's attributes. A merged directory has one link: the real number would cost a look into all layers, and
    /// 1 means "unknown" to those who use it.
    fn presented(&self, node: &Node, mut stat: Stat) -> Stat {
        if node.inode.is_merged() && stat.st_nlink > 0 {
            stat.st_nlink = 1;
        }
        self.0.options.owners.show(stat)
    }

    fn maker(&self, req: &Request, mode: u32, umask: u32) -> Maker {
        let (uid, gid) = self.0.options.owners.store(req.uid(), req.gid());
        Maker { caller: caller(req), uid, gid, mode, umask }
    }

    fn empty(result: Result<(), rustix::io::Errno>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn bytes(result: Result<Vec<u8>, rustix::io::Errno>, size: u32, reply: ReplyXattr) {
        match result {
            Ok(bytes) if size == 0 => reply.size(bytes.len() as u32),
            Ok(bytes) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(code(errno)),
        }
    }
}

/// What fuser says of an entry: whether its buffer was full.
fn room(full: bool) -> Room {
    if full { Room::None } else { Room::Left }
}

fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags as u32)
}

impl fuser::Filesystem for Edge {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // With the session of the device the kernel agrees, once.
        match &self.1 {
            Of::Device => {}
            Of::Lane(seat) => {
                lock(seat).as_mut().map(Lane::expect);
                return Ok(());
            }
            Of::More(_) => return Ok(()),
        }
        // Each is an improvement that an older kernel may lack.
        for flag in [
            InitFlags::FUSE_DONT_MASK,
            InitFlags::FUSE_POSIX_ACL,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_DIO,
            // Without it the kernel asks for `security.capability` before every write. It leaves the set-id bits to us: see `privileges`.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
            // Handles of name_to_handle_at(2) would be valid only as long as the kernel remembers the file: better none (Linux 6.9).
            InitFlags::FUSE_NO_EXPORT_SUPPORT,
        ] {
            // Not supported is the one possible error, and then it is not requested.
            let _ = config.add_capabilities(flag);
        }
        let no_opendir = config.add_capabilities(InitFlags::FUSE_NO_OPENDIR_SUPPORT).is_ok();
        self.0.no_opendir.store(no_opendir, Ordering::Relaxed);
        if self.0.options.passthrough {
            let depth = self.0.stack_depth();
            let offered = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok();
            if !offered || config.set_max_stack_depth(depth).is_err() {
                self.0
                    .passthrough
                    .refuse("the kernel offers none (Linux before 6.9, or without CONFIG_FUSE_PASSTHROUGH)");
            }
        }
        // Where opens are left out, a truncation comes by itself.
        let no_open = (!self.0.passthrough.is_on() || self.0.restricted)
            && self.0.can_do_without_opens()
            && config.add_capabilities(InitFlags::FUSE_NO_OPEN_SUPPORT).is_ok();
        self.0.no_open.store(no_open, Ordering::Relaxed);
        if !no_open {
            let _ = config.add_capabilities(InitFlags::FUSE_ATOMIC_O_TRUNC);
        }
        // One request for what readahead and large writes ask for at once. Where the kernel allows less, that is an error that changes
        // nothing: its own limit stays.
        let most = lanes::PAYLOAD as u32;
        let _ = config.set_max_write(most);
        let _ = config.set_max_readahead(most);
        if self.0.options.uring != Some(false) && config.capabilities().contains(InitFlags::FUSE_OVER_IO_URING) {
            self.0.prepare_lanes(|| config.add_capabilities(InitFlags::FUSE_OVER_IO_URING).is_ok());
        }
        Ok(())
    }

    fn bmap(&self, _req: &Request, _ino: INodeNo, _blocksize: u32, _idx: u64, reply: ReplyBmap) {
        let answer = || reply.error(Errno::ENOSYS);
        match &self.1 {
            Of::Device => answer(),
            Of::Lane(seat) => lanes::begin(seat, answer),
            Of::More(place) => {
                answer();
                self.0.crew.begin_more(place, &self.0);
            }
        }
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turn(req, Op::Lookup);
        let found = self.0.look_up(parent.0, name);
        self.0.counters.looked_up(&found);
        match found {
            Err(rustix::io::Errno::NOENT) if self.0.options.ttl_seconds > 0 => {
                // Node 0: the kernel remembers that there is no such name.
                let nothing = FileAttr { ino: INodeNo(0), ..NO_ATTRIBUTES };
                reply.entry(&self.0.ttl(), &nothing, GENERATION);
            }
            found => self.entry(found, reply),
        }
    }

    fn forget(&self, req: &Request, ino: INodeNo, nlookup: u64) {
        let _turn = self.turn(req, Op::Forget);
        self.0.forget(ino.0, nlookup);
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.turn(req, Op::Getattr);
        let shown = self.0.node(ino.0).and_then(|node| self.0.getattr(&node).map(|stat| self.shown(&node, stat)));
        Self::attr(shown, reply);
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.turn(req, Op::Setattr);
        let change = Change { mode, uid, gid, size, atime: atime.map(timespec), mtime: mtime.map(timespec) };
        let shown = self.0.node(ino.0).and_then(|node| {
            let change = self.0.options.owners.store_change(change)?;
            // A handle that is gone is no reason to fail: the node is enough.
            let handle = fh.and_then(|fh| self.0.handle(fh.0).ok());
            self.0.setattr(&node, &change, handle.as_ref(), caller(req)).map(|stat| self.shown(&node, stat))
        });
        Self::attr(shown, reply);
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        let _turn = self.turn(req, Op::Readlink);
        match self.0.node(ino.0).and_then(|node| self.0.readlink(&node)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn mknod(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, rdev: u32, reply: ReplyEntry) {
        let _turn = self.turn(req, Op::Mknod);
        let new = match Kind::from_raw_mode(mode) {
            Kind::RegularFile => New::File,
            kind => New::Special(kind, user_device(rdev)),
        };
        self.entry(self.0.make(parent.0, name, self.maker(req, mode, umask), new), reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let _turn = self.turn(req, Op::Mkdir);
        self.entry(self.0.make(parent.0, name, self.maker(req, mode, umask), New::Directory), reply);
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Unlink);
        Self::empty(self.0.unlink(parent.0, name, caller(req)), reply);
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Rmdir);
        Self::empty(self.0.rmdir(parent.0, name, caller(req)), reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, link_name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _turn = self.turn(req, Op::Symlink);
        self.entry(self.0.make(parent.0, link_name, self.maker(req, 0o777, 0), New::Symlink(target)), reply);
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(req, Op::Rename);
        Self::empty(self.0.rename((parent.0, name), (newparent.0, newname), flags, caller(req)), reply);
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let _turn = self.turn(req, Op::Link);
        self.entry(self.0.node(ino.0).and_then(|node| self.0.link(&node, newparent.0, newname)), reply);
    }

    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn(req, Op::Open);
        if self.0.leaves_out_opens() {
            return reply.error(Errno::ENOSYS);
        }
        let opened = self.0.node(ino.0).and_then(|node| self.0.open(&node, open_flags(flags.0), caller(req)));
        match opened {
            Ok(opened) => match &opened.backing {
                Some(backing) => backing.opened(reply, FileHandle(opened.handle)),
                None => reply.opened(FileHandle(opened.handle), FopenFlags::FOPEN_KEEP_CACHE),
            },
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _turn = self.turn(req, Op::Create);
        let maker = self.maker(req, mode, umask);
        let made = self.0.create(parent.0, name, maker, open_flags(flags));
        match made.map(|(found, opened)| (self.found(&found), opened)) {
            Ok(((ttl, attr), opened)) => {
                let handle = FileHandle(opened.handle);
                match &opened.backing {
                    Some(backing) => backing.created(reply, &ttl, &attr, GENERATION, handle),
                    None => reply.created(&ttl, &attr, GENERATION, handle, FopenFlags::FOPEN_KEEP_CACHE),
                }
            }
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.turn(req, Op::Read);
        let _away = (size as usize > MOMENT).then(|| self.0.crew.away());
        // Memory that this thread has had before: to get it anew, and of zeros, takes as long as to read into it.
        thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let room = buffer.get_mut(..size).unwrap_or_default();
            match self.0.via(ino.0, fh.0).and_then(|via| self.0.read(&via, room, offset)) {
                Ok(got) => reply.data(room.get(..got).unwrap_or_default()),
                Err(errno) => reply.error(code(errno)),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _turn = self.turn(req, Op::Write);
        let _away = (data.len() > MOMENT).then(|| self.0.crew.away());
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID).then(|| caller(req));
        let written = self.0.via(ino.0, fh.0).and_then(|via| self.0.write(&via, data, offset, kill));
        match written {
            Ok(written) => reply.written(written as u32),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn flush(&self, req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Flush);
        // Nothing is buffered here. ENOSYS tells the kernel not to ask at every close(2).
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(req, Op::Release);
        self.0.release(fh.0);
        reply.ok();
    }

    fn fsync(&self, req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Fsync);
        let _away = self.0.crew.away();
        Self::empty(self.0.via(ino.0, fh.0).and_then(|via| self.0.fsync(&via, datasync)), reply);
    }

    fn opendir(&self, req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn(req, Op::Opendir);
        if self.0.no_opendir.load(Ordering::Relaxed) {
            // The kernel then neither asks again, nor tells when a directory is closed, and keeps listings.
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
        }
    }

    fn readdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _turn = self.turn(req, Op::Readdir);
        let listed = self.0.list(ino.0, offset, |listed| {
            room(reply.add(INodeNo(listed.ino), listed.cookie, file_type(listed.kind), listed.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn readdirplus(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let _turn = self.turn(req, Op::Readdirplus);
        let listed = self.0.list_with_look_ups(ino.0, offset, |listed, found| {
            let (id, ttls, attr) = match found {
                LookedUp::Found(found) => {
                    let (ttl, attr) = self.found(found);
                    (found.node.id, ttl, attr)
                }
                // `.` and `..`: the kernel takes the number and the type and counts no look-up.
                LookedUp::Never => {
                    let attr = FileAttr { ino: INodeNo(listed.ino), kind: FileType::Directory, ..NO_ATTRIBUTES };
                    (listed.ino, Duration::ZERO, attr)
                }
                // The kernel lists the name, sees that no file is of such a size, and has the number forgotten (fuse_direntplus_link in
                // fs/fuse/readdir.c): it has to be nobody's.
                LookedUp::InVain => {
                    let id = self.0.table.numbers.count();
                    let kind = file_type(listed.kind);
                    (id, Duration::ZERO, FileAttr { ino: INodeNo(id), kind, size: u64::MAX, ..NO_ATTRIBUTES })
                }
            };
            room(reply.add(INodeNo(id), listed.cookie, listed.name, &ttls, &attr, GENERATION))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Fsyncdir);
        let _away = self.0.crew.away();
        Self::empty(self.0.fsyncdir(ino.0), reply);
    }

    fn statfs(&self, req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turn(req, Op::Statfs);
        match self.0.statfs() {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(req, Op::Setxattr);
        let flags = XattrFlags::from_bits_retain(flags as u32);
        let done = self.0.node(ino.0).and_then(|node| {
            let value = self.0.options.owners.store_xattr(name, value.to_vec())?;
            self.0.setxattr(&node, name, &value, flags, caller(req))
        });
        Self::empty(done, reply);
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.turn(req, Op::Getxattr);
        let value = self.0.node(ino.0).and_then(|node| self.0.getxattr(&node, name));
        Self::bytes(value.and_then(|value| self.0.options.owners.show_xattr(name, value)), size, reply);
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turn(req, Op::Listxattr);
        Self::bytes(self.0.node(ino.0).and_then(|node| self.0.listxattr(&node, caller(req))), size, reply);
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(req, Op::Removexattr);
        Self::empty(self.0.node(ino.0).and_then(|node| self.0.removexattr(&node, name)), reply);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(req, Op::Fallocate);
        let _away = self.0.crew.away();
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let done = self.0.via(ino.0, fh.0);
        Self::empty(done.and_then(|via| self.0.fallocate(&via, mode, offset, length, caller(req))), reply);
    }

    fn lseek(&self, req: &Request, ino: INodeNo, fh: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let _turn = self.turn(req, Op::Lseek);
        let to = match (u64::try_from(offset), whence) {
            (Ok(offset), libc::SEEK_DATA) => SeekFrom::Data(offset),
            (Ok(offset), libc::SEEK_HOLE) => SeekFrom::Hole(offset),
            (Err(_), libc::SEEK_DATA | libc::SEEK_HOLE) => return reply.error(Errno::ENXIO),
            // The kernel answers the others by itself.
            _ => return reply.error(Errno::EINVAL),
        };
        match self.0.via(ino.0, fh.0).and_then(|via| self.0.lseek(&via, to)) {
            Ok(position) => reply.offset(position as i64),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let _turn = self.turn(req, Op::CopyFileRange);
        let copied = self.0.via(ino_in.0, fh_in.0).and_then(|from| {
            let to = self.0.via(ino_out.0, fh_out.0)?;
            self.0.copy_file_range((&from, offset_in), (&to, offset_out), len, caller(req))
        });
        match copied {
            Ok(copied) => reply.written(copied as u32),
            Err(errno) => reply.error(code(errno)),
        }
    }
}

/// For answers in which only the number or the type counts.
const NO_ATTRIBUTES: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: UNIX_EPOCH,
    mtime: UNIX_EPOCH,
    ctime: UNIX_EPOCH,
    crtime: UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    flags: 0,
    blksize: 0,
};
