//! Quantiles and intervals agree with NumPy and SciPy, the cost model with statsmodels: `tests/data/intervals.py` made
//! `tests/data/intervals.json` from the same samples, `model.py` `model.json`, taking every way to resample the blocks where we draw some at
//! random.

use std::collections::BTreeMap;

use layerbench::analysis::{Blocks, Data, Estimate, Interval, Point, REPLICATES, compare, fit_model, quantile};
use layerbench::workload::{CacheState, Durability};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    student_t: BTreeMap<String, f64>,
    data: BTreeMap<String, Sample>,
    ratios: Vec<Ratio>,
}

#[derive(Deserialize)]
struct Sample {
    blocks: Vec<Vec<u64>>,
    quantiles: BTreeMap<String, f64>,
    interval: [f64; 2],
}

#[derive(Deserialize)]
struct Ratio {
    subject: String,
    base: String,
    ratio: f64,
    interval: [f64; 2],
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("data/intervals.json")).expect("the output of intervals.py")
}

impl Sample {
    fn data(&self) -> Data {
        let blocks: Blocks = (1..).zip(self.blocks.iter().map(|block| vec![&block[..]])).collect();
        Data::of(&blocks).expect("samples")
    }
}

/// Random resamples know a standard error to 1 / sqrt(2 x 500) of itself, 3 %; three times that is allowed.
fn agree(found: Interval, estimate: f64, expected: [f64; 2], what: &str) {
    let width = |low: f64, high: f64| if low > 0.0 { (high / low).ln() } else { high - low };
    let (found_width, expected_width) = (width(found.low, found.high), width(expected[0], expected[1]));
    assert!((found_width / expected_width - 1.0).abs() < 0.1, "{what}: {found:?}, by NumPy {expected:?}");
    assert!(found.contains(estimate), "{what}: {found:?} is not around {estimate}");
}

#[test]
fn quantiles_and_intervals_agree_with_numpy() {
    let reference = reference();
    assert!(reference.data.len() >= 6);
    for (name, sample) in &reference.data {
        let data = sample.data();
        for (p, expected) in &sample.quantiles {
            let found = quantile(&data.sorted, p.parse().expect("a probability")).expect("samples");
            assert!((found - expected).abs() < 1e-9, "quantile {p} of {name}: {found}, by NumPy {expected}");
        }
        agree(data.summary.interval.expect("blocks"), data.p50(), sample.interval, name);
    }
}

#[test]
fn ratios_are_paired_by_block_as_numpy_pairs_them() {
    let reference = reference();
    assert!(reference.ratios.len() >= 2);
    for ratio in &reference.ratios {
        let found =
            compare(&reference.data[&ratio.subject].data(), &reference.data[&ratio.base].data()).expect("a ratio");
        assert!((found.ratio - ratio.ratio).abs() < 1e-9, "{}: {found:?}", ratio.subject);
        agree(found.interval.expect("blocks"), ratio.ratio, ratio.interval, &ratio.subject);
    }
}

#[test]
fn the_quantile_of_student_t_is_that_of_scipy() {
    for (freedom, expected) in reference().student_t {
        let blocks = freedom.parse::<usize>().expect("a number") + 1;
        // Logarithms of +1 and -1 in turns: their standard deviation is known, so the bound gives the quantile.
        let replicates: Vec<f64> =
            (0..REPLICATES).map(|i| if i % 2 == 0 { 1f64.exp() } else { (-1f64).exp() }).collect();
        let n = REPLICATES as f64;
        let interval = Interval::of(1.0, &replicates, blocks).expect("an interval");
        let found = interval.high.ln() / ((n / (n - 1.0)).sqrt() * (blocks as f64 / (blocks as f64 - 1.0)).sqrt());
        assert!((found - expected).abs() < 1e-6, "{freedom} degrees of freedom: {found}, by SciPy {expected}");
    }
}

#[derive(Deserialize)]
struct Models {
    models: BTreeMap<String, Model>,
}

#[derive(Deserialize)]
struct Model {
    /// Depth, bytes, block, nanoseconds.
    points: Vec<(f64, f64, u32, f64)>,
    coefficients: BTreeMap<String, f64>,
    half_widths: BTreeMap<String, f64>,
    compounding: Compounding,
}

#[derive(Deserialize)]
struct Compounding {
    ratio: f64,
    low: f64,
    high: f64,
}

/// Robust weights are iterated here 30 times, there until nothing changes; a random bootstrap knows a half width to 1 / sqrt(2 x 300), 4 %, of
/// itself, and three times that is allowed. A block twice as slow as the others is among the data: it widens intervals and moves nothing.
#[test]
fn the_cost_model_agrees_with_statsmodels() {
    let reference: Models = serde_json::from_str(include_str!("data/model.json")).expect("the output of model.py");
    assert!(reference.models.len() >= 5);
    for (name, expected) in &reference.models {
        let points: Vec<Point> =
            expected.points.iter().map(|&(depth, bytes, block, ns)| Point { depth, bytes, block, ns }).collect();
        let found = fit_model(name, "s", CacheState::Fresh, Durability::Default, &points).expect("a model");
        let estimates: [(&str, Estimate); 4] = [
            ("fixed_ns", found.fixed_ns),
            ("layer_ns", found.layer_ns),
            ("byte_ns", found.byte_ns),
            ("layer_byte_ns", found.layer_byte_ns),
        ];
        for (what, estimate) in estimates {
            let (value, half) = (expected.coefficients[what], expected.half_widths[what]);
            let off = (estimate.value - value).abs();
            assert!(off < 0.01 * half, "{what} of {name}: {estimate:?}, by statsmodels {value} +- {half}");
            let width = (estimate.high - estimate.value) / half;
            assert!((width - 1.0).abs() < 0.12, "{what} of {name}: {estimate:?}, by statsmodels {value} +- {half}");
        }
        let by = &expected.compounding;
        assert!((found.compounding_ratio / by.ratio - 1.0).abs() < 1e-3, "{name}: {}", found.compounding_ratio);
        let width = |low: f64, high: f64| (high / low).ln();
        let wider = width(found.compounding.low, found.compounding.high) / width(by.low, by.high);
        assert!((wider - 1.0).abs() < 0.12, "{name}: {:?}", found.compounding);
    }
    let fixed = |name: &str| reference.models[name].half_widths["fixed_ns"];
    assert!(fixed("a block twice as slow") > 5.0 * fixed("additive"));
}
