//! What was observed, divided by what the cost model says that was fitted without it: a panel a driver, a line a depth.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, number};
use super::panel::{Panel, Point, Series};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::in_store;
use super::{Chart, ChartError, Figure};
use crate::analysis::{CostModel, ResultSet, human};

/// See the module.
pub struct ModelResiduals;

/// Panels in a row.
const ACROSS: usize = 2;

impl Chart for ModelResiduals {
    fn name(&self) -> &'static str {
        "model_residuals"
    }

    fn about(&self) -> &'static str {
        "what the cost model leaves unexplained: observed first writes over predictions made without them"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let all: Vec<&CostModel> = data.models.iter().filter_map(|model| model.as_ref().ok()).collect();
        let models: Vec<&CostModel> = all.iter().copied().filter(|model| model.store == store).collect();
        let Some(first) = models.first() else { return Ok(None) };

        let columns = [
            "store",
            "driver",
            "depth_layers",
            "file_size_bytes",
            "observed_ns",
            "fitted_ns",
            "held_out_ns",
            "interior",
            "covered",
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
        let mut panels = Vec::new();
        for model in &models {
            let series = depths.iter().enumerate().map(|(index, depth)| Series {
                look: look(index),
                points: sizes
                    .iter()
                    .map(|size| {
                        let cell = model.cells.iter().find(|cell| cell.depth == *depth && cell.bytes == *size)?;
                        Some(Point { x: *size, y: ratio(cell)?, band: None, mark: true })
                    })
                    .collect(),
                label: None,
            });
            let y = all.iter().flat_map(|model| model.cells.iter().filter_map(ratio)).chain([1.0]);
            panels.push(Panel {
                title: model.driver.clone(),
                x: Axis::at("file size", Quantity::Bytes, &sizes),
                y: Axis::fit("observed / predicted", Quantity::Ratio, y),
                series: series.collect(),
            });
            for cell in &model.cells {
                let numbers = [cell.depth, cell.bytes, cell.observed_ns, cell.fitted_ns, cell.held_out_ns].map(number);
                let flags = [cell.interior, cell.covered].map(|flag| flag.to_string());
                csv.row([store.to_owned(), model.driver.clone()].into_iter().chain(numbers).chain(flags));
            }
        }
        let mut rows: Vec<Vec<Panel>> = Vec::new();
        for panel in panels {
            match rows.last_mut().filter(|row| row.len() < ACROSS) {
                Some(row) => row.push(panel),
                None => rows.push(vec![panel]),
            }
        }
        // Rows must be of one length; an empty panel says nothing.
        if rows.len() > 1
            && let Some(last) = rows.last_mut().filter(|row| row.len() < ACROSS)
            && let Some(model) = models.last()
        {
            last.push(Panel {
                title: String::new(),
                x: Axis::at("file size", Quantity::Bytes, &sizes),
                y: Axis::fit("", Quantity::Ratio, [1.0, model.prediction_factor]),
                series: Vec::new(),
            });
        }
        let title = "What the cost model leaves unexplained".to_owned();
        let subtitle = vec![format!(
            "{}Median first write ({} caches) over the prediction of the model fitted without that depth and size. 1 is a perfect prediction.",
            in_store(data, store),
            first.cache.as_str()
        )];
        let legend = depths.iter().enumerate().map(|(i, d)| (human::count(*d as u32, "layer"), look(i))).collect();
        let svg = draw(&Sheet { title: title.clone(), subtitle, smoke: data.smoke, rows, row_height: 300, legend })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&models) }))
    }
}

fn sentences(models: &[&CostModel]) -> [String; 2] {
    let each: Vec<String> = models
        .iter()
        .filter_map(|model| {
            let (median, largest) = model.errors()?;
            Some(format!("{}: {} and {}", model.driver, human::percent(median), human::percent(largest)))
        })
        .collect();
    if each.is_empty() {
        return ["No point lies between others, so every prediction is an extrapolation.".to_owned(), String::new()];
    }
    [
        format!(
            "Median and largest error of predictions of points between others that the model had not seen: {}.",
            each.join("; ")
        ),
        "A line that bends away from 1 shows what a sum of a fixed cost, layers and bytes cannot describe.".to_owned(),
    ]
}
