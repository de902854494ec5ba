//! Reads a tar archive entry by entry: ustar, GNU long names, pax (POSIX.1-2008, `pax`; GNU tar manual, "Basic Tar Format").
//!
//! The `tar` crate decodes the headers. The walk is ours because what precedes an entry (a long name, pax records) is to be bounded before it
//! is read into memory, and because values of extended attributes hold newlines.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::member::{Attributes, Kind, Member};

const BLOCK: u64 = 512;
/// Longest set of pax records or long name. The kernel's limit for one extended attribute is 64 KiB.
const EXTENSION_MAX: u64 = 1 << 20;

/// Bytes of which some can be passed over.
pub(super) trait Skip: Read {
    /// Passes over bytes that must be there.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.take(bytes), &mut io::sink())?;
        if passed == bytes { Ok(()) } else { Err(truncated()) }
    }
}

impl<T: Read + ?Sized> Skip for &mut T {}
impl<T: Read + ?Sized> Skip for Box<T> {}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of an entry")
}

fn broken(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// What was met.
#[derive(Debug)]
pub(super) enum Next {
    Member(Member),
    /// An entry that cannot be understood: its name, and why.
    Refused(Vec<u8>, String),
}

/// What precedes an entry and belongs to it.
#[derive(Debug, Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extensions {
    fn pax(&self, key: &str) -> Option<&[u8]> {
        // The last one counts.
        self.pax.iter().rev().find(|(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.pax(key) else { return Ok(None) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| format!("its pax record {key} is no number"))
    }
}

/// An archive.
#[derive(Debug)]
pub(super) struct TarStream<R> {
    reader: R,
    /// What is left of the entry's content.
    left: u64,
    /// What fills its last block.
    padding: u64,
    /// Bytes read or passed over.
    position: u64,
}

impl<R: Skip> TarStream<R> {
    pub(super) fn new(reader: R) -> TarStream<R> {
        TarStream { reader, left: 0, padding: 0, position: 0 }
    }

    /// Where the next byte of content lies in the archive.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the entry's content that have not been read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The reader, wherever it is.
    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// Passes over the rest of an entry and reads the header of the next. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Next>> {
        let mut extensions = Extensions::default();
        loop {
            self.pass()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header.entry_size().map_err(|e| broken(format!("an entry without a size: {e}")))?;
            let size_or = |size: u64| (size, (BLOCK - size % BLOCK) % BLOCK);
            match header.entry_type() {
                EntryType::XGlobalHeader => (self.left, self.padding) = size_or(size),
                EntryType::XHeader => {
                    (self.left, self.padding) = size_or(size);
                    let records = self.extension()?;
                    extensions.pax.extend(pax_records(&records).ok_or_else(|| broken("malformed pax records"))?);
                }
                EntryType::GNULongName => {
                    (self.left, self.padding) = size_or(size);
                    extensions.long_name = Some(trimmed(self.extension()?));
                }
                EntryType::GNULongLink => {
                    (self.left, self.padding) = size_or(size);
                    extensions.long_link = Some(trimmed(self.extension()?));
                }
                kind => {
                    let has_content = !matches!(
                        kind,
                        EntryType::Link
                            | EntryType::Symlink
                            | EntryType::Char
                            | EntryType::Block
                            | EntryType::Directory
                            | EntryType::Fifo
                    );
                    let size = extensions.number("size").map_err(broken)?.unwrap_or(size);
                    // As Go's archive/tar, which wrote nearly all layers there are: what has no content has no size.
                    (self.left, self.padding) = size_or(if has_content { size } else { 0 });
                    return Ok(Some(member(&header, &extensions)));
                }
            }
        }
    }

    fn pass(&mut self) -> io::Result<()> {
        let rest = self.left.checked_add(self.padding).ok_or_else(|| broken("an entry of more than 2^64 bytes"))?;
        self.reader.skip(rest)?;
        self.position += rest;
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(truncated()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.position += BLOCK;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, its own eight taken as blanks.
        let sum = header.as_bytes().iter().enumerate();
        let sum: u32 = sum.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(broken(format!("no tar header at byte {}: its checksum is wrong", self.position - BLOCK))),
        }
    }

    /// The whole content of an entry that says something of the next.
    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.left > EXTENSION_MAX {
            return Err(broken(format!("{} bytes of pax records or name before an entry", self.left)));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }
}

/// The content of the current entry.
impl<R: Skip> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.reader.read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if n == 0 {
            return Err(truncated());
        }
        self.left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

/// A long name ends with a zero byte, or several.
fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// `LENGTH KEY=VALUE\n`, LENGTH being that of all this. `None` where it is not.
fn pax_records(mut rest: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let blank = rest.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(rest.get(..blank)?).ok()?.parse().ok()?;
        let record = rest.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((record.get(..equals)?.to_vec(), record.get(equals + 1..)?.to_vec()));
        rest = rest.get(length..)?;
    }
    Some(records)
}

/// Seconds since 1970 with a fraction, as pax writes them.
fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

fn member(header: &Header, extensions: &Extensions) -> Next {
    let name = match (extensions.pax("path"), &extensions.long_name) {
        (Some(name), _) => name.to_vec(),
        (None, Some(name)) => name.clone(),
        (None, None) => header.path_bytes().into_owned(),
    };
    match understood(header, extensions, &name) {
        Ok((kind, attributes)) => Next::Member(Member { name, kind, attributes }),
        Err(reason) => Next::Refused(name, reason),
    }
}

fn understood(header: &Header, extensions: &Extensions, name: &[u8]) -> Result<(Kind, Attributes), String> {
    let link = || match (extensions.pax("linkpath"), &extensions.long_link) {
        (Some(link), _) => link.to_vec(),
        (None, Some(link)) => link.clone(),
        (None, None) => header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default(),
    };
    let device = || match (header.device_major(), header.device_minor()) {
        (Ok(Some(major)), Ok(Some(minor))) => Ok((major, minor)),
        _ => Err("a device without numbers".to_owned()),
    };
    if extensions.pax.iter().any(|(key, _)| key.starts_with(b"GNU.sparse.")) {
        return Err("a sparse file in GNU's form, which no builder of images writes".into());
    }
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Dir,
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Symlink(link()),
        EntryType::Link => Kind::HardLink(link()),
        EntryType::Char => device().map(|(major, minor)| Kind::Char(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        EntryType::Fifo => Kind::Fifo,
        other => return Err(format!("an entry of type {:?}, which is not known", char::from(other.as_byte()))),
    };
    let id = |key: &str, stated: io::Result<u64>| {
        let id = extensions.number(key)?.map_or(stated, Ok).map_err(|e| format!("its {key} is none: {e}"))?;
        // The greatest number means "leave it" to chown(2).
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| format!("its {key} is {id}"))
    };
    let mtime = match extensions.pax("mtime") {
        Some(value) => pax_time(value).ok_or("its pax record mtime is no time")?,
        None => (header.mtime().ok().and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0), 0),
    };
    let xattrs = extensions.pax.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(b"SCHILY.xattr.")?;
        Some((name.to_vec(), value.clone()))
    });
    Ok((
        kind,
        Attributes {
            mode: header.mode().map_err(|e| format!("its mode is none: {e}"))? & 0o7777,
            uid: id("uid", header.uid())?,
            gid: id("gid", header.gid())?,
            mtime,
            xattrs: xattrs.collect(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_go_by_their_length_and_may_hold_newlines() {
        let records = pax_records(b"12 a=x\ny\nzz\n7 b=cd\n").unwrap();
        assert_eq!(records, [(b"a".to_vec(), b"x\ny\nzz".to_vec()), (b"b".to_vec(), b"cd".to_vec())]);
        for wrong in [&b"99 a=x\n"[..], b"x a=b\n", b"6 a=bc", b"0 \n", b"5 ab\n", b"3\n"] {
            assert_eq!(pax_records(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, time) in [
            ("0", Some((0, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("1.0000000019", Some((1, 1))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.25", Some((-1, 750_000_000))),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(pax_time(text.as_bytes()), time, "{text}");
        }
    }

    #[test]
    fn what_is_no_archive_is_an_error_and_not_an_end() {
        for wrong in [&[1u8; 512][..], &[0x20; 100]] {
            assert!(TarStream::new(&mut &wrong[..]).next().is_err());
        }
        assert!(TarStream::new(&mut &[0u8; 1024][..]).next().unwrap().is_none());
    }
}
