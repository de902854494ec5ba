//! Start of a container by its place among those that were started before it: does the last one start as fast as the first? A panel for each
//! number of layers, with the most containers that were started on so many.

use std::collections::BTreeMap;

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Mark, Panel, Series, zeros};
use super::sheet::{Sheet, draw, rows};
use super::style::look;
use super::words::{change, each, in_store};
use super::{Chart, ChartError, Figure, legend, start};
use crate::analysis::{Data, Group, ResultSet, compare, human};
use crate::record::{Metric, metric};

/// See the module.
pub struct StartByPlace;

/// Containers of a point, one after the other. Of few containers each is a point.
const RUN: usize = 10;

/// Most markers on a line.
const MARKERS: usize = 20;

/// The starts on one number of layers: containers, and a group for each driver.
struct Place<'a> {
    depth: u32,
    containers: u32,
    groups: Vec<&'a Group>,
}

impl Place<'_> {
    /// How many containers make a point.
    fn run(&self) -> usize {
        if self.containers as usize >= 2 * RUN { RUN } else { 1 }
    }

    /// The points of a group: the first and the last container of each, from 1, and their starts.
    fn points(&self, group: &Group) -> Vec<(usize, usize, Data)> {
        let Some(data) = group.metric(&metric::START_NS.name) else { return Vec::new() };
        let all = self.containers as usize;
        let begins = (0..all).step_by(self.run());
        let point = |begin: usize| {
            let end = all.min(begin + self.run());
            Some((begin + 1, end, data.at_places(|place, _| (begin..end).contains(&place))?))
        };
        begins.filter_map(point).collect()
    }

    /// The last containers against the first.
    fn ends(&self, group: &Group) -> Option<(Data, Data)> {
        let data = group.metric(&metric::START_NS.name)?;
        let first = data.at_places(|place, _| place < self.run())?;
        Some((data.at_places(|place, of| place + self.run() >= of)?, first))
    }
}

impl Chart for StartByPlace {
    fn name(&self) -> &'static str {
        "start_by_place"
    }

    fn about(&self) -> &'static str {
        "time to start a container against how many were started before it"
    }

    fn is_expected(&self) -> bool {
        false
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        // Where reading the mount table is part of a start, its growth is that of the table.
        if !data.mounts_alone {
            return Ok(None);
        }
        let all = places(data, None);
        let here = places(data, Some(store));
        let Some(most) = here.iter().max_by_key(|place| place.containers) else { return Ok(None) };
        let drawn: Vec<_> = all.iter().flat_map(|place| place.groups.iter().flat_map(|g| place.points(g))).collect();
        let y = Axis::latency("mount and first program", drawn.iter().map(|(_, _, data)| data));
        let mut csv = Csv::new(
            &["store", "driver", "depth_layers", "containers", "first_container", "last_container"],
            &summary_columns("ns"),
        );
        let mut panels = Vec::new();
        for place in &here {
            let mut series = Vec::new();
            for group in &place.groups {
                let driver = &group.key.driver;
                let points = place.points(group);
                for (first, last, data) in &points {
                    let numbers = [place.depth, place.containers].map(|n| n.to_string());
                    let (first, last) = (first.to_string(), last.to_string());
                    csv.data(&[store, driver, &numbers[0], &numbers[1], &first, &last], Some(data));
                }
                let middle = |(first, last, data)| ((first + last) as f64 / 2.0, data);
                let points: Vec<(f64, Data)> = points.into_iter().map(middle).collect();
                let mut line = Series::of(look(&data.drivers, driver), points.iter().map(|(x, data)| (*x, Some(data))));
                // So many that their markers would cover one another.
                let every = points.len().div_ceil(MARKERS);
                for (index, point) in line.points.iter_mut().enumerate() {
                    if let Some(point) = point.as_mut().filter(|_| index % every != 0) {
                        point.mark = Mark::None;
                    }
                }
                series.push(line);
            }
            let title =
                format!("{}, {}", human::count(place.depth, "layer"), human::count(place.containers, "container"));
            let x =
                Axis::linear("place in the order of starting".to_owned(), Quantity::Count, f64::from(place.containers));
            panels.push(Panel { title, x, y: y.clone(), series });
        }
        let title = "Start of a container by its place among many".to_owned();
        let subtitle = vec![format!(
            "{}Containers are started one after the other, and stay until all have started. A point: {} in a row, of every block. Line: median; \
             band: 10th to 90th percentile.{}",
            in_store(data, store),
            human::count(most.run() as u64, "container"),
            zeros(&panels)
        )];
        let sentences = [ends(most), rest(most)];
        let drivers: Vec<&str> = data
            .drivers
            .iter()
            .map(|driver| driver.label.as_str())
            .filter(|label| here.iter().any(|place| place.groups.iter().any(|group| group.key.driver == *label)))
            .collect();
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            // Two panels side by side can be read, four cannot.
            rows: rows(panels, 2),
            columns: 1,
            row_height: 300,
            legend: legend(data, &drivers),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences }))
    }
}

/// By number of layers the most containers that were started on so many in any store, more than one, and their groups, of one store or of all.
fn places<'a>(data: &'a ResultSet, store: Option<&str>) -> Vec<Place<'a>> {
    let known = |label: &str| data.drivers.iter().any(|driver| driver.label == label);
    let all: Vec<&Group> = start::groups(data).into_iter().filter(|group| known(&group.key.driver)).collect();
    let mut most: BTreeMap<u32, u32> = BTreeMap::new();
    for group in &all {
        let containers = most.entry(group.key.params.depth).or_default();
        *containers = group.key.params.containers.max(*containers);
    }
    let place = |(depth, containers)| {
        let at = |group: &&Group| (group.key.params.depth, group.key.params.containers) == (depth, containers);
        let wanted = |group: &&Group| at(group) && store.is_none_or(|store| group.key.store == store);
        let mut groups: Vec<&Group> = all.iter().copied().filter(wanted).collect();
        groups.sort_by_key(|group| data.position(&group.key.driver));
        Place { depth, containers, groups }
    };
    let several = most.into_iter().filter(|(_, containers)| *containers > 1);
    several.map(place).filter(|place| !place.groups.is_empty()).collect()
}

/// The last containers against the first ones.
fn ends(place: &Place) -> String {
    let (last, first, being) = match place.run() {
        1 => ("last", "first", "Being the last"),
        _ => ("last ten", "first ten", "Being among the last ten"),
    };
    let (containers, layers) = (place.containers, human::count(place.depth, "layer"));
    let found: Vec<_> = place.groups.iter().map(|group| (group.key.driver.as_str(), place.ends(group))).collect();
    let compared: Vec<_> =
        found.iter().map(|(d, ends)| (*d, ends.as_ref().and_then(|(last, first)| compare(last, first)))).collect();
    let ratios: Vec<(&str, f64)> = compared.iter().filter_map(|(d, found)| Some((*d, found.as_ref()?.ratio))).collect();
    if ratios.is_empty() {
        return format!("Whether the last of {containers} containers starts as fast as the first was not measured.");
    }
    let ratios = each(&ratios, human::ratio);
    let said =
        format!("Of {containers} containers over {layers} the {last} took, against the {first}, {ratios} (medians).");
    // One block has no interval.
    let blocks = found.iter().flat_map(|(_, ends)| ends).map(|(last, _)| last.summary.blocks).max().unwrap_or(0);
    match blocks {
        0 | 1 => format!("{said} They are of one block, so that what chance does is not known."),
        _ => format!("{said} {being} {}.", change(&compared)),
    }
}

/// What else was found of so many containers.
fn rest(place: &Place) -> String {
    let medians = |metric: &Metric| -> Vec<(&str, f64)> {
        let median = |group: &&Group| group.metric(&metric.name).map(Data::p50);
        place.groups.iter().filter_map(|group| Some((group.key.driver.as_str(), median(group)?))).collect()
    };
    let (unmount, memory) = (medians(&metric::UNMOUNT_NS), medians(&metric::DAEMON_BYTES));
    let containers = human::count(place.containers, "container");
    let unmount = match unmount.is_empty() {
        true => format!("Unmounting was not measured among {containers}"),
        false => format!("Unmounting one of {containers} takes {} (medians)", each(&unmount, human::ns)),
    };
    match memory.is_empty() {
        true => format!("{unmount}."),
        false => format!("{unmount}; its daemon’s own memory is {}.", each(&memory, human::bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_panels_are_two_rows() {
        let axis = || Axis::linear(String::new(), Quantity::Count, 1.0);
        let panel = || Panel { title: String::new(), x: axis(), y: axis(), series: Vec::new() };
        let shape = |n: usize| rows((0..n).map(|_| panel()).collect(), 2).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!([shape(1), shape(2), shape(3), shape(4)], [vec![1], vec![2], vec![2, 1], vec![2, 2]]);
    }
}
