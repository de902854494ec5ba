//! First write against file size, a line a driver.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary, summary_columns};
use super::sheet::{Panel, Point, Series, Sheet, draw};
use super::style::look;
use super::words::{change, ends};
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, View, compare, human};
use crate::record::metric;
use crate::workload::ProbeName;

/// See the module.
pub struct FirstWriteBySize;

impl Chart for FirstWriteBySize {
    fn name(&self) -> &'static str {
        "first_write_by_size"
    }

    fn about(&self) -> &'static str {
        "latency of the first write to a file of a lower layer against the size of the file"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let view = |store| View::of(data, store, ProbeName::CopyUp, &metric::FIRST_WRITE_NS.name, None);
        let Some(this) = view(store) else { return Ok(None) };
        let views: Vec<View> = data.stores.iter().filter_map(|store| view(store)).collect();
        let depth = this.shallow();

        let mut csv = Csv::new(
            &["store", "driver", "depth_layers", "file_size_bytes", "cache", "target"],
            &summary_columns("ns"),
        );
        let mut series = Vec::new();
        let mut legend = Vec::new();
        for driver in &this.drivers {
            let look = look(data.position(driver));
            let mut points = Vec::new();
            for size in &this.sizes {
                let Some(found) = this.at(driver, depth, *size) else { continue };
                let s = &found.summary;
                points.push(Point { x: *size as f64, y: s.p50, band: Some((s.p10, s.p90)) });
                let mut row = vec![store.to_owned(), (*driver).to_owned(), depth.to_string(), size.to_string()];
                row.extend([this.cache.as_str().to_owned(), this.target.words()]);
                row.extend(summary(found));
                csv.row(row);
            }
            series.push(Series { look, points });
            legend.push(((*driver).to_owned(), look));
        }
        let all = views.iter().flat_map(|view| {
            let depth = view.shallow();
            let at = move |driver, size| view.at(driver, depth, size);
            view.drivers.iter().flat_map(move |d| view.sizes.iter().filter_map(move |s| at(d, *s)))
        });
        let mut y = Axis::fit("first write", Quantity::Ns, all.flat_map(|d| [d.summary.p10, d.p50(), d.summary.p90]));
        y.title = "latency of the first write".to_owned();
        let x: Vec<f64> = this.sizes.iter().map(|size| *size as f64).collect();
        let title = "First write against file size".to_owned();
        let subtitle = vec![format!(
            "Store {store}. {} below, {}. Line: median; band: 10th to 90th percentile.{}",
            human::count(depth, "layer"),
            this.fixed(),
            super::sheet::zeros(&y, series.iter().flat_map(|s| &s.points)),
        )];
        let panel = Panel { title: String::new(), x: Axis::at("file size", Quantity::Bytes, &x), y, series };
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            smoke: data.smoke,
            rows: vec![vec![panel]],
            row_height: 440,
            legend,
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&this) }))
    }
}

fn sentences(view: &View) -> [String; 2] {
    let (small, large, depth) = (view.small(), view.large(), view.shallow());
    let at = |driver, size| view.at(driver, depth, size);
    let growth = if small == large {
        format!("Only files of {} were measured, so growth with size is not measured.", human::bytes(small as f64))
    } else {
        let items: Vec<_> = view
            .drivers
            .iter()
            .map(|driver| (*driver, at(driver, large).zip(at(driver, small)).and_then(|(l, s)| compare(l, s))))
            .collect();
        format!(
            "The first write to a file of {} instead of {} {}.",
            human::bytes(large as f64),
            human::bytes(small as f64),
            change(&items)
        )
    };
    let values: Vec<_> = view.drivers.iter().filter_map(|d| Some((*d, at(d, large)?.p50()))).collect();
    let range = match ends(&values, human::ns) {
        Some((low, high)) if values.len() > 1 => {
            format!("At {} the lowest median is that of {low}, the highest that of {high}.", human::bytes(large as f64))
        }
        Some((one, _)) => format!("At {} only one driver was measured: {one}.", human::bytes(large as f64)),
        None => format!("At {} and {depth} layers nothing was measured.", human::bytes(large as f64)),
    };
    [growth, range]
}
