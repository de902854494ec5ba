//! What to measure: a study written in TOML, checked, resolved and expanded into cases. Pure: no file is read here but by
//! [`load`], nothing is mounted. Anyone may use it; it uses nothing of ours.

mod expand;
mod interned;
mod job;
mod parse;
mod size;

pub use expand::{Case, case_id, expand, shuffle};
pub use interned::Interned;
pub use job::Job;
pub use parse::{DriverWords, WorkloadError, load, parse};
pub use size::{SizeError, format_size, parse_size};

use serde::{Deserialize, Serialize};

/// The word of `valid` that somebody most likely meant, if any is near.
pub fn nearest<'a>(word: &str, valid: &[&'a str]) -> Option<&'a str> {
    let folded = word.to_lowercase().replace('-', "_");
    valid
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&folded, &candidate.replace('-', "_")), *candidate))
        // A third of a word may be wrong: of short words one letter, or all of them would be near.
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(folded.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean "x"?` with the nearest of the valid words, or nothing when none is near: the end of a refusal.
pub fn hint(word: &str, valid: &[&str]) -> String {
    nearest(word, valid).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}

/// `1 layer`, `2 layers`.
pub fn count(n: impl TryInto<u64>, thing: &str) -> String {
    // No machine counts further.
    let n = n.try_into().unwrap_or(u64::MAX);
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Most layers that any driver stacks: overlay's limit (`OVL_MAX_STACK` in the kernel's fs/overlayfs/params.h).
pub const DEPTH_MAX: u32 = 500;

/// Which values of a workload to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Tiny values, to prove that everything runs.
    Smoke,
    /// The values to be measured.
    Real,
}

/// A study, resolved for one [`Scale`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Short name: the file's stem.
    pub name: String,
    /// One line.
    pub title: String,
    /// Why anyone measures this, in prose.
    pub why: String,
    /// Which drivers, each with its options.
    pub drivers: Vec<DriverVariant>,
    /// Labels of the variants that are measured against themselves; without any the run chooses one.
    #[serde(default, rename = "twin", skip_serializing_if = "Vec::is_empty", with = "one_or_many")]
    pub twins: Vec<String>,
    /// What is measured, over which axes.
    pub measures: Vec<Measure>,
}

/// A label by itself, as in a workload with one, or a list of them.
mod one_or_many {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Labels {
        One(String),
        Many(Vec<String>),
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match Labels::deserialize(deserializer)? {
            Labels::One(label) => vec![label],
            Labels::Many(labels) => labels,
        })
    }

    pub(super) fn serialize<S: Serializer>(labels: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match labels {
            [label] => Labels::One(label.clone()).serialize(serializer),
            _ => Labels::Many(labels.to_vec()).serialize(serializer),
        }
    }
}

/// A driver with options and a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverVariant {
    /// Name of the driver.
    #[serde(rename = "use")]
    pub driver: String,
    /// Its options, in its own words.
    pub options: Vec<String>,
    /// How charts call it; unique within a workload.
    pub label: String,
    /// Label of the variant that this one repeats, option for option, under another name: the two differ by chance alone, and by how
    /// much they differ is what chance can do in this run (A against A).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin_of: Option<String>,
}

/// What the label of a twin has behind that of the variant which it repeats.
const TWIN: &str = "(twin)";

impl DriverVariant {
    /// The same under another label, to be measured against.
    pub fn twin(&self) -> DriverVariant {
        DriverVariant { label: format!("{} {TWIN}", self.label), twin_of: Some(self.label.clone()), ..self.clone() }
    }
}

/// One probe over its axes. The cases are the product of the axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Which probe.
    pub probe: ProbeName,
    /// Why, in prose.
    pub why: String,
    /// An imported image whose files are measured; without it, a stack is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Interned>,
    /// A command of that image that is started in place of a built stack's own program: its words with blanks between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Interned>,
    /// Numbers of lower layers; none with an imported image, which has its own.
    pub depth: Vec<u32>,
    /// Sizes of the target files in bytes.
    pub file_size_bytes: Vec<u64>,
    /// How many target files a container reads or writes, each giving one sample of a metric.
    pub files: u32,
    /// Upper bound on files x size of one case, in bytes: it lowers `files` for large sizes, never below 2.
    pub bytes_max: u64,
    /// Which layer holds the targets.
    pub target_layer: Vec<TargetLayer>,
    /// State of the caches before the operation.
    pub cache: Vec<CacheState>,
    /// How many containers share the stack.
    pub containers: Vec<u32>,
    /// What does the first write.
    #[serde(default)]
    pub trigger: Vec<Trigger>,
    /// Whether each operation is made durable before the next.
    #[serde(default)]
    pub durability: Vec<Durability>,
    /// How many folders lie between the pool's folder and each target.
    #[serde(default)]
    pub directories: Vec<u32>,
    /// Extended attributes of each target.
    #[serde(default)]
    pub xattrs: Vec<u32>,
    /// Processes that operate at the same time, each on files of its own.
    #[serde(default)]
    pub processes: Vec<u32>,
    /// What is run on the tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub job: Vec<Job>,
    /// How often each case is repeated with a new process, mount and upper: the blocks of the run.
    #[serde(alias = "rounds")]
    pub blocks: u32,
}

/// Probes, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeName {
    /// First write to a file of a lower layer.
    CopyUp,
    /// stat of a name: there, nowhere, whited out.
    Lookup,
    /// Whether containers share the page cache.
    PageCache,
    /// How long a container takes to start, and what it occupies.
    Start,
    /// How long a program takes that works on a whole tree of files.
    Jobs,
    /// Whole files, read by one process or by several at once.
    Read,
    /// Writes to files that have been copied up before.
    Write,
}

impl ProbeName {
    /// All of them.
    pub const ALL: [ProbeName; 7] = [
        ProbeName::CopyUp,
        ProbeName::Lookup,
        ProbeName::PageCache,
        ProbeName::Start,
        ProbeName::Jobs,
        ProbeName::Read,
        ProbeName::Write,
    ];
    /// As written in a workload.
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeName::CopyUp => "copy_up",
            ProbeName::Lookup => "lookup",
            ProbeName::PageCache => "page_cache",
            ProbeName::Start => "start",
            ProbeName::Jobs => "jobs",
            ProbeName::Read => "read",
            ProbeName::Write => "write",
        }
    }
}

/// What is cached when the operation starts. Each state is set and, as far as the kernel lets us, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// The name has been looked up through this mount, and the layer's data is resident.
    Warm,
    /// A new mount that never saw the name, over layers whose dentries, inodes and data are cached: a container starting
    /// from an image in use.
    Fresh,
    /// A new mount, then drop_caches: nothing is cached, neither names nor data. Needs root.
    Cold,
}

impl CacheState {
    /// All of them.
    pub const ALL: [CacheState; 3] = [CacheState::Warm, CacheState::Fresh, CacheState::Cold];
    /// As written in a workload.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheState::Warm => "warm",
            CacheState::Fresh => "fresh",
            CacheState::Cold => "cold",
        }
    }
}

/// What is done to a file of a lower layer that has to bring it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// open(O_WRONLY) and one byte at the start.
    #[default]
    Write,
    /// open(O_WRONLY | O_APPEND) and one byte.
    Append,
    /// open(O_WRONLY | O_TRUNC), and nothing written.
    OpenTruncate,
    /// open(O_RDWR), and nothing written.
    OpenRdwr,
    /// chmod to another mode.
    Chmod,
    /// chown to the owner that it has.
    Chown,
    /// utimensat.
    Utimens,
    /// link, in the same folder.
    Link,
    /// rename, in the same folder.
    Rename,
    /// setxattr of a new attribute.
    Setxattr,
    /// truncate to one byte less, without an open.
    Truncate,
    /// open(O_RDWR), mmap(MAP_SHARED) and a store of one byte.
    MmapStore,
}

impl Trigger {
    /// All of them.
    pub const ALL: [Trigger; 12] = [
        Trigger::Write,
        Trigger::Append,
        Trigger::OpenTruncate,
        Trigger::OpenRdwr,
        Trigger::Chmod,
        Trigger::Chown,
        Trigger::Utimens,
        Trigger::Link,
        Trigger::Rename,
        Trigger::Setxattr,
        Trigger::Truncate,
        Trigger::MmapStore,
    ];
    /// As written in a workload.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Write => "write",
            Trigger::Append => "append",
            Trigger::OpenTruncate => "open_truncate",
            Trigger::OpenRdwr => "open_rdwr",
            Trigger::Chmod => "chmod",
            Trigger::Chown => "chown",
            Trigger::Utimens => "utimens",
            Trigger::Link => "link",
            Trigger::Rename => "rename",
            Trigger::Setxattr => "setxattr",
            Trigger::Truncate => "truncate",
            Trigger::MmapStore => "mmap_store",
        }
    }
}

/// Whether an operation is made durable. What a driver does of its own accord (overlay2 waits for the disk in a copy_up, `volatile`
/// does not) is an option of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// As the driver has it.
    #[default]
    Default,
    /// fsync of the file after each operation: time to the write and time to durable are two metrics.
    Fsync,
}

impl Durability {
    /// All of them.
    pub const ALL: [Durability; 2] = [Durability::Default, Durability::Fsync];
    /// As written in a workload.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Default => "default",
            Durability::Fsync => "fsync",
        }
    }
}

/// Which layer holds the target files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetLayer {
    /// The topmost lower layer.
    Top,
    /// The one half way down.
    Middle,
    /// The base.
    Bottom,
    /// Counted from 1, the topmost lower layer.
    Index(u32),
}

impl TargetLayer {
    /// The layer's index from 1 (top) to `depth` (base); `None` when the stack has no such layer.
    pub fn resolve(self, depth: u32) -> Option<u32> {
        let index = match self {
            TargetLayer::Top => 1,
            TargetLayer::Middle => depth.div_ceil(2),
            TargetLayer::Bottom => depth,
            TargetLayer::Index(index) => index,
        };
        (1..=depth).contains(&index).then_some(index)
    }
}

/// What is set in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Number of lower layers.
    pub depth: u32,
    /// Size of a target file; where the targets are a tree, the median of the sizes of its files.
    pub file_size_bytes: u64,
    /// Number of target files.
    pub files: u32,
    /// Layer that holds the targets, from 1 (the topmost lower layer).
    pub target_layer: u32,
    /// Caches before the operation.
    pub cache: CacheState,
    /// Containers on the stack.
    pub containers: u32,
    /// What does the first write.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trigger: Trigger,
    /// Whether each operation is made durable before the next.
    #[serde(default, skip_serializing_if = "is_default")]
    pub durability: Durability,
    /// Folders between the pool's folder and each target, each target having its own; none of them has been copied up before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub directories: u32,
    /// Extended attributes of each target.
    #[serde(default, skip_serializing_if = "is_default")]
    pub xattrs: u32,
    /// Processes that operate at the same time.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub processes: u32,
    /// What is run on the tree; `None` where the targets are no tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// The imported image that the files are of. Then `file_size_bytes` is about how long they are, and a `target_layer` of 0 means any. A job works on
    /// all of them: then how many there are, and the median of their sizes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stack: Option<Interned>,
    /// The command of that image that is started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub program: Option<Interned>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

impl Params {
    /// The axes that are not at their usual value, `,name=value` each: empty for the plain case.
    pub fn unusual(&self) -> String {
        let mut text = String::new();
        let mut say = |name: &str, value: String, usual: bool| {
            if !usual {
                text.push_str(&format!(",{name}={value}"));
            }
        };
        say("trigger", self.trigger.as_str().to_owned(), is_default(&self.trigger));
        say("durability", self.durability.as_str().to_owned(), is_default(&self.durability));
        say("directories", self.directories.to_string(), is_default(&self.directories));
        say("xattrs", self.xattrs.to_string(), is_default(&self.xattrs));
        say("processes", self.processes.to_string(), is_one(&self.processes));
        say("job", self.job.map_or(String::new(), |job| job.as_str().to_owned()), self.job.is_none());
        let mut text_of = |name: &str, text: Option<Interned>| {
            say(name, text.map_or("", Interned::as_str).replace('/', "%"), text.is_none());
        };
        text_of("stack", self.stack);
        text_of("program", self.program);
        text
    }

    /// The same point with the axes of [`Params::unusual`] at their usual values.
    pub fn plain(&self) -> Params {
        Params {
            trigger: Trigger::default(),
            durability: Durability::default(),
            directories: 0,
            xattrs: 0,
            processes: 1,
            job: None,
            stack: None,
            program: None,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{count, nearest};

    #[test]
    fn one_of_a_thing_is_no_plural() {
        assert_eq!([0u32, 1, 2].map(|n| count(n, "layer")), ["0 layers", "1 layer", "2 layers"]);
        assert_eq!(count(1usize, "file"), "1 file");
    }

    #[test]
    fn only_a_word_that_is_near_is_suggested() {
        let drivers = ["bind", "overlay2", "aufs", "fuse-union", "fuse-overlayfs"];
        for (word, near) in [
            ("overlay", Some("overlay2")),
            ("ovrelay2", Some("overlay2")),
            ("AUFS", Some("aufs")),
            ("afs", Some("aufs")),
            ("fuse_union", Some("fuse-union")),
            ("zfs", None),
            ("btrfs", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &drivers), near, "{word}");
        }
    }
}
