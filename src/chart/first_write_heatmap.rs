//! First write by depth and size at once: are the two compounded?

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::draw::{HEAD, WIDTH, figure, ink, shorten, text};
use super::select::{at_the_base, figure_name, pick, store_words, summaries, values};
use super::text::{format_bytes, format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{Group, ResultSet};
use crate::record::metric::FIRST_WRITE_NS;

pub(super) struct FirstWriteHeatmap;

const NAME: &str = "first_write_heatmap";
const COLUMNS: usize = 2;
const CELL: i32 = 34;

impl Chart for FirstWriteHeatmap {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "first-write latency by depth and file size, a map for each driver"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let metric = &*FIRST_WRITE_NS.name;
        let Some(cache) = data.usual_cache(metric) else { return Ok(Vec::new()) };
        let mut figures = Vec::new();
        for store in data.stores(metric) {
            let groups = at_the_base(pick(data, metric, &store, |p| p.cache == cache));
            let depths = values(&groups, |p| p.depth);
            let sizes = values(&groups, |p| p.file_size_bytes);
            if depths.len() < 2 || sizes.len() < 2 {
                continue;
            }
            let drivers: Vec<&String> =
                data.drivers().iter().filter(|d| groups.iter().any(|g| g.key.driver == **d)).collect();
            let title = "First write by depth and file size".to_owned();
            let subtitle = format!(
                "median in each cell, one scale of shades for all maps; caches {}{}",
                cache.as_str(),
                store_words(data, metric, &store)
            );
            let map = Map { groups: &groups, depths: &depths, sizes: &sizes };
            let rows = drivers.len().div_ceil(COLUMNS) as i32;
            let height = HEAD + rows * map.height() + 10;
            let svg = figure(NAME, &title, &subtitle, height, |area| {
                for (index, driver) in drivers.iter().enumerate() {
                    let left = (index % COLUMNS) as i32 * (WIDTH as i32 / COLUMNS as i32);
                    let top = HEAD + (index / COLUMNS) as i32 * map.height();
                    map.draw(area, driver, (left, top))?;
                }
                Ok(())
            })?;
            figures.push(Figure {
                name: figure_name(NAME, data, metric, &store),
                svg,
                title,
                subtitle,
                csv: summaries(metric, &groups),
                sentences: map.sentences(&drivers),
            });
        }
        Ok(figures)
    }
}

struct Map<'a> {
    groups: &'a [&'a Group],
    depths: &'a [u32],
    sizes: &'a [u64],
}

impl Map<'_> {
    fn height(&self) -> i32 {
        self.sizes.len() as i32 * CELL + 76
    }

    fn cell(&self, driver: &str, depth: u32, size: u64) -> Option<f64> {
        super::select::median(self.groups, driver, |p| p.depth == depth && p.file_size_bytes == size)
    }

    /// Share of the scale of shades, from 0 (the fastest cell of all maps) to 1.
    fn shade(&self, value: f64) -> f64 {
        let medians: Vec<f64> = self.groups.iter().filter_map(|g| g.summary()).map(|s| s.p50.max(1.0).ln()).collect();
        let low = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let high = medians.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if high > low { (value.max(1.0).ln() - low) / (high - low) } else { 0.0 }
    }

    fn draw(&self, area: &super::draw::Area, driver: &str, (left, top): (i32, i32)) -> Result<(), String> {
        let width = (WIDTH as i32 / COLUMNS as i32 - 110) / self.depths.len().max(1) as i32;
        let (x0, y0) = (left + 90, top + 26);
        text(area, &shorten(driver, 40), (x0, top + 12), 14, HPos::Left, &ink())?;
        // The largest size on top, as on the axis of a chart.
        for (row, size) in self.sizes.iter().rev().enumerate() {
            let y = y0 + row as i32 * CELL;
            text(area, &format_bytes(*size as f64), (x0 - 8, y + CELL / 2), 12, HPos::Right, &ink())?;
            for (column, depth) in self.depths.iter().enumerate() {
                let x = x0 + column as i32 * width;
                let (label, share) = match self.cell(driver, *depth, *size) {
                    Some(value) => (format_ns(value), self.shade(value)),
                    None => ("not measured".to_owned(), 0.0),
                };
                // From almost white to dark blue: lightness alone tells the order, in print too.
                let mix = |light: f64, dark: f64| (light + (dark - light) * share).round() as u8;
                let fill = RGBColor(mix(247.0, 8.0), mix(251.0, 48.0), mix(255.0, 107.0));
                area.draw(&Rectangle::new([(x, y), (x + width - 2, y + CELL - 2)], fill.filled()))
                    .map_err(|e| e.to_string())?;
                let on = if share > 0.5 { WHITE } else { ink() };
                let size = if width < 70 { 10 } else { 12 };
                text(area, &label, (x + width / 2 - 1, y + CELL / 2), size, HPos::Center, &on)?;
            }
        }
        let bottom = y0 + self.sizes.len() as i32 * CELL;
        for (column, depth) in self.depths.iter().enumerate() {
            text(
                area,
                &depth.to_string(),
                (x0 + column as i32 * width + width / 2, bottom + 10),
                12,
                HPos::Center,
                &ink(),
            )?;
        }
        let middle = x0 + self.depths.len() as i32 * width / 2;
        text(area, "layers in the stack", (middle, bottom + 28), 12, HPos::Center, &ink())
    }

    /// Whether size and depth multiply, from the four corners of each map.
    fn sentences(&self, drivers: &[&String]) -> [String; 2] {
        let (Some(&d0), Some(&d1)) = (self.depths.first(), self.depths.last()) else { return Default::default() };
        let (Some(&s0), Some(&s1)) = (self.sizes.first(), self.sizes.last()) else { return Default::default() };
        let by_size: Vec<String> = drivers
            .iter()
            .filter_map(|d| {
                Some(format!("{} with {d}", format_ratio(self.cell(d, d0, s1)? / self.cell(d, d0, s0)?.max(1.0))))
            })
            .collect();
        let compounded: Vec<String> = drivers
            .iter()
            .filter_map(|d| {
                let extra_small = self.cell(d, d1, s0)? - self.cell(d, d0, s0)?;
                let extra_large = self.cell(d, d1, s1)? - self.cell(d, d0, s1)?;
                let sign = |ns: f64| if ns < 0.0 { format!("-{}", format_ns(-ns)) } else { format_ns(ns) };
                Some(format!("{} and {} with {d}", sign(extra_small), sign(extra_large)))
            })
            .collect();
        [
            format!(
                "At {d0} layers, going from {} to {} multiplies the median: {}.",
                format_bytes(s0 as f64),
                format_bytes(s1 as f64),
                list(&by_size)
            ),
            format!(
                "Going from {d0} to {d1} layers adds, to the smallest and to the largest file, {}; were the two compounded, the second \
                 number would be the first times the ratio of the sizes' costs.",
                list(&compounded)
            ),
        ]
    }
}
