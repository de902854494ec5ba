//! Look-up: stat of one name in a directory that every layer has. The name is in layer d, nowhere, or whited out.
//!
//! The directory itself is open, so the last component alone is looked up. The three kinds take turns, so that drift of the machine
//! falls on all of them alike.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use super::{Probe, ProbeError, Trial, at, digest, in_one_folder, open_folder, timed};
use crate::record::{Metric, Observation, metric};
use crate::workload::ProbeName;

/// The probe.
pub(super) struct Lookup;

static METRICS: [Metric; 3] = [metric::LOOKUP_HIT_NS, metric::LOOKUP_MISS_NS, metric::LOOKUP_WHITEOUT_NS];

/// The operation: stat of a name, without following a symbolic link.
#[inline]
pub fn stat_name(folder: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

impl Probe for Lookup {
    fn name(&self) -> ProbeName {
        ProbeName::Lookup
    }

    fn about(&self) -> &'static str {
        "stat of a name that is in a layer, of one that is nowhere, of one that a whiteout hides"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, _: &mut Trial) -> Result<(), ProbeError> {
        Ok(())
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let merged = &trial.first()?.merged;
        let targets = trial.targets;
        let kinds = [
            (metric::LOOKUP_HIT_NS, &targets.hits, Some(trial.params.file_size_bytes)),
            (metric::LOOKUP_MISS_NS, &targets.misses, None),
            (metric::LOOKUP_WHITEOUT_NS, &targets.whiteouts, None),
        ];
        let mut lists = Vec::new();
        // A stack of one layer hides nothing.
        for (metric, names, size) in kinds.into_iter().filter(|(_, names, _)| !names.is_empty()) {
            let (folder, names) = in_one_folder(names)?;
            let fd = open_folder(&merged.join(folder))?;
            let samples = Vec::with_capacity(names.len());
            lists.push((metric, names, size, fd, samples));
        }
        let longest = lists.iter().map(|(_, names, ..)| names.len()).max().unwrap_or(0);
        for index in 0..longest {
            for (_, names, size, fd, samples) in &mut lists {
                let Some(name) = names.get(index) else { continue };
                let (ns, answer) = timed(|| stat_name(fd.as_fd(), name));
                let found = match answer {
                    Ok(stat) => u64::try_from(stat.st_size).ok(),
                    Err(Errno::NOENT) => None,
                    Err(e) => return Err(at("stat", &merged.join(name.to_string_lossy().as_ref()))(e)),
                };
                if found != *size {
                    return Err(ProbeError::Wrong(format!(
                        "stat of {} found {found:?}, expected {size:?} (size in bytes, or None for absent)",
                        name.to_string_lossy()
                    )));
                }
                samples.push(ns);
            }
        }
        Ok(lists.into_iter().map(|(metric, _, _, _, samples)| Observation::new(metric, samples)).collect())
    }

    /// The names that were found are the right files.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        for name in &trial.targets.hits {
            let path = trial.first()?.merged.join(name);
            if digest(&path)? != trial.fact(name)?.digest {
                return Err(ProbeError::Wrong(format!("{} is not the file of its layer", path.display())));
            }
        }
        Ok(())
    }
}
