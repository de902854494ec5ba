//! The section of what one changed byte costs besides time: space, inodes and bytes written.

use std::collections::BTreeMap;

use super::content::section;
use super::page::{Block, Span, Spans, Table, plain};
use crate::analysis::{ResultSet, human, median};
use crate::record::{Metric, Outcome, Run, metric};
use crate::workload::ProbeName;

/// What one case's first writes cost, a file each.
struct Cost {
    upper_bytes: f64,
    upper_inodes: f64,
    written_bytes: Option<f64>,
}

/// Costs by store, driver (its place in the run) and size of the file.
type Costs<'a> = BTreeMap<(&'a str, usize, u64), Vec<Cost>>;

/// The section; nothing where no plain first write was measured.
pub(super) fn blocks(run: &Run, results: &ResultSet) -> Vec<Block> {
    let found = costs(run, results);
    // The smallest file that has content, and the largest.
    let sizes = found.keys().map(|key| key.2).filter(|size| *size > 0);
    let Some((small, large)) = sizes.clone().min().zip(sizes.max()) else { return Vec::new() };
    let mut rows: Vec<Vec<Spans>> = Vec::new();
    for ((store, driver, size), cases) in found.iter().filter(|(key, _)| key.2 == small || key.2 == large) {
        let Some(info) = results.drivers.get(*driver) else { continue };
        let name = results.shown(&info.label);
        let name = if results.several_stores() { format!("{name} ({store})") } else { name };
        let upper = median(cases.iter().map(|c| c.upper_bytes).collect()).unwrap_or_default();
        let inodes = median(cases.iter().map(|c| c.upper_inodes).collect()).unwrap_or_default();
        let written = median(cases.iter().filter_map(|c| c.written_bytes).collect());
        rows.push(vec![
            plain(name),
            plain(human::bytes(*size as f64)),
            vec![Span::Strong(human::bytes(upper))],
            plain(if upper > 0.0 { human::ratio(upper / *size as f64) } else { "none".to_owned() }),
            plain(format!("{inodes:.2}")),
            plain(written.map(human::bytes).unwrap_or_else(|| "not known".to_owned())),
            plain(cases.len().to_string()),
        ]);
    }
    let head = ["Driver", "File", "Space in upper", "of the file", "Inodes", "Written", "Cases"];
    vec![
        section("amplification", "What one changed byte costs besides time"),
        Block::Text(plain(
            "A first write changes one byte of a file. Medians over the plain cases of all depths, divided by the number of files: the space and the inodes that \
             the container layer then takes, and the bytes that caller and daemon had the block layer write or will have (/proc/PID/io). A volume is changed in \
             place. Where copies share their blocks with the layer (reflinks) space is counted as allocated all the same.",
        )),
        Block::Table(Table { head: head.map(str::to_owned).to_vec(), rows, numeric: vec![1, 2, 3, 4, 5, 6] }),
    ]
}

fn costs<'a>(run: &'a Run, results: &ResultSet) -> Costs<'a> {
    let mut found = Costs::new();
    for record in run.last_attempts() {
        let (case, p) = (&record.case, &record.case.params);
        let Outcome::Measured { observations, .. } = &record.outcome else { continue };
        let driver = results.drivers.iter().position(|info| info.label == case.driver.label && info.twin_of.is_none());
        let Some(driver) = driver.filter(|_| case.probe == ProbeName::CopyUp && p.plain() == *p) else { continue };
        let total = |wanted: &Metric| {
            let observation = observations.iter().find(|o| o.metric.name == wanted.name)?;
            Some(observation.samples.iter().sum::<u64>() as f64)
        };
        let Some((bytes, inodes)) = total(&metric::UPPER_BYTES).zip(total(&metric::UPPER_INODES)) else { continue };
        let files = f64::from(p.files.max(1)) * f64::from(p.containers.max(1));
        found.entry((case.store.as_str(), driver, p.file_size_bytes)).or_default().push(Cost {
            upper_bytes: bytes / files,
            upper_inodes: inodes / files,
            written_bytes: record.conditions.as_ref().map(|c| c.written_bytes as f64 / files),
        });
    }
    found
}
