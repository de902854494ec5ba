//! Start of a container: its mount, then the first program that runs in it; and what it occupies once it has started.
//!
//! The mount was timed by the runner, which alone knows drivers. In a stack that was built, the program is the smallest there is (it ends at
//! once), so that what is timed is the look-up of its name, the mapping of its file and the process itself, the same for every driver. In an
//! image it is the image's own, with the shared libraries and whatever else it asks for, and the container is its root.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::copy_up::usage;
use super::{Container, PATH, Probe, ProbeError, Trial, at, complaint, timed};
use crate::record::{Metric, Observation, metric};
use crate::stack::LayerStack;
use crate::sys;
use crate::workload::{CacheState, Params, ProbeName};

/// The probe.
pub(super) struct Start;

static METRICS: [Metric; 6] = [
    metric::START_NS,
    metric::MOUNT_NS,
    metric::EXEC_NS,
    metric::SECOND_EXEC_NS,
    metric::UPPER_BYTES,
    metric::UPPER_INODES,
];

/// The operation: start a program and wait for its end.
#[inline]
pub fn exec(program: &mut Command) -> std::io::Result<std::process::ExitStatus> {
    program.status()
}

/// What is run in a container: the command, and what it is called where it fails.
fn command(trial: &Trial, container: &Container) -> Result<(Command, PathBuf), ProbeError> {
    let Some(words) = trial.params.program else {
        let program = trial.targets.hits.first();
        let program = program.ok_or_else(|| ProbeError::Wrong("a stack without a program".to_owned()))?;
        let path = container.merged.join(program);
        let mut command = Command::new(&path);
        command.env_clear();
        return Ok((command, path));
    };
    let mut words = words.as_str().split(' ');
    let name = words.next().unwrap_or_default();
    let (called, _) = program_of(trial.stack, name)?;
    let mut command = Command::new(&called);
    command.args(words).env_clear().env("PATH", PATH).stdin(Stdio::null()).stdout(Stdio::null());
    sys::process::enter_root(&mut command, &container.merged).map_err(at("enter", &container.merged))?;
    Ok((command, called))
}

/// The program of an image that a name means: what the container calls it, and the file, relative to the root.
pub fn program_of(stack: &LayerStack, name: &str) -> Result<(PathBuf, PathBuf), ProbeError> {
    stack.command(name, PATH).ok_or_else(|| ProbeError::Unavailable {
        reason: format!("the image has no program {name}"),
        remedy: "give the path of a program of the image, or its name if it lies in /usr/bin or the like".into(),
    })
}

fn run(trial: &Trial, container: &Container) -> Result<u64, ProbeError> {
    let (mut command, path) = command(trial, container)?;
    // Beside the mount: a pipe would have to be read meanwhile.
    let said = container.merged.with_file_name("said");
    command.stderr(File::create(&said).map_err(at("create", &said))?);
    let (ns, status) = timed(|| exec(&mut command));
    match status {
        Ok(status) if status.success() => Ok(ns),
        Ok(status) => Err(complaint(&path.to_string_lossy(), status, &said)),
        Err(e) if e.raw_os_error() == Some(libc::ENOEXEC) && trial.params.program.is_none() => {
            Err(ProbeError::Unavailable {
                reason: format!("a program that ends at once is not known for {}", std::env::consts::ARCH),
                remedy: "files of at least 256 bytes, on x86_64 or aarch64".into(),
            })
        }
        Err(e) => Err(at("execute", &path)(e)),
    }
}

impl Probe for Start {
    fn name(&self) -> ProbeName {
        ProbeName::Start
    }

    fn about(&self) -> &'static str {
        "mount of a container and the first program that runs in it; what an untouched container occupies"
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn prepare(&self, _: &mut Trial) -> Result<(), ProbeError> {
        Ok(())
    }

    /// Which libraries and files a program of an image asks for is known once it has run.
    fn rehearses(&self, params: &Params) -> bool {
        params.program.is_some() && params.cache != CacheState::Cold
    }

    fn rehearse(&self, trial: &Trial, container: &Container) -> Result<(), ProbeError> {
        run(trial, container).map(|_| ())
    }

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let mut first = Vec::with_capacity(trial.containers.len());
        let mut second = Vec::with_capacity(trial.containers.len());
        for container in trial.containers {
            first.push(run(trial, container)?);
            second.push(run(trial, container)?);
        }
        let started = trial.mount_ns.iter().zip(&first).map(|(mount, exec)| mount + exec).collect();
        let (mut bytes, mut inodes) = (Vec::new(), Vec::new());
        for container in trial.containers {
            // A volume is not the container's: it takes no space of its own.
            let used = match trial.volume {
                Some(_) => super::copy_up::Usage::default(),
                None => usage(&container.upper).map_err(at("walk", &container.upper))?,
            };
            bytes.push(used.bytes);
            inodes.push(used.inodes);
        }
        Ok(vec![
            Observation::new(metric::START_NS, started),
            Observation::new(metric::MOUNT_NS, trial.mount_ns.clone()),
            Observation::new(metric::EXEC_NS, first),
            Observation::new(metric::SECOND_EXEC_NS, second),
            Observation::new(metric::UPPER_BYTES, bytes),
            Observation::new(metric::UPPER_INODES, inodes),
        ])
    }

    /// What ran is the program of the layer.
    fn verify(&self, trial: &mut Trial) -> Result<(), ProbeError> {
        for container in trial.containers {
            for name in &trial.targets.hits {
                trial.check_content(container, name)?;
            }
        }
        Ok(())
    }
}
