//! First write against file size, a line a store and a panel a driver: what the file system below the layers is worth.

use super::axis::{Axis, Quantity};
use super::csv::{Csv, summary_columns};
use super::panel::{Panel, Series, zeros};
use super::sheet::{Sheet, draw, rows};
use super::style::nth;
use super::words::change;
use super::{Chart, ChartError, Figure};
use crate::analysis::{ResultSet, View, compare, human};

/// See the module.
pub struct FirstWriteByStore;

/// Panels of a row.
const COLUMNS: usize = 3;

impl Chart for FirstWriteByStore {
    fn name(&self) -> &'static str {
        "first_write_by_store"
    }

    fn about(&self) -> &'static str {
        "latency of the first write to a file of a lower layer against the size of the file, for each driver in every store"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn is_expected(&self) -> bool {
        false
    }

    fn holds_all_stores(&self) -> bool {
        true
    }

    fn draw(&self, data: &ResultSet, _: &str) -> Result<Option<Figure>, ChartError> {
        let stores = data.stores.iter().map(String::as_str);
        let views: Vec<(&str, View)> =
            stores.filter_map(|store| Some((store, View::first_write(data, store)?))).collect();
        let [(_, first), _, ..] = &views[..] else { return Ok(None) };
        let depth = first.shallow();
        let mut csv = Csv::new(
            &["store", "driver", "depth_layers", "file_size_bytes", "cache", "target"],
            &summary_columns("ns"),
        );
        let here = || views.iter().flat_map(|(_, view)| view.all()).filter(|(_, layers, _, _)| *layers == depth);
        let y = Axis::latency("latency of the first write", here().map(|(_, _, _, data)| data));
        let mut sizes: Vec<u64> = here().map(|(_, _, size, _)| size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let x = Axis::at("file size", Quantity::Bytes, &sizes.iter().map(|size| *size as f64).collect::<Vec<_>>());
        let drivers = data.drivers.iter().map(|driver| driver.label.as_str());
        let mut panels = Vec::new();
        for driver in drivers.filter(|driver| here().any(|(label, _, _, _)| label == *driver)) {
            let mut series = Vec::new();
            for (at, (store, view)) in views.iter().enumerate() {
                let points = sizes.iter().map(|size| (*size as f64, view.at(driver, depth, *size)));
                series.push(Series::of(nth(at), points));
                for size in &sizes {
                    let (layers, bytes, target) = (depth.to_string(), size.to_string(), view.target.words());
                    let place = [store, driver, &layers, &bytes, view.cache.as_str(), &target];
                    csv.data(&place, view.at(driver, depth, *size));
                }
            }
            panels.push(Panel { title: data.shown(driver), x: x.clone(), y: y.clone(), series });
        }
        let zeros = zeros(&panels);
        let title = "First write against file size, store by store".to_owned();
        let subtitle = vec![format!(
            "{} below, {}. Line: median; band: 10th to 90th percentile.{zeros}",
            human::count(depth, "layer"),
            first.fixed(),
        )];
        let svg = draw(&Sheet {
            title: title.clone(),
            subtitle,
            marks: data.marks.clone(),
            rows: rows(panels, COLUMNS),
            columns: COLUMNS,
            row_height: 320,
            legend: views.iter().enumerate().map(|(at, (store, _))| ((*store).to_owned(), nth(at))).collect(),
        })?;
        Ok(Some(Figure { title, svg, csv: csv.finish(), sentences: sentences(data, &views, depth) }))
    }
}

/// What size does in each store; and what the others take of the largest file, over the first.
fn sentences(data: &ResultSet, views: &[(&str, View)], depth: u32) -> [String; 2] {
    let of_size = views.iter().map(|(store, view)| {
        let (small, large) = (view.small(), view.large());
        let at = |driver: &str, size| view.at(driver, depth, size);
        let compared = |driver| compare(at(driver, large)?, at(driver, small)?);
        let items: Vec<_> = view.layered(data).into_iter().map(|driver| (driver, compared(driver))).collect();
        let (large, small) = (human::bytes(large as f64), human::bytes(small as f64));
        format!("In {store} the first write to a file of {large} instead of {small} {}.", change(&items))
    });
    let Some(((base, first), others)) = views.split_first() else { return Default::default() };
    let of_store = others.iter().map(|(store, view)| {
        let large = view.large();
        let compared = |driver| compare(view.at(driver, depth, large)?, first.at(driver, depth, large)?);
        let items: Vec<_> = view.layered(data).into_iter().map(|driver| (driver, compared(driver))).collect();
        format!("At {}, {store} instead of {base} {}.", human::bytes(large as f64), change(&items))
    });
    [of_size.collect::<Vec<_>>().join(" "), of_store.collect::<Vec<_>>().join(" ")]
}
