//! Runs workloads: plans cases, builds the stacks they need, runs each case in a child process of its own, and records how it ended.
//!
//! The only caller is the command line. `runner` knows drivers and probes by their traits alone.

mod case;
mod child;
mod instrument;
mod memory;
mod meter;
mod plan;
mod standing;
mod steps;
mod store;

pub use case::{CaseJob, CaseResult, run_job};
pub use instrument::{Setup, can_keep_awake};
pub use plan::{CONTROL, Plan, PlanError, PlannedCase, Readiness};
pub use standing::{Standing, end_in_order, on_signal, take_signals};
pub use store::{Keep, Leftovers, Store, StoreError, clean};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::medium;
use crate::record::{
    CaseRecord, Feature, Instrument, Outcome, RecordError, Run, RunManifest, RunWriter, SCHEMA_VERSION, StoreInfo,
};
use crate::stack::{self, LayerStack, StackDefinition};
use crate::workload::{Case, Interned, ProbeName, count};

/// How long a case may take, set-up and verification included, before it is killed and recorded as failed.
const CASE_LIMIT: Duration = Duration::from_secs(600);

/// How often a disturbed case is repeated.
const REPEATS_MAX: u32 = 2;
/// The same of one that has no figure at all, because its caches did not stay as asked: somebody dropped them, or the kernel did.
const REPEATS_WITHOUT_FIGURE_MAX: u32 = 5;
/// Of how many cases of a block one may be repeated, at most: on a machine that is never quiet the others are marked and left at that, in each block
/// alike.
const REPEATED_SHARE: usize = 10;

/// What a run is asked to do.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Folder of all results.
    pub results: &'a Path,
    /// Whether smoke values were used.
    pub smoke: bool,
    /// Whether the machine is prepared: processors kept awake and divided, memory fetched in advance.
    pub prepare: bool,
    /// The command line, for the record.
    pub command: Vec<String>,
    /// This program, which the cases run.
    pub layerbench: PathBuf,
    /// Where the run says how far it is.
    pub standing: &'a Standing,
}

/// What the person who waits is told.
pub trait Progress {
    /// A stack is about to be built: how many are done, of how many, and which.
    fn stack(&self, done: usize, of: usize, what: &str);
    /// Processors may sleep while it is measured, since this is missing.
    fn asleep(&self, awake: &Feature);
    /// Memory is about to be fetched, so many bytes.
    fn memory(&self, bytes: u64);
    /// A case is about to run.
    fn begin(&self, done: usize, of: usize, planned: &PlannedCase);
    /// A case ended.
    fn end(&self, done: usize, of: usize, record: &CaseRecord);
}

/// How a run ended.
#[derive(Debug, Default, Clone)]
pub struct RunSummary {
    /// The run's folder.
    pub folder: PathBuf,
    /// Cases measured.
    pub measured: usize,
    /// Cases of drivers that are not the control, and how many of them were measured.
    compared: (usize, usize),
    /// Errors, with the ids of the cases that failed with them.
    pub failed: BTreeMap<String, Vec<String>>,
    /// Drivers or cases skipped: reason and remedy, with the number of cases.
    pub skipped: BTreeMap<(String, String), usize>,
    /// Attempts that were disturbed and repeated.
    pub repeated: usize,
    /// Cases whose last attempt was disturbed as well: they are marked.
    pub disturbed: usize,
    /// Time spent building stacks.
    pub building: Duration,
    /// Time spent in cases.
    pub measuring: Duration,
}

impl RunSummary {
    /// The same of a run that was recorded, but for times.
    pub fn of(run: &Run) -> RunSummary {
        let mut summary = RunSummary { folder: run.folder.clone(), ..RunSummary::default() };
        run.last_attempts().for_each(|record| summary.count(record));
        summary
    }

    /// Whether other drivers than the control were asked for, and none was measured.
    pub fn is_control_alone(&self) -> bool {
        matches!(self.compared, (1.., 0))
    }

    fn count(&mut self, record: &CaseRecord) {
        if record.case.driver.driver != CONTROL {
            self.compared.0 += 1;
            self.compared.1 += usize::from(matches!(record.outcome, Outcome::Measured { .. }));
        }
        match &record.outcome {
            Outcome::Measured { .. } => self.measured += 1,
            Outcome::Failed { error } => self.failed.entry(error.clone()).or_default().push(record.case.id.clone()),
            Outcome::Skipped { reason, remedy } => {
                *self.skipped.entry((reason.clone(), remedy.clone())).or_default() += 1;
            }
        }
    }
}

/// What stops a whole run, before or between cases.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The results.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The lock between runs on one machine.
    #[error("lock {path}, so that no two runs measure at the same time: {errno}", path = path.display())]
    Turn {
        /// What is locked.
        path: PathBuf,
        /// The errno.
        errno: std::io::Error,
    },
}

/// A store with what its device costs, which a plan does not find out.
fn measured(store: &StoreInfo) -> StoreInfo {
    StoreInfo { medium: Some(medium::medium_of(store)), ..store.clone() }
}

/// Runs a plan. Only what concerns the whole run is an error; a case that goes wrong is a record.
pub fn run(request: &RunRequest, progress: &dyn Progress) -> Result<RunSummary, RunError> {
    let plan = request.plan;
    let mut stores = BTreeMap::new();
    for info in &plan.stores {
        stores.insert(info.label.clone(), Store::lock(Path::new(&info.path))?);
    }
    let has_room = plan.check_space(&stores)?;
    let stacks_each_block = has_room && !request.smoke;
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let roots = stores.values().map(|store| store.root().to_owned()).collect();
    let (name, folder) = request
        .standing
        .begin(plan.cases.len(), roots, || RunWriter::reserve(request.results, now.get(..10).unwrap_or(&now)))?;
    let mut setup = Setup::new(request.prepare);
    if request.prepare && !request.smoke {
        if !setup.instrument.awake.is_available() {
            progress.asleep(&setup.instrument.awake);
        }
        if plan.cases.iter().any(|planned| planned.readiness == Readiness::Ready) {
            setup.have_memory(plan.memory_bytes(), |bytes| progress.memory(bytes));
        }
    }
    let manifest = RunManifest {
        schema_version: SCHEMA_VERSION,
        run: name,
        layerbench_version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("LAYERBENCH_COMMIT").map(str::to_owned),
        started: now,
        command: request.command.clone(),
        seed: plan.seed,
        order_seed: Some(plan.order_seed),
        stacks_each_block,
        smoke: request.smoke,
        workloads: plan.workloads.clone(),
        host: plan.host.clone(),
        guest: None,
        instrument: Some(setup.instrument.clone()),
        stores: plan.stores.iter().map(measured).collect(),
        drivers: plan.drivers.clone(),
        planned_cases: u32::try_from(plan.cases.len()).unwrap_or(u32::MAX),
    };
    let mut writer = RunWriter::create(&folder, &manifest).inspect_err(|_| {
        // Without its manifest it is no run, and the name is free for the next one. What went wrong is said.
        std::fs::remove_dir_all(&folder).ok();
    })?;
    let _tidy = Tidy(&stores);
    let mut summary = RunSummary { folder, ..RunSummary::default() };

    let start = Instant::now();
    let mut places: Places = stores.iter().map(|(label, store)| (label.as_str(), store.root().to_owned())).collect();
    let mut stacks = BTreeMap::new();
    let mut index = 0;
    for (position, block) in plan.blocks().enumerate() {
        if position == 0 || stacks_each_block {
            let building = Instant::now();
            if let Some(first) = block.first().filter(|_| position > 0) {
                for (label, place) in &mut places {
                    let Some(store) = stores.get(*label) else { continue };
                    if *place != store.root() {
                        store.retire_scratch(place, None)?;
                    }
                    *place = store.of_block(first.case.block);
                }
            }
            // Those of the first block stay for other runs, and what is left of other runs is used.
            let keys = if stacks_each_block { keys_of(block) } else { keys_of(&plan.cases) };
            stacks = build_stacks(keys, plan.seed, &places, &stores, progress);
            summary.building += building.elapsed();
        }
        if position > 0 && setup.memory_is_away() {
            setup.have_memory(plan.memory_bytes(), |bytes| progress.memory(bytes));
        }
        let runs = Runs { request, stores: &stores, places: &places, stacks: &stacks, instrument: &setup.instrument };
        let mut repeats_left = block.len() / REPEATED_SHARE;
        for planned in block {
            runs.to_the_end(index, planned, start, &mut writer, &mut repeats_left, (&mut summary, progress))?;
            index += 1;
        }
    }
    for store in stores.values() {
        store.remove_all_scratch()?;
    }
    summary.measuring = start.elapsed().saturating_sub(summary.building);
    Ok(summary)
}

/// Takes the scratch of a run away when it ends in the middle: with an error.
struct Tidy<'a>(&'a BTreeMap<String, Store>);

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        for store in self.0.values() {
            // Why the run ended is said. What is left even so, whoever locks the store next takes away.
            store.remove_all_scratch().ok();
        }
    }
}

/// Waits until no other layerbench of this machine runs a case, and keeps it so until dropped: two that measure at the same time measure
/// each other, and one that drops the caches drops everybody's. What is locked is a folder of the kernel that all users can open.
fn take_turn() -> Result<File, RunError> {
    let path = Path::new("/proc/sys/vm");
    let lock = |errno| RunError::Turn { path: path.to_owned(), errno };
    let folder = File::open(path).map_err(lock)?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).map_err(|e| lock(e.into()))?;
    Ok(folder)
}

/// Where the stacks of a block lie, by label of the store.
type Places<'a> = BTreeMap<&'a str, PathBuf>;

/// What every case of a block needs.
struct Runs<'a> {
    request: &'a RunRequest<'a>,
    stores: &'a BTreeMap<String, Store>,
    places: &'a Places<'a>,
    stacks: &'a BTreeMap<StackKey, Result<PathBuf, String>>,
    instrument: &'a Instrument,
}

impl Runs<'_> {
    /// Runs a case, again while it is disturbed and may be repeated, and records all of it.
    fn to_the_end(
        &self,
        index: usize,
        planned: &PlannedCase,
        start: Instant,
        writer: &mut RunWriter,
        repeats_left: &mut usize,
        (summary, progress): (&mut RunSummary, &dyn Progress),
    ) -> Result<(), RunError> {
        let (plan, standing) = (self.request.plan, self.request.standing);
        progress.begin(index, plan.cases.len(), planned);
        let mut attempt = 1;
        loop {
            let _turn = take_turn()?;
            let begun = Instant::now();
            let CaseResult { outcome, conditions } = self.case(index, planned, attempt)?;
            let disturbed = conditions.as_ref().is_some_and(|c| !c.disturbed.is_empty());
            // A case whose caches did not stay as asked has no figure at all: it is worth another attempt on any machine.
            let nothing = matches!(outcome, Outcome::Failed { .. });
            let more = if nothing {
                attempt <= REPEATS_WITHOUT_FIGURE_MAX
            } else {
                attempt <= REPEATS_MAX && *repeats_left > 0
            };
            let superseded = disturbed && more;
            let record = CaseRecord {
                case: planned.case.clone(),
                order: u32::try_from(index + 1).unwrap_or(u32::MAX),
                started_ms: millis(begun.duration_since(start)),
                elapsed_ms: millis(begun.elapsed()),
                attempt,
                superseded,
                conditions,
                outcome,
            };
            standing.record(!superseded, || writer.append(&record))?;
            if !superseded {
                summary.disturbed += usize::from(disturbed);
                summary.count(&record);
                progress.end(index + 1, plan.cases.len(), &record);
                return Ok(());
            }
            attempt += 1;
            *repeats_left = repeats_left.saturating_sub(1);
            summary.repeated += 1;
        }
    }

    /// Runs a case once. Only what concerns the whole run is an error.
    fn case(&self, index: usize, planned: &PlannedCase, attempt: u32) -> Result<CaseResult, RunError> {
        let case = &planned.case;
        let failed = |error: String| Ok(Outcome::Failed { error }.into());
        if let Readiness::Skipped { reason, remedy } = &planned.readiness {
            return Ok(Outcome::Skipped { reason: reason.clone(), remedy: remedy.clone() }.into());
        }
        let Some(stack) = self.stacks.get(&StackKey::of(case)) else {
            return failed("the case's stack was never built".into());
        };
        let stack = match stack {
            Ok(stack) => stack.clone(),
            Err(error) => return failed(error.clone()),
        };
        let Some(store) = self.stores.get(&case.store) else {
            return failed(format!("no store is labelled {:?}", case.store));
        };
        let job = CaseJob {
            case: case.clone(),
            stack,
            stores: self.places.get(&*case.store).into_iter().cloned().chain([store.root().to_owned()]).collect(),
            scratch: store.scratch(index, attempt),
            privileges: self.request.plan.host.privileges,
            layerbench: self.request.layerbench.clone(),
            probe_cpu: self.instrument.probe_cpu,
            daemon_cpus: self.instrument.daemon_cpus.clone(),
            memory: self.instrument.memory,
            seed: self.request.plan.seed,
        };
        let mut result = child::run(&job, CASE_LIMIT, self.request.standing);
        self.request.standing.ended();
        if let Outcome::Failed { error } = &mut result.outcome {
            // Nobody will find it, and without its name what is one error for many cases is one text.
            *error = error.replace(&*job.scratch.to_string_lossy(), "$SCRATCH");
        }
        store.retire_scratch(&job.scratch, self.places.get(&*case.store).map(PathBuf::as_path))?;
        Ok(result)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a stack depends on besides the seed, and the store it lies in: cases of one key share a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct StackKey {
    store: String,
    depth: u32,
    target_layer: u32,
    files: u32,
    file_size_bytes: u64,
    directories: u32,
    xattrs: u32,
    atlas: bool,
    programs: bool,
    tree: bool,
    stack: Option<Interned>,
}

impl StackKey {
    fn of(case: &Case) -> StackKey {
        let p = &case.params;
        StackKey {
            store: case.store.clone(),
            depth: p.depth,
            target_layer: p.target_layer,
            files: p.files,
            file_size_bytes: p.file_size_bytes,
            directories: p.directories,
            xattrs: p.xattrs,
            // Its directories grow with depth: other probes are spared them.
            atlas: case.probe == ProbeName::Lookup,
            programs: case.probe == ProbeName::Start,
            tree: case.probe == ProbeName::Jobs,
            stack: p.stack,
        }
    }

    fn definition(&self) -> StackDefinition {
        if self.tree {
            return StackDefinition::tree(self.depth, self.files, self.file_size_bytes);
        }
        let study = StackDefinition::study(self.depth, self.target_layer, self.files, self.file_size_bytes)
            .with_targets(self.directories, self.xattrs);
        let study = if self.programs { study.with_programs() } else { study };
        if self.atlas { study.with_atlas(self.target_layer, self.files) } else { study }
    }
}

/// The stacks that the ready ones of these cases need.
fn keys_of(cases: &[PlannedCase]) -> BTreeSet<StackKey> {
    cases.iter().filter(|p| p.readiness == Readiness::Ready).map(|planned| StackKey::of(&planned.case)).collect()
}

/// Builds, or finds in its place, every one of these stacks. A stack that cannot be built fails its cases and no others.
fn build_stacks(
    needed: BTreeSet<StackKey>,
    seed: u64,
    places: &Places,
    stores: &BTreeMap<String, Store>,
    progress: &dyn Progress,
) -> BTreeMap<StackKey, Result<PathBuf, String>> {
    let total = needed.len();
    let mut stacks = BTreeMap::new();
    for (done, key) in needed.into_iter().enumerate() {
        if let (Some(name), Some(store)) = (key.stack, stores.get(&key.store)) {
            let name = name.as_str();
            let found = stack::named(store.root(), name).map_err(|e| format!("find the image {name}: {e}"));
            let found = found.and_then(|found| found.ok_or_else(|| format!("no image {name} in {}", key.store)));
            stacks.insert(key, found);
            continue;
        }
        let what = format!(
            "{}, {} of {} in layer {}{}, in {}",
            count(key.depth, "layer"),
            count(key.files, "file"),
            crate::workload::format_size(key.file_size_bytes),
            key.target_layer,
            match (key.atlas, key.tree) {
                (true, _) => ", directories to look up",
                (_, true) => ", a tree over all layers",
                _ => "",
            },
            key.store
        );
        progress.stack(done, total, &what);
        let built = match places.get(&*key.store) {
            None => Err(format!("no store is labelled {:?}", key.store)),
            Some(place) => LayerStack::ensure(place, &key.definition(), seed, &|_| ())
                .map(|stack| stack.root().to_owned())
                .map_err(|e| format!("build a stack of {what}: {e}")),
        };
        stacks.insert(key, built);
    }
    stacks
}
