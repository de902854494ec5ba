//! One process and several on the same number of files.

use super::content::section;
use super::jobs::{NOT_RESOLVED, ratio};
use super::page::{Block, Span, Spans, Table, plain};
use crate::analysis::{Operation, ParallelView, ResultSet, compare, human};

/// The section; nothing where the run has no number of processes to compare with another.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let views: Vec<(&str, ParallelView)> = results
        .stores
        .iter()
        .flat_map(|store| ParallelView::all(results, store).into_iter().map(move |view| (store.as_str(), view)))
        .collect();
    if views.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![section("parallel", "In parallel: one process and many")];
    blocks.push(Block::Text(plain(format!(
        "The same files in one container, divided among processes that start together: the median from the first one’s start to the last one’s end, \
         and in brackets its ratio to the time that one process takes, with the {} interval of the ratio. Below 1 the processes help one another, above \
         they are in each other’s way. {NOT_RESOLVED} One process stays on one processor; several have all of them.",
        human::percent(crate::analysis::CONFIDENCE),
    ))));
    for (store, view) in &views {
        let store = if results.several_stores() { format!(", store {store}") } else { String::new() };
        blocks.push(Block::Heading(format!("{}{store}", view.label)));
        blocks.push(table(results, view));
    }
    blocks
}

fn table(results: &ResultSet, view: &ParallelView) -> Block {
    let has = |driver: &str| view.points.iter().any(|(_, operation)| operation.of(driver).is_some());
    let drivers: Vec<&str> = results.drivers.iter().map(|d| d.label.as_str()).filter(|d| has(d)).collect();
    let head = std::iter::once("Processes".to_owned()).chain(drivers.iter().map(|d| results.shown(d))).collect();
    let rows = view.points.iter().map(|(count, operation)| {
        let cells = drivers.iter().map(|driver| cell(operation, view.alone().filter(|_| *count > 1), driver));
        std::iter::once(plain(operation.label.clone())).chain(cells).collect()
    });
    Block::Table(Table { head, rows: rows.collect(), numeric: (1..=drivers.len()).collect() })
}

fn cell(operation: &Operation, alone: Option<&Operation>, driver: &str) -> Spans {
    let Some(data) = operation.of(driver) else { return plain("not measured") };
    let mut spans = vec![Span::Strong(human::ns(data.p50()))];
    if let Some(comparison) = alone.and_then(|alone| compare(data, alone.of(driver)?)) {
        spans.push(Span::Text(format!(" [{}]", ratio(&comparison, data.summary.n))));
    }
    spans
}
