//! The same work on many things, by a few threads, until the first error.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{StackError, at};

/// Threads at least, also on one core: one makes content while another waits for the kernel.
const THREADS_MIN: usize = 2;
/// Threads at most: beyond a few they only queue for the locks of one file system.
const THREADS_MAX: usize = 8;

/// Calls `work` for every item, with its thread's own state, and returns the results in the items' order. The first error stops all
/// threads and is returned. `about` names the stack, should a thread end without an answer.
pub(super) fn map<T, S, R>(
    about: &Path,
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<R, StackError> + Sync,
) -> Result<Vec<R>, StackError>
where
    T: Sync,
    R: Send,
{
    let cores = std::thread::available_parallelism().map_or(THREADS_MIN, usize::from);
    let threads = cores.clamp(THREADS_MIN, THREADS_MAX).min(items.len());
    let next = AtomicUsize::new(0);
    let run = || -> Result<Vec<(usize, R)>, StackError> {
        let mut state = state();
        let mut done = Vec::with_capacity(items.len() / threads.max(1) + 1);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return Ok(done) };
            let result = work(&mut state, item).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
            done.push((index, result));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for helper in helpers {
            let part = helper
                .join()
                .unwrap_or_else(|_| Err(at("work in threads on", about)(std::io::Error::other("a thread panicked"))));
            all = all.and_then(|mut all| {
                all.extend(part?);
                Ok(all)
            });
        }
        all
    })?;
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
