//! The same work in several processes that start together. The probe alone uses it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::process::{Forked, fork};

/// What can go wrong besides the work itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProcessesError {
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
    fn pass(&mut self) -> io::Result<()> {
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

/// Does `work` in `count` processes, each with its index, and returns what they answered, in order. They wait for each other before they
/// begin, and once more where `work` calls the function it is given, which it does exactly once: what comes after disturbs nobody who is
/// still at what comes before. The calling process must have one thread.
pub(super) fn together<T: Serialize + DeserializeOwned>(
    count: usize,
    work: impl Fn(usize, &mut dyn FnMut()) -> Result<T, String>,
) -> Result<Vec<T>, ProcessesError> {
    let failed = |operation| move |errno: io::Error| ProcessesError::Io { operation, count, errno };
    // One file for all answers, a line each: it is held in memory, and a descriptor a process would be too many.
    let answers = memfd_create("answers", MemfdFlags::CLOEXEC).map_err(|e| failed("start")(e.into()))?;
    fcntl_setfl(&answers, OFlags::APPEND).map_err(|e| failed("start")(e.into()))?;
    let mut answers = File::from(answers);
    let mut begin = Gate::new().map_err(failed("start"))?;
    let mut halfway = Gate::new().map_err(failed("start"))?;

    let mut children: Vec<Forked> = Vec::with_capacity(count);
    for index in 0..count {
        let child = fork(|| {
            // The ends that this copy has would keep the pipes from ending.
            drop((begin.held.take(), halfway.held.take()));
            if begin.pass().is_err() {
                return 1;
            }
            let mut passed = Ok(());
            let result = work(index, &mut || passed = halfway.pass());
            let result = passed.map_err(|e| format!("wait for the other processes: {e}")).and(result);
            let answer = serde_json::to_string(&(index, result));
            // In one write, which appends whole (inode lock of tmpfs).
            u8::from(!answer.is_ok_and(|line| (&answers).write_all((line + "\n").as_bytes()).is_ok()))
        });
        children.push(child.map_err(failed("start"))?);
    }
    for gate in [begin, halfway] {
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
