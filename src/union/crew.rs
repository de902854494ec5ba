//! How many of the threads that answer requests wait for the next one: no more than there is work for.
//!
//! The kernel gives each request to another waiting thread. Behind a close(2) comes a release, which no caller waits for; the thread that it woke is
//! still at it when the caller's next request wakes a second one, and where there are few processors these two and the caller are in each other's way. One
//! thread finds the next request without having slept.
//!
//! So as long as there is one caller, one thread waits. The others rest here, behind the request that they answered last, until
//!
//! - a thread begins what does take long ([`Crew::away`]), so that somebody waits meanwhile;
//! - a thread is held up in what usually does not ([`Crew::watch`]): as long as such things are done, one of the resting threads looks every few
//!   milliseconds whether there was any request since, and joins if there was none and all are at work. To call it each time
//!   would take longer than most of what is done;
//! - another caller asks than the one before: then there may be several at once;
//! - all of those that `threads=` asks for are away or held up: one more than these rests here, and joins as well (see `more`);
//! - the session ends. fuser has no word for that; a thread of it that ends is seen by what it keeps for itself being dropped.
//!
//! A resting thread holds no lock and no request. The one that waits does not sleep at once: see `linger`.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::behind::Behind;
use super::counters::Kind;
use super::lanes;
use super::linger::Pace;
use super::more::{More, Place};
use super::node::lock;
use super::options::online_processors;
use super::spare::Spare;
use super::state::Union;

/// Requests for which nobody goes to rest after another caller than before has asked.
const COMPANY: u32 = 16;

/// How often a resting thread looks whether the others are held up. As long may somebody have to wait for them.
const WATCH: Duration = Duration::from_millis(2);

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The threads of a session. Those that have not answered any request yet are not known, and wait for one.
#[derive(Debug, Default)]
pub(super) struct Crew {
    /// How many there are to be at work, unless these are held up.
    threads: usize,
    more: OnceLock<More>,
    state: Mutex<State>,
    call: Condvar,
    /// As in the state, to be seen without its lock. An old value costs time and nothing else, but for those that [`Crew::watch`] looks at.
    ready: AtomicUsize,
    resting: AtomicUsize,
    watched: AtomicBool,
    /// Turns that have begun, and those that have ended.
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// Thread that asked last.
    caller: AtomicU32,
    /// Requests that are left of [`COMPANY`].
    company: AtomicU32,
    /// Where requests come from that are not on a lane, if threads are to look for the next one, and how soon they come.
    device: OnceLock<Arc<File>>,
    pace: OnceLock<Pace>,
    /// What is let go of when nobody waits for this thread.
    pub(super) behind: Behind,
}

#[derive(Debug, Default)]
struct State {
    /// Those that wait for requests or are at one that does not take long.
    ready: usize,
    resting: usize,
    /// Those that are at what takes long.
    away: usize,
    /// How many of the resting ones have been called.
    called: usize,
    /// One of the resting ones is to look after the others, and one does.
    watched: bool,
    watcher: bool,
    /// A thread has left: all will.
    over: bool,
}

impl State {
    /// Calls one, if there are to be so many.
    fn call_one(&mut self, call: &Condvar, threads: usize) {
        if self.called < self.resting && self.ready + self.away + self.called < threads {
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
pub(super) struct Turn<'a> {
    crew: &'a Crew,
    next: Next,
    /// Whether it came by a ring of this thread's own.
    lane: bool,
    thread: PhantomData<*const ()>,
}

/// What a caller does once it has its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing that takes long: its next request may be there soon.
    Asks,
    /// Something of its own, for which it needs a processor, and perhaps the one that it shares with us.
    Works,
    /// There is none. The kernel has many nodes forgotten by one message, of which this thread may hold the rest.
    Nobody,
}

impl Next {
    /// What follows the answer to a request of this kind.
    fn after(kind: Kind) -> Next {
        match kind {
            // The kernel asks for an attribute on the way to a write.
            Kind::Getxattr => Next::Works,
            Kind::Forget => Next::Nobody,
            _ => Next::Asks,
        }
    }
}

/// Whether a request of this kind reads or changes files below, so that a journal or a disk can hold it up. Those that wait for them by nature are away.
fn uses_files(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Read
            | Kind::Write
            | Kind::Setattr
            | Kind::Mknod
            | Kind::Mkdir
            | Kind::Unlink
            | Kind::Rmdir
            | Kind::Symlink
            | Kind::Rename
            | Kind::Link
            | Kind::Create
            | Kind::Setxattr
            | Kind::Removexattr
            | Kind::CopyFileRange
    )
}

/// A thread is at something that can take long. It stays with its thread.
#[derive(Debug)]
#[must_use]
pub(super) struct Away<'a>(Option<&'a Crew>, PhantomData<*const ()>);

impl Crew {
    /// Of so many threads, and one more of its own whenever these are held up.
    pub(super) fn new(threads: usize) -> Crew {
        Crew { threads, ..Crew::default() }
    }

    /// From now on there are threads for when all others are held up.
    pub(super) fn may_have(&self, more: More) {
        // Set once: a crew has one session.
        let _ = self.more.set(more);
        self.start_one_more();
    }

    fn start_one_more(&self) {
        // Where it cannot be started, those that there are have to do.
        let _ = self.more.get().map(More::start);
    }

    /// The first request of one more thread, which nobody has made: it rests until it is needed.
    pub(super) fn begin_more(self: &Arc<Crew>, place: &Place, union: &Union) {
        if let Some(more) = self.more.get() {
            more.begin(place, union);
        }
    }

    /// This thread joins, and rests first.
    pub(super) fn stand_by(self: &Arc<Crew>) {
        self.join();
        self.rest_until_called(lock(&self.state));
    }

    /// The union has ended: whoever rests leaves. Returns how those ended that were more.
    pub(super) fn end(&self) -> Vec<std::io::Result<()>> {
        lock(&self.state).over = true;
        self.call.notify_all();
        self.more.get().map(More::join).unwrap_or_default()
    }

    /// Where the requests come from, and how long to look for the next one. Until this is known nobody does. `spare` is what is made ready
    /// while one caller asks in quick succession.
    pub(super) fn serves(&self, device: &Arc<File>, linger: Duration, spare: Option<Arc<Spare>>) {
        if linger > Duration::ZERO {
            // Set once: a crew has one session.
            let _ = self.device.set(Arc::clone(device));
            let _ = self.pace.set(Pace::new(linger, online_processors(), spare));
        }
    }

    /// This thread has got a request of this kind and of the thread `caller`; 0 where nobody waits for the answer.
    pub(super) fn turn(self: &Arc<Crew>, caller: u32, kind: Kind) -> Turn<'_> {
        let next = Next::after(kind);
        if lanes::taken() {
            self.begin(next);
            return Turn { crew: self, next, lane: true, thread: PhantomData };
        }
        self.join();
        self.begin(next);
        if caller != 0 && self.caller.swap(caller, Ordering::Relaxed) != caller {
            self.company.store(COMPANY, Ordering::Relaxed);
            if let Some(pace) = self.pace.get() {
                pace.put_away();
            }
            if self.ready.load(Ordering::Relaxed) < self.threads {
                let mut state = lock(&self.state);
                state.call_one(&self.call, self.threads);
            }
        }
        if uses_files(kind) {
            self.watch();
        }
        Turn { crew: self, next, lane: false, thread: PhantomData }
    }

    /// This thread is one of the crew.
    fn join(self: &Arc<Crew>) {
        MEMBER.with_borrow_mut(|member| {
            if member.as_ref().is_none_or(|member| !Arc::ptr_eq(&member.crew, self)) {
                let mut state = lock(&self.state);
                state.ready += 1;
                self.publish(&state);
                drop(state);
                *member = Some(Member { crew: Arc::clone(self), away: Cell::new(0) });
            }
        });
    }

    fn begin(&self, next: Next) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(pace) = self.pace.get().filter(|_| next != Next::Nobody) {
            pace.request();
        }
    }

    /// Looks for the next request for a while, if there may be one soon.
    fn linger(&self, pace: &Pace, there: &mut dyn FnMut() -> bool) {
        let begun = self.begun.load(Ordering::SeqCst);
        pace.linger(&self.behind, there, || self.begun.load(Ordering::SeqCst) != begun);
    }

    /// The end of a turn on a lane.
    fn answered_on_lane(&self, next: Next) {
        let pace = self.pace.get();
        let meanwhile = |there: &mut dyn FnMut() -> bool| match pace {
            Some(pace) if next == Next::Asks => self.linger(pace, there),
            _ => {
                self.behind.drop_all();
                pace.inspect(|pace| pace.renew());
            }
        };
        if next == Next::Asks && self.behind.is_empty() && !pace.is_some_and(Pace::is_brisk) {
            // It takes no time, and the answer goes with the wait.
            meanwhile(&mut || false);
            lanes::answered(None);
        } else {
            lanes::answered(Some(&meanwhile));
        }
    }

    /// What this thread does next can take long: another one waits for requests until that ends. Nothing to a thread that has no turn here.
    pub(super) fn away(&self) -> Away<'_> {
        let first = self.reasons(|away| away.replace(away.get() + 1) == 0);
        if first == Some(true) {
            let mut state = lock(&self.state);
            state.ready = state.ready.saturating_sub(1);
            state.away += 1;
            if state.ready + state.called == 0 {
                state.call_one(&self.call, self.threads);
            }
            if state.ready + state.called == 0 {
                self.look(&mut state);
            }
            self.publish(&state);
        }
        Away(first.map(|_| self), PhantomData)
    }

    /// What this thread does in this turn usually takes no time, but can be held up: by a disk, a journal, a large file. If it is, a resting thread
    /// joins.
    pub(super) fn watch(&self) {
        // A lane has others beside it.
        if self.reasons(|_| ()).is_none() {
            return;
        }
        // This turn has been counted before: who stops looking, or begins to rest, says so first and looks at the turns then.
        if self.watched.load(Ordering::SeqCst) || self.resting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut state = lock(&self.state);
        self.look(&mut state);
        self.publish(&state);
    }

    /// Has one of those that rest look after the others.
    fn look(&self, state: &mut State) {
        if !state.watched && state.resting > 0 {
            state.watched = true;
            self.call.notify_one();
        }
    }

    /// How many threads have a turn and are not away.
    fn at_work(&self, state: &State) -> usize {
        let ended = self.ended.load(Ordering::Relaxed);
        self.begun.load(Ordering::SeqCst).wrapping_sub(ended).saturating_sub(state.away)
    }

    /// Looks after the others until they are held up (true), nobody is at work any more, or this thread is called.
    fn look_after<'a>(&self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let mut seen = self.begun.load(Ordering::SeqCst);
        loop {
            let timeout;
            (state, timeout) = self.call.wait_timeout(state, WATCH).unwrap_or_else(PoisonError::into_inner);
            if state.called > 0 || state.over {
                return (state, false);
            }
            let begun = self.begun.load(Ordering::SeqCst);
            let moved = std::mem::replace(&mut seen, begun) != begun;
            if !timeout.timed_out() || moved {
                continue;
            }
            match self.at_work(&state) {
                0 if state.ready > 0 => {
                    state.watched = false;
                    self.publish(&state);
                    if self.at_work(&state) == 0 {
                        return (state, false);
                    }
                    state.watched = true;
                    self.publish(&state);
                }
                at_work if at_work >= state.ready => return (state, true),
                _ => {}
            }
        }
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
        let state = lock(&self.state);
        if state.ready > 1 {
            self.rest_until_called(state);
        }
    }

    fn rest_until_called(&self, mut state: MutexGuard<'_, State>) {
        if state.over {
            return;
        }
        state.ready = state.ready.saturating_sub(1);
        state.resting += 1;
        self.publish(&state);
        // Those that are at work may be held up already.
        state.watched |= self.at_work(&state) > 0 || state.ready == 0 && state.away > 0;
        self.publish(&state);
        loop {
            if state.called > 0 {
                state.called -= 1;
                break;
            }
            if state.over {
                break;
            }
            if state.watched && !state.watcher {
                let held_up;
                state.watcher = true;
                (state, held_up) = self.look_after(state);
                state.watcher = false;
                if held_up {
                    break;
                }
            } else {
                state = self.wait(state);
            }
        }
        state.resting -= 1;
        state.ready += 1;
        // Whoever goes on resting goes on looking.
        if state.watched && !state.watcher {
            state.watched = state.resting > 0;
            self.call.notify_one();
        }
        self.publish(&state);
        let last = state.resting == 0 && !state.over;
        drop(state);
        if last {
            self.start_one_more();
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.call.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        self.ready.store(state.ready, Ordering::Relaxed);
        self.resting.store(state.resting, Ordering::SeqCst);
        self.watched.store(state.watched, Ordering::SeqCst);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Turn { crew, next, lane, .. } = *self;
        crew.ended.fetch_add(1, Ordering::Relaxed);
        match lane {
            // Who panics is at its end, and so is its lane.
            true if std::thread::panicking() => return,
            true => return crew.answered_on_lane(next),
            false => {}
        }
        let alone = crew.ready.load(Ordering::Relaxed) <= 1;
        if let (Some(device), Some(pace), true, Next::Asks) = (crew.device.get(), crew.pace.get(), alone, next) {
            // An error, too, is for the thread to find when it reads.
            return crew.linger(pace, &mut || poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&NOW)) != Ok(0));
        }
        crew.behind.drop_all();
        if next == Next::Nobody {
            return;
        }
        if alone {
            crew.pace.get().inspect(|pace| pace.renew());
            return;
        }
        let company = crew.company.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if company.is_err() || crew.ready.load(Ordering::Relaxed) > crew.threads {
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
            state.away = state.away.saturating_sub(1);
            crew.publish(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::JoinHandle;
    use std::time::Instant;

    use super::*;

    /// What holds a thread up, in the one test that needs it.
    static HELD: Mutex<Option<Receiver<()>>> = Mutex::new(None);

    /// Who asks (0 means a forget), and what is done meanwhile.
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
                let turn = crew.turn(caller, if caller == 0 { Kind::Forget } else { Kind::Lookup });
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
        let crew = Arc::new(Crew::new(2));
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
    fn a_resting_thread_joins_when_the_others_are_held_up_and_not_before() {
        let (crew, a, b) = one_of_two_rests();
        // Many that are not held up: nobody joins, and after a while nobody looks any more.
        for _ in 0..50 {
            a.requests.send((7, Crew::watch)).unwrap();
            a.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        assert!(lock(&crew.state).watched);
        until(&crew, |state| !state.watched && !state.watcher);
        assert_eq!(lock(&crew.state).resting, 1);
        assert!(b.ended.try_recv().is_err());
        // One that is.
        a.requests
            .send((7, |crew| {
                crew.watch();
                until(crew, |state| (state.ready, state.resting, state.watched) == (2, 0, false));
            }))
            .unwrap();
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        until(&crew, |state| (state.ready, state.resting) == (1, 1));
        // The one that rests now is as good.
        b.requests.send((7, |crew| (crew.watch(), until(crew, |state| state.resting == 0)).1)).unwrap();
        a.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        until(&crew, |state| (state.ready, state.resting) == (1, 1));
        a.end();
        b.end();
    }

    #[test]
    fn who_goes_to_rest_while_another_is_held_up_looks_after_it() {
        let crew = Arc::new(Crew::new(2));
        let (a, b) = (thread(&crew), thread(&crew));
        // Both are ready, so that nobody can be asked to watch.
        b.answer(7);
        let (go, wait) = channel::<()>();
        *lock(&HELD) = Some(wait);
        a.requests
            .send((7, |crew| {
                crew.watch();
                let wait = lock(&HELD).take().unwrap();
                wait.recv_timeout(Duration::from_secs(20)).unwrap();
            }))
            .unwrap();
        until(&crew, |state| state.ready == 2);
        for _ in 0..COMPANY {
            b.answer(if crew.company.load(Ordering::Relaxed) > 0 { 7 } else { break });
        }
        b.ask(7);
        // It rested, looked, and came back.
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        b.ask(7);
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        go.send(()).unwrap();
        // The one that rests ends with the other.
        b.end();
        a.end();
    }

    #[test]
    fn one_more_than_there_are_to_be_joins_when_these_are_away_and_for_nothing_less() {
        let crew = Arc::new(Crew::new(1));
        let (a, more) = (thread(&crew), Arc::clone(&crew));
        let more = std::thread::spawn(move || more.stand_by());
        until(&crew, |state| state.resting == 1);
        for caller in 7..50 {
            a.answer(caller);
        }
        assert_eq!(lock(&crew.state).resting, 1);
        a.requests.send((7, |crew| (crew.away(), until(crew, |state| state.resting == 0)).1)).unwrap();
        a.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        more.join().unwrap();
        a.end();
    }

    #[test]
    fn the_end_of_a_thread_calls_all() {
        let (_, a, b) = one_of_two_rests();
        a.end();
        b.ended.recv_timeout(Duration::from_secs(20)).unwrap();
        b.end();
    }

    #[test]
    fn what_waits_behind_answers_goes_with_the_turn() {
        let (come, _request) =
            rustix::pipe::pipe().map(|(come, request)| (Arc::new(File::from(come)), request)).unwrap();
        for linger in [Duration::ZERO, Duration::from_millis(1)] {
            let (crew, thing) = (Arc::new(Crew::new(2)), Arc::new(()));
            crew.serves(&come, linger, None);
            for kind in [Kind::Forget, Kind::Getxattr, Kind::Release] {
                let turn = crew.turn(1, kind);
                crew.behind.leave(Arc::clone(&thing));
                assert_eq!(Arc::strong_count(&thing), 2);
                drop(turn);
                assert_eq!(Arc::strong_count(&thing), 1, "{kind:?}, {linger:?}");
            }
        }
    }

    #[test]
    fn nobody_looks_for_requests_unless_told_to() {
        let (come, _request) =
            rustix::pipe::pipe().map(|(come, request)| (Arc::new(File::from(come)), request)).unwrap();
        let crew = Crew::new(2);
        crew.serves(&come, Duration::ZERO, None);
        assert!(crew.pace.get().is_none());
    }

    #[test]
    fn who_has_no_turn_is_not_away() {
        let crew = Crew::new(2);
        drop(crew.away());
        assert_eq!(lock(&crew.state).ready, 0);
    }
}
