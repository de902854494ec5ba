//! Requests by io_uring (Linux 6.14) instead of by read(2) and write(2) of /dev/fuse.
//!
//! The kernel has a queue for each processor. Two lanes or more serve each of them: threads that stay on that processor, each with a ring of
//! its own, so that neither the caller nor who answers it has to wake another processor. The kernel gives a request to the lane that was
//! free last; while that one is at what takes long, the others are there, and no crew is needed. Threads of /dev/fuse go on, for what the
//! kernel still sends that way: forgets and interrupts.
//!
//! A lane lingers as other threads do, and on a machine with two processors not only for the next request: a processor on which somebody
//! looks for work is none that the scheduler moves a caller to. Without it a caller that is alone goes to the other processor with every
//! answer, and that one has to be woken.
//!
//! fuser reads and writes a file, and knows no rings. So each lane has a session of fuser's own, and a mailbox in the place of the device.
//! Nobody waits at a mailbox: at the end of its turn, after the answer, the thread itself takes the answer out, hands it to the kernel, waits
//! for the next request and puts that in; then fuser finds it. This costs four short system calls a request, where a thread in between
//! would cost two context switches. It asks of every operation of `fs` to hold a turn: what has none is not let in ([`OPERATIONS`]).

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use fuser::{Config, Session, SessionACL};
use rustix::thread::CpuSet;

use super::fs::Edge;
use super::node::lock;
use super::state::Union;
use crate::sys;
use crate::sys::fuse_ring::{IN_HEADER, Mailbox, OUT_HEADER, Ring};

/// How a daemon begins the line that says that it goes without io_uring although the kernel offers it.
pub const NO_URING: &str = "fuse-union: without io_uring: ";

/// The most that a request or an answer carries beside its headers: what `fs` agrees on with the kernel.
pub(super) const PAYLOAD: usize = 1 << 20;
/// Lanes of a machine with few processors, and the least for each of them.
const LANES: usize = 8;
const LANES_EACH: usize = 2;
/// Descriptors that each lane takes. All of them together take an eighth of what this process may have at most.
const DESCRIPTORS: usize = 3;

/// `enum fuse_opcode`, as far as it is needed here.
const INIT: u32 = 26;
const DESTROY: u32 = 38;
/// The kernel asks this of file systems on a block device alone. Here it is what the thread of a session of our own is given first.
const BMAP: u32 = 37;

/// Operations that `fs` answers: lookup, getattr, setattr, readlink, symlink, mknod, mkdir, unlink, rmdir, rename, link, open, read, write,
/// statfs, release, fsync, setxattr, getxattr, listxattr, removexattr, flush, opendir, readdir, fsyncdir, create, fallocate, readdirplus,
/// rename2, lseek, copy_file_range. All others are ENOSYS, as fuser would answer them.
const OPERATIONS: [u32; 31] = [
    1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 27, 28, 30, 35, 43, 44, 45, 46, 47,
];

/// Where a lane waits for its thread.
pub(super) type Seat = Arc<Mutex<Option<Lane>>>;

/// One thread's way to the kernel.
#[derive(Debug)]
pub(super) struct Lane {
    ring: Ring,
    mailbox: Mailbox,
    /// The processor whose queue it serves, unless it serves those of many.
    processor: Option<usize>,
    /// Where the request is that is being answered.
    slot: Option<usize>,
}

thread_local!(static LANE: RefCell<Option<Lane>> = const { RefCell::new(None) });

/// Lanes for all queues of this machine. They are made before the kernel is told that there will be some: from then on it holds requests
/// back until all of them are registered. None, unless `anyway`, where this process may not run on every processor: who asks on another one
/// is answered sooner by /dev/fuse. Fails where io_uring is forbidden, and where there are too few descriptors (`limit`).
pub(super) fn prepare(anyway: bool, limit: usize) -> io::Result<Vec<Lane>> {
    // There are as many queues as there could ever be processors.
    let (possible, online) = (processors("possible")?, processors("online")?);
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let ours = |processor: u16| usize::from(processor) < CpuSet::MAX_CPU && allowed.is_set(processor.into());
    let (here, elsewhere): (Vec<u16>, Vec<u16>) = possible.into_iter().partition(|processor| ours(*processor));
    if !anyway && online.iter().any(|processor| elsewhere.contains(processor)) {
        return Ok(Vec::new());
    }
    let each = (LANES / here.len().max(1)).max(LANES_EACH);
    let descriptors = each * (here.len() + 1) * DESCRIPTORS;
    if descriptors > limit / 8 {
        return Err(io::Error::other(format!("it takes {descriptors} of at most {limit} open files")));
    }
    // fuser makes a buffer for the largest request there could be, two of them for each lane.
    sys::memory::map_pieces_from(16 << 20);
    // Callers may run where this process may not, or where no processor is yet.
    let here = here.iter().map(|processor| (std::slice::from_ref(processor), Some(usize::from(*processor))));
    let queues = here.chain((!elsewhere.is_empty()).then_some((&elsewhere[..], None)));
    queues
        .flat_map(|lane| std::iter::repeat_n(lane, each))
        .map(|(queues, processor)| Lane::new(queues, processor))
        .collect()
}

/// The processors of a kind.
fn processors(kind: &str) -> io::Result<Vec<u16>> {
    let path = format!("/sys/devices/system/cpu/{kind}");
    let text = std::fs::read_to_string(&path)?;
    parse(&text).ok_or_else(|| io::Error::other(format!("{path} says {:?}", text.trim())))
}

/// A list of processors as the kernel writes it: `0-3,5`.
fn parse(text: &str) -> Option<Vec<u16>> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges = text.trim().split(',').map(range).collect::<Option<Vec<std::ops::RangeInclusive<u16>>>>()?;
    Some(ranges.into_iter().flatten().collect())
}

impl Lane {
    fn new(queues: &[u16], processor: Option<usize>) -> io::Result<Lane> {
        // Beside the data there are headers and, in a request, names.
        let mailbox = Mailbox::new(PAYLOAD + (64 << 10))?;
        Ok(Lane { ring: Ring::new(queues, PAYLOAD)?, mailbox, processor, slot: None })
    }

    /// Starts the thread that answers this lane's requests.
    pub(super) fn serve(mut self, union: &Arc<Union>, device: &Arc<File>) -> io::Result<JoinHandle<io::Result<()>>> {
        self.ring.serves(device);
        self.mailbox.put(&[&hello()])?;
        let file = self.mailbox.file()?;
        let seat = Arc::new(Mutex::new(Some(self)));
        let edge = Edge::of_lane(Arc::clone(union), Arc::clone(&seat));
        let session = Session::from_fd(edge, file, SessionACL::All, Config::default())?;
        if let Some(lane) = lock(&seat).as_mut() {
            lane.mailbox.put(&[&first_request()])?;
        }
        std::thread::Builder::new().name("lane".into()).spawn(move || session.run())
    }

    /// fuser has taken the message out of the mailbox, and will leave its answer there.
    pub(super) fn expect(&mut self) {
        // A seek within a file in memory.
        self.mailbox.expect().unwrap_or_else(|error| panic!("make room for an answer: {error}"));
    }

    /// Makes this thread the one of this lane, and waits for its first request.
    fn begin(mut self) {
        if let Some(processor) = self.processor {
            let mut set = CpuSet::new();
            set.set(processor);
            // It works from elsewhere as well, if slower.
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
        let registered = self.ring.register();
        self.go_on(registered);
        LANE.set(Some(self));
    }

    /// Puts the next request into the mailbox, or the end.
    fn go_on(&mut self, so_far: io::Result<()>) {
        let gone_on = so_far.and_then(|()| self.next()).and_then(|slot| {
            self.slot = slot;
            let Some(slot) = slot else { return self.mailbox.put(&[&message(DESTROY, 0)]) };
            let request = self.ring.request(slot);
            self.mailbox.put(&[&request.header, request.operation, request.payload])
        });
        if let Err(error) = gone_on {
            // The kernel would wait for an answer: this program is wrong about what it may do.
            panic!("io_uring: {error}");
        }
    }

    /// Waits for the next request that `fs` answers.
    fn next(&mut self) -> io::Result<Option<usize>> {
        while let Some(slot) = self.ring.wait()? {
            let request = self.ring.request(slot);
            if OPERATIONS.contains(&request.opcode()) {
                return Ok(Some(slot));
            }
            let refusal = refusal(request.unique(), libc::ENOSYS);
            self.ring.answer(slot, &refusal, &[])?;
        }
        Ok(None)
    }

    /// Takes the answer out of the mailbox and hands it to the kernel.
    fn answer(&mut self) -> io::Result<()> {
        let Some(slot) = self.slot.take() else { return Ok(()) };
        match self.mailbox.answer() {
            Some((header, payload)) => self.ring.answer(slot, &header, payload),
            None => {
                let refusal = refusal(self.ring.request(slot).unique(), libc::EIO);
                self.ring.answer(slot, &refusal, &[])
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A thread that ends by a panic has not answered, and who asked is not to wait for ever. Nothing can be done about an error.
        let _ = self.answer().and_then(|()| self.ring.submit());
    }
}

/// The header of a request of our own.
fn message(opcode: u32, length: usize) -> [u8; IN_HEADER] {
    let mut header = [0; IN_HEADER];
    let words = [(IN_HEADER + length) as u32, opcode, 1];
    for (place, word) in header.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    header
}

/// What fuser begins each session by, which is what the kernel says first: here, that it is version 7.31 and offers nothing.
pub(super) fn hello() -> Vec<u8> {
    let words = [7_u32, 31, 0, 0].map(u32::to_ne_bytes);
    [&message(INIT, 16)[..], words.as_flattened()].concat()
}

/// What a thread is given first.
pub(super) fn first_request() -> Vec<u8> {
    [&message(BMAP, 16)[..], &[0; 16]].concat()
}

/// The header of an answer that is an error, and nothing else.
fn refusal(unique: u64, errno: i32) -> [u8; OUT_HEADER] {
    let mut header = [0; OUT_HEADER];
    let (numbers, name) = header.split_at_mut(8);
    let words = [(OUT_HEADER as u32).to_ne_bytes(), (-errno).to_ne_bytes()];
    numbers.copy_from_slice(words.as_flattened());
    name.copy_from_slice(&unique.to_ne_bytes());
    header
}

/// The first request of a lane's thread, which nobody has made: it takes its place.
pub(super) fn begin(seat: &Seat, reply: impl FnOnce()) {
    let mut lane = lock(seat).take();
    if let Some(lane) = &mut lane {
        lane.expect();
    }
    reply();
    if let Some(lane) = lane {
        lane.begin();
    }
}

/// A request has been taken out of the mailbox. False if this thread is on no lane.
pub(super) fn taken() -> bool {
    LANE.with_borrow_mut(|lane| lane.as_mut().map(Lane::expect).is_some())
}

/// What a thread does before it sleeps; it is told how to see whether the next request is there.
pub(super) type Meanwhile<'a> = &'a dyn Fn(&mut dyn FnMut() -> bool);

/// The request has been answered: hands that to the kernel, and waits for the next one. If there is something to do meanwhile, the answer
/// goes before it, which takes a system call more.
pub(super) fn answered(meanwhile: Option<Meanwhile<'_>>) {
    LANE.with_borrow_mut(|lane| {
        let Some(lane) = lane else { return };
        let mut answered = lane.answer();
        if let Some(meanwhile) = meanwhile {
            answered = answered.and_then(|()| lane.ring.submit());
            meanwhile(&mut || lane.ring.is_ready());
        }
        lane.go_on(answered);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        for (text, list) in [("0-1\n", vec![0, 1_u16]), ("0", vec![0]), ("0-2,5,7-8", vec![0, 1, 2, 5, 7, 8])] {
            assert_eq!(parse(text), Some(list), "{text:?}");
        }
        for text in ["", "0-", "a", "1,,2"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
