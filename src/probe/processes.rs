//! The same work in one process, or in several that start together, each on files of its own. Probes use it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ProbeError, Trial};
use crate::sys::process::{Forked, fork};

/// What can go wrong besides the work itself.
#[derive(Debug, thiserror::Error)]
enum ProcessesError {
    /// A system call failed.
    #[error("{operation} {count} processes: {errno}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// Of how many.
        count: usize,
        /// The errno.
        errno: io::Error,
    },
    /// A process ended without an answer.
    #[error("of {count} processes {answered} gave an answer")]
    Lost {
        /// How many there were.
        count: usize,
        /// How many answered.
        answered: usize,
    },
    /// The work went wrong.
    #[error("process {index}: {error}")]
    Work {
        /// Which process, from 0.
        index: usize,
        /// What it said.
        error: String,
    },
}

/// When the operations of a process began and ended, by CLOCK_MONOTONIC, which all processes share.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    began_ns: u64,
    ended_ns: u64,
}

impl Span {
    /// Begins now.
    pub(super) fn begin() -> Span {
        let now = monotonic_ns();
        Span { began_ns: now, ended_ns: now }
    }

    /// Ends now.
    pub(super) fn end(&mut self) {
        self.ended_ns = monotonic_ns();
    }
}

/// From the first begin to the last end, in nanoseconds; 0 of nobody.
pub(super) fn wall_ns(spans: impl Iterator<Item = Span> + Clone) -> u64 {
    let began = spans.clone().map(|span| span.began_ns).min().unwrap_or(0);
    let ended = spans.map(|span| span.ended_ns).max().unwrap_or(0);
    ended.saturating_sub(began)
}

fn monotonic_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

/// Processor time that this process has had, in nanoseconds.
pub(super) fn own_processor_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

/// Processor time that these processes have had, in nanoseconds, without what those had that are gone.
pub fn processor_ns(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let pid = Pid::from_raw(i32::try_from(*pid).ok()?);
        let spent = nix::time::clock_getcpuclockid(pid).and_then(|clock| clock.now()).ok()?;
        u64::try_from(spent.num_nanoseconds()).ok()
    };
    pids.iter().filter_map(of).sum()
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Refuses a case in which a process would have no file.
pub(super) fn check(trial: &Trial) -> Result<(), ProbeError> {
    let (files, processes) = (trial.targets.hits.len(), trial.params.processes);
    if usize::try_from(processes).unwrap_or(usize::MAX) > files {
        return Err(ProbeError::Wrong(format!(
            "{processes} processes cannot each have a file of their own of {files}: raise `files`, or `bytes_max`, which lowers it"
        )));
    }
    Ok(())
}

/// Does `work` on all files, in as many processes as the case has, each on a part of them. Returns what each answered, in order. A single
/// process is the caller itself; otherwise the caller must have one thread.
pub(super) fn on_parts<F, T: Serialize + DeserializeOwned>(
    trial: &Trial,
    files: &[F],
    work: impl Fn(&[F], &mut Meeting) -> Result<T, String>,
) -> Result<Vec<T>, ProbeError> {
    match usize::try_from(trial.params.processes).unwrap_or(usize::MAX) {
        0 | 1 => work(files, &mut Meeting::alone()).map(|answer| vec![answer]).map_err(ProbeError::Wrong),
        count => together(count, |index, meeting| work(part(files, index, count), meeting))
            .map_err(|e| ProbeError::Wrong(e.to_string())),
    }
}

/// The files of a process: parts that differ by one at most.
fn part<F>(files: &[F], index: usize, count: usize) -> &[F] {
    let bound = |index: usize| files.len() * index / count.max(1);
    files.get(bound(index)..bound(index + 1)).unwrap_or_default()
}

/// Where processes wait until all of them are there.
struct Gate {
    /// Read by the parent: a byte for each that is there.
    ready: io::PipeReader,
    told: Option<io::PipeWriter>,
    /// Read by all who wait and written by nobody: closing its other end wakes them at once.
    go: io::PipeReader,
    held: Option<io::PipeWriter>,
}

impl Gate {
    fn new() -> io::Result<Gate> {
        let (ready, told) = io::pipe()?;
        let (go, held) = io::pipe()?;
        Ok(Gate { ready, told: Some(told), go, held: Some(held) })
    }

    /// In a child: says that it is there and waits. Its end is closed then, so that the parent learns of one that died on the way when
    /// all others are there.
    fn pass(mut self) -> io::Result<()> {
        if let Some(mut told) = self.told.take() {
            told.write_all(&[1])?;
        }
        self.go.read(&mut [0]).map(drop)
    }

    /// In the parent: waits for `count` and lets them go.
    fn open(mut self, count: usize) -> io::Result<()> {
        drop(self.told.take());
        self.ready.read_exact(&mut vec![0; count])
    }
}

/// Where the processes of a case wait for each other, twice at most: each of the two is passed once, by whoever works or else for it.
pub(super) struct Meeting {
    begin: Option<Gate>,
    halfway: Option<Gate>,
}

impl Meeting {
    /// Of a process that waits for nobody.
    fn alone() -> Meeting {
        Meeting { begin: None, halfway: None }
    }

    /// Waits until all have what they need: what comes before is in nobody's time.
    pub(super) fn begin(&mut self) -> Result<(), String> {
        pass(self.begin.take())
    }

    /// Waits until all have come to the end of what is timed together: what comes after disturbs nobody who is still at it.
    pub(super) fn halfway(&mut self) -> Result<(), String> {
        pass(self.halfway.take())
    }

    /// Closes the ends that a child's copy has: they would keep the pipes from ending.
    fn join(&mut self) {
        for gate in [&mut self.begin, &mut self.halfway].into_iter().flatten() {
            drop(gate.held.take());
        }
    }
}

fn pass(gate: Option<Gate>) -> Result<(), String> {
    gate.map_or(Ok(()), Gate::pass).map_err(|e| format!("wait for the other processes: {e}"))
}

/// Does `work` in `count` processes, each with its index, and returns what they answered, in order.
fn together<T: Serialize + DeserializeOwned>(
    count: usize,
    work: impl Fn(usize, &mut Meeting) -> Result<T, String>,
) -> Result<Vec<T>, ProcessesError> {
    let failed = |operation| move |errno: io::Error| ProcessesError::Io { operation, count, errno };
    // One file for all answers, a line each: it is held in memory, and a descriptor a process would be too many.
    let answers = memfd_create("answers", MemfdFlags::CLOEXEC).map_err(|e| failed("start")(e.into()))?;
    fcntl_setfl(&answers, OFlags::APPEND).map_err(|e| failed("start")(e.into()))?;
    let mut answers = File::from(answers);
    let gate = || Gate::new().map(Some).map_err(failed("start"));
    let mut meeting = Meeting { begin: gate()?, halfway: gate()? };

    let mut children: Vec<Forked> = Vec::with_capacity(count);
    for index in 0..count {
        let child = fork(|| {
            meeting.join();
            let result = work(index, &mut meeting);
            // Whoever gave up on the way must not keep the others waiting.
            let passed = meeting.begin().and(meeting.halfway());
            let answer = serde_json::to_string(&(index, result.and_then(|answer| passed.map(|()| answer))));
            // In one write, which appends whole (inode lock of tmpfs).
            u8::from(!answer.is_ok_and(|line| (&answers).write_all((line + "\n").as_bytes()).is_ok()))
        });
        children.push(child.map_err(failed("start"))?);
    }
    for gate in [meeting.begin, meeting.halfway].into_iter().flatten() {
        gate.open(count).map_err(failed("wait for"))?;
    }
    for child in children {
        // Whether it did its work is told by its answer.
        child.wait().map_err(failed("wait for"))?;
    }
    let mut text = String::new();
    answers.rewind().and_then(|()| answers.read_to_string(&mut text)).map_err(failed("read the answers of"))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<(usize, Result<T, String>)>(line).ok());
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by_key(|(index, _)| *index);
    if lines.len() != count {
        return Err(ProcessesError::Lost { count, answered: lines.len() });
    }
    lines.into_iter().map(|(index, answer)| answer.map_err(|error| ProcessesError::Work { index, error })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_everything_once_and_nobody_gets_nothing() {
        let files: Vec<usize> = (0..10).collect();
        for count in [1, 2, 3, 7, 10] {
            let parts: Vec<&[usize]> = (0..count).map(|index| part(&files, index, count)).collect();
            assert_eq!(parts.concat(), files, "{count} parts");
            let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
            let (least, most) = (lengths.iter().min().unwrap(), lengths.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{lengths:?}");
        }
    }

    #[test]
    fn the_wall_clock_runs_from_the_first_begin_to_the_last_end() {
        let span = |(began_ns, ended_ns)| Span { began_ns, ended_ns };
        assert_eq!(wall_ns([(20, 70), (10, 30), (25, 26)].into_iter().map(span)), 60);
        assert_eq!(wall_ns([].into_iter()), 0);
    }
}
