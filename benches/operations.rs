//! `cargo bench`: first write, look-up and cached read through every driver that is available, with `bind` as the control.
//!
//! Criterion repeats an operation until it knows it; a first write happens once a file. So `iter_custom` takes a virgin file for every
//! iteration and, when a container has none left, mounts a new one beside the clock. These figures are for people who change the code; the
//! study's figures come from `layerbench run`, which randomises, isolates and records.

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use common::{Container, Scratch, names};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use layerbench::driver::{self, Driver};
use layerbench::probe;
use layerbench::record::{Feature, Host, Privileges};
use layerbench::stack::{LayerStack, StackDefinition};
use layerbench::{host, sys};

/// Files of a stack, that is first writes of one mount.
const FILES: u32 = 256;
/// Layers of the deep stack.
const DEEP: u32 = 64;
/// Seed of the stacks' content.
const SEED: u64 = 1;

/// Driver variants to compare: the default of each, and overlay2 without the wait for the disk.
fn variants(host: &Host) -> Vec<(String, &'static dyn Driver, Vec<String>)> {
    let mut variants = Vec::new();
    for &driver in driver::all() {
        match driver.availability(host) {
            Feature::Available { .. } => {
                variants.push((driver.name().to_owned(), driver, Vec::new()));
                if driver.name() == "overlay2" {
                    variants.push(("overlay2 volatile".to_owned(), driver, vec!["volatile".to_owned()]));
                }
            }
            Feature::Missing { reason, .. } => eprintln!("skipped: {}: {reason}", driver.name()),
        }
    }
    variants
}

/// First writes: a virgin file an iteration, a new container when none is left.
fn first_write(group: &mut BenchmarkGroup<WallTime>, host: &Host, stack: &LayerStack, scratch: &Path, what: &str) {
    let files = names(&stack.targets().hits);
    for (label, driver, options) in variants(host) {
        group.bench_function(BenchmarkId::new(label, what), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = 0;
                let mut left = iterations;
                while left > 0 {
                    let container = Container::new(driver, &options, stack, scratch);
                    let few = files.iter().take(usize::try_from(left).unwrap_or(usize::MAX));
                    let samples = container.first_writes(few);
                    left -= samples.len() as u64;
                    total += samples.iter().sum::<u64>();
                }
                Duration::from_nanos(total)
            });
        });
    }
}

fn first_writes(criterion: &mut Criterion, host: &Host, store: &Path, scratch: &Path) {
    let mut group = criterion.benchmark_group("first_write");
    for (what, depth, size, files) in
        [("4KiB", 1, 4 << 10, FILES), ("1MiB", 1, 1 << 20, 32), ("4KiB deep", DEEP, 4 << 10, FILES)]
    {
        let stack =
            LayerStack::ensure(store, &StackDefinition::study(depth, depth, files, size), SEED, &|_| ()).unwrap();
        first_write(&mut group, host, &stack, scratch, what);
    }
    group.finish();
}

/// Warm look-ups of a name at the base of a deep stack, and of a name that is nowhere.
fn lookups(criterion: &mut Criterion, host: &Host, store: &Path, scratch: &Path) {
    let stack = LayerStack::ensure(store, &StackDefinition::study(DEEP, DEEP, FILES, 4 << 10), SEED, &|_| ()).unwrap();
    let targets = stack.targets();
    for (group, paths, present) in
        [("lookup_hit_warm", &targets.hits, true), ("lookup_miss_warm", &targets.misses, false)]
    {
        let files = names(paths);
        let mut group = criterion.benchmark_group(group);
        for (label, driver, options) in variants(host) {
            let container = Container::new(driver, &options, &stack, scratch);
            let folder = container.data();
            let mut next = files.iter().cycle();
            group.bench_function(BenchmarkId::new(label, format!("{DEEP} layers")), |bencher| {
                bencher.iter(|| {
                    let found = next.next().map(|name| probe::stat_name(folder.as_fd(), name));
                    assert_eq!(found.map(|answer| answer.is_ok()), Some(present));
                });
            });
            drop(folder);
        }
        group.finish();
    }
}

/// Reads of a file whose pages are resident.
fn cached_reads(criterion: &mut Criterion, host: &Host, store: &Path, scratch: &Path) {
    const SIZE: u64 = 1 << 20;
    let stack = LayerStack::ensure(store, &StackDefinition::study(1, 1, 32, SIZE), SEED, &|_| ()).unwrap();
    let mut group = criterion.benchmark_group("cached_read");
    group.throughput(Throughput::Bytes(SIZE));
    let mut buffer = vec![0; probe::READ_BUFFER_BYTES];
    for (label, driver, options) in variants(host) {
        let container = Container::new(driver, &options, &stack, scratch);
        let path = container.merged.join(&stack.targets().hits[0]);
        group.bench_function(BenchmarkId::new(label, "1MiB"), |bencher| {
            bencher.iter(|| {
                let (_, bytes) = probe::read_whole(&path, &mut buffer).unwrap();
                assert_eq!(bytes, SIZE);
            });
        });
    }
    group.finish();
}

fn main() {
    let host = host::fingerprint();
    if host.privileges == Privileges::None {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
        return;
    }
    // Before any thread: mounts made here are nobody else's, and go when this process goes.
    sys::namespace::enter_private(host.privileges == Privileges::Root).unwrap();
    let scratch = Scratch::new(Path::new(env!("CARGO_TARGET_TMPDIR")), "bench");
    let scratch = &scratch.0;
    let store = scratch.join("store");
    fs::create_dir_all(&store).unwrap();

    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    first_writes(&mut criterion, &host, &store, scratch);
    lookups(&mut criterion, &host, &store, scratch);
    cached_reads(&mut criterion, &host, &store, scratch);
    criterion.final_summary();
}
