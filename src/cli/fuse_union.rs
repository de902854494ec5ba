//! `fuse-union`: mounts our FUSE union as mount(8) and Podman ask a mount helper to, without anything else of layerbench.

use std::ffi::{OsStr, OsString};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use crate::driver::find_mount;
use crate::sys;
use crate::union::{self, UnionConfig, UnionError};

#[derive(Debug, clap::Parser)]
#[command(
    name = "fuse-union",
    version,
    about = "Mounts read-only layers and a writable one as one file system, with the semantics of aufs",
    override_usage = "fuse-union [-f] [SOURCE] MOUNTPOINT -o lowerdir=A:B[,upperdir=U][,workdir=W][,OPTION...]",
    after_help = after_help(),
    max_term_width = 100
)]
struct Args {
    /// Options, separated by commas; may be given several times, and the later one wins
    #[arg(short = 'o', value_name = "OPTION,...")]
    options: Vec<OsString>,
    /// Stay in the foreground; without it, return when the mount answers
    #[arg(short = 'f', long = "foreground")]
    foreground: bool,
    /// Where to mount. Before it may stand a name for the mount table, as mount(8) gives one
    #[arg(value_name = "MOUNTPOINT", num_args = 1..=2, required = true)]
    operands: Vec<OsString>,
    /// Tell the process that started this one when the mount answers
    #[arg(long, hide = true)]
    detached: bool,
}

fn after_help() -> String {
    format!(
        "Options behind -o:\n{}\n\
         Signals: SIGTERM, SIGINT and SIGHUP unmount (what is busy for a second is detached);\n\
         SIGUSR1 writes the counters.\n\
         Exit status: 0 mounted (with -f: served to the end), 1 not mounted, 2 bad usage.\n\n\
         As root:     mount -t fuse.fuse-union NAME /mnt -o lowerdir=/top:/base,upperdir=/up\n\
         As anybody:  fuse-union /mnt -o ..., with fusermount3 or in a user namespace\n\
         In Podman:   podman --storage-opt overlay.mount_program=/usr/local/bin/fuse-union ...\n\
         To end it:   umount /mnt, or fusermount3 -u /mnt",
        union::describe_options()
    )
}

/// What `fuse-union` takes, for completions and the manual.
pub(super) fn command() -> clap::Command {
    Args::command()
}

/// What is written to the pipe when the mount answers.
const READY: &[u8] = b"ready";

/// The whole program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fuse-union: {error:#}");
            ExitCode::from(if error.is::<super::BadInput>() { super::BAD_INPUT } else { super::FAILED })
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (mountpoint, source) = match args.operands.as_slice() {
        [source, mountpoint] => (Path::new(mountpoint), Some(source)),
        [mountpoint] => (Path::new(mountpoint), None),
        _ => return Err(super::bad_input("give a mount point")),
    };
    // Also by the process that only starts the daemon: what is wrong with the words is found by one process alone.
    let config = config(args, source)?;
    if config.options.mount.remount {
        match find_mount(mountpoint).with_context(|| format!("find {}", mountpoint.display()))? {
            Some(entry) if entry.fs_type == union::FS_TYPE => union::remount(&config, &entry.mountpoint)?,
            _ => anyhow::bail!("remount {}: no fuse-union is mounted there", mountpoint.display()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.foreground && !args.detached {
        return start();
    }
    union::serve(config, mountpoint, || {
        super::mount::leave_folder();
        if args.detached {
            detach();
        }
    })
    .map_err(super::of_union)?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: &Args, source: Option<&OsString>) -> anyhow::Result<UnionConfig> {
    let source = source.filter(|source| !source.is_empty());
    let words = source.map(|source| named(source)).into_iter().chain(args.options.iter().cloned());
    UnionConfig::parse(words).map_err(|error| match error {
        UnionError::Option { .. } => super::bad_input(format!("-o {error}")),
        other => super::bad_input(other),
    })
}

/// The operand as the option that it stands for.
fn named(source: &OsStr) -> OsString {
    let mut word = OsString::from("fsname=");
    word.push(union::escape(source));
    word
}

/// Starts this program again, as a daemon, and waits until its mount answers. What keeps it from that the daemon says itself.
fn start() -> anyhow::Result<ExitCode> {
    let (mut told, tell) = std::io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--detached").args(std::env::args_os().skip(1)).stdin(Stdio::null()).stdout(tell);
    sys::process::new_session(&mut command);
    let mut daemon = command.spawn().map_err(|e| anyhow::anyhow!("start the daemon: {e}"))?;
    // It holds the other end of the pipe, which has to close when the daemon ends.
    drop(command);
    let mut said = Vec::new();
    told.read_to_end(&mut said)?;
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = daemon.wait()?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != 0 => Ok(ExitCode::from(code)),
        _ => Err(anyhow::anyhow!("the daemon ended with {status} before its mount answered")),
    }
}

/// Tells the process that waits, and lets go of everything that others might wait for.
fn detach() {
    let done = std::io::stdout().write_all(READY).and_then(|()| {
        std::io::stdout().flush()?;
        let nowhere = std::fs::OpenOptions::new().read(true).write(true).open(PathBuf::from("/dev/null"))?;
        nix::unistd::dup2_stdout(&nowhere)?;
        nix::unistd::dup2_stderr(&nowhere)?;
        Ok(())
    });
    if let Err(error) = done {
        eprintln!("fuse-union: let go of the terminal: {error}");
    }
}
