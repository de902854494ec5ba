//! Whom the memory controller charges: each container reads from a control group of its own, as a container runtime has it.
//!
//! The process of the case itself goes from group to group, so that nothing but the reading differs. A FUSE daemon stays where it is: what
//! it brings in is charged to its own group. The groups are made below that of this process (or beside it, where version 2 does not let a
//! group with processes have children of its kind), and are removed again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::evict_everywhere;
use crate::host::{self, GroupVersion};
use crate::probe::{ProbeError, READ_BUFFER_BYTES, Trial, at, read_whole};
use crate::record::{Observation, metric};

/// Files that say how many bytes a group is charged: of version 2, of version 1 (Documentation/admin-guide/cgroup-v2.rst and
/// cgroup-v1/memory.rst of the kernel).
const USAGE: [&str; 2] = ["memory.current", "memory.usage_in_bytes"];
/// Moves a process into the group: the one that is written to it, 0 for the writer.
const PROCS: &str = "cgroup.procs";
/// Pages that the kernel charges a group at a time, and hands out from then on (`MEMCG_CHARGE_BATCH` of its include/linux/memcontrol.h).
const BATCH_PAGES: u64 = 64;
/// How many such batches have to be read at least: what may be charged too high or too low is then a tenth at most.
const BATCHES_MIN: u64 = 10;
/// How our groups begin.
const PREFIX: &str = "layerbench-";

/// Evicts the files and reads them through each container from a group of its own. A note instead where there is no memory controller that
/// we may use, or where the files are so small that the kernel's rounding would hide them.
pub(super) fn measure(trial: &mut Trial, sources: &[File]) -> Result<Option<Observation>, ProbeError> {
    let read_set = trial.read_set()?;
    let least = BATCHES_MIN * BATCH_PAGES * rustix::param::page_size() as u64;
    if read_set < least {
        let note =
            format!("charged_bytes is not measured: {read_set} bytes are too few, the kernel's count needs {least}");
        trial.notes.push(note);
        return Ok(None);
    }
    let place = match Place::find() {
        Ok(place) => place,
        Err(reason) => {
            trial.notes.push(format!("charged_bytes is not measured: {reason}"));
            return Ok(None);
        }
    };
    evict_everywhere(trial, sources)?;
    let mut buffer = vec![0; READ_BUFFER_BYTES];
    // Removed together at the end: what a group was charged stays charged to it as long as it is there.
    let mut groups = Vec::with_capacity(trial.containers.len());
    let mut charged = Vec::with_capacity(trial.containers.len());
    for (index, container) in trial.containers.iter().enumerate() {
        let group = Group::create(&place, index)?;
        group.enter()?;
        let before = group.usage()?;
        for name in &trial.targets.hits {
            let path = container.merged.join(name);
            let (_, bytes) = read_whole(&path, &mut buffer).map_err(at("read", &path))?;
            if bytes != trial.size_of(name)? {
                return Err(ProbeError::Wrong(format!("{} has {bytes} bytes", path.display())));
            }
        }
        charged.push(group.usage()?.saturating_sub(before));
        group.leave()?;
        groups.push(group);
    }
    Ok(Some(Observation::new(metric::CHARGED_BYTES, charged)))
}

/// Where groups can be made.
#[derive(Debug)]
struct Place {
    /// The group that this process is in.
    home: PathBuf,
    /// In which ours are made.
    parent: PathBuf,
    /// Which of [`USAGE`] its children have.
    usage: &'static str,
}

impl Place {
    /// Tries it with a group that is removed at once. In words why not, otherwise.
    fn find() -> Result<Place, String> {
        let (home, version) = host::memory_group()?;
        // Version 2 alone keeps a group with processes from having children of its kind; beside it they can be.
        let beside = home.parent().filter(|_| version == GroupVersion::Two);
        let mut reason = String::new();
        for (parent, place) in [(Some(home.as_path()), "below"), (beside, "beside")] {
            let Some(parent) = parent else { continue };
            remove_stale(parent);
            let trial = parent.join(format!("{PREFIX}{}-trial", std::process::id()));
            if let Err(e) = fs::create_dir(&trial) {
                reason = format!("make a control group {place} this process's own: {e}");
                continue;
            }
            let usage = USAGE.into_iter().find(|name| trial.join(name).is_file());
            let movable = fs::OpenOptions::new().write(true).open(trial.join(PROCS));
            fs::remove_dir(&trial).map_err(|e| format!("remove {}: {e}", trial.display()))?;
            match (usage, movable) {
                (Some(usage), Ok(_)) => {
                    return Ok(Place { parent: parent.to_owned(), home: home.clone(), usage });
                }
                (_, Err(e)) => reason = format!("enter a control group {place} this process's own: {e}"),
                (None, _) => {
                    reason = format!("a control group {place} this process's own has no memory controller");
                }
            }
        }
        Err(reason)
    }
}

/// Removes groups whose makers were killed.
fn remove_stale(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Whoever else found it removes it too.
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// A group of ours. Dropping it takes this process home and removes it.
#[derive(Debug)]
struct Group<'a> {
    place: &'a Place,
    path: PathBuf,
}

impl<'a> Group<'a> {
    fn create(place: &'a Place, index: usize) -> Result<Group<'a>, ProbeError> {
        let path = place.parent.join(format!("{PREFIX}{}-{index}", std::process::id()));
        fs::create_dir(&path).map_err(at("make the control group", &path))?;
        Ok(Group { place, path })
    }

    fn enter(&self) -> Result<(), ProbeError> {
        move_to(&self.path).map_err(at("enter the control group", &self.path))
    }

    fn leave(&self) -> Result<(), ProbeError> {
        move_to(&self.place.home).map_err(at("return to the control group", &self.place.home))
    }

    /// Bytes charged.
    fn usage(&self) -> Result<u64, ProbeError> {
        let path = self.path.join(self.place.usage);
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        text.trim().parse().map_err(|_| ProbeError::Wrong(format!("{} is no number: {text:?}", path.display())))
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        // After an error this process may be in it still. An error goes to stderr: there is another one to report.
        let home = move_to(&self.place.home);
        if let Err(e) = home.and_then(|()| fs::remove_dir(&self.path)) {
            eprintln!("remove the control group {}: {e}", self.path.display());
        }
    }
}

fn move_to(group: &Path) -> io::Result<()> {
    fs::write(group.join(PROCS), "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_dropped_is_left_and_gone() {
        let place = match Place::find() {
            Ok(place) => place,
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return;
            }
        };
        let current = || fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = current();
        let group = Group::create(&place, usize::MAX).unwrap();
        let path = group.path.clone();
        group.enter().unwrap();
        assert!(current().contains(&*path.file_name().unwrap().to_string_lossy()), "{}", current());
        assert!(group.usage().is_ok());
        drop(group);
        assert_eq!(current(), before);
        assert!(!path.exists());
    }
}
