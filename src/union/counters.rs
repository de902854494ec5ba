//! What a union has done, in numbers. Every count is one relaxed addition; the clock is read in copy_up and nowhere else.
//!
//! The operations of the union count; [`Report`] is what anybody else gets to see, as JSON.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use serde::Serialize;

use super::Res;
use super::copy_data::Moved;
use super::node::{CACHED_FDS, read};
use super::refusal::State;
use super::state::Union;

/// Kinds of requests that the kernel sends, by their names in the FUSE protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Lookup,
    Forget,
    Getattr,
    Setattr,
    Readlink,
    Mknod,
    Mkdir,
    Unlink,
    Rmdir,
    Symlink,
    Rename,
    Link,
    Open,
    Create,
    Read,
    Write,
    Flush,
    Release,
    Fsync,
    Opendir,
    Readdir,
    Readdirplus,
    Fsyncdir,
    Statfs,
    Setxattr,
    Getxattr,
    Listxattr,
    Removexattr,
    Fallocate,
    Lseek,
    CopyFileRange,
}

/// Names of [`Kind`], in its order.
const KINDS: [&str; 31] = [
    "lookup",
    "forget",
    "getattr",
    "setattr",
    "readlink",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "symlink",
    "rename",
    "link",
    "open",
    "create",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "opendir",
    "readdir",
    "readdirplus",
    "fsyncdir",
    "statfs",
    "setxattr",
    "getxattr",
    "listxattr",
    "removexattr",
    "fallocate",
    "lseek",
    "copy_file_range",
];

/// The steps of a copy_up, in their order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// Finding the file in its layer and its attributes.
    LookUp,
    /// Making the copy and filling it.
    Data,
    /// Waiting for the device, with `fsync=on`.
    Fsync,
    /// Owner, mode, extended attributes, times.
    Attributes,
    /// The rename that makes it visible, with the lock on its directory.
    Rename,
}

/// Numbers of one union.
#[derive(Debug)]
pub(super) struct Counters {
    since: Instant,
    requests: [AtomicU64; KINDS.len()],
    found: AtomicU64,
    missing: AtomicU64,
    listed: AtomicU64,
    opens: AtomicU64,
    passthrough_opens: AtomicU64,
    lanes: AtomicU64,
    copied_files: AtomicU64,
    copied_directories: AtomicU64,
    copied_others: AtomicU64,
    copied_bytes: AtomicU64,
    shared_bytes: AtomicU64,
    parents_ns: AtomicU64,
    steps_ns: [AtomicU64; 5],
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Counters {
    pub(super) fn new() -> Counters {
        let zero = || AtomicU64::new(0);
        Counters {
            since: Instant::now(),
            requests: std::array::from_fn(|_| zero()),
            found: zero(),
            missing: zero(),
            listed: zero(),
            opens: zero(),
            passthrough_opens: zero(),
            lanes: zero(),
            copied_files: zero(),
            copied_directories: zero(),
            copied_others: zero(),
            copied_bytes: zero(),
            shared_bytes: zero(),
            parents_ns: zero(),
            steps_ns: std::array::from_fn(|_| zero()),
        }
    }

    /// A request has come.
    pub(super) fn request(&self, kind: Kind) {
        if let Some(counter) = self.requests.get(kind as usize) {
            add(counter, 1);
        }
    }

    /// A look-up has been answered.
    pub(super) fn looked_up<T>(&self, answer: &Res<T>) {
        match answer {
            Ok(_) => add(&self.found, 1),
            Err(super::Errno::NOENT) => add(&self.missing, 1),
            // Neither here nor missing: a fault.
            Err(_) => {}
        }
    }

    /// An entry of a directory has been listed with its attributes, which the kernel takes for a look-up.
    pub(super) fn listed(&self) {
        add(&self.listed, 1);
    }

    /// A file has been opened, for the kernel to read and write by itself or not.
    pub(super) fn opened(&self, passthrough: bool) {
        add(&self.opens, 1);
        add(&self.passthrough_opens, u64::from(passthrough));
    }

    /// So many threads get requests by io_uring.
    pub(super) fn lanes(&self, count: usize) {
        add(&self.lanes, count as u64);
    }

    /// The data of a copy_up is there.
    pub(super) fn moved(&self, moved: Moved) {
        match moved {
            Moved::Copied(bytes) => add(&self.copied_bytes, bytes),
            Moved::Shared(bytes) => add(&self.shared_bytes, bytes),
        }
    }

    /// A copy_up of a file of this type begins.
    pub(super) fn copy_up(&self, kind: FileType) -> CopyUpClock<'_> {
        CopyUpClock { counters: self, kind, last: Instant::now() }
    }
}

/// Times the steps of one copy_up. A directory is copied up for the sake of what is in it, so that all its steps are the step "parents".
#[derive(Debug)]
pub(super) struct CopyUpClock<'a> {
    counters: &'a Counters,
    kind: FileType,
    last: Instant,
}

impl CopyUpClock<'_> {
    /// What has passed since the step before belongs to this one.
    pub(super) fn lap(&mut self, step: Step) {
        let now = Instant::now();
        let counter = match self.kind {
            FileType::Directory => Some(&self.counters.parents_ns),
            _ => self.counters.steps_ns.get(step as usize),
        };
        if let Some(counter) = counter {
            add(counter, nanoseconds(now.duration_since(self.last)));
        }
        self.last = now;
    }

    /// It is in the upper.
    pub(super) fn done(&self) {
        let counter = match self.kind {
            FileType::RegularFile => &self.counters.copied_files,
            FileType::Directory => &self.counters.copied_directories,
            _ => &self.counters.copied_others,
        };
        add(counter, 1);
    }
}

/// The counters of a union at one moment, for JSON: one object with the fields below. Times are in nanoseconds and sizes in bytes, as their
/// names say; everything but `now` counts from the mount on.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of layerbench that serves.
    version: &'static str,
    /// Process that serves.
    pid: u32,
    /// Which report of this process it is: 1 is the one of the mount, 0 one that was not written to a file.
    report_number: u64,
    /// Age of the mount.
    age_ns: u64,
    passthrough: Passthrough,
    io_uring: IoUring,
    /// Requests of the kernel by kind, in the words of the FUSE protocol; also those that were answered with an error. What the kernel
    /// answers from its caches, and what it reads and writes through passthrough, is no request.
    requests_count: BTreeMap<&'static str, u64>,
    lookups: Lookups,
    opens: Opens,
    copy_ups: CopyUps,
    now: Now,
}

#[derive(Debug, Serialize)]
struct Passthrough {
    /// `on`, `off` (as asked for), `refused` (by the kernel, for every file) or `refused for some files`.
    state: &'static str,
    /// The kernel's reason; null where it has not refused.
    refused_because: Option<String>,
}

#[derive(Debug, Serialize)]
struct IoUring {
    /// Threads that get requests by io_uring; 0 where all come by /dev/fuse.
    lanes_count: u64,
}

#[derive(Debug, Serialize)]
struct Lookups {
    /// Look-ups of names that are there.
    found_count: u64,
    /// Look-ups of names that are not.
    missing_count: u64,
    /// Entries that a listing handed out with their attributes (readdirplus), which saves the kernel a look-up each.
    listed_count: u64,
}

#[derive(Debug, Serialize)]
struct Opens {
    /// Whether the kernel asks when somebody opens a file. If it does not, none are counted.
    asked: bool,
    /// Files opened, or created and opened.
    all_count: u64,
    /// Those of them that the kernel reads and writes by itself.
    passthrough_count: u64,
}

#[derive(Debug, Serialize)]
struct CopyUps {
    /// Regular files, directories, and everything else (links, devices) that were copied up.
    files_count: u64,
    directories_count: u64,
    others_count: u64,
    /// Data that was copied; holes are not.
    copied_bytes: u64,
    /// Sizes of the files whose copies share their blocks (FICLONE).
    shared_bytes: u64,
    /// Finding the file in its layer, opening it and asking for its attributes.
    look_up_ns: u64,
    /// Copying up directories, all steps of it. The other times are of what is no directory.
    parents_ns: u64,
    /// Making the copy and filling it.
    data_ns: u64,
    /// Waiting for the device, with `fsync=on`.
    fsync_ns: u64,
    /// Owner, mode, extended attributes, times.
    attributes_ns: u64,
    /// Giving the copy its name, with the wait for the lock on its directory.
    rename_ns: u64,
}

#[derive(Debug, Serialize)]
struct Now {
    /// Files and directories that the kernel remembers, or has open.
    nodes_count: u64,
    /// Opens that have not been released.
    open_files_count: u64,
    /// Descriptors of directories that are kept for the next use, in this process.
    cached_descriptors_count: u64,
    /// Nodes whose file stays open for who needs it next; some may be open now, or forgotten.
    kept_files_count: u64,
}

impl Union {
    /// The counters now. Requests under way may be counted in one place and not yet in another.
    pub(super) fn report(&self, number: u64) -> Report {
        let c = &self.counters;
        let step = |step: Step| c.steps_ns.get(step as usize).map(get).unwrap_or_default();
        let (state, refused_because) = match self.passthrough.state() {
            State::On => ("on", None),
            State::Off => ("off", None),
            State::Refused(reason) => ("refused", Some(reason)),
            State::RefusedForSome(reason) => ("refused for some files", Some(reason)),
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            report_number: number,
            age_ns: nanoseconds(c.since.elapsed()),
            passthrough: Passthrough { state, refused_because },
            io_uring: IoUring { lanes_count: get(&c.lanes) },
            requests_count: KINDS.iter().copied().zip(c.requests.iter().map(get)).collect(),
            lookups: Lookups {
                found_count: get(&c.found),
                missing_count: get(&c.missing),
                listed_count: get(&c.listed),
            },
            opens: Opens {
                asked: !self.leaves_out_opens(),
                all_count: get(&c.opens),
                passthrough_count: get(&c.passthrough_opens),
            },
            copy_ups: CopyUps {
                files_count: get(&c.copied_files),
                directories_count: get(&c.copied_directories),
                others_count: get(&c.copied_others),
                copied_bytes: get(&c.copied_bytes),
                shared_bytes: get(&c.shared_bytes),
                look_up_ns: step(Step::LookUp),
                parents_ns: get(&c.parents_ns),
                data_ns: step(Step::Data),
                fsync_ns: step(Step::Fsync),
                attributes_ns: step(Step::Attributes),
                rename_ns: step(Step::Rename),
            },
            now: Now {
                nodes_count: self.table.count() as u64,
                open_files_count: read(&self.handles).len() as u64,
                kept_files_count: self.kept.count() as u64,
                cached_descriptors_count: CACHED_FDS.load(Ordering::Relaxed) as u64,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name() {
        assert_eq!(KINDS[Kind::Lookup as usize], "lookup");
        assert_eq!(KINDS[Kind::Readdirplus as usize], "readdirplus");
        assert_eq!(KINDS[Kind::CopyFileRange as usize], "copy_file_range");
        assert_eq!(Kind::CopyFileRange as usize + 1, KINDS.len());
    }

    #[test]
    fn the_steps_of_a_file_are_told_apart_and_those_of_a_directory_are_parents() {
        let counters = Counters::new();
        let pause = || std::thread::sleep(Duration::from_millis(2));
        let mut clock = counters.copy_up(FileType::RegularFile);
        pause();
        clock.lap(Step::Data);
        clock.done();
        let mut clock = counters.copy_up(FileType::Directory);
        pause();
        clock.lap(Step::Rename);
        clock.done();
        let least = 2_000_000;
        assert!(get(&counters.steps_ns[Step::Data as usize]) >= least && get(&counters.parents_ns) >= least);
        assert_eq!(get(&counters.steps_ns[Step::Rename as usize]), 0);
        assert_eq!((get(&counters.copied_files), get(&counters.copied_directories)), (1, 1));
    }
}
