//! What lies in an imported layer, entry by entry, read from the disk: for the index that an import writes, and to verify it later. The same of
//! any other tree, to compare it with what layers hold.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rustix::io::Errno;

use super::image::{Item, ItemKind, Name};
use super::{OPAQUE_NAME, WHITEOUT_PREFIX};

/// Content of a file: digest and first byte.
pub(super) type Content = (blake3::Hash, Option<u8>);

/// Reads a content.
pub(super) fn content(path: &Path) -> io::Result<Content> {
    let mut hasher = blake3::Hasher::new();
    let mut file = fs::File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    let mut first = None;
    loop {
        let n = io::Read::read(&mut file, &mut buffer)?;
        let Some(piece) = buffer.get(..n).filter(|piece| !piece.is_empty()) else {
            return Ok((hasher.finalize(), first));
        };
        first = first.or_else(|| piece.first().copied());
        hasher.update(piece);
    }
}

/// Everything in a layer and its root, sorted by path. `content_of` says what a regular file holds.
pub(super) fn layer(
    root: &Path,
    content_of: &dyn Fn(&Path, &Metadata) -> io::Result<Content>,
) -> Result<Vec<Item>, (PathBuf, io::Error)> {
    let mut items = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let place = root.join(&path);
        let failed = |e| (place.clone(), e);
        let meta = fs::symlink_metadata(&place).map_err(failed)?;
        if meta.is_dir() {
            for entry in fs::read_dir(&place).map_err(failed)? {
                pending.push(path.join(entry.map_err(failed)?.file_name()));
            }
        }
        items.push(item(&path, &place, &meta, content_of).map_err(failed)?);
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

/// What lies at a place, as the entry of that path.
pub(super) fn item(
    path: &Path,
    place: &Path,
    meta: &Metadata,
    content_of: &dyn Fn(&Path, &Metadata) -> io::Result<Content>,
) -> io::Result<Item> {
    let name = path.file_name().unwrap_or_default();
    let (path, kind) = if name == OPAQUE_NAME {
        (path.parent().unwrap_or(Path::new("")).to_owned(), ItemKind::Opaque)
    } else if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes()) {
        (path.with_file_name(OsStr::from_bytes(hidden)), ItemKind::Whiteout)
    } else if meta.is_dir() {
        (path.to_owned(), ItemKind::Dir)
    } else if meta.is_symlink() {
        (path.to_owned(), ItemKind::Symlink { target: Name(fs::read_link(place)?) })
    } else if meta.is_file() {
        let (digest, first_byte) = content_of(place, meta)?;
        let blake3 = digest.to_hex().to_string();
        (path.to_owned(), ItemKind::File { size_bytes: meta.len(), blake3, first_byte, links: meta.nlink() })
    } else {
        (path.to_owned(), ItemKind::Special { format: meta.mode() & libc::S_IFMT, device: meta.rdev() })
    };
    let xattrs = match kind {
        ItemKind::Whiteout | ItemKind::Opaque => BTreeMap::new(),
        _ => {
            let encode = |value: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(value);
            let named =
                |(name, value): (Vec<u8>, Vec<u8>)| (String::from_utf8_lossy(&name).into_owned(), encode(value));
            xattrs(place)?.into_iter().map(named).collect()
        }
    };
    Ok(Item {
        path: Name(path),
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        xattrs,
    })
}

/// Extended attributes of a file, not of what a link points to, sorted by name; none where the file system has none. What this process may
/// not read is left out, and what this machine adds to every file (SELinux's label) as well.
pub(super) fn xattrs(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match sized(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"security.selinux") {
        match sized(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
            Ok(value) => found.push((name.to_vec(), value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    found.sort();
    Ok(found)
}

/// The answer of a call that fails when its buffer is too small.
fn sized(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The kernel's own limit is 64 KiB for values and for lists.
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(e) => return Err(e),
        }
    }
}
