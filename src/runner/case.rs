//! The child's side of a case: a private mount namespace, fresh containers, the probe's three steps, and an outcome.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::driver::{self, Driver, MountRequest};
use crate::probe::{self, Container, ProbeError, Trial};
use crate::record::{Outcome, Privileges};
use crate::stack::{LayerForm, LayerStack};
use crate::sys;
use crate::workload::Case;

/// What the parent asks of the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseJob {
    /// The case.
    pub case: Case,
    /// Root of its stack.
    pub stack: PathBuf,
    /// Root of its store.
    pub store: PathBuf,
    /// Folder for uppers and mount points: made here, removed by the parent.
    pub scratch: PathBuf,
    /// Who runs.
    pub privileges: Privileges,
    /// The program that serves FUSE mounts.
    pub layerbench: PathBuf,
}

/// Runs a job to its outcome. The process must have one thread: it enters namespaces of its own.
pub fn run_job(job: &CaseJob) -> Outcome {
    match try_run(job) {
        Ok(outcome) => outcome,
        Err(e) => match e.downcast_ref::<ProbeError>() {
            Some(ProbeError::Unavailable { reason, remedy }) => {
                Outcome::Skipped { reason: reason.clone(), remedy: remedy.clone() }
            }
            _ => Outcome::Failed { error: format!("{e:#}") },
        },
    }
}

fn try_run(job: &CaseJob) -> anyhow::Result<Outcome> {
    sys::namespace::enter_private(job.privileges == Privileges::Root)
        .map_err(|e| anyhow::anyhow!("enter a private mount namespace: {e}"))?;
    let case = &job.case;
    let driver = driver::by_name(&case.driver.driver)?;
    let stack = LayerStack::open(&job.stack)?;
    let targets = stack.targets();
    let lower = stack.lowers(driver.layer_form())?;
    let places = Places::create(job, driver, &stack)?;
    // What earlier cases left dirty must not be written back during this one.
    rustix::fs::syncfs(fs::File::open(&job.scratch)?)?;

    let mut trial = Trial {
        stack: &stack,
        targets: &targets,
        containers: &places.containers,
        volume: places.volume.as_deref(),
        params: &case.params,
        privileges: job.privileges,
        notes: Vec::new(),
    };
    trial.warm_layers()?;
    let mut mounts = Vec::new();
    for (container, work) in places.containers.iter().zip(&places.works) {
        let mount = driver.mount(&MountRequest {
            lower: &lower,
            upper: &container.upper,
            work,
            merged: &container.merged,
            options: &case.driver.options,
            layerbench: &job.layerbench,
        })?;
        if let Some(deviation) = mount.deviation() {
            return Ok(Outcome::Skipped { reason: deviation.reason.clone(), remedy: deviation.remedy.clone() });
        }
        mounts.push(mount);
    }
    let options = mounts.first().map(|mount| mount.options().to_owned()).unwrap_or_default();

    let probe = probe::by_name(case.probe);
    probe.prepare(&mut trial)?;
    probe.settle(&mut trial)?;
    let observations = probe.measure(&mut trial)?;
    probe.verify(&mut trial)?;
    let mut notes = std::mem::take(&mut trial.notes);
    for mount in mounts {
        // What was measured has been verified: what goes wrong afterwards is worth a note.
        if let Err(e) = mount.unmount() {
            notes.push(format!("after the measurement: {e}"));
        }
    }
    Ok(Outcome::Measured { mount_options: hide_store(&options, &job.store), observations, notes })
}

/// The store's path says nothing to a reader elsewhere.
fn hide_store(options: &str, store: &Path) -> String {
    options.replace(&*store.to_string_lossy(), "$STORE")
}

/// Folders of a case.
struct Places {
    containers: Vec<Container>,
    works: Vec<PathBuf>,
    volume: Option<PathBuf>,
}

impl Places {
    /// Makes `c<k>/{upper,work,merged}` for each container; for a driver without layers, one `volume` that all of them mount.
    fn create(job: &CaseJob, driver: &dyn Driver, stack: &LayerStack) -> anyhow::Result<Places> {
        let make = |path: PathBuf| -> anyhow::Result<PathBuf> {
            fs::create_dir_all(&path).map_err(|e| anyhow::anyhow!("create folder {}: {e}", path.display()))?;
            Ok(path)
        };
        let volume = match driver.layer_form() {
            LayerForm::Flat => {
                let volume = make(job.scratch.join("volume"))?;
                stack.populate_flat(&volume)?;
                Some(volume)
            }
            _ => None,
        };
        let mut places = Places { containers: Vec::new(), works: Vec::new(), volume };
        for index in 0..job.case.params.containers {
            let folder = job.scratch.join(format!("c{index}"));
            let merged = make(folder.join("merged"))?;
            let upper = match &places.volume {
                Some(volume) => volume.clone(),
                None => make(folder.join("upper"))?,
            };
            places.works.push(make(folder.join("work"))?);
            places.containers.push(Container { merged, upper });
        }
        Ok(places)
    }
}
