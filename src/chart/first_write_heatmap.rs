//! First write over depth and size, a map for each driver, all on one scale of grey-safe shades.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::sheet::{Area, GREY, INK, WIDTH, at, canvas, head, head_height, put, short, text, width};
use super::words::{ends, in_store};
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, View, human};

/// See the module.
pub struct FirstWriteHeatmap;

/// Width of the labels of sizes.
const LABELS: i32 = 78;
const CELL_HEIGHT: i32 = 34;
/// Below this a cell cannot hold its number.
const CELL_WIDTH: i32 = 62;
/// Height of a map beside its cells: title above, labels and name of the axis below.
const AROUND: i32 = 34 + 50;
const SCALE_HEIGHT: i32 = 64;

impl Chart for FirstWriteHeatmap {
    fn name(&self) -> &'static str {
        "first_write_heatmap"
    }

    fn about(&self) -> &'static str {
        "median latency of the first write over depth and file size, one map for each driver"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(this) = View::first_write(data, store) else { return Ok(None) };
        let views = View::first_writes(data);
        let mut csv = Csv::new(
            &["store", "driver", "depth_layers", "file_size_bytes", "cache", "target"],
            &summary_columns("ns"),
        );
        for driver in &this.drivers {
            for depth in &this.depths {
                for size in &this.sizes {
                    let place = [&depth.to_string(), &size.to_string(), this.cache.as_str(), &this.target.words()];
                    let place: Vec<&str> = [store, driver].into_iter().chain(place).collect();
                    csv.data(&place, this.at(driver, *depth, *size));
                }
            }
        }
        let medians = views.iter().flat_map(|view| view.all().map(|point| point.3.p50()));
        let shade = Axis::fit("", Quantity::Ns, medians);

        let title = "First write over depth and file size".to_owned();
        let subtitle = vec![format!(
            "{}{}. Each cell: median; the darker, the longer. All maps share one {}scale.",
            in_store(data, store),
            super::words::capital(&this.fixed()),
            if shade.is_log() { "logarithmic " } else { "" }
        )];
        let columns = (WIDTH / (LABELS + 24 + CELL_WIDTH * this.depths.len() as i32))
            .clamp(1, 3)
            .min(this.drivers.len().max(1) as i32);
        let map_height = AROUND + CELL_HEIGHT * this.sizes.len() as i32;
        let rows = (this.drivers.len() as i32 + columns - 1) / columns;
        let height = head_height(&subtitle, &data.marks) + rows * map_height + SCALE_HEIGHT;
        let svg = canvas(&title, height, |root| {
            let y = head(root, &title, &subtitle, &data.marks)?;
            for (i, driver) in this.drivers.iter().enumerate() {
                let corner = ((i as i32 % columns) * (WIDTH / columns), y + (i as i32 / columns) * map_height);
                draw_map(root, &this, driver, corner, WIDTH / columns, &shade)?;
            }
            draw_scale(root, &shade, y + rows * map_height)
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&this) }))
    }
}

/// From a light to a dark blue whose lightness falls evenly, so that it reads in grey.
fn colour(place: f64) -> RGBColor {
    let mix = |light: f64, dark: f64| (light + (dark - light) * place).round() as u8;
    RGBColor(mix(240.0, 8.0), mix(246.0, 36.0), mix(252.0, 88.0))
}

fn draw_map(root: &Area, view: &View, driver: &str, (x, y): (i32, i32), wide: i32, shade: &Axis) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let cell = ((wide - LABELS - 24) / view.depths.len().max(1) as i32).min(110);
    let (left, top) = (x + LABELS, y + 30);
    let fits = (f64::from(wide - 30) / 8.2) as usize;
    put(root, &short(driver, fits), (left, y + 22), text(14, INK, HPos::Left, VPos::Bottom))?;
    for (row, size) in view.sizes.iter().rev().enumerate() {
        let cell_top = top + CELL_HEIGHT * row as i32;
        let middle = cell_top + CELL_HEIGHT / 2;
        put(root, &human::bytes(*size as f64), (left - 8, middle), text(12, INK, HPos::Right, VPos::Center))?;
        for (column, depth) in view.depths.iter().enumerate() {
            let cell_left = left + cell * column as i32;
            let corners = [(at(cell_left), at(cell_top)), (at(cell_left + cell), at(cell_top + CELL_HEIGHT))];
            let centre = (cell_left + cell / 2, middle);
            let Some(data) = view.at(driver, *depth, *size) else {
                root.draw(&Rectangle::new(corners, GREY.stroke_width(1))).map_err(error)?;
                let line = vec![(corners[0].0, corners[1].1), (corners[1].0, corners[0].1)];
                root.draw(&PathElement::new(line, GREY.stroke_width(1))).map_err(error)?;
                continue;
            };
            let place = shade.place(data.p50());
            root.draw(&Rectangle::new(corners, colour(place).filled())).map_err(error)?;
            root.draw(&Rectangle::new(corners, WHITE.stroke_width(2))).map_err(error)?;
            let words = human::ns(data.p50());
            // The number is in the CSV also where it does not fit.
            if width(&words, 12) + 4 <= cell {
                let ink = if place > 0.5 { WHITE } else { INK };
                put(root, &words, centre, text(12, ink, HPos::Center, VPos::Center))?;
            }
        }
    }
    let bottom = top + CELL_HEIGHT * view.sizes.len() as i32;
    let mut free = i32::MIN;
    for (column, depth) in view.depths.iter().enumerate() {
        let centre = left + cell * column as i32 + cell / 2;
        let words = depth.to_string();
        if centre - width(&words, 12) / 2 > free {
            put(root, &words, (centre, bottom + 6), text(12, INK, HPos::Center, VPos::Top))?;
            free = centre + width(&words, 12) / 2 + 4;
        }
    }
    let centre = left + cell * view.depths.len() as i32 / 2;
    put(root, "lower layers", (centre, bottom + 24), text(12, GREY, HPos::Center, VPos::Top))
}

/// The scale of shades with its ticks.
fn draw_scale(root: &Area, shade: &Axis, y: i32) -> Result<(), String> {
    let error = |e: DrawingAreaErrorKind<std::io::Error>| e.to_string();
    let (left, wide, steps) = (LABELS, 520, 52);
    for step in 0..steps {
        let x = |step: i32| at(left + wide * step / steps);
        let corners = [(x(step), at(y + 12)), (x(step + 1), at(y + 26))];
        root.draw(&Rectangle::new(corners, colour(f64::from(step) / f64::from(steps - 1)).filled())).map_err(error)?;
    }
    for (place, label) in &shade.ticks {
        let x = left + (f64::from(wide) * place).round() as i32;
        root.draw(&PathElement::new(vec![(at(x), at(y + 26)), (at(x), at(y + 31))], GREY.stroke_width(2)))
            .map_err(error)?;
        put(root, label, (x, y + 35), text(12, INK, HPos::Center, VPos::Top))?;
    }
    put(root, "median", (left + wide + 14, y + 19), text(12, GREY, HPos::Left, VPos::Center))
}

fn sentences(view: &View) -> [String; 2] {
    let words = |depth: u32, size: u64, value: f64| {
        format!("{} ({}, {})", human::ns(value), human::bytes(size as f64), human::count(depth, "layer"))
    };
    let longest: Vec<(&str, f64, String)> = view
        .drivers
        .iter()
        .filter_map(|driver| {
            let cells = view.all().filter(|(d, _, _, _)| d == driver);
            let (_, depth, size, data) = cells.max_by(|a, b| a.3.p50().total_cmp(&b.3.p50()))?;
            Some((*driver, data.p50(), words(depth, size, data.p50())))
        })
        .collect();
    let highest = longest.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let first = match highest {
        Some((driver, _, cell)) => format!("The longest median of all cells is {cell} with {driver}."),
        None => "Nothing was measured.".to_owned(),
    };
    // How far the cells of a map lie apart says how much depth and size matter at all.
    let spans: Vec<(&str, f64)> = view
        .drivers
        .iter()
        .filter_map(|driver| {
            let cells = || view.all().filter(|(d, _, _, _)| d == driver).map(|point| point.3.p50());
            let low = cells().filter(|value| *value > 0.0).min_by(f64::total_cmp)?;
            Some((*driver, cells().max_by(f64::total_cmp)? / low))
        })
        .collect();
    let one = view.depths.len() * view.sizes.len() == 1;
    let second = match ends(&spans, human::ratio) {
        _ if one => "There is one cell only: how depth and size act together was not measured.".to_owned(),
        Some((low, high)) if spans.len() > 1 => format!(
            "From the shortest to the longest cell of a driver, depth and size together change the median least with {low} and most with \
             {high}."
        ),
        Some((only, _)) => {
            format!("From the shortest to the longest cell, depth and size together change the median: {only}.")
        }
        None => "No median is above 0, so the cells cannot be compared.".to_owned(),
    };
    [first, second]
}
