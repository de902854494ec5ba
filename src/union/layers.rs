//! The opened branches, and the names that aufs keeps for itself. Not the merging: that is `index`.
//!
//! Source of the names: aufs manual, "Whiteout" (`AUFS_WH_PFX` ".wh.", `AUFS_WH_DIROPQ` ".wh..wh..opq").

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::MsFlags;
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RawDir, Stat, StatFs};
use rustix::io::Errno;

use super::overlap::{self, Given};
use super::privileges::PERMISSIONS;
use super::target::Target;
use super::whiteout::make_base;
use super::{Res, UnionConfig, UnionError};
use crate::sys::mount_copy::{AccessTimes, private_copy};

/// A layer of the union: [`UPPER`], or the position of a lower, 0 being the top one.
pub(super) type Layer = u16;
/// The writable layer.
pub(super) const UPPER: Layer = Layer::MAX;

/// Prefix of a name that hides the rest of the name in the layers below.
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// Marker that hides everything below a directory.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of aufs's own names (`.wh..wh.aufs`, `.wh..wh.plnk`, `.wh..wh.orph`, the opaque marker).
const RESERVED: &[u8] = b".wh..wh.";
/// The extended attribute that holds the ACL of a file (acl(5)).
pub(super) const ACCESS_ACL: &str = "system.posix_acl_access";
/// The extended attribute that holds the ACL which new files of a directory inherit (acl(5)).
pub(super) const DEFAULT_ACL: &str = "system.posix_acl_default";
/// Where temporary files are in the work directory: a name that nobody has given to anything else, since all that is in there is removed.
pub(super) const SCRATCH: &str = "fuse-union-scratch";
/// Longest name of a file, in bytes.
pub(super) const NAME_MAX: usize = 255;

/// What a name found in a layer stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file or directory of that name.
    Real,
    /// Hides this name below.
    Whiteout(&'a OsStr),
    /// Hides the whole directory below.
    Opaque,
    /// aufs's own, or a whiteout of nothing; to be ignored.
    Reserved,
}

/// What `name` stands for inside a layer.
pub(super) fn meaning(name: &OsStr) -> Meaning<'_> {
    let bytes = name.as_bytes();
    if bytes == OPAQUE {
        Meaning::Opaque
    } else if bytes.starts_with(RESERVED) || bytes == WHITEOUT {
        Meaning::Reserved
    } else if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
        Meaning::Whiteout(OsStr::from_bytes(hidden))
    } else {
        Meaning::Real
    }
}

/// Whether a name may be looked up: EPERM is not for look-ups, reserved names simply are not there.
pub(super) fn check_lookup(name: &OsStr) -> Res<()> {
    if name.len() > NAME_MAX {
        Err(Errno::NAMETOOLONG)
    } else if name.as_bytes().starts_with(WHITEOUT) {
        Err(Errno::NOENT)
    } else {
        Ok(())
    }
}

/// Whether a name may be created. aufs answers EPERM for its reserved prefix.
pub(super) fn check_create(name: &OsStr) -> Res<()> {
    if name.len() > NAME_MAX {
        Err(Errno::NAMETOOLONG)
    } else if name.as_bytes().starts_with(WHITEOUT) {
        Err(Errno::PERM)
    } else {
        Ok(())
    }
}

/// All branches of one union, opened.
#[derive(Debug)]
pub(super) struct Layers {
    lower: Vec<Arc<OwnedFd>>,
    upper: Option<Arc<OwnedFd>>,
    /// `<work>/SCRATCH`: every file below it is ours and temporary.
    scratch: Option<OwnedFd>,
    /// The upper and the work directory, held for their locks.
    _locked: Vec<OwnedFd>,
    /// Layers that are seen with what is mounted below them: the kernel allowed no copy of their mounts.
    exposed: Vec<PathBuf>,
}

impl Layers {
    pub(super) fn open(config: &UnionConfig) -> Result<Layers, UnionError> {
        if config.lower.is_empty() && config.upper.is_none() {
            return Err(UnionError::Config("a union needs at least one lower or an upper".into()));
        }
        if config.lower.len() >= usize::from(UPPER) {
            return Err(UnionError::Config(format!(
                "{} lowers are more than the {UPPER} supported",
                config.lower.len()
            )));
        }
        let opened = config.lower.iter().map(|path| open_dir("open lowerdir", path)).collect::<Result<Vec<_>, _>>()?;
        let writable = config.upper.as_ref().map(|upper| Writable::open(config, upper, &opened)).transpose()?;
        let mut exposed = Vec::new();
        // What the upper is seen with, lowers need not be: they are copied with all that is mounted below them.
        let lower = opened.into_iter().zip(&config.lower).map(|(root, path)| {
            private_copy(&root, true, Some((AccessTimes::Never, true))).unwrap_or_else(|_| {
                exposed.push(path.clone());
                root
            })
        });
        let lower = lower.map(Arc::new).collect();
        Ok(match writable {
            None => Layers { lower, upper: None, scratch: None, _locked: Vec::new(), exposed },
            Some(Writable { upper, scratch, locked, exposed: own }) => {
                exposed.extend(own);
                Layers { lower, upper: Some(Arc::new(upper)), scratch: Some(scratch), _locked: locked, exposed }
            }
        })
    }

    /// The layer below which this mount point lies, if the union would meet itself there.
    pub(super) fn meets_itself_at(&self, mountpoint: &Path) -> Option<&Path> {
        let lies_in = |layer: &&PathBuf| {
            layer.canonicalize().is_ok_and(|layer| mountpoint != layer && mountpoint.starts_with(layer))
        };
        self.exposed.iter().find(lies_in).map(PathBuf::as_path)
    }

    /// Number of lowers.
    pub(super) fn depth(&self) -> usize {
        self.lower.len()
    }

    pub(super) fn writable(&self) -> bool {
        self.upper.is_some()
    }

    /// The root directory of a layer. EROFS for the upper of a read-only union.
    pub(super) fn root(&self, layer: Layer) -> Res<&Arc<OwnedFd>> {
        if layer == UPPER {
            self.upper.as_ref().ok_or(Errno::ROFS)
        } else {
            self.lower.get(usize::from(layer)).ok_or(Errno::IO)
        }
    }

    /// A regular file to try things with: an unnamed one in scratch, or where there is none, this program.
    pub(super) fn file_to_probe(&self) -> Option<OwnedFd> {
        let scratch = self.scratch.as_ref().and_then(|scratch| {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::openat(scratch, ".", flags, Mode::RUSR | Mode::WUSR).ok()
        });
        scratch
            .or_else(|| rustix::fs::openat(CWD, "/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok())
    }

    /// The directory for temporary files, on the file system of the upper.
    pub(super) fn scratch(&self) -> Res<BorrowedFd<'_>> {
        self.scratch.as_ref().map(AsFd::as_fd).ok_or(Errno::ROFS)
    }
}

/// `<upper>.work`.
fn default_work(upper: &Path) -> PathBuf {
    // Through components, so that a trailing slash does not put the work directory inside the upper.
    let mut name = upper.components().collect::<PathBuf>().into_os_string();
    name.push(".work");
    PathBuf::from(name)
}

fn open_dir(operation: &'static str, path: &Path) -> Result<OwnedFd, UnionError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| UnionError::io(operation, path, errno))
}

/// What can be written: the upper, and the directory for temporary files.
#[derive(Debug)]
struct Writable {
    upper: OwnedFd,
    scratch: OwnedFd,
    locked: Vec<OwnedFd>,
    exposed: Vec<PathBuf>,
}

impl Writable {
    fn open(config: &UnionConfig, upper_path: &Path, lowers: &[OwnedFd]) -> Result<Writable, UnionError> {
        let upper = open_dir("open upperdir", upper_path)?;
        let work_path = config.work.clone().unwrap_or_else(|| default_work(upper_path));
        let made = match rustix::fs::mkdirat(CWD, &work_path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(UnionError::io("create workdir", work_path, errno)),
        };
        let opened = Writable::open_in(config, (upper, upper_path), &work_path, lowers);
        if made && opened.is_err() {
            // The error that matters is the first one.
            let _ = rustix::fs::unlinkat(CWD, &work_path, AtFlags::REMOVEDIR);
        }
        opened
    }

    fn open_in(
        config: &UnionConfig,
        (upper, upper_path): (OwnedFd, &Path),
        work_path: &Path,
        lowers: &[OwnedFd],
    ) -> Result<Writable, UnionError> {
        let work = open_dir("open workdir", work_path)?;
        let device = |fd: &OwnedFd, path: &Path| {
            rustix::fs::fstat(fd).map(|stat| stat.st_dev).map_err(|errno| UnionError::io("stat", path, errno))
        };
        if device(&work, work_path)? != device(&upper, upper_path)? {
            return Err(UnionError::Config(format!(
                "workdir {} must be on the file system of upperdir {}",
                work_path.display(),
                upper_path.display()
            )));
        }
        let of_upper = Given { word: "upperdir", path: upper_path, fd: &upper };
        let of_work = Given { word: "workdir", path: work_path, fd: &work };
        let of_lowers = lowers.iter().zip(&config.lower).map(|(fd, path)| Given { word: "lowerdir", path, fd });
        overlap::check(&of_lowers.collect::<Vec<_>>(), of_upper, of_work)?;
        overlap::check_mounts(of_upper, of_work)?;
        let locked = [("upperdir", &upper, upper_path), ("workdir", &work, work_path)];
        let locked = locked.map(|(word, fd, path)| lock_dir(word, fd, path)).into_iter().collect::<Result<_, _>>()?;
        let times = access_times(config.options.mount.flags);
        let own = copies(times, [(&upper, upper_path), (&work, work_path)]);
        let exposed = match &own {
            Some(_) => Vec::new(),
            None => {
                if times.is_some() {
                    eprintln!(
                        "fuse-union: the kernel allows no mount of our own (it needs CAP_SYS_ADMIN and Linux 5.12, and nothing mounted \
                         between upperdir and workdir): noatime and its like have no effect"
                    );
                }
                vec![upper_path.to_path_buf(), work_path.to_path_buf()]
            }
        };
        let [upper, work] = own.unwrap_or([upper, work]);
        let scratch =
            prepare_scratch(&work).map_err(|errno| UnionError::io("prepare", work_path.join(SCRATCH), errno))?;
        // As unions answer: this one and aufs, or fuse-overlayfs. What else can be wrong (no space) keeps nobody from reading.
        if make_base(&scratch).is_err_and(|errno| matches!(errno, Errno::PERM | Errno::INVAL)) {
            // The error that matters is the first one.
            let _ = rustix::fs::unlinkat(&work, SCRATCH, AtFlags::REMOVEDIR);
            return Err(UnionError::Config(format!(
                "upperdir {} is on a file system that allows no name that begins with \".wh.\", such as another union: no name of a \
                 lowerdir could be removed; put upperdir and workdir elsewhere",
                upper_path.display()
            )));
        }
        Ok(Writable { upper, scratch, locked, exposed })
    }
}

/// Locks a directory, so that no other union writes in it.
fn lock_dir(word: &'static str, dir: &OwnedFd, path: &Path) -> Result<OwnedFd, UnionError> {
    // A lock needs a real descriptor, not an O_PATH one.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let locked =
        rustix::fs::openat(dir, ".", flags, Mode::empty()).map_err(|errno| UnionError::io("open", path, errno))?;
    match rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(locked),
        Err(Errno::WOULDBLOCK) => {
            let holder = lock_holder(&locked);
            Err(UnionError::InUse { word, path: path.to_path_buf(), holder })
        }
        Err(errno) => Err(UnionError::io("lock", path, errno)),
    }
}

/// The process that holds the lock of a directory, if it can be seen from here.
fn lock_holder(dir: &OwnedFd) -> Option<u32> {
    let stat = rustix::fs::fstat(dir).ok()?;
    let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
    let file = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
    // "1: FLOCK  ADVISORY  WRITE 708 fe:00:13256 0 EOF" (proc_locks(5))
    std::fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            [_, "FLOCK", _, _, pid, of, ..] if of == file => pid.parse().ok(),
            _ => None,
        }
    })
}

/// The directory for temporary files, empty.
fn prepare_scratch(work: &OwnedFd) -> Res<OwnedFd> {
    match rustix::fs::mkdirat(work, SCRATCH, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let scratch = open_dir_at(work.as_fd(), OsStr::new(SCRATCH))?;
    empty_dir(scratch.as_fd())?;
    // A default ACL that it got from the directory above would be inherited by every copy.
    let own = Target::At(Arc::new(scratch.try_clone().map_err(super::state::errno)?), OsString::from("."));
    match own.remove_xattr(OsStr::new(DEFAULT_ACL)) {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(scratch),
        Err(errno) => Err(errno),
    }
}

/// What the union was told of access times with the words of mount(8): when they change, and whether those of directories do. The kernel leaves
/// it to FUSE daemons.
fn access_times(flags: MsFlags) -> Option<(AccessTimes, bool)> {
    let times = if flags.intersects(MsFlags::MS_NOATIME | MsFlags::MS_RDONLY) {
        AccessTimes::Never
    } else if flags.contains(MsFlags::MS_STRICTATIME) {
        AccessTimes::Always
    } else if flags.intersects(MsFlags::MS_RELATIME | MsFlags::MS_NODIRATIME) {
        AccessTimes::Relative
    } else {
        return None;
    };
    Some((times, !flags.contains(MsFlags::MS_NODIRATIME)))
}

/// Directories in one copy of the mount that they are on, without what is mounted below: files have to move from one to the other, and the
/// union itself may be mounted in there. `None` where that cannot be.
fn copies(times: Option<(AccessTimes, bool)>, originals: [(&OwnedFd, &Path); 2]) -> Option<[OwnedFd; 2]> {
    let [first, second] = originals.map(|(_, path)| path.canonicalize().ok());
    let (first, second) = (first?, second?);
    let above: PathBuf =
        first.components().zip(second.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let copy = private_copy(open_dir("open", &above).ok()?, false, times).ok()?;
    let open = |path: &Path, original: &OwnedFd| {
        let below = path.strip_prefix(&above).ok()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found =
            rustix::fs::openat(&copy, if below == "" { Path::new(".") } else { below }, flags, Mode::empty()).ok()?;
        let same = |a: Stat, b: Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        same(rustix::fs::fstat(&found).ok()?, rustix::fs::fstat(original).ok()?).then_some(found)
    };
    Some([open(&first, originals[0].0)?, open(&second, originals[1].0)?])
}

/// Opens one component below `dir` as a place to work at. Never follows a symbolic link, so that a layer cannot lead outside itself.
pub(super) fn open_dir_at(dir: BorrowedFd<'_>, name: &OsStr) -> Res<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Whether a file system is made of others (overlay, FUSE).
pub(super) fn is_stacked(statfs: &StatFs) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;
    matches!(statfs.f_type, OVERLAYFS_SUPER_MAGIC | FUSE_SUPER_MAGIC)
}

/// Opens something for reading without touching its access time, where that is allowed (owner or root).
pub(super) fn quietly(open: impl Fn(OFlags) -> Res<OwnedFd>) -> Res<OwnedFd> {
    match open(OFlags::NOATIME) {
        Err(Errno::PERM) => open(OFlags::empty()),
        other => other,
    }
}

/// Calls `visit` with every name of a directory but `.` and `..`, and its type (Unknown where the file system does not say).
pub(super) fn read_dir(dir: BorrowedFd<'_>, mut visit: impl FnMut(&OsStr, FileType)) -> Res<()> {
    read_entries(dir, |name, kind, _| visit(name, kind))
}

/// As [`read_dir`], with the inode numbers that the directory holds.
pub(super) fn read_entries(dir: BorrowedFd<'_>, visit: impl FnMut(&OsStr, FileType, u64)) -> Res<()> {
    read_opened(open_to_read(dir, OsStr::new("."))?.as_fd(), visit)
}

/// Opens a directory for reading.
pub(super) fn open_to_read(dir: BorrowedFd<'_>, name: &OsStr) -> Res<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // It is not the user who reads here.
    quietly(|quiet| rustix::fs::openat(dir, name, flags | quiet, Mode::empty()))
}

/// As [`read_entries`], of a directory that is open for reading and stands at its beginning.
pub(super) fn read_opened(dir: BorrowedFd<'_>, mut visit: impl FnMut(&OsStr, FileType, u64)) -> Res<()> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            visit(name, entry.file_type(), entry.ino());
        }
    }
    Ok(())
}

/// The type of a directory entry, for file systems whose readdir does not tell.
pub(super) fn file_type_at(dir: BorrowedFd<'_>, name: &OsStr) -> Res<FileType> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// Whether this is how the kernel's overlay hides a name in a layer: a character device without a number ("whiteouts" in
/// Documentation/filesystems/overlayfs.rst). In the upper, where anybody may make such a device here, only one that has the mode which overlay gives
/// them (WHITEOUT_MODE in include/linux/fs.h).
pub(super) fn is_overlay_whiteout(layer: Layer, stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == 0
        && (layer != UPPER || stat.st_mode & PERMISSIONS == 0)
}

/// Whether the kernel's overlay keeps this attribute for itself, in a layer of root's or of a user namespace's. It says something of the place that the
/// file is in, and nothing of the file.
pub(super) fn is_of_overlay(attribute: &[u8]) -> bool {
    attribute.starts_with(b"trusted.overlay.") || attribute.starts_with(b"user.overlay.")
}

/// Whether the kernel's overlay has marked a directory as opaque: as root, or in a user namespace.
pub(super) fn is_overlay_opaque(dir: &Target) -> bool {
    // Few directories have any attribute: one call does for most. Where they have none at all, they have not this one.
    let names = dir.list_xattrs().unwrap_or_default();
    ["trusted.overlay.opaque", "user.overlay.opaque"].into_iter().any(|name| {
        names.split(|byte| *byte == 0).any(|there| there == name.as_bytes())
            && dir.xattr(OsStr::new(name)).is_ok_and(|value| value.as_deref() == Some(b"y"))
    })
}

/// Removes everything below `dir`, which stays.
pub(super) fn empty_dir(dir: BorrowedFd<'_>) -> Res<()> {
    let mut names = Vec::new();
    read_dir(dir, |name, kind| names.push((name.to_os_string(), kind)))?;
    for (name, kind) in names {
        remove_tree(dir, &name, kind)?;
    }
    Ok(())
}

/// Removes `name` and everything below it.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr, kind: FileType) -> Res<()> {
    let kind = if kind == FileType::Unknown { file_type_at(dir, name)? } else { kind };
    if kind == FileType::Directory {
        let child = open_dir_at(dir, name)?;
        empty_dir(child.as_fd())?;
        rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
    } else {
        rustix::fs::unlinkat(dir, name, AtFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_aufs_says() {
        assert_eq!(meaning(OsStr::new("file")), Meaning::Real);
        assert_eq!(meaning(OsStr::new(".wh")), Meaning::Real);
        assert_eq!(meaning(OsStr::new(".wh.file")), Meaning::Whiteout(OsStr::new("file")));
        assert_eq!(meaning(OsStr::new(".wh..hidden")), Meaning::Whiteout(OsStr::new(".hidden")));
        assert_eq!(meaning(OsStr::new(".wh..wh..opq")), Meaning::Opaque);
        assert_eq!(meaning(OsStr::new(".wh..wh.aufs")), Meaning::Reserved);
        assert_eq!(meaning(OsStr::new(".wh..wh.plnk")), Meaning::Reserved);
        assert_eq!(meaning(OsStr::new(".wh.")), Meaning::Reserved);
    }

    #[test]
    fn the_default_work_directory_is_beside_the_upper() {
        assert_eq!(default_work(Path::new("/a/upper/")), Path::new("/a/upper.work"));
    }
}
