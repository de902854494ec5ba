//! One pair of axes with lines, percentile bands, markers and labels.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::sheet::{Area, FINE, GREY, INK, MESH, at, point, ring, short, stroke, text, width};
use super::style::Look;
use crate::analysis::Data;

/// A pair of axes with lines.
pub(super) struct Panel {
    /// Empty: none.
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// A line.
pub(super) struct Series {
    pub look: Look,
    /// In the order of x; `None` breaks the line: nothing is drawn across what was not measured.
    pub points: Vec<Option<Point>>,
    /// Written beside its last point.
    pub label: Option<String>,
}

/// A point, in the axes' units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
    /// Percentile band around it.
    pub band: Option<(f64, f64)>,
    pub mark: Mark,
}

/// The marker of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is only a bend of the line.
    None,
    Filled,
    /// A ring: it rests on less than others of the figure.
    Hollow,
}

impl Point {
    /// The median of data at `x`, with the band from the 10th to the 90th percentile.
    pub fn of(x: f64, data: &Data) -> Point {
        Point { x, y: data.p50(), band: Some((data.summary.p10, data.summary.p90)), mark: Mark::Filled }
    }
}

impl Series {
    /// A driver's line: medians with their bands, broken where there is no data.
    pub fn of<'a>(look: Look, points: impl IntoIterator<Item = (f64, Option<&'a Data>)>) -> Series {
        let points = points.into_iter().map(|(x, data)| data.map(|data| Point::of(x, data))).collect();
        Series { look, points, label: None }
    }

    /// The same with rings at the points whose x satisfies a condition.
    pub fn hollow(mut self, at: impl Fn(f64) -> bool) -> Series {
        for point in self.points.iter_mut().flatten().filter(|point| at(point.x)) {
            point.mark = Mark::Hollow;
        }
        self
    }

    /// The same with a label beside its last point.
    pub fn labelled(self, label: impl Into<String>) -> Series {
        Series { label: Some(label.into()), ..self }
    }
}

/// What to say when a point is drawn at the foot of a logarithmic scale because its value is 0; else nothing.
pub(super) fn zeros(panels: &[Panel]) -> &'static str {
    let clips = |panel: &Panel| {
        let points = panel.series.iter().flat_map(|series| series.points.iter().flatten());
        points.into_iter().any(|p| panel.y.clips(p.y) || p.band.is_some_and(|(low, _)| panel.y.clips(low)))
    };
    if panels.iter().any(clips) { " A value of 0 is drawn at the foot of the logarithmic scale." } else { "" }
}

/// Longest label beside a line.
const BESIDE_MAX: usize = 26;
/// Height of such a label.
const BESIDE_ROW: i32 = 17;

/// Room for the labels of the upright axis, and beside the panel.
const LEFT: i32 = 76;
const LEFT_MARGIN: i32 = 8;
const RIGHT_MARGIN: i32 = 24;
/// Least room between two labels of the other axis.
const LABEL_GAP: i32 = 6;

/// An axis as plotters wants it: places from 0 to 1, with our ticks.
struct Places(Axis);

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * place).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() {
            self.0.mesh.clone()
        } else {
            self.0.ticks.iter().map(|(place, _)| *place).collect()
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..1.0
    }
}

/// Draws a panel into its area of the figure.
pub(super) fn draw_panel(root: &Area, area: &Area, panel: &Panel) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let labels = panel.series.iter().filter_map(|series| series.label.as_deref());
    let beside = labels.map(|label| width(&short(label, BESIDE_MAX), 12) + 26).max().unwrap_or(0);
    let length = area.dim_in_pixel().0 as i32 / at(1) - LEFT - LEFT_MARGIN - RIGHT_MARGIN - beside;
    let x = panel.x.thinned(|label| f64::from(width(label, 12) + LABEL_GAP) / f64::from(length.max(1)));
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(at(if panel.title.is_empty() { 8 } else { 30 }))
        .margin_right(at(RIGHT_MARGIN + beside))
        .margin_left(at(LEFT_MARGIN));
    builder
        .set_label_area_size(LabelAreaPosition::Left, at(LEFT))
        .set_label_area_size(LabelAreaPosition::Bottom, at(46));
    let mut chart = builder.build_cartesian_2d(Places(x.clone()), Places(panel.y.clone())).map_err(error)?;
    let label = |axis: &Axis, place: &f64| -> String {
        axis.ticks.iter().find(|(tick, _)| tick == place).map(|(_, label)| label.clone()).unwrap_or_default()
    };
    chart
        .configure_mesh()
        .bold_line_style(MESH.stroke_width(2))
        .light_line_style(FINE.stroke_width(2))
        .axis_style(GREY.stroke_width(2))
        .label_style(text(12, INK, HPos::Left, VPos::Top))
        .axis_desc_style(text(13, INK, HPos::Left, VPos::Top))
        .x_label_formatter(&|place| label(&x, place))
        .y_label_formatter(&|place| label(&panel.y, place))
        .x_desc(panel.x.title.as_str())
        .y_desc(panel.y.title.as_str())
        .draw()
        .map_err(error)?;

    let plot = chart.plotting_area();
    let place = |x: f64, y: f64| plot.map_coordinate(&(panel.x.place(x), panel.y.place(y)));
    let (left, top) = plot.map_coordinate(&(0.0, 1.0));
    let (right, bottom) = plot.map_coordinate(&(1.0, 0.0));
    if !panel.title.is_empty() {
        let style = text(14, INK, HPos::Left, VPos::Bottom);
        root.draw(&Text::new(panel.title.clone(), (left, top - at(5)), style)).map_err(error)?;
    }
    if panel.series.iter().all(|series| series.points.iter().all(Option::is_none)) {
        let style = text(14, GREY, HPos::Center, VPos::Center);
        let middle = ((left + right) / 2, (top + bottom) / 2);
        return root.draw(&Text::new("not measured".to_owned(), middle, style)).map_err(error);
    }
    let runs = |series: &Series| -> Vec<Vec<Point>> {
        series.points.split(Option::is_none).map(|run| run.iter().flatten().copied().collect()).collect()
    };
    // All bands below all lines, all lines below all points.
    for series in &panel.series {
        for run in runs(series) {
            let band: Vec<_> = run.iter().filter_map(|p| p.band.map(|band| (p.x, band))).collect();
            let upper = band.iter().map(|(x, (_, high))| place(*x, *high));
            let lower = band.iter().rev().map(|(x, (low, _))| place(*x, *low));
            let outline: Vec<_> = upper.chain(lower).collect();
            if band.len() > 1 {
                root.draw(&Polygon::new(outline, series.look.colour.mix(0.13))).map_err(error)?;
            } else if let (Some(high), Some(low)) = (outline.first(), outline.last()) {
                let style = series.look.colour.mix(0.4).stroke_width(8);
                root.draw(&PathElement::new(vec![*high, *low], style)).map_err(error)?;
            }
        }
    }
    for series in &panel.series {
        for run in runs(series) {
            let line: Vec<_> = run.iter().map(|p| place(p.x, p.y)).collect();
            stroke(root, &line, &series.look)?;
        }
    }
    for series in &panel.series {
        for p in series.points.iter().flatten() {
            match p.mark {
                Mark::None => {}
                Mark::Filled => point(root, place(p.x, p.y), &series.look)?,
                Mark::Hollow => ring(root, place(p.x, p.y), &series.look)?,
            }
        }
    }
    let ends: Vec<(i32, (i32, i32), &Series)> = panel
        .series
        .iter()
        .filter(|series| series.label.is_some())
        .filter_map(|series| series.points.iter().flatten().last().map(|p| (p, series)))
        .map(|(p, series)| (place(p.x, p.y).1, place(p.x, p.y), series))
        .collect();
    draw_beside(root, ends, right, (top, bottom))
}

/// Writes labels beside the ends of their lines, moved apart where they would overlap, each with a thin line to its end.
fn draw_beside(
    root: &Area,
    mut ends: Vec<(i32, (i32, i32), &Series)>,
    right: i32,
    (top, bottom): (i32, i32),
) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    ends.sort_by_key(|(y, _, _)| *y);
    let mut heights: Vec<i32> = ends.iter().map(|(y, _, _)| *y).collect();
    apart(&mut heights, at(BESIDE_ROW), (top, bottom));
    for ((_, end, series), y) in ends.iter().zip(heights) {
        let label = short(series.label.as_deref().unwrap_or_default(), BESIDE_MAX);
        let line = vec![(end.0 + 8, end.1), (right + at(4), end.1), (right + at(14), y), (right + at(18), y)];
        let style = series.look.colour.mix(0.6).stroke_width(2);
        root.draw(&PathElement::new(line, style)).map_err(error)?;
        let style = text(12, INK, HPos::Left, VPos::Center);
        root.draw(&Text::new(label, (right + at(22), y), style)).map_err(error)?;
    }
    Ok(())
}

/// Moves ascending heights apart to at least `row`, and back up as far as needed to stay above the bottom.
fn apart(heights: &mut [i32], row: i32, (top, bottom): (i32, i32)) {
    let mut free = top;
    for height in heights.iter_mut() {
        *height = (*height).max(free);
        free = *height + row;
    }
    let mut floor = bottom;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(floor);
        floor = *height - row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_move_apart_and_stay_inside() {
        for (heights, expected) in [
            (vec![10, 50], vec![10, 50]),
            (vec![10, 11, 12], vec![10, 20, 30]),
            (vec![95, 99, 100], vec![80, 90, 100]),
            (vec![], vec![]),
        ] {
            let mut moved = heights.clone();
            apart(&mut moved, 10, (0, 100));
            assert_eq!(moved, expected, "{heights:?}");
        }
    }
}
