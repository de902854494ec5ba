//! Panels of look-ups against the number of layers, side by side on one scale: what the figures of look-ups have in common.

use std::collections::BTreeSet;

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series};
use super::style::look;
use crate::analysis::{ResultSet, Target, View};
use crate::record::Metric;
use crate::workload::{CacheState, ProbeName};

/// Coldest first: it is what a starting container sees.
pub(super) const STATES: [CacheState; 3] = [CacheState::Cold, CacheState::Fresh, CacheState::Warm];

/// Of the states those in which some store has one of the metrics, coldest first: a state that nobody asked for has no place.
pub(super) fn states<'m>(data: &ResultSet, metrics: impl Iterator<Item = &'m Metric> + Clone) -> Vec<CacheState> {
    let measured =
        |cache: &CacheState| metrics.clone().any(|metric| Cell { name: "", metric, cache: *cache }.is_anywhere(data));
    STATES.into_iter().filter(measured).collect()
}

/// What some states of the caches are, for the head of a figure.
pub(super) fn states_words(states: &[CacheState]) -> String {
    let words = |state: &CacheState| match state {
        CacheState::Cold => "Cold: caches were dropped.",
        CacheState::Fresh => "Fresh: a new mount over cached layers.",
        CacheState::Warm => "Warm: this mount has looked the name up before.",
    };
    states.iter().map(words).collect::<Vec<_>>().join(" ")
}

/// What was known of the directory when the names that are called hit, miss and so on were looked up.
pub(super) fn directory_words(data: &ResultSet) -> &'static str {
    if data.first_lookups_apart() {
        "The directory has been visited: it has been asked for another name, after the caches were dropped, so that what belongs to the \
         directory is known."
    } else {
        "The directory had been opened, after the caches were dropped, and not been asked: the first of a case’s samples holds what else it \
         costs, and is one of many."
    }
}

/// A panel's worth of look-ups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<'m> {
    /// Which kind, in a word or two.
    pub name: &'static str,
    /// Its metric.
    pub metric: &'m Metric,
    /// State of the caches.
    pub cache: CacheState,
}

impl Cell<'_> {
    /// The cell's points in a store.
    pub fn view<'a>(&self, data: &'a ResultSet, store: &str) -> Option<View<'a>> {
        View::of(data, store, ProbeName::Lookup, &self.metric.name, Some(self.cache))
    }

    /// Whether some store has points of it.
    pub fn is_anywhere(&self, data: &ResultSet) -> bool {
        data.stores.iter().any(|store| self.view(data, store).is_some())
    }
}

/// A table for the numbers of such panels.
pub(super) fn table() -> Csv {
    Csv::new(
        &["store", "driver", "lookup", "cache", "depth_layers", "file_size_bytes", "target"],
        &summary_columns("ns"),
    )
}

/// A row of panels, and what is in it.
pub(super) struct Row<'a> {
    pub panels: Vec<Panel>,
    /// Drivers with a point, some of them several times.
    pub drivers: Vec<&'a str>,
    /// Where the names of the first cell that was measured lie.
    pub target: Option<Target>,
}

/// Draws cells side by side and writes their numbers to the table. `None`: nothing of them was measured.
pub(super) fn row<'a>(
    data: &'a ResultSet,
    store: &str,
    y_title: &str,
    cells: &[Cell],
    csv: &mut Csv,
) -> Option<Row<'a>> {
    let views: Vec<_> = cells.iter().map(|cell| cell.view(data, store)).collect();
    if views.iter().all(Option::is_none) {
        return None;
    }
    // One scale for the row, in every store.
    let all = data.stores.iter().flat_map(|store| cells.iter().filter_map(|cell| cell.view(data, store)));
    let all: Vec<_> = all.flat_map(|view| view.all().map(|point| point.3).collect::<Vec<_>>()).collect();
    let y = Axis::latency(y_title, all);
    // And one of depths: a single layer has no whiteouts, and what stands side by side must be read alike.
    let depths: BTreeSet<u32> = views.iter().flatten().flat_map(|view| &view.depths).copied().collect();
    let x = Axis::at("lower layers", Quantity::Count, &depths.into_iter().map(f64::from).collect::<Vec<_>>());
    let mut row = Row { panels: Vec::new(), drivers: Vec::new(), target: None };
    for (cell, view) in cells.iter().zip(views) {
        let title = format!("{}, {} caches", cell.name, cell.cache.as_str());
        let mut series = Vec::new();
        if let Some(view) = view {
            let (size, depths) = (view.small(), &view.depths);
            for driver in &view.drivers {
                let points = depths.iter().map(|depth| (f64::from(*depth), view.at(driver, *depth, size)));
                series.push(Series::of(look(&data.drivers, driver), points));
                for depth in depths {
                    let (n, bytes, place) = (depth.to_string(), size.to_string(), view.target.words());
                    let place = [store, driver, cell.name, cell.cache.as_str(), &n, &bytes, &place];
                    csv.data(&place, view.at(driver, *depth, size));
                }
            }
            row.drivers.extend(&view.drivers);
            row.target = row.target.or(Some(view.target));
        }
        row.panels.push(Panel { title, x: x.clone(), y: y.clone(), series });
    }
    Some(row)
}

/// Drivers of some rows, each once, in the order of the run.
pub(super) fn drivers<'a>(data: &ResultSet, mut drivers: Vec<&'a str>) -> Vec<&'a str> {
    drivers.sort_by_key(|driver| data.position(driver));
    drivers.dedup();
    drivers
}
