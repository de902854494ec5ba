//! What is let go of behind the next answer.
//!
//! To close a file of the upper and to take it back from the kernel takes as long as many an answer. A release has no caller that waits for it, but
//! who closed the file asks for the next one at once, and would wait behind it. So it is done while that caller wakes up with its answer,
//! and at once where requests do not come one behind the other.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::node::lock;

/// What waits; more is let go of at once.
const MOST: usize = 8;

/// Things that are only there to be dropped.
#[derive(Default)]
pub(super) struct Behind {
    things: Mutex<Vec<Box<dyn Send>>>,
    /// How many there are, to be seen without the lock.
    count: AtomicUsize,
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behind").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Behind {
    /// Drops this later on. To be called in a turn, at the end of which it is seen to.
    pub(super) fn leave(&self, thing: impl Send + 'static) {
        let mut things = lock(&self.things);
        if things.len() < MOST {
            things.push(Box::new(thing));
            self.count.store(things.len(), Ordering::Release);
        } else {
            drop(things);
            drop(thing);
        }
    }

    /// Drops one. False if there was none.
    pub(super) fn drop_one(&self) -> bool {
        if self.is_empty() {
            return false;
        }
        let thing = {
            let mut things = lock(&self.things);
            let thing = things.pop();
            self.count.store(things.len(), Ordering::Release);
            thing
        };
        // Without the lock.
        thing.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Drops all.
    pub(super) fn drop_all(&self) {
        while self.drop_one() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_few_things_wait_and_each_is_dropped_once() {
        let (behind, thing) = (Behind::default(), Arc::new(()));
        assert!(!behind.drop_one());
        for _ in 0..MOST + 3 {
            behind.leave(Arc::clone(&thing));
        }
        assert_eq!(Arc::strong_count(&thing), 1 + MOST, "what is too much does not wait");
        assert!(behind.drop_one());
        assert_eq!(Arc::strong_count(&thing), MOST);
        behind.drop_all();
        assert_eq!(Arc::strong_count(&thing), 1);
    }
}
