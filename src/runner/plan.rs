//! What will run, in which order, and what cannot: decided before anything is mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::driver;
use crate::host::{self, HostError};
use crate::record::{DriverInfo, Feature, Host, Privileges, StoreInfo};
use crate::stack::{self, FileTotals};
use crate::workload::{
    CacheState, Case, DriverVariant, Job, Params, ProbeName, Workload, case_id, count, expand, format_size, hint,
    shuffle,
};

use super::StackKey;
use super::store::{Store, StoreError};

/// Name of the driver that is the control.
pub const CONTROL: &str = "bind";

/// Whether a case can run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It will run.
    Ready,
    /// It will not.
    Skipped {
        /// Why.
        reason: String,
        /// How to get it.
        remedy: String,
    },
}

/// A case and whether it can run.
#[derive(Debug, Clone)]
pub struct PlannedCase {
    /// The case.
    pub case: Case,
    /// Whether it can run.
    pub readiness: Readiness,
}

/// Every case of a run, in the order of execution.
#[derive(Debug)]
pub struct Plan {
    /// The machine.
    pub host: Host,
    /// The stores.
    pub stores: Vec<StoreInfo>,
    /// The workloads as they will run here: with the drivers that were asked for, and a twin.
    pub workloads: Vec<Workload>,
    /// Driver variants, each once.
    pub drivers: Vec<DriverInfo>,
    /// The cases.
    pub cases: Vec<PlannedCase>,
    /// Seed of contents.
    pub seed: u64,
    /// Seed of the order.
    pub order_seed: u64,
    /// Bytes of the files of imported images, by store and name.
    image_bytes: BTreeMap<(String, String), u64>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Two stores with one label.
    #[error("two stores are labelled {0:?}: name them, as in --store ssd=/mnt/a --store hdd=/mnt/b")]
    SameLabel(String),
    /// Two workloads with one name.
    #[error("two workloads are named {0:?}: a run holds each name once")]
    SameWorkload(String),
    /// A label that means two things.
    #[error("driver label {label:?} stands for different options in two workloads: give one of them another `label`")]
    AmbiguousLabel {
        /// The label.
        label: String,
    },
    /// A driver that no workload has.
    #[error("--driver {name:?}: no workload of this run has it{hint} (drivers: {known})")]
    NoSuchDriver {
        /// What was asked for.
        name: String,
        /// The nearest name.
        hint: String,
        /// The names and labels there are.
        known: String,
    },
    /// A store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store cannot be described.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Plan {
    /// Plans workloads on stores (label and folder, which need not be there yet). `only` keeps driver variants by driver or
    /// label; `bind` is kept as well where a workload has it, since without the control there is nothing to compare with.
    pub fn new(
        workloads: &[Workload],
        stores: &[(String, PathBuf)],
        only: &[String],
        seed: u64,
        order_seed: u64,
    ) -> Result<Plan, PlanError> {
        let mut labels = BTreeSet::new();
        let mut infos = Vec::new();
        for (label, path) in stores {
            if !labels.insert(label.clone()) {
                return Err(PlanError::SameLabel(label.clone()));
            }
            // A plan alone makes nothing.
            infos.push(host::store_info_of(label, path)?);
        }
        let host = host::fingerprint();
        let workloads: Vec<Workload> =
            select(workloads, only)?.iter().map(|workload| with_twins(on_host(workload, &host), &host)).collect();
        let drivers = variants(&workloads, &host)?;
        let availability: BTreeMap<&str, &Feature> =
            drivers.iter().map(|info| (info.label.as_str(), &info.availability)).collect();
        let labels: Vec<String> = labels.into_iter().collect();
        let mut cases: Vec<Case> = workloads.iter().flat_map(|workload| expand(workload, &labels)).collect();
        shuffle(&mut cases, order_seed);
        let folders: BTreeMap<&str, &Path> =
            stores.iter().map(|(label, path)| (label.as_str(), path.as_path())).collect();
        // Opening an image takes a while, and many cases are about the same one.
        let mut images: BTreeMap<(String, &str), FileTotals> = BTreeMap::new();
        let cases = cases
            .into_iter()
            .map(|mut case| {
                if let Some(name) = case.params.stack {
                    let folder = folders.get(case.store.as_str()).copied().unwrap_or(Path::new(""));
                    // A store that is not there has no image, nor has one that cannot be listed.
                    case.params.depth = stack::depth_of_image(folder, name.as_str()).ok().flatten().unwrap_or(0);
                    // Of one that cannot be opened the case itself will say so.
                    let found = images.entry((case.store.clone(), name.as_str())).or_insert_with(|| {
                        stack::files_of_image(folder, name.as_str()).ok().flatten().unwrap_or_default()
                    });
                    if case.probe == ProbeName::Jobs {
                        (case.params.files, case.params.file_size_bytes) = (found.count, found.median_bytes);
                    }
                    let Case { workload, probe, driver, store, params, block, .. } = &case;
                    case.id = case_id(workload, *probe, &driver.label, store, params, *block);
                }
                let store = infos.iter().find(|info| info.label == case.store);
                let readiness = readiness(&case, availability.get(case.driver.label.as_str()).copied(), &host, store);
                PlannedCase { case, readiness }
            })
            .collect();
        let image_bytes =
            images.into_iter().map(|((store, name), files)| ((store, name.to_owned()), files.bytes)).collect();
        Ok(Plan { host, stores: infos, workloads, drivers, cases, seed, order_seed, image_bytes })
    }

    /// The cases of each block, one after the other.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[PlannedCase]> {
        self.cases.chunk_by(|a, b| a.case.block == b.case.block)
    }

    /// Looks for room for the stacks of ready cases, as far as they are not there yet, and the largest case's scratch. Returns whether there is room for
    /// another set of stacks, which a later block has.
    pub(super) fn check_space(&self, stores: &BTreeMap<String, Store>) -> Result<bool, StoreError> {
        let mut another = true;
        for (label, store) in stores {
            let mut seen = BTreeSet::new();
            let mut stacks = 0u64;
            let mut all = 0u64;
            let mut scratch = 0u64;
            for planned in self.cases.iter().filter(|p| p.case.store == *label && p.readiness == Readiness::Ready) {
                let p = &planned.case.params;
                let key = StackKey::of(&planned.case);
                if !seen.contains(&key) {
                    let definition = key.definition();
                    if p.stack.is_none() {
                        let bytes = definition.total_bytes();
                        all = all.saturating_add(bytes);
                        if !store.has_stack(&definition, self.seed) {
                            stacks = stacks.saturating_add(bytes);
                        }
                    }
                    seen.insert(key);
                }
                scratch = scratch.max(self.made_bytes(&planned.case));
            }
            let needed = stacks.saturating_add(scratch);
            store.check_space(needed)?;
            another &= store.check_space(needed.saturating_add(all)).is_ok();
        }
        Ok(another)
    }

    /// Page cache that the ready cases fill, in bytes: all stacks, and what the largest case makes, twice, since it is not gone at once.
    pub(super) fn memory_bytes(&self) -> u64 {
        let ready = || self.cases.iter().filter(|p| p.readiness == Readiness::Ready).map(|p| &p.case);
        let made = ready().map(|case| self.made_bytes(case).saturating_mul(u64::from(case.params.containers.max(1))));
        let images = self.image_bytes.values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        bytes_of(&ready().map(StackKey::of).collect())
            .saturating_add(images)
            .saturating_add(made.max().unwrap_or(0).saturating_mul(2))
    }

    /// Bytes that a container of a case makes: a volume is a copy of the target files, or of a whole image, and copy_up makes one of the files. A
    /// job on an image may copy all of it, and pack it as well.
    fn made_bytes(&self, case: &Case) -> u64 {
        let Params { stack, files, file_size_bytes, .. } = &case.params;
        let files = u64::from(*files).saturating_mul(*file_size_bytes);
        let Some(name) = stack else { return files };
        let image = self.image_bytes.get(&(case.store.clone(), name.as_str().to_owned())).copied().unwrap_or(0);
        match case.probe {
            ProbeName::Jobs => image.saturating_mul(3),
            _ => image.saturating_add(files),
        }
    }

    /// What `--dry-run` prints: every case, and what it would take.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut stacks = BTreeSet::new();
        for (index, planned) in self.cases.iter().enumerate() {
            let state = match &planned.readiness {
                Readiness::Ready => {
                    stacks.insert(StackKey::of(&planned.case));
                    String::new()
                }
                Readiness::Skipped { reason, .. } => format!("  skipped: {reason}"),
            };
            text.push_str(&format!("{:5}  {}{state}\n", index + 1, planned.case.id));
        }
        let ready = self.cases.iter().filter(|p| p.readiness == Readiness::Ready).count();
        let bytes = bytes_of(&stacks);
        text.push_str(&format!(
            "{}, {ready} to be measured and {} skipped, on {} of {:.1} MiB in all, built anew for each block (those of the first are kept, and found by the next run)\n",
            count(self.cases.len(), "case"),
            self.cases.len() - ready,
            count(stacks.len(), "stack"),
            bytes as f64 / (1 << 20) as f64
        ));
        text
    }
}

/// Bytes of the files of stacks, imported ones left out.
fn bytes_of(stacks: &BTreeSet<StackKey>) -> u64 {
    stacks
        .iter()
        .filter(|key| key.stack.is_none())
        .fold(0, |sum: u64, key| sum.saturating_add(key.definition().total_bytes()))
}

/// Workloads reduced to the drivers asked for.
fn select(workloads: &[Workload], only: &[String]) -> Result<Vec<Workload>, PlanError> {
    let mut names = BTreeSet::new();
    for workload in workloads {
        if !names.insert(&workload.name) {
            return Err(PlanError::SameWorkload(workload.name.clone()));
        }
    }
    let known: BTreeSet<&str> =
        workloads.iter().flat_map(|w| w.drivers.iter().flat_map(|d| [d.driver.as_str(), d.label.as_str()])).collect();
    let words: Vec<&str> = known.iter().copied().collect();
    if let Some(name) = only.iter().find(|name| !known.contains(name.as_str())) {
        return Err(PlanError::NoSuchDriver { name: name.clone(), hint: hint(name, &words), known: words.join(", ") });
    }
    let mut selected = workloads.to_vec();
    if !only.is_empty() {
        for workload in &mut selected {
            workload
                .drivers
                .retain(|d| d.driver == CONTROL || only.iter().any(|name| *name == d.driver || *name == d.label));
        }
    }
    Ok(selected)
}

/// A workload as this host can measure it: variants that the host turns into others have their names, also as twins. What becomes one that the
/// workload has already is left out.
fn on_host(workload: &Workload, host: &Host) -> Workload {
    let mut here = workload.clone();
    here.drivers.retain_mut(|variant| {
        let Ok(driver) = driver::by_name(&variant.driver) else { return true };
        let made = driver.variant_on(host, variant);
        let is_there = |other: &&DriverVariant| other.driver == made.driver && other.options == made.options;
        let there = workload.drivers.iter().find(is_there).filter(|_| made != *variant);
        let twin = here.twins.iter_mut().find(|label| **label == variant.label);
        if let Some(label) = twin {
            label.clone_from(&there.unwrap_or(&made).label);
        }
        *variant = made;
        there.is_none()
    });
    here
}

/// The workload with some variants twice: those that it names and that are available; without any, the first that is and is not the control, else the
/// control.
fn with_twins(mut workload: Workload, host: &Host) -> Workload {
    let available = |variant: &&DriverVariant| {
        driver::by_name(&variant.driver).is_ok_and(|d| d.availability_with(&variant.options, host).is_available())
    };
    let here = || workload.drivers.iter().filter(available);
    let mut chosen: Vec<_> = here().filter(|variant| workload.twins.contains(&variant.label)).collect();
    if chosen.is_empty() {
        chosen.extend(here().find(|variant| variant.driver != CONTROL).or_else(|| here().next()));
    }
    let twins: Vec<DriverVariant> = chosen.into_iter().map(DriverVariant::twin).collect();
    workload.twins = twins.iter().filter_map(|twin| twin.twin_of.clone()).collect();
    workload.drivers.extend(twins);
    workload
}

/// Driver variants of all workloads, each label once, with availability.
fn variants(workloads: &[Workload], host: &Host) -> Result<Vec<DriverInfo>, PlanError> {
    let mut infos: Vec<DriverInfo> = Vec::new();
    for variant in workloads.iter().flat_map(|w| &w.drivers) {
        match infos.iter().find(|info| info.label == variant.label) {
            Some(info) if info.driver == variant.driver && info.options == variant.options => {}
            Some(_) => return Err(PlanError::AmbiguousLabel { label: variant.label.clone() }),
            None => {
                let availability = match driver::by_name(&variant.driver) {
                    Ok(driver) => driver.availability_with(&variant.options, host),
                    // The workload's parser knows the same names.
                    Err(e) => Feature::missing(e.to_string(), "correct the workload"),
                };
                infos.push(DriverInfo {
                    label: variant.label.clone(),
                    driver: variant.driver.clone(),
                    options: variant.options.clone(),
                    twin_of: variant.twin_of.clone(),
                    availability,
                });
            }
        }
    }
    Ok(infos)
}

/// File systems that have nothing but the page cache.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];

fn readiness(case: &Case, availability: Option<&Feature>, host: &Host, store: Option<&StoreInfo>) -> Readiness {
    let skipped = |reason: String, remedy: &str| Readiness::Skipped { reason, remedy: remedy.to_owned() };
    if let Some(Feature::Missing { reason, remedy }) = availability {
        return skipped(reason.clone(), remedy);
    }
    if let Some(name) = case.params.stack {
        let name = name.as_str();
        if case.params.depth == 0 {
            let remedy = format!("layerbench stack import SOURCE --name {name} --store with that store's folder");
            return skipped(format!("the store {} has no image {name}", case.store), &remedy);
        }
        if case.params.target_layer > case.params.depth {
            let reason =
                format!("{name} has {}, and no layer {}", count(case.params.depth, "layer"), case.params.target_layer);
            return skipped(reason, "give a smaller target_layer");
        }
    }
    let depth_max = driver::by_name(&case.driver.driver).map(|driver| driver.depth_max()).unwrap_or(0);
    if case.params.depth > depth_max {
        return skipped(
            format!("{} stacks at most {depth_max} layers, the case has {}", case.driver.driver, case.params.depth),
            "use a smaller depth with this driver",
        );
    }
    if case.params.job == Some(Job::Chown) && host.privileges != Privileges::Root {
        return skipped("chown to another user is for root alone".to_owned(), "run as root, or leave out that job");
    }
    if case.params.cache == CacheState::Cold
        && case.probe != ProbeName::PageCache
        && let Feature::Missing { reason, remedy } = &host.capabilities.drop_caches
    {
        return skipped(format!("cold caches: {reason}"), remedy);
    }
    if case.params.cache == CacheState::Cold
        && let Some(store) = store.filter(|store| IN_MEMORY.contains(&store.fs_type.as_str()))
    {
        let reason = format!("cold caches: {} is the page cache itself, and has no device to read from", store.fs_type);
        return skipped(reason, "--store with a folder on a disk");
    }
    Readiness::Ready
}

/// Bytes as people read them, for messages.
pub(super) fn human(bytes: u64) -> String {
    if bytes < 10 << 20 { format_size(bytes) } else { format!("{} MiB", bytes >> 20) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Registry;
    use crate::workload::{Scale, parse};

    const TEXT: &str = r#"
title = "t"
why = "w"
twin = ["overlay2", "fuse-union"]
[[driver]]
use = "bind"
[[driver]]
use = "overlay2"
[[driver]]
use = "fuse-union"
[[measure]]
probe = "jobs"
why = "w"
depth = 1
file_size = "4 KiB"
files = 1
job = ["tar", "chown"]
"#;

    fn host() -> Host {
        let mut host = crate::host::fingerprint();
        host.privileges = Privileges::UserNamespace;
        host.capabilities.fuse = Feature::available("/dev/fuse");
        host.capabilities.mount_api = Feature::available("fsopen");
        host.capabilities.fuse_passthrough = Feature::missing("refused", "be root");
        host
    }

    #[test]
    fn a_variant_that_the_host_renames_keeps_its_twin() {
        let host = host();
        let workload = parse("t", "t.toml", TEXT, Scale::Real, &Registry).unwrap();
        let here = with_twins(on_host(&workload, &host), &host);
        let twins: Vec<_> = here.drivers.iter().filter_map(|variant| variant.twin_of.as_deref()).collect();
        assert!(twins.contains(&"fuse-union (no passthrough)"), "{twins:?}");
        // Where the workload has that variant already, it is the one that is there twice.
        let both = TEXT.replace(
            "[[measure]]",
            "[[driver]]\nuse = \"fuse-union\"\noptions = [\"passthrough=off\"]\nlabel = \"served\"\n[[measure]]",
        );
        let workload = parse("t", "t.toml", &both, Scale::Real, &Registry).unwrap();
        let here = with_twins(on_host(&workload, &host), &host);
        let of_union: Vec<_> = here.drivers.iter().filter(|variant| variant.driver == "fuse-union").collect();
        let labels: Vec<_> = of_union.iter().map(|variant| variant.label.as_str()).collect();
        assert_eq!(labels, ["served", "served (twin)"]);
    }

    #[test]
    fn what_root_alone_may_do_is_skipped_by_the_plan() {
        let mut host = host();
        let workload = parse("t", "t.toml", TEXT, Scale::Real, &Registry).unwrap();
        let cases = crate::workload::expand(&workload, &["store".into()]);
        let skipped = |host: &Host| {
            let skipped = |case: &&Case| readiness(case, None, host, None) != Readiness::Ready;
            cases.iter().filter(skipped).map(|case| case.params.job).collect::<BTreeSet<_>>()
        };
        assert_eq!(skipped(&host), BTreeSet::from([Some(Job::Chown)]));
        host.privileges = Privileges::Root;
        assert_eq!(skipped(&host), BTreeSet::new());
    }
}
