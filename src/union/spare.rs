//! An unnamed file that is ready for the next copy_up, while one follows the other.
//!
//! To make one (O_TMPFILE) is what takes longest in the copy_up of a small file, and nobody has to wait for it: it is made behind the question that a
//! first write asks, while the caller wakes up and goes on. Only from the second copy_up of a streak of requests on, and it goes away when the
//! streak ends or a second caller asks: a file without a name takes an inode of the file system below and keeps it from being remounted
//! read-only.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};

use super::Res;
use super::create::set_umask;
use super::node::lock;

/// The file that is ready, if there is one.
#[derive(Debug)]
pub(super) struct Spare {
    scratch: OwnedFd,
    state: Mutex<State>,
    /// As in the state, to be seen without its lock.
    wanted: AtomicBool,
    in_use: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    file: Option<Arc<OwnedFd>>,
    /// How often one was wanted in this streak.
    streak: u32,
    /// The mode that the last one was to have; the next is likely to have the same.
    mode: u32,
}

impl Spare {
    /// `scratch` is a directory on the file system of the upper.
    pub(super) fn new(scratch: BorrowedFd<'_>) -> Res<Spare> {
        let scratch = scratch.try_clone_to_owned().map_err(super::state::errno)?;
        let (wanted, in_use) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Spare { scratch, state: Mutex::default(), wanted, in_use })
    }

    /// An empty file without a name, open for reading and writing: the one that is ready, whatever its mode, or a new one of this mode.
    pub(super) fn take(&self, mode: u32) -> Res<Arc<OwnedFd>> {
        let ready = {
            let mut state = lock(&self.state);
            state.mode = mode;
            state.streak = state.streak.saturating_add(1);
            self.in_use.store(true, Ordering::Relaxed);
            self.wanted.store(state.streak > 1, Ordering::Relaxed);
            state.file.take()
        };
        ready.map_or_else(|| self.make(mode), Ok)
    }

    fn make(&self, mode: u32) -> Res<Arc<OwnedFd>> {
        set_umask(0)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(&self.scratch, ".", flags, Mode::from_raw_mode(mode)).map(Arc::new)
    }

    /// Makes another one, if the last was taken in this streak. To be called when nobody waits for this thread.
    pub(super) fn renew(&self) {
        if !self.wanted.load(Ordering::Relaxed) || !self.wanted.swap(false, Ordering::Relaxed) {
            return;
        }
        let mode = lock(&self.state).mode;
        // Where it cannot be made, the copy_up that needs it says why.
        if let Ok(file) = self.make(mode) {
            lock(&self.state).file.get_or_insert(file);
        }
    }

    /// The streak has ended.
    pub(super) fn put_away(&self) {
        if !self.in_use.load(Ordering::Relaxed) {
            return;
        }
        let mut state = lock(&self.state);
        self.in_use.store(false, Ordering::Relaxed);
        self.wanted.store(false, Ordering::Relaxed);
        state.streak = 0;
        let file = state.file.take();
        drop(state);
        // Closed without the lock.
        drop(file);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn inode(file: &Arc<OwnedFd>) -> u64 {
        rustix::fs::fstat(file).unwrap().st_ino
    }

    fn ready(spare: &Spare) -> Option<u64> {
        lock(&spare.state).file.as_ref().map(inode)
    }

    #[test]
    fn one_is_ready_from_the_second_copy_up_on_and_until_the_streak_ends() {
        let scratch = tempfile::tempdir().unwrap();
        let spare = Spare::new(std::fs::File::open(scratch.path()).unwrap().as_fd()).unwrap();
        for _ in 0..2 {
            let first = spare.take(0o640).unwrap();
            assert_eq!(rustix::fs::fstat(&first).unwrap().st_mode & 0o7777, 0o640);
            spare.renew();
            assert_eq!(ready(&spare), None, "nothing follows yet");
            spare.take(0o600).unwrap();
            assert_eq!(ready(&spare), None, "made behind the answer alone");
            for _ in 0..3 {
                spare.renew();
                let made = ready(&spare).unwrap();
                spare.renew();
                let taken = spare.take(0o755).unwrap();
                assert_eq!((inode(&taken), ready(&spare)), (made, None));
            }
            spare.renew();
            assert!(ready(&spare).is_some());
            spare.put_away();
            spare.renew();
            assert_eq!(ready(&spare), None);
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "none has a name");
    }
}
