//! First write against file size, a line a driver.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series, zeros};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::{change, ends, in_store};
use super::{Chart, ChartError, Figure, legend};
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

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(this) = View::first_write(data, store) else { return Ok(None) };
        let views = View::first_writes(data);
        let depth = this.shallow();

        let mut csv = Csv::new(
            &["store", "driver", "depth_layers", "file_size_bytes", "cache", "target"],
            &summary_columns("ns"),
        );
        let blocks = |driver: &str, size: u64| this.at(driver, depth, size).map_or(0, |data| data.summary.blocks);
        let sizes = || this.sizes.iter().copied();
        let most = this.drivers.iter().flat_map(|driver| sizes().map(|size| blocks(driver, size))).max().unwrap_or(0);
        let mut series = Vec::new();
        for driver in &this.drivers {
            let points = this.sizes.iter().map(|size| (*size as f64, this.at(driver, depth, *size)));
            series.push(
                Series::of(look(&data.drivers, driver), points)
                    .labelled(*driver)
                    .hollow(|x| blocks(driver, x as u64) < most),
            );
            for size in &this.sizes {
                let place =
                    [store, driver, &depth.to_string(), &size.to_string(), this.cache.as_str(), &this.target.words()];
                csv.data(&place, this.at(driver, depth, *size));
            }
        }
        let all = views.iter().flat_map(|view| view.all().filter(|(_, depth, _, _)| *depth == view.shallow()));
        let y = Axis::latency("latency of the first write", all.map(|(_, _, _, data)| data));
        let x: Vec<f64> = this.sizes.iter().map(|size| *size as f64).collect();
        let panels = vec![Panel { title: String::new(), x: Axis::at("file size", Quantity::Bytes, &x), y, series }];
        let title = "First write against file size".to_owned();
        let hollow = this.drivers.iter().flat_map(|driver| sizes().map(|size| blocks(driver, size)));
        let hollow = match hollow.filter(|blocks| *blocks > 0 && *blocks < most).min() {
            Some(least) => format!(" Hollow: from {least} blocks, where others have {most}."),
            None => String::new(),
        };
        let name = metric::FIRST_WRITE_NS.name;
        let empty = data.with_metric(store, ProbeName::CopyUp, &name);
        let empty = match empty.filter(|group| group.key.params.file_size_bytes == 0).count() {
            0 => "",
            _ => " Empty files, which have nothing to copy, are left out.",
        };
        let subtitle = vec![
            format!(
                "{}{} below, {}. Line: median; band: 10th to 90th percentile.{}",
                in_store(data, store),
                human::count(depth, "layer"),
                this.fixed(),
                zeros(&panels),
            ),
            format!("{hollow}{empty}").trim_start().to_owned(),
        ];
        let subtitle = subtitle.into_iter().filter(|line| !line.is_empty()).collect();
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: vec![panels],
            columns: 1,
            row_height: 440,
            legend: legend(data, &this.drivers),
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
