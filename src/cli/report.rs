//! `layerbench report`: renders recorded runs.

use std::path::{Path, PathBuf};

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
    for folder in super::runs::find_or_latest(&args.runs, &args.results)? {
        let run = super::runs::load(&folder)?;
        let out = args.out.join(&run.manifest.run);
        report::render(&run, &out)?;
        point_latest(&args.out, &run.manifest.run)?;
        super::print(&format!("{}\n", out.join("index.html").display()))?;
    }
    Ok(())
}

/// `latest` is a symbolic link, replaced in one step.
fn point_latest(reports: &Path, run: &str) -> anyhow::Result<()> {
    let (link, new) = (reports.join("latest"), reports.join(format!(".latest.{}", std::process::id())));
    std::os::unix::fs::symlink(run, &new)
        .and_then(|()| std::fs::rename(&new, &link))
        .map_err(|e| anyhow::anyhow!("point {} to {run}: {e}", link.display()))
}
