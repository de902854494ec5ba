//! With what time was taken, and what else the machine did meanwhile: what a sceptical reader asks for first.

use serde::{Deserialize, Serialize};

use super::Feature;
use crate::workload::{Case, ProbeName};

/// How time is taken in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Instrument {
    /// The clock.
    pub clock: Clock,
    /// Whether processors are kept from sleeping (/dev/cpu_dma_latency held at 0) while cases run. Without that, an operation that wakes
    /// another process pays for waking a processor first, which on a virtual machine can cost more than the operation.
    pub awake: Feature,
    /// The CPU that probes run on; `None` when they are not pinned.
    pub probe_cpu: Option<u32>,
    /// CPUs left to FUSE daemons; empty when they share the probe's.
    pub daemon_cpus: Vec<u32>,
    /// Memory that was fetched before the first case; `None` in a run with smoke values, where too little was free, and in a record from before
    /// this was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<FetchedMemory>,
    /// Whether the time of a mount ends when the mount answers. In a record from before this was so, it holds the reading of the mount table
    /// as well, which takes the longer the more containers there are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mounts_alone: bool,
}

/// Memory that was written to before the first case and then given back but for a page here and there, so that it is at hand for the cases. A
/// hypervisor may take free memory away in large pieces (free page reporting) and has to fetch it when it is next written to, which may take
/// many times as long as the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedMemory {
    /// How much it was, in bytes.
    pub bytes: u64,
    /// What writing to it took, in nanoseconds a MiB.
    pub first_ns_per_mib: u64,
    /// What writing to memory took afterwards, in nanoseconds a MiB.
    pub again_ns_per_mib: u64,
}

/// The clock of every sample, as it was found at the start of the run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    /// The kernel's clock source.
    pub source: String,
    /// What clock_getres(CLOCK_MONOTONIC) says, in nanoseconds.
    pub resolution_ns: u64,
    /// Smallest difference above zero of two readings in a row, in nanoseconds.
    pub step_ns: u64,
    /// Median time of a sample of nothing, in nanoseconds: what each sample holds too much.
    pub empty_sample_ns: u64,
    /// 99th percentile of the same.
    pub empty_sample_p99_ns: u64,
}

/// The machine while one case measured: differences over the measured section, which holds every sample and what lies between.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Length of the measured section in nanoseconds.
    pub section_ns: u64,
    /// User time of the probe's process in nanoseconds. The kernel splits user from kernel time by sampling; their sum is exact.
    pub probe_user_ns: u64,
    /// Kernel time of the probe's process in nanoseconds.
    pub probe_kernel_ns: u64,
    /// Processor time of the FUSE daemons in nanoseconds; `None` for a driver without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_ns: Option<u64>,
    /// Resident memory of the FUSE daemons at the end of the section, in bytes; `None` for a driver without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_resident_bytes: Option<u64>,
    /// Processor time of everything else, kernel threads included, in nanoseconds, to 10 ms.
    pub other_ns: u64,
    /// Time that the hypervisor gave to somebody else, in nanoseconds, to 10 ms.
    pub steal_ns: u64,
    /// How often the control group's CPU limit stopped this process.
    pub throttled_count: u64,
    /// Pages swapped in and out.
    pub swapped_pages: u64,
    /// Bytes of other cases that were still to be written back when the section began.
    pub dirty_before_bytes: u64,
    /// Bytes that the probe and its daemons had the block layer read.
    pub read_bytes: u64,
    /// Bytes that they had it write, or will have.
    pub written_bytes: u64,
    /// What writing to a MiB of new memory took when the section ended, in nanoseconds: much more than at the start of the run where a hypervisor has
    /// to fetch it. `None` in runs before this was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_ns_per_mib: Option<u64>,
    /// Load average over a minute, in hundredths, when the section began.
    pub load_centi: u64,
    /// What disturbed the case, in words: empty for a quiet machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disturbed: Vec<String>,
}

impl FetchedMemory {
    /// Whether memory that takes so long, in nanoseconds a MiB, was not at hand.
    pub fn is_away(&self, ns_per_mib: u64) -> bool {
        ns_per_mib > self.again_ns_per_mib.saturating_mul(2)
    }
}

impl Conditions {
    /// Bytes that a file system may read about itself in a case whose data is cached: whoever makes files may have to read what it knows of its
    /// free space, a block a file and some for all. Look-ups and reads make none and have no such excuse.
    pub fn metadata_bytes(case: &Case) -> u64 {
        match case.probe {
            ProbeName::Lookup | ProbeName::Read => 0,
            _ => (1 << 20) + u64::from(case.params.files) * 4096,
        }
    }
}
