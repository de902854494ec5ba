//! First write: the first operation that has to bring a file of a lower layer up, and the same again; in one process or in several.
//!
//! What does it is `trigger`: one byte written, unless the case says otherwise. The pool's folder has been copied up before: it is once a
//! folder, not once a file, and would be the first sample's outlier. The folders between it and a target (`directories`) have not: making
//! them is part of the target's copy_up.
//!
//! The pool's folder is open, and names below it are looked up by the operation itself, from the first folder of a target's chain to the
//! target: with `fresh` caches none of them has been looked up through the mount before, with `warm` ones all have.

mod trigger;
mod verify;

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::processes::{self, Meeting, Span, own_processor_ns, processor_ns};
use super::{Probe, ProbeError, Trial, at, c_name, nanoseconds, open_folder, pool};
use crate::record::{Metric, Observation, metric};
use crate::stack::FileFact;
use crate::workload::{Durability, ProbeName, Trigger};
use trigger::{File, Held, Round, WorkingFolder, operation, other_names, seen, sync};

/// The probe.
pub(super) struct CopyUp;

static METRICS: [Metric; 9] = [
    metric::FIRST_WRITE_NS,
    metric::FIRST_CLOSE_NS,
    metric::FIRST_PROCESSOR_NS,
    metric::SECOND_WRITE_NS,
    metric::FIRST_DURABLE_NS,
    metric::SECOND_DURABLE_NS,
    metric::WALL_NS,
    metric::UPPER_BYTES,
    metric::UPPER_INODES,
];

/// The operation of [`Trigger::Write`]: open for writing and write one byte at the start. The descriptor is returned open, so that closing
/// it is not part of the time.
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

/// What one process measured: samples in nanoseconds, in the order of its files, and when its first operations began and ended.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Samples {
    span: Span,
    first: Vec<u64>,
    first_close: Vec<u64>,
    /// Processor time of the process and the daemons in all first operations.
    processor_ns: u64,
    second: Vec<u64>,
    first_durable: Vec<u64>,
    second_durable: Vec<u64>,
}

/// What every process needs.
#[derive(Debug, Clone, Copy)]
struct Work<'a> {
    folder: BorrowedFd<'a>,
    merged: &'a Path,
    trigger: Trigger,
    durability: Durability,
    daemons: &'a [u32],
}

impl Work<'_> {
    /// The first operation on every file, then the second on every file. Off the clock, each file is read before its second one: meanwhile the
    /// copies of the others, of which a volume needs none, have taken what the kernel knows of it out of the processor's caches.
    fn on(&self, files: &[File], meeting: &mut Meeting) -> Result<Samples, String> {
        let mut samples = Samples {
            first: Vec::with_capacity(files.len()),
            first_close: Vec::with_capacity(files.len()),
            second: Vec::with_capacity(files.len()),
            first_durable: Vec::with_capacity(files.len()),
            second_durable: Vec::with_capacity(files.len()),
            processor_ns: 0,
            span: Span::default(),
        };
        meeting.begin()?;
        let daemons_ns = processor_ns(self.daemons);
        let own_ns = own_processor_ns();
        samples.span = Span::begin();
        self.round(files, Round::First, &mut samples.first, (&mut samples.first_durable, &mut samples.first_close))?;
        samples.span.end();
        samples.processor_ns = own_processor_ns().saturating_sub(own_ns);
        samples.processor_ns += processor_ns(self.daemons).saturating_sub(daemons_ns);
        meeting.halfway()?;
        self.round(files, Round::Second, &mut samples.second, (&mut samples.second_durable, &mut Vec::new()))?;
        Ok(samples)
    }

    fn round(
        &self,
        files: &[File],
        round: Round,
        samples: &mut Vec<u64>,
        (durable, close): (&mut Vec<u64>, &mut Vec<u64>),
    ) -> Result<(), String> {
        let operate = operation(self.trigger);
        let failed = |what: &str, file: &File, e: rustix::io::Errno| {
            let name = self.merged.join(file.name.to_string_lossy().as_ref());
            format!("{what} {}, {} time: {e}", name.display(), round.pick("first", "second"))
        };
        for file in files {
            if round == Round::Second {
                seen(self.trigger, self.folder, file).map_err(|e| failed("read", file, e))?;
            }
            let start = Instant::now();
            let held = operate(self.folder, file, round);
            let done = start.elapsed();
            let held: Held = held.map_err(|e| failed(self.trigger.as_str(), file, e))?;
            if self.durability == Durability::Fsync {
                // Between the two lies the reading of a clock.
                let synced = sync(self.trigger, self.folder, file, round, &held);
                durable.push(nanoseconds(start.elapsed()));
                synced.map_err(|e| failed("fsync", file, e))?;
            }
            samples.push(nanoseconds(done));
            if let Held::Open(fd) = held {
                let start = Instant::now();
                drop(fd);
                close.push(nanoseconds(start.elapsed()));
            }
        }
        Ok(())
    }
}

/// Who owns a target before anything is done to it. A volume is this process's own copy.
fn owner(trial: &Trial, fact: &FileFact) -> Result<(u32, u32), ProbeError> {
    let path = trial.volume.unwrap_or(&fact.path);
    let meta = fs::metadata(path).map_err(at("stat", path))?;
    Ok((meta.uid(), meta.gid()))
}

/// Everything that operations must know, found out before the clock runs. Facts, not the files through the mount: reading them there would
/// warm what should be cold.
fn files(trial: &Trial, below: &[&Path]) -> Result<Vec<File>, ProbeError> {
    let mut files = Vec::with_capacity(below.len());
    for (name, below) in trial.targets.hits.iter().zip(below) {
        let fact = trial.fact(name)?;
        let [first, second] = other_names(below);
        files.push(File {
            name: c_name(below)?,
            others: [c_name(&first)?, c_name(&second)?],
            byte: changed(fact.first_byte),
            size_bytes: fact.size_bytes,
            owner: owner(trial, &fact)?,
        });
    }
    Ok(files)
}

/// What a trigger cannot be done to.
fn check(trial: &Trial) -> Result<(), ProbeError> {
    let params = trial.params;
    let needed = match params.trigger {
        Trigger::Truncate => 2,
        Trigger::MmapStore => 1,
        _ => 0,
    };
    if params.file_size_bytes < needed {
        return Err(ProbeError::Unavailable {
            reason: format!("{} needs a file of at least {needed} B", params.trigger.as_str()),
            remedy: "leave out that size, or that trigger".into(),
        });
    }
    processes::check(trial)
}

impl Probe for CopyUp {
    fn name(&self) -> ProbeName {
        ProbeName::CopyUp
    }

    fn about(&self) -> &'static str {
        "first write of one byte (or another trigger) to a file of a lower layer, then the second; what appeared in upper"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        check(trial)?;
        let (folder, _) = pool(&trial.targets.hits)?;
        let path = trial.first()?.merged.join(folder).join("directory-copied-up");
        fs::File::create(&path).map_err(at("create", &path))?;
        fs::remove_file(&path).map_err(at("remove", &path))
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let container = trial.first()?;
        let (folder, below) = pool(&trial.targets.hits)?;
        let files = files(trial, &below)?;
        let merged = container.merged.join(folder);
        let before = usage(&container.upper).map_err(at("walk", &container.upper))?;
        let fd = open_folder(&merged)?;
        let (trigger, durability) = (trial.params.trigger, trial.params.durability);
        let work = Work { folder: fd.as_fd(), merged: &merged, trigger, durability, daemons: &trial.daemons };
        let samples = {
            let _inside = WorkingFolder::enter(fd.as_fd()).map_err(at("enter", &merged))?;
            processes::on_parts(trial, &files, |files, meeting| work.on(files, meeting))?
        };
        let after = usage(&container.upper).map_err(at("walk", &container.upper))?;

        let all =
            |of: fn(&Samples) -> &Vec<u64>| samples.iter().flat_map(|s| of(s).iter().copied()).collect::<Vec<_>>();
        let mut observations = vec![
            Observation::new(metric::FIRST_WRITE_NS, all(|s| &s.first)),
            Observation::new(metric::SECOND_WRITE_NS, all(|s| &s.second)),
        ];
        let closes = all(|s| &s.first_close);
        if !closes.is_empty() {
            observations.push(Observation::new(metric::FIRST_CLOSE_NS, closes));
        }
        // Several processes share the daemons, whose time is nobody's then.
        if let [alone] = &samples[..] {
            let each = alone.processor_ns / (alone.first.len() as u64).max(1);
            observations.push(Observation::new(metric::FIRST_PROCESSOR_NS, vec![each]));
        }
        if durability == Durability::Fsync {
            observations.push(Observation::new(metric::FIRST_DURABLE_NS, all(|s| &s.first_durable)));
            observations.push(Observation::new(metric::SECOND_DURABLE_NS, all(|s| &s.second_durable)));
        }
        observations.extend([
            Observation::new(metric::WALL_NS, vec![processes::wall_ns(samples.iter().map(|s| s.span))]),
            Observation::new(metric::UPPER_BYTES, vec![after.bytes.saturating_sub(before.bytes)]),
            Observation::new(metric::UPPER_INODES, vec![after.inodes.saturating_sub(before.inodes)]),
        ]);
        Ok(observations)
    }

    /// Every target is what its trigger makes of it, in the container and in upper, and the lower file is untouched.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        verify::verify(trial)
    }
}

/// What a tree occupies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// Names that a union keeps for itself at the root of its upper (aufs(5): `.wh..wh.aufs`, `.wh..wh.orph`, `.wh..wh.plnk`): not the user's.
const UNION_OWN: &[u8] = b".wh..wh.";

/// Allocated bytes and inodes of everything below `root`, and `root` itself, but for what a union keeps for itself.
pub(super) fn usage(root: &Path) -> io::Result<Usage> {
    let mut total = Usage::default();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        total.bytes += meta.blocks() * 512;
        total.inodes += 1;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if path != root || !entry.file_name().as_bytes().starts_with(UNION_OWN) {
                    pending.push(entry.path());
                }
            }
        }
    }
    Ok(total)
}
