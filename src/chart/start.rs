//! Start of a container: against the number of containers, and against the number of layers; a line a driver.

use std::collections::BTreeSet;

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series, zeros};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::{change, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{Data, Group, ResultSet, compare, human};
use crate::record::metric;
use crate::workload::{Params, ProbeName};

/// See the module.
pub struct Start;

impl Chart for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    fn about(&self) -> &'static str {
        "time to mount a container and run its first program, against containers and layers"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let all = groups(data);
        let here: Vec<&Group> = all.iter().copied().filter(|group| group.key.store == store).collect();
        let drivers: Vec<&str> = data
            .drivers
            .iter()
            .map(|driver| driver.label.as_str())
            .filter(|label| here.iter().any(|group| group.key.driver == *label))
            .collect();
        if drivers.is_empty() {
            return Ok(None);
        }
        // Each panel holds the other axis where the most of its own was measured.
        let depth = widest(&all, |p| p.depth, |p| p.containers);
        let containers = widest(&all, |p| p.containers, |p| p.depth);
        let (Some(depth), Some(containers)) = (depth, containers) else { return Ok(None) };

        let at = |driver: &str, wanted: &dyn Fn(&Params) -> bool| -> Option<&Data> {
            let group = here.iter().find(|group| group.key.driver == driver && wanted(&group.key.params))?;
            group.metric(&metric::START_NS.name)
        };
        let levels = |value: fn(&Params) -> u32, fixed: &dyn Fn(&Params) -> bool| -> Vec<u32> {
            let levels: BTreeSet<u32> =
                all.iter().map(|group| &group.key.params).filter(|p| fixed(p)).map(value).collect();
            levels.into_iter().collect()
        };
        let many = levels(|p| p.containers, &|p| p.depth == depth);
        let deep = levels(|p| p.depth, &|p| p.containers == containers);
        let values = all.iter().filter_map(|group| group.metric(&metric::START_NS.name));
        let y = Axis::latency("mount and first program", values);
        let panel = |title: String, x: &str, levels: &[u32], point: &dyn Fn(&Params, u32) -> bool| {
            let floats: Vec<f64> = levels.iter().map(|level| f64::from(*level)).collect();
            let series = drivers
                .iter()
                .map(|driver| {
                    let points = levels.iter().map(|level| (f64::from(*level), at(driver, &|p| point(p, *level))));
                    Series::of(look(&data.drivers, driver), points)
                })
                .collect();
            Panel { title, x: Axis::at(x, Quantity::Count, &floats), y: y.clone(), series }
        };
        let panels = vec![
            panel(human::count(depth, "layer"), "containers", &many, &|p, n| p.depth == depth && p.containers == n),
            panel(human::count(containers, "container"), "lower layers", &deep, &|p, n| {
                p.containers == containers && p.depth == n
            }),
        ];
        let mut csv = Csv::new(&["store", "driver", "depth_layers", "containers"], &summary_columns("ns"));
        for group in here.iter().filter(|group| drivers.contains(&group.key.driver.as_str())) {
            let p = &group.key.params;
            let place = [store, &group.key.driver, &p.depth.to_string(), &p.containers.to_string()];
            csv.data(&place, group.metric(&metric::START_NS.name));
        }
        let title = "Start of a container".to_owned();
        let subtitle = vec![format!(
            "{}Mount until it answers, and the first program (one that ends at once); containers are started one after the other. Line: median over containers; band: 10th to 90th percentile.{}",
            in_store(data, store),
            zeros(&panels)
        )];
        let growth = |levels: &[u32], point: &dyn Fn(&Params, u32) -> bool| {
            let (Some(low), Some(high)) = (levels.first(), levels.last()) else { return String::new() };
            let items: Vec<_> = drivers
                .iter()
                .map(|d| {
                    let pair = at(d, &|p| point(p, *high)).zip(at(d, &|p| point(p, *low)));
                    (*d, pair.and_then(|(a, b)| compare(a, b)))
                })
                .collect();
            change(&items)
        };
        let ends = |levels: &[u32]| levels.first().zip(levels.last()).map(|(a, b)| (*a, *b)).unwrap_or((1, 1));
        let ((few, most), (shallow, deepest)) = (ends(&many), ends(&deep));
        let sentences = [
            if few == most {
                format!("Only starts of {} were measured.", human::count(few, "container"))
            } else {
                format!(
                    "With {most} containers instead of {few}, a start {}.",
                    growth(&many, &|p, n| p.depth == depth && p.containers == n)
                )
            },
            if shallow == deepest {
                format!("Only stacks of {} were measured.", human::count(shallow, "layer"))
            } else {
                format!(
                    "Over {deepest} layers instead of {shallow} it {}.",
                    growth(&deep, &|p, n| p.containers == containers && p.depth == n)
                )
            },
        ];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: vec![panels],
            columns: 1,
            row_height: 360,
            legend: legend(data, &drivers),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences }))
    }
}

/// Starts in the state of the caches with the most points, of every store.
pub(super) fn groups(data: &ResultSet) -> Vec<&Group> {
    let all: Vec<&Group> = data
        .groups
        .iter()
        .filter(|g| g.key.probe == ProbeName::Start && g.metric(&metric::START_NS.name).is_some())
        // An image's own program is another thing, and not one of an axis.
        .filter(|g| g.key.params.stack.is_none())
        .collect();
    let count = |group: &&&Group| all.iter().filter(|g| g.key.params.cache == group.key.params.cache).count();
    let cache = all.iter().max_by_key(count).map(|group| group.key.params.cache);
    all.iter().copied().filter(|group| Some(group.key.params.cache) == cache).collect()
}

/// The value of one axis at which the most values of the other were measured; of equals the smallest.
fn widest(all: &[&Group], fixed: impl Fn(&Params) -> u32, other: impl Fn(&Params) -> u32) -> Option<u32> {
    let candidates: BTreeSet<u32> = all.iter().map(|group| fixed(&group.key.params)).collect();
    let levels = |candidate: u32| {
        let params = all.iter().map(|group| &group.key.params).filter(|p| fixed(p) == candidate);
        params.map(&other).collect::<BTreeSet<u32>>().len()
    };
    candidates.into_iter().rev().max_by_key(|candidate| levels(*candidate))
}
