//! The part of programs and shared libraries: files that are mapped and touched, not read.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{evict_everywhere, frames_hidden};
use crate::probe::{ProbeError, Trial, at, timed};
use crate::record::{Observation, metric};
use crate::sys::pagemap::Mapping;

/// The operation: open a file, map it as a program or a library is mapped, and touch every page. Both are returned, so that letting go of
/// them is not part of the time. `None` for an empty file.
fn map_whole(path: &Path) -> io::Result<(File, Option<Mapping>)> {
    let file = File::open(path)?;
    let mapping = Mapping::private(&file)?;
    if let Some(mapping) = &mapping {
        mapping.touch();
    }
    Ok((file, mapping))
}

/// Evicts the files, maps them through every container in turn and compares the page frames of the others with the first one's, which keeps
/// its mappings meanwhile.
pub(super) fn measure(trial: &mut Trial, sources: &[File]) -> Result<Vec<Observation>, ProbeError> {
    if trial.params.file_size_bytes == 0 {
        return Ok(Vec::new());
    }
    evict_everywhere(trial, sources)?;
    let names = &trial.targets.hits;
    let mut first: Vec<(Mapping, Vec<Option<u64>>)> = Vec::with_capacity(names.len());
    let mut times = [Vec::with_capacity(names.len()), Vec::with_capacity(names.len())];
    let (mut checked, mut shared) = (0, 0);
    for (index, container) in trial.containers.iter().enumerate() {
        for (n, name) in names.iter().enumerate() {
            let path = container.merged.join(name);
            let (ns, mapped) = timed(|| map_whole(&path));
            let mapped = mapped.map_err(at("map and touch", &path))?;
            if let Some(times) = times.get_mut(index) {
                times.push(ns);
            }
            let (file, Some(mapping)) = mapped else {
                return Err(ProbeError::Wrong(format!("{} is empty", path.display())));
            };
            if mapping.length() as u64 != trial.size_of(name)? {
                return Err(ProbeError::Wrong(format!("{} has {} bytes", path.display(), mapping.length())));
            }
            // The mapping keeps what the file needs.
            drop(file);
            if trial.containers.len() > 1 {
                let frames = mapping.frames().map_err(at("read page frame numbers of", &path))?;
                if index == 0 {
                    first.push((mapping, frames));
                } else if let Some((_, reference)) = first.get(n) {
                    let (more, same) = super::compare(reference, &frames);
                    checked += more;
                    shared += same;
                }
            }
        }
    }
    let [first_ns, second_ns] = times;
    let mut observations = vec![Observation::new(metric::MAPPED_FIRST_NS, first_ns)];
    if trial.containers.len() > 1 {
        observations.push(Observation::new(metric::MAPPED_SECOND_NS, second_ns));
        if checked > 0 {
            observations.push(Observation::new(metric::MAPPED_CHECKED_PAGES, vec![checked]));
            observations.push(Observation::new(metric::MAPPED_SHARED_PAGES, vec![shared]));
        } else {
            frames_hidden(trial);
        }
    }
    Ok(observations)
}
