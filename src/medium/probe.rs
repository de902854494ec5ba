//! Measures what a read costs the device under a store, at random places and one after the other.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{Mode, OFlags};

use super::serve;
use crate::record::{Medium, MediumClass, StoreInfo};

/// Bytes of a read: what one look into a directory or an inode takes.
const READ_BYTES: usize = 4096;
/// Reads of each kind.
const READS: usize = 64;
/// For all of them: a disk that takes longer is slow enough to know.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of the file that is read where the device itself cannot be.
const FILE_BYTES: u64 = 64 << 20;

/// Measures the medium of a store. It takes a second at most, but on a spinning disk. Root reads the device itself, all over;
/// others, and where there is no device to read, a file of 64 MiB that has no name and is gone afterwards.
pub fn medium_of(store: &StoreInfo) -> Medium {
    let tried = device_of(store).and_then(|device| measure(&device, device.display().to_string()));
    let tried = tried.or_else(|_| {
        // The store may not be there yet.
        let folder = Path::new(&store.path).ancestors().find(|folder| folder.is_dir());
        unnamed_file(folder.unwrap_or(Path::new(".")))
            .and_then(|file| measure_file(&file, "a file of 64 MiB in the store".to_owned()))
    });
    let mut medium = tried.unwrap_or_else(|e| Medium {
        class: MediumClass::Unclear,
        random_read_ns: None,
        sequential_read_ns: None,
        how: format!("not measured: {e}"),
        model: None,
    });
    medium.model = serve::model_below(&store.device);
    medium
}

fn device_of(store: &StoreInfo) -> io::Result<PathBuf> {
    let device = fs::canonicalize(&store.device)?;
    if device.starts_with("/dev") { Ok(device) } else { Err(io::Error::other("no device")) }
}

fn measure(path: &Path, name: String) -> io::Result<Medium> {
    let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    measure_file(&rustix::fs::open(path, flags, Mode::empty())?.into(), name)
}

/// A file without a name, written to the device.
fn unnamed_file(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let file: File = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?.into();
    const PIECE: usize = 1 << 20;
    let mut room = vec![0xa5; PIECE + READ_BYTES];
    let piece = aligned(&mut room, PIECE)?;
    for place in (0..FILE_BYTES).step_by(PIECE) {
        file.write_all_at(piece, place)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// The part of a buffer that begins where O_DIRECT wants it to.
fn aligned(room: &mut [u8], length: usize) -> io::Result<&mut [u8]> {
    let start = room.as_ptr().align_offset(READ_BYTES);
    room.get_mut(start..start.saturating_add(length)).ok_or_else(|| io::Error::other("no aligned buffer"))
}

fn measure_file(file: &File, name: String) -> io::Result<Medium> {
    let mut end = file;
    let size = io::Seek::seek(&mut end, io::SeekFrom::End(0))?;
    let pieces = size / READ_BYTES as u64;
    if pieces < 4 * READS as u64 {
        return Err(io::Error::other(format!("{name} has {size} bytes: too few to tell places apart")));
    }
    // The same places each time; they need to be spread, not to be secret.
    let mut random = ChaCha8Rng::seed_from_u64(size);
    let start = Instant::now();
    let mut room = [0; 3 * READ_BYTES];
    let buffer = aligned(&mut room, READ_BYTES)?;
    let mut timed = |piece: u64| -> io::Result<u64> {
        let start = Instant::now();
        file.read_exact_at(buffer, piece * READ_BYTES as u64)?;
        Ok(start.elapsed().as_nanos() as u64)
    };
    let mut at_random = Vec::new();
    while at_random.len() < READS && start.elapsed() < PATIENCE {
        at_random.push(timed(random.random_range(0..pieces))?);
    }
    let first = random.random_range(0..pieces - READS as u64);
    // Moves the head there.
    timed(first)?;
    let mut in_turn = (1..READS as u64).map(|n| timed(first + n)).collect::<io::Result<Vec<_>>>()?;
    let (random_read_ns, sequential_read_ns) = (median(&mut at_random), median(&mut in_turn));
    Ok(Medium {
        class: MediumClass::of(random_read_ns, sequential_read_ns),
        random_read_ns: Some(random_read_ns),
        sequential_read_ns: Some(sequential_read_ns),
        how: format!("{} reads of 4 KiB each, O_DIRECT, of {name}", at_random.len()),
        model: None,
    })
}

fn median(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}
