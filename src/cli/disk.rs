//! `layerbench disk`: a spinning disk that is modelled, mounted as ext4, for machines that have none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::driver;
use crate::medium::{self, DISKS, DataSheet};
use crate::record::Privileges;
use crate::runner;
use crate::workload::{format_size, parse_size};

/// The smallest that mkfs.ext4 makes with a journal is about 2 MiB; below this nothing can be measured.
const SIZE_MIN: u64 = 64 << 20;

/// mkfs.ext4 makes an inode of 256 bytes for each 16 KiB, and here all of them at once.
const TABLES_SHARE: u64 = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(super) struct DiskArgs {
    /// Which disk
    #[arg(long, value_name = "NAME", default_value = DISKS[0].name, value_parser = model)]
    model: DataSheet,
    /// How large it is; what is written to it takes memory
    #[arg(long, value_name = "SIZE", default_value = "8 GiB", value_parser = |text: &str| parse_size(text))]
    size: u64,
    /// Serve at the mount point, in the foreground, until unmounted (used by `disk` itself)
    #[arg(long, hide = true)]
    serve: bool,
    /// Where to mount it; `layerbench umount` takes it away, with all that is on it
    mountpoint: PathBuf,
}

fn after_help() -> String {
    let mut text = String::from("Disks:\n");
    for sheet in DISKS {
        text.push_str(&format!("  {:<10} {}\n", sheet.name, sheet.about));
    }
    text.push_str(
        "\nReads and writes take as long as the head, the turning and the transfer of such a disk; its bytes lie in memory. Seeks are scaled: \
         across the whole of it they take what they take across the whole of a real one. A run says of each store what reads from it cost, \
         and which one is modelled:\n\n  layerbench run workloads/media.toml --store ssd=store --store hdd=MOUNTPOINT/store",
    );
    text
}

fn model(name: &str) -> Result<DataSheet, String> {
    let names = DISKS.map(|sheet| sheet.name);
    DISKS
        .into_iter()
        .find(|sheet| sheet.name == name)
        .ok_or_else(|| format!("no such disk; there are {}", names.join(" and ")))
}

pub(super) fn run(args: &DiskArgs) -> anyhow::Result<()> {
    if args.serve {
        runner::take_signals()?;
        return Ok(medium::serve(args.model, args.size, &args.mountpoint)?);
    }
    let place = args.mountpoint.display();
    let meta = std::fs::metadata(&args.mountpoint).map_err(|e| super::bad_input(format!("{place}: {e}")))?;
    if !meta.is_dir() {
        return Err(super::bad_input(format!("{place}: not a directory")));
    }
    if args.size < SIZE_MIN || args.size > i64::MAX as u64 {
        return Err(super::bad_input("--size: a disk has 64 MiB or more, and less than 8 EiB"));
    }
    // The kernel would mount over it, and `umount` take away the upper one only.
    if let Some(entry) = driver::find_mount(&args.mountpoint)? {
        return Err(super::bad_input(format!(
            "{place}: {} of {} is mounted there: unmount it, or name another folder",
            entry.fs_type, entry.source
        )));
    }
    let available = crate::host::meminfo("MemAvailable")?.unwrap_or(u64::MAX);
    if args.size / TABLES_SHARE > available / 2 {
        return Err(super::bad_input(format!(
            "--size: the tables of a file system of {} take {} of memory, and {} are available: make it {} or smaller",
            format_size(args.size),
            crate::analysis::human::bytes((args.size / TABLES_SHARE) as f64),
            crate::analysis::human::bytes(available as f64),
            format_size((available / 2 * TABLES_SHARE) >> 30 << 30)
        )));
    }
    if crate::host::fingerprint().privileges != Privileges::Root {
        return Err(anyhow::anyhow!("a modelled disk needs root: it is a loop device and a mount"));
    }
    let making = Arc::new(Making::default());
    let signalled = making.clone();
    runner::on_signal(move |status| {
        signalled.is_unwanted.store(true, Ordering::Relaxed);
        // What has been begun is made to its end, and taken away.
        let made = signalled.turn();
        let said = match &*made {
            Some((mountpoint, device)) => medium::detach(mountpoint, device).err().map(|e| e.to_string()),
            None => None,
        };
        eprintln!("interrupted: {}", said.as_deref().unwrap_or("no disk is left"));
        std::process::exit(status)
    })?;
    let mut made = making.turn();
    let folder = tempfile::Builder::new().prefix("layerbench-disk.").tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    let size = format!("{} B", args.size);
    command.args(["disk", "--serve", "--model", args.model.name, "--size", &size, "--"]).arg(folder.path());
    driver::start_detached(command, folder.path())?;
    // From here on the daemon has it; `umount` removes it.
    let folder = folder.keep();
    match medium::attach(&folder, &args.mountpoint) {
        Ok(attached) => {
            let said = format!("{}: {} on {}\n", place, args.model.about, attached.device.display());
            *made = Some((args.mountpoint.clone(), attached.device));
            if making.is_unwanted.load(Ordering::Relaxed) {
                drop(made);
                // The signal's thread ends the process.
                std::thread::sleep(Duration::MAX);
            }
            super::print(&said)
        }
        Err(error) => {
            if let Err(left) = medium::release(&folder) {
                eprintln!("layerbench: {left}");
            }
            Err(error.into())
        }
    }
}

/// A disk that is being made.
#[derive(Debug, Default)]
struct Making {
    /// Whether a signal has come.
    is_unwanted: AtomicBool,
    /// Where it is mounted, and its loop device, once it is whole. Held until then.
    made: Mutex<Option<(PathBuf, PathBuf)>>,
}

impl Making {
    fn turn(&self) -> MutexGuard<'_, Option<(PathBuf, PathBuf)>> {
        // Nothing that holds it can panic half-way.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the modelled disk at a mount point away; false if what is mounted there is none.
pub(super) fn take_away(mountpoint: &Path, device: &str) -> anyhow::Result<bool> {
    match medium::detach(mountpoint, Path::new(device)) {
        Ok(()) => Ok(true),
        Err(medium::DiskError::NotOurs(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
