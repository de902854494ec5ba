//! Content of files: a stream of random bytes for each file, from the stack's seed, the layer and the path. Incompressible, different in
//! every file, and the same on every machine and with every version: ChaCha8, keyed by a BLAKE3 of what the file is.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::partial::go_on;
use super::{DATABASE, database, packages, program, source};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Size of the pieces that are made, hashed and written: within a core's cache.
const PIECE: usize = 256 << 10;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) digest: blake3::Hash,
    pub(super) first_byte: Option<u8>,
}

/// A thread's buffer.
pub(super) struct Writer {
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Writer {
        Writer { buffer: vec![0; PIECE] }
    }

    /// Writes the content of one file and digests it on the way. A program (`mode` lets its owner execute it) begins as one; what a tree has besides
    /// (C sources, databases) is what its name says.
    pub(super) fn write(
        &mut self,
        file: &mut File,
        seed: u64,
        layer: usize,
        path: &Path,
        size: u64,
        mode: u32,
    ) -> io::Result<Written> {
        go_on()?;
        if let Some(content) = made(seed, layer, path, size) {
            file.write_all(&content)?;
            return Ok(Written { digest: blake3::hash(&content), first_byte: content.first().copied() });
        }
        let program = if mode & 0o100 != 0 { program::beginning(size) } else { None };
        let mut rng = generator(seed, layer, path);
        let mut hasher = blake3::Hasher::new();
        let mut first_byte = None;
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let Some(piece) = self.buffer.get_mut(..length) else { break };
            rng.fill_bytes(piece);
            if left == size
                && let Some(code) = &program
                && let Some(start) = piece.get_mut(..code.len())
            {
                start.copy_from_slice(code);
            }
            first_byte = first_byte.or(piece.first().copied());
            hasher.update(piece);
            file.write_all(piece)?;
            go_on()?;
            left -= length as u64;
        }
        Ok(Written { digest: hasher.finalize(), first_byte })
    }
}

/// The content of a file that has a format; `None` for all others.
fn made(seed: u64, layer: usize, path: &Path, size: u64) -> Option<Vec<u8>> {
    if source::is_source(path) {
        return Some(source::text(path, size));
    }
    if let Some(content) = packages::content(path) {
        return Some(content);
    }
    let is_database = path == Path::new(DATABASE) && size == database::SIZE;
    is_database.then(|| {
        let mut rng = generator(seed, layer, path);
        database::content(|bytes| rng.fill_bytes(bytes))
    })
}

fn generator(seed: u64, layer: usize, path: &Path) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"layerbench content 1").update(&seed.to_le_bytes()).update(&(layer as u64).to_le_bytes());
    hasher.update(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_for_ever_and_differs_between_files() {
        let mut bytes = [0; 4];
        generator(1, 0, Path::new("data/f-000000")).fill_bytes(&mut bytes);
        // Written down once: results of different versions are comparable only while this holds.
        assert_eq!(bytes, [204, 189, 184, 235]);
        let mut other = [0; 4];
        generator(1, 0, Path::new("data/f-000001")).fill_bytes(&mut other);
        assert_ne!(bytes, other);
        generator(2, 0, Path::new("data/f-000000")).fill_bytes(&mut other);
        assert_ne!(bytes, other);
    }
}
