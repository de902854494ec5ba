//! The machine while a probe measures: processor time of the probe, of the daemons and of everybody else, what the device read and wrote,
//! and what may have disturbed the case. Two readings and their difference; nothing is read in between.

use std::fs;
use std::io;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::memory;
use crate::probe;
use crate::record::{Conditions, FetchedMemory};

/// Share of the processors' time in the section that others may take, the hypervisor's other guests included. What is shorter than two
/// ticks of the kernel's accounting is never held against a case.
const OTHERS_MAX: f64 = 0.2;
/// The same for time that the hypervisor gave away.
const STEAL_MAX: f64 = 0.05;
/// Bytes under writeback at the start that are none of the case's.
const WRITEBACK_MAX_BYTES: u64 = 4 << 20;

/// One reading.
#[derive(Debug, Clone, Default)]
struct Reading {
    probe_user_ns: u64,
    probe_kernel_ns: u64,
    daemon_ns: u64,
    busy_ns: u64,
    steal_ns: u64,
    throttled_count: u64,
    swapped_pages: u64,
    read_bytes: u64,
    written_bytes: u64,
}

/// Reads before and after.
#[derive(Debug)]
pub(super) struct Meter {
    daemons: Vec<u32>,
    kernel_threads: bool,
    memory: Option<FetchedMemory>,
    cpus: u32,
    before: Reading,
    dirty_before_bytes: u64,
    writeback_before_bytes: u64,
    load_centi: u64,
    begun: Instant,
}

impl Meter {
    /// Begins a section. `daemons` are the processes that serve the mounts; with `kernel_threads` threads of the kernel serve them too, which cannot
    /// be told from other processes. `memory` is what was at hand when the run began.
    pub(super) fn begin(daemons: Vec<u32>, kernel_threads: bool, memory: Option<FetchedMemory>) -> io::Result<Meter> {
        let page = rustix::param::page_size() as u64;
        let vmstat = fs::read_to_string("/proc/vmstat")?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let before = Reading::take(&daemons)?;
        Ok(Meter {
            daemons,
            kernel_threads,
            memory,
            // The probe is confined to one; the machine has more.
            cpus: online_cpus().unwrap_or(cpus),
            before,
            dirty_before_bytes: field(&vmstat, "nr_dirty").unwrap_or(0) * page,
            writeback_before_bytes: field(&vmstat, "nr_writeback").unwrap_or(0) * page,
            load_centi: parse_load(&load).unwrap_or(0),
            begun: Instant::now(),
        })
    }

    /// Ends the section.
    pub(super) fn end(self) -> io::Result<Conditions> {
        let section_ns = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let after = Reading::take(&self.daemons)?;
        let before = &self.before;
        let probe_user_ns = after.probe_user_ns.saturating_sub(before.probe_user_ns);
        let probe_kernel_ns = after.probe_kernel_ns.saturating_sub(before.probe_kernel_ns);
        let daemon_ns = after.daemon_ns.saturating_sub(before.daemon_ns);
        let busy_ns = after.busy_ns.saturating_sub(before.busy_ns);
        let mut conditions = Conditions {
            section_ns,
            probe_user_ns,
            probe_kernel_ns,
            daemon_ns: (!self.daemons.is_empty()).then_some(daemon_ns),
            daemon_resident_bytes: resident_of(&self.daemons),
            other_ns: busy_ns.saturating_sub(probe_user_ns + probe_kernel_ns + daemon_ns),
            steal_ns: after.steal_ns.saturating_sub(before.steal_ns),
            throttled_count: after.throttled_count.saturating_sub(before.throttled_count),
            swapped_pages: after.swapped_pages.saturating_sub(before.swapped_pages),
            dirty_before_bytes: self.dirty_before_bytes,
            read_bytes: after.read_bytes.saturating_sub(before.read_bytes),
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            // Behind all other readings: it takes processor time itself.
            memory_ns_per_mib: memory::ns_per_mib().ok(),
            load_centi: self.load_centi,
            disturbed: Vec::new(),
        };
        conditions.disturbed = disturbances(&conditions, self.cpus, self.writeback_before_bytes, self.kernel_threads);
        conditions.disturbed.extend(self.memory.and_then(|memory| away(&conditions, &memory)));
        Ok(conditions)
    }
}

/// Whether memory had to be waited for, in words.
fn away(c: &Conditions, at_hand: &FetchedMemory) -> Option<String> {
    let ns = c.memory_ns_per_mib.filter(|ns| at_hand.is_away(*ns))?;
    Some(format!(
        "memory was not at hand: a MiB took {} us, and {} when the run began",
        ns / 1000,
        at_hand.again_ns_per_mib / 1000
    ))
}

/// What disturbed a case, in words.
fn disturbances(c: &Conditions, cpus: u32, writeback_before_bytes: u64, kernel_threads: bool) -> Vec<String> {
    let tick_ns = 1_000_000_000 / tick_hz().max(1);
    let capacity = c.section_ns as f64 * f64::from(cpus.max(1));
    let beyond = |ns: u64, share: f64| ns > 2 * tick_ns && ns as f64 > share * capacity;
    let percent = |ns: u64| (100.0 * ns as f64 / capacity.max(1.0)).round();
    let mut found = Vec::new();
    if beyond(c.steal_ns, STEAL_MAX) {
        found.push(format!("the hypervisor gave {} % of the processors' time to others", percent(c.steal_ns)));
    }
    if !kernel_threads && beyond(c.other_ns, OTHERS_MAX) {
        found.push(format!("other processes took {} % of the processors' time", percent(c.other_ns)));
    }
    if c.throttled_count > 0 {
        found.push(format!("the control group's CPU limit stopped it {} times", c.throttled_count));
    }
    if c.swapped_pages > 0 {
        found.push(format!("{} pages were swapped", c.swapped_pages));
    }
    if writeback_before_bytes > WRITEBACK_MAX_BYTES {
        found.push(format!("{writeback_before_bytes} bytes of earlier work were still being written back"));
    }
    found
}

impl Reading {
    fn take(daemons: &[u32]) -> io::Result<Reading> {
        let vmstat = fs::read_to_string("/proc/vmstat")?;
        let (busy_ns, steal_ns) = parse_stat(&fs::read_to_string("/proc/stat")?).unwrap_or_default();
        let mut reading = Reading {
            busy_ns,
            steal_ns,
            throttled_count: throttled(),
            swapped_pages: field(&vmstat, "pswpin").unwrap_or(0) + field(&vmstat, "pswpout").unwrap_or(0),
            ..Reading::default()
        };
        reading.daemon_ns = probe::processor_ns(daemons);
        for pid in daemons {
            reading.add_io(&format!("/proc/{pid}/io"));
        }
        reading.add_io("/proc/self/io");
        // Last, so that the least of what reading costs is counted as the probe's.
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            reading.probe_user_ns += u64::try_from(usage.user_time().num_nanoseconds()).unwrap_or(0);
            reading.probe_kernel_ns += u64::try_from(usage.system_time().num_nanoseconds()).unwrap_or(0);
        }
        Ok(reading)
    }

    fn add_io(&mut self, path: &str) {
        // Hidden where the process belongs to somebody else; then the device's share of it is not known.
        let Ok(text) = fs::read_to_string(path) else { return };
        self.read_bytes += field(&text, "read_bytes:").unwrap_or(0);
        self.written_bytes += field(&text, "write_bytes:").unwrap_or(0);
    }
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Busy and stolen time of all CPUs since boot in nanoseconds, from the first line of /proc/stat (proc(5)): user, nice, system, idle, iowait,
/// irq, softirq, steal. Time of guests is in user already.
fn parse_stat(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    let ns = |ticks: u64| ticks.saturating_mul(1_000_000_000 / tick_hz().max(1));
    Some((ns(at(0) + at(1) + at(2) + at(5) + at(6)), ns(at(7))))
}

/// Ticks of /proc/stat in a second.
fn tick_hz() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// `0.52 ...` in hundredths.
fn parse_load(text: &str) -> Option<u64> {
    let load: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some((load * 100.0).round() as u64)
}

fn online_cpus() -> Option<u32> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let cpus = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    u32::try_from(cpus).ok().filter(|cpus| *cpus > 0)
}

/// How often the CPU limit of our control group stopped its processes, version 2 or 1; 0 where there is no limit.
fn throttled() -> u64 {
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let file = group.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let root = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            _ if controllers.split(',').any(|c| c == "cpu") => format!("/sys/fs/cgroup/{controllers}"),
            _ => return None,
        };
        fs::read_to_string(format!("{root}{path}/cpu.stat")).ok()
    });
    file.and_then(|text| field(&text, "nr_throttled")).unwrap_or(0)
}

/// Resident memory of the daemons that is theirs alone, in bytes; `None` without daemons, or where it is hidden.
fn resident_of(daemons: &[u32]) -> Option<u64> {
    let mut total = None;
    for pid in daemons {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        *total.get_or_insert(0) += kib * 1024;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_stolen_time_come_from_the_first_line_of_proc_stat() {
        let ns = 1_000_000_000 / tick_hz();
        let text = "cpu  1 2 3 100 200 5 6 7 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(parse_stat(text), Some(((1 + 2 + 3 + 5 + 6) * ns, 7 * ns)));
        assert_eq!(parse_stat("intr 1\n"), None);
        assert_eq!(parse_load("0.52 0.40 0.30 1/100 5\n"), Some(52));
        assert_eq!(field("read_bytes: 4096\nwrite_bytes: 8\n", "write_bytes:"), Some(8));
    }

    #[test]
    fn a_quiet_section_is_not_disturbed_and_each_disturbance_is_named() {
        let quiet = Conditions { section_ns: 1_000_000_000, ..Conditions::default() };
        assert!(disturbances(&quiet, 2, 0, false).is_empty());
        let table = [
            (Conditions { steal_ns: 150_000_000, ..quiet.clone() }, 0, "hypervisor gave 8 %"),
            (Conditions { other_ns: 500_000_000, ..quiet.clone() }, 0, "other processes took 25 %"),
            (Conditions { throttled_count: 3, ..quiet.clone() }, 0, "stopped it 3 times"),
            (Conditions { swapped_pages: 9, ..quiet.clone() }, 0, "9 pages were swapped"),
            (quiet.clone(), 5 << 20, "still being written back"),
        ];
        for (conditions, writeback, said) in table {
            let found = disturbances(&conditions, 2, writeback, false);
            assert!(found.len() == 1 && found[0].contains(said), "{found:?}");
        }
        // A tenth of the processors' time is what a machine does by itself.
        assert!(disturbances(&Conditions { other_ns: 200_000_000, ..quiet.clone() }, 2, 0, false).is_empty());
        let at_hand = FetchedMemory { bytes: 1 << 30, first_ns_per_mib: 2_000_000, again_ns_per_mib: 300_000 };
        for (ns, is_away) in [(Some(700_000), true), (Some(500_000), false), (None, false)] {
            assert_eq!(away(&Conditions { memory_ns_per_mib: ns, ..quiet.clone() }, &at_hand).is_some(), is_away);
        }
        // What threads of the kernel do for a driver is its own.
        assert!(disturbances(&Conditions { other_ns: 900_000_000, ..quiet }, 2, 0, true).is_empty());
    }

    #[test]
    fn a_section_counts_the_processor_time_that_was_spent_in_it() {
        let meter = Meter::begin(Vec::new(), false, None).unwrap();
        let begun = Instant::now();
        let mut x = 0u64;
        while begun.elapsed().as_millis() < 30 {
            x = std::hint::black_box(x.wrapping_add(1));
        }
        let conditions = meter.end().unwrap();
        assert!(conditions.section_ns >= 30_000_000);
        assert!(conditions.probe_user_ns + conditions.probe_kernel_ns > 0);
        assert!(conditions.memory_ns_per_mib.unwrap() > 0);
        assert_eq!((conditions.daemon_ns, conditions.daemon_resident_bytes), (None, None));
    }
}
