//! What each driver adds to each operation, as a ratio to a bind mount: what a volume would save.

use super::ratios::{self, Row};
use super::words::in_store;
use super::{Chart, ChartError, Figure};
use crate::analysis::{Difference, Operation, ResultSet, human, operations};

/// See the module.
pub struct TaxOverBind;

impl Chart for TaxOverBind {
    fn name(&self) -> &'static str {
        "tax_over_bind"
    }

    fn about(&self) -> &'static str {
        "ratio of each driver to a bind mount for each operation: what a volume would save"
    }

    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError> {
        let all: Vec<(&str, Vec<Operation>)> =
            data.stores.iter().map(|store| (store.as_str(), operations(data, store))).collect();
        let here: Vec<&Operation> = all.iter().filter(|(label, _)| *label == store).flat_map(|(_, o)| o).collect();
        let rows = ratios::rows(data, &here);
        if rows.is_empty() {
            return Ok(None);
        }
        let every: Vec<&Operation> = all.iter().flat_map(|(_, operations)| operations).collect();
        let axis = ratios::axis(ratios::rows(data, &every));
        let bind = data.baseline().unwrap_or_default();
        let title = "The tax over a bind mount".to_owned();
        let subtitle = [format!(
            "{}Ratio of medians to {bind}, with its interval; right of the line at 1 the driver is slower. Hollow: not resolved.",
            in_store(data, store)
        )];
        let svg = ratios::draw(data, &title, &subtitle, &rows, &axis)?;
        Ok(Some(Figure { title, svg, csv: ratios::csv(data, store, &here), sentences: sentences(&rows, bind) }))
    }
}

fn sentences(rows: &[Row], bind: &str) -> [String; 2] {
    let all = || rows.iter().flat_map(|(label, dots)| dots.iter().map(move |dot| (*label, dot)));
    let slower = all().filter(|(_, dot)| dot.comparison.difference == Difference::Higher);
    let first = match slower.max_by(|a, b| a.1.comparison.ratio.total_cmp(&b.1.comparison.ratio)) {
        Some((label, dot)) => format!(
            "A volume would save most on “{label}” with {}, which takes {} the time of {bind}.",
            dot.driver,
            human::ratio(dot.comparison.ratio)
        ),
        None => format!("No operation was found slower than on {bind}, so a volume would save nothing here."),
    };
    let total = all().count() as u64;
    let same = all().filter(|(_, dot)| !dot.comparison.difference.is_found()).count();
    let faster = all().filter(|(_, dot)| dot.comparison.difference == Difference::Lower).count();
    let second = format!(
        "Of {} of a driver with {bind}, {} found slower, {same} without a difference that the samples show, {faster} faster.",
        human::count(total, "comparison"),
        total as usize - same - faster,
    );
    [first, second]
}
