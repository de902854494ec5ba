//! Look-up of a name against the number of layers, a row for each state of the caches: the first in a directory, hit and miss; then the next
//! ones there, hit, miss and whiteout.

use super::lookup_panels::{Cell, STATES, directory_words, drivers, row, states, states_words, table};
use super::panel::zeros;
use super::sheet::{Sheet, draw};
use super::words::{change, each, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, View, compare, human};
use crate::record::{Metric, metric};
use crate::workload::CacheState;

/// See the module.
pub struct LookupByDepth;

/// Name and metric of a column.
type Column = (&'static str, Metric);

static FIRST: [Column; 2] =
    [("first look-up, hit", metric::LOOKUP_FIRST_NS), ("first look-up, miss", metric::LOOKUP_FIRST_MISS_NS)];

static NEXT: [Column; 3] =
    [("hit", metric::LOOKUP_HIT_NS), ("miss", metric::LOOKUP_MISS_NS), ("whiteout", metric::LOOKUP_WHITEOUT_NS)];

fn cell((name, metric): &'static Column, cache: CacheState) -> Cell<'static> {
    Cell { name, metric, cache }
}

/// Look-ups of a name that is there, in the coldest state that was measured.
fn coldest<'a>(column: &'static Column, data: &'a ResultSet, store: &str) -> Option<View<'a>> {
    STATES.into_iter().find_map(|cache| cell(column, cache).view(data, store))
}

impl Chart for LookupByDepth {
    fn name(&self) -> &'static str {
        "lookup_by_depth"
    }

    fn about(&self) -> &'static str {
        "latency of the first look-up in a directory and of the next ones against the number of layers, for each state of the caches"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let mut csv = table();
        let mut rows = Vec::new();
        let mut found = Vec::new();
        let mut target = None;
        for columns in [&FIRST[..], &NEXT[..]] {
            for cache in STATES {
                let cells = columns.iter().map(|column| cell(column, cache));
                let cells: Vec<_> = cells.filter(|cell| cell.is_anywhere(data)).collect();
                let Some(row) = row(data, store, "latency of stat", &cells, &mut csv) else { continue };
                found.extend(row.drivers);
                target = target.or(row.target);
                rows.push(row.panels);
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let title = "Look-up against depth".to_owned();
        let zeros = rows.iter().map(|row| zeros(row)).find(|text| !text.is_empty()).unwrap_or_default();
        let lies = target.map(|target| format!("A hit lies {}. ", target.words())).unwrap_or_default();
        let first = if data.first_lookups_apart() {
            "First look-up: of a path from the root of the mount, in a directory that every layer has and nobody has looked at; with all that \
             the directory costs. Below it, names of one directory. "
        } else {
            ""
        };
        let subtitle = vec![
            format!("{}{lies}Line: median; band: 10th to 90th percentile.{zeros}", in_store(data, store)),
            states_words(&states(data, FIRST.iter().chain(&NEXT).map(|(_, metric)| metric))),
            format!("{first}{}", directory_words(data)),
        ];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows,
            columns: 1,
            row_height: 300,
            legend: legend(data, &drivers(data, found)),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(data, store) }))
    }
}

fn sentences(data: &ResultSet, store: &str) -> [String; 2] {
    let first = coldest(&FIRST[0], data, store).map(|view| growth(&view, "the first look-up in a directory"));
    let next = match coldest(&NEXT[0], data, store) {
        None => "The look-up of a name that is there was not measured.".to_owned(),
        Some(view) if first.is_some() => growth(&view, "finding the next name there"),
        Some(view) => growth(&view, "finding a name"),
    };
    let warm = cell(&NEXT[0], CacheState::Warm).view(data, store);
    let last = match warm {
        None => "What a look-up costs once the name is cached was not measured.".to_owned(),
        Some(view) => {
            let at = |d| Some((d, view.at(d, view.deep(), view.small())?.p50()));
            let values: Vec<(&str, f64)> = view.drivers.iter().filter_map(|d| at(*d)).collect();
            format!(
                "Once the name is cached (warm), the same through {} takes {}.",
                human::count(view.deep(), "layer"),
                each(&values, human::ns)
            )
        }
    };
    match first {
        Some(first) => [first, format!("{next} {last}")],
        None => [next, last],
    }
}

/// What depth does to a look-up.
fn growth(view: &View, subject: &str) -> String {
    if view.shallow() == view.deep() {
        let at = human::count(view.deep(), "layer");
        return format!("Only stacks of {at} were measured, so what depth does to {subject} is not measured.");
    }
    let at = |driver, depth| view.at(driver, depth, view.small());
    let items: Vec<_> = view
        .drivers
        .iter()
        .map(|d| (*d, at(d, view.deep()).zip(at(d, view.shallow())).and_then(|(a, b)| compare(a, b))))
        .collect();
    format!(
        "With {} caches, {subject} through {} layers instead of {} {}.",
        view.cache.as_str(),
        view.deep(),
        view.shallow(),
        change(&items)
    )
}
