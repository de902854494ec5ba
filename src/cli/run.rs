//! `layerbench run`: measures what workloads ask for.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::list::workload_files;
use crate::analysis::human;
use crate::driver::Registry;
use crate::record::{CaseRecord, Feature, Outcome};
use crate::runner::{self, CONTROL, Plan, PlannedCase, Progress, RunError, RunRequest, RunSummary, Standing};
use crate::workload::{self, Scale, Workload, WorkloadError, count, nearest};

/// Where the workloads lie that come with layerbench.
const WORKLOADS: &str = "workloads";
/// Seed unless told otherwise: the same on every machine, so that stacks are reused and results compare.
const SEED: u64 = 1;

/// What is measured, wherever that happens.
#[derive(Debug, clap::Args)]
pub(super) struct StudyArgs {
    /// Studies to measure
    #[arg(value_name = "WORKLOAD.toml", required = true)]
    pub(super) workloads: Vec<PathBuf>,
    /// Only this driver or variant (name or label), besides bind, the control; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) driver: Vec<String>,
    /// Folder of results: each run makes a folder of its own in it
    #[arg(long, value_name = "DIR", default_value = super::RESULTS)]
    pub(super) out: PathBuf,
    /// Seed of file contents
    #[arg(long, default_value_t = SEED, allow_negative_numbers = true)]
    pub(super) seed: u64,
    /// Use the workloads' smoke values: proves that everything works, measures nothing worth quoting
    #[arg(long)]
    pub(super) smoke: bool,
}

impl StudyArgs {
    /// The studies, at the scale that is asked for.
    pub(super) fn load(&self) -> anyhow::Result<Vec<Workload>> {
        let scale = if self.smoke { Scale::Smoke } else { Scale::Real };
        let load = |path: &PathBuf| {
            workload::load(path, scale, &Registry)
                .map_err(|e| super::bad_input(format!("{e}{}", instead_of(path, &e).unwrap_or_default())))
        };
        self.workloads.iter().map(load).collect()
    }
}

/// What to give in place of a workload that cannot be read: the nearest name beside it, or of those that come with layerbench.
fn instead_of(path: &Path, error: &WorkloadError) -> Option<String> {
    let WorkloadError::Read { errno, .. } = error else { return None };
    let folder = path.parent().unwrap_or(Path::new(""));
    match errno.kind() {
        io::ErrorKind::IsADirectory => {
            let first = workload_files(path).unwrap_or_default().into_iter().next();
            return Some(match first {
                Some(first) => format!(": name a workload in it, such as {}", first.display()),
                None => ": name a workload, which is a file".to_owned(),
            });
        }
        io::ErrorKind::NotFound => {}
        _ => return None,
    }
    let found: Vec<PathBuf> = [folder, Path::new(WORKLOADS)]
        .into_iter()
        .flat_map(|folder| workload_files(folder).unwrap_or_default())
        .collect();
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let stems: Vec<String> = found.iter().map(|path| stem(path)).collect();
    let near = nearest(&stem(path), &stems.iter().map(String::as_str).collect::<Vec<_>>());
    match near.and_then(|near| found.iter().find(|path| stem(path) == near)) {
        Some(near) => Some(format!("; did you mean {}?", near.display())),
        None if found.is_empty() => None,
        None => Some("; `layerbench list workloads` lists those that are here".to_owned()),
    }
}

/// The command line, for the record.
pub(super) fn command_line() -> Vec<String> {
    std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect()
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A workload is a TOML file: docs/workloads.md in layerbench's sources has every key, and an example. --dry-run checks one: \
                        exit status 0, or 2 with file and line of what is wrong.\n\n\
                        A run exits with 0 when every case was measured or skipped, and says what was skipped and why; with 1 when a case failed, \
                        when nothing was measured, or when of several drivers nothing but bind, the control, was; with 2 when it cannot begin \
                        because of a word, a workload or a --store; with 128 and the signal's number when one ended it."
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Where the layers lie; several times to compare file systems or disks, as in --store ssd=/mnt/a --store hdd=/mnt/b
    #[arg(long, value_name = "[LABEL=]DIR", value_hint = clap::ValueHint::DirPath, default_value = super::STORE)]
    store: Vec<OsString>,
    /// Measure the machine as it comes: processors may sleep, the probe has none for itself, and memory is not fetched in advance
    #[arg(long)]
    unprepared: bool,
    /// Seed of the order of cases; unless given each run has another order
    #[arg(long, value_name = "SEED")]
    order: Option<u64>,
    /// Print every case and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let study = args.study;
    let workloads = study.load()?;
    let stores = args.store.iter().map(|store| super::labelled_store(store)).collect::<anyhow::Result<Vec<_>>>()?;
    for (_, path) in &stores {
        super::is_folder_or_free("--store", path)?;
    }
    // Short enough to be typed again.
    let order = args.order.unwrap_or_else(|| u64::from(rand::random::<u16>()));
    let plan = Plan::new(&workloads, &stores, &study.driver, study.seed, order).map_err(super::bad_input)?;
    if args.dry_run {
        super::print(&plan.describe())?;
        return Ok(ExitCode::SUCCESS);
    }
    super::may_write("--out", &study.out)?;
    for (_, path) in &stores {
        super::may_write("--store", path)?;
    }
    let standing = Arc::new(Standing::default());
    let display = Display::new();
    let bar = display.bar.clone();
    runner::end_in_order(standing.clone(), move |line| {
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        eprintln!("{line}");
    })?;
    let request = RunRequest {
        plan: &plan,
        results: &study.out,
        smoke: study.smoke,
        prepare: !args.unprepared,
        command: command_line(),
        layerbench: std::env::current_exe()?,
        standing: &standing,
    };
    let ended = runner::run(&request, &display);
    display.finish();
    let summary = ended.map_err(|e| {
        if let Some(recorded) = standing.recorded() {
            eprintln!("{recorded}");
        }
        match e {
            RunError::Store(e) => super::of_store(e),
            e => e.into(),
        }
    })?;
    finish(&summary)
}

fn finish(summary: &RunSummary) -> anyhow::Result<ExitCode> {
    let code = explain(summary);
    let skipped: usize = summary.skipped.values().sum();
    let failed: usize = summary.failed.values().map(Vec::len).sum();
    if summary.repeated + summary.disturbed > 0 {
        eprintln!(
            "the machine was not quiet: disturbed and repeated {}, still disturbed and marked {}",
            count(summary.repeated, "attempt"),
            count(summary.disturbed, "case")
        );
    }
    super::print(&format!(
        "{} measured, {failed} failed, {skipped} skipped; stacks took {:.1} s, measuring {:.1} s\n{}\n",
        summary.measured,
        summary.building.as_secs_f64(),
        summary.measuring.as_secs_f64(),
        summary.folder.display()
    ))?;
    Ok(code)
}

/// Says on standard error why cases have no figures, each reason once, and how such a run ends.
pub(super) fn explain(summary: &RunSummary) -> ExitCode {
    for ((reason, remedy), cases) in &summary.skipped {
        eprintln!("skipped: {}: {reason}\n  to get it: {remedy}", count(*cases, "case"));
    }
    for (error, ids) in &summary.failed {
        eprintln!("failed: {}\n  {error}", first_few(ids));
    }
    // A run that measured nothing is no success, whatever the reason; nor is one that measured the control and nothing to compare with it.
    let is_control_alone = summary.measured > 0 && summary.is_control_alone();
    if is_control_alone {
        eprintln!(
            "nothing but {CONTROL}, the control, was measured: there is nothing to compare it with (--driver {CONTROL}, if that is what you want)"
        );
    }
    let is_good = summary.failed.is_empty() && summary.measured > 0 && !is_control_alone;
    if is_good { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) }
}

/// The cases that failed in one way, named; many would hide the error.
fn first_few(ids: &[String]) -> String {
    const FEW: usize = 3;
    let shown = ids.get(..FEW).unwrap_or(ids).join("\n        ");
    match ids.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown}\n        and {} more", count(more, "case")),
    }
}

/// A bar on a terminal, lines elsewhere. It draws between cases only, never during one.
struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    fn new() -> Display {
        if !std::io::stderr().is_terminal() {
            return Display { bar: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} left {eta} {wide_msg}") {
            bar.set_style(style);
        }
        Display { bar: Some(bar) }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&self, done: usize, of: usize, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            bar.set_message(message);
        }
    }
}

impl Progress for Display {
    fn stack(&self, done: usize, of: usize, what: &str) {
        match self.bar {
            Some(_) => self.show(done, of, format!("stack of {what}")),
            None => eprintln!("stack {}/{of}: {what}", done + 1),
        }
    }

    fn asleep(&self, awake: &Feature) {
        if let Feature::Missing { reason, remedy } = awake {
            eprintln!(
                "processors: they may sleep, which makes FUSE several times as slow: {reason}\n  to keep them awake: {remedy}"
            );
        }
    }

    fn memory(&self, bytes: u64) {
        let text = format!(
            "memory: {} are written to first, so that no case waits for what the hypervisor has to fetch",
            human::bytes(bytes as f64)
        );
        match self.bar {
            Some(_) => self.show(0, 0, text),
            None => eprintln!("{text}"),
        }
    }

    fn begin(&self, done: usize, of: usize, planned: &PlannedCase) {
        self.show(done, of, planned.case.id.clone());
    }

    fn end(&self, done: usize, of: usize, record: &CaseRecord) {
        let state = match &record.outcome {
            Outcome::Measured { .. } => "measured",
            Outcome::Failed { .. } => "FAILED",
            Outcome::Skipped { .. } => "skipped",
        };
        match self.bar {
            Some(_) => self.show(done, of, record.case.id.clone()),
            None => eprintln!("{done}/{of} {} {state} ({} ms)", record.case.id, record.elapsed_ms),
        }
    }
}
