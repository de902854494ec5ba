//! A layer that is a folder of a store: walked, and handed to the unpacker entry by entry, with whiteouts as archives have them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::ImportError;
use super::found::TreeForm;
use super::member::{Attributes, Kind, Member};
use super::unpack::Unpacker;
use crate::stack::definition::whiteout_path;
use crate::stack::{OPAQUE_NAME, at, scan};

/// Attributes of overlay's own, for mounts by root and by others, and of fuse-overlayfs.
const OVERLAY_XATTRS: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"user.fuseoverlayfs."];

/// Unpacks a layer that lies in a folder.
pub(super) fn unpack(root: &Path, form: TreeForm, unpacker: &mut Unpacker<'_>) -> Result<(), ImportError> {
    let meta = fs::symlink_metadata(root).map_err(at("find the layer", root))?;
    if !meta.is_dir() {
        return Err(at("open the layer", root)(io::Error::from(io::ErrorKind::NotADirectory)).into());
    }
    let mut walk = Walk { root, form, unpacker, first_names: HashMap::new() };
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(root.join(&path)).map_err(at("stat", &root.join(&path)))?;
        walk.entry(&path, &meta)?;
        if meta.is_dir() {
            let folder = root.join(&path);
            let mut names = Vec::new();
            for entry in fs::read_dir(&folder).map_err(at("list", &folder))? {
                names.push(entry.map_err(at("list", &folder))?.file_name());
            }
            names.retain(|name| !(form == TreeForm::Aufs && path.as_os_str().is_empty() && is_bookkeeping(name)));
            // In order, so that of several names of one file the same is always the first.
            names.sort_unstable_by(|a, b| b.cmp(a));
            pending.extend(names.into_iter().map(|name| path.join(name)));
        }
    }
    Ok(())
}

/// What aufs keeps in the root of a branch for itself.
fn is_bookkeeping(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".wh..wh.") && name != OPAQUE_NAME
}

struct Walk<'w, 'u> {
    root: &'w Path,
    form: TreeForm,
    unpacker: &'w mut Unpacker<'u>,
    /// Of inodes with several names.
    first_names: HashMap<u64, PathBuf>,
}

impl Walk<'_, '_> {
    fn entry(&mut self, path: &Path, meta: &Metadata) -> Result<(), ImportError> {
        let place = self.root.join(path);
        let device = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
        let format = meta.mode() & libc::S_IFMT;
        if self.form == TreeForm::Overlay && format == libc::S_IFCHR && device == (0, 0) {
            return self.mark(&whiteout_path(path));
        }
        let mut xattrs = scan::xattrs(&place).map_err(at("read extended attributes of", &place))?;
        if self.form == TreeForm::Overlay {
            let value = |name: &str| {
                let own = |full: &[u8]| {
                    OVERLAY_XATTRS.iter().any(|prefix| full.strip_prefix(*prefix) == Some(name.as_bytes()))
                };
                xattrs.iter().find(|(full, _)| own(full)).map(|(_, value)| value.clone())
            };
            if let Some(name) = ["redirect", "metacopy"].into_iter().find(|name| value(name).is_some()) {
                let reason = format!("overlay keeps a part of it in another layer ({name})");
                self.unpacker.report().refuse(path.as_os_str().as_bytes(), reason);
                return Ok(());
            }
            let is_empty_file = meta.is_file() && meta.len() == 0;
            if is_empty_file && value("whiteout").is_some() {
                return self.mark(&whiteout_path(path));
            }
            let is_opaque = meta.is_dir() && value("opaque").is_some_and(|value| value == b"y");
            xattrs.retain(|(name, _)| !OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)));
            if is_opaque {
                self.mark(&path.join(OPAQUE_NAME))?;
            }
        }
        let kind = match format {
            _ if meta.is_dir() => Kind::Dir,
            _ if meta.is_symlink() => {
                let target = fs::read_link(&place).map_err(at("read link", &place))?;
                Kind::Symlink(target.into_os_string().into_encoded_bytes())
            }
            libc::S_IFCHR => Kind::Char(device.0, device.1),
            libc::S_IFBLK => Kind::Block(device.0, device.1),
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFREG => Kind::File,
            _ => {
                self.unpacker.report().leave_out("sockets, which are no part of an image", path);
                return Ok(());
            }
        };
        let kind = match self.first_names.get(&meta.ino()) {
            Some(first) if meta.nlink() > 1 && !meta.is_dir() => Kind::HardLink(first.as_os_str().as_bytes().to_vec()),
            _ => kind,
        };
        if meta.nlink() > 1 && !meta.is_dir() {
            self.first_names.entry(meta.ino()).or_insert_with(|| path.to_owned());
        }
        let attributes = Attributes {
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: (meta.mtime(), u32::try_from(meta.mtime_nsec()).unwrap_or(0)),
            xattrs,
        };
        let member = Member { name: path.as_os_str().as_bytes().to_vec(), kind, attributes };
        if member.kind != Kind::File {
            return self.unpacker.add(&member, 0, &mut io::empty());
        }
        // A pipe that has taken the file's place would make the import wait.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(&place);
        let mut file = file.map_err(at("open", &place))?;
        self.unpacker.add(&member, meta.len(), &mut file)
    }

    fn mark(&mut self, path: &Path) -> Result<(), ImportError> {
        let name = path.as_os_str().as_bytes().to_vec();
        let member = Member { name, kind: Kind::File, attributes: Attributes::default() };
        self.unpacker.add(&member, 0, &mut io::empty())
    }
}
