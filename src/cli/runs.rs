//! Finding recorded runs and reading them, for every subcommand that shows one.

use std::path::{Path, PathBuf};

use crate::record::{Run, list_runs};

/// A run by its folder as given, or by its name below the folder of results.
pub(super) fn find(run: &Path, results: &Path) -> anyhow::Result<PathBuf> {
    [run.to_owned(), results.join(run)].into_iter().find(|folder| folder.join("run.json").is_file()).ok_or_else(|| {
        super::bad_input(format!(
            "no run {}: it is neither a folder with a run.json nor a run in {}",
            run.display(),
            results.display()
        ))
    })
}

/// The runs named, or the latest when none is.
pub(super) fn find_or_latest(runs: &[PathBuf], results: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !runs.is_empty() {
        return runs.iter().map(|run| find(run, results)).collect();
    }
    super::is_folder_or_free("--results", results)?;
    let latest = list_runs(results)?.pop().ok_or_else(|| {
        super::bad_input(format!(
            "no run in {}: measure one with `layerbench run workloads/quick.toml`",
            results.display()
        ))
    })?;
    Ok(vec![latest])
}

/// Reads a run, and says on standard error which of its lines are damaged and therefore left out.
pub(super) fn load(folder: &Path) -> anyhow::Result<Run> {
    let run = Run::load(folder).map_err(super::bad_input)?;
    for damaged in &run.damaged {
        let cases = folder.join("cases.jsonl");
        eprintln!("layerbench: {}:{}: damaged, left out: {}", cases.display(), damaged.line, damaged.reason);
    }
    Ok(run)
}
