//! `layerbench list`: what there is to choose from.

use std::path::{Path, PathBuf};

use crate::driver::{self, Registry};
use crate::workload::{self, Scale};
use crate::{chart, host, probe};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// What to list
    #[arg(value_enum)]
    what: What,
    /// Folder of workloads
    #[arg(long, default_value = "workloads")]
    workloads: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum What {
    Drivers,
    Probes,
    Charts,
    Workloads,
}

pub(super) fn run(args: ListArgs) -> anyhow::Result<()> {
    let rows = match args.what {
        What::Drivers => drivers(),
        What::Probes => {
            probe::all().iter().map(|probe| (probe.name().as_str().to_owned(), probe.about().to_owned())).collect()
        }
        What::Charts => chart::all().iter().map(|chart| (chart.name().to_owned(), chart.about().to_owned())).collect(),
        What::Workloads => workloads(&args.workloads)?,
    };
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let text: String = rows.iter().map(|(name, about)| format!("{name:width$}  {about}\n")).collect();
    super::print(&text)
}

fn drivers() -> Vec<(String, String)> {
    let host = host::fingerprint();
    driver::all()
        .iter()
        .map(|driver| {
            let state = match driver.availability(&host) {
                crate::record::Feature::Available { detail } => format!("available: {detail}"),
                crate::record::Feature::Missing { reason, .. } => format!("missing: {reason}"),
            };
            (driver.name().to_owned(), format!("{} ({state})", driver.about()))
        })
        .collect()
}

/// The workloads of a folder, by name.
pub(super) fn workload_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(here)? {
        let path = folder.join(entry?.file_name());
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn workloads(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let files = workload_files(folder).map_err(|e| {
        super::bad_input(format!("list workloads in {}: {e}; say where with --workloads", folder.display()))
    })?;
    let row = |path: PathBuf| {
        let about = match workload::load(&path, Scale::Real, &Registry) {
            Ok(workload) => workload.title,
            Err(e) => format!("cannot be used: {e}"),
        };
        (path.display().to_string(), about)
    };
    let rows: Vec<_> = files.into_iter().map(row).collect();
    if rows.is_empty() {
        return Err(super::bad_input(format!(
            "{}: no workloads, which are files named *.toml; say where with --workloads",
            folder.display()
        )));
    }
    Ok(rows)
}
