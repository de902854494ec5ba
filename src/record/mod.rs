//! The contract between measuring and reporting: what a run writes and a report reads.
//!
//! A run is a folder `results/<date>.<n>/` with `run.json` (one [`RunManifest`], written before the first case) and `cases.jsonl`
//! (one [`CaseRecord`] a line, flushed when its case ends). Nothing here measures, mounts or draws. Any module may use it but `sys`
//! and `workload`.

mod conditions;
mod guest;
mod host;
mod io;
mod tally;

pub use conditions::{Clock, Conditions, FetchedMemory, Instrument};
pub use guest::{Accelerator, Guest};
pub use host::{
    Capabilities, DriverInfo, Feature, Host, Medium, MediumClass, Privileges, StoreInfo, Waits, uses_kernel_threads,
};
pub use io::{DamagedLine, RecordError, Run, RunWriter, list_runs, run_key};
pub use tally::Tally;

use serde::{Deserialize, Serialize};

use crate::workload::{Case, Workload};

/// Version of the shape of `run.json` and `cases.jsonl`. It grows when an old reader would misread a new file.
pub const SCHEMA_VERSION: u32 = 2;

/// What a run was: everything needed to repeat it and to read its cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunManifest {
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the run and of its folder: `YYYY-MM-DD.N`.
    pub run: String,
    /// Version of layerbench that measured.
    pub layerbench_version: String,
    /// Git commit that was built, with `+` when the tree had changes; `None` when unknown.
    pub commit: Option<String>,
    /// Start of the run, UTC, RFC 3339.
    pub started: String,
    /// The command line, as given.
    pub command: Vec<String>,
    /// Seed of file contents.
    pub seed: u64,
    /// Seed of the order of cases; `None` in a record from before it was drawn anew for each run: then it is that of the contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_seed: Option<u64>,
    /// Whether each block had stacks of its own, built for it, so that no figure rests on one place that a file has on the disk. Not so in a record from
    /// before this was done, and where the disk has no room for two sets of stacks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stacks_each_block: bool,
    /// Whether smoke values were used: such a run proves that the harness works and measures nothing worth quoting.
    pub smoke: bool,
    /// The workloads, resolved: no smoke/real alternatives are left in them.
    pub workloads: Vec<Workload>,
    /// The machine.
    pub host: Host,
    /// The virtual machine that layerbench booted for this run, if it did; `host` then is what was found in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// With what, and how, time was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instrument: Option<Instrument>,
    /// The stores, in the order given.
    pub stores: Vec<StoreInfo>,
    /// Every driver variant of the workloads, available or not.
    pub drivers: Vec<DriverInfo>,
    /// How many cases were planned: fewer lines in `cases.jsonl` mean an interrupted run.
    pub planned_cases: u32,
}

/// One line of `cases.jsonl`: one case, in one block, with one fresh mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseRecord {
    /// What ran.
    #[serde(flatten)]
    pub case: Case,
    /// Position in the executed order, from 1.
    pub order: u32,
    /// Start, in milliseconds since the run began.
    pub started_ms: u64,
    /// Wall time of the whole case, set-up and verification included, in milliseconds.
    pub elapsed_ms: u64,
    /// Which attempt this is, from 1: a case that was disturbed is repeated.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub attempt: u32,
    /// Whether it was disturbed and has been repeated: the samples are kept, and another attempt of the same case counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// The machine while the probe measured; `None` where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl CaseRecord {
    /// Gives back memory that reading reserved and did not need: of many samples a vector may hold twice the room.
    fn shrink(&mut self) {
        if let Outcome::Measured { observations, .. } = &mut self.outcome {
            observations.iter_mut().for_each(|observation| observation.samples.shrink_to_fit());
        }
    }
}

fn first() -> u32 {
    1
}

fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Measured, and verified to be the right thing.
    Measured {
        /// Options of the mounts as the kernel reports them; `lowerdir` is shortened to a count of layers, the store's path to `$STORE`.
        mount_options: String,
        /// What was observed.
        observations: Vec<Observation>,
        /// What a reader should know about this case (a fallback taken, a check that could not be made).
        #[serde(default)]
        notes: Vec<String>,
    },
    /// Not measured, because something went wrong or the wrong thing was measured.
    Failed {
        /// The whole chain of causes.
        error: String,
    },
    /// Not tried here.
    Skipped {
        /// Why.
        reason: String,
        /// How to get it.
        remedy: String,
    },
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Lower is better.
    Lower,
    /// Higher is better.
    Higher,
    /// Neither: it describes.
    Neutral,
}

/// Unit of the integers of an [`Observation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Bytes.
    Bytes,
    /// A count of the things that the metric's name says.
    Count,
}

/// What a number means. Names are part of the contract: see [`metric`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metric {
    /// Name, unit last.
    pub name: std::borrow::Cow<'static, str>,
    /// Unit.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
}

impl Metric {
    /// A metric known at build time.
    pub const fn new(name: &'static str, unit: Unit, better: Better) -> Metric {
        Metric { name: std::borrow::Cow::Borrowed(name), unit, better }
    }
}

/// The metrics that probes produce and analysis looks for.
pub mod metric {
    use super::{Better, Metric, Unit};

    const fn ns(name: &'static str) -> Metric {
        Metric::new(name, Unit::Ns, Better::Lower)
    }
    const fn neutral(name: &'static str, unit: Unit) -> Metric {
        Metric::new(name, unit, Better::Neutral)
    }

    /// The trigger's operation (`params.trigger`; plainly open(O_WRONLY) and write of one byte) on a file that nobody wrote in this mount. One
    /// sample a file.
    pub const FIRST_WRITE_NS: Metric = ns("first_write_ns");
    /// close(2) of the descriptor of the first operation, right behind it; absent where the operation leaves none open. One sample a file.
    pub const FIRST_CLOSE_NS: Metric = ns("first_close_ns");
    /// Processor time that the caller and the daemons spent on the first operations and the closes behind them, divided by the number of files. One sample
    /// a case of one process. What threads of the kernel do for either is not in it.
    pub const FIRST_PROCESSOR_NS: Metric = ns("first_processor_ns");
    /// The same operation again, on the same file, when the first has been done to all files: what is left when the copy_up is done.
    pub const SECOND_WRITE_NS: Metric = ns("second_write_ns");
    /// From the start of the first operation to the return of the fsync after it. One sample a file, where durability is `fsync`.
    pub const FIRST_DURABLE_NS: Metric = ns("first_durable_ns");
    /// The same of the second operation.
    pub const SECOND_DURABLE_NS: Metric = ns("second_durable_ns");
    /// From the start of the first process's first operation to the end of the last process's last one, of writes the last first write: what
    /// all files together took, closing them included. One sample a case.
    pub const WALL_NS: Metric = ns("wall_ns");
    /// Bytes allocated in upper by the case's first writes, all files together. One sample a case.
    pub const UPPER_BYTES: Metric = Metric::new("upper_bytes", Unit::Bytes, Better::Lower);
    /// Inodes that appeared in upper, all files together. One sample a case.
    pub const UPPER_INODES: Metric = Metric::new("upper_inodes_count", Unit::Count, Better::Lower);
    /// Finding the file in its layer and asking for its attributes, as the driver counted it: the mean of the case's copy_ups. One sample a
    /// case, of the steps below too; only from drivers that count.
    pub const STEP_LOOK_UP_NS: Metric = ns("step_look_up_ns");
    /// Making the copy and filling it.
    pub const STEP_DATA_NS: Metric = ns("step_data_ns");
    /// Waiting for the device.
    pub const STEP_FSYNC_NS: Metric = ns("step_fsync_ns");
    /// Owner, mode, extended attributes, times.
    pub const STEP_ATTRIBUTES_NS: Metric = ns("step_attributes_ns");
    /// Giving the copy its name.
    pub const STEP_RENAME_NS: Metric = ns("step_rename_ns");
    /// Copying up one directory above the file, all its steps; the mean of the case's directories.
    pub const STEP_PARENT_NS: Metric = ns("step_parent_ns");
    /// A container's mount and the first program in it, together: what a start takes. One sample a container, of the metrics below too.
    pub const START_NS: Metric = ns("start_ns");
    /// From the request to mount until the mount answers, for a FUSE daemon its own start included.
    pub const MOUNT_NS: Metric = ns("mount_ns");
    /// Starting the smallest program from the container and waiting for its end: the first time in this container.
    pub const EXEC_NS: Metric = ns("exec_ns");
    /// The same again.
    pub const SECOND_EXEC_NS: Metric = ns("second_exec_ns");
    /// Unmounting, until the daemon has ended where there is one.
    pub const UNMOUNT_NS: Metric = ns("unmount_ns");
    /// Anonymous resident memory of the FUSE daemons, divided by the containers. One sample a case.
    pub const DAEMON_BYTES: Metric = Metric::new("daemon_bytes", Unit::Bytes, Better::Lower);
    /// stat of `<directory>/<name>` from the root of the mount: the first look-up of a name in a directory that nobody has looked at through
    /// this mount, and that every layer has. The name is in layer `target_layer`. The root has been asked for a name before. Cold caches are
    /// made anew for each sample. One sample a directory; absent with warm caches, which have no first look-up.
    pub const LOOKUP_FIRST_NS: Metric = ns("lookup_first_ns");
    /// The same of a name that is nowhere, in such a directory.
    pub const LOOKUP_FIRST_MISS_NS: Metric = ns("lookup_first_miss_ns");
    /// stat of a name that is in layer `target_layer`, in a directory that has been asked for another name before, as for the metrics below.
    /// Runs without [`LOOKUP_FIRST_NS`] had only opened it: their first sample of a case holds what the directory costs.
    pub const LOOKUP_HIT_NS: Metric = ns("lookup_hit_ns");
    /// stat of a name that is nowhere.
    pub const LOOKUP_MISS_NS: Metric = ns("lookup_miss_ns");
    /// stat of a name that a whiteout hides.
    pub const LOOKUP_WHITEOUT_NS: Metric = ns("lookup_whiteout_ns");
    /// stat of a directory that the top layer has opaque and the base has as well.
    pub const LOOKUP_OPAQUE_NS: Metric = ns("lookup_opaque_ns");
    /// stat of a directory that every layer has.
    pub const LOOKUP_MERGED_NS: Metric = ns("lookup_merged_ns");
    /// stat of a path of 16 components in one call; the folders on the way are its own, and layer `target_layer` alone has them.
    pub const LOOKUP_PATH_NS: Metric = ns("lookup_path_ns");
    /// open(O_RDONLY) of a file of layer `target_layer` that this mount has not opened before.
    pub const OPEN_NS: Metric = ns("open_ns");
    /// Opening a directory that every layer has an entry in, and reading its entries to the end.
    pub const READDIR_NS: Metric = ns("readdir_ns");
    /// Opening a file of layer `target_layer` that nobody has read through this mount, and reading it to its end. One sample a file.
    pub const READ_NS: Metric = ns("read_ns");
    /// The same again, when all files have been read: what every later reader of a file in this container pays.
    pub const READ_AGAIN_NS: Metric = ns("read_again_ns");
    /// Writing a file that has been copied up over again, from its start to its end in pieces of 128 KiB, open before and after. One sample a file.
    pub const REWRITE_NS: Metric = ns("rewrite_ns");
    /// The same until the fdatasync that follows has returned, where durability is `fsync`; so the metrics below.
    pub const REWRITE_DURABLE_NS: Metric = ns("rewrite_durable_ns");
    /// pwrite of 4 KiB at a random page of such a file, each page of which is cached. Many samples a file.
    pub const OVERWRITE_NS: Metric = ns("overwrite_ns");
    /// Until durable.
    pub const OVERWRITE_DURABLE_NS: Metric = ns("overwrite_durable_ns");
    /// Creating a file in a directory that has been copied up, and writing 4 KiB to it. One sample a file.
    pub const CREATE_NS: Metric = ns("create_ns");
    /// Until durable, by fsync.
    pub const CREATE_DURABLE_NS: Metric = ns("create_durable_ns");
    /// Reading one whole file through the first container. One sample a file.
    pub const FIRST_READ_NS: Metric = ns("first_read_ns");
    /// Reading the same file through the second container. One sample a file; absent with one container.
    pub const SECOND_READ_NS: Metric = ns("second_read_ns");
    /// pread of 4 KiB at a random page of a file that has just been read whole through the same container. Many samples a case.
    pub const WARM_READ_NS: Metric = ns("warm_read_ns");
    /// Growth of resident bytes of all page caches concerned (layers' and mounts'), each inode counted once. One sample a case.
    pub const RESIDENT_BYTES: Metric = Metric::new("resident_bytes", Unit::Bytes, Better::Lower);
    /// Growth of `Cached` in /proc/meminfo meanwhile, a check on the above; 0 when it shrank. One sample a case.
    pub const MEMINFO_CACHED_BYTES: Metric = neutral("meminfo_cached_bytes", Unit::Bytes);
    /// Bytes of the files read, once: what sharing would keep resident. One sample a case.
    pub const READ_SET_BYTES: Metric = neutral("read_set_bytes", Unit::Bytes);
    /// Pages whose frame number was compared between the first container and another. One sample a case.
    pub const CHECKED_PAGES: Metric = neutral("checked_pages_count", Unit::Count);
    /// Of those, how many were the same page of memory. One sample a case.
    pub const SHARED_PAGES: Metric = Metric::new("shared_pages_count", Unit::Count, Better::Higher);
    /// Opening a file that is not cached, mapping it (MAP_PRIVATE, as a program or a library is) and touching every page, through the
    /// first container. One sample a file.
    pub const MAPPED_FIRST_NS: Metric = ns("mapped_first_ns");
    /// The same file through the second container, while the first has it mapped. One sample a file; absent with one container.
    pub const MAPPED_SECOND_NS: Metric = ns("mapped_second_ns");
    /// As [`CHECKED_PAGES`], of pages that are mapped.
    pub const MAPPED_CHECKED_PAGES: Metric = neutral("mapped_checked_pages_count", Unit::Count);
    /// As [`SHARED_PAGES`], of pages that are mapped.
    pub const MAPPED_SHARED_PAGES: Metric = Metric::new("mapped_shared_pages_count", Unit::Count, Better::Higher);
    /// A job from the start of its program to its end; where it is more than one program, all of them. One sample a case.
    pub const JOB_NS: Metric = ns("job_ns");
    /// What the memory controller charges each container's own control group for reading the files, which are not cached before the
    /// first. One sample a container, in their order: pages that are shared are charged to whoever brings them in, and to nobody else.
    /// The kernel charges 64 pages at a time, so that a sample can be 63 pages too high or too low for each processor that the reader ran
    /// on; files that are small beside that are not measured.
    pub const CHARGED_BYTES: Metric = neutral("charged_bytes", Unit::Bytes);
}

/// The samples of one metric in one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// What was observed.
    pub metric: Metric,
    /// Every sample, in the order taken, in the metric's unit.
    pub samples: Vec<u64>,
    /// HdrHistogram of the samples (3 significant digits), V2 compressed, base64: present from [`HISTOGRAM_FROM`] samples on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
}

/// Number of samples from which an observation carries a histogram as well.
pub const HISTOGRAM_FROM: usize = 100;

impl Observation {
    /// An observation with its histogram where samples are many.
    pub fn new(metric: Metric, samples: Vec<u64>) -> Observation {
        let histogram = if samples.len() >= HISTOGRAM_FROM { io::encode_histogram(&samples) } else { None };
        Observation { metric, samples, histogram }
    }
}
