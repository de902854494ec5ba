//! Threads beyond those of `threads=`, for when all of these are held up.
//!
//! One of them rests in the crew from the start and looks after the others. When it has to join them it starts the next one, so that there is
//! always one more than are held up, to a limit. They stay: who rests costs a stack and a descriptor.
//!
//! fuser starts all threads of a session at once, so that each of these has a session of its own. A session begins by what the kernel says first,
//! which it has said long ago; so it begins on a socket, where that is said again, and then the device takes the socket's place.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Weak};

use fuser::{Config, Session, SessionACL};

use super::fs::Edge;
use super::lanes;
use super::mount::Serving;
use super::node::lock;
use super::state::Union;
use crate::sys;

/// As many as `threads=` may ask for.
const MOST: usize = 64;

/// Where a session begins: the other end of its socket, and its own, as long as it has not begun.
pub(super) type Place = Arc<Mutex<Option<(UnixStream, RawFd)>>>;

/// What it takes to start one, and those that were started.
#[derive(Debug)]
pub(super) struct More {
    union: Weak<Union>,
    device: Arc<File>,
    threads: Mutex<Vec<Serving>>,
}

impl More {
    pub(super) fn new(union: &Arc<Union>, device: &Arc<File>) -> More {
        More { union: Arc::downgrade(union), device: Arc::clone(device), threads: Mutex::default() }
    }

    /// Starts one, unless there are as many as there may be.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut threads = lock(&self.threads);
        let Some(union) = self.union.upgrade().filter(|_| threads.len() < MOST) else { return Ok(()) };
        let (mut peer, socket) = UnixStream::pair()?;
        peer.write_all(&lanes::hello())?;
        let place = Place::default();
        let edge = Edge::of_more(union, Arc::clone(&place));
        let session = Session::from_fd(edge, OwnedFd::from(socket), SessionACL::All, Config::default())?;
        // Read apart from the first: that one has been answered.
        peer.write_all(&lanes::first_request())?;
        *lock(&place) = Some((peer, session.as_fd().as_raw_fd()));
        threads.push(std::thread::Builder::new().name("more".into()).spawn(move || session.run())?);
        Ok(())
    }

    /// The first request of such a thread, which nobody has made: it rests.
    pub(super) fn begin(&self, place: &Place, union: &Union) {
        if let Some((_peer, socket)) = lock(place).take() {
            // Where this fails the session finds its socket at an end, and so ends itself.
            let _ = sys::fuse::put_in_place(socket, &self.device);
        }
        union.crew.stand_by();
    }

    /// Waits for the end of all. The union has ended.
    pub(super) fn join(&self) -> Vec<io::Result<()>> {
        let next = || lock(&self.threads).pop();
        // One that has panicked has said so.
        std::iter::from_fn(next).flat_map(Serving::join).collect()
    }
}
