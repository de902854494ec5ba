//! The section of the cost model.

use super::content::section;
use super::page::{Block, Span, Spans, Table, plain};
use crate::analysis::{CostModel, Estimate, ResultSet, View, human};
use crate::workload::Durability;

/// Bytes in a MiB.
const MIB: f64 = 1_048_576.0;

/// The section.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    if View::first_writes(results).is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![section("cost-model", "Cost model")];
    blocks.push(Block::Text(plain(
        "time of a first write = fixed + a × depth + b × bytes + c × depth × bytes, fitted to the blocks’ medians by relative error, robustly, for \
         each driver. Empty files are left out: with nothing to copy and nothing to wait for, theirs is another operation. Intervals (95 %) rest on the blocks.",
    )));
    let models: Vec<&CostModel> = results.models.iter().filter_map(|model| model.as_ref().ok()).collect();
    for durability in Durability::ALL {
        let rows: Vec<Vec<Spans>> =
            models.iter().filter(|model| model.durability == durability).map(|model| row(results, model)).collect();
        if rows.is_empty() {
            continue;
        }
        let mut head = vec![
            "Driver",
            "Fixed",
            "A layer (a)",
            "A MiB (b)",
            "A layer and MiB (c)",
            "With c ÷ without",
            "Error unseen",
        ];
        if durability == Durability::Fsync {
            blocks.push(Block::Text(plain(
                "The same writes, each followed by fsync: the time until they were durable. Sync is what its constants have more than those \
                 above: what was left to wait for after the write, whatever the size and a MiB. Of a driver that waits in the copy_up itself it is little.",
            )));
            head.push("Sync");
        }
        let head: Vec<String> = head.into_iter().map(str::to_owned).collect();
        let words = [5, 6];
        let numeric = (1..head.len()).filter(|column| !words.contains(column)).collect();
        blocks.push(Block::Table(Table { head, rows, numeric }));
    }
    if !models.is_empty() {
        blocks.push(Block::Text(plain(
            "With c ÷ without: the prediction for the deepest and largest point, divided by the same with c = 0. It describes the formula; whether depth costs more \
             for a large file is a verdict of its own, from what was measured at the corners, and the two can differ. Error unseen: median and largest relative error of predictions of points that the model was not fitted \
             to, those at the edges among them; then that of the deepest and largest point, below 0 where less was predicted than observed.",
        )));
    }
    let beyond: Vec<Spans> = models.iter().filter_map(|model| beyond(results, model)).collect();
    if !beyond.is_empty() {
        blocks.push(Block::Text(plain(
            "Predicted far outside of the points that the model was fitted to, and observed there:",
        )));
        blocks.push(Block::List(beyond));
    }
    // A missing driver is told of elsewhere; here only what was measured and could not be fitted.
    let reasons: Vec<Spans> = results
        .models
        .iter()
        .filter_map(|model| model.as_ref().err())
        .map(|not| {
            let what = match not.durability {
                Durability::Default => "",
                Durability::Fsync => " until durable",
            };
            plain(format!("{}{what}: not fitted, {}.", not.driver, not.reason))
        })
        .collect();
    if !reasons.is_empty() {
        blocks.push(Block::List(reasons));
    }
    blocks
}

fn name(results: &ResultSet, model: &CostModel) -> String {
    let driver = results.shown(&model.driver);
    if results.several_stores() { format!("{driver} ({})", model.store) } else { driver }
}

/// The predictions that are extrapolations.
fn beyond(results: &ResultSet, model: &CostModel) -> Option<Spans> {
    let cells: Vec<String> = model
        .beyond
        .iter()
        .map(|cell| {
            format!(
                "{}, {}: {} predicted, {} observed (n={}){}",
                human::bytes(cell.bytes),
                human::count(cell.depth as u32, "layer"),
                human::ns(cell.held_out_ns),
                human::ns(cell.observed_ns),
                cell.n,
                if cell.contradicted { " †" } else { "" }
            )
        })
        .collect();
    (!cells.is_empty()).then(|| plain(format!("{}: {}.", name(results, model), cells.join("; "))))
}

fn row(results: &ResultSet, model: &CostModel) -> Vec<Spans> {
    let name = name(results, model);
    let per_mib = |e: Estimate| Estimate { value: e.value * MIB, low: e.low * MIB, high: e.high * MIB };
    let error = match model.errors() {
        Some((median, largest)) => {
            let place = model
                .worst()
                .map(|cell| format!(" ({}, {})", human::bytes(cell.bytes), human::count(cell.depth as u32, "layer")));
            format!("{}, at most {}{}", human::percent(median), human::percent(largest), place.unwrap_or_default())
        }
        None => String::new(),
    };
    let corner = model.corner().map(|cell| format!("; {} at the deepest and largest", human::percent(cell.error())));
    let mut row = vec![
        plain(name),
        time(model.fixed_ns),
        time(model.layer_ns),
        time(per_mib(model.byte_ns)),
        time(per_mib(model.layer_byte_ns)),
        vec![
            Span::Strong(human::ratio(model.compounding_ratio)),
            Span::Text(format!(" [{}]", human::interval(Some(model.compounding), human::ratio))),
        ],
        plain(error + &corner.unwrap_or_default()),
    ];
    if model.durability == Durability::Fsync {
        row.push(match model.sync {
            Some(sync) => {
                let mut spans = time(sync.fixed_ns);
                spans.push(Span::Text(" + ".to_owned()));
                spans.extend(time(per_mib(sync.byte_ns)));
                spans.push(Span::Text(" a MiB".to_owned()));
                spans
            }
            None => plain("the write alone has no model"),
        });
    }
    row
}

fn time(e: Estimate) -> Spans {
    vec![Span::Strong(human::ns(e.value)), Span::Text(format!(" [{} to {}]", human::ns(e.low), human::ns(e.high)))]
}
