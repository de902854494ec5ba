//! Intervals of medians, of spreads and of what is computed from them, by a bootstrap of blocks.
//!
//! Samples of one block share a process, a mount, an upper and a moment, so they are more alike than samples of different blocks.
//! Resampling them as if they were independent would give intervals that are far too narrow. As Kalibera & Jones put it ("Rigorous
//! Benchmarking in Reasonable Time", ISMM 2013), one repeats, and resamples, at the level that varies: blocks are drawn with
//! replacement, each with all its samples.
//!
//! Samples are not drawn again within a drawn block. What varies within blocks is already in what differs between them, since each
//! has samples of its own; drawing again would count it twice (Davison & Hinkley, "Bootstrap Methods and their Application", 1997,
//! section 3.8: of the two ways to resample nested data this one has nearly the right variance). In the simulation below, intervals
//! that draw twice hold the truth in 98 to 100 of 100 cases where 95 are promised, these in 93 to 99.
//!
//! A block holds every case once, so its numbers are taken within one stretch of time for all drivers. The blocks of a replicate are
//! drawn from a stream that depends on nothing but the set of block numbers: replicate n of one thing and replicate n of another rest on
//! the same blocks, and what drifts from block to block cancels in their ratio.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::quantile::quantile;

/// How many times the data are resampled. Only a standard error is taken from the replicates, never a tail, and of a standard error 500
/// replicates leave 3 % of Monte Carlo error (1 / sqrt(2 x 500); Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, find 200
/// enough).
pub const REPLICATES: usize = 500;

/// Coverage that the intervals aim at.
pub const CONFIDENCE: f64 = 0.95;

/// Most samples of a block that are looked at; of more, as many order statistics stand for them.
const KEPT: usize = 512;

/// Samples by block, each block in one or more pieces, in the metric's unit.
pub type Blocks<'a> = BTreeMap<u32, Vec<&'a [u64]>>;

/// An interval at [`CONFIDENCE`], in the unit of what it is of.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// The interval of an estimate of something that is never below 0, from bootstrap replicates of it, which resampled `blocks` blocks:
    ///
    /// `exp(ln(estimate) ± t(1 - (1 - CONFIDENCE) / 2; blocks - 1) * se * sqrt(blocks / (blocks - 1)))`
    ///
    /// where `se` is the standard deviation of the logarithms of the replicates. The percentiles of the replicates themselves would be
    /// too narrow, for two reasons: resampling k blocks underestimates the variance by (k - 1) / k, and the bootstrap takes no
    /// account of how little k blocks tell of it. The first is the square root, the second Student's t (Hesterberg, "What Teachers Should Know
    /// About the Bootstrap", The American Statistician 69, 2015, sections 3 to 5: narrowness bias, bootstrap t and expanded intervals).
    /// Logarithms, because a time that is off is off by a factor. Where the estimate or a replicate is 0 the same is done
    /// without logarithms, and the lower bound is at least 0.
    ///
    /// `None` with fewer than two blocks, which say nothing of what varies between them, and when a number is not finite.
    pub fn of(estimate: f64, replicates: &[f64], blocks: usize) -> Option<Interval> {
        let freedom = blocks.checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
        if !estimate.is_finite() || estimate < 0.0 || replicates.iter().any(|r| !r.is_finite() || *r < 0.0) {
            return None;
        }
        // Equal replicates have no spread at all, not one of a rounding error.
        if replicates.iter().all(|r| Some(r) == replicates.first()) {
            return Some(Interval { low: estimate, high: estimate });
        }
        if estimate == 0.0 || replicates.contains(&0.0) {
            let Interval { low, high } = Interval::of_difference(estimate, replicates, blocks)?;
            return Some(Interval { low: low.max(0.0), high });
        }
        let half = student_t(freedom)? * (blocks as f64 / freedom).sqrt() * deviation(replicates, f64::ln)?;
        let interval = Interval { low: (estimate.ln() - half).exp(), high: (estimate.ln() + half).exp() };
        interval.high.is_finite().then_some(interval)
    }

    /// The same without logarithms, of something that may be below 0.
    pub fn of_difference(estimate: f64, replicates: &[f64], blocks: usize) -> Option<Interval> {
        let freedom = blocks.checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
        let half = student_t(freedom)? * (blocks as f64 / freedom).sqrt() * deviation(replicates, |r| r)?;
        let interval = Interval { low: estimate - half, high: estimate + half };
        (interval.low.is_finite() && interval.high.is_finite()).then_some(interval)
    }

    /// The geometric mean of ratios, one a block, each a single sample over another, and its interval: Student's t of their logarithms,
    ///
    /// `exp(mean ± t(1 - (1 - CONFIDENCE) / 2; k - 1) * s / sqrt(k))`
    ///
    /// with mean and standard deviation s of k logarithms. A block of one sample has nothing that could be resampled with it, and of few such
    /// blocks a resampled median takes two or three values. `None` of fewer than two ratios, and when one is 0 or not finite.
    pub fn paired(ratios: &[f64]) -> Option<(f64, Interval)> {
        if ratios.iter().any(|r| !r.is_finite() || *r <= 0.0) {
            return None;
        }
        let k = ratios.len() as f64;
        let half = deviation(ratios, f64::ln)? * student_t(k - 1.0)? / k.sqrt();
        let mean = ratios.iter().map(|r| r.ln()).sum::<f64>() / k;
        let interval = Interval { low: (mean - half).exp(), high: (mean + half).exp() };
        interval.high.is_finite().then_some((mean.exp(), interval))
    }

    /// Whether a value lies in it, bounds included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The quantile of Student's t that leaves half of 1 - [`CONFIDENCE`] above it.
pub(super) fn student_t(freedom: f64) -> Option<f64> {
    Some(StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(1.0 - (1.0 - CONFIDENCE) / 2.0))
}

/// Standard deviation of `of` of the values, with n - 1. `None` of fewer than two.
fn deviation(values: &[f64], of: impl Fn(f64) -> f64) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().map(|v| of(*v)).sum::<f64>() / n;
    let squares = values.iter().map(|v| (of(*v) - mean).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt())
}

/// An estimate and what it is in [`REPLICATES`] resampled data sets, in the order drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicates {
    estimate: f64,
    values: Box<[f64]>,
    blocks: usize,
}

impl Replicates {
    /// What is estimated, from the data themselves.
    pub fn estimate(&self) -> f64 {
        self.estimate
    }

    /// The same of each resampled data set.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many blocks were resampled, at least 2.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Interval of the estimate; see [`Interval::of`].
    pub fn interval(&self) -> Option<Interval> {
        Interval::of(self.estimate, &self.values, self.blocks)
    }

    /// A function of several estimates, replicate by replicate: pairs the blocks of those that have the same ones. What it yields must not be
    /// below 0 for there to be an interval. `None` without parts.
    pub fn combined(parts: &[&Replicates], of: impl Fn(&[f64]) -> f64) -> Option<Replicates> {
        let blocks = parts.iter().map(|part| part.blocks).min()?;
        let mut row = vec![0.0; parts.len()];
        let mut at = |value: &dyn Fn(&Replicates) -> f64| {
            for (cell, part) in row.iter_mut().zip(parts) {
                *cell = value(part);
            }
            of(&row)
        };
        let estimate = at(&|part| part.estimate);
        let values = (0..REPLICATES).map(|i| at(&|part| part.values.get(i).copied().unwrap_or(f64::NAN))).collect();
        Some(Replicates { estimate, values, blocks })
    }

    /// This estimate divided by another, paired by block.
    pub fn ratio(&self, base: &Replicates) -> Option<Replicates> {
        Replicates::combined(&[self, base], |v| v[0] / v[1])
    }
}

/// A block, ready to be resampled.
#[derive(Debug)]
pub(super) struct Sketch {
    block: u32,
    /// All samples, or [`KEPT`] order statistics of them.
    kept: Vec<u64>,
    /// Samples that each of them stands for.
    weight: f64,
    /// Median of all samples.
    median: f64,
}

impl Sketch {
    /// Sketches the samples of a block, which must be in ascending order and not empty.
    ///
    /// Of more than [`KEPT`] samples only the order statistics in the middle of as many equal slices are kept. They place each
    /// quantile of the block to within 1 / 1024 of its samples, far less than what differs from block to block, which is all that the
    /// replicates are for; the estimate itself is made from every sample. In return a run of ten million samples is resampled as fast
    /// as a small one, and its samples are not held twice.
    fn of(block: u32, sorted: &[u64]) -> Sketch {
        let n = sorted.len();
        let kept: Vec<u64> = match n > KEPT {
            true => (0..KEPT).filter_map(|i| sorted.get((2 * i + 1) * n / (2 * KEPT)).copied()).collect(),
            false => sorted.to_vec(),
        };
        let weight = n as f64 / kept.len().max(1) as f64;
        Sketch { block, kept, weight, median: quantile(sorted, 0.5).unwrap_or(f64::NAN) }
    }

    /// Number of the block and the median of its samples.
    pub(super) fn median(&self) -> (u32, f64) {
        (self.block, self.median)
    }

    /// Sketches every block that has samples, one at a time, so that only one is ever held as a sorted copy.
    pub(super) fn all(blocks: &Blocks<'_>) -> Vec<Sketch> {
        let mut scratch = Vec::new();
        let mut sketches = Vec::new();
        for (block, pieces) in blocks {
            scratch.clear();
            scratch.extend(pieces.iter().flat_map(|piece| piece.iter().copied()));
            scratch.sort_unstable();
            if !scratch.is_empty() {
                sketches.push(Sketch::of(*block, &scratch));
            }
        }
        sketches
    }
}

/// Replicates of the median, of the spread (90th less 10th percentile) and of the tail (90th percentile over the median) of samples, of which the
/// three percentiles are given, ascending. The same data give the same replicates on every machine. `None` with fewer than two blocks.
pub(super) fn resample(blocks: &[Sketch], [p10, p50, p90]: [f64; 3]) -> Option<[Replicates; 3]> {
    let k = blocks.len();
    if k < 2 {
        return None;
    }
    // Sorted once: a resample only changes how often each block counts.
    let mut points: Vec<(u64, usize)> = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        points.extend(block.kept.iter().map(|sample| (*sample, index)));
    }
    points.sort_unstable();
    let samples: Vec<f64> = blocks.iter().map(|block| block.weight * block.kept.len() as f64).collect();

    let mut stream = stream_of(blocks);
    let mut counts = vec![0.0; k];
    let mut found = [(); 3].map(|()| Vec::with_capacity(REPLICATES));
    let three = |[low, middle, high]: [f64; 3]| [middle, high - low, high / middle];
    for _ in 0..REPLICATES {
        counts.fill(0.0);
        let mut total = 0.0;
        for _ in 0..k {
            let drawn = below(&mut stream, k);
            counts[drawn] += blocks[drawn].weight;
            total += samples[drawn];
        }
        let counted = points.iter().map(|(value, block)| (*value, counts[*block]));
        let values = three(quantiles_of_counts(counted, [0.1 * total, 0.5 * total, 0.9 * total]));
        for (found, value) in found.iter_mut().zip(values) {
            found.push(value);
        }
    }
    let mut estimates = three([p10, p50, p90]).into_iter();
    Some(found.map(|values: Vec<f64>| Replicates {
        estimate: estimates.next().unwrap_or(f64::NAN),
        values: values.into(),
        blocks: k,
    }))
}

/// The random numbers of a set of blocks.
fn stream_of(blocks: &[Sketch]) -> ChaCha8Rng {
    let numbers: Vec<String> = blocks.iter().map(|block| block.block.to_string()).collect();
    stream(&format!("blocks {}", numbers.join(",")))
}

fn stream(seed: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(*blake3::hash(seed.as_bytes()).as_bytes())
}

/// A number below `n`, by multiply and shift. `rand` may change its way of drawing from one version to the next, and with it every
/// interval; this does not change. The bias, n / 2^32, is far below what the replicates can show.
pub(super) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// Quantiles of samples that come with how often each counts, values ascending: where the sum of the counts passes each of `wanted`,
/// ascending sums; half way to the next value where it meets one exactly. That is the usual median for whole counts.
fn quantiles_of_counts<const N: usize>(counted: impl Iterator<Item = (u64, f64)>, wanted: [f64; N]) -> [f64; N] {
    let mut found = [f64::NAN; N];
    let mut met = [None; N];
    let mut next = 0;
    let mut seen = 0.0;
    for (value, count) in counted.filter(|(_, count)| *count > 0.0) {
        seen += count;
        let value = value as f64;
        while let Some(want) = wanted.get(next).filter(|want| seen >= **want) {
            if let Some(before) = met[next] {
                found[next] = before + (value - before) / 2.0;
            } else if seen > *want {
                found[next] = value;
            } else {
                met[next] = Some(value);
                found[next] = value;
                break;
            }
            next += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::quantile::sorted;
    use super::*;

    /// Replicates of the median of blocks, numbered from 1.
    fn medians(blocks: &[Vec<u64>]) -> Option<Replicates> {
        let blocks: Blocks = (1..).zip(blocks.iter().map(|block| vec![&block[..]])).collect();
        let all = sorted(blocks.values().flatten().flat_map(|piece| piece.iter().copied()));
        let q = |p| quantile(&all, p).unwrap_or(0.0);
        resample(&Sketch::all(&blocks), [0.1, 0.5, 0.9].map(q)).map(|[medians, ..]| medians)
    }

    #[test]
    fn quantiles_of_counts_agree_with_hand_computed_values() {
        for (values, counts, p10, p50) in [
            (&[5][..], &[1.0][..], 5.0, 5.0),
            (&[5, 9], &[1.0, 1.0], 5.0, 7.0),
            (&[5, 9], &[2.0, 1.0], 5.0, 5.0),
            (&[5, 9], &[1.0, 2.0], 5.0, 9.0),
            (&[1, 2, 3, 4], &[1.0, 1.0, 1.0, 1.0], 1.0, 2.5),
            (&[1, 2, 3, 4], &[0.0, 3.0, 0.0, 3.0], 2.0, 3.0),
            (&[1, 2, 3, 4], &[2.0, 0.0, 1.0, 1.0], 1.0, 2.0),
            (&[1, 2, 3], &[1.0, 8.0, 1.0], 1.5, 2.0),
            (&[1, 2, 3], &[1.5, 1.5, 4.0], 1.0, 3.0),
        ] {
            let total: f64 = counts.iter().sum();
            let counted = values.iter().copied().zip(counts.iter().copied());
            let found = quantiles_of_counts(counted, [0.1 * total, 0.5 * total]);
            assert_eq!(found, [p10, p50], "{values:?} x {counts:?}");
        }
    }

    #[test]
    fn one_block_has_no_interval_and_equal_samples_have_a_point() {
        assert_eq!(medians(&[]), None);
        assert_eq!(medians(&[vec![5, 6, 7]]), None);
        assert_eq!(medians(&[vec![], vec![5, 6]]), None);
        let same = medians(&[vec![5, 5, 5], vec![5, 5]]).unwrap();
        assert_eq!(same.interval(), Some(Interval { low: 5.0, high: 5.0 }));
    }

    #[test]
    fn replicates_depend_on_the_data_and_the_block_numbers_alone() {
        let (one, other) = (vec![10, 20, 30, 40, 50], vec![12, 22, 35, 41, 57]);
        let numbered = |numbers: [u32; 2]| -> Replicates {
            let blocks: Blocks = [(numbers[0], vec![&one[..]]), (numbers[1], vec![&other[..]])].into();
            let [medians, ..] = resample(&Sketch::all(&blocks), [11.0, 32.5, 50.0]).unwrap();
            medians
        };
        assert_eq!(numbered([1, 2]), numbered([1, 2]));
        assert_ne!(numbered([1, 2]), numbered([1, 3]));
    }

    #[test]
    fn the_median_of_drawn_blocks_has_the_exact_distribution() {
        // Two blocks of one sample: the resamples are (1,1), (1,3), (3,1), (3,3), their medians 1, 2, 2, 3 with 1/4, 1/2, 1/4.
        let replicates = medians(&[vec![1], vec![3]]).unwrap();
        let share = |value: f64| replicates.values().iter().filter(|m| **m == value).count() as f64 / REPLICATES as f64;
        let found = [share(1.0), share(2.0), share(3.0)];
        assert!(found.iter().zip([0.25, 0.5, 0.25]).all(|(f, e)| (f - e).abs() < 0.06), "{found:?}");
    }

    #[test]
    fn blocks_that_differ_widen_the_interval_although_the_pooled_samples_are_the_same() {
        // 3 x 100 samples; the spread is all between the blocks, or all within them.
        let between = vec![vec![10; 100], vec![20; 100], vec![30; 100]];
        let within = vec![[vec![10; 34], vec![20; 33], vec![30; 33]].concat(); 3];
        let between = medians(&between).and_then(|r| r.interval()).unwrap();
        let within = medians(&within).and_then(|r| r.interval()).unwrap();
        assert_eq!(within, Interval { low: 20.0, high: 20.0 });
        assert!(between.low < 10.0 && between.high > 30.0, "{between:?}");
    }

    #[test]
    fn drift_that_all_share_cancels_in_a_ratio() {
        // B is twice A in every block, while the machine gets four times as slow from the first block to the last.
        let a = vec![vec![100; 9], vec![200; 9], vec![300; 9], vec![400; 9]];
        let b: Vec<Vec<u64>> = a.iter().map(|block| block.iter().map(|s| 2 * s).collect()).collect();
        let (a, b) = (medians(&a).unwrap(), medians(&b).unwrap());
        assert!(a.interval().unwrap().high > 500.0);
        assert_eq!(b.ratio(&a).unwrap().interval(), Some(Interval { low: 2.0, high: 2.0 }));
    }

    #[test]
    fn zeros_are_treated_without_logarithms_and_a_base_of_zero_has_no_ratio() {
        let four = medians(&vec![vec![4, 4]; 2]).unwrap();
        let two = medians(&vec![vec![2, 2]; 2]).unwrap();
        let zero = medians(&vec![vec![0, 0]; 2]).unwrap();
        let some = medians(&[vec![0], vec![4]]).unwrap();
        assert_eq!(four.ratio(&two).unwrap().interval(), Some(Interval { low: 2.0, high: 2.0 }));
        assert_eq!(zero.ratio(&two).unwrap().interval(), Some(Interval { low: 0.0, high: 0.0 }));
        assert_eq!(four.ratio(&zero).unwrap().interval(), None);
        let found = some.interval().unwrap();
        assert!(found.low == 0.0 && found.high > 4.0, "{found:?}");
    }

    #[test]
    fn many_samples_are_sketched_by_their_order_statistics() {
        let all: Vec<u64> = (0..100_000).collect();
        let sketch = Sketch::of(1, &all);
        assert_eq!((sketch.kept.len(), sketch.kept[0], sketch.kept[511]), (512, 97, 99_902));
        assert_eq!(quantile(&sketch.kept, 0.5), Some(49_999.5)); // the samples 49902 and 50097
        let block = |n: u64, shift: u64| (0..n).map(|i| shift + i % 100).collect::<Vec<_>>();
        // A block of many samples and one of few count by their samples: 30000 to 3, whatever is drawn with both in it.
        let uneven = medians(&[block(30_000, 1000), vec![1, 1, 1]]).unwrap();
        assert!(uneven.values().iter().all(|m| *m == 1.0 || *m > 1000.0), "{:?}", uneven.values());
    }

    /// Normal numbers from uniform ones (Box & Muller, 1958).
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    /// Of `runs` made-up measurements: in how many the interval of the median, and that of the ratio to a second thing, have the truth in them.
    /// The machine drifts by a factor e^N(0, 0.2) from block to block for both alike and by e^N(0, `own`) for each alone; samples within a
    /// block by e^N(0, `within`). The truth is the median of all that: 100000, and a ratio of 3.
    fn coverage(blocks: usize, samples: usize, own: f64, within: f64, runs: usize) -> (f64, f64) {
        let mut rng = stream(&format!("coverage {blocks} {samples} {own} {within}"));
        let (mut median, mut ratio) = (0, 0);
        for _ in 0..runs {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            for _ in 0..blocks {
                let shared = 0.2 * normal(&mut rng);
                for (list, true_median) in [(&mut a, 100_000.0), (&mut b, 300_000.0)] {
                    let level = shared + own * normal(&mut rng);
                    let sample =
                        |rng: &mut ChaCha8Rng| (true_median * (level + within * normal(rng)).exp()).round() as u64;
                    list.push((0..samples).map(|_| sample(&mut rng)).collect::<Vec<u64>>());
                }
            }
            let (a, b) = (medians(&a).unwrap(), medians(&b).unwrap());
            median += usize::from(a.interval().unwrap().contains(100_000.0));
            ratio += usize::from(b.ratio(&a).unwrap().interval().unwrap().contains(3.0));
        }
        (median as f64 / runs as f64, ratio as f64 / runs as f64)
    }

    #[test]
    fn ratios_of_single_samples_have_the_interval_of_student_t() {
        // Logarithms 0, 1, 2 and 3: mean 1.5, s = 1.29099, t(3) = 3.18245; half = 2.05426.
        let ratios: Vec<f64> = (0..4).map(|i| f64::from(i).exp()).collect();
        let (ratio, found) = Interval::paired(&ratios).unwrap();
        assert!((ratio.ln() - 1.5).abs() < 1e-9);
        assert!((found.low.ln() + 0.554_26).abs() < 1e-4 && (found.high.ln() - 3.554_26).abs() < 1e-4, "{found:?}");
        assert_eq!(Interval::paired(&[2.0]), None);
        assert_eq!(Interval::paired(&[2.0, 0.0]), None);
        // They hold the truth as often as they promise, whatever drift both share.
        for blocks in [3, 4, 5, 8] {
            let mut rng = stream(&format!("paired {blocks}"));
            let runs = 2000;
            let held = (0..runs).filter(|_| {
                let ratios: Vec<f64> = (0..blocks)
                    .map(|_| {
                        let shared = 0.2 * normal(&mut rng);
                        let (a, b) = (shared + 0.1 * normal(&mut rng), shared + 0.1 * normal(&mut rng));
                        3.0 * b.exp() / a.exp()
                    })
                    .collect();
                Interval::paired(&ratios).unwrap().1.contains(3.0)
            });
            let share = held.count() as f64 / f64::from(runs);
            assert!((0.935..=0.965).contains(&share), "{blocks} blocks: {share}");
        }
    }

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        for blocks in [3, 5, 7] {
            // With three to seven blocks the distribution of a median is coarse, which errs on the wide side.
            for (samples, own, within) in [(12, 0.1, 0.3), (12, 0.02, 0.3), (1, 0.05, 0.1), (40, 0.1, 0.05)] {
                let (median, ratio) = coverage(blocks, samples, own, within, 500);
                eprintln!("{blocks} blocks of {samples}, own {own}, within {within}: median {median}, ratio {ratio}");
                for found in [median, ratio] {
                    assert!(
                        (0.91..=0.996).contains(&found),
                        "{blocks} blocks of {samples}, own {own}, within {within}: {found}"
                    );
                }
            }
        }
    }
}
