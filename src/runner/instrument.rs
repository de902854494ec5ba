//! What a run does to the machine before it measures, and what it finds out about its own clock.
//!
//! Processors are kept awake: an operation that wakes another process (every request of a FUSE file system) would otherwise also pay for
//! waking a processor, which on a virtual machine can cost more than the operation. The probe gets a processor of its own where there are
//! two, and the daemons the others. Memory is at hand (`memory`).

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use rustix::thread::CpuSet;

use super::memory::{self, AtHand};
use crate::probe::timed;
use crate::record::{Clock, Feature, Instrument};

/// Where a bound on the time of waking up is asked for (Documentation/power/pm_qos_interface.rst): it holds while the file is open.
const LATENCY: &str = "/dev/cpu_dma_latency";
/// Samples of nothing that the clock's cost is taken from.
const EMPTY_SAMPLES: usize = 20_000;

/// The instrument of a run. Dropped, the processors may sleep again, and the memory may go.
#[derive(Debug)]
pub struct Setup {
    /// For the record.
    pub instrument: Instrument,
    // Held for what was written to it.
    _awake: Option<File>,
    at_hand: Option<AtHand>,
}

impl Setup {
    /// Keeps processors awake and divides them, as far as this process may, if the machine is to be prepared. Looks at the clock.
    pub fn new(prepare: bool) -> Setup {
        let (file, awake) = match prepare.then(keep_awake) {
            None => (None, Feature::missing("not asked for", "do without --unprepared")),
            Some(Ok(file)) => (Some(file), Feature::available(format!("{LATENCY} held at 0 us"))),
            Some(Err(missing)) => (None, missing),
        };
        let (probe_cpu, daemon_cpus) = if prepare { divide(&allowed_cpus()) } else { (None, Vec::new()) };
        Setup {
            instrument: Instrument { clock: clock(), awake, probe_cpu, daemon_cpus, memory: None, mounts_alone: true },
            _awake: file,
            at_hand: None,
        }
    }

    /// Has so much memory at hand from now on, as far as there is any; `tell` is told how much is written to for that, which takes a while. A
    /// run without it is worth having, and its record says so.
    pub fn have_memory(&mut self, needed: u64, tell: impl FnOnce(u64)) {
        // What is cached now, somebody will drop (a cold case does): then it is free memory like any other, and had better be now. Who may
        // not drop it has no cold cases either.
        let _ = crate::sys::cache::drop_caches();
        self.at_hand = memory::to_be_fetched(needed).ok().and_then(|bytes| {
            tell(bytes);
            memory::fetch(bytes).ok()
        });
        let before = self.instrument.memory;
        self.instrument.memory = before.or(self.at_hand.as_ref().map(|at_hand| at_hand.fetched));
    }

    /// Whether memory that was at hand has to be waited for by now.
    pub fn memory_is_away(&self) -> bool {
        let fetched = self.at_hand.as_ref().and(self.instrument.memory);
        fetched.is_some_and(|fetched| memory::ns_per_mib().is_ok_and(|ns| fetched.is_away(ns)))
    }
}

/// Whether this process may keep processors awake.
pub fn can_keep_awake() -> Feature {
    match keep_awake() {
        Ok(_) => Feature::available(LATENCY),
        Err(missing) => missing,
    }
}

/// Keeps them awake while the file is open.
fn keep_awake() -> Result<File, Feature> {
    let open = OpenOptions::new().write(true).open(LATENCY);
    open.and_then(|mut file| file.write_all(&0i32.to_ne_bytes()).map(|()| file)).map_err(|e| {
        let remedy = match e.kind() {
            std::io::ErrorKind::NotFound => "a kernel with CPU power management; a virtual machine may do without",
            // The kernel asks for nothing but to be able to write (cpu_latency_qos_open in kernel/power/qos.c).
            std::io::ErrorKind::PermissionDenied => {
                "run as root; or, as root, once before: chmod a+w /dev/cpu_dma_latency"
            }
            _ => "run as root",
        };
        Feature::missing(format!("{LATENCY}: {e}"), remedy)
    })
}

/// CPUs that this process may run on, ascending.
fn allowed_cpus() -> Vec<u32> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => {
            (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).filter_map(|cpu| u32::try_from(cpu).ok()).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// The probe's CPU and those of the daemons. The last one is the probe's: the first is the one that devices interrupt by default.
fn divide(allowed: &[u32]) -> (Option<u32>, Vec<u32>) {
    match allowed.split_last() {
        Some((probe, others)) if !others.is_empty() => (Some(*probe), others.to_vec()),
        _ => (None, Vec::new()),
    }
}

/// Confines this process, and what it will start, to some CPUs; all that are allowed where the list is empty.
pub(super) fn confine(cpus: &[u32]) -> std::io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok()).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn clock() -> Clock {
    let source = Path::new("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(resolution.tv_sec).unwrap_or(0);
    let mut empty: Vec<u64> = (0..EMPTY_SAMPLES).map(|_| timed(|| ()).0).collect();
    empty.sort_unstable();
    let rank = |p: usize| empty.get((empty.len() * p / 100).min(empty.len().saturating_sub(1))).copied().unwrap_or(0);
    Clock {
        source: std::fs::read_to_string(source).map(|text| text.trim().to_owned()).unwrap_or_default(),
        resolution_ns: seconds * 1_000_000_000 + u64::try_from(resolution.tv_nsec).unwrap_or(0),
        step_ns: smallest_step(),
        empty_sample_ns: rank(50),
        empty_sample_p99_ns: rank(99),
    }
}

/// The smallest difference above zero of two readings in a row.
fn smallest_step() -> u64 {
    let mut last = Instant::now();
    let mut smallest = u64::MAX;
    for _ in 0..EMPTY_SAMPLES {
        let now = Instant::now();
        let step = u64::try_from(now.duration_since(last).as_nanos()).unwrap_or(u64::MAX);
        if step > 0 {
            smallest = smallest.min(step);
        }
        last = now;
    }
    if smallest == u64::MAX { 0 } else { smallest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_has_a_cpu_of_its_own_where_there_are_two() {
        assert_eq!(divide(&[]), (None, vec![]));
        assert_eq!(divide(&[3]), (None, vec![]));
        assert_eq!(divide(&[0, 2]), (Some(2), vec![0]));
        assert_eq!(divide(&[0, 1, 2, 5]), (Some(5), vec![0, 1, 2]));
    }

    #[test]
    fn the_clock_moves_and_a_sample_of_nothing_takes_at_least_nothing() {
        let clock = clock();
        assert!(clock.step_ns > 0 && clock.resolution_ns > 0, "{clock:?}");
        assert!(clock.empty_sample_ns <= clock.empty_sample_p99_ns, "{clock:?}");
    }

    #[test]
    fn a_thread_can_be_confined_and_freed() {
        let all = allowed_cpus();
        std::thread::spawn(move || {
            let one = [*all.last().unwrap()];
            confine(&one).unwrap();
            assert_eq!(allowed_cpus(), one);
            confine(&all).unwrap();
            assert_eq!(allowed_cpus(), all);
        })
        .join()
        .unwrap();
    }
}
