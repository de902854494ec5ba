//! How far a run is, for whoever has to end it in the middle: a signal.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::store::remove_scratch_in;
use crate::workload::count;
use crate::{stack, sys};

/// The signals with which people and systems end a program.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
/// How long the process of a case may take to end once it is killed, and what makes a stack once it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a run is. A case ends, and is recorded, while nobody else holds this: so what a signal finds is whole.
#[derive(Debug, Default)]
pub struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    folder: Option<PathBuf>,
    planned: usize,
    recorded: usize,
    stores: Vec<PathBuf>,
    child: Option<u32>,
}

impl Standing {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run has so many cases, these stores, and the folder that is made now.
    pub(super) fn begin<E>(
        &self,
        planned: usize,
        stores: Vec<PathBuf>,
        reserve: impl FnOnce() -> Result<(String, PathBuf), E>,
    ) -> Result<(String, PathBuf), E> {
        let mut state = self.state();
        let (name, folder) = reserve()?;
        (state.folder, state.planned, state.stores) = (Some(folder.clone()), planned, stores);
        Ok((name, folder))
    }

    /// What is recorded, for whoever is told that the run ended with an error; nothing where no case is.
    pub fn recorded(&self) -> Option<String> {
        let state = self.state();
        let folder = state.folder.as_deref().filter(|_| state.recorded > 0)?;
        Some(recorded(&state, folder))
    }

    /// Starts the process of a case.
    pub(super) fn start(&self, spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut state = self.state();
        let child = spawn()?;
        state.child = Some(child.id());
        Ok(child)
    }

    /// The process of the case has ended.
    pub(super) fn ended(&self) {
        self.state().child = None;
    }

    /// Records an attempt, and counts its case if that is the last one.
    pub(super) fn record<E>(&self, is_last: bool, append: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state();
        append()?;
        state.recorded += usize::from(is_last);
        Ok(())
    }
}

/// From now on a signal ends this process in order: the case is killed, scratch and results without a case are removed, and `say` gets a line
/// about the rest. Otherwise as [`on_signal`].
///
/// # Errors
/// The system call that failed.
pub fn end_in_order(standing: Arc<Standing>, say: impl Fn(&str) + Send + 'static) -> io::Result<()> {
    on_signal(move |status| {
        // Held to the end: nothing is recorded any more.
        let state = standing.state();
        say(&end(&state));
        std::process::exit(status)
    })
}

/// From now on a signal with which people and systems end a program has a thread call `end` with the exit status that says so. Call it before
/// there are other threads, which take the mask of this one. A signal that is ignored (nohup) stays so.
///
/// # Errors
/// The system call that failed.
pub fn on_signal(end: impl FnOnce(i32) -> Infallible + Send + 'static) -> io::Result<()> {
    let mut signals = SigSet::empty();
    for signal in SIGNALS {
        if !sys::process::ignores(signal as i32)? {
            signals.add(signal);
        }
    }
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Ok(signal) = signals.wait() {
            end(128 + signal as i32);
        }
    })?;
    Ok(())
}

/// The process of a case takes signals again, which it got blocked from its parent.
pub fn take_signals() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

fn recorded(state: &State, folder: &Path) -> String {
    let are = if state.recorded == 1 { "is" } else { "are" };
    format!("{} of {} {are} recorded in {}", state.recorded, count(state.planned, "case"), folder.display())
}

/// Takes away what nobody would use, and says what there is.
fn end(state: &State) -> String {
    if let Some(child) = state.child {
        // It may have ended by itself.
        sys::process::kill_group(child).ok();
        sys::process::wait_for_exit(child, Some(PATIENCE)).ok();
    }
    // A stack that is being built goes; what cannot be removed in time, whoever works in the store next removes.
    stack::stop(PATIENCE);
    let left: Vec<String> =
        state.stores.iter().filter_map(|store| remove_scratch_in(store).err()).map(|e| format!("; {e}")).collect();
    let left = left.concat();
    match &state.folder {
        Some(folder) if state.recorded > 0 => format!("interrupted: {}{left}", recorded(state, folder)),
        Some(folder) => match fs::remove_dir_all(folder) {
            Ok(()) => format!("interrupted: no case is recorded{left}"),
            Err(e) => format!("interrupted: no case is recorded{left}; remove {}: {e}", folder.display()),
        },
        None => format!("interrupted: no case is recorded{left}"),
    }
}
