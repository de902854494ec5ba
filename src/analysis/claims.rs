//! What Docker's page on its aufs storage driver says of speed and space, sentence by sentence, held against what was measured.
//!
//! Each claim is a row of data: the sentence, a question in words, a test and its threshold. A sentence that says several things is
//! several rows. The page speaks of aufs; here every driver is asked. What decides is in [`super::judge`]; what cannot be decided is "not
//! measured", with the reason, never "refuted".

use serde::Serialize;

use super::bootstrap::Interval;
use super::judge;
use super::results::ResultSet;
use crate::workload::{Durability, Job};

/// What the figures say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The figures bear it out.
    Supported,
    /// The figures say otherwise.
    Refuted,
    /// It depends: the figures bear it out at some points and say otherwise at others.
    Depends,
    /// Measured, but the figures allow both.
    Undecided,
    /// No figures that could decide it.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::Depends => "depends",
            Verdict::Undecided => "undecided",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// A metric of a probe, by the names in the records: a run may hold what this version has no probe for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct What {
    /// Name of the probe.
    pub probe: &'static str,
    /// Name of the metric.
    pub metric: &'static str,
    /// Whether each operation was made durable before the next.
    #[serde(skip_serializing_if = "is_usual")]
    pub durability: Durability,
    /// Which jobs, where it is one of jobs; else none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub jobs: &'static [Job],
}

impl What {
    /// A metric at points whose axes are at their usual value.
    pub const fn of(probe: &'static str, metric: &'static str) -> What {
        What { probe, metric, durability: Durability::Default, jobs: &[] }
    }
}

fn is_usual(durability: &Durability) -> bool {
    *durability == Durability::default()
}

/// How a claim is tested. All tests end in a ratio, its interval, and the threshold it has to pass. Those of times rest on the points that were
/// measured in at least five blocks, where there are such; those over several points have a finding for each state of the caches, and are supported
/// or refuted where most points are, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "test", rename_all = "snake_case")]
pub enum Test {
    /// The driver's median divided by that of `base` (a driver, its variant without options), at all points that both have, and their
    /// geometric mean; supported above the threshold.
    RatioAbove {
        /// What is compared.
        #[serde(flatten)]
        what: What,
        /// Name of the driver to compare with.
        base: &'static str,
        /// The ratio.
        threshold: f64,
    },
    /// The same; supported below the threshold.
    RatioBelow {
        /// What is compared.
        #[serde(flatten)]
        what: What,
        /// Name of the driver to compare with.
        base: &'static str,
        /// The ratio.
        threshold: f64,
    },
    /// The tail (90th percentile over the median) of the driver divided by that of `base`, at all points that both have; supported above [`LONGER`].
    /// The absolute spread (90th less 10th percentile) is told beside it and decides nothing: what takes longer spreads more.
    TailAbove {
        /// What is compared.
        #[serde(flatten)]
        what: What,
        /// Name of the driver to compare with.
        base: &'static str,
    },
    /// Here and below: of points that were measured in at least five blocks, where there are such.
    /// First write through the deepest stack divided by that through the shallowest, a finding for the smallest file and one for the largest;
    /// supported above [`LONGER`].
    GrowsWithDepth,
    /// First write to the largest file divided by that to the smallest, in the shallowest stack; supported above [`LONGER`].
    GrowsWithSize,
    /// What depth adds to the first write to the largest file, divided by what it adds to that to the smallest; supported above [`LONGER`].
    Compounded,
    /// Resident bytes of all containers divided by the bytes of the files that each of them read; supported below the threshold.
    ResidentOnce {
        /// The ratio.
        threshold: f64,
    },
    /// Pages that are the same frame of memory in two containers, divided by the pages compared; supported above the threshold.
    SameFrames {
        /// The share.
        threshold: f64,
    },
    /// The largest value of a metric, in its unit; supported below the limit.
    AtMost {
        /// What is compared.
        #[serde(flatten)]
        what: What,
        /// The limit, in the metric's unit.
        limit: f64,
    },
    /// The driver's median in the store on a spinning disk divided by that in the store on a solid-state one, at all points that both
    /// have; supported above [`LONGER`].
    SolidFaster {
        /// What is compared.
        #[serde(flatten)]
        what: What,
    },
}

/// A claim and what the figures say of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// Short name, unique.
    pub id: &'static str,
    /// The sentence as the page has it.
    pub quote: &'static str,
    /// What is asked of the figures.
    pub question: &'static str,
    /// How.
    #[serde(flatten)]
    pub test: Test,
    /// One finding a driver and store, or one for each part of the points, in the order of the run; the driver compared with and the control are
    /// left out.
    pub findings: Vec<Finding>,
}

impl Claim {
    /// Whether anything was found, with any driver.
    pub fn is_measured(&self) -> bool {
        self.findings.iter().any(|finding| finding.verdict != Verdict::NotMeasured)
    }
}

/// The numbers of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effect {
    /// The ratio that the test asks for (or the value, of [`Test::AtMost`]).
    pub ratio: f64,
    /// Its interval.
    pub interval: Option<Interval>,
    /// What it is held against.
    pub threshold: f64,
    /// A against A: the ratio up to which the same thing differs from itself. `None` where nothing is compared that was timed.
    pub noise: Option<f64>,
    /// The two values behind the ratio, in the metric's unit (percentiles 90 over 50 of a tail); at the point in the middle where it is a mean over
    /// several.
    pub absolute: [f64; 2],
}

/// What the figures say of a claim for one driver in one store.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Label of the driver.
    pub driver: String,
    /// Label of the store; of both, where two are compared.
    pub store: String,
    /// What part of the points it is about, where a test has several findings: `cold caches`, `8 MiB`. Else empty.
    pub part: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers that decide it; `None` when nothing was measured.
    pub effect: Option<Effect>,
    /// What was found, in words, or the reason why nothing was.
    pub words: String,
    /// The groups it rests on.
    pub groups: Vec<String>,
    /// The fewest blocks that one of them was measured in; 0 without groups.
    pub blocks: usize,
}

impl Finding {
    /// The driver, and the part of the points.
    pub fn subject(&self) -> String {
        if self.part.is_empty() { self.driver.clone() } else { format!("{}, {}", self.driver, self.part) }
    }
}

/// What takes longer takes a tenth longer at least: less would matter to nobody, and is what two stacks of one kind may differ by.
pub(super) const LONGER: f64 = 1.1;

/// Up to so many times the size of the files that all read they are in memory once: a whole copy more is another matter than pages that
/// something else read meanwhile.
pub const ONCE: f64 = 1.1;

const FIRST_WRITE: What = What::of("copy_up", "first_write_ns");
const SECOND_WRITE: What = What::of("copy_up", "second_write_ns");
const OVERWRITE: What = What::of("write", "overwrite_ns");
const OVERWRITE_DURABLE: What = What { durability: Durability::Fsync, ..What::of("write", "overwrite_durable_ns") };
const CREATE: What = What::of("write", "create_ns");
const LOOKUP: What = What::of("lookup", "lookup_hit_ns");
const READ: What = What::of("page_cache", "first_read_ns");
const START: What = What::of("start", "start_ns");
const START_BYTES: What = What::of("start", "upper_bytes");
/// Programs that mostly write.
const WRITING: What = What { jobs: &[Job::Copy, Job::Unpack, Job::Install, Job::Sqlite], ..What::of("jobs", "job_ns") };

const LESS_EFFICIENT: &str = "AUFS is less efficient than overlay2. (The page says so in Chinese; translated.)";
const DENSITY: &str = "AUFS efficiently shares images between multiple running containers, enabling fast container start times and minimal use \
                       of disk space.";
const PAGE_CACHE: &str = "The underlying mechanics of how AUFS shares files between image layers and containers uses the page cache very \
                          efficiently.";
const LATENCIES: &str = "The AUFS storage driver can introduce significant latencies into container write performance. This is because the \
                         first time a container writes to any file, the file has to be located and copied into the containers top writable \
                         layer.";
const COMPOUNDED: &str = "These latencies increase and are compounded when these files exist below many image layers and the files themselves \
                          are large.";
const SOLID: &str = "Solid State Devices (SSD) provide faster reads and writes than spinning disks.";
const VOLUMES: &str = "Volumes provide the best and most predictable performance for write-heavy workloads. This is because they bypass the \
                       storage driver and do not incur any of the potential overheads introduced by thin provisioning and copy-on-write.";

/// The rows: name, sentence, question, test.
type Row = (&'static str, &'static str, &'static str, Test);

const ROWS: [Row; 20] = [
    (
        "less-efficient-first-write",
        LESS_EFFICIENT,
        "Does a first write take longer than with overlay2?",
        Test::RatioAbove { what: FIRST_WRITE, base: "overlay2", threshold: LONGER },
    ),
    (
        "less-efficient-lookup",
        LESS_EFFICIENT,
        "Does looking up a name take longer than with overlay2?",
        Test::RatioAbove { what: LOOKUP, base: "overlay2", threshold: LONGER },
    ),
    (
        "fast-start",
        DENSITY,
        "Does a container start in less than one and a half times what it takes on a volume that holds the files already?",
        Test::RatioBelow { what: START, base: "bind", threshold: 1.5 },
    ),
    (
        "little-disk",
        DENSITY,
        "Does a container that has started take less than 64 KiB of disk space of its own?",
        Test::AtMost { what: START_BYTES, limit: 65_536.0 },
    ),
    (
        "page-cache-memory",
        PAGE_CACHE,
        "Do containers that read the same files keep them in memory once, to within 10 %?",
        Test::ResidentOnce { threshold: ONCE },
    ),
    (
        "page-cache-frames",
        PAGE_CACHE,
        "Are at least 99 % of the pages compared the same frames of memory in two containers?",
        Test::SameFrames { threshold: 0.99 },
    ),
    (
        "significant-first-write",
        LATENCIES,
        "Does a first write take more than twice as long as on a volume?",
        Test::RatioAbove { what: FIRST_WRITE, base: "bind", threshold: 2.0 },
    ),
    (
        "grows-with-depth",
        COMPOUNDED,
        "Does a first write take longer below many layers than below few?",
        Test::GrowsWithDepth,
    ),
    (
        "grows-with-size",
        COMPOUNDED,
        "Does a first write to a large file take longer than to a small one?",
        Test::GrowsWithSize,
    ),
    (
        "compounded",
        COMPOUNDED,
        "Does depth cost more for a large file than for a small one, so that the two cost more together than what each adds alone?",
        Test::Compounded,
    ),
    (
        "ssd-reads",
        SOLID,
        "Does a read that goes to the device take longer on the spinning disk than on the solid-state one?",
        Test::SolidFaster { what: READ },
    ),
    (
        "ssd-writes",
        SOLID,
        "Does a first write take longer on the spinning disk than on the solid-state one?",
        Test::SolidFaster { what: FIRST_WRITE },
    ),
    (
        "volumes-best-first-write",
        VOLUMES,
        "Does a first write take longer than on a volume?",
        Test::RatioAbove { what: FIRST_WRITE, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-best-later-writes",
        VOLUMES,
        "Does a write to a file that has been copied up already take longer than on a volume?",
        Test::RatioAbove { what: SECOND_WRITE, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-best-overwrites",
        VOLUMES,
        "Does a write in place of 4 KiB to an open file of the container layer take longer than on a volume?",
        Test::RatioAbove { what: OVERWRITE, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-best-durable-overwrites",
        VOLUMES,
        "Does such a write with the fdatasync behind it, as of a database, take longer than on a volume?",
        Test::RatioAbove { what: OVERWRITE_DURABLE, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-best-new-files",
        VOLUMES,
        "Does making a new file of 4 KiB take longer than on a volume?",
        Test::RatioAbove { what: CREATE, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-best-programs",
        VOLUMES,
        "Does a program that mostly writes (cp, tar -x, dpkg, SQLite) take longer than on a volume?",
        Test::RatioAbove { what: WRITING, base: "bind", threshold: LONGER },
    ),
    (
        "volumes-most-predictable",
        VOLUMES,
        "Is a first write less predictable than on a volume: is one in ten later by a larger factor (90th percentile over the median)?",
        Test::TailAbove { what: FIRST_WRITE, base: "bind" },
    ),
    (
        "volumes-most-predictable-overwrites",
        VOLUMES,
        "Is a write in place of 4 KiB to an open file of the container layer less predictable than on a volume?",
        Test::TailAbove { what: OVERWRITE, base: "bind" },
    ),
];

/// Every claim, asked of every driver in every store of the run.
pub fn claims(results: &ResultSet) -> Vec<Claim> {
    ROWS.into_iter()
        .map(|(id, quote, question, test)| Claim {
            id,
            quote,
            question,
            test,
            findings: judge::findings(results, test),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_quotes_that_are_split_stand_together() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        let mut quotes: Vec<&str> = ROWS.iter().map(|row| row.1).collect();
        quotes.dedup();
        let together = quotes.len();
        quotes.sort_unstable();
        quotes.dedup();
        assert_eq!(quotes.len(), together);
    }
}
