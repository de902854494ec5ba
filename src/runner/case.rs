//! The child's side of a case: a private mount namespace, fresh containers, the probe's three steps, and an outcome.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::instrument::confine;
use super::meter::Meter;
use super::steps;
use crate::driver::{self, Driver, MountRequest};
use crate::probe::{self, Container, ProbeError, Trial};
use crate::record::{Conditions, FetchedMemory, Observation, Outcome, Privileges, metric, uses_kernel_threads};
use crate::stack::{FileFact, LayerForm, LayerStack, Selection, Targets};
use crate::sys;
use crate::workload::{CacheState, Case, ProbeName};

/// What the parent asks of the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseJob {
    /// The case.
    pub case: Case,
    /// Root of its stack.
    pub stack: PathBuf,
    /// Where its stack lies and where its scratch: what paths of mount options begin with.
    pub stores: Vec<PathBuf>,
    /// Folder for uppers and mount points: made here, removed by the parent.
    pub scratch: PathBuf,
    /// Who runs.
    pub privileges: Privileges,
    /// The program that serves FUSE mounts.
    pub layerbench: PathBuf,
    /// The CPU for the probe; `None`: any.
    pub probe_cpu: Option<u32>,
    /// The CPUs for daemons; none: any.
    pub daemon_cpus: Vec<u32>,
    /// Memory that was at hand when the run began; `None` where none was asked for.
    pub memory: Option<FetchedMemory>,
    /// Seed of the run: it draws the files of an imported image.
    pub seed: u64,
}

impl CaseJob {
    fn request<'a>(
        &'a self,
        lower: &'a [PathBuf],
        container: &'a Container,
        work: &'a Path,
        options: &'a [String],
    ) -> MountRequest<'a> {
        let Container { upper, merged } = container;
        MountRequest { lower, upper, work, merged, options, layerbench: &self.layerbench }
    }
}

/// What the child answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseResult {
    /// What happened.
    pub outcome: Outcome,
    /// The machine meanwhile; `None` where nothing was measured.
    pub conditions: Option<Conditions>,
}

impl From<Outcome> for CaseResult {
    fn from(outcome: Outcome) -> CaseResult {
        CaseResult { outcome, conditions: None }
    }
}

/// Runs a job to its outcome. The process must have one thread: it enters namespaces of its own.
pub fn run_job(job: &CaseJob) -> CaseResult {
    match try_run(job) {
        Ok(result) => result,
        Err(e) => match e.downcast_ref::<ProbeError>() {
            Some(ProbeError::Unavailable { reason, remedy }) => {
                Outcome::Skipped { reason: reason.clone(), remedy: remedy.clone() }.into()
            }
            // Something else on the machine has been at the caches: worth another attempt.
            Some(ProbeError::Caches(_)) => CaseResult {
                outcome: Outcome::Failed { error: format!("{e:#}") },
                conditions: Some(Conditions { disturbed: vec![format!("{e:#}")], ..Conditions::default() }),
            },
            _ => Outcome::Failed { error: format!("{e:#}") }.into(),
        },
    }
}

fn try_run(job: &CaseJob) -> anyhow::Result<CaseResult> {
    sys::namespace::enter_private(job.privileges == Privileges::Root)
        .map_err(|e| anyhow::anyhow!("enter a private mount namespace: {e}"))?;
    let case = &job.case;
    let driver = driver::by_name(&case.driver.driver)?;
    let stack = LayerStack::open(&job.stack)?;
    let (targets, selected) = targets(job, &stack)?;
    let lower = stack.lowers(driver.layer_form())?;
    let places = Places::create(job, driver, &stack)?;
    // What earlier cases left dirty must not be written back during this one.
    rustix::fs::syncfs(fs::File::open(&job.scratch)?)?;

    let mut trial = Trial {
        stack: &stack,
        lower: &lower,
        targets: &targets,
        containers: &places.containers,
        volume: places.volume.as_deref(),
        params: &case.params,
        privileges: job.privileges,
        daemons: Vec::new(),
        mount_ns: Vec::new(),
        notes: selected.into_iter().collect(),
    };
    // Daemons inherit where they may run. Many processes have every processor, and so have the daemons then.
    let alone = case.params.processes == 1;
    let apart = alone && !driver.answers_beside_callers(&case.driver.options);
    let daemon_cpus = if apart { &job.daemon_cpus[..] } else { &[] };
    confine(daemon_cpus).map_err(|e| anyhow::anyhow!("confine daemons to CPUs {daemon_cpus:?}: {e}"))?;
    let probe = probe::by_name(case.probe);
    if probe.rehearses(&case.params) {
        let (container, work) = container(&job.scratch.join("rehearsal"), places.volume.as_deref())?;
        let mount = driver.mount(&job.request(&lower, &container, &work, &case.driver.options))?;
        probe.rehearse(&trial, &container)?;
        mount.unmount()?;
    }
    // After the rehearsal: one that takes long gives the kernel time to reclaim what nobody looks at.
    trial.warm_layers()?;
    let counters = job.scratch.join("counters.json");
    let mut counted = case.driver.options.clone();
    counted.extend(driver.counters_option(&counters));
    let mut mounts = Vec::new();
    for (container, work) in places.containers.iter().zip(&places.works) {
        // One container's counters say where the time of a copy_up goes; the others only would write over them.
        let options = if mounts.is_empty() { &counted } else { &case.driver.options };
        let request = job.request(&lower, container, work, options);
        let (ns, mounted) = probe::timed(|| driver.attach(&request));
        let mut mount = mounted?;
        trial.mount_ns.push(ns);
        driver.inspect(&request, &mut mount)?;
        if let Some(deviation) = mount.deviation() {
            let (reason, remedy) = (deviation.reason.clone(), deviation.remedy.clone());
            return Ok(Outcome::Skipped { reason, remedy }.into());
        }
        mounts.push(mount);
    }
    let options = mounts.first().map(|mount| mount.options().to_owned()).unwrap_or_default();

    let cpus: Vec<u32> = job.probe_cpu.filter(|_| alone).into_iter().collect();
    confine(&cpus).map_err(|e| anyhow::anyhow!("confine the probe to CPUs {cpus:?}: {e}"))?;
    trial.daemons = mounts.iter().filter_map(driver::Mount::daemon_pid).collect();

    probe.prepare(&mut trial)?;
    probe.settle(&mut trial)?;
    let meter = Meter::begin(trial.daemons.clone(), uses_kernel_threads(&case.driver.driver), job.memory)
        .map_err(|e| anyhow::anyhow!("read the machine's counters: {e}"))?;
    let mut observations = probe.measure(&mut trial)?;
    let conditions = meter.end().map_err(|e| anyhow::anyhow!("read the machine's counters: {e}"))?;
    check_caches(case, &conditions)?;
    probe.verify(&mut trial)?;
    let mut notes = std::mem::take(&mut trial.notes);
    let mut unmount_ns = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let (ns, unmounted) = probe::timed(|| mount.unmount());
        unmount_ns.push(ns);
        // What was measured has been verified: what goes wrong afterwards is worth a note.
        if let Err(e) = unmounted {
            notes.push(format!("after the measurement: {e}"));
        }
    }
    if case.probe == ProbeName::Start {
        observations.push(Observation::new(metric::UNMOUNT_NS, unmount_ns));
        if let Some(bytes) = conditions.daemon_resident_bytes {
            observations
                .push(Observation::new(metric::DAEMON_BYTES, vec![bytes / u64::from(case.params.containers.max(1))]));
        }
    }
    if case.probe == ProbeName::CopyUp {
        observations.extend(steps::read(&counters));
    }
    let outcome = Outcome::Measured { mount_options: hide_stores(&options, &job.stores), observations, notes };
    Ok(CaseResult { outcome, conditions: Some(conditions) })
}

/// What a case operates on, and a note on what was chosen where there was a choice.
fn targets(job: &CaseJob, stack: &LayerStack) -> Result<(Targets, Option<String>), ProbeError> {
    let params = &job.case.params;
    let Some(name) = params.stack else { return Ok((stack.targets(), None)) };
    if let Some(program) = params.program {
        let called = program.as_str().split(' ').next().unwrap_or_default();
        let (called, file) = probe::program_of(stack, called)?;
        let note = format!("{} of the image is {}", called.display(), file.display());
        return Ok((Targets { hits: vec![file], ..Targets::default() }, Some(note)));
    }
    if job.case.probe == ProbeName::Jobs {
        let targets = stack.everything();
        if targets.hits.is_empty() {
            let reason = format!("{} has no files", name.as_str());
            return Err(ProbeError::Unavailable { reason, remedy: "another image".into() });
        }
        let note = all(stack, &targets);
        return Ok((targets, Some(note)));
    }
    let targets = stack.select(&Selection {
        seed: job.seed,
        files: params.files,
        // A look-up does not care how long a file is.
        size_bytes: (job.case.probe != ProbeName::Lookup).then_some(params.file_size_bytes),
        layer: (params.target_layer > 0).then_some(params.target_layer),
    });
    if targets.hits.len() < FILES_MIN {
        let reason = format!("{} has {} such files below any one folder", name.as_str(), targets.hits.len());
        return Err(ProbeError::Unavailable { reason, remedy: "another file_size, or another target_layer".into() });
    }
    let note = selected(stack, &targets);
    Ok((targets, Some(note)))
}

/// Fewest files of an image that make a case: one sample has no spread.
const FILES_MIN: usize = 2;

/// What a whole image is, in a sentence.
fn all(stack: &LayerStack, targets: &Targets) -> String {
    let bytes: u64 = targets.hits.iter().filter_map(|name| stack.file(name)).map(|fact| fact.size_bytes).sum();
    let Targets { hits, listed, unseen, .. } = targets;
    format!(
        "the whole image: {} files of {bytes} bytes together, {} folders, {} links and special files",
        hits.len(),
        listed.len(),
        unseen.len()
    )
}

/// Which files of an image were measured, in a sentence.
fn selected(stack: &LayerStack, targets: &Targets) -> String {
    let facts: Vec<_> = targets.hits.iter().filter_map(|name| stack.file(name)).collect();
    let range = |of: fn(&FileFact) -> u64| {
        let (least, most) = (facts.iter().map(of).min().unwrap_or(0), facts.iter().map(of).max().unwrap_or(0));
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    };
    let first = targets.hits.first().map(|name| name.display().to_string()).unwrap_or_default();
    let (sizes, layers) = (range(|fact| fact.size_bytes), range(|fact| u64::from(fact.layer)));
    format!("{} files of the image, of {sizes} bytes, in layer {layers}; the first is {first}", facts.len())
}

/// Were the caches what the case says? What the device was asked for tells, whatever anybody believes. That the data was resident, or
/// not, was checked before the first sample.
fn check_caches(case: &Case, conditions: &Conditions) -> Result<(), ProbeError> {
    let read = conditions.read_bytes;
    let cold = case.params.cache == CacheState::Cold;
    let makes_nothing = matches!(case.probe, ProbeName::Lookup | ProbeName::Read);
    if cold && read == 0 {
        return Err(ProbeError::Caches("cold caches were asked for, but nothing was read from the device".into()));
    }
    let measured = u64::from(case.params.files) * case.params.file_size_bytes;
    if !cold && read > Conditions::metadata_bytes(case) && (makes_nothing || read > measured / 2) {
        return Err(ProbeError::Caches(format!(
            "{} caches were asked for, but {read} bytes were read from the device",
            case.params.cache.as_str()
        )));
    }
    Ok(())
}

/// The store's path says nothing to a reader elsewhere. A path within another stands before it.
fn hide_stores(options: &str, stores: &[PathBuf]) -> String {
    stores.iter().fold(options.to_owned(), |options, store| options.replace(&*store.to_string_lossy(), "$STORE"))
}

/// Folders of a case.
struct Places {
    containers: Vec<Container>,
    works: Vec<PathBuf>,
    volume: Option<PathBuf>,
}

impl Places {
    /// A container `c<k>` for each that the case has; for a driver without layers, one `volume` that all of them mount.
    fn create(job: &CaseJob, driver: &dyn Driver, stack: &LayerStack) -> anyhow::Result<Places> {
        let volume = match driver.layer_form() {
            LayerForm::Flat => {
                let volume = folder(job.scratch.join("volume"))?;
                stack.populate_flat(&volume)?;
                Some(volume)
            }
            _ => None,
        };
        let mut places = Places { containers: Vec::new(), works: Vec::new(), volume };
        for index in 0..job.case.params.containers {
            let (container, work) = container(&job.scratch.join(format!("c{index}")), places.volume.as_deref())?;
            places.containers.push(container);
            places.works.push(work);
        }
        Ok(places)
    }
}

/// Makes `{upper,work,merged}` in the folder of a container, and of these what it needs: its upper is the volume where there is one.
fn container(place: &Path, volume: Option<&Path>) -> anyhow::Result<(Container, PathBuf)> {
    let merged = folder(place.join("merged"))?;
    let upper = match volume {
        Some(volume) => volume.to_owned(),
        None => folder(place.join("upper"))?,
    };
    Ok((Container { merged, upper }, folder(place.join("work"))?))
}

fn folder(path: PathBuf) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(&path).map_err(|e| anyhow::anyhow!("create folder {}: {e}", path.display()))?;
    Ok(path)
}
