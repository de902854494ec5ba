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

/// Does `work` in `count` processes, each with its index, and returns what they answered, in order. They wait for each other before they
/// begin. The calling process must have one thread.
pub(super) fn together<T: Serialize + DeserializeOwned>(
    count: usize,
    work: impl Fn(usize) -> Result<T, String>,
) -> Result<Vec<T>, ProcessesError> {
    let failed = |operation| move |errno: io::Error| ProcessesError::Io { operation, count, errno };
    // One file for all answers, a line each: it is held in memory, and a descriptor a process would be too many.
    let answers = memfd_create("answers", MemfdFlags::CLOEXEC).map_err(|e| failed("start")(e.into()))?;
    fcntl_setfl(&answers, OFlags::APPEND).map_err(|e| failed("start")(e.into()))?;
    let mut answers = File::from(answers);
    let (mut ready, told) = io::pipe().map_err(failed("start"))?;
    let (go, held) = io::pipe().map_err(failed("start"))?;
    // All of them read a pipe that nobody writes: closing its other end wakes them at once.
    let (mut told, mut held) = (Some(told), Some(held));

    let mut children: Vec<Forked> = Vec::with_capacity(count);
    for index in 0..count {
        let child = fork(|| {
            // The ends that this copy has would keep the pipes from ending.
            drop(held.take());
            let begun = told.take().is_some_and(|mut told| told.write_all(&[1]).is_ok())
                && (&go).read(&mut [0]).is_ok_and(|bytes| bytes == 0);
            if !begun {
                return 1;
            }
            let answer = serde_json::to_string(&(index, work(index)));
            // In one write, which appends whole (inode lock of tmpfs).
            u8::from(!answer.is_ok_and(|line| (&answers).write_all((line + "\n").as_bytes()).is_ok()))
        });
        children.push(child.map_err(failed("start"))?);
    }
    drop(told);
    let mut all = vec![0; count];
    ready.read_exact(&mut all).map_err(failed("wait for"))?;
    drop(held);
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
