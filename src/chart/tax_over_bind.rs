//! The tax of each driver over bind: what a volume would save.

use plotters::style::text_anchor::HPos;

use super::draw::{HEAD, WIDTH, colour, faint, figure, ink, legend, legend_height, marker, stroke, text};
use super::select::{figure_name, store_words};
use super::text::{csv_field, format_bytes, format_ns, format_ratio, list};
use super::{Chart, ChartError, Figure};
use crate::analysis::{Group, Ratio, ResultSet, axis};
use crate::workload::CacheState;

pub(super) struct TaxOverBind;

const NAME: &str = "tax_over_bind";
const ROW: i32 = 18;

/// One operation at one point: a row of the figure for each driver.
struct Operation {
    words: String,
    metric: String,
    taxes: Vec<(usize, String, Ratio, f64)>,
}

impl Chart for TaxOverBind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "ratio of each driver's median to bind's, by operation: what a volume would save"
    }

    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError> {
        let mut stores: Vec<String> = OPERATIONS.iter().flat_map(|(metric, _)| data.stores(metric)).collect();
        stores.sort();
        stores.dedup();
        let many = stores.len() > 1;
        let mut figures = Vec::new();
        for store in stores {
            let operations = operations(data, &store);
            if operations.is_empty() {
                continue;
            }
            let name_metric = operations.first().map(|o| o.metric.clone()).unwrap_or_default();
            let title = "Tax over a volume".to_owned();
            let subtitle = format!(
                "median of each driver as a multiple of bind's, with 95 % interval: what a volume would save{}",
                if many { store_words(data, &name_metric, &store) } else { String::new() }
            );
            let mut csv = String::from("store,operation,metric,driver,ratio,ratio_low,ratio_high,bind_p50_ns\n");
            for operation in &operations {
                for (_, driver, tax, control) in &operation.taxes {
                    csv.push_str(&format!(
                        "{},{},{},{},{:.4},{:.4},{:.4},{control}\n",
                        csv_field(&store),
                        csv_field(&operation.words),
                        operation.metric,
                        csv_field(driver),
                        tax.value,
                        tax.interval.low,
                        tax.interval.high
                    ));
                }
            }
            figures.push(Figure {
                name: figure_name(NAME, data, &name_metric, &store),
                svg: drawing(&title, &subtitle, &operations)?,
                title,
                subtitle,
                csv,
                sentences: sentences(data, &operations),
            });
        }
        Ok(figures)
    }
}

/// Metrics and what an operation is called.
const OPERATIONS: [(&str, &str); 7] = [
    ("first_write_ns", "first write"),
    ("second_write_ns", "second write"),
    ("lookup_hit_ns", "look-up, present"),
    ("lookup_miss_ns", "look-up, nowhere"),
    ("first_read_ns", "first read from the device"),
    ("second_read_ns", "read by a second container"),
    ("warm_read_ns", "read of 4 KiB, cached"),
];

/// The points worth a row: for each metric and cache state the ends of the size axis, at the deepest stack.
fn operations(data: &ResultSet, store: &str) -> Vec<Operation> {
    let mut found = Vec::new();
    for (metric, words) in OPERATIONS {
        let groups: Vec<Group> = data
            .groups(metric)
            .iter()
            .filter(|g| g.key.store == store && g.key.params.target_layer == g.key.params.depth)
            .cloned()
            .collect();
        let reads = metric.contains("read");
        for cache in CacheState::ALL {
            let in_state: Vec<Group> = groups.iter().filter(|g| g.key.params.cache == cache).cloned().collect();
            let Some(&depth) = axis(&in_state, |k| k.params.depth).last() else { continue };
            let deepest: Vec<Group> = in_state.into_iter().filter(|g| g.key.params.depth == depth).collect();
            let mut sizes = axis(&deepest, |k| k.params.file_size_bytes);
            if sizes.len() > 2 {
                sizes = [sizes.first(), sizes.last()].into_iter().flatten().copied().collect();
            }
            let containers = axis(&deepest, |k| k.params.containers).first().copied();
            for size in sizes {
                let here: Vec<&Group> = deepest
                    .iter()
                    .filter(|g| g.key.params.file_size_bytes == size && Some(g.key.params.containers) == containers)
                    .collect();
                let state = if reads { String::new() } else { format!(", {}", cache.as_str()) };
                let size_words = if metric.starts_with("lookup") || metric.starts_with("warm") {
                    String::new()
                } else {
                    format!(", {}", format_bytes(size as f64))
                };
                let taxes: Vec<_> = data
                    .drivers()
                    .iter()
                    .enumerate()
                    .filter(|(_, driver)| !data.is_control(driver))
                    .filter_map(|(style, driver)| {
                        let group = here.iter().find(|g| g.key.driver == *driver)?;
                        let control = data.control_of(metric, &group.key)?.summary()?.p50;
                        Some((style, driver.clone(), data.tax(metric, group)?, control))
                    })
                    .collect();
                if !taxes.is_empty() {
                    found.push(Operation {
                        words: format!("{words}{size_words}{state}, {depth} layers"),
                        metric: metric.to_owned(),
                        taxes,
                    });
                }
            }
        }
    }
    found
}

fn drawing(title: &str, subtitle: &str, operations: &[Operation]) -> Result<String, ChartError> {
    let mut entries: Vec<(usize, String)> =
        operations.iter().flat_map(|o| o.taxes.iter().map(|t| (t.0, t.1.clone()))).collect();
    entries.sort();
    entries.dedup();
    let heights: Vec<i32> = operations.iter().map(|o| o.taxes.len() as i32 * ROW + 14).collect();
    let body: i32 = heights.iter().sum();
    let (left, right) = (330, WIDTH as i32 - 90);
    let ends = || {
        operations
            .iter()
            .flat_map(|o| o.taxes.iter().flat_map(|t| [t.2.interval.low, t.2.interval.high, t.2.value, 1.0]))
    };
    let low = ends().filter(|v| *v > 0.0).fold(1.0, f64::min).log10() - 0.05;
    let high = ends().fold(1.0, f64::max).log10() + 0.05;
    let pixel = |value: f64| {
        let share = (value.max(1e-9).log10() - low) / (high - low).max(0.1);
        left + (share.clamp(0.0, 1.0) * f64::from(right - left)).round() as i32
    };
    let height = HEAD + body + 60 + legend_height(entries.len());
    figure(NAME, title, subtitle, height, |area| {
        let (top, bottom) = (HEAD, HEAD + body);
        let (first, last) = (low.floor() as i32, high.ceil() as i32);
        let steps: &[f64] = if high - low > 1.8 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        for value in (first..=last).flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d))) {
            if !(low..=high).contains(&value.log10()) {
                continue;
            }
            let x = pixel(value);
            let is_one = (value - 1.0).abs() < 1e-9;
            stroke(area, (x, top), (x, bottom), &if is_one { ink() } else { faint() }, 1)?;
            let label = if value < 1.0 { format!("{value}×") } else { format!("{value:.0}×") };
            text(area, &label, (x, bottom + 14), 12, HPos::Center, &ink())?;
        }
        text(
            area,
            "multiple of bind's median (1× is a volume)",
            ((left + right) / 2, bottom + 36),
            13,
            HPos::Center,
            &ink(),
        )?;
        let mut y = top;
        for (operation, height) in operations.iter().zip(&heights) {
            text(area, &operation.words, (left - 12, y + height / 2), 12, HPos::Right, &ink())?;
            stroke(area, (24, y + height), (right, y + height), &faint(), 1)?;
            for (row, (style, _, tax, _)) in operation.taxes.iter().enumerate() {
                let at = y + 7 + row as i32 * ROW + ROW / 2;
                stroke(area, (pixel(tax.interval.low), at), (pixel(tax.interval.high), at), &colour(*style), 2)?;
                marker(area, *style, (pixel(tax.value), at))?;
                text(area, &format_ratio(tax.value), (right + 10, at), 11, HPos::Left, &ink())?;
            }
            y += height;
        }
        legend(area, &entries, bottom + 52)
    })
}

fn sentences(data: &ResultSet, operations: &[Operation]) -> [String; 2] {
    let mut largest: Vec<String> = Vec::new();
    let mut free: Vec<String> = Vec::new();
    for driver in data.drivers().iter().filter(|d| !data.is_control(d)) {
        let taxes =
            || operations.iter().flat_map(|o| o.taxes.iter().filter(|t| t.1 == *driver).map(move |t| (o, t.2, t.3)));
        if let Some((operation, tax, control)) = taxes().max_by(|a, b| a.1.value.total_cmp(&b.1.value)) {
            largest.push(format!(
                "{} with {driver} ({}; {} on a volume)",
                format_ratio(tax.value),
                operation.words,
                format_ns(control)
            ));
        }
        let count = taxes().count();
        let none = taxes().filter(|(_, tax, _)| tax.interval.low <= 1.0).count();
        if count > 0 {
            free.push(format!("{none} of {count} with {driver}"));
        }
    }
    [
        format!("The largest tax is {}.", list(&largest)),
        format!("Operations of this figure that cost no more than on a volume, within the interval: {}.", list(&free)),
    ]
}
