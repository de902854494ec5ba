//! Write: what a program that keeps writing does to files that the container has already, so that no copy_up is in it: writes in place, whole files over again,
//! and new files.
//!
//! Each target has been copied up before the clock starts, and what that left dirty is on the disk. The files stay open meanwhile, as a database's do: a
//! driver's share of a write is what is asked for, and opening is asked elsewhere. With `durability = fsync` each operation is made durable before the next, and
//! both times have a metric.
//!
//! What a file holds in the end follows from its number alone, so that every byte of it can be verified.

use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{Mode, OFlags};

use super::{Probe, ProbeError, Trial, at, c_name, digest, first_write, names_below, nanoseconds, open_folder, pool};
use crate::record::{Metric, Observation, metric};
use crate::workload::{Durability, ProbeName};

/// The probe.
pub(super) struct Write;

static METRICS: [Metric; 6] = [
    metric::REWRITE_NS,
    metric::REWRITE_DURABLE_NS,
    metric::OVERWRITE_NS,
    metric::OVERWRITE_DURABLE_NS,
    metric::CREATE_NS,
    metric::CREATE_DURABLE_NS,
];

/// Bytes of a piece when a file is written over from its start to its end.
const PIECE: usize = 128 << 10;
/// Bytes of a write in place, and of a new file.
const PAGE: usize = 4096;
/// Writes in place of one file.
const OVERWRITES: usize = 32;

/// What files are filled with: bytes that do not compress, twice as many as a piece has, so that a piece may begin at any of the first ones.
struct Noise(Vec<u8>);

impl Noise {
    fn new() -> Noise {
        let mut bytes = vec![0; 2 * PIECE];
        ChaCha8Rng::seed_from_u64(0).fill_bytes(&mut bytes);
        Noise(bytes)
    }

    /// Bytes that depend on what they are for.
    fn of(&self, seed: u64, length: usize) -> &[u8] {
        let from = ChaCha8Rng::seed_from_u64(seed).random_range(0..PIECE);
        self.0.get(from..from + length.min(PIECE)).unwrap_or_default()
    }

    /// The piece of a file at a place.
    fn piece(&self, file: usize, place: u64, size: u64) -> &[u8] {
        let length = usize::try_from(size.saturating_sub(place)).unwrap_or(PIECE).min(PIECE);
        self.of((file as u64) << 32 | place >> 17, length)
    }
}

/// Where the writes in place of a file go, in pages, in their order. Some go to one place twice, where the last one counts.
fn places(file: usize, size: u64) -> Vec<u64> {
    let pages = size / PAGE as u64;
    let mut rng = ChaCha8Rng::seed_from_u64(file as u64);
    (0..OVERWRITES).filter(|_| pages > 0).map(|_| rng.random_range(0..pages) * PAGE as u64).collect()
}

/// The seed of a write in place.
fn overwrite_seed(file: usize, number: usize) -> u64 {
    1 << 63 | (file as u64) << 32 | number as u64
}

/// The seed of a new file.
fn create_seed(file: usize) -> u64 {
    1 << 62 | file as u64
}

/// The name of a new file, beside the target of that number.
fn new_name(file: usize) -> PathBuf {
    PathBuf::from(format!("new-{file}"))
}

/// Times of one kind of operation, in nanoseconds: until it returned, and until it was durable.
#[derive(Default)]
struct Times {
    done: Vec<u64>,
    durable: Vec<u64>,
}

impl Times {
    /// Times an operation, and what makes it durable where that is asked for.
    fn add<T>(
        &mut self,
        durability: Durability,
        operation: impl FnOnce() -> rustix::io::Result<T>,
        sync: impl FnOnce(&T) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<T> {
        let start = Instant::now();
        let value = operation();
        let done = start.elapsed();
        let value = value?;
        if durability == Durability::Fsync {
            // Between the two lies the reading of a clock.
            sync(&value)?;
            self.durable.push(nanoseconds(start.elapsed()));
        }
        self.done.push(nanoseconds(done));
        Ok(value)
    }

    fn observed(self, done: Metric, durable: Metric) -> impl Iterator<Item = Observation> {
        let all = [(done, self.done), (durable, self.durable)];
        all.into_iter()
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(metric, samples)| Observation::new(metric, samples))
    }
}

/// All of some bytes at a place: less is an error, as a full disk is.
#[inline]
fn put(file: &OwnedFd, bytes: &[u8], place: u64) -> rustix::io::Result<()> {
    match rustix::io::pwrite(file, bytes, place)? {
        written if written == bytes.len() => Ok(()),
        _ => Err(rustix::io::Errno::NOSPC),
    }
}

/// A file from its start to its end, in pieces.
fn rewrite(file: &OwnedFd, pieces: &[&[u8]]) -> rustix::io::Result<()> {
    let mut place = 0;
    for piece in pieces {
        put(file, piece, place)?;
        place += piece.len() as u64;
    }
    Ok(())
}

/// A new file with its first bytes.
fn create(folder: BorrowedFd<'_>, name: &CString, bytes: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644))?;
    put(&file, bytes, 0)?;
    Ok(file)
}

impl Probe for Write {
    fn name(&self) -> ProbeName {
        ProbeName::Write
    }

    fn about(&self) -> &'static str {
        "writes to files that have been copied up already: 4 KiB in place, the whole file over again, and new files of 4 KiB"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    /// Copies every target up, by writing its own first byte to it, and waits for the disk.
    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let (folder, names) = names_below(&trial.targets.hits)?;
        let folder = open_folder(&trial.first()?.merged.join(folder))?;
        for (full, name) in trial.targets.hits.iter().zip(&names) {
            let path = trial.first()?.merged.join(full);
            first_write(folder.as_fd(), name, trial.fact(full)?.first_byte).map_err(at("write", &path))?;
        }
        // fsync means nothing to some drivers.
        rustix::fs::sync();
        Ok(())
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let durability = trial.params.durability;
        let (folder, names) = names_below(&trial.targets.hits)?;
        let merged = trial.first()?.merged.join(folder);
        let folder = open_folder(&merged)?;
        let noise = Noise::new();
        let mut open = Vec::with_capacity(names.len());
        for (full, name) in trial.targets.hits.iter().zip(&names) {
            let path = trial.first()?.merged.join(full);
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(at("open", &path))?;
            open.push((file, path, trial.size_of(full)?));
        }
        let (mut rewrites, mut overwrites, mut creates) = (Times::default(), Times::default(), Times::default());
        for (number, (file, path, size)) in open.iter().enumerate() {
            let starts = (0..*size).step_by(PIECE);
            let pieces: Vec<&[u8]> = starts.map(|place| noise.piece(number, place, *size)).collect();
            rewrites
                .add(durability, || rewrite(file, &pieces), |()| rustix::fs::fdatasync(file))
                .map_err(at("write", path))?;
        }
        for (number, (file, path, size)) in open.iter().enumerate() {
            for (at_place, place) in places(number, *size).into_iter().enumerate() {
                let bytes = noise.of(overwrite_seed(number, at_place), PAGE);
                overwrites
                    .add(durability, || put(file, bytes, place), |()| rustix::fs::fdatasync(file))
                    .map_err(at("write", path))?;
            }
        }
        for number in 0..open.len() {
            let name = new_name(number);
            let (path, c_name) = (merged.join(&name), c_name(&name)?);
            let bytes = noise.of(create_seed(number), PAGE);
            let file = creates
                .add(durability, || create(folder.as_fd(), &c_name, bytes), |file| rustix::fs::fsync(file))
                .map_err(at("create", &path))?;
            drop(file);
        }
        Ok(rewrites
            .observed(metric::REWRITE_NS, metric::REWRITE_DURABLE_NS)
            .chain(overwrites.observed(metric::OVERWRITE_NS, metric::OVERWRITE_DURABLE_NS))
            .chain(creates.observed(metric::CREATE_NS, metric::CREATE_DURABLE_NS))
            .collect())
    }

    /// Every file holds what was written to it last, in the container and in upper, and the lower files are untouched.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let noise = Noise::new();
        let container = trial.first()?;
        let (folder, _) = pool(&trial.targets.hits)?;
        for (number, name) in trial.targets.hits.iter().enumerate() {
            let expected = expected(&noise, number, trial.size_of(name)?);
            let new = folder.join(new_name(number));
            let created = blake3::hash(noise.of(create_seed(number), PAGE));
            for root in [&container.merged, &container.upper] {
                holds(&root.join(name), expected)?;
                holds(&root.join(&new), created)?;
            }
            let fact = trial.fact(name)?;
            if digest(&fact.path)? != fact.digest {
                return Err(ProbeError::Wrong(format!("{} is a lower file and was changed", fact.path.display())));
            }
        }
        Ok(())
    }
}

fn holds(path: &Path, expected: blake3::Hash) -> Result<(), ProbeError> {
    if digest(path)? == expected {
        return Ok(());
    }
    Err(ProbeError::Wrong(format!("{} does not hold what was written to it", path.display())))
}

/// Digest of what a file holds in the end.
fn expected(noise: &Noise, file: usize, size: u64) -> blake3::Hash {
    let starts = (0..size).step_by(PIECE);
    let mut content: Vec<u8> = starts.flat_map(|place| noise.piece(file, place, size).iter().copied()).collect();
    for (number, place) in places(file, size).into_iter().enumerate() {
        let bytes = noise.of(overwrite_seed(file, number), PAGE);
        let there = usize::try_from(place).ok().and_then(|place| content.get_mut(place..place + PAGE));
        if let Some(there) = there {
            there.copy_from_slice(bytes);
        }
    }
    blake3::hash(&content)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::AnyDriver;
    use super::*;
    use crate::probe::Container;
    use crate::record::Privileges;
    use crate::stack::{LayerStack, StackDefinition};
    use crate::workload::{Scale, expand, parse};

    const WORKLOAD: &str = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'd'\n[[measure]]\nprobe = 'write'\nwhy = 'w'\ndepth = 1\n\
                            file_size = '200 KiB'\nfiles = 2\ndurability = 'fsync'";

    /// Runs the probe on a folder that holds the files, as a volume does, spoils something, and verifies.
    fn verified(spoil: impl Fn(&Path, &Path)) -> Result<(), ProbeError> {
        let folder = tempfile::tempdir().unwrap();
        let stack = LayerStack::ensure(folder.path(), &StackDefinition::study(1, 1, 2, 200 << 10), 1, &|_| ()).unwrap();
        let volume = folder.path().join("volume");
        fs::create_dir(&volume).unwrap();
        stack.populate_flat(&volume).unwrap();
        let params =
            expand(&parse("t", "t", WORKLOAD, Scale::Real, &AnyDriver).unwrap(), &["s".into()]).remove(0).params;
        let containers = [Container { merged: volume.clone(), upper: volume.clone() }];
        let targets = stack.targets();
        let mut trial = Trial {
            stack: &stack,
            lower: &[],
            targets: &targets,
            containers: &containers,
            volume: Some(&volume),
            params: &params,
            privileges: Privileges::None,
            daemons: Vec::new(),
            mount_ns: Vec::new(),
            notes: Vec::new(),
        };
        Write.prepare(&mut trial)?;
        let observed = Write.measure(&mut trial)?;
        let counts: Vec<(&str, usize)> = observed.iter().map(|o| (&*o.metric.name, o.samples.len())).collect();
        let kinds = [("rewrite", 2), ("overwrite", 2 * OVERWRITES), ("create", 2)];
        let expected = kinds.map(|(kind, n)| [(format!("{kind}_ns"), n), (format!("{kind}_durable_ns"), n)]).concat();
        assert_eq!(counts, expected.iter().map(|(name, n)| (name.as_str(), *n)).collect::<Vec<_>>());
        let target = volume.join(&targets.hits[0]);
        spoil(&target, &stack.file(&targets.hits[0]).unwrap().path);
        Write.verify(&mut trial)
    }

    #[test]
    fn what_was_written_is_verified_to_the_last_byte() {
        use std::os::unix::fs::FileExt as _;
        let change = |path: &Path| {
            let file = fs::File::options().read(true).write(true).open(path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 204_799).unwrap();
            file.write_all_at(&[!byte[0]], 204_799).unwrap();
        };
        verified(|_, _| ()).unwrap();
        for (error, words) in [
            (verified(|target, _| change(target)), "does not hold what was written to it"),
            (verified(|target, _| fs::write(target.with_file_name("new-1"), "x").unwrap()), "new-1 does not hold"),
            (verified(|_, lower| change(lower)), "is a lower file and was changed"),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn writes_in_place_stay_inside_and_differ_from_what_was_there() {
        let noise = Noise::new();
        for size in [0, 1, 4095] {
            assert!(places(3, size).is_empty(), "{size}");
        }
        for size in [4096, 4097, 1 << 20] {
            let places = places(3, size);
            assert_eq!(places.len(), OVERWRITES);
            assert!(places.iter().all(|place| place % 4096 == 0 && place + 4096 <= size), "{places:?}");
            let whole: Vec<u8> =
                (0..size).step_by(PIECE).flat_map(|place| noise.piece(3, place, size).to_vec()).collect();
            assert_eq!(whole.len() as u64, size);
            assert_ne!(expected(&noise, 3, size), blake3::hash(&whole), "{size}");
        }
    }

    #[test]
    fn files_pieces_and_writes_have_bytes_of_their_own() {
        let noise = Noise::new();
        let size = 4 * PIECE as u64;
        let pieces =
            [(0, 0), (0, PIECE as u64), (1, 0)].map(|(file, place)| noise.piece(file, place, size)[..PAGE].to_vec());
        let writes = [overwrite_seed(0, 0), overwrite_seed(0, 1), overwrite_seed(1, 0), create_seed(0), create_seed(1)];
        let mut all: Vec<Vec<u8>> =
            pieces.into_iter().chain(writes.map(|seed| noise.of(seed, PAGE).to_vec())).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n);
    }
}
