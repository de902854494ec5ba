//! Quantiles and intervals agree with NumPy and SciPy: `tests/data/intervals.py` made `tests/data/intervals.json` from the same samples, taking
//! every way to resample the blocks where we draw some at random.

use std::collections::BTreeMap;

use layerbench::analysis::{Blocks, Data, Interval, REPLICATES, compare, quantile};
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
