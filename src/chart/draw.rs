//! Drawing in pixels with plotters' SVG backend: panels of lines on linear or logarithmic axes, with bands, ticks and one legend.
//!
//! plotters' own axes put ticks at round values of the coordinate; a size axis wants 4 KiB and 1 MiB, and a log axis 1, 2, 5, 10. So the
//! mapping and the ticks are made here.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ChartError;

/// Width of every figure.
pub(super) const WIDTH: u32 = 960;
const FONT: &str = "Helvetica, Arial, sans-serif";
/// Height of the strip with title and subtitle.
pub(super) const HEAD: i32 = 64;
const INK: RGBColor = RGBColor(34, 34, 34);
const FAINT: RGBColor = RGBColor(221, 221, 221);
/// Okabe and Ito, 2008, the dark ones first; yellow is left out, since it cannot be seen on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(34, 34, 34),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
/// Lengths of dash and gap, in turns; empty is solid.
const DASHES: [&[f64]; 7] =
    [&[], &[9.0, 4.0], &[3.0, 3.0], &[12.0, 3.0, 3.0, 3.0], &[6.0, 6.0], &[2.0, 5.0], &[14.0, 4.0, 2.0, 4.0, 2.0, 4.0]];

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// How an axis maps values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// An axis.
#[derive(Clone)]
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) scale: Scale,
    /// Where to put ticks; chosen from the range when empty.
    pub(super) ticks: Vec<f64>,
    pub(super) format: fn(f64) -> String,
}

/// A line with markers and, below it, a band.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) label: String,
    /// Index of colour, dash and marker; a driver has the same in every figure.
    pub(super) style: usize,
    pub(super) points: Vec<(f64, f64)>,
    /// x, lower, upper.
    pub(super) band: Vec<(f64, f64, f64)>,
    /// Markers at the points, or a plain line.
    pub(super) markers: bool,
}

/// One coordinate system.
#[derive(Clone)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
}

/// A range of values on an axis, in pixels.
struct Mapping {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Mapping {
    /// A range that holds all values with a little room. Log axes take positive values; others are drawn at the edge.
    fn new(scale: Scale, values: impl Iterator<Item = f64>, from: i32, to: i32) -> Mapping {
        let usable = values.filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
        let (mut low, mut high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Log => {
                (low, high) = (low.log10(), high.log10());
                let room = ((high - low) * 0.05).max(0.08);
                (low, high) = (low - room, high + room);
            }
            Scale::Linear => {
                low = low.min(0.0);
                high += ((high - low) * 0.05).max(f64::MIN_POSITIVE);
                if high <= low {
                    high = low + 1.0;
                }
            }
        }
        Mapping { scale, low, high, from: f64::from(from), to: f64::from(to) }
    }

    fn pixel(&self, value: f64) -> i32 {
        let value = match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => self.low,
        };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        (self.from + share * (self.to - self.from)).round() as i32
    }

    /// Round values within the range: on a log axis 1 of every decade, with 2 and 5 where there are few.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                let decades = self.high - self.low;
                let steps: &[f64] = if decades > 3.2 {
                    &[1.0]
                } else if decades > 1.6 {
                    &[1.0, 3.0]
                } else {
                    &[1.0, 2.0, 5.0]
                };
                let (first, last) = (self.low.floor() as i32, self.high.ceil() as i32);
                (first..=last)
                    .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
                    .filter(|v| (self.low..=self.high).contains(&v.log10()))
                    .collect()
            }
            Scale::Linear => {
                let raw = (self.high - self.low) / 5.0;
                let power = 10f64.powf(raw.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw).unwrap_or(raw);
                let count = ((self.high - self.low) / step).floor() as i32;
                (0..=count).map(|i| self.low + f64::from(i) * step).collect()
            }
        }
    }
}

/// Makes a figure of a height and lets `paint` fill it below title and subtitle.
pub(super) fn figure(
    chart: &'static str,
    title: &str,
    subtitle: &str,
    height: i32,
    paint: impl FnOnce(&Area) -> Result<(), String>,
) -> Result<String, ChartError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height.unsigned_abs())).into_drawing_area();
        let painted = area
            .fill(&WHITE)
            .map_err(|e| e.to_string())
            .and_then(|()| text(&area, title, (24, 26), 19, HPos::Left, &INK))
            .and_then(|()| text(&area, subtitle, (24, 48), 13, HPos::Left, &RGBColor(85, 85, 85)))
            .and_then(|()| paint(&area))
            .and_then(|()| area.present().map_err(|e| e.to_string()));
        painted.map_err(|reason| ChartError { chart, reason })?;
    }
    Ok(svg)
}

/// Text, centred vertically on a point.
pub(super) fn text(
    area: &Area,
    words: &str,
    at: (i32, i32),
    size: i32,
    side: HPos,
    colour: &RGBColor,
) -> Result<(), String> {
    let style = TextStyle::from((FONT, size).into_font()).color(colour).pos(Pos::new(side, VPos::Center));
    area.draw_text(words, &style, at).map_err(|e| e.to_string())
}

fn rotated(area: &Area, words: &str, at: (i32, i32), size: i32) -> Result<(), String> {
    let font = (FONT, size).into_font().transform(FontTransform::Rotate270);
    let style = TextStyle::from(font).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw_text(words, &style, at).map_err(|e| e.to_string())
}

/// A straight piece.
pub(super) fn stroke(
    area: &Area,
    from: (i32, i32),
    to: (i32, i32),
    colour: &RGBColor,
    width: u32,
) -> Result<(), String> {
    area.draw(&PathElement::new(vec![from, to], colour.stroke_width(width))).map_err(|e| e.to_string())
}

/// Ink of text and axes.
pub(super) fn ink() -> RGBColor {
    INK
}

/// Colour of grid lines.
pub(super) fn faint() -> RGBColor {
    FAINT
}

/// Colour of a style.
pub(super) fn colour(style: usize) -> RGBColor {
    COLOURS[style % COLOURS.len()]
}

/// A marker of a style.
pub(super) fn marker(area: &Area, style: usize, (x, y): (i32, i32)) -> Result<(), String> {
    let c = colour(style);
    let filled = c.filled();
    let polygon = |points: Vec<(i32, i32)>| area.draw(&Polygon::new(points, filled)).map_err(|e| e.to_string());
    match style % 7 {
        0 => area.draw(&Circle::new((x, y), 4, filled)).map_err(|e| e.to_string()),
        1 => polygon(vec![(x - 4, y - 4), (x + 4, y - 4), (x + 4, y + 4), (x - 4, y + 4)]),
        2 => polygon(vec![(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)]),
        3 => polygon(vec![(x, y - 6), (x + 6, y), (x, y + 6), (x - 6, y)]),
        4 => polygon(vec![(x - 5, y - 4), (x + 5, y - 4), (x, y + 5)]),
        5 => area.draw(&Circle::new((x, y), 4, c.stroke_width(2))).map_err(|e| e.to_string()),
        _ => stroke(area, (x - 4, y - 4), (x + 4, y + 4), &c, 2)
            .and_then(|()| stroke(area, (x - 4, y + 4), (x + 4, y - 4), &c, 2)),
    }
}

/// A line through points, dashed as its style says.
fn polyline(area: &Area, style: usize, points: &[(i32, i32)]) -> Result<(), String> {
    let shape = colour(style).stroke_width(2);
    let draw = |piece: Vec<(i32, i32)>| area.draw(&PathElement::new(piece, shape)).map_err(|e| e.to_string());
    let pattern = DASHES[style % DASHES.len()];
    let Some(first) = pattern.first() else { return draw(points.to_vec()) };
    let (mut index, mut left, mut on) = (0usize, *first, true);
    for pair in points.windows(2) {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (f64::from(x), f64::from(y)));
        let length = (x1 - x0).hypot(y1 - y0);
        let at = |d: f64| {
            let share = if length > 0.0 { d / length } else { 0.0 };
            ((x0 + (x1 - x0) * share).round() as i32, (y0 + (y1 - y0) * share).round() as i32)
        };
        let mut done = 0.0;
        while done < length {
            let next = (done + left).min(length);
            if on {
                draw(vec![at(done), at(next)])?;
            }
            left -= next - done;
            done = next;
            if left <= 1e-9 {
                index = (index + 1) % pattern.len();
                left = pattern[index];
                on = !on;
            }
        }
    }
    Ok(())
}

/// Labels of a legend with their styles, each once, in order of style.
pub(super) fn legend_entries(panels: &[Panel]) -> Vec<(usize, String)> {
    let mut entries: Vec<(usize, String)> =
        panels.iter().flat_map(|p| &p.lines).map(|line| (line.style, line.label.clone())).collect();
    entries.sort();
    entries.dedup();
    entries
}

const LEGEND_COLUMNS: usize = 4;
const LEGEND_ROW: i32 = 22;

/// Height that a legend needs.
pub(super) fn legend_height(entries: usize) -> i32 {
    entries.div_ceil(LEGEND_COLUMNS) as i32 * LEGEND_ROW + 14
}

/// Draws a legend from a height downwards.
pub(super) fn legend(area: &Area, entries: &[(usize, String)], top: i32) -> Result<(), String> {
    let column = (WIDTH as i32 - 60) / LEGEND_COLUMNS as i32;
    for (index, (style, label)) in entries.iter().enumerate() {
        let x = 40 + (index % LEGEND_COLUMNS) as i32 * column;
        let y = top + 12 + (index / LEGEND_COLUMNS) as i32 * LEGEND_ROW;
        polyline(area, *style, &[(x, y), (x + 34, y)])?;
        marker(area, *style, (x + 17, y))?;
        text(area, &shorten(label, 27), (x + 42, y + 1), 13, HPos::Left, &INK)?;
    }
    Ok(())
}

/// At most so many characters, the rest as an ellipsis.
pub(super) fn shorten(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_owned();
    }
    label.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Panels in a grid, all with one range of y, and a legend.
pub(super) fn panels(
    chart: &'static str,
    title: &str,
    subtitle: &str,
    panels: &[Panel],
    columns: usize,
) -> Result<String, ChartError> {
    let columns = columns.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(columns);
    let row_height = if rows > 1 { 270 } else { 380 };
    let entries = legend_entries(panels);
    let height = HEAD + rows as i32 * row_height + legend_height(entries.len());
    figure(chart, title, subtitle, height, |area| {
        let width = (WIDTH as i32 - 24) / columns as i32;
        for (index, panel) in panels.iter().enumerate() {
            let left = 12 + (index % columns) as i32 * width;
            let top = HEAD + (index / columns) as i32 * row_height;
            let values: Vec<f64> = panels.iter().flat_map(y_values).collect();
            draw_panel(area, panel, &values, (left, top), (width, row_height))?;
        }
        legend(area, &entries, HEAD + rows as i32 * row_height)
    })
}

fn y_values(panel: &Panel) -> Vec<f64> {
    let band = panel.lines.iter().flat_map(|line| line.band.iter().flat_map(|(_, low, high)| [*low, *high]));
    panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y)).chain(band).collect()
}

fn draw_panel(
    area: &Area,
    panel: &Panel,
    y_values: &[f64],
    (left, top): (i32, i32),
    (width, height): (i32, i32),
) -> Result<(), String> {
    let (x0, x1, y0, y1) = (left + 78, left + width - 18, top + height - 52, top + 26);
    let x = Mapping::new(panel.x.scale, panel.lines.iter().flat_map(|l| l.points.iter().map(|p| p.0)), x0, x1);
    let y = Mapping::new(panel.y.scale, y_values.iter().copied(), y0, y1);
    text(area, &panel.title, ((x0 + x1) / 2, top + 12), 14, HPos::Center, &INK)?;
    for value in if panel.y.ticks.is_empty() { y.ticks() } else { panel.y.ticks.clone() } {
        let at = y.pixel(value);
        stroke(area, (x0, at), (x1, at), &FAINT, 1)?;
        text(area, &(panel.y.format)(value), (x0 - 7, at), 12, HPos::Right, &INK)?;
    }
    let mut last = i32::MIN;
    for value in if panel.x.ticks.is_empty() { x.ticks() } else { panel.x.ticks.clone() } {
        let at = x.pixel(value);
        let label = (panel.x.format)(value);
        stroke(area, (at, y0), (at, y0 + 5), &INK, 1)?;
        // A label that would touch the one before is left out; its tick stays.
        let half = label.chars().count() as i32 * 4;
        if at - half > last {
            text(area, &label, (at, y0 + 15), 12, HPos::Center, &INK)?;
            last = at + half;
        }
    }
    stroke(area, (x0, y0), (x1, y0), &INK, 1)?;
    stroke(area, (x0, y0), (x0, y1), &INK, 1)?;
    text(area, &panel.x.title, ((x0 + x1) / 2, y0 + 36), 13, HPos::Center, &INK)?;
    rotated(area, &panel.y.title, (left + 14, (y0 + y1) / 2), 13)?;
    for line in &panel.lines {
        if line.band.len() > 1 {
            let upper = line.band.iter().map(|(at, _, high)| (x.pixel(*at), y.pixel(*high)));
            let lower = line.band.iter().rev().map(|(at, low, _)| (x.pixel(*at), y.pixel(*low)));
            let outline: Vec<(i32, i32)> = upper.chain(lower).collect();
            area.draw(&Polygon::new(outline, colour(line.style).mix(0.13).filled())).map_err(|e| e.to_string())?;
        }
    }
    for line in &panel.lines {
        let points: Vec<(i32, i32)> = line.points.iter().map(|(a, b)| (x.pixel(*a), y.pixel(*b))).collect();
        polyline(area, line.style, &points)?;
        if line.markers {
            for point in points {
                marker(area, line.style, point)?;
            }
        }
    }
    Ok(())
}
