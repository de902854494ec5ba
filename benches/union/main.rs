//! Our FUSE union against what it is held to: overlay2, a FUSE file system that does nothing, and no union at all.
//!
//! `cargo bench --bench union [-- WORD...]` prints a line a question: the medians of both sides, their ratio and whether it is what we
//! promise. Only questions whose name contains one of the words are asked. The two sides take turns and change places from turn to turn, so
//! that drift of the machine falls on both; a ratio is the median of the turns' ratios, in brackets the lowest and the highest. Trust the
//! ratios, not the times.
//!
//! Processors are kept awake meanwhile (PM QoS, /dev/cpu_dma_latency): on a virtual machine the wake-up of a sleeping one takes several times as
//! long as what is measured, and FUSE needs two for each question it asks.
//!
//! Memory is at hand: a hypervisor that takes free memory away would otherwise fetch it in the middle of a copy.
//!
//! Requests come by /dev/fuse, but for the last questions: `io_uring`. Before those come some questions once more, to a union with `opens=off`.
//!
//! Everything lies on a new ext4 in a file, so that no earlier use of a disk has a say, and nothing is removed before the end.
//!
//! Some questions are put to a FUSE file system that does nothing at all (null), or nothing but to show a folder through the kernel's passthrough
//! ("the least"): what they take, no FUSE union can go below.
//!
//! overlay2 is mounted `volatile`, since our default does not wait for the disk either. Under `cargo test` each question is asked once,
//! in small, which proves that the answers are right and nothing about time.

#[path = "../common/mod.rs"]
mod common;
mod data;
mod io_uring;
mod mirror;
mod null;
mod store;
mod table;
mod trees;

use std::path::{Path, PathBuf};

use layerbench::driver::{self, Driver};
use layerbench::record::{Feature, Privileges};
use layerbench::runner::Setup;
use layerbench::{host, sys};

use common::Scratch;
use store::Disk;
use table::Table;

/// What all questions together leave in the page cache, roughly.
const MEMORY_BYTES: u64 = 4 << 30;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    /// How often the two sides take turns.
    pub turns: usize,
    /// Divides counts and sizes.
    pub divisor: u32,
}

impl Scale {
    pub fn of(self, count: u32) -> u32 {
        (count / self.divisor).max(4)
    }
}

/// A driver with its options.
#[derive(Clone)]
pub struct Side {
    pub name: &'static str,
    pub driver: &'static dyn Driver,
    pub options: Vec<String>,
}

pub fn side(name: &'static str, driver: &str, options: &[&str]) -> Side {
    Side {
        name,
        driver: driver::by_name(driver).unwrap(),
        options: options.iter().map(|option| option.to_string()).collect(),
    }
}

/// Everything that a question needs.
#[derive(Clone)]
pub struct Bench {
    pub scale: Scale,
    pub union: Side,
    pub overlay: Side,
    /// What is said behind each question of how the union serves, if it is not as it does by itself.
    pub mode: &'static str,
    /// On a new ext4.
    pub scratch: PathBuf,
    words: Vec<String>,
}

impl Bench {
    /// Whether a question is asked.
    pub fn asks(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| format!("{name}{}", self.mode).contains(word.as_str()))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [null::SERVE, mountpoint] => return null::serve(null::new(), Path::new(mountpoint)),
        [mirror::SERVE, folder, mountpoint] => {
            return null::serve(mirror::new(Path::new(folder)), Path::new(mountpoint));
        }
        _ => {}
    }
    // Cargo passes --bench to a benchmark that is to measure.
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let host = host::fingerprint();
    if host.privileges != Privileges::Root {
        eprintln!("skipped: passthrough, and so most of what is compared here, needs root");
        return;
    }
    for name in ["overlay2", "fuse-union"] {
        if let Feature::Missing { reason, .. } = driver::by_name(name).unwrap().availability(&host) {
            eprintln!("skipped: {name}: {reason}");
            return;
        }
    }
    // Before any thread: mounts made here are nobody else's, and go when this process goes.
    sys::namespace::enter_private(true).unwrap();
    let scratch = Scratch::new(Path::new(env!("CARGO_TARGET_TMPDIR")), "union");
    let disk = match Disk::new("ext4", &["-F"], &scratch.0) {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("skipped: {reason} (needs e2fsprogs and a loop device)"),
    };
    let bench = Bench {
        scale: if measure { Scale { turns: 9, divisor: 1 } } else { Scale { turns: 1, divisor: 32 } },
        union: side("fuse-union", "fuse-union", &[]),
        overlay: side("overlay2 volatile", "overlay2", &["volatile"]),
        mode: "",
        scratch: disk.0.clone(),
        words: arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect(),
    };
    let mut setup = Setup::new(true);
    if let Feature::Missing { reason, .. } = &setup.instrument.awake {
        eprintln!("{reason}: processors may sleep between questions and answers");
    }
    if measure {
        setup.have_memory(MEMORY_BYTES, |_| ());
    }
    let mut table = Table::new();
    store::first_writes(&bench, &mut table);
    store::shared_blocks(&bench, &mut table);
    trees::lookups(&bench, &mut table);
    trees::large_directory(&bench, &mut table);
    trees::listing(&bench, &mut table);
    trees::threads(&bench, &mut table);
    data::reads(&bench, &mut table);
    data::writes(&bench, &mut table);
    data::one_copy(&bench, &mut table);
    data::opens(&bench, &mut table);
    trees::mounting(&bench, &mut table);
    trees::unpacking(&bench, &mut table);
    trees::jobs(&bench, &mut table);
    // Everything that has to do with open files, where nobody is asked at opens.
    let own_pages = Bench {
        union: side("fuse-union, opens=off", "fuse-union", &["opens=off"]),
        mode: ", opens=off",
        ..bench.clone()
    };
    table.mode = own_pages.mode;
    store::first_writes(&own_pages, &mut table);
    data::reads(&own_pages, &mut table);
    data::writes(&own_pages, &mut table);
    data::one_copy(&own_pages, &mut table);
    data::opens(&own_pages, &mut table);
    trees::unpacking(&own_pages, &mut table);
    trees::jobs(&own_pages, &mut table);
    table.mode = "";
    io_uring::against_the_device(&bench, &mut table, setup);
}
