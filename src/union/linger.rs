//! Looking for the next request before going to sleep.
//!
//! Whoever has got an answer asks again soon, as long as it is at work on files, and to wake a thread takes longer than many an answer, on a
//! virtual machine several times as long. So while requests come in quick succession a thread looks for the next one for a while (`linger=`),
//! and lets everybody else run who wants to, before it goes to sleep, unless what it answered lets its caller go on to work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::behind::Behind;
use super::spare::Spare;

/// Requests in quick succession, one behind the other, from which on it looks.
const BRISK: u32 = 3;

/// How soon requests come after one another.
#[derive(Debug)]
pub(super) struct Pace {
    /// What times are counted from.
    since: Instant,
    /// How long to look for the next one, in nanoseconds.
    linger: u64,
    /// Whether to go on looking when another thread has got the next one. On two processors the caller then stays there: see `lanes`. Among more
    /// there is always one to which it is moved, and to look on all that it left would be a waste.
    stays: bool,
    /// When the last turn ended, in nanoseconds.
    ended: AtomicU64,
    /// How many requests have come in quick succession.
    brisk: AtomicU32,
    /// What is made ready meanwhile, if anything can be changed.
    spare: Option<Arc<Spare>>,
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Pace {
    fn now(&self) -> u64 {
        nanoseconds(self.since.elapsed())
    }

    /// `linger` is how long to look, on a machine of so many `processors`; `spare` is what is made ready meanwhile.
    pub(super) fn new(linger: Duration, processors: usize, spare: Option<Arc<Spare>>) -> Pace {
        let (since, linger, stays) = (Instant::now(), nanoseconds(linger), processors <= 2);
        Pace { since, linger, stays, ended: AtomicU64::new(0), brisk: AtomicU32::new(0), spare }
    }

    /// Whether the next request may be there soon.
    pub(super) fn is_brisk(&self) -> bool {
        self.brisk.load(Ordering::Relaxed) >= BRISK
    }

    /// Notes that a request has come. It may have had to wake its thread: what is twice as long as the thread looks still counts as quick.
    pub(super) fn request(&self) {
        let gap = self.now().saturating_sub(self.ended.load(Ordering::Relaxed));
        let quick = gap < self.linger.saturating_mul(2);
        let brisk = if quick { self.brisk.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
        self.brisk.store(brisk, Ordering::Relaxed);
    }

    /// Looks for the next request for a while, if there may be one soon. As long as there is none, what waits behind answers is let go of.
    /// `there` is whether there is one, `elsewhere` whether another thread has had one since.
    pub(super) fn linger(&self, behind: &Behind, there: &mut dyn FnMut() -> bool, elsewhere: impl Fn() -> bool) {
        let begun = self.now();
        self.ended.store(begun, Ordering::Relaxed);
        if !self.is_brisk() {
            behind.drop_all();
            self.put_away();
            return;
        }
        while self.now().saturating_sub(begun) < self.linger {
            if there() {
                return;
            }
            if !self.stays && elsewhere() {
                break;
            }
            if !behind.drop_one() {
                std::thread::yield_now();
            }
        }
        behind.drop_all();
        if !elsewhere() {
            // In vain: not again before requests have shown to be quick.
            self.brisk.store(0, Ordering::Relaxed);
            self.put_away();
        }
    }

    /// A copy_up may follow.
    pub(super) fn renew(&self) {
        if let Some(spare) = &self.spare {
            spare.renew();
        }
    }

    pub(super) fn put_away(&self) {
        if let Some(spare) = &self.spare {
            spare.put_away();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of a machine with so many processors, on which requests come quickly.
    fn pace(processors: usize) -> Pace {
        let pace = Pace::new(Duration::from_millis(200), processors, None);
        (0..BRISK).for_each(|_| pace.request());
        pace
    }

    #[test]
    fn a_thread_looks_for_the_next_request_once_they_come_quickly_and_until_that_is_in_vain() {
        let (pace, behind) = (Pace::new(Duration::from_millis(200), 2, None), &Behind::default());
        pace.linger(behind, &mut || panic!("not looked for"), || false);
        (0..BRISK).for_each(|_| pace.request());
        assert!(pace.is_brisk());
        pace.linger(behind, &mut || true, || false);
        assert!(pace.is_brisk(), "something is there");
        pace.linger(behind, &mut || false, || true);
        assert!(pace.is_brisk(), "another thread has got it");
        pace.linger(behind, &mut || false, || false);
        assert!(!pace.is_brisk(), "nothing came");
    }

    #[test]
    fn among_many_processors_nobody_looks_for_what_another_thread_has_got() {
        for (processors, looks_once) in [(2, false), (3, true)] {
            let (pace, behind) = (pace(processors), &Behind::default());
            let mut looks = 0;
            pace.linger(behind, &mut || (looks += 1, false).1, || true);
            assert_eq!(looks == 1, looks_once, "{processors} processors, {looks} looks");
            assert!(pace.is_brisk(), "it is to be looked for again");
        }
    }

    #[test]
    fn what_waits_behind_answers_goes_when_no_request_is_there() {
        let (pace, behind, thing) = (pace(2), Behind::default(), Arc::new(()));
        let left = || Arc::strong_count(&thing) - 1;
        behind.leave(Arc::clone(&thing));
        pace.linger(&behind, &mut || true, || false);
        assert_eq!(left(), 1, "somebody waits");
        pace.linger(&behind, &mut || false, || false);
        assert_eq!(left(), 0);
        behind.leave(Arc::clone(&thing));
        assert!(!pace.is_brisk());
        pace.linger(&behind, &mut || panic!("not looked for"), || false);
        assert_eq!(left(), 0, "requests are not quick any more");
    }
}
