//! From the bytes of a blob to the bytes of its archive: gzip, zstd or neither, told by how it begins; both are digested and measured on the
//! way, so that a compression bomb ends soon after it begins to unfold.

use std::cell::RefCell;
use std::io::{self, BufRead as _, BufReader, Read};
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::error::{ImportError, wrong};
use super::report::Limits;

/// Window of a zstd frame, as a power of two: what every decoder takes (RFC 8878 recommends 8 MiB, `zstd --ultra` writes 128 MiB).
const WINDOW_LOG_MAX: u32 = 27;

/// Digest and length of what went through.
struct Tally {
    hasher: Sha256,
    bytes: u64,
}

/// Counts what is read through it.
struct Counted<R> {
    reader: R,
    tally: Rc<RefCell<Tally>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let mut tally = self.tally.borrow_mut();
        tally.hasher.update(buffer.get(..n).unwrap_or_default());
        tally.bytes += n as u64;
        Ok(n)
    }
}

fn tally() -> Rc<RefCell<Tally>> {
    Rc::new(RefCell::new(Tally { hasher: Sha256::new(), bytes: 0 }))
}

/// A limit that was reached, on its way through an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct Exceeded {
    reason: String,
    option: &'static str,
}

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn sha256_text(digest: impl AsRef<[u8]>) -> String {
    let digits: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// What reading a part of the source failed with.
pub(super) fn read_error(what: &str, e: io::Error) -> ImportError {
    match e.get_ref().and_then(|inner| inner.downcast_ref::<Exceeded>()) {
        Some(exceeded) => {
            ImportError::Limit { what: what.into(), reason: exceeded.reason.clone(), option: exceeded.option }
        }
        None => wrong(what, e.to_string()),
    }
}

/// The archive in a blob.
pub(super) struct Decoded<'a> {
    reader: Box<dyn Read + 'a>,
    raw: Rc<RefCell<Tally>>,
    unpacked: Tally,
    limits: Limits,
    compressed: bool,
}

/// Digests of a blob and of the archive in it.
#[derive(Debug)]
pub(super) struct Digests {
    pub blob: String,
    pub archive: String,
}

impl<'a> Decoded<'a> {
    /// Begins to read a blob; `what` names it in errors.
    pub(super) fn open(blob: impl Read + 'a, what: &str, limits: Limits) -> Result<Decoded<'a>, ImportError> {
        let raw = tally();
        let mut blob = BufReader::with_capacity(64 << 10, Counted { reader: blob, tally: raw.clone() });
        let start = blob.fill_buf().map_err(|e| read_error(what, e))?;
        let compression = Compression::of(start);
        let reader: Box<dyn Read + 'a> = match compression {
            Compression::None => Box::new(blob),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(blob).map_err(|e| read_error(what, e))?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(|e| read_error(what, e))?;
                Box::new(decoder)
            }
            Compression::Other(name) => {
                return Err(wrong(what, format!("it is compressed with {name}; layerbench reads gzip and zstd")));
            }
        };
        let unpacked = Tally { hasher: Sha256::new(), bytes: 0 };
        Ok(Decoded { reader, raw, unpacked, limits, compressed: compression != Compression::None })
    }

    /// Whether it was compressed.
    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// Reads what is left, and says the digests of the whole.
    pub(super) fn finish(mut self, what: &str) -> Result<Digests, ImportError> {
        io::copy(&mut self, &mut io::sink()).map_err(|e| read_error(what, e))?;
        let Decoded { reader, raw, unpacked, .. } = self;
        drop(reader);
        let blob = raw.borrow().hasher.clone().finalize();
        Ok(Digests { blob: sha256_text(blob), archive: sha256_text(unpacked.hasher.finalize()) })
    }
}

impl Read for Decoded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.unpacked.hasher.update(buffer.get(..n).unwrap_or_default());
        self.unpacked.bytes += n as u64;
        let (bytes, raw) = (self.unpacked.bytes, self.raw.borrow().bytes);
        if bytes > Limits::RATIO_FROM_BYTES && bytes / self.limits.ratio_max.max(1) > raw {
            let reason =
                format!("{raw} bytes unfold to {bytes} and more, over {} times as many", self.limits.ratio_max);
            return Err(io::Error::other(Exceeded { reason, option: "--max-ratio" }));
        }
        // Headers and padding come on top of contents: at most as much again for every entry that is counted.
        let most = self.limits.bytes_max.saturating_add(self.limits.entries_max.saturating_mul(4096));
        if bytes > most {
            let reason = format!("the layer unfolds to more than {most} bytes");
            return Err(io::Error::other(Exceeded { reason, option: "--max-bytes" }));
        }
        Ok(n)
    }
}

impl super::tar_stream::Skip for Decoded<'_> {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
    Other(&'static str),
}

impl Compression {
    /// By the first bytes (RFC 1952, RFC 8878; bzip2 and xz, which Docker reads as well and nobody writes any more, by theirs).
    fn of(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', ..] => Compression::Other("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Other("xz"),
            _ => Compression::None,
        }
    }
}
