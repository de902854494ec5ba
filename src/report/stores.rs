//! Stores against each other: what the file system or the disk below the layers is worth to each driver.

use super::content::{headed, section};
use super::jobs::{NOT_RESOLVED, compared};
use super::page::{Block, Spans, Table, plain};
use crate::analysis::{Data, JobView, Operation, ResultSet, compare, human, operations};

/// Title of the section.
pub(super) const TITLE: &str = "Stores against each other";

/// The section; nothing where a run has one store.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let Some((base, others)) = results.stores.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Vec::new();
    };
    let by_store: Vec<Vec<Operation>> = results.stores.iter().map(|store| all(results, store)).collect();
    let mut labels: Vec<&str> = Vec::new();
    for operation in by_store.iter().flatten() {
        if !labels.contains(&operation.label.as_str()) {
            labels.push(&operation.label);
        }
    }
    let mut tables = Vec::new();
    for driver in results.drivers.iter().map(|driver| driver.label.as_str()) {
        let rows: Vec<Vec<Spans>> = labels.iter().filter_map(|label| row(&by_store, label, driver)).collect();
        if !rows.is_empty() {
            let head = std::iter::once("Operation".to_owned()).chain(results.stores.iter().cloned()).collect();
            tables.push(Block::Heading(results.shown(driver)));
            tables.push(Block::Table(Table { head, rows, numeric: (1..=results.stores.len()).collect() }));
        }
    }
    let text = format!(
        "Medians in each store; in brackets the ratio to {base} with its {} interval. The same driver at the same point; the stores {} and {base} differ in \
         what “Stores” says of them, and each was made once, so that how the blocks of one happen to lie is in its figures. {NOT_RESOLVED}",
        human::percent(crate::analysis::CONFIDENCE),
        human::list(others),
    );
    headed([section("stores", TITLE), Block::Text(plain(text))], tables)
}

/// What is compared: the operations of the key figures, and jobs.
fn all<'a>(results: &'a ResultSet, store: &str) -> Vec<Operation<'a>> {
    let mut all = operations(results, store);
    all.extend(JobView::of(results, store).into_iter().flat_map(|view| view.jobs).map(|(_, job)| job));
    all
}

/// A driver's figures of an operation, store by store. `None` where fewer than two stores have it.
fn row<'a>(by_store: &[Vec<Operation<'a>>], label: &str, driver: &str) -> Option<Vec<Spans>> {
    let of = |operations: &Vec<Operation<'a>>| operations.iter().find(|o| o.label == label).and_then(|o| o.of(driver));
    let figures: Vec<Option<&Data>> = by_store.iter().map(of).collect();
    if figures.iter().flatten().count() < 2 {
        return None;
    }
    let base = figures.first().copied().flatten();
    let cell = |(at, data): (usize, &Option<&Data>)| {
        let Some(data) = data else { return plain("not measured") };
        let comparison = base.filter(|_| at > 0).and_then(|base| compare(data, base));
        compared(data, human::ns(data.p50()), comparison)
    };
    let cells = figures.iter().enumerate().map(cell);
    Some(std::iter::once(plain(label)).chain(cells).collect())
}
