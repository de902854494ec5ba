//! Start of a container: its mount, then the first program that runs in it; and what it occupies once it has started.
//!
//! The mount was timed by the runner, which alone knows drivers. The program is the smallest there is (it ends at once), so that what is timed
//! is the look-up of its name, the mapping of its file and the process itself, the same for every driver.

use std::path::Path;
use std::process::Command;

use super::copy_up::usage;
use super::{Probe, ProbeError, Trial, at, timed};
use crate::record::{Metric, Observation, metric};
use crate::workload::ProbeName;

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

fn run(path: &Path) -> Result<u64, ProbeError> {
    let mut command = Command::new(path);
    command.env_clear();
    let (ns, status) = timed(|| exec(&mut command));
    match status {
        Ok(status) if status.success() => Ok(ns),
        Ok(status) => Err(ProbeError::Wrong(format!("{} ended with {status}", path.display()))),
        Err(e) if e.raw_os_error() == Some(libc::ENOEXEC) => Err(ProbeError::Unavailable {
            reason: format!("a program that ends at once is not known for {}", std::env::consts::ARCH),
            remedy: "files of at least 256 bytes, on x86_64 or aarch64".into(),
        }),
        Err(e) => Err(at("execute", path)(e)),
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

    fn measure(&self, trial: &mut Trial) -> Result<Vec<Observation>, ProbeError> {
        let program =
            trial.targets.hits.first().ok_or_else(|| ProbeError::Wrong("a stack without a program".to_owned()))?;
        let mut first = Vec::with_capacity(trial.containers.len());
        let mut second = Vec::with_capacity(trial.containers.len());
        for container in trial.containers {
            let path = container.merged.join(program);
            first.push(run(&path)?);
            second.push(run(&path)?);
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
