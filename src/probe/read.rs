//! Read: every file of the pool, whole, through one container, and once more; by one process, or by several that start together and each read
//! files of their own.
//!
//! The pool's folder is open, and names below it are looked up by the operation itself, as with a first write: what is read here is what is
//! written there, so that the two can stand side by side.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::processes::{self, Meeting, Span};
use super::{Probe, ProbeError, READ_BUFFER_BYTES, Trial, names_below, open_folder, open_name, read_rest, timed};
use crate::record::{Metric, Observation, metric};
use crate::workload::ProbeName;

/// The probe.
pub(super) struct Read;

static METRICS: [Metric; 3] = [metric::READ_NS, metric::READ_AGAIN_NS, metric::WALL_NS];

/// The operation: open a name and read the file to its end. The file is returned open, so that closing it is not part of the time.
#[inline]
pub fn read_name(folder: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> io::Result<(File, u64)> {
    let mut file = File::from(open_name(folder, name)?);
    let bytes = read_rest(&mut file, buffer)?;
    Ok((file, bytes))
}

/// A file to read. Everything is known before the clock runs.
struct Target {
    /// Its name, relative to the folder that is open.
    name: CString,
    size_bytes: u64,
}

/// What one process measured: samples in nanoseconds for each of its files, in their order, and when the first ones began and ended.
#[derive(Debug, Serialize, Deserialize)]
struct Samples {
    span: Span,
    read: Vec<u64>,
    again: Vec<u64>,
}

/// Reads files one after another, all processes from the same moment on; and again, when all have ended.
fn read_all_of(
    folder: BorrowedFd<'_>,
    merged: &Path,
    files: &[Target],
    meeting: &mut Meeting,
) -> Result<Samples, String> {
    let path = |file: &Target| merged.join(file.name.to_string_lossy().as_ref());
    // Not of zeros: those would be got from the kernel page by page in the first sample.
    let mut buffer = vec![1; READ_BUFFER_BYTES];
    let mut read_all = || -> Result<(Span, Vec<u64>), String> {
        let mut samples = Vec::with_capacity(files.len());
        let mut span = Span::begin();
        for target in files {
            let (ns, result) = timed(|| read_name(folder, &target.name, &mut buffer));
            let (file, bytes) = result.map_err(|e| format!("read {}: {e}", path(target).display()))?;
            if bytes != target.size_bytes {
                return Err(format!("{} gave {bytes} bytes, not {}", path(target).display(), target.size_bytes));
            }
            samples.push(ns);
            drop(file);
        }
        span.end();
        Ok((span, samples))
    };
    meeting.begin()?;
    let (span, read) = read_all()?;
    meeting.halfway()?;
    let (_, again) = read_all()?;
    Ok(Samples { span, read, again })
}

impl Probe for Read {
    fn name(&self) -> ProbeName {
        ProbeName::Read
    }

    fn about(&self) -> &'static str {
        "open of a file of a layer and reading it to its end, and again, by one process or by several at once, each with files of its own"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        processes::check(trial)
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let names = &trial.targets.hits;
        let (folder, below) = names_below(names)?;
        let targets = names.iter().zip(below).map(|(full, name)| Ok(Target { name, size_bytes: trial.size_of(full)? }));
        let targets = targets.collect::<Result<Vec<Target>, ProbeError>>()?;
        let merged = trial.first()?.merged.join(folder);
        let folder = open_folder(&merged)?;
        let samples = processes::on_parts(trial, &targets, |files, meeting| {
            read_all_of(folder.as_fd(), &merged, files, meeting)
        })?;
        let all = |of: fn(&Samples) -> &Vec<u64>| samples.iter().flat_map(|s| of(s).iter().copied()).collect();
        Ok(vec![
            Observation::new(metric::READ_NS, all(|s| &s.read)),
            Observation::new(metric::READ_AGAIN_NS, all(|s| &s.again)),
            Observation::new(metric::WALL_NS, vec![processes::wall_ns(samples.iter().map(|s| s.span))]),
        ])
    }

    /// The container has every file as its layer has it, and reading has brought none of them up.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        let container = trial.first()?;
        for name in &trial.targets.hits {
            trial.check_content(container, name)?;
            // A volume is its own upper.
            let copy = container.upper.join(name);
            if trial.volume.is_none() && fs::symlink_metadata(&copy).is_ok() {
                return Err(ProbeError::Wrong(format!(
                    "{} is there: the file was copied up to be read",
                    copy.display()
                )));
            }
        }
        Ok(())
    }
}
