//! layerbench's own FUSE union: one writable upper over read-only lowers, with aufs's semantics and aufs's form on disk.
//!
//! It is a file system daemon and nothing else: it knows no stacks, no images and no measurements. `driver::fuse_union` and the
//! command line may use it; nothing else of layerbench may.
//!
//! How it works, in the order of the files:
//! - `layers`: the opened branches and the names that aufs reserves (`.wh.<name>`, `.wh..wh..opq`). `overlap`: which of them cannot be.
//! - `index`: the merged content of one directory, read once from all layers (`merge`). Lowers are immutable and the upper is changed only by
//!   this daemon, so that a look-up afterwards costs no search, at any depth.
//! - `node`: what the kernel knows (nodes) and what there is (inodes); names, forgetting. `numbers`: inode numbers.
//! - `state`: the union itself; finds a descriptor, an index, an attribute. `look_up`: finds a child.
//! - `target`: a way to one file of one layer, and the system calls on it.
//! - `copy_up`: a lower file becomes an upper one, made complete before it gets its name; `copy_data`: its bytes.
//!   `spare`: a file made ready for the next one.
//! - `hard_links`: finds all names of a lower file, and gives them to its copy.
//! - `attr`, `create`, `remove`, `rename`, `link`, `file`, `list`, `xattr`: the operations. `whiteout`: what hides names below.
//! - `passthrough`: which file the kernel reads and writes by itself for a node. `unopened`: reading and writing where it is asked at no open.
//!   `kept`: files that stay open for who needs them next. `reserve`: descriptors that are left for others.
//! - `privileges`: set-id bits, which a write takes away.
//! - `owners`: maps of user and group ids, for user namespaces.
//! - `fs`: the edge to fuser; decodes, calls, replies. `crew`: how many of its threads wait for requests; `more`: those that come when
//!   these are held up. `linger`: how they wait. `behind`: what they do when nobody waits for them. `lanes`: requests by io_uring.
//! - `refusal`: what the kernel said when it refused passthrough; said once. `counters`: what was done, in numbers.
//! - `options`: the words of `-o`. `mount`: mounting and unmounting. `serve`: a daemon's signals, counters and end.
//!
//! # Form on disk
//! The upper is a valid read-write branch of aufs. A copied-up file is a plain file, a removed lower name is an empty regular file
//! `.wh.<name>`, a directory that replaces a removed one holds `.wh..wh..opq`. A real entry wins over a whiteout of the same name in
//! the same layer (the whiteout then only hides what is below), which makes every step crash-safe without a journal.
//! All whiteouts and markers are hard links of one empty file, as aufs's are, so that they take no inodes; one that is a file of its own means the same.
//!
//! What the kernel's overlay has hidden in a layer is hidden as well: the two share the stores of Podman. It hides a name by a character device
//! without a number, and what is below a directory by an attribute (`trusted.overlay.opaque`, `user.overlay.opaque`). In the upper both (of devices
//! those of mode 0, as overlay makes them) are turned into aufs's form when the directory is read, unless the mount is read-only. Its other attributes (`redirect`, `metacopy`, whiteouts by attribute) are not understood; Docker and
//! Podman do not use them. None of them is copied up or listed, or can be set.
//!
//! # What differs from a plain file system
//! - `rename(2)` of a directory that has anything in a lower layer is EXDEV.
//! - `st_ino` does not change while the mount lasts (copy_up, rename). The next mount of the same layers shows the same ones, but for files
//!   that were renamed, for the further names of a hard link, and for a file that was made at once where another one had been removed:
//!   their numbers are those of their paths from then on.
//! - `st_nlink` of a lower file counts its names in that layer, also those that are hidden or removed, but for one that had a single name, which
//!   is removed: that has none. From its copy_up on it counts the names that the merged tree shows. All names stay one file throughout; a daemon that dies in the middle of a copy_up may leave
//!   some names with the copy and some with the lower file, of the same content.
//! - A lower name of more than 251 bytes cannot be removed or renamed (ENAMETOOLONG): `.wh.` before it would not fit. It can be
//!   written, since that needs no whiteout.
//! - With passthrough, a file opened for reading before the copy_up keeps reading the lower data (as in overlay). Without passthrough
//!   it sees the new data, as on a plain file system.
//! - flock(2) and fcntl(2) locks belong to the kernel's node of a file. Where a reader keeps the lower data in this way, who opens the file
//!   after the first write has another node: the two do not see each other's locks. Among themselves all do, as without passthrough.
//!   A descriptor of that reader is no way to write either: an open through /proc/self/fd for writing is ESTALE.
//! - While a file has two nodes in this way, a listing may show the number of the second one; stat(2) shows the first one's.
//! - Reading a lower file does not change its access time, as in overlay.
//! - Flags of chattr(1) bind only in the upper: FS_IOC_GETFLAGS is ENOTTY, and a lower file that is immutable or append-only there is copied up
//!   without that.
//! - Without passthrough a read that the kernel serves from its own pages changes no access time.
//! - Without passthrough lseek(2) takes for a hole (SEEK_DATA, SEEK_HOLE) what a mapping has written to one, until that is written back: by msync(2), or
//!   when it is unmapped.
//! - Where the kernel asks at no open (`unopened`), a file is copied up when it is written to, as in aufs, and an open for writing finds no error of the
//!   layers: of space or of chattr(1). The write does, and for a shared mapping msync(2), fsync(2), or nobody: what it wrote is lost then.
//! - With passthrough, F_SETFL of fcntl(2) that takes O_APPEND or O_DIRECT away has no effect on reads and writes: the kernel does them with the
//!   flags of the open.
//! - Where they are not, an open with O_RDONLY|O_TRUNC of a file that somebody has open is ETXTBSY: POSIX does not say what it is to do, and it might be a program
//!   that runs.
//! - syncfs(2) flushes nothing: the kernel tells of it only virtiofs. fsync(2) does.
//! - A daemon without privileges shows no name in a directory that it may search but not read, if several layers have it.
//! - FUSE has no request for FICLONE and FIDEDUPERANGE, the fallocate(2) modes that shift data (collapse, insert), or the time of birth in statx(2).
//! - There are no file handles (name_to_handle_at(2)), and so no export by NFS.
//! - O_TMPFILE is refused (EOPNOTSUPP), as fuser has no FUSE_TMPFILE.
//! - Names that begin with `.wh.` do not exist and cannot be created (EPERM, as in aufs).
//! - A character device without a number can be made, other than in overlay, unless its mode is 0 (EPERM), and hides what is below it once its
//!   layer is a lower.

mod attr;
mod behind;
mod copy_data;
mod copy_up;
mod counters;
mod create;
mod crew;
mod file;
mod fs;
mod hard_links;
mod index;
mod kept;
mod lanes;
mod layers;
mod linger;
mod link;
mod list;
mod look_up;
mod merge;
mod more;
mod mount;
mod node;
mod numbers;
mod options;
mod overlap;
mod owners;
mod passthrough;
mod privileges;
mod refusal;
mod remove;
mod rename;
mod reserve;
mod serve;
mod spare;
mod state;
mod target;
mod unopened;
mod whiteout;
mod xattr;

use std::path::PathBuf;

pub use counters::Report;
pub use lanes::NO_URING;
pub use mount::{FS_TYPE, UnionMount, mount_background, remount};
pub use options::{MountOptions, UnionOptions, describe_options, escape, lacks_a_layer, split_layers};
pub use owners::Owners;
pub use refusal::NO_PASSTHROUGH;
pub use serve::serve;

/// What to merge.
#[derive(Debug, Clone)]
pub struct UnionConfig {
    /// Read-only directory trees, top first. None of them may change while mounted.
    pub lower: Vec<PathBuf>,
    /// The writable tree; `None` makes the mount read-only. Nobody else may change it while mounted.
    pub upper: Option<PathBuf>,
    /// Scratch for copy_up, on the mount of `upper`, beside it. It is created if missing; what an earlier mount left in its
    /// `fuse-union-scratch` is removed.
    /// `None` means `<upper>.work`, beside the upper.
    pub work: Option<PathBuf>,
    /// How to serve.
    pub options: UnionOptions,
}

/// Why a union could not be mounted or served.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// An option that does not exist, or a value that does not fit.
    #[error("option {word:?}: {reason}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    Option {
        /// The word as given.
        word: String,
        /// What is wrong with it.
        reason: String,
        /// The nearest valid word.
        nearest: Option<String>,
    },
    /// The configuration cannot be mounted by anyone.
    #[error("{0}")]
    Config(String),
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The errno.
        errno: std::io::Error,
    },
    /// Another union uses the same upper or work directory.
    #[error(
        "{word} {} is used by another mount{}", path.display(),
        holder.map(|pid| format!(", served by process {pid}: umount it, or end that process")).unwrap_or_default()
    )]
    InUse {
        /// The word of the options for the directory.
        word: &'static str,
        /// The directory.
        path: PathBuf,
        /// The process that serves the other mount, where it can be seen.
        holder: Option<u32>,
    },
}

impl UnionError {
    fn io(operation: &'static str, path: impl Into<PathBuf>, errno: impl Into<std::io::Error>) -> Self {
        UnionError::Io { operation, path: path.into(), errno: errno.into() }
    }
}

/// An errno inside the union: what an operation answers to the kernel.
type Errno = rustix::io::Errno;
/// The result of an operation of the union.
type Res<T> = Result<T, Errno>;
