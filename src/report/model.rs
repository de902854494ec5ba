//! The section of the cost model.

use super::content::section;
use super::page::{Block, Span, Spans, Table, plain};
use crate::analysis::{COMPOUNDED_SHARE, Compounded, CostModel, Estimate, ResultSet, human};

/// Bytes in a MiB.
const MIB: f64 = 1_048_576.0;

/// The section.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let mut blocks = vec![section("cost-model", "Cost model")];
    blocks.push(Block::Text(plain(
        "time of a first write = fixed + a × depth + b × bytes + c × depth × bytes, fitted to the blocks’ medians by relative error, robustly, for \
         each driver. Waiting for the disk is not a term: overlay2 beside overlay2 volatile shows it. Empty files are left out: with nothing to copy and nothing to wait for, theirs is another operation. Intervals (95 %) rest on the blocks.",
    )));
    let models: Vec<&CostModel> = results.models.iter().filter_map(|model| model.as_ref().ok()).collect();
    if !models.is_empty() {
        let head =
            ["Driver", "Fixed", "A layer", "A MiB", "A layer and MiB", "Compounded?", "Error unseen", "In interval"];
        let rows: Vec<Vec<Spans>> = models.iter().map(|model| row(results, model)).collect();
        blocks.push(Block::Table(Table {
            head: head.map(str::to_owned).to_vec(),
            rows,
            numeric: vec![1, 2, 3, 4, 6, 7],
        }));
        blocks.push(Block::Text(plain(format!(
            "Compounded: the term of depth × bytes has an interval above 0 and makes up at least {} of the prediction for the deepest and largest \
             point; in brackets its share there. Error unseen: median and largest relative error of predictions of points that lie between \
             others and that the model was not fitted to. In interval: how many of those lie within the prediction interval made from the others, whose factor follows, with the share that it promises to hold.",
            human::percent(COMPOUNDED_SHARE)
        ))));
    }
    // A missing driver is told of elsewhere; here only what was measured and could not be fitted.
    let reasons: Vec<Spans> = results
        .models
        .iter()
        .filter_map(|model| model.as_ref().err())
        .map(|not| plain(format!("{}: not fitted, {}.", not.driver, not.reason)))
        .collect();
    if !reasons.is_empty() {
        blocks.push(Block::List(reasons));
    }
    blocks
}

fn row(results: &ResultSet, model: &CostModel) -> Vec<Spans> {
    let name =
        if results.several_stores() { format!("{} ({})", model.driver, model.store) } else { model.driver.clone() };
    let per_mib = |e: Estimate| Estimate { value: e.value * MIB, low: e.low * MIB, high: e.high * MIB };
    let words = match model.compounded {
        Compounded::Yes => "yes",
        Compounded::No => "no",
        Compounded::Undecided => "undecided",
    };
    let error = match model.errors() {
        Some((median, largest)) => {
            let place = model
                .worst()
                .map(|cell| format!(" ({}, {})", human::bytes(cell.bytes), human::count(cell.depth as u32, "layer")));
            format!("{}, at most {}{}", human::percent(median), human::percent(largest), place.unwrap_or_default())
        }
        None => "no point lies between others".to_owned(),
    };
    let (covered, interior) = model.covered();
    vec![
        plain(name),
        time(model.fixed_ns),
        time(model.layer_ns),
        time(per_mib(model.byte_ns)),
        time(per_mib(model.layer_byte_ns)),
        vec![
            Span::Strong(words.to_owned()),
            Span::Text(format!(
                " ({} [{} to {}])",
                human::percent(model.compounded_share.value),
                human::percent(model.compounded_share.low),
                human::percent(model.compounded_share.high)
            )),
        ],
        plain(error),
        plain(format!(
            "{covered} of {interior}, {} ({})",
            human::ratio(model.prediction_factor),
            human::percent(model.prediction_confidence)
        )),
    ]
}

fn time(e: Estimate) -> Spans {
    vec![Span::Strong(human::ns(e.value)), Span::Text(format!(" [{} to {}]", human::ns(e.low), human::ns(e.high)))]
}
