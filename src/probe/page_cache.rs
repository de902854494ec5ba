//! Page-cache sharing: containers on one stack read the same files; is a page in memory once, or once a container? And what a read of
//! a resident page costs through the first of them.
//!
//! Three witnesses: cachestat (mincore where the kernel has none) on the layer's file and on the file seen through each mount, every
//! inode once; `Cached` in /proc/meminfo; and, as root, page frame numbers, which cannot be mistaken.
//!
//! The readers keep their files open until everything is counted, as running containers do.
//!
//! Then the same from nothing twice more: with the files mapped instead of read (`mapped`), and read from a control group for each container
//! (`charge`).

mod charge;
mod mapped;

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Probe, ProbeError, READ_BUFFER_BYTES, Trial, at, read_rest, timed};
use crate::host;
use crate::record::{Metric, Observation, Privileges, metric};
use crate::sys;
use crate::workload::ProbeName;

/// The probe.
pub(super) struct PageCache;

static METRICS: [Metric; 13] = [
    metric::FIRST_READ_NS,
    metric::SECOND_READ_NS,
    metric::WARM_READ_NS,
    metric::RESIDENT_BYTES,
    metric::MEMINFO_CACHED_BYTES,
    metric::READ_SET_BYTES,
    metric::CHECKED_PAGES,
    metric::SHARED_PAGES,
    metric::MAPPED_FIRST_NS,
    metric::MAPPED_SECOND_NS,
    metric::MAPPED_CHECKED_PAGES,
    metric::MAPPED_SHARED_PAGES,
    metric::CHARGED_BYTES,
];

/// The operation: open a file and read it to its end. The file is returned open, so that closing it is not part of the time.
#[inline]
pub fn read_whole(path: &Path, buffer: &mut [u8]) -> io::Result<(File, u64)> {
    let mut file = File::open(path)?;
    let total = read_rest(&mut file, buffer)?;
    Ok((file, total))
}

/// Length of a warm read.
pub const WARM_READ_BYTES: usize = 4096;
/// Reads before the first sample. Until the translations and the processor's caches hold what a steady reader has there, a read of a
/// resident page takes up to a fifth longer; these are two rounds over 16 MiB, what quick.toml and the comparison with fio read.
const WARM_UP_READS: usize = 8192;
/// Warm reads of one case.
const WARM_READS: usize = 2000;
/// Written over before each of them, more than a processor's first-level data cache holds. Nobody reads in order to read again: in a
/// loop that does nothing else the kernel's own data never leaves that cache, and a read looks an eighth faster than fio finds it,
/// whose bookkeeping stands between two reads (docs/METHODOLOGY.md).
const OTHER_WORK_BYTES: usize = 64 << 10;
/// What a processor fetches at a time, on every machine that we know of at most.
const CACHE_LINE_BYTES: usize = 64;

/// The operation: one pread.
#[inline]
pub fn warm_read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Times warm reads at random pages of files whose pages are resident, in an order that is the same in every case.
fn warm_reads(files: &[File], file_size: u64) -> Result<Vec<u64>, ProbeError> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let pages = file_size / WARM_READ_BYTES as u64;
    if pages == 0 || files.is_empty() {
        return Ok(Vec::new());
    }
    let mut buffer = vec![0; WARM_READ_BYTES];
    let mut other_work = vec![0u8; OTHER_WORK_BYTES];
    let mut samples = Vec::with_capacity(WARM_READS);
    for index in 0..WARM_UP_READS + WARM_READS {
        let Some(file) = files.get(rng.random_range(0..files.len())) else { continue };
        let offset = rng.random_range(0..pages) * WARM_READ_BYTES as u64;
        for byte in other_work.iter_mut().step_by(CACHE_LINE_BYTES) {
            *byte = byte.wrapping_add(1);
        }
        black_box(&mut other_work);
        let (ns, read) = timed(|| warm_read(file, &mut buffer, offset));
        let length = read.map_err(at("read", Path::new("(an open file)")))?;
        if length != WARM_READ_BYTES {
            return Err(ProbeError::Wrong(format!("a read of {WARM_READ_BYTES} bytes gave {length}")));
        }
        if index >= WARM_UP_READS {
            samples.push(ns);
        }
    }
    Ok(samples)
}

impl Probe for PageCache {
    fn name(&self) -> ProbeName {
        ProbeName::PageCache
    }

    fn about(&self) -> &'static str {
        "resident bytes after N containers read the same files; time of the first and the second to read and to map; memory charged"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, _: &mut Trial) -> Result<(), ProbeError> {
        Ok(())
    }

    /// Writes and evicts the files, and checks that nothing of them is resident. It is their data that must not be cached; that needs
    /// no root.
    fn settle(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        evict(trial, &open_sources(trial)?)
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let names = &trial.targets.hits;
        let sources = open_sources(trial)?;
        let cached_before = meminfo_cached()?;
        let mut readers = Vec::with_capacity(trial.containers.len() * names.len());
        let mut times = vec![Vec::with_capacity(names.len()); trial.containers.len()];
        for (container, times) in trial.containers.iter().zip(&mut times) {
            for name in names {
                let path = container.merged.join(name);
                let (ns, read) = timed(|| read_whole(&path, &mut buffer));
                let (file, bytes) = read.map_err(at("read", &path))?;
                if bytes != trial.size_of(name)? {
                    return Err(ProbeError::Wrong(format!("{} has {bytes} bytes", path.display())));
                }
                times.push(ns);
                readers.push(file);
            }
        }
        let cached_after = meminfo_cached()?;

        let sizes = names.iter().map(|name| trial.size_of(name)).collect::<Result<Vec<u64>, _>>()?;
        let least = sizes.into_iter().min().unwrap_or(0);
        // After the counters were read, before anything else touches the files.
        let warm = warm_reads(readers.get(..names.len()).unwrap_or_default(), least)?;
        let resident_bytes = resident_together(&sources, &readers)?;
        let mut observations = Vec::new();
        let mut times = times.into_iter();
        if let Some(first) = times.next() {
            observations.push(Observation::new(metric::FIRST_READ_NS, first));
        }
        if let Some(second) = times.next() {
            observations.push(Observation::new(metric::SECOND_READ_NS, second));
        }
        if !warm.is_empty() {
            observations.push(Observation::new(metric::WARM_READ_NS, warm));
        }
        let read_set = trial.read_set()?;
        match resident_bytes {
            Some(bytes) => observations.push(Observation::new(metric::RESIDENT_BYTES, vec![bytes])),
            None => trial.notes.push("resident_bytes is not measured: it takes cachestat (Linux 6.5), or root".into()),
        }
        observations
            .push(Observation::new(metric::MEMINFO_CACHED_BYTES, vec![cached_after.saturating_sub(cached_before)]));
        observations.push(Observation::new(metric::READ_SET_BYTES, vec![read_set]));
        if trial.containers.len() > 1 {
            match compare_frames(&readers, names.len())? {
                Some((checked, shared)) => {
                    observations.push(Observation::new(metric::CHECKED_PAGES, vec![checked]));
                    observations.push(Observation::new(metric::SHARED_PAGES, vec![shared]));
                }
                None => frames_hidden(trial),
            }
        }
        // A file that is open keeps what its driver has in memory for it.
        drop(readers);
        observations.extend(mapped::measure(trial, &sources)?);
        observations.extend(charge::measure(trial, &sources)?);
        evict_everywhere(trial, &sources)?;
        Ok(observations)
    }

    /// Every container read the right content.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        for container in trial.containers {
            for name in &trial.targets.hits {
                trial.check_content(container, name)?;
            }
        }
        Ok(())
    }
}

/// The files of the layer, or of the volume, open.
fn open_sources(trial: &Trial) -> Result<Vec<File>, ProbeError> {
    let names = trial.targets.hits.iter();
    names
        .map(|name| {
            let path = trial.source_of(name)?;
            File::open(&path).map_err(at("open", &path))
        })
        .collect()
}

/// Writes and evicts the files, and checks that nothing of them is resident.
fn evict(trial: &Trial, sources: &[File]) -> Result<(), ProbeError> {
    for (file, name) in sources.iter().zip(&trial.targets.hits) {
        sys::cache::evict(file).map_err(at("evict", name))?;
        gone(file, name)?;
    }
    Ok(())
}

/// The same, and what containers have in page caches of their own before.
fn evict_everywhere(trial: &Trial, sources: &[File]) -> Result<(), ProbeError> {
    for container in trial.containers {
        for name in &trial.targets.hits {
            let path = container.merged.join(name);
            let file = File::open(&path).map_err(at("open", &path))?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(at("evict", &path))?;
        }
    }
    evict(trial, sources)?;
    // Only now: a union that hands nothing on (aufs) shows the layer's pages as its own until these are gone.
    for container in trial.containers {
        for name in &trial.targets.hits {
            let path = container.merged.join(name);
            let file = File::open(&path).map_err(at("open", &path))?;
            gone(&file, &path)?;
        }
    }
    Ok(())
}

/// Bytes of memory that hold the files' pages, wherever they are cached, each page once; `None` where this kernel does not tell.
fn resident_together(sources: &[File], readers: &[File]) -> Result<Option<u64>, ProbeError> {
    let path = Path::new("(an open file)");
    if sources.first().is_some_and(|file| sys::cache::cachestat(file).is_err()) {
        let together = sys::cache::resident_bytes_together(sources.iter().chain(readers));
        return together.map_err(at("read page frame numbers of", path));
    }
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for file in sources.iter().chain(readers) {
        let meta = file.metadata().map_err(at("fstat", path))?;
        if seen.insert((meta.dev(), meta.ino())) {
            bytes += resident(file, path)?;
        }
    }
    Ok(Some(bytes))
}

/// Nothing of a file is resident.
fn gone(file: &File, path: &Path) -> Result<(), ProbeError> {
    match resident(file, path)? {
        0 => Ok(()),
        bytes => Err(ProbeError::Wrong(format!(
            "{bytes} bytes of {} are still resident after POSIX_FADV_DONTNEED",
            path.display()
        ))),
    }
}

/// Says once why page frames were not compared.
fn frames_hidden(trial: &mut Trial) {
    let note = match trial.privileges {
        Privileges::Root => "/proc/self/pagemap shows no frame numbers here",
        _ => "page frame numbers are hidden: the proof of sharing needs root",
    };
    if !trial.notes.iter().any(|said| said == note) {
        trial.notes.push(note.into());
    }
}

/// Pages of which both have a frame number, and how many of them are the same frame.
fn compare(a: &[Option<u64>], b: &[Option<u64>]) -> (u64, u64) {
    let pairs = a.iter().zip(b).filter_map(|pair| pair.0.zip(*pair.1));
    pairs.fold((0, 0), |(checked, shared), (a, b)| (checked + 1, shared + u64::from(a == b)))
}

/// Pages of the other containers' files that were compared with the first container's, and how many are the same frame. `None` where
/// frame numbers are hidden.
fn compare_frames(readers: &[File], files: usize) -> Result<Option<(u64, u64)>, ProbeError> {
    let path = Path::new("(an open file)");
    let frames = |file: &File| sys::pagemap::frame_numbers(file).map_err(at("read page frame numbers of", path));
    let (first, others) = readers.split_at(files.min(readers.len()));
    let (mut checked, mut shared) = (0, 0);
    for (index, file) in first.iter().enumerate() {
        let reference = frames(file)?;
        for other in others.iter().skip(index).step_by(files.max(1)) {
            let (more, same) = compare(&reference, &frames(other)?);
            checked += more;
            shared += same;
        }
    }
    Ok((checked > 0).then_some((checked, shared)))
}

fn resident(file: &File, path: &Path) -> Result<u64, ProbeError> {
    sys::cache::resident_bytes(file).map_err(at("count resident pages of", path))
}

/// `Cached` of /proc/meminfo in bytes.
fn meminfo_cached() -> Result<u64, ProbeError> {
    let cached = host::meminfo("Cached").map_err(at("read", Path::new("/proc/meminfo")))?;
    cached.ok_or_else(|| ProbeError::Wrong("/proc/meminfo has no line `Cached:`".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_compared_where_both_are_known() {
        assert_eq!(compare(&[Some(1), Some(2), None, Some(4)], &[Some(1), Some(3), Some(3), None]), (2, 1));
        assert_eq!(compare(&[], &[Some(1)]), (0, 0));
    }
}
