//! Look-up of a name against the number of layers: hit, miss and whiteout side by side, a row for each state of the caches.

use std::collections::BTreeSet;

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series, zeros};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::{change, each, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, View, compare, human};
use crate::record::{Metric, metric};
use crate::workload::{CacheState, ProbeName};

/// See the module.
pub struct LookupByDepth;

/// Coldest first: it is what a starting container sees.
const ROWS: [CacheState; 3] = [CacheState::Cold, CacheState::Fresh, CacheState::Warm];

const COLUMNS: [(&str, Metric); 3] =
    [("hit", metric::LOOKUP_HIT_NS), ("miss", metric::LOOKUP_MISS_NS), ("whiteout", metric::LOOKUP_WHITEOUT_NS)];

fn view<'a>(data: &'a ResultSet, store: &str, metric: &Metric, cache: CacheState) -> Option<View<'a>> {
    View::of(data, store, ProbeName::Lookup, &metric.name, Some(cache))
}

impl Chart for LookupByDepth {
    fn name(&self) -> &'static str {
        "lookup_by_depth"
    }

    fn about(&self) -> &'static str {
        "latency of a look-up (hit, miss, whiteout) against the number of layers, for each state of the caches"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let mut csv = Csv::new(
            &["store", "driver", "lookup", "cache", "depth_layers", "file_size_bytes", "target"],
            &summary_columns("ns"),
        );
        let mut rows = Vec::new();
        let mut drivers: Vec<&str> = Vec::new();
        let mut target = None;
        for cache in ROWS {
            let views = COLUMNS.iter().map(|(_, metric)| view(data, store, metric, cache)).collect::<Vec<_>>();
            if views.iter().all(Option::is_none) {
                continue;
            }
            // One scale for the row, in every store.
            let all = data.stores.iter().flat_map(|store| {
                COLUMNS.iter().filter_map(|(_, metric)| view(data, store, metric, cache)).collect::<Vec<_>>()
            });
            let all: Vec<_> = all.flat_map(|view| view.all().map(|point| point.3).collect::<Vec<_>>()).collect();
            let y = Axis::latency("latency of stat", all);
            // And one of depths: a single layer has no whiteouts, and what stands side by side must be read alike.
            let depths: BTreeSet<u32> = views.iter().flatten().flat_map(|view| &view.depths).copied().collect();
            let x = Axis::at("lower layers", Quantity::Count, &depths.into_iter().map(f64::from).collect::<Vec<_>>());
            let mut row = Vec::new();
            for ((name, _), view) in COLUMNS.iter().zip(views) {
                let title = format!("{name}, {} caches", cache.as_str());
                let Some(view) = view else {
                    row.push(Panel { title, x: x.clone(), y: y.clone(), series: Vec::new() });
                    continue;
                };
                let (size, depths) = (view.small(), &view.depths);
                let mut series = Vec::new();
                for driver in &view.drivers {
                    let points = depths.iter().map(|depth| (f64::from(*depth), view.at(driver, *depth, size)));
                    series.push(Series::of(look(data.position(driver)), points));
                    for depth in depths {
                        let (n, bytes, place) = (depth.to_string(), size.to_string(), view.target.words());
                        let place = [store, driver, name, cache.as_str(), &n, &bytes, &place];
                        csv.data(&place, view.at(driver, *depth, size));
                    }
                }
                drivers.extend(&view.drivers);
                target = target.or(Some(view.target).filter(|_| *name == "hit"));
                row.push(Panel { title, x: x.clone(), y: y.clone(), series });
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Ok(None);
        }
        drivers.sort_by_key(|driver| data.position(driver));
        drivers.dedup();
        let title = "Look-up against depth".to_owned();
        let zeros = rows.iter().map(|row| zeros(row)).find(|text| !text.is_empty()).unwrap_or_default();
        let lies = target.map(|target| format!("A hit lies {}. ", target.words())).unwrap_or_default();
        let subtitle = vec![
            format!("{}{lies}Line: median; band: 10th to 90th percentile.{zeros}", in_store(data, store)),
            "Cold: nothing cached. Fresh: a new mount over cached layers. Warm: this mount has looked the name up before.".to_owned(),
        ];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            smoke: data.smoke,
            rows,
            row_height: 300,
            legend: legend(data, &drivers),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(data, store) }))
    }
}

fn sentences(data: &ResultSet, store: &str) -> [String; 2] {
    let found = ROWS.into_iter().find_map(|cache| view(data, store, &metric::LOOKUP_HIT_NS, cache));
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
    let warm = view(data, store, &metric::LOOKUP_HIT_NS, CacheState::Warm);
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
