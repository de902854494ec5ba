//! `layerbench report`: renders recorded runs.

use std::path::{Path, PathBuf};

use crate::record::{Run, list_runs};
use crate::report;

#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Runs to render: folders, or names below results/; the latest when none is given
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder of reports
    #[arg(long, value_name = "DIR", default_value = super::REPORTS)]
    out: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = super::RESULTS)]
    results: PathBuf,
}

pub(super) fn run(args: ReportArgs) -> anyhow::Result<()> {
    for folder in find_or_latest(&args.runs, &args.results)? {
        let run = Run::load(&folder).map_err(super::bad_input)?;
        let out = args.out.join(&run.manifest.run);
        report::render(&run, &out)?;
        point_latest(&args.out, &run.manifest.run)?;
        super::print(&format!("{}\n", out.join("index.html").display()))?;
    }
    Ok(())
}

/// The runs named, or the latest when none is.
pub(super) fn find_or_latest(runs: &[PathBuf], results: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !runs.is_empty() {
        return runs.iter().map(|run| find(run, results)).collect();
    }
    let latest = list_runs(results)?.pop().ok_or_else(|| {
        super::bad_input(format!(
            "no run in {}: measure one with `layerbench run workloads/quick.toml`",
            results.display()
        ))
    })?;
    Ok(vec![latest])
}

/// A folder as given, or the run of that name.
fn find(run: &Path, results: &Path) -> anyhow::Result<PathBuf> {
    [run.to_owned(), results.join(run)].into_iter().find(|folder| folder.join("run.json").is_file()).ok_or_else(|| {
        super::bad_input(format!(
            "no run {}: it is neither a folder with a run.json nor a run in {}",
            run.display(),
            results.display()
        ))
    })
}

/// `latest` is a symbolic link, replaced in one step.
fn point_latest(reports: &Path, run: &str) -> anyhow::Result<()> {
    let (link, new) = (reports.join("latest"), reports.join(format!(".latest.{}", std::process::id())));
    std::os::unix::fs::symlink(run, &new)
        .and_then(|()| std::fs::rename(&new, &link))
        .map_err(|e| anyhow::anyhow!("point {} to {run}: {e}", link.display()))
}
