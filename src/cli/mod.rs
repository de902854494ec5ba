//! The command line: one file a subcommand. The only place where the measuring and the reporting half meet.
//!
//! Exit status: 0 when all went well, 1 when a case (or anything else) failed or a run measured nothing, or nothing but the control, 2 for bad
//! usage or input, 128 and the signal's number when one ended a run.

mod case;
mod clean;
mod compare;
mod disk;
mod doctor;
mod fuse_union;
mod guest;
mod image;
mod info;
mod limits;
mod list;
mod manual;
mod mount;
mod report;
mod run;
mod runs;
mod stack;
mod terminal;
mod umount;
mod verdicts;

pub use fuse_union::main as fuse_union;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::runner::{Store, StoreError};

/// Exit status when a case failed.
pub(crate) const FAILED: u8 = 1;
/// Exit status of bad usage or input, as clap's own.
pub(crate) const BAD_INPUT: u8 = 2;

/// Folder of results, unless told otherwise.
pub(crate) const RESULTS: &str = "results";
/// Folder of reports, unless told otherwise.
pub(crate) const REPORTS: &str = "reports";
/// Folder of layers, unless told otherwise: beside the results, never on /tmp, whose file system is rarely the one in question.
pub(crate) const STORE: &str = "store";

/// An input that cannot be used: the exit status tells it from a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadInput(pub String);

/// Marks an error as bad input, keeping its text.
pub(crate) fn bad_input(error: impl std::fmt::Display) -> anyhow::Error {
    BadInput(error.to_string()).into()
}

#[derive(Debug, Parser)]
#[command(
    name = "layerbench",
    version,
    about = "Measures the layered file systems under containers: first-write copy_up, look-up depth, page-cache sharing",
    after_help = "Start with `layerbench doctor`, then `layerbench run workloads/quick.toml` and `layerbench report`.\n\
                  Exit status: 0 all well; 1 something failed (of a run: a case did, nothing was measured, or of several drivers nothing but bind, \
                  the control); 2 bad usage or input (a word, a workload, a --store that cannot be one); 128 and the number of the signal when one \
                  ended it. What is skipped because a driver is not here is no failure.",
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what can be measured here: kernel, privileges, drivers, store
    Doctor(doctor::DoctorArgs),
    /// Measure what workloads ask for, and record it
    Run(run::RunArgs),
    /// Measure under another kernel, in a virtual machine
    Guest(guest::GuestArgs),
    /// Render recorded runs as pages, charts and tables
    Report(report::ReportArgs),
    /// Say what a run means for each claim of Docker's page, and how far the run may be trusted
    Verdicts(verdicts::VerdictsArgs),
    /// Compare two recorded runs, for instance of two kernels or two commits
    Compare(compare::CompareArgs),
    /// List drivers, probes, charts or workloads
    List(list::ListArgs),
    /// Find out how many layers each driver stacks here
    Limits(limits::LimitsArgs),
    /// Show a store: driver, file system, layer graph, and which driver Docker would have chosen
    Info(info::InfoArgs),
    /// Build, import, show, verify or remove stacks of layers
    Stack(stack::StackArgs),
    /// Mount layers with a driver
    Mount(mount::MountArgs),
    /// Make a modelled spinning disk and mount it, to compare with the disk that is here
    Disk(disk::DiskArgs),
    /// Unmount what `mount` or `disk` mounted
    Umount(umount::UmountArgs),
    /// Remove what earlier runs left in a store: scratch folders with their mounts, stacks
    Clean(clean::CleanArgs),
    /// Print completions for a shell, of layerbench or of fuse-union
    Completions(manual::CompletionsArgs),
    /// Write the manual pages of layerbench and fuse-union
    Man(manual::ManArgs),
    /// Run one case read from standard input (used by `run`)
    #[command(hide = true)]
    Case,
}

/// The whole program.
pub fn main() -> ExitCode {
    if crate::guest::is_init() {
        crate::guest::init_main();
    }
    let cli = Cli::parse();
    match dispatch(cli.command) {
        Ok(code) => code,
        Err(e) => {
            // A reader that went away (`| head`) is not a failure of ours.
            if e.chain().any(|cause| {
                cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
            }) {
                return ExitCode::SUCCESS;
            }
            let text = format!("{e:#}");
            eprintln!("layerbench: {text}{}", what_to_do(&text));
            ExitCode::from(if e.is::<BadInput>() { BAD_INPUT } else { FAILED })
        }
    }
}

/// What to do about an error that says nothing of it. Errors keep an errno as text alone.
fn what_to_do(text: &str) -> &'static str {
    let is = |errno: i32| text.contains(&format!("(os error {errno})"));
    if (is(libc::ENOSPC) || is(libc::EDQUOT)) && !text.contains("free space") {
        "; free space there, or name another folder"
    } else {
        ""
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Doctor(args) => doctor::run(args)?,
        Command::Run(args) => return run::run(args),
        Command::Guest(args) => return guest::run(args),
        Command::Report(args) => report::run(args)?,
        Command::Verdicts(args) => verdicts::run(args)?,
        Command::Compare(args) => return compare::run(args),
        Command::List(args) => list::run(args)?,
        Command::Limits(args) => limits::run(args)?,
        Command::Info(args) => info::run(&args)?,
        Command::Stack(args) => return stack::run(args),
        Command::Mount(args) => mount::run(args)?,
        Command::Disk(args) => disk::run(&args)?,
        Command::Umount(args) => umount::run(args)?,
        Command::Clean(args) => clean::run(args)?,
        Command::Completions(args) => manual::completions(args, Cli::command())?,
        Command::Man(args) => manual::man(args, Cli::command())?,
        Command::Case => case::run()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output; a closed pipe becomes an error that [`main`] forgives, not a panic.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to standard output")
}

/// An error of the union, with what to do where the limit of open files is the cause.
pub(crate) fn of_union(error: crate::union::UnionError) -> anyhow::Error {
    match &error {
        crate::union::UnionError::Io { errno, .. } if errno.raw_os_error() == Some(libc::EMFILE) => {
            anyhow::anyhow!("{error}: each layer is held open; allow this process more files (ulimit -n)")
        }
        _ => error.into(),
    }
}

/// Refuses a folder to write into that is something else.
pub(crate) fn is_folder_or_free(option: &str, folder: &std::path::Path) -> anyhow::Result<()> {
    match std::fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => Err(bad_input(format!("{option} {}: not a folder", folder.display()))),
        _ => Ok(()),
    }
}

/// Refuses a folder to write into that is something else, or that this user may not write to.
pub(crate) fn may_write(option: &str, folder: &std::path::Path) -> anyhow::Result<()> {
    is_folder_or_free(option, folder)?;
    // What is not there yet is made, in the nearest folder above it.
    let relative = std::path::Path::new(".");
    let there = folder.ancestors().find(|path| path.as_os_str().is_empty() || path.symlink_metadata().is_ok());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(relative);
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::accessat(rustix::fs::CWD, there.join("."), access, rustix::fs::AtFlags::EACCESS).map_err(|errno| {
        let errno = std::io::Error::from(errno);
        bad_input(format!("{option} {}: {errno}; give a folder that you may write to", folder.display()))
    })
}

/// An error of a store: a folder that cannot be one is bad input.
pub(crate) fn of_store(error: StoreError) -> anyhow::Error {
    if error.is_no_store() { bad_input(error) } else { error.into() }
}

/// Locks a store, and makes it if it is not there.
pub(crate) fn lock_store(path: &std::path::Path) -> anyhow::Result<Store> {
    may_write("--store", path)?;
    Store::lock(path).map_err(of_store)
}

/// `[LABEL=]DIR`. Without a label the folder's own name is the label.
pub(crate) fn labelled_store(text: &std::ffi::OsStr) -> anyhow::Result<(String, PathBuf)> {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = text.as_bytes();
    if let Some(at) = bytes.iter().position(|byte| *byte == b'=') {
        let (label, folder) = (&bytes[..at], &bytes[at + 1..]);
        // Such as a variable of a script that is empty.
        if label.is_empty() {
            return Err(bad_input(format!(
                "--store {}: the label is missing; a folder of that name is written with ./ before it",
                text.display()
            )));
        }
        let label = std::str::from_utf8(label).ok().filter(|label| !label.contains('/'));
        if let Some(label) = label {
            if folder.is_empty() {
                return Err(bad_input(format!("--store {label}=: the folder is missing")));
            }
            return Ok((label.to_owned(), PathBuf::from(OsString::from(std::ffi::OsStr::from_bytes(folder)))));
        }
    }
    if text.is_empty() {
        return Err(bad_input("--store: the folder is missing"));
    }
    let path = PathBuf::from(text);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok((name.unwrap_or_else(|| "store".to_owned()), path))
}
