//! What was observed, divided by what the cost model says that was fitted without it: a panel a depth, a line a driver.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number};
use super::panel::{Mark, Panel, Point, Series};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::in_store;
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{CostModel, ResultSet, human};
use crate::workload::Durability;

/// See the module.
pub struct ModelResiduals;

/// Most panels: of more depths some are left out of the drawing, never of the CSV.
const PANELS_MAX: usize = 6;

impl Chart for ModelResiduals {
    fn name(&self) -> &'static str {
        "model_residuals"
    }

    fn about(&self) -> &'static str {
        "what the cost model leaves unexplained: observed first writes over predictions made without them"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let fitted = data.models.iter().filter_map(|model| model.as_ref().ok());
        let here: Vec<&CostModel> = fitted.clone().filter(|model| model.store == store).collect();
        // The figure shows the write alone, its CSV also the time to durable.
        let all: Vec<&CostModel> = fitted.filter(|model| model.durability == Durability::Default).collect();
        let models: Vec<&CostModel> = all.iter().copied().filter(|model| model.store == store).collect();
        let Some(first) = models.first() else { return Ok(None) };

        let columns = [
            "store",
            "driver",
            "durability",
            "depth_layers",
            "file_size_bytes",
            "observed_ns",
            "fitted_ns",
            "held_out_ns",
            "n",
        ];
        let mut csv = Csv::new(&columns, &[]);
        let levels = |of: fn(&crate::analysis::Cell) -> f64| {
            let mut values: Vec<f64> = models.iter().flat_map(|model| model.cells.iter().map(of)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.dedup();
            values
        };
        let (depths, sizes) = (levels(|cell| cell.depth), levels(|cell| cell.bytes));
        let ratio = |cell: &crate::analysis::Cell| {
            if cell.held_out_ns > 0.0 { Some(cell.observed_ns / cell.held_out_ns) } else { None }
        };
        for model in &here {
            for cell in model.cells.iter().chain(&model.beyond) {
                let numbers = [cell.depth, cell.bytes, cell.observed_ns, cell.fitted_ns, cell.held_out_ns].map(number);
                let names = [store, &model.driver, model.durability.as_str()].map(str::to_owned);
                csv.row(names.into_iter().chain(numbers).chain([cell.n.to_string()]));
            }
        }
        let shown = evenly(&depths);
        let panels: Vec<Panel> = shown
            .iter()
            .map(|depth| {
                let series = models.iter().map(|model| Series {
                    look: look(&data.drivers, &model.driver),
                    points: sizes
                        .iter()
                        .map(|size| {
                            let cell = model.cells.iter().find(|cell| cell.depth == *depth && cell.bytes == *size)?;
                            Some(Point { x: *size, y: ratio(cell)?, band: None, mark: Mark::Filled })
                        })
                        .collect(),
                    label: None,
                });
                let y = all.iter().flat_map(|model| model.cells.iter().filter_map(ratio)).chain([1.0]);
                Panel {
                    title: human::count(*depth as u32, "layer"),
                    x: Axis::at("file size", Quantity::Bytes, &sizes),
                    y: Axis::fit("observed / predicted", Quantity::Ratio, y),
                    series: series.collect(),
                }
            })
            .collect();
        let across = if panels.len().is_multiple_of(3) { 3 } else { 2 };
        let mut rows: Vec<Vec<Panel>> = Vec::new();
        for panel in panels {
            match rows.last_mut().filter(|row| row.len() < across) {
                Some(row) => row.push(panel),
                None => rows.push(vec![panel]),
            }
        }
        let title = "What the cost model leaves unexplained".to_owned();
        let subtitle = vec![format!(
            "{}Median first write ({} caches) over the prediction of the model fitted without that depth and size. 1 is a perfect prediction.",
            in_store(data, store),
            first.cache.as_str()
        )];
        let legend = legend(data, &models.iter().map(|model| model.driver.as_str()).collect::<Vec<_>>());
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows,
            columns: 1,
            row_height: 300,
            legend,
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&models) }))
    }
}

/// The values if there are as many as fill rows, else as many of them as do, the ends among them.
fn evenly(values: &[f64]) -> Vec<f64> {
    let n = match values.len() {
        n @ 0..=4 => n,
        5 => 4,
        _ => PANELS_MAX,
    };
    let last = values.len().saturating_sub(1);
    (0..n).filter_map(|i| values.get(i * last / n.saturating_sub(1).max(1)).copied()).collect()
}

fn sentences(models: &[&CostModel]) -> [String; 2] {
    let each: Vec<String> = models
        .iter()
        .filter_map(|model| {
            let (median, largest) = model.errors()?;
            Some(format!("{}: {} and {}", model.driver, human::percent(median), human::percent(largest)))
        })
        .collect();
    [
        format!(
            "Median and largest error of predictions of points that the model had not seen, those at the edges among them: {}.",
            each.join("; ")
        ),
        match models.iter().flat_map(|model| &model.cells).filter(|cell| cell.held_out_ns <= 0.0).count() {
            0 => "A line that bends away from 1 shows what a sum of a fixed cost, layers and bytes cannot describe."
                .to_owned(),
            n => format!(
                "{} got a prediction below 0 and cannot be drawn; the CSV has it.",
                human::count(n as u32, "point")
            ),
        },
    ]
}
