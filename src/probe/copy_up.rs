//! First write: open for writing and one byte, to a file that nobody wrote in this mount; then the same again.
//!
//! The directory has been copied up before: it is once a directory, not once a file, and would be the first sample's outlier.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Probe, ProbeError, Trial, at, digest, in_one_folder, open_folder, timed};
use crate::record::{Metric, Observation, metric};
use crate::workload::ProbeName;

/// The probe.
pub(super) struct CopyUp;

static METRICS: [Metric; 4] =
    [metric::FIRST_WRITE_NS, metric::SECOND_WRITE_NS, metric::UPPER_BYTES, metric::UPPER_INODES];

/// The operation: open for writing and write one byte at the start. The descriptor is returned open, so that closing it is not part
/// of the time.
#[inline]
pub fn first_write(folder: BorrowedFd<'_>, name: &CStr, byte: u8) -> rustix::io::Result<OwnedFd> {
    let fd = rustix::fs::openat(folder, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::pwrite(&fd, &[byte], 0)? {
        1 => Ok(fd),
        _ => Err(rustix::io::Errno::IO),
    }
}

/// What a first write puts in place of a byte: never the same byte, so that a write that did not happen is found out.
fn changed(byte: u8) -> u8 {
    !byte
}

fn first_byte(path: &Path) -> Result<u8, ProbeError> {
    let mut byte = [0];
    let file = File::open(path).map_err(at("open", path))?;
    file.read_exact_at(&mut byte, 0).map_err(at("read", path))?;
    Ok(byte[0])
}

impl Probe for CopyUp {
    fn name(&self) -> ProbeName {
        ProbeName::CopyUp
    }

    fn about(&self) -> &'static str {
        "first write of one byte to a file of a lower layer, then the second; what appeared in upper"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let (folder, _) = in_one_folder(&trial.targets.hits)?;
        let path = trial.first()?.merged.join(folder).join("directory-copied-up");
        File::create(&path).map_err(at("create", &path))?;
        fs::remove_file(&path).map_err(at("remove", &path))
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let container = trial.first()?;
        let (folder, names) = in_one_folder(&trial.targets.hits)?;
        let merged = container.merged.join(&folder);
        let bytes = trial
            .targets
            .hits
            .iter()
            // Facts, not the file: reading it here would warm what should be cold.
            .map(|name| Ok(changed(trial.fact(name)?.first_byte)))
            .collect::<Result<Vec<u8>, ProbeError>>()?;
        let before = usage(&container.upper).map_err(at("walk", &container.upper))?;
        let fd = open_folder(&merged)?;
        let mut first = Vec::with_capacity(names.len());
        let mut second = Vec::with_capacity(names.len());
        for (name, byte) in names.iter().zip(bytes) {
            for samples in [&mut first, &mut second] {
                let (ns, written) = timed(|| first_write(std::os::fd::AsFd::as_fd(&fd), name, byte));
                let path = || merged.join(name.to_string_lossy().as_ref());
                drop(written.map_err(|e| at::<rustix::io::Errno>("open for writing and write", &path())(e))?);
                samples.push(ns);
            }
        }
        let after = usage(&container.upper).map_err(at("walk", &container.upper))?;
        Ok(vec![
            Observation::new(metric::FIRST_WRITE_NS, first),
            Observation::new(metric::SECOND_WRITE_NS, second),
            Observation::new(metric::UPPER_BYTES, vec![after.bytes.saturating_sub(before.bytes)]),
            Observation::new(metric::UPPER_INODES, vec![after.inodes.saturating_sub(before.inodes)]),
        ])
    }

    /// Upper holds the file, its content is the original with that byte, the lower file is untouched.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let container = trial.first()?;
        for name in &trial.targets.hits {
            let fact = trial.fact(name)?;
            for path in [container.upper.join(name), container.merged.join(name)] {
                let found = first_byte(&path)?;
                if found != changed(fact.first_byte) {
                    return Err(ProbeError::Wrong(format!("{} does not hold the byte written", path.display())));
                }
                if digest_with_first_byte(&path, fact.first_byte)? != fact.digest {
                    return Err(ProbeError::Wrong(format!(
                        "{} is not the original with one byte changed",
                        path.display()
                    )));
                }
            }
            if trial.volume.is_none() && digest(&fact.path)? != fact.digest {
                return Err(ProbeError::Wrong(format!("the lower file {} was changed", fact.path.display())));
            }
        }
        Ok(())
    }
}

/// Digest of a file as if its first byte were another.
fn digest_with_first_byte(path: &Path, byte: u8) -> Result<blake3::Hash, ProbeError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; super::READ_BUFFER_BYTES];
    let mut start = true;
    super::read_all(path, &mut buffer, |piece| {
        if let Some((_, rest)) = piece.split_first().filter(|_| start) {
            hasher.update(&[byte]);
            hasher.update(rest);
            start = false;
        } else {
            hasher.update(piece);
        }
    })
    .map_err(at("read", path))?;
    Ok(hasher.finalize())
}

/// What a tree occupies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    bytes: u64,
    inodes: u64,
}

/// Allocated bytes and inodes of everything below `root`, and `root` itself.
fn usage(root: &Path) -> io::Result<Usage> {
    let mut total = Usage::default();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        total.bytes += meta.blocks() * 512;
        total.inodes += 1;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
    }
    Ok(total)
}
