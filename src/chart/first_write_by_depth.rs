//! First write against the number of layers, a line a driver; one panel for the smallest files and one for the largest.

use std::collections::BTreeSet;

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series, zeros};
use super::sheet::{Sheet, draw};
use super::style::look;
use super::words::{capital, change, in_store};
use super::{Chart, ChartError, Figure, legend};
use crate::analysis::{ResultSet, View, compare, human};

/// See the module.
pub struct FirstWriteByDepth;

impl Chart for FirstWriteByDepth {
    fn name(&self) -> &'static str {
        "first_write_by_depth"
    }

    fn about(&self) -> &'static str {
        "latency of the first write to a file of a lower layer against the number of layers"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let Some(this) = View::first_write(data, store) else { return Ok(None) };
        let views = View::first_writes(data);

        let mut csv = Csv::new(
            &["store", "driver", "file_size_bytes", "depth_layers", "cache", "target"],
            &summary_columns("ns"),
        );
        let depths: Vec<f64> = this.depths.iter().map(|depth| f64::from(*depth)).collect();
        let sizes = ends(&this);
        let mut panels = Vec::new();
        for size in &sizes {
            let mut series = Vec::new();
            for driver in &this.drivers {
                let points = this.depths.iter().map(|depth| (f64::from(*depth), this.at(driver, *depth, *size)));
                let line = Series::of(look(&data.drivers, driver), points);
                series.push(if sizes.len() == 1 { line.labelled(*driver) } else { line });
                for depth in &this.depths {
                    let place = [
                        store,
                        driver,
                        &size.to_string(),
                        &depth.to_string(),
                        this.cache.as_str(),
                        &this.target.words(),
                    ];
                    csv.data(&place, this.at(driver, *depth, *size));
                }
            }
            let all = views.iter().flat_map(|view| view.all()).filter(|(_, _, of, _)| of == size);
            let y = Axis::latency("latency of the first write", all.map(|(_, _, _, data)| data));
            let title = format!("Files of {}", human::bytes(*size as f64));
            panels.push(Panel { title, x: Axis::at("lower layers", Quantity::Count, &depths), y, series });
        }
        let title = "First write against depth".to_owned();
        let subtitle = vec![format!(
            "{}{}. Line: median; band: 10th to 90th percentile.{}",
            in_store(data, store),
            capital(&this.fixed()),
            zeros(&panels)
        )];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: vec![panels],
            columns: 1,
            row_height: 400,
            legend: legend(data, &this.drivers),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(&this) }))
    }
}

/// The smallest size, and the largest that was measured at as many depths; one, if there is one.
fn ends(view: &View) -> Vec<u64> {
    let depths = |size: u64| view.all().filter(|point| point.2 == size).map(|point| point.1).collect::<BTreeSet<u32>>();
    let small = view.small();
    let all = depths(small);
    let mut sizes = vec![small];
    sizes.extend(view.sizes.iter().rev().copied().find(|size| *size != small && depths(*size) == all));
    sizes
}

fn sentences(view: &View) -> [String; 2] {
    let (shallow, deep) = (view.shallow(), view.deep());
    if shallow == deep {
        let layers = human::count(shallow, "layer");
        return [
            format!("Only stacks of {layers} were measured, so growth with depth is not measured."),
            format!("The figure shows the medians at {layers} side by side."),
        ];
    }
    let growth = |size: u64| {
        let items: Vec<_> = view
            .drivers
            .iter()
            .map(|d| (*d, view.at(d, deep, size).zip(view.at(d, shallow, size)).and_then(|(a, b)| compare(a, b))))
            .collect();
        change(&items)
    };
    let first = format!(
        "The first write to a file of {} below {deep} layers instead of {shallow} {}.",
        human::bytes(view.small() as f64),
        growth(view.small())
    );
    let second = match ends(view)[..] {
        [_, large] => format!("To a file of {} it {}.", human::bytes(large as f64), growth(large)),
        _ => "Larger files were not measured at these depths.".to_owned(),
    };
    [first, second]
}
