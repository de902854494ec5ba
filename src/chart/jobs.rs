//! Whole jobs on layers against the same on a volume: a row a job.

use super::ratios::{self, Row};
use super::words::{each, in_store};
use super::{Chart, ChartError, Figure};
use crate::analysis::{Difference, JobView, Operation, ResultSet, human};

/// See the module.
pub struct Jobs;

impl Chart for Jobs {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn about(&self) -> &'static str {
        "whole jobs (tar, chown -R, cp, rm, unpacking, a C build, SQLite) on layers, as a ratio to a volume"
    }

    fn is_main(&self) -> bool {
        true
    }

    fn is_expected(&self) -> bool {
        false
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let all: Vec<(&str, JobView)> =
            data.stores.iter().filter_map(|store| Some((store.as_str(), JobView::of(data, store)?))).collect();
        let Some((_, view)) = all.iter().find(|(label, _)| *label == store) else { return Ok(None) };
        let here: Vec<&Operation> = view.jobs.iter().map(|(_, operation)| operation).collect();
        let rows = ratios::rows(data, &here);
        if rows.is_empty() {
            return Ok(None);
        }
        let every: Vec<&Operation> = all.iter().flat_map(|(_, view)| &view.jobs).map(|(_, o)| o).collect();
        let axis = ratios::axis(ratios::rows(data, &every));
        let bind = data.baseline().unwrap_or_default();
        let title = "Jobs: layers against a volume".to_owned();
        let subtitle = [
            format!(
                "{}A whole program on a tree of {} over {}, {} caches: ratio to {bind}, block by block, with its interval.",
                in_store(data, store),
                human::count(view.params.files, "file"),
                human::count(view.params.depth, "layer"),
                view.params.cache.as_str()
            ),
            "Right of the line at 1 the layers are slower than a volume. Hollow: not resolved.".to_owned(),
        ];
        let svg = ratios::draw(data, &title, &subtitle, &rows, &axis)?;
        Ok(Some(Figure { title, svg, csv: ratios::csv(data, store, &here), sentences: sentences(data, &rows, bind) }))
    }
}

/// For each driver the job that suffers most; and how many jobs do not.
fn sentences(data: &ResultSet, rows: &[Row], bind: &str) -> [String; 2] {
    let mut dearest: Vec<String> = Vec::new();
    for driver in data.drivers.iter().map(|driver| driver.label.as_str()) {
        let dots = rows.iter().flat_map(|(job, dots)| dots.iter().map(move |dot| (*job, dot)));
        let slower = dots.filter(|(_, dot)| dot.driver == driver && dot.comparison.difference == Difference::Higher);
        if let Some((job, dot)) = slower.max_by(|a, b| a.1.comparison.ratio.total_cmp(&b.1.comparison.ratio)) {
            dearest.push(format!("with {driver} “{job}” ({})", human::ratio(dot.comparison.ratio)));
        }
    }
    let first = match dearest.is_empty() {
        true => format!("No job was found slower on layers than on {bind}."),
        false => format!("The job that suffers most from layers is {}.", human::list(&dearest)),
    };
    // Reading is what most containers do most of the time: the first row, where it was measured.
    let second = match rows.first() {
        Some((job, dots)) => {
            let ratios: Vec<(&str, f64)> = dots.iter().map(|dot| (dot.driver, dot.comparison.ratio)).collect();
            format!("Beside {bind}, “{job}” takes {}.", each(&ratios, human::ratio))
        }
        None => String::new(),
    };
    [first, second]
}
