//! `layerbench guest`: the same study under another kernel.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::run::{StudyArgs, command_line};
use crate::guest::{self, Disk, GuestMachine, GuestRun};
use crate::runner::RunSummary;
use crate::workload::{self, parse_size};

/// File systems that a guest's disk can have, each with its smallest disk: mkfs.xfs 6.1 makes none below 300 MiB, mkfs.btrfs 6.2 none below
/// 109 MiB, and on the others nothing of a study would fit.
const FILE_SYSTEMS: [(&str, u64); 4] =
    [("ext4", 64 << 20), ("xfs", 300 << 20), ("btrfs", 109 << 20), ("tmpfs", 64 << 20)];

#[derive(Debug, clap::Args)]
pub(super) struct GuestArgs {
    #[command(subcommand)]
    command: GuestCommand,
}

#[derive(Debug, clap::Subcommand)]
enum GuestCommand {
    /// Boot a kernel and measure what workloads ask for in it
    Run(RunArgs),
}

/// The machine, for every command that boots one.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// The kernel to boot: a bzImage
    #[arg(long, value_name = "BZIMAGE")]
    kernel: PathBuf,
    /// Its modules, where overlay, fuse or brd are not built in: a folder, or the kernel's Debian package
    #[arg(long, value_name = "DEB|DIR")]
    modules: Option<PathBuf>,
    /// Its memory, which the disks are part of
    #[arg(long, value_name = "SIZE", default_value = "3 GiB", value_parser = size)]
    memory: u64,
    /// Its processors
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// A disk in its memory and the file system on it (ext4, xfs, btrfs, tmpfs); several times for several stores
    #[arg(long, value_name = "SIZE,fs=FS", default_value = "1 GiB,fs=ext4", value_parser = disk)]
    disk: Vec<Disk>,
    /// Count instructions instead of time: the same figures whatever else this machine does, but no caches and no device
    #[arg(long)]
    counted: bool,
    /// End the guest after this time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    time_limit: Duration,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    study: StudyArgs,
}

impl MachineArgs {
    /// The machine, if it can be one.
    pub(super) fn machine(self) -> anyhow::Result<GuestMachine> {
        if self.counted && self.cpus > 1 {
            return Err(super::bad_input(
                "--counted counts the instructions of one processor: leave --cpus out".to_owned(),
            ));
        }
        let disks: u64 = self.disk.iter().map(|disk| disk.bytes).sum();
        if disks.saturating_mul(5) / 4 > self.memory {
            return Err(super::bad_input(format!(
                "the disks take {} of the guest's memory of {}: give it more with --memory, a quarter beyond the disks at least",
                workload::format_size(disks),
                workload::format_size(self.memory)
            )));
        }
        Ok(GuestMachine {
            kernel: self.kernel,
            modules: self.modules,
            memory_bytes: self.memory,
            cpus: self.cpus,
            disks: self.disk,
            counted: self.counted,
            limit: self.time_limit,
        })
    }
}

pub(super) fn run(args: GuestArgs) -> anyhow::Result<ExitCode> {
    let GuestCommand::Run(args) = args.command;
    let machine = args.machine.machine()?;
    // What is wrong with a workload is said before anything boots.
    let study = args.study;
    study.load()?;
    super::may_write("--out", &study.out)?;
    guest::check_kernel(&machine.kernel).map_err(super::bad_input)?;
    let run = GuestRun {
        workloads: &study.workloads,
        smoke: study.smoke,
        seed: study.seed,
        drivers: &study.driver,
        command: command_line(),
        results: &study.out,
    };
    let folder = guest::run(&machine, &run, &mut |line| eprintln!("{line}"))?;
    let code = super::run::explain(&RunSummary::of(&super::runs::load(&folder)?));
    super::print(&format!("{}\n", folder.display()))?;
    Ok(code)
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|e| e.to_string())?;
    if bytes < 256 << 20 { Err("a guest needs 256 MiB at least".to_owned()) } else { Ok(bytes) }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|e| e.to_string())
}

/// `SIZE` or `SIZE,fs=FS`.
fn disk(text: &str) -> Result<Disk, String> {
    let (size, kind) = match text.split_once(',') {
        None => (text, "ext4"),
        Some((size, rest)) => match rest.trim().strip_prefix("fs=") {
            Some(kind) => (size, kind),
            None => {
                return Err(format!(
                    "{rest:?} is not fs=FS; the disk is the guest's own memory, never a file or disk of this machine"
                ));
            }
        },
    };
    let Some((_, least)) = FILE_SYSTEMS.into_iter().find(|(name, _)| *name == kind) else {
        let names = FILE_SYSTEMS.map(|(name, _)| name);
        let near = workload::hint(kind, &names);
        return Err(format!("unknown file system {kind:?}{near} ({})", names.join(", ")));
    };
    let bytes = parse_size(size.trim()).map_err(|e| e.to_string())?;
    if bytes < least {
        return Err(format!("a disk with {kind} needs {} at least", workload::format_size(least)));
    }
    Ok(Disk { bytes, file_system: kind.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_sizes_with_a_file_system() {
        assert_eq!(disk("1 GiB").unwrap(), Disk { bytes: 1 << 30, file_system: "ext4".into() });
        assert_eq!(disk("512MiB,fs=xfs").unwrap(), Disk { bytes: 512 << 20, file_system: "xfs".into() });
        for (text, why) in [
            ("1 GiB,fs=ext3", "did you mean \"ext4\""),
            ("1 GiB,file=/dev/sda", "never a file or disk"),
            ("1 KiB", "with ext4 needs 64 MiB at least"),
            ("128 MiB,fs=xfs", "with xfs needs 300 MiB at least"),
            ("108 MiB,fs=btrfs", "with btrfs needs 109 MiB at least"),
            ("much", "much"),
        ] {
            let error = disk(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
