//! The files of a source that is one folder or one archive, read-only and by name.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::decode::{Decoded, read_error, sha256_text};
use super::error::{ImportError, shown, wrong};
use super::member::Kind;
use super::place::path_of;
use super::report::Limits;
use super::tar_stream::{Next, Skip, TarStream};
use crate::stack::at;

/// Longest manifest, index or configuration.
const JSON_MAX: u64 = 16 << 20;
/// Most files of an archive of an image.
const FILES_MAX: usize = 100_000;
/// Most symbolic links on the way to a file of an archive: `docker save` once wrote one for a layer that was there already.
const LINKS_MAX: usize = 8;

/// Where a file lies in an archive.
#[derive(Debug, Clone)]
pub(super) enum Lies {
    At { offset: u64, length: u64 },
    Link(PathBuf),
}

/// The files.
#[derive(Debug)]
pub(super) enum Files {
    Folder { path: PathBuf, fd: File },
    Archive { path: PathBuf, file: File, files: HashMap<PathBuf, Lies> },
}

/// A part of an open file.
struct Part<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// An archive as a file: contents are passed over without being read.
struct Whole<'a> {
    part: Part<'a>,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.part.read(buffer)
    }
}

impl Skip for Whole<'_> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.part.left {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of an entry"));
        }
        self.part.offset += bytes;
        self.part.left -= bytes;
        Ok(())
    }
}

impl Files {
    /// Opens a folder or an archive. One that is compressed is unpacked first, into a file without a name in `scratch`.
    pub(super) fn open(path: &Path, scratch: &Path, limits: Limits) -> Result<Files, ImportError> {
        // A named pipe must not make the import wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, path, flags, Mode::empty()).map_err(at("open", path))?);
        let meta = file.metadata().map_err(at("stat", path))?;
        if meta.is_dir() {
            return Ok(Files::Folder { path: path.to_owned(), fd: file });
        }
        if !meta.is_file() {
            return Err(wrong(
                path.display().to_string(),
                "neither a folder nor a regular file: save the image to one first",
            ));
        }
        let what = path.display().to_string();
        let mut decoded = Decoded::open(&file, &what, limits)?;
        let file = if decoded.is_compressed() {
            let mut spool = tempfile_in(scratch)?;
            io::copy(&mut decoded, &mut spool).map_err(|e| read_error(&what, e))?;
            spool.flush().map_err(at("write", scratch))?;
            drop(decoded);
            spool
        } else {
            drop(decoded);
            file
        };
        let length = (&file).seek(SeekFrom::End(0)).map_err(at("seek in", path))?;
        let files = index(&file, length, &what)?;
        Ok(Files::Archive { path: path.to_owned(), file, files })
    }

    /// The source's own path.
    pub(super) fn path(&self) -> &Path {
        match self {
            Files::Folder { path, .. } | Files::Archive { path, .. } => path,
        }
    }

    /// Whether it is an archive.
    pub(super) fn is_archive(&self) -> bool {
        matches!(self, Files::Archive { .. })
    }

    /// How errors call one of the files.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{} of {}", shown(name.as_bytes()), self.path().display())
    }

    /// Whether a file is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.read(name).is_ok()
    }

    /// One of the files.
    pub(super) fn read(&self, name: &str) -> Result<Box<dyn Read + '_>, ImportError> {
        let missing = || wrong(self.name(name), "it is missing");
        let path = path_of(name.as_bytes()).map_err(|reason| wrong(self.name(name), reason))?;
        match self {
            Files::Folder { fd, .. } => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let file = match openat2(fd, &path, flags, Mode::empty(), how) {
                    // No openat2: then no symbolic link at the end, and `path_of` has seen to `..`.
                    Err(Errno::NOSYS | Errno::PERM) => openat(fd, &path, flags | OFlags::NOFOLLOW, Mode::empty()),
                    other => other,
                };
                let file = match file {
                    Ok(file) => File::from(file),
                    Err(Errno::NOENT) => return Err(missing()),
                    Err(e) => return Err(wrong(self.name(name), e.to_string())),
                };
                match file.metadata() {
                    Ok(meta) if meta.is_file() => Ok(Box::new(file)),
                    Ok(_) => Err(wrong(self.name(name), "not a regular file")),
                    Err(e) => Err(wrong(self.name(name), e.to_string())),
                }
            }
            Files::Archive { file, files, .. } => {
                let mut path = path;
                for _ in 0..LINKS_MAX {
                    match files.get(&path) {
                        Some(Lies::At { offset, length }) => {
                            return Ok(Box::new(Part { file, offset: *offset, left: *length }));
                        }
                        Some(Lies::Link(to)) => path.clone_from(to),
                        None => return Err(missing()),
                    }
                }
                Err(wrong(self.name(name), "too many symbolic links"))
            }
        }
    }

    /// The whole content of a small file.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let mut content = Vec::new();
        let read = self.read(name)?.take(JSON_MAX + 1).read_to_end(&mut content);
        read.map_err(|e| read_error(&self.name(name), e))?;
        if content.len() as u64 > JSON_MAX {
            return Err(wrong(self.name(name), format!("longer than {JSON_MAX} bytes")));
        }
        Ok(content)
    }

    /// A file of JSON; with a digest, what it has to have.
    pub(super) fn json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        digest: Option<&str>,
    ) -> Result<T, ImportError> {
        let content = self.bytes(name)?;
        if let Some(expected) = digest {
            let found = sha256_text(Sha256::digest(&content));
            if found != expected {
                return Err(ImportError::Digest { what: self.name(name), expected: expected.to_owned(), found });
            }
        }
        serde_json::from_slice(&content).map_err(|e| wrong(self.name(name), e.to_string()))
    }
}

/// A file without a name: it goes when it is closed, however this process ends.
fn tempfile_in(folder: &Path) -> Result<File, ImportError> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(fd.into()),
        // Not every file system can; the folder is one that is removed whole.
        Err(_) => {
            let path = folder.join("spool");
            let made = File::options().read(true).write(true).create_new(true).open(&path);
            let file = made.map_err(at("create", &path))?;
            std::fs::remove_file(&path).map_err(at("remove", &path))?;
            Ok(file)
        }
    }
}

/// Where each file of an archive lies.
fn index(file: &File, length: u64, what: &str) -> Result<HashMap<PathBuf, Lies>, ImportError> {
    let mut stream = TarStream::new(Whole { part: Part { file, offset: 0, left: length } });
    let mut files = HashMap::new();
    while let Some(next) = stream.next().map_err(|e| read_error(what, e))? {
        // What an image has no use for need not be understood.
        let Next::Member(member) = next else { continue };
        let Ok(path) = path_of(&member.name) else { continue };
        let lies = match member.kind {
            Kind::File => Lies::At { offset: stream.position(), length: stream.left() },
            Kind::HardLink(target) => match path_of(&target) {
                Ok(target) => Lies::Link(target),
                Err(_) => continue,
            },
            Kind::Symlink(target) => match resolved(&path, &target) {
                Some(target) => Lies::Link(target),
                None => continue,
            },
            _ => continue,
        };
        files.insert(path, lies);
        if files.len() > FILES_MAX {
            return Err(wrong(what, format!("more than {FILES_MAX} files: not the archive of an image")));
        }
    }
    Ok(files)
}

/// What a relative link means inside the archive; `None` where it leaves it.
fn resolved(link: &Path, target: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut path = link.parent()?.to_owned();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if path.pop() => {}
            b".." => return None,
            part => path.push(std::ffi::OsStr::from_bytes(part)),
        }
    }
    (!target.starts_with(b"/")).then_some(path)
}
