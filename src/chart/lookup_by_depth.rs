//! Look-up of a name against the number of layers: hit, miss and whiteout side by side, a row for each state of the caches.

use super::lookup_panels::{Cell, STATES, STATES_WORDS, drivers, row, table};
use super::panel::zeros;
use super::sheet::{Sheet, draw};
use super::words::{change, each, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, compare, human};
use crate::record::{Metric, metric};
use crate::workload::CacheState;

/// See the module.
pub struct LookupByDepth;

static COLUMNS: [(&str, Metric); 3] =
    [("hit", metric::LOOKUP_HIT_NS), ("miss", metric::LOOKUP_MISS_NS), ("whiteout", metric::LOOKUP_WHITEOUT_NS)];

/// Look-ups of a name that is there.
fn hit(cache: CacheState) -> Cell<'static> {
    let [(name, metric), ..] = &COLUMNS;
    Cell { name, metric, cache }
}

impl Chart for LookupByDepth {
    fn name(&self) -> &'static str {
        "lookup_by_depth"
    }

    fn about(&self) -> &'static str {
        "latency of a look-up (hit, miss, whiteout) against the number of layers, for each state of the caches"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let mut csv = table();
        let mut rows = Vec::new();
        let mut found = Vec::new();
        let mut target = None;
        for cache in STATES {
            let cells = COLUMNS.each_ref().map(|(name, metric)| Cell { name, metric, cache });
            let Some(row) = row(data, store, "latency of stat", &cells, &mut csv) else { continue };
            found.extend(row.drivers);
            target = target.or_else(|| hit(cache).view(data, store).map(|view| view.target));
            rows.push(row.panels);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let title = "Look-up against depth".to_owned();
        let zeros = rows.iter().map(|row| zeros(row)).find(|text| !text.is_empty()).unwrap_or_default();
        let lies = target.map(|target| format!("A hit lies {}. ", target.words())).unwrap_or_default();
        let subtitle = vec![
            format!("{}{lies}Line: median; band: 10th to 90th percentile.{zeros}", in_store(data, store)),
            STATES_WORDS.to_owned(),
        ];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows,
            row_height: 300,
            legend: legend(data, &drivers(data, found)),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(data, store) }))
    }
}

fn sentences(data: &ResultSet, store: &str) -> [String; 2] {
    let found = STATES.into_iter().find_map(|cache| hit(cache).view(data, store));
    let first = match &found {
        None => "The look-up of a name that is there was not measured.".to_owned(),
        Some(view) if view.shallow() == view.deep() => {
            let at = human::count(view.deep(), "layer");
            format!("Only stacks of {at} were measured, so growth of a look-up with depth is not measured.")
        }
        Some(view) => {
            let at = |driver, depth| view.at(driver, depth, view.small());
            let items: Vec<_> = view
                .drivers
                .iter()
                .map(|d| (*d, at(d, view.deep()).zip(at(d, view.shallow())).and_then(|(a, b)| compare(a, b))))
                .collect();
            format!(
                "With {} caches, finding a name through {} layers instead of {} {}.",
                view.cache.as_str(),
                view.deep(),
                view.shallow(),
                change(&items)
            )
        }
    };
    let warm = hit(CacheState::Warm).view(data, store);
    let second = match warm {
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
    [first, second]
}
