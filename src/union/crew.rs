//! How many of the threads that answer requests wait for the next one: no more than there is work for.
//!
//! The kernel gives each request to another waiting thread. Behind a close(2) comes a release, which no caller waits for; the thread that it woke is
//! still at it when the caller's next request wakes a second one, and where there are few processors these two and the caller are in each other's way. One
//! thread finds the next request without having slept.
//!
//! So as long as there is one caller, one thread waits. The others rest here, behind the request that they answered last, until
//!
//! - a thread begins what can take long ([`Crew::away`]), so that somebody waits meanwhile;
//! - another caller asks than the one before: then there may be several at once;
//! - the session ends. fuser has no word for that; a thread of it that ends is seen by what it keeps for itself being dropped.
//!
//! A resting thread holds no lock and no request.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::node::lock;

/// Requests for which nobody goes to rest after another caller than before has asked.
const COMPANY: u32 = 16;

/// The threads of a session. Those that have not answered any request yet are not known, and wait for one.
#[derive(Debug, Default)]
pub(super) struct Crew {
    state: Mutex<State>,
    call: Condvar,
    /// As in the state, to be seen without its lock. An old value costs time and nothing else.
    ready: AtomicUsize,
    resting: AtomicUsize,
    /// Thread that asked last.
    caller: AtomicU32,
    /// Requests that are left of [`COMPANY`].
    company: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    /// Those that wait for requests or are at one that does not take long.
    ready: usize,
    resting: usize,
    /// How many of the resting ones have been called.
    called: usize,
    /// A thread has left: all will.
    over: bool,
}

impl State {
    fn call_one(&mut self, call: &Condvar) {
        if self.called < self.resting {
            self.called += 1;
            call.notify_one();
        }
    }
}

/// What a thread knows of its crew.
struct Member {
    crew: Arc<Crew>,
    /// How many reasons it has to be away.
    away: Cell<u32>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let crew = &self.crew;
        let mut state = lock(&crew.state);
        state.ready = state.ready.saturating_sub(usize::from(self.away.get() == 0));
        state.over = true;
        crew.call.notify_all();
        crew.publish(&state);
    }
}

thread_local!(static MEMBER: RefCell<Option<Member>> = const { RefCell::new(None) });

/// A request that a thread is at. Ends after its answer, where the thread may rest. It stays with its thread.
#[derive(Debug)]
#[must_use]
pub(super) struct Turn<'a>(&'a Crew, PhantomData<*const ()>);

/// A thread is at something that can take long. It stays with its thread.
#[derive(Debug)]
#[must_use]
pub(super) struct Away<'a>(Option<&'a Crew>, PhantomData<*const ()>);

impl Crew {
    /// This thread has got a request of the thread `caller`; 0 where nobody waits for the answer.
    pub(super) fn turn(self: &Arc<Crew>, caller: u32) -> Turn<'_> {
        MEMBER.with_borrow_mut(|member| {
            if member.as_ref().is_none_or(|member| !Arc::ptr_eq(&member.crew, self)) {
                let mut state = lock(&self.state);
                state.ready += 1;
                self.publish(&state);
                drop(state);
                *member = Some(Member { crew: Arc::clone(self), away: Cell::new(0) });
            }
        });
        if caller != 0 && self.caller.swap(caller, Ordering::Relaxed) != caller {
            self.company.store(COMPANY, Ordering::Relaxed);
            if self.resting.load(Ordering::Relaxed) > 0 {
                let mut state = lock(&self.state);
                state.call_one(&self.call);
            }
        }
        Turn(self, PhantomData)
    }

    /// What this thread does next can take long: another one waits for requests until that ends. Nothing to a thread that has no turn here.
    pub(super) fn away(&self) -> Away<'_> {
        let first = self.reasons(|away| away.replace(away.get() + 1) == 0);
        if first == Some(true) {
            let mut state = lock(&self.state);
            state.ready = state.ready.saturating_sub(1);
            if state.ready + state.called == 0 {
                state.call_one(&self.call);
            }
            self.publish(&state);
        }
        Away(first.map(|_| self), PhantomData)
    }

    /// Looks at how many reasons this thread has to be away; `None` if it is not of this crew.
    fn reasons<T>(&self, look: impl FnOnce(&Cell<u32>) -> T) -> Option<T> {
        MEMBER.with_borrow(|member| {
            member
                .as_ref()
                .filter(|member| std::ptr::eq(&raw const *member.crew, self))
                .map(|member| look(&member.away))
        })
    }

    /// Rests, if another thread is there for what comes.
    fn rest(&self) {
        let mut state = lock(&self.state);
        if state.ready <= 1 || state.over {
            return;
        }
        state.ready -= 1;
        state.resting += 1;
        self.publish(&state);
        while state.called == 0 && !state.over {
            state = self.wait(state);
        }
        state.called = state.called.saturating_sub(1);
        state.resting -= 1;
        state.ready += 1;
        self.publish(&state);
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.call.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        self.ready.store(state.ready, Ordering::Relaxed);
        self.resting.store(state.resting, Ordering::Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Turn(crew, _) = self;
        if crew.ready.load(Ordering::Relaxed) <= 1 {
            return;
        }
        let company = crew.company.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if company.is_err() {
            crew.rest();
        }
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        let Some(crew) = self.0 else { return };
        if crew.reasons(|away| away.replace(away.get().saturating_sub(1)) == 1) == Some(true) {
            let mut state = lock(&crew.state);
            state.ready += 1;
            crew.publish(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::{Duration, Instant};

    use super::*;

    /// Who asks, and what is done meanwhile.
    type Request = (u32, fn(&Crew));

    /// A thread that answers requests.
    struct Thread {
        requests: Sender<Request>,
        /// A word for each request, when its turn has ended.
        ended: Receiver<()>,
        handle: JoinHandle<()>,
    }

    fn thread(crew: &Arc<Crew>) -> Thread {
        let (requests, coming) = channel::<Request>();
        let (done, ended) = channel();
        let crew = Arc::clone(crew);
        let handle = std::thread::spawn(move || {
            for (caller, work) in coming {
                let turn = crew.turn(caller);
                work(&crew);
                drop(turn);
                done.send(()).unwrap();
            }
        });
        Thread { requests, ended, handle }
    }

    impl Thread {
        fn ask(&self, caller: u32) {
            self.requests.send((caller, |_| ())).unwrap();
        }

        fn answer(&self, caller: u32) {
            self.ask(caller);
            self.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        }

        fn end(self) {
            drop(self.requests);
            self.handle.join().unwrap();
        }
    }

    fn until(crew: &Crew, what: impl Fn(&State) -> bool) {
        let start = Instant::now();
        while !what(&lock(&crew.state)) {
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", lock(&crew.state));
            std::thread::yield_now();
        }
    }

    /// Two threads, of which the second rests: one caller has asked for long.
    fn one_of_two_rests() -> (Arc<Crew>, Thread, Thread) {
        let crew = Arc::new(Crew::default());
        let (a, b) = (thread(&crew), thread(&crew));
        a.answer(7);
        b.answer(7);
        // Who has company does not rest; after it the one that has a turn does.
        for _ in 0..COMPANY {
            a.answer(if crew.company.load(Ordering::Relaxed) > 0 { 7 } else { break });
        }
        b.ask(7);
        until(&crew, |state| (state.ready, state.resting) == (1, 1));
        assert!(b.ended.try_recv().is_err());
        (crew, a, b)
    }

    #[test]
    fn one_thread_waits_for_one_caller_and_never_less_than_one() {
        let (crew, a, b) = one_of_two_rests();
        for _ in 0..100 {
            a.answer(7);
            a.answer(0);
        }
        assert_eq!(lock(&crew.state).resting, 1);
        a.end();
        b.end();
    }

    #[test]
    fn a_second_caller_calls_the_resting_thread() {
        let (crew, a, b) = one_of_two_rests();
        a.answer(8);
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        until(&crew, |state| (state.ready, state.resting, state.called) == (2, 0, 0));
        a.end();
        b.end();
    }

    #[test]
    fn what_can_take_long_calls_the_resting_thread_once_however_often_it_is_said() {
        let (crew, a, b) = one_of_two_rests();
        a.requests
            .send((7, |crew| {
                let _first = crew.away();
                let second = crew.away();
                until(crew, |state| (state.ready, state.resting) == (1, 0));
                drop(second);
                assert_eq!(lock(&crew.state).ready, 1, "still away");
            }))
            .unwrap();
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        // Two are there now, and the one whose turn ends rests.
        until(&crew, |state| (state.ready, state.resting) == (1, 1));
        b.answer(0);
        a.requests.send((8, |_| ())).unwrap();
        b.answer(9);
        assert!(a.ended.recv_timeout(Duration::from_secs(20)).is_ok(), "called by 9");
        a.end();
        b.end();
    }

    #[test]
    fn the_end_of_a_thread_calls_all() {
        let (_, a, b) = one_of_two_rests();
        a.end();
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        b.end();
    }

    #[test]
    fn who_has_no_turn_is_not_away() {
        let crew = Crew::default();
        drop(crew.away());
        assert_eq!(lock(&crew.state).ready, 0);
    }
}
