//! Descriptors that are left for others.
//!
//! What all users of a mount have open takes descriptors of one process, this daemon. Whoever opened as many as it may have would keep everybody
//! from so much as a listing. So some are left for what needs one for a moment, half of them for opens of root too; who opens a file then is
//! answered with ENFILE, as where the whole system has too many. Before that, the files that are only kept are closed (see `kept`). Not all opens
//! are told here, and what is removed takes a descriptor, too: who removes a file is answered so a little later.
//!
//! Nobody counts as long as there are enough: the kernel gives the least number that is free, so that only opens whose number is high make the next
//! ones look.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, getrlimit};

use super::privileges::Caller;
use super::state::Union;
use super::{Errno, Res};

/// How many descriptors there are, and whether few are left.
#[derive(Debug)]
pub(super) struct Reserve {
    limit: usize,
    left: usize,
    short: AtomicBool,
}

impl Reserve {
    /// Of as many as this process may have open.
    pub(super) fn of_this_process() -> Reserve {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Reserve::new(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn new(limit: usize) -> Reserve {
        // For requests under way. What threads and layers have is in use already.
        let left = (limit / 8).min(1024);
        Reserve { limit, left, short: AtomicBool::new(false) }
    }

    /// Whether a descriptor leaves those that are to be left.
    pub(super) fn spares(&self, fd: impl AsFd) -> bool {
        usize::try_from(fd.as_fd().as_raw_fd()).is_ok_and(|number| number < self.limit - self.left)
    }

    /// How many there are to be had.
    fn free(&self) -> usize {
        self.limit.saturating_sub(in_use())
    }

    /// Notes the descriptor of a file that somebody has opened.
    pub(super) fn note(&self, fd: impl AsFd) {
        if !self.spares(fd) {
            self.short.store(true, Ordering::Relaxed);
        }
    }
}

impl Union {
    /// ENFILE if the caller may not open one more file.
    pub(super) fn room_for_an_open(&self, caller: Caller) -> Res<()> {
        self.room(caller, self.reserve.left)
    }

    /// ENFILE if the caller may not remove one more file, which takes a descriptor until the kernel forgets the file. Who has it open is not known:
    /// nobody is told of the opens of directories and FIFOs, nor of those with O_PATH. Some can still be removed when none can be opened.
    pub(super) fn room_for_what_is_removed(&self, caller: Caller) -> Res<()> {
        self.room(caller, self.reserve.left / 2)
    }

    /// ENFILE if the caller would leave fewer than these; root may take half of them.
    fn room(&self, caller: Caller, left: usize) -> Res<()> {
        let reserve = &self.reserve;
        if !reserve.short.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Numbers below may be free again.
        let before = reserve.free();
        if before > reserve.left {
            reserve.short.store(false, Ordering::Relaxed);
        }
        if before > left {
            return Ok(());
        }
        // What has been removed stays open although it is no longer kept.
        while self.close_kept() {
            if reserve.free() > before {
                return Ok(());
            }
        }
        if caller.is_root() && before > left / 2 { Ok(()) } else { Err(Errno::NFILE) }
    }

    /// For who reads or writes a file that nobody opened here: he is not refused, but nothing that is only kept is to be in his way.
    pub(super) fn make_room(&self) {
        let reserve = &self.reserve;
        if reserve.short.load(Ordering::Relaxed) && reserve.free() <= reserve.left {
            self.close_kept();
        }
    }
}

/// How many descriptors this process has.
fn in_use() -> usize {
    const OWN: &str = "/proc/self/fd";
    // Linux 6.2 says it; before, the size is 0.
    let said = std::fs::metadata(OWN).map_or(0, |folder| folder.len());
    // Without /proc nobody is refused for it.
    if said > 0 { said as usize } else { std::fs::read_dir(OWN).map_or(0, Iterator::count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_limit_some_are_left_and_most_are_not() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, 230).unwrap();
        for (limit, left) in [(64, 8), (256, 32), (1024, 128), (1 << 18, 1024)] {
            let reserve = Reserve::new(limit);
            assert_eq!(reserve.left, left);
            assert_eq!(reserve.spares(&high), limit > 256, "{limit}");
            reserve.note(&high);
            assert_eq!(reserve.short.into_inner(), limit <= 256);
        }
    }
}
