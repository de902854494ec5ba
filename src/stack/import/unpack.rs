//! Puts the entries of one layer into its folder, in the store's own form: whiteouts are `.wh.<name>`, an opaque folder has `.wh..wh..opq`,
//! which is what archives of layers have too (OCI image specification, layer.md, "Whiteouts").
//!
//! An entry that no layer may have is refused by name and the next one follows; what this user cannot keep is left out and noted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, linkat, makedev,
    mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::ImportError;
use super::member::{Attributes, Kind, Member};
use super::place::{Barred, Place, WORKING_MODE, path_of};
use super::report::Report;
use crate::stack::folder::remove_tree;
use crate::stack::image::Item;
use crate::stack::partial::go_on;
use crate::stack::scan::{self, Content};
use crate::stack::{DIR_MODE, OPAQUE_NAME, WHITEOUT_MODE, WHITEOUT_PREFIX, at};

/// What aufs and Docker's old driver begin names of their own with.
const OWN_PREFIX: &str = ".wh..wh.";
/// Longest target of a symbolic link.
const TARGET_MAX: usize = 4095;
/// Attributes that say something to a union below which a layer lies, and so are not an image's to set.
const UNION_XATTRS: [&str; 4] = ["trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.", "security.fuseoverlayfs."];

/// What became of an entry.
enum Fate {
    Kept,
    Refused(String),
    Failed(&'static str, Errno),
}

impl From<Barred> for Fate {
    fn from(barred: Barred) -> Fate {
        match barred {
            Barred::Refused(reason) => Fate::Refused(reason),
            Barred::Failed(e) => Fate::Failed("open folder", e),
        }
    }
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> Fate {
    move |e| Fate::Failed(operation, e)
}

/// What later layers have to know of one that is complete.
#[derive(Debug, Default)]
pub(super) struct Below {
    folders: BTreeMap<PathBuf, Attributes>,
    hidden: BTreeSet<PathBuf>,
}

/// A layer that is being unpacked.
pub(super) struct Unpacker<'a> {
    root: &'a Path,
    place: Place,
    report: &'a mut Report,
    /// Attributes of folders: set last, since unpacking changes times, and a folder may forbid writing.
    folders: BTreeMap<PathBuf, Attributes>,
    /// Folders that no entry is about.
    implied: BTreeSet<PathBuf>,
    whiteouts: BTreeSet<PathBuf>,
    opaque: BTreeSet<PathBuf>,
    /// Contents by inode.
    contents: HashMap<u64, Content>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    /// Into a folder that is there and empty.
    pub(super) fn new(root: &'a Path, report: &'a mut Report) -> Result<Unpacker<'a>, ImportError> {
        let place = Place::open(root).map_err(at("open", root))?;
        Ok(Unpacker {
            root,
            place,
            report,
            folders: BTreeMap::new(),
            implied: BTreeSet::from([PathBuf::new()]),
            whiteouts: BTreeSet::new(),
            opaque: BTreeSet::new(),
            contents: HashMap::new(),
            buffer: vec![0; 128 << 10],
        })
    }

    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// One entry. `content` is read for regular files alone; `length` is how long it says it is.
    pub(super) fn add(&mut self, member: &Member, length: u64, content: &mut dyn Read) -> Result<(), ImportError> {
        go_on().map_err(at("unpack into", self.root))?;
        self.report.entry()?;
        let path = match path_of(&member.name) {
            Ok(path) => path,
            Err(reason) => {
                self.report.refuse(&member.name, reason);
                return Ok(());
            }
        };
        if member.kind == Kind::File {
            self.report.content(length)?;
        }
        match self.put(&path, member, content)? {
            Fate::Kept => {}
            Fate::Refused(reason) => self.report.refuse(&member.name, reason),
            Fate::Failed(operation, e) => return Err(at(operation, &self.root.join(&path))(e).into()),
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, member: &Member, content: &mut dyn Read) -> Result<Fate, ImportError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let wh = |name: &OsStr| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes());
        let own = |name: &OsStr| [".wh..wh.plnk", ".wh..wh.orph", ".wh..wh.aufs"].iter().any(|own| name == *own);
        if path.iter().any(own) {
            self.report.leave_out("aufs's own bookkeeping is not part of a layer", path);
            return Ok(Fate::Kept);
        }
        if parent.iter().any(wh) {
            return Ok(Fate::Refused("it lies inside a whiteout".into()));
        }
        let Some(name) = path.file_name() else { return Ok(self.put_root(member)) };
        if wh(name) {
            return Ok(self.put_mark(path, parent, name, &member.kind).unwrap_or_else(|fate| fate));
        }
        if let Kind::File = member.kind {
            return self.put_file(path, parent, name, &member.attributes, content);
        }
        Ok(self.put_other(path, parent, name, member).unwrap_or_else(|fate| fate))
    }

    fn put_root(&mut self, member: &Member) -> Fate {
        if member.kind != Kind::Dir {
            return Fate::Refused("the root of a layer can be nothing but a folder".into());
        }
        self.implied.remove(Path::new(""));
        self.folders.insert(PathBuf::new(), member.attributes.clone());
        Fate::Kept
    }

    fn put_mark(&mut self, path: &Path, parent: &Path, name: &OsStr, kind: &Kind) -> Result<Fate, Fate> {
        let hidden = name.as_bytes().get(WHITEOUT_PREFIX.len()..).unwrap_or_default();
        // aufs makes a whiteout a hard link of one file.
        if !matches!(kind, Kind::File | Kind::HardLink(_)) {
            return Ok(Fate::Refused("the name of a whiteout, and it is no regular file".into()));
        }
        let is_opaque = name == OPAQUE_NAME;
        if !is_opaque && name.as_bytes().starts_with(OWN_PREFIX.as_bytes()) {
            return Ok(Fate::Refused("a whiteout of a whiteout".into()));
        }
        if !is_opaque && matches!(hidden, b"" | b"." | b"..") {
            return Ok(Fate::Refused("a whiteout that hides no name".into()));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
        match openat(folder, name, flags, Mode::from_raw_mode(WHITEOUT_MODE)) {
            // The same mark twice says nothing new.
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed("create")(e)),
        }
        if is_opaque {
            self.opaque.insert(parent.to_owned());
        } else {
            self.whiteouts.insert(path.with_file_name(OsStr::from_bytes(hidden)));
        }
        Ok(Fate::Kept)
    }

    fn put_file(
        &mut self,
        path: &Path,
        parent: &Path,
        name: &OsStr,
        attributes: &Attributes,
        content: &mut dyn Read,
    ) -> Result<Fate, ImportError> {
        let mut file = match self.create(path, parent, name) {
            Ok(file) => file,
            Err(fate) => return Ok(fate),
        };
        let place = || self.root.join(path);
        let mut hasher = blake3::Hasher::new();
        let mut first = None;
        loop {
            let n = match content.read(&mut self.buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(super::decode::read_error(&self.report.name(path), e)),
            };
            let Some(piece) = self.buffer.get(..n).filter(|piece| !piece.is_empty()) else { break };
            first = first.or_else(|| piece.first().copied());
            hasher.update(piece);
            go_on().and_then(|()| file.write_all(piece)).map_err(|e| at("write", &place())(e))?;
        }
        let inode = file.metadata().map_err(|e| at("stat", &place())(e))?.ino();
        self.contents.insert(inode, (hasher.finalize(), first));
        Ok(self.dress_file(path, &file, attributes).unwrap_or_else(|fate| fate))
    }

    fn create(&mut self, path: &Path, parent: &Path, name: &OsStr) -> Result<File, Fate> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
        match openat(folder, name, flags, mode) {
            Err(Errno::EXIST) => {}
            other => return other.map(File::from).map_err(create_error),
        }
        self.replace(path)?;
        let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
        openat(folder, name, flags, mode).map(File::from).map_err(create_error)
    }

    /// Removes what an earlier entry of the same name made: the last one counts.
    fn replace(&mut self, path: &Path) -> Result<(), Fate> {
        self.report.leave_out("entries that a later one of the same name replaces", path);
        // The way there has just been found to lead through no link.
        let place = self.root.join(path);
        let meta = fs::symlink_metadata(&place).map_err(|e| failed("stat")(errno(&e)))?;
        if meta.is_dir() {
            self.place.forget();
            let below = |other: &PathBuf| !other.starts_with(path);
            self.folders.retain(|folder, _| below(folder));
            for paths in [&mut self.implied, &mut self.whiteouts, &mut self.opaque] {
                paths.retain(below);
            }
            remove_tree(&place).map_err(|e| failed("remove")(errno(&e)))
        } else {
            fs::remove_file(&place).map_err(|e| failed("remove")(errno(&e)))
        }
    }

    fn put_other(&mut self, path: &Path, parent: &Path, name: &OsStr, member: &Member) -> Result<Fate, Fate> {
        if let Kind::Dir = member.kind {
            return self.put_folder(path, parent, name, &member.attributes);
        }
        // Found before anything is made or replaced.
        let source = match &member.kind {
            Kind::HardLink(target) => match self.link_source(path, target)? {
                Some(source) => Some(source),
                // A link to itself.
                None => return Ok(Fate::Kept),
            },
            Kind::Symlink(target) => {
                if target.is_empty() || target.len() > TARGET_MAX || target.contains(&0) {
                    return Ok(Fate::Refused("a symbolic link whose target cannot be one".into()));
                }
                None
            }
            Kind::Char(0, 0) => {
                return Ok(Fate::Refused("a character device 0:0, which is a whiteout to overlay".into()));
            }
            _ => None,
        };
        for attempt in 0..2 {
            let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
            let mode = Mode::from_raw_mode(0o600);
            let node = |kind, device| mknodat(folder, name, kind, mode, device);
            let made = match (&member.kind, &source) {
                (Kind::HardLink(_), Some(source)) => {
                    // From the layer's root: `link_source` found that no link is on the way.
                    let root = rustix::fs::open(self.root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
                    root.and_then(|root| linkat(root, source, folder, name, AtFlags::empty()))
                }
                (Kind::Symlink(target), _) => symlinkat(target.as_slice(), folder, name),
                (Kind::Char(major, minor), _) => node(FileType::CharacterDevice, makedev(*major, *minor)),
                (Kind::Block(major, minor), _) => node(FileType::BlockDevice, makedev(*major, *minor)),
                _ => node(FileType::Fifo, 0),
            };
            match made {
                Ok(()) => break,
                Err(Errno::EXIST) if attempt == 0 => self.replace(path)?,
                Err(Errno::PERM) if matches!(member.kind, Kind::Char(..) | Kind::Block(..)) => {
                    self.report.leave_out("devices, which only root may make", path);
                    return Ok(Fate::Kept);
                }
                Err(e) => return Err(create_error(e)),
            }
        }
        if source.is_some() {
            // Its attributes are its file's.
            return Ok(Fate::Kept);
        }
        self.dress_node(path, parent, name, &member.attributes, matches!(member.kind, Kind::Symlink(_)))?;
        Ok(Fate::Kept)
    }

    fn put_folder(&mut self, path: &Path, parent: &Path, name: &OsStr, attributes: &Attributes) -> Result<Fate, Fate> {
        for attempt in 0..2 {
            let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
            match mkdirat(folder, name, WORKING_MODE) {
                Ok(()) => break,
                Err(Errno::EXIST) => {
                    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        break;
                    }
                    if attempt > 0 {
                        return Err(failed("create folder")(Errno::EXIST));
                    }
                    self.replace(path)?;
                }
                Err(e) => return Err(create_error(e)),
            }
        }
        self.implied.remove(path);
        self.folders.insert(path.to_owned(), attributes.clone());
        Ok(Fate::Kept)
    }

    /// The file that a hard link is another name of; `None` where it is the same name.
    fn link_source(&mut self, path: &Path, target: &[u8]) -> Result<Option<PathBuf>, Fate> {
        let refused =
            |reason: String| Fate::Refused(format!("a hard link to {}: {reason}", super::error::shown(target)));
        let source = path_of(target).map_err(refused)?;
        if source == path {
            return Ok(None);
        }
        if source.iter().any(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes())) {
            return Err(refused("a whiteout".into()));
        }
        let Some(name) = source.file_name() else { return Err(refused("no file".into())) };
        let missing = || refused("this layer has no such file before it".into());
        let folder = match self.place.folder(source.parent().unwrap_or(Path::new("")), None) {
            Ok(folder) => folder,
            Err(Barred::Failed(Errno::NOENT)) => return Err(missing()),
            Err(Barred::Refused(reason)) => return Err(refused(reason)),
            Err(barred) => return Err(barred.into()),
        };
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Err(refused("a folder".into())),
            Ok(_) => Ok(Some(source)),
            Err(Errno::NOENT) => Err(missing()),
            Err(e) => Err(failed("stat")(e)),
        }
    }

    /// Owner, attributes, permissions, times: in this order, since each of the first takes something of the later away, or needs it not to
    /// be there yet.
    fn dress_file(&mut self, path: &Path, file: &File, attributes: &Attributes) -> Result<Fate, Fate> {
        let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
        let owned = rustix::fs::fchown(file, owner.0, owner.1);
        self.note_owner(path, owned)?;
        for (name, value) in &attributes.xattrs {
            if self.may_set(path, name) {
                let set = rustix::fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty());
                self.note_attribute(path, name, set)?;
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(attributes.mode)).map_err(failed("chmod"))?;
        rustix::fs::futimens(file, &times(attributes)).map_err(failed("set times of"))?;
        Ok(Fate::Kept)
    }

    fn dress_node(
        &mut self,
        path: &Path,
        parent: &Path,
        name: &OsStr,
        attributes: &Attributes,
        is_link: bool,
    ) -> Result<(), Fate> {
        let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
        let owner = (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)));
        let owned = chownat(folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW);
        let below = below_descriptor(folder, name);
        self.note_owner(path, owned)?;
        for (attribute, value) in &attributes.xattrs {
            if self.may_set(path, attribute) {
                let set = rustix::fs::lsetxattr(&below, attribute.as_slice(), value, XattrFlags::empty());
                self.note_attribute(path, attribute, set)?;
            }
        }
        let folder = folder_of(&mut self.place, &mut self.implied, parent)?;
        if !is_link {
            chmodat(folder, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty()).map_err(failed("chmod"))?;
        }
        utimensat(folder, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set times of"))
    }

    fn note_owner(&mut self, path: &Path, result: rustix::io::Result<()>) -> Result<(), Fate> {
        match result {
            Ok(()) => Ok(()),
            // Not root, or a namespace that does not know the number.
            Err(Errno::PERM | Errno::INVAL | Errno::OVERFLOW) => {
                self.report.leave_out("owners, which this user may not give", path);
                Ok(())
            }
            Err(e) => Err(failed("chown")(e)),
        }
    }

    /// Whether an attribute is an image's to set.
    fn may_set(&mut self, path: &Path, name: &[u8]) -> bool {
        let reason = if UNION_XATTRS.iter().any(|prefix| name.starts_with(prefix.as_bytes())) {
            "it says something to the union below which the layer lies"
        } else if name.is_empty() || name.len() > 255 || name.contains(&0) {
            "no such name can be"
        } else {
            return true;
        };
        let reason = format!("the attribute {}: {reason}", super::error::shown(name));
        self.report.refuse(path.as_os_str().as_bytes(), reason);
        false
    }

    fn note_attribute(&mut self, path: &Path, name: &[u8], result: rustix::io::Result<()>) -> Result<(), Fate> {
        match result {
            Ok(()) => Ok(()),
            Err(e @ (Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::ACCESS | Errno::RANGE | Errno::TOOBIG)) => {
                let name = super::error::shown(name);
                self.report.leave_out(format!("attributes {name} ({e})"), path);
                Ok(())
            }
            Err(e) => Err(failed("set extended attribute of")(e)),
        }
    }

    /// What is left to do when every entry has been added; returns what now lies in the layer, and what layers above must know.
    /// `below`: the layers below, the top one first.
    pub(super) fn finish(mut self, below: &[Below]) -> Result<(Vec<Item>, Below), ImportError> {
        self.settle_whiteouts()?;
        for path in std::mem::take(&mut self.implied) {
            let attributes = inherited(&path, below);
            self.folders.insert(path, attributes);
        }
        let folders = std::mem::take(&mut self.folders);
        // The innermost first: what is inside changes the time outside.
        for (path, attributes) in folders.iter().rev() {
            match self.dress_folder(path, attributes) {
                Err(Fate::Failed(operation, e)) => return Err(at(operation, &self.root.join(path))(e).into()),
                Err(Fate::Refused(reason)) => self.report.refuse(path.as_os_str().as_bytes(), reason),
                Ok(()) | Err(Fate::Kept) => {}
            }
        }
        let contents = &self.contents;
        let items = scan::layer(self.root, &|path, meta| match contents.get(&meta.ino()) {
            Some(content) => Ok(*content),
            None => scan::content(path),
        });
        let items = items.map_err(|(path, e)| at("read", &path)(e))?;
        let hidden = self.whiteouts.into_iter().chain(self.opaque).collect();
        Ok((items, Below { folders, hidden }))
    }

    /// A whiteout hides names of the layers below, never of its own (layer.md): beside a file it says nothing, and beside a folder that the
    /// folder is opaque.
    fn settle_whiteouts(&mut self) -> Result<(), ImportError> {
        let root = self.root;
        for path in self.whiteouts.clone() {
            let place = root.join(&path);
            let meta = match fs::symlink_metadata(&place) {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(at("stat", &place)(e).into()),
            };
            let mark = root.join(crate::stack::definition::whiteout_path(&path));
            fs::remove_file(&mark).map_err(at("remove", &mark))?;
            self.whiteouts.remove(&path);
            if meta.is_dir() && self.opaque.insert(path) {
                let mark = place.join(OPAQUE_NAME);
                File::create_new(&mark).map_err(at("create", &mark))?;
            }
        }
        Ok(())
    }

    fn dress_folder(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Fate> {
        let parent = self.place.folder(path.parent().unwrap_or(Path::new("")), None)?;
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = File::from(openat(parent, name, flags, Mode::empty()).map_err(failed("open"))?);
        self.dress_file(path, &folder, attributes).map(drop)
    }
}

/// The folder that an entry goes into, made if it is missing.
fn folder_of<'p>(place: &'p mut Place, implied: &mut BTreeSet<PathBuf>, parent: &Path) -> Result<BorrowedFd<'p>, Fate> {
    let mut made = |path: &Path| {
        implied.insert(path.to_owned());
    };
    place.folder(parent, Some(&mut made)).map_err(Fate::from)
}

/// A name in an open folder as a path, for the calls that take no folder.
fn below_descriptor(folder: BorrowedFd<'_>, name: &OsStr) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_fd().as_raw_fd().to_string()).join(name)
}

fn create_error(e: Errno) -> Fate {
    match e {
        Errno::NAMETOOLONG => Fate::Refused("its name is too long for this file system".into()),
        Errno::INVAL | Errno::ILSEQ => Fate::Refused(format!("this file system cannot hold it: {e}")),
        e => Fate::Failed("create", e),
    }
}

fn errno(e: &io::Error) -> Errno {
    Errno::from_io_error(e).unwrap_or(Errno::IO)
}

fn times(attributes: &Attributes) -> Timestamps {
    let (seconds, nanoseconds) = attributes.mtime;
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Attributes of a folder that an archive implies: those of the same folder in the layers below, where it can be seen there.
fn inherited(path: &Path, below: &[Below]) -> Attributes {
    for layer in below {
        if let Some(attributes) = layer.folders.get(path) {
            return attributes.clone();
        }
        if path.ancestors().any(|path| layer.hidden.contains(path)) {
            break;
        }
    }
    Attributes { mode: DIR_MODE, ..Attributes::default() }
}
