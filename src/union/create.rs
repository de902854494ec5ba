//! Making new names: create, mkdir, mknod, symlink.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags};

use super::copy_up::Data;
use super::file::Opened;
use super::index::DirIndex;
use super::layers::{self, DEFAULT_ACL, UPPER, is_overlay_whiteout};
use super::look_up::Found;
use super::node::{Inode, lock, write};
use super::numbers::FileKey;
use super::passthrough::{Serve, Writer};
use super::privileges::{Caller, PERMISSIONS, SET_GID, SET_ID};
use super::state::Union;
use super::target::Target;
use super::unopened::Unopened;
use super::whiteout::remove_whiteout;
use super::{Errno, Res};

/// Who makes a file, and with which mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maker {
    /// Who asks, which decides on privileges.
    pub(super) caller: Caller,
    /// Who is to own the file, as the layers keep it.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// File type bits are ignored.
    pub(super) mode: u32,
    pub(super) umask: u32,
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(super) enum New<'a> {
    File,
    Directory,
    Symlink(&'a Path),
    /// A FIFO, a socket or a device, with its device number.
    Special(FileType, u64),
}

impl New<'_> {
    fn kind(&self) -> FileType {
        match self {
            New::File => FileType::RegularFile,
            New::Directory => FileType::Directory,
            New::Symlink(_) => FileType::Symlink,
            New::Special(kind, _) => *kind,
        }
    }
}

impl Union {
    /// Makes a new name. EEXIST if it is visible already.
    pub(super) fn make(&self, parent: u64, name: &OsStr, maker: Maker, new: New<'_>) -> Res<Found> {
        self.make_with(parent, name, maker, new).map(|(found, _)| found)
    }

    /// Makes a regular file and opens it.
    pub(super) fn create(&self, parent: u64, name: &OsStr, maker: Maker, flags: OFlags) -> Res<(Found, Opened)> {
        self.room_for_an_open(maker.caller)?;
        let (found, file) = match self.make_with(parent, name, maker, New::File) {
            Ok(made) => made,
            // The kernel holds the directory while it looks up and creates, so that it knows every name that is made through the mount: somebody
            // changed a layer. To open what is there takes permissions that it has not checked; it looks up again, and does.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => return Err(Errno::STALE),
            Err(errno) => return Err(errno),
        };
        let file = file.ok_or(Errno::IO)?;
        let file = Arc::new(file);
        if self.leaves_out_opens() {
            self.keep_unopened(&found.node, lock(&found.node.io), Unopened { file, upper: true, writable: true });
            return Ok((found, Opened::NOT));
        }
        let writer = Writer::of(flags, maker.caller, || Some(found.stat), &self.options.owners);
        let serve = lock(&found.node.io).open(&file, true, writer, &self.passthrough);
        let backing = match serve {
            Serve::Kernel(id) => Some(id),
            Serve::Daemon => None,
            Serve::OtherNode => return Err(Errno::IO),
        };
        let opened = self.opened(&found.node, file, true, backing, writer);
        Ok((found, opened))
    }

    fn make_with(&self, parent: u64, name: &OsStr, maker: Maker, new: New<'_>) -> Res<(Found, Option<OwnedFd>)> {
        layers::check_create(name)?;
        let parent = self.inode(parent)?;
        self.copy_up(&parent, Data::Whole)?;
        let mut index = self.write_index(&parent)?;
        if index.visible(name).is_some() {
            return Err(Errno::EXIST);
        }
        let whiteout = index.get(name).is_some_and(|entry| entry.whiteout);
        let dir = self.dir_fd(&parent, UPPER)?;
        let (file, stat) = if whiteout && matches!(new, New::Directory) {
            self.make_opaque_directory(&dir, name, maker)?;
            (None, rustix::fs::statat(&*dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
        } else {
            let made = self.make_at(&dir, dir.as_fd(), name, maker, new)?;
            if whiteout {
                remove_whiteout(dir.as_fd(), name);
            }
            made
        };
        let own_name = Some((Arc::clone(&parent), name.to_os_string()));
        let number = self.table.numbers.for_name(&parent, name);
        // An inode of this number is an older file.
        let inode = self.table.inode(
            number,
            |_| false,
            |ino| match new {
                New::Directory => Inode::directory(ino, UPPER, Vec::new(), own_name),
                _ => Inode::file(ino, new.kind(), UPPER, own_name),
            },
        );
        self.table.numbers.note_unless_of(&parent, name, FileKey::new(UPPER, &stat), inode.ino);
        index.put(name, new.kind(), inode.ino, false);
        if let Some(state) = &inode.dir {
            *write(&state.index) = Some(DirIndex::default());
        }
        Ok((Found { node: self.table.look_up(&inode), stat }, file))
    }

    /// A directory in place of a whiteout: it must never be seen without its opaque marker, or what was removed would show again.
    fn make_opaque_directory(&self, dir: &Arc<OwnedFd>, name: &OsStr, maker: Maker) -> Res<()> {
        let scratch = self.layers.scratch()?;
        let nest_name = self.scratch_name();
        set_umask(0)?;
        rustix::fs::mkdirat(scratch, &nest_name, Mode::RWXU)?;
        let made = layers::open_dir_at(scratch, &nest_name).and_then(|nest| {
            // Made below a directory with the same default ACL, it inherits what it would inherit in its place.
            let nest = Target::At(Arc::new(nest), OsString::from("."));
            let from = Target::At(Arc::clone(dir), OsString::from("."));
            match from.xattr(OsStr::new(DEFAULT_ACL)) {
                Ok(Some(acl)) => nest.set_xattr(OsStr::new(DEFAULT_ACL), &acl, XattrFlags::empty())?,
                Ok(None) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
            let Target::At(nest, _) = &nest else { return Err(Errno::IO) };
            self.make_at(dir, nest.as_fd(), name, maker, New::Directory)?;
            let made = layers::open_dir_at(nest.as_fd(), name)?;
            let stat = rustix::fs::fstat(&made)?;
            let (mode, more) = (Mode::from_raw_mode(stat.st_mode), Mode::from_raw_mode(self.mode_to_move(&stat)));
            if !more.is_empty() {
                rustix::fs::chmodat(nest, name, mode | more, AtFlags::empty())?;
            }
            self.layers.make_opaque(made.as_fd())?;
            rustix::fs::renameat(&**nest, name, &**dir, name)?;
            if more.is_empty() { Ok(()) } else { rustix::fs::chmodat(dir, name, mode, AtFlags::empty()) }
        });
        // What stays in scratch is removed by the next mount.
        let _ = layers::remove_tree(scratch, &nest_name, FileType::Directory);
        made?;
        remove_whiteout(dir.as_fd(), name);
        Ok(())
    }

    /// Makes a file in `place` with the owner and mode it would get in `parent`, whose upper directory is `parent_fd`. Returns its attributes, and a
    /// regular one itself.
    fn make_at(
        &self,
        parent_fd: &Arc<OwnedFd>,
        place: BorrowedFd<'_>,
        name: &OsStr,
        maker: Maker,
        new: New<'_>,
    ) -> Res<(Option<OwnedFd>, Stat)> {
        let parent_stat = rustix::fs::statat(&**parent_fd, ".", AtFlags::SYMLINK_NOFOLLOW)?;
        let raw = Mode::from_raw_mode(maker.mode & PERMISSIONS);
        // The file system below applies the umask, or the default ACL of the directory in its stead.
        set_umask(maker.umask)?;
        let mut file = None;
        match new {
            New::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                file = Some(rustix::fs::openat(place, name, flags, raw)?);
            }
            New::Directory => rustix::fs::mkdirat(place, name, raw)?,
            New::Symlink(target) => rustix::fs::symlinkat(target, place, name)?,
            New::Special(kind, device) => rustix::fs::mknodat(place, name, kind, raw, device)?,
        }
        let given = self.give(&parent_stat, place, name, (file.as_ref(), new), maker);
        // The next mount would take it for overlay's.
        match given.and_then(|stat| if is_overlay_whiteout(UPPER, &stat) { Err(Errno::PERM) } else { Ok(stat) }) {
            Ok(stat) => Ok((file, stat)),
            Err(errno) => {
                // Nothing half-made may stay visible; the error that matters is the first one.
                let _ = layers::remove_tree(place, name, new.kind());
                Err(errno)
            }
        }
    }

    /// Owner and set-id bits as the kernel gives them to a file made by `maker` (inode_init_owner in fs/inode.c). Returns the attributes that it has
    /// then.
    fn give(
        &self,
        parent: &Stat,
        place: BorrowedFd<'_>,
        name: &OsStr,
        (file, new): (Option<&OwnedFd>, New<'_>),
        maker: Maker,
    ) -> Res<Stat> {
        let inherits_group = parent.st_mode & SET_GID != 0;
        let gid = if inherits_group { parent.st_gid } else { maker.gid };
        let look = || match file {
            Some(file) => rustix::fs::fstat(file),
            None => rustix::fs::statat(place, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let now = look()?;
        let owner = (now.st_uid, now.st_gid) != (maker.uid, gid);
        let mode = match new {
            New::Directory => {
                let wanted = now.st_mode & 0o5777 | if inherits_group { SET_GID } else { 0 };
                (wanted != now.st_mode & PERMISSIONS).then_some(wanted)
            }
            // chown has cleared them.
            New::File | New::Special(..) if maker.mode & SET_ID != 0 => {
                Some(now.st_mode & 0o1777 | maker.mode & SET_ID)
            }
            _ => None,
        };
        if !owner && mode.is_none() {
            return Ok(now);
        }
        let target =
            Target::At(Arc::new(place.try_clone_to_owned().map_err(super::state::errno)?), name.to_os_string());
        if owner {
            target.chown(Some(maker.uid), Some(gid))?;
        }
        if let Some(mode) = mode {
            target.chmod(mode)?;
        }
        look()
    }
}

/// Sets the umask of this thread alone. Usually all threads of a process share one.
pub(super) fn set_umask(mask: u32) -> Res<()> {
    thread_local!(static OWN: Cell<Option<u32>> = const { Cell::new(None) });
    let mask = mask & 0o777;
    let own = OWN.get();
    if own == Some(mask) {
        return Ok(());
    }
    if own.is_none() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
            .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
    }
    rustix::process::umask(Mode::from_raw_mode(mask));
    OWN.set(Some(mask));
    Ok(())
}
