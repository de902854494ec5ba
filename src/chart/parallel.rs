//! Several processes at once in one container: files a second against the number of processes, a line a driver; a panel for each shape of
//! files.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number, optional, summary_columns};
use super::panel::{Mark, Panel, Point, Series};
use super::sheet::{Sheet, draw, rows};
use super::style::look;
use super::words::{change, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{CONFIDENCE, Data, ParallelView, ResultSet, compare, human};
use crate::workload::{Params, ProbeName, Trigger};

/// See the module.
pub struct Parallel;

/// Panels of a row.
const COLUMNS: usize = 2;

/// By so much drivers stand aside from one another, so that their intervals do not cover each other.
const ASIDE: f64 = 1.045;

/// An interval that reaches further than this beyond all medians is cut off at the edge: of three blocks it may span decades.
const REACH: f64 = 3.0;

impl Chart for Parallel {
    fn name(&self) -> &'static str {
        "parallel"
    }

    fn about(&self) -> &'static str {
        "files a second that processes append to or read at once, against the number of processes"
    }

    fn is_expected(&self) -> bool {
        false
    }

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let views = ParallelView::all(data, store);
        let Some(first) = views.first() else { return Ok(None) };
        let elsewhere: Vec<ParallelView> =
            data.stores.iter().flat_map(|store| ParallelView::all(data, store)).collect();
        let mut columns = summary_columns("ns");
        columns.extend(["files_per_second", "files_per_second_low", "files_per_second_high"].map(str::to_owned));
        let mut csv = Csv::new(&["store", "work", "driver", "processes", "files"], &columns);
        let alike = views.iter().all(|view| view.params.depth == first.params.depth);
        let mut panels = Vec::new();
        for view in &views {
            let same = elsewhere.iter().filter(|other| (other.probe, other.params) == (view.probe, view.params));
            let y = scale(same);
            let counts: Vec<f64> = view.points.iter().map(|(count, _)| f64::from(*count)).collect();
            let x = Axis::at("processes at once", Quantity::Count, &counts);
            let mut series = Vec::new();
            let here = drivers(data, view);
            for (slot, driver) in here.iter().copied().enumerate() {
                let aside = ASIDE.powf(slot as f64 - (here.len() as f64 - 1.0) / 2.0);
                let (line, intervals) = line(view, driver, aside);
                let look = look(&data.drivers, driver);
                series.push(Series { look, points: intervals, label: None });
                series.push(Series { look, points: line, label: None });
                for (count, operation) in &view.points {
                    let Some(of) = operation.of(driver) else { continue };
                    let rate = Rate::of(view, of);
                    let place = [store, &view.label, driver, &count.to_string(), &view.params.files.to_string()];
                    let place = place.into_iter().map(str::to_owned);
                    let rates = [number(rate.median), optional(rate.low), optional(rate.high)];
                    csv.row(place.chain(super::csv::summary(of)).chain(rates));
                }
            }
            panels.push(Panel { title: title(view, !alike), x, y, series });
        }
        let title = "Several processes at once".to_owned();
        let layers =
            if alike { format!("Over {}. ", human::count(first.params.depth, "layer")) } else { String::new() };
        let subtitle = vec![
            format!(
                "{}{layers}The same files in one container, divided among processes that start together: files a second, all processes together. Higher is \
                 better.",
                in_store(data, store)
            ),
            format!(
                "Line: from the median of the time until all are done; bars: its {} interval. Drivers stand a little aside from one another.",
                human::percent(CONFIDENCE)
            ),
        ];
        let all: Vec<&str> = data.drivers.iter().map(|driver| driver.label.as_str()).collect();
        let drawn = |driver: &&str| views.iter().any(|view| drivers(data, view).contains(driver));
        let columns = COLUMNS.min(panels.len());
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: rows(panels, columns),
            columns,
            row_height: 290,
            legend: legend(data, &all.into_iter().filter(drawn).collect::<Vec<_>>()),
        })?;
        let sentence = |wanted: fn(&ParallelView) -> bool, what: &str| {
            let view = views.iter().find(|view| wanted(view));
            view.map_or_else(|| format!("{what} were not measured."), |view| sentence(data, view))
        };
        let sentences = [sentence(|view| !reads(view), "Writes"), sentence(reads, "Reads")];
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences }))
    }
}

/// Files a second.
struct Rate {
    median: f64,
    low: Option<f64>,
    high: Option<f64>,
}

impl Rate {
    /// From the time that all files took: what is slow at the upper end of the one interval is at the lower end of the other.
    fn of(view: &ParallelView, wall: &Data) -> Rate {
        let rate = |ns: f64| f64::from(view.params.files) * 1e9 / ns.max(1.0);
        let interval = wall.summary.interval;
        Rate { median: rate(wall.p50()), low: interval.map(|i| rate(i.high)), high: interval.map(|i| rate(i.low)) }
    }
}

fn reads(view: &ParallelView) -> bool {
    view.probe == ProbeName::Read
}

/// Drivers with a point, in the order of the run.
fn drivers<'a>(data: &'a ResultSet, view: &ParallelView) -> Vec<&'a str> {
    let has = |label: &&str| view.points.iter().any(|(_, operation)| operation.of(label).is_some());
    data.drivers.iter().map(|driver| driver.label.as_str()).filter(has).collect()
}

/// A driver's line; and its intervals, each by itself: of three blocks they differ so much that a band through them would be mostly spikes.
fn line(view: &ParallelView, driver: &str, aside: f64) -> (Vec<Option<Point>>, Vec<Option<Point>>) {
    let (mut line, mut intervals) = (Vec::new(), Vec::new());
    for (count, operation) in &view.points {
        let Some(wall) = operation.of(driver) else {
            line.push(None);
            continue;
        };
        let (rate, x) = (Rate::of(view, wall), f64::from(*count) * aside);
        line.push(Some(Point { x, y: rate.median, band: None, mark: Mark::Filled }));
        let band = rate.low.zip(rate.high);
        intervals.extend([Some(Point { x, y: rate.median, band, mark: Mark::None }), None]);
    }
    (line, intervals)
}

/// A scale that holds all medians of one shape, whatever the store, and their intervals within reason.
fn scale<'a>(views: impl Iterator<Item = &'a ParallelView<'a>>) -> Axis {
    let of = |view: &'a ParallelView<'a>| {
        let walls = view.points.iter().flat_map(|(_, operation)| &operation.points);
        walls.map(|(_, wall)| Rate::of(view, wall)).collect::<Vec<_>>()
    };
    let rates: Vec<Rate> = views.flat_map(of).collect();
    let medians = || rates.iter().map(|rate| rate.median);
    let (least, most) = (medians().fold(f64::INFINITY, f64::min) / REACH, medians().fold(0.0, f64::max) * REACH);
    let bounds = rates.iter().flat_map(|rate| [rate.low, rate.high]).flatten().map(|bound| bound.clamp(least, most));
    Axis::fit("files a second", Quantity::PerSecond, medians().chain(bounds))
}

/// What a panel is about; what is said above all is left out.
fn title(view: &ParallelView, layers: bool) -> String {
    let p = &view.params;
    let what = match view.probe {
        ProbeName::Read => "read".to_owned(),
        _ => p.trigger.as_str().to_owned(),
    };
    let layers = if layers { format!(", {}", human::count(p.depth, "layer")) } else { String::new() };
    let rest = Params { trigger: Trigger::default(), ..*p }.unusual().replace('=', " ").replace(',', ", ");
    let (files, size) = (human::count(p.files, "file"), human::bytes(p.file_size_bytes as f64));
    format!("{what}, {files} of {size}{layers}, {}{rest}", p.cache.as_str())
}

/// What the most processes take of the time of one.
fn sentence(data: &ResultSet, view: &ParallelView) -> String {
    let Some(((most, many), alone)) = view.points.last().zip(view.alone()) else {
        return format!("“{}” was not measured by one process.", view.label);
    };
    let compared = |driver| compare(many.of(driver)?, alone.of(driver)?);
    let items: Vec<_> = drivers(data, view).into_iter().map(|driver| (driver, compared(driver))).collect();
    format!("By {most} processes instead of one, “{}” {}.", view.label, change(&items))
}
