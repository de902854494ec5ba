//! Figures of ratios to a bind mount: a row an operation, a dot with its interval a driver, one logarithmic scale for all rows.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number, optional};
use super::lanes::Lanes;
use super::sheet::{
    Area, GREY, INK, MESH, WIDTH, at, canvas, draw_legend, head, head_height, legend_height, point, put, ring, text,
};
use super::style::{Look, look};
use super::{ChartError, legend};
use crate::analysis::{Comparison, Difference, Operation, ResultSet, compare, human};

/// Room for the ratios in figures.
const NUMBERS: i32 = 84;
const AXIS_HEIGHT: i32 = 60;

/// A ratio to be drawn.
pub(super) struct Dot<'a> {
    pub driver: &'a str,
    pub comparison: Comparison,
}

/// An operation with the ratios of its drivers.
pub(super) type Row<'a> = (&'a str, Vec<Dot<'a>>);

fn dots<'a>(data: &'a ResultSet, operation: &Operation<'a>) -> Vec<Dot<'a>> {
    let Some(base) = data.baseline().and_then(|bind| operation.of(bind)) else { return Vec::new() };
    let others = operation.points.iter().filter(|(driver, _)| !data.is_baseline(driver));
    others.filter_map(|(driver, subject)| Some(Dot { driver, comparison: compare(subject, base)? })).collect()
}

/// The rows that have a ratio.
pub(super) fn rows<'a>(data: &'a ResultSet, operations: &[&'a Operation<'a>]) -> Vec<Row<'a>> {
    let rows = operations.iter().map(|operation| (operation.label.as_str(), dots(data, operation)));
    rows.filter(|(_, dots)| !dots.is_empty()).collect()
}

/// Every number that is drawn.
pub(super) fn csv<'a>(data: &'a ResultSet, store: &str, operations: &[&'a Operation<'a>]) -> String {
    let mut csv = Csv::new(
        &["store", "operation", "driver", "ratio_to_bind", "ratio_low", "ratio_high", "noise_ratio", "finding"],
        &["driver_p50_ns", "driver_n", "bind_p50_ns", "bind_n"].map(str::to_owned),
    );
    let bind = data.baseline().unwrap_or_default();
    for operation in operations {
        for dot in dots(data, operation) {
            let c = &dot.comparison;
            let cells = [store.to_owned(), operation.label.clone(), dot.driver.to_owned(), number(c.ratio)];
            let bounds = [c.interval.map(|i| i.low), c.interval.map(|i| i.high), c.noise].map(optional);
            let medians = [dot.driver, bind].into_iter().flat_map(|driver| match operation.of(driver) {
                Some(data) => [number(data.p50()), data.summary.n.to_string()],
                None => [String::new(), String::new()],
            });
            csv.row(cells.into_iter().chain(bounds).chain([finding(c.difference).to_owned()]).chain(medians));
        }
    }
    csv.finish()
}

/// A scale that holds all ratios of some rows with their intervals, and 1.
pub(super) fn axis<'a>(rows: impl IntoIterator<Item = Row<'a>>) -> Axis {
    let dots = rows.into_iter().flat_map(|(_, dots)| dots);
    let ratios = dots.flat_map(|dot| {
        let bounds = dot.comparison.interval.map(|i| [i.low, i.high]);
        [dot.comparison.ratio].into_iter().chain(bounds.into_iter().flatten()).collect::<Vec<_>>()
    });
    Axis::fit("ratio to bind", Quantity::Ratio, ratios.chain([1.0]))
}

/// Draws the rows.
pub(super) fn draw(
    data: &ResultSet,
    title: &str,
    subtitle: &[String],
    rows: &[Row],
    axis: &Axis,
) -> Result<String, ChartError> {
    let drivers: Vec<&str> = data
        .drivers
        .iter()
        .map(|d| d.label.as_str())
        .filter(|d| rows.iter().any(|(_, dots)| dots.iter().any(|dot| dot.driver == *d)))
        .collect();
    let step = if drivers.len() > 4 { 12 } else { 16 };
    let band = step * drivers.len() as i32 + 10;
    let entries = legend(data, &drivers);
    let head_height = head_height(subtitle, &data.marks);
    let height = head_height + band * rows.len() as i32 + AXIS_HEIGHT + legend_height(&entries);
    let lanes = Lanes::for_names(rows.iter().map(|(label, _)| *label), NUMBERS);
    canvas(title, height, |root| {
        let top = head(root, title, subtitle, &data.marks)?;
        let bottom = top + band * rows.len() as i32;
        lanes.draw_axis(root, axis, (top, bottom), Some(1.0))?;
        for (i, (label, dots)) in rows.iter().enumerate() {
            let y = top + band * i as i32;
            lanes.draw_name(root, label, y + band / 2)?;
            let rule = vec![(at(16), at(y + band)), (at(WIDTH - 16), at(y + band))];
            root.draw(&PathElement::new(rule, MESH.stroke_width(1))).map_err(|e| e.to_string())?;
            for dot in dots {
                let slot = drivers.iter().position(|driver| *driver == dot.driver).unwrap_or(0) as i32;
                draw_dot(root, (&lanes, axis), &look(&data.drivers, dot.driver), dot, y + 5 + step * slot + step / 2)?;
            }
        }
        draw_legend(root, &entries, bottom + AXIS_HEIGHT)
    })
}

fn finding(difference: Difference) -> &'static str {
    match difference {
        Difference::Higher => "slower",
        Difference::Lower => "faster",
        Difference::WithinInterval => "not resolved: interval includes 1",
        Difference::WithinNoise => "not resolved: within noise",
        Difference::Unknown => "too few samples",
    }
}

fn draw_dot(root: &Area, (lanes, axis): (&Lanes, &Axis), look: &Look, dot: &Dot, y: i32) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let c = &dot.comparison;
    if let Some(interval) = c.interval {
        let (low, high) = (lanes.x(axis, interval.low), lanes.x(axis, interval.high));
        root.draw(&PathElement::new(vec![(low, at(y)), (high, at(y))], look.colour.stroke_width(4))).map_err(error)?;
        for end in [low, high] {
            let cap = vec![(end, at(y) - 7), (end, at(y) + 7)];
            root.draw(&PathElement::new(cap, look.colour.stroke_width(3))).map_err(error)?;
        }
    }
    let centre = (lanes.x(axis, c.ratio), at(y));
    if c.difference.is_found() {
        point(root, centre, look)?;
    } else {
        ring(root, centre, look)?;
    }
    let ink = if c.difference.is_found() { INK } else { GREY };
    put(root, &human::ratio(c.ratio), (WIDTH - 18, y), text(11, ink, HPos::Right, VPos::Center))
}
