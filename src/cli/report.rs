//! `layerbench report`: renders recorded runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::record::run_key;
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
    super::may_write("--out", &args.out)?;
    let folders = super::runs::find_or_latest(&args.runs, &args.results)?;
    // Every run is read before anything is written, and again later: many of them at once may not fit into memory.
    let mut names = BTreeMap::new();
    for folder in &folders {
        let name = super::runs::load(folder)?.manifest.run;
        if let Some(other) = names.insert(name.clone(), folder) {
            return Err(super::bad_input(format!(
                "{} and {} are both named {name}, and so would their reports be: give each an --out of its own",
                other.display(),
                folder.display()
            )));
        }
    }
    for folder in folders {
        let run = super::runs::load(&folder)?;
        let out = args.out.join(&run.manifest.run);
        report::render(&run, &out)?;
        point_latest(&args.out, &run.manifest.run)?;
        super::print(&format!("{}\n", out.join("index.html").display()))?;
    }
    Ok(())
}

/// `latest` is a symbolic link to the newest report, replaced in one step.
fn point_latest(reports: &Path, run: &str) -> anyhow::Result<()> {
    let (link, new) = (reports.join("latest"), reports.join(format!(".latest.{}", std::process::id())));
    let newer = std::fs::read_link(&link).is_ok_and(|there| link.is_dir() && run_key(&there) > run_key(Path::new(run)));
    if newer {
        return Ok(());
    }
    std::os::unix::fs::symlink(run, &new)
        .and_then(|()| std::fs::rename(&new, &link))
        .map_err(|e| anyhow::anyhow!("point {} to {run}: {e}", link.display()))
}
