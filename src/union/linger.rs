//! Looking for the next request before going to sleep.
//!
//! Whoever has got an answer asks again soon, as long as it is at work on files, and to wake a thread takes longer than many an answer, on a
//! virtual machine several times as long. So while requests come in quick succession a thread looks for the next one for a while (`linger=`),
//! and lets everybody else run who wants to, before it goes to sleep, unless what it answered lets its caller go on to work.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::behind::Behind;
use super::spare::Spare;

/// Requests in quick succession, one behind the other, from which on it looks.
const BRISK: u32 = 3;

/// Where requests come from, and how soon after one another.
#[derive(Debug)]
pub(super) struct Device {
    /// A descriptor of the session's.
    fd: OwnedFd,
    /// What times are counted from.
    since: Instant,
    /// How long to look for the next one, in nanoseconds.
    linger: u64,
    /// When the last turn ended, in nanoseconds.
    ended: AtomicU64,
    /// How many requests have come in quick succession.
    brisk: AtomicU32,
    /// What is made ready meanwhile, if anything can be changed.
    pub(super) spare: Option<Arc<Spare>>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Device {
    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    /// `linger` is how long to look; `spare` is what is made ready meanwhile.
    pub(super) fn new(device: BorrowedFd<'_>, linger: Duration, spare: Option<Arc<Spare>>) -> io::Result<Device> {
        let (fd, since, linger) = (device.try_clone_to_owned()?, Instant::now(), nanoseconds(linger));
        Ok(Device { fd, since, linger, ended: AtomicU64::new(0), brisk: AtomicU32::new(0), spare })
    }

    /// Notes that a request has come. It may have had to wake its thread: what is twice as long as the thread looks still counts as quick.
    pub(super) fn request(&self) {
        let gap = self.now().saturating_sub(self.ended.load(Ordering::Relaxed));
        let quick = gap < self.linger.saturating_mul(2);
        let brisk = if quick { self.brisk.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.brisk.store(brisk, Ordering::Relaxed);
    }

    /// Looks for the next request for a while, if there may be one soon. As long as there is none, what waits behind answers is let go of.
    pub(super) fn linger(&self, behind: &Behind) {
        let begun = self.now();
        self.ended.store(begun, Ordering::Relaxed);
        if self.brisk.load(Ordering::Relaxed) < BRISK {
            behind.drop_all();
            self.put_away();
            return;
        }
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        while self.now().saturating_sub(begun) < self.linger {
            // An error, too, is for the thread to find when it reads.
            if poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&nothing)) != Ok(0) {
                return;
            }
            if !behind.drop_one() {
                std::thread::yield_now();
            }
        }
        // In vain: not again before requests have shown to be quick.
        self.brisk.store(0, Ordering::Relaxed);
        behind.drop_all();
        self.put_away();
    }

    pub(super) fn put_away(&self) {
        if let Some(spare) = &self.spare {
            spare.put_away();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_thread_looks_for_the_next_request_once_they_come_quickly_and_until_that_is_in_vain() {
        let (come, request) = rustix::pipe::pipe().unwrap();
        let device = Device::new(come.as_fd(), Duration::from_millis(200), None).unwrap();
        let behind = &Behind::default();
        let brisk = || device.brisk.load(Ordering::Relaxed);
        let quickly = || (0..BRISK).for_each(|_| device.request());
        device.linger(behind);
        quickly();
        assert_eq!(brisk(), BRISK);
        device.linger(behind);
        assert_eq!(brisk(), 0, "nothing came");
        rustix::io::write(&request, b"x").unwrap();
        quickly();
        device.linger(behind);
        assert_eq!(brisk(), BRISK, "something is there");
        drop(request);
        device.linger(behind);
        assert_eq!(brisk(), BRISK, "the end is for the thread to read");
    }

    #[test]
    fn what_waits_behind_answers_goes_when_no_request_is_there() {
        let (come, request) = rustix::pipe::pipe().unwrap();
        let device = Device::new(come.as_fd(), Duration::from_millis(200), None).unwrap();
        let (behind, thing) = (Behind::default(), Arc::new(()));
        let left = || Arc::strong_count(&thing) - 1;
        behind.leave(Arc::clone(&thing));
        (0..BRISK).for_each(|_| device.request());
        rustix::io::write(&request, b"x").unwrap();
        device.linger(&behind);
        assert_eq!(left(), 1, "somebody waits");
        rustix::io::read(&come, &mut [0; 1]).unwrap();
        device.linger(&behind);
        assert_eq!(left(), 0);
        behind.leave(Arc::clone(&thing));
        device.linger(&behind);
        assert_eq!(left(), 0, "requests are not quick any more");
    }
}
