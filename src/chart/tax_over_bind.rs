//! What each driver adds to each operation, as a ratio to a bind mount: what a volume would save.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number, optional};
use super::lanes::Lanes;
use super::sheet::{
    Area, GREY, INK, MESH, WIDTH, at, canvas, draw_legend, head, head_height, legend_height, point, put, text,
};
use super::style::look;
use super::words::in_store;
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{Comparison, Difference, Operation, ResultSet, compare, human, operations};

/// See the module.
pub struct TaxOverBind;

const LANES: Lanes = Lanes { labels: 300, numbers: 84 };
const AXIS_HEIGHT: i32 = 60;

/// A ratio to be drawn.
struct Dot<'a> {
    driver: &'a str,
    comparison: Comparison,
}

fn dots<'a>(data: &'a ResultSet, operation: &Operation<'a>) -> Vec<Dot<'a>> {
    let Some(base) = data.baseline().and_then(|bind| operation.of(bind)) else { return Vec::new() };
    let others = operation.points.iter().filter(|(driver, _)| !data.is_baseline(driver));
    others.filter_map(|(driver, subject)| Some(Dot { driver, comparison: compare(subject, base)? })).collect()
}

impl Chart for TaxOverBind {
    fn name(&self) -> &'static str {
        "tax_over_bind"
    }

    fn about(&self) -> &'static str {
        "ratio of each driver to a bind mount for each operation: what a volume would save"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let operations = operations(data, store);
        let rows: Vec<(&str, Vec<Dot>)> = operations
            .iter()
            .map(|operation| (operation.label.as_str(), dots(data, operation)))
            .filter(|(_, dots)| !dots.is_empty())
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let mut csv = Csv::new(
            &["store", "operation", "driver", "ratio_to_bind", "ratio_low", "ratio_high", "noise_ratio", "finding"],
            &["driver_p50_ns", "driver_n", "bind_p50_ns", "bind_n"].map(str::to_owned),
        );
        let bind = data.baseline().unwrap_or_default();
        for operation in &operations {
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
        let ratios = data.stores.iter().flat_map(|store| {
            let operations = crate::analysis::operations(data, store);
            let dots = operations.iter().flat_map(|operation| dots(data, operation));
            dots.flat_map(|dot| {
                let bounds = dot.comparison.interval.map(|i| [i.low, i.high]);
                [dot.comparison.ratio].into_iter().chain(bounds.into_iter().flatten()).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
        });
        let axis = Axis::fit("ratio of medians to bind", Quantity::Ratio, ratios.chain([1.0]));

        let drivers: Vec<&str> = data
            .drivers
            .iter()
            .map(|d| d.label.as_str())
            .filter(|d| rows.iter().any(|(_, dots)| dots.iter().any(|dot| dot.driver == *d)))
            .collect();
        let step = if drivers.len() > 4 { 12 } else { 16 };
        let band = step * drivers.len() as i32 + 10;
        let title = "The tax over a bind mount".to_owned();
        let subtitle = vec![format!(
            "{}Ratio of medians to {bind}, with its interval; right of the line at 1 the driver is slower. Hollow: no \
             difference beyond the noise.",
            in_store(data, store)
        )];
        let entries = legend(data, &drivers);
        let head_height = head_height(&subtitle, data.smoke);
        let height = head_height + band * rows.len() as i32 + AXIS_HEIGHT + legend_height(&entries);
        let svg = canvas(&title, height, |root| {
            let top = head(root, &title, &subtitle, data.smoke)?;
            let bottom = top + band * rows.len() as i32;
            LANES.draw_axis(root, &axis, (top, bottom), Some(1.0))?;
            for (i, (label, dots)) in rows.iter().enumerate() {
                let y = top + band * i as i32;
                put(root, label, (LANES.labels - 12, y + band / 2), text(12, INK, HPos::Right, VPos::Center))?;
                let rule = vec![(at(16), at(y + band)), (at(WIDTH - 16), at(y + band))];
                root.draw(&PathElement::new(rule, MESH.stroke_width(1))).map_err(|e| e.to_string())?;
                for dot in dots {
                    let slot = drivers.iter().position(|driver| *driver == dot.driver).unwrap_or(0) as i32;
                    draw_dot(root, data, &axis, dot, y + 5 + step * slot + step / 2)?;
                }
            }
            draw_legend(root, &entries, bottom + AXIS_HEIGHT)
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&rows, bind) }))
    }
}

fn finding(difference: Difference) -> &'static str {
    match difference {
        Difference::Higher => "slower",
        Difference::Lower => "faster",
        Difference::WithinInterval => "no difference: interval includes 1",
        Difference::WithinNoise => "no difference: within noise",
        Difference::Unknown => "too few samples",
    }
}

fn draw_dot(root: &Area, data: &ResultSet, axis: &Axis, dot: &Dot, y: i32) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let look = look(data.position(dot.driver));
    let c = &dot.comparison;
    if let Some(interval) = c.interval {
        let (low, high) = (LANES.x(axis, interval.low), LANES.x(axis, interval.high));
        root.draw(&PathElement::new(vec![(low, at(y)), (high, at(y))], look.colour.stroke_width(4))).map_err(error)?;
        for end in [low, high] {
            let cap = vec![(end, at(y) - 7), (end, at(y) + 7)];
            root.draw(&PathElement::new(cap, look.colour.stroke_width(3))).map_err(error)?;
        }
    }
    let centre = (LANES.x(axis, c.ratio), at(y));
    point(root, centre, &look)?;
    if !c.difference.is_found() {
        root.draw(&Circle::new(centre, 5, WHITE.filled())).map_err(error)?;
    }
    let ink = if c.difference.is_found() { INK } else { GREY };
    put(root, &human::ratio(c.ratio), (WIDTH - 18, y), text(11, ink, HPos::Right, VPos::Center))
}

fn sentences(rows: &[(&str, Vec<Dot>)], bind: &str) -> [String; 2] {
    let all = || rows.iter().flat_map(|(label, dots)| dots.iter().map(move |dot| (*label, dot)));
    let slower = all().filter(|(_, dot)| dot.comparison.difference == Difference::Higher);
    let first = match slower.max_by(|a, b| a.1.comparison.ratio.total_cmp(&b.1.comparison.ratio)) {
        Some((label, dot)) => format!(
            "A volume would save most on “{label}” with {}, which takes {} the time of {bind}.",
            dot.driver,
            human::ratio(dot.comparison.ratio)
        ),
        None => format!("No operation was found slower than on {bind}, so a volume would save nothing here."),
    };
    let total = all().count() as u64;
    let same = all().filter(|(_, dot)| !dot.comparison.difference.is_found()).count();
    let faster = all().filter(|(_, dot)| dot.comparison.difference == Difference::Lower).count();
    let second = format!(
        "Of {} of a driver with {bind}, {} found slower, {same} without a difference that the samples show, {faster} faster.",
        human::count(total, "comparison"),
        total as usize - same - faster,
    );
    [first, second]
}
