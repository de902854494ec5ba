//! Jobs: layer against volume.

use super::content::section;
use super::page::{Block, Span, Spans, Table, plain};
use crate::analysis::{Comparison, Data, Difference, JobView, Operation, ResultSet, compare, human};
use crate::record::Unit;

/// The section; nothing where the run has no jobs.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let views: Vec<(&str, JobView)> =
        results.stores.iter().filter_map(|store| Some((store.as_str(), JobView::of(results, store)?))).collect();
    let Some((_, first)) = views.first() else { return Vec::new() };
    let p = &first.params;
    let mut blocks = vec![section("jobs", "Jobs: layer against volume")];
    blocks.push(Block::Text(plain(format!(
        "Whole programs on a tree of {} (median size {}) that lies over {}, {} caches: the median from the start of the program to its end, and in \
         brackets its ratio to the same job on a volume with the {} interval of the ratio. A job is one sample a block: its ratio is the geometric mean of \
         the ratios block by block, its interval Student’s t of their logarithms. {NOT_RESOLVED}",
        human::count(p.files, "file"),
        human::bytes(p.file_size_bytes as f64),
        human::count(p.depth, "layer"),
        p.cache.as_str(),
        human::percent(crate::analysis::CONFIDENCE),
    ))));
    for (store, view) in &views {
        if results.several_stores() {
            blocks.push(Block::Heading(format!("Store {store}")));
        }
        let jobs: Vec<(Unit, Operation)> = view.jobs.iter().map(|(_, job)| (Unit::Ns, job.clone())).collect();
        blocks.push(table(results, "Job", &jobs));
    }
    blocks
}

/// Operations by driver, each with its ratio to the volume.
pub(super) fn table(results: &ResultSet, what: &str, operations: &[(Unit, Operation)]) -> Block {
    let has = |driver: &str| operations.iter().any(|(_, operation)| operation.of(driver).is_some());
    let drivers: Vec<&str> = results.drivers.iter().map(|d| d.label.as_str()).filter(|d| has(d)).collect();
    let head = std::iter::once(what.to_owned()).chain(drivers.iter().map(|d| results.shown(d))).collect();
    let rows = operations.iter().map(|(unit, operation)| {
        let cells = drivers.iter().map(|driver| cell(results, *unit, operation, driver));
        std::iter::once(plain(operation.label.clone())).chain(cells).collect()
    });
    Block::Table(Table { head, rows: rows.collect(), numeric: (1..=drivers.len()).collect() })
}

fn cell(results: &ResultSet, unit: Unit, job: &Operation, driver: &str) -> Spans {
    let Some(data) = job.of(driver) else { return plain("not measured") };
    let figure = match unit {
        Unit::Ns => human::ns(data.p50()),
        Unit::Bytes => human::bytes(data.p50()),
        Unit::Count => data.p50().to_string(),
    };
    compared(data, figure, against_volume(results, job, driver))
}

/// A figure with its mark, and in brackets what it is over another one.
pub(super) fn compared(data: &Data, figure: String, comparison: Option<Comparison>) -> Spans {
    let mut spans = vec![Span::Strong(figure), Span::Text(mark(data).to_owned())];
    if let Some(comparison) = comparison {
        spans.push(Span::Text(format!(" [{}]", ratio(&comparison, data.summary.n))));
    }
    spans
}

/// What a figure is marked with in which there are cases whose caches the device contradicts; the checklist names them.
pub(super) fn mark(data: &Data) -> &'static str {
    if data.summary.contradicted > 0 { " †" } else { "" }
}

/// What a driver takes over what a volume takes. `None` for the volume itself, and where one of the two was not measured.
pub(super) fn against_volume(results: &ResultSet, operation: &Operation, driver: &str) -> Option<Comparison> {
    let bind = results.baseline().filter(|bind| *bind != driver)?;
    compare(operation.of(driver)?, operation.of(bind)?)
}

/// What is said of a ratio that is no finding.
pub(super) const NOT_RESOLVED: &str = "Not resolved: the interval holds 1, or two measurements of the same thing differ by as much, so that there may \
                                       be a difference that so many samples do not show.";

/// `3.20×, 3.10 to 3.31×`; `not resolved, n=4: 1.02×, 0.98× to 1.06×` of what is no finding.
pub(super) fn ratio(c: &Comparison, n: usize) -> String {
    let (ratio, interval) = (human::ratio(c.ratio), human::interval(c.interval, human::ratio));
    match c.difference {
        Difference::WithinInterval | Difference::WithinNoise => {
            format!("not resolved, n={n}: {ratio}, {interval}")
        }
        _ => format!("{ratio}, {interval}"),
    }
}
