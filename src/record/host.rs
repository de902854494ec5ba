//! What a run knows of its machine, its stores and its drivers. Filled by `host` and `driver`, read by `report`.

use serde::{Deserialize, Serialize};

/// The machine, as far as it bears on the figures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Host {
    /// `uname -r`.
    pub kernel: String,
    /// PRETTY_NAME of /etc/os-release.
    pub os: String,
    /// `uname -m`.
    pub architecture: String,
    /// Model name of the first CPU.
    pub cpu_model: String,
    /// CPUs that this process may run on.
    pub cpus: u32,
    /// Frequency governor of the first CPU; `None` where the kernel has none (most virtual machines).
    pub cpu_governor: Option<String>,
    /// Hypervisor, when the CPU says that there is one.
    pub hypervisor: Option<String>,
    /// MemTotal.
    pub memory_bytes: u64,
    /// Size of a page of memory.
    pub page_size_bytes: u64,
    /// Who runs.
    pub privileges: Privileges,
    /// What the kernel offers.
    pub capabilities: Capabilities,
}

/// Who runs, which decides what can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privileges {
    /// Root of the initial user namespace.
    Root,
    /// Ordinary user; cases run in a user namespace.
    UserNamespace,
    /// Ordinary user, and user namespaces are not allowed: nothing can be mounted.
    #[default]
    None,
}

/// A thing that is there, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Feature {
    /// It works here: tried, not guessed.
    Available {
        /// Version or what was seen.
        detail: String,
    },
    /// It does not.
    Missing {
        /// Why not.
        reason: String,
        /// How to get it.
        remedy: String,
    },
}

impl Default for Feature {
    fn default() -> Self {
        Feature::Missing { reason: "not checked".into(), remedy: "run layerbench doctor".into() }
    }
}

impl Feature {
    /// Whether it is there.
    pub fn is_available(&self) -> bool {
        matches!(self, Feature::Available { .. })
    }
    /// A feature that is there.
    pub fn available(detail: impl Into<String>) -> Feature {
        Feature::Available { detail: detail.into() }
    }
    /// A feature that is not.
    pub fn missing(reason: impl Into<String>, remedy: impl Into<String>) -> Feature {
        Feature::Missing { reason: reason.into(), remedy: remedy.into() }
    }
}

/// What the kernel offers to the probes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Capabilities {
    /// fsopen, fsconfig, fsmount, move_mount (Linux 5.2).
    pub mount_api: Feature,
    /// /dev/fuse can be opened.
    pub fuse: Feature,
    /// FUSE_PASSTHROUGH (Linux 6.9, root).
    pub fuse_passthrough: Feature,
    /// FUSE requests by io_uring (Linux 6.14, where it has been switched on). `None` in records from before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuse_uring: Option<Feature>,
    /// cachestat(2) (Linux 6.5).
    pub cachestat: Feature,
    /// /proc/sys/vm/drop_caches can be written.
    pub drop_caches: Feature,
    /// /proc/self/pagemap shows frame numbers.
    pub pagemap: Feature,
}

/// A store: where the layers lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// Label, unique within the run.
    pub label: String,
    /// Path as given.
    pub path: String,
    /// File system type.
    pub fs_type: String,
    /// Mount options of that file system.
    pub mount_options: String,
    /// Its device, as in /proc/self/mountinfo.
    pub device: String,
    /// I/O scheduler of the device; `None` where there is none.
    pub scheduler: Option<String>,
    /// The kernel's rotational flag: a claim, not a measurement.
    pub rotational_flag: Option<bool>,
    /// What kind of device it is, measured when the run began; `None` in a record from before this was measured, and in a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<Medium>,
    /// Whether the file system has a journal, which makes waiting for the disk dearer; `None` where that is not known, and in a record from before it
    /// was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<bool>,
    /// Whether FICLONE works in it.
    pub reflink: Feature,
    /// Bytes free when the run began.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// The device under a store, by what reads from it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    /// What these times mean.
    pub class: MediumClass,
    /// Median of reads of 4 KiB at random places, past the page cache.
    pub random_read_ns: Option<u64>,
    /// Median of such reads one behind the other.
    pub sequential_read_ns: Option<u64>,
    /// How many reads of what; or why there were none.
    pub how: String,
    /// The modelled disk that it is, in words; `None` for a device of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Kinds of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MediumClass {
    /// It has a head that moves: a random read takes 2 ms or more, and four times as long as one behind the last.
    Spinning,
    /// A random read takes less than 1 ms.
    SolidState,
    /// Neither: a slow network, a busy device, or not measured.
    Unclear,
}

impl MediumClass {
    /// The class, by the medians of random and of sequential reads. A disk of 15,000 turns a minute waits 2 ms for half a turn, without any
    /// seek; a solid-state disk behind SATA needs a tenth of that.
    pub fn of(random_read_ns: u64, sequential_read_ns: u64) -> MediumClass {
        const MS: u64 = 1_000_000;
        match random_read_ns {
            random if random < MS => MediumClass::SolidState,
            random if random >= 2 * MS && random / 4 >= sequential_read_ns => MediumClass::Spinning,
            _ => MediumClass::Unclear,
        }
    }
}

impl std::fmt::Display for MediumClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MediumClass::Spinning => "spinning",
            MediumClass::SolidState => "solid-state",
            MediumClass::Unclear => "unclear",
        })
    }
}

/// When what a driver wrote is on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// A first write waits for its copy_up to be there, whoever asks.
    AtCopyUp,
    /// When a program asks, with fsync.
    WhenAsked,
    /// Not even then.
    Never,
}

/// A driver variant of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverInfo {
    /// Label of the variant, unique within the run.
    pub label: String,
    /// Name of the driver.
    pub driver: String,
    /// Options of the variant.
    pub options: Vec<String>,
    /// Label of the variant that it repeats under another name (A against A).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin_of: Option<String>,
    /// Version, or why it is not here.
    pub availability: Feature,
}

impl DriverInfo {
    /// When what it wrote is on the device. overlay syncs each copy_up, unless it is `volatile`: then it syncs nothing at all.
    pub fn waits(&self) -> Waits {
        let has = |option: &str| self.options.iter().any(|given| given == option);
        match self.driver.as_str() {
            "overlay2" | "fuse-overlayfs" if has("volatile") => Waits::Never,
            "overlay2" => Waits::AtCopyUp,
            "fuse-union" if has("fsync") || has("fsync=on") => Waits::AtCopyUp,
            _ => Waits::WhenAsked,
        }
    }
}

/// Whether threads of the kernel do part of a driver's work: that time is on no process's account, and not somebody else's either. aufs hands a
/// copy_up to a workqueue (its wkq.c).
pub fn uses_kernel_threads(driver: &str) -> bool {
    driver == "aufs"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_wait_for_the_disk_or_when_asked_or_never() {
        for (driver, options, waits) in [
            ("overlay2", &[][..], Waits::AtCopyUp),
            ("overlay2", &["index=off", "volatile"], Waits::Never),
            ("fuse-union", &[], Waits::WhenAsked),
            ("fuse-union", &["fsync=on"], Waits::AtCopyUp),
            ("fuse-union", &["volatile"], Waits::WhenAsked),
            ("fuse-overlayfs", &["volatile"], Waits::Never),
            ("aufs", &[], Waits::WhenAsked),
            ("bind", &[], Waits::WhenAsked),
        ] {
            let info = DriverInfo {
                label: "l".into(),
                driver: driver.into(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                twin_of: None,
                availability: Feature::default(),
            };
            assert_eq!(info.waits(), waits, "{driver} {options:?}");
        }
    }
}
