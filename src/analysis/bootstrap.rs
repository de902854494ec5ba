//! The interval of a median by a hierarchical bootstrap.
//!
//! Samples of one round share a mount, an upper and a moment, so they are more alike than samples of different rounds. Resampling
//! them as if they were independent would give intervals that are far too narrow. As Kalibera & Jones put it ("Rigorous
//! Benchmarking in Reasonable Time", ISMM 2013), one repeats, and resamples, at the level that varies: first rounds are drawn with
//! replacement, then samples within each drawn round.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::quantile::quantile;

/// How many times the data are resampled.
pub const REPLICATES: usize = 1000;

/// Coverage that the intervals aim at.
pub const CONFIDENCE: f64 = 0.95;

/// A percentile interval at [`CONFIDENCE`], in the unit of what it is of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// The interval of replicates, in any order; `None` if one of them is not a number or there are none.
    pub fn of(mut replicates: Vec<f64>) -> Option<Interval> {
        if replicates.iter().any(|r| r.is_nan()) {
            return None;
        }
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Some(Interval { low: quantile(&replicates, tail)?, high: quantile(&replicates, 1.0 - tail)? })
    }

    /// Whether a value lies in it, bounds included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Medians of [`REPLICATES`] resampled data sets, in the order drawn. Those of two groups come from independent random numbers, so
/// that the n-th of one and the n-th of the other make a replicate of any function of both.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicates {
    medians: Vec<f64>,
}

impl Replicates {
    /// Resamples `rounds` (one list of samples a round). `key` names the data and is the seed: the same data under the same name
    /// give the same replicates on every machine. `None` when there are fewer than two samples: one sample says nothing about its
    /// own uncertainty.
    pub fn of(rounds: &[Vec<u64>], key: &str) -> Option<Replicates> {
        let rounds: Vec<&Vec<u64>> = rounds.iter().filter(|round| !round.is_empty()).collect();
        if rounds.iter().map(|round| round.len()).sum::<usize>() < 2 {
            return None;
        }
        // A resample only has to be counted by value, never sorted: every sample is replaced by the index of its value.
        let mut values: Vec<u64> = rounds.iter().flat_map(|round| round.iter().copied()).collect();
        values.sort_unstable();
        values.dedup();
        if let [only] = values[..] {
            return Some(Replicates { medians: vec![only as f64; REPLICATES] });
        }
        let ranks: Vec<Vec<usize>> = rounds
            .iter()
            .map(|round| round.iter().map(|sample| values.partition_point(|value| value < sample)).collect())
            .collect();

        let mut rng = ChaCha8Rng::from_seed(*blake3::hash(key.as_bytes()).as_bytes());
        let mut counts = vec![0usize; values.len()];
        let mut medians = Vec::with_capacity(REPLICATES);
        for _ in 0..REPLICATES {
            counts.fill(0);
            let mut total = 0;
            for _ in 0..ranks.len() {
                let round = &ranks[below(&mut rng, ranks.len())];
                for _ in 0..round.len() {
                    counts[round[below(&mut rng, round.len())]] += 1;
                }
                total += round.len();
            }
            medians.push(median_of_counts(&values, &counts, total));
        }
        Some(Replicates { medians })
    }

    /// Interval of the median.
    pub fn interval(&self) -> Option<Interval> {
        Interval::of(self.medians.clone())
    }

    /// Interval of this median divided by another; `None` when the other may be 0.
    pub fn ratio_interval(&self, base: &Replicates) -> Option<Interval> {
        if base.medians.contains(&0.0) {
            return None;
        }
        Interval::of(self.medians.iter().zip(&base.medians).map(|(a, b)| a / b).collect())
    }

    /// The medians, in the order drawn.
    pub fn medians(&self) -> &[f64] {
        &self.medians
    }
}

/// A number below `n`, by multiply and shift. `rand` may change its way of drawing from one version to the next, and with it every
/// interval; this does not change. The bias, n / 2^32, is far below what a thousand replicates can show.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u64::from(rng.next_u32()) * n as u64) >> 32) as usize
}

/// The median of `total` samples of which `counts[i]` have the value `values[i]`, values ascending.
fn median_of_counts(values: &[u64], counts: &[usize], total: usize) -> f64 {
    let (lower, upper) = ((total.max(1) - 1) / 2, total / 2);
    let mut seen = 0;
    let mut low = None;
    for (value, count) in values.iter().zip(counts) {
        seen += count;
        if low.is_none() && seen > lower {
            low = Some(*value as f64);
        }
        if seen > upper {
            let high = *value as f64;
            let low = low.unwrap_or(high);
            return low + (high - low) / 2.0;
        }
    }
    low.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_counts_agrees_with_hand_computed_values() {
        for (values, counts, expected) in [
            (&[5][..], &[1][..], 5.0),
            (&[5, 9], &[1, 1], 7.0),
            (&[5, 9], &[2, 1], 5.0),
            (&[5, 9], &[1, 2], 9.0),
            (&[1, 2, 3, 4], &[1, 1, 1, 1], 2.5),
            (&[1, 2, 3, 4], &[0, 3, 0, 3], 3.0),
            (&[1, 2, 3, 4], &[2, 0, 1, 1], 2.0),
        ] {
            assert_eq!(median_of_counts(values, counts, counts.iter().sum()), expected, "{values:?} x {counts:?}");
        }
    }

    #[test]
    fn one_sample_has_no_interval_and_equal_samples_have_a_point() {
        assert_eq!(Replicates::of(&[], "k"), None);
        assert_eq!(Replicates::of(&[vec![5]], "k"), None);
        assert_eq!(Replicates::of(&[vec![], vec![5]], "k"), None);
        let same = Replicates::of(&[vec![5, 5, 5], vec![5, 5]], "k").unwrap();
        assert_eq!(same.interval(), Some(Interval { low: 5.0, high: 5.0 }));
    }

    #[test]
    fn the_same_key_gives_the_same_replicates_and_another_key_others() {
        let rounds = vec![vec![10, 20, 30, 40, 50], vec![12, 22, 35, 41, 57]];
        assert_eq!(Replicates::of(&rounds, "a"), Replicates::of(&rounds, "a"));
        assert_ne!(Replicates::of(&rounds, "a"), Replicates::of(&rounds, "b"));
    }

    #[test]
    fn rounds_that_differ_widen_the_interval_although_the_pooled_samples_are_the_same() {
        // 3 x 100 samples; the spread is all between the rounds, or all within them.
        let between = vec![vec![10; 100], vec![20; 100], vec![30; 100]];
        let within = vec![[vec![10; 34], vec![20; 33], vec![30; 33]].concat(); 3];
        let between = Replicates::of(&between, "k").and_then(|r| r.interval()).unwrap();
        let within = Replicates::of(&within, "k").and_then(|r| r.interval()).unwrap();
        // With three rounds, one of 27 resamples is (10, 10, 10): more than 2.5 %, so the bounds are the extremes.
        assert_eq!(between, Interval { low: 10.0, high: 30.0 });
        assert_eq!(within, Interval { low: 20.0, high: 20.0 });
    }

    #[test]
    fn the_interval_of_single_sample_rounds_matches_the_exact_distribution() {
        // Two rounds of one sample: the resamples are (1,1), (1,3), (3,1), (3,3), their medians 1, 2, 2, 3 with 1/4, 1/2, 1/4.
        let replicates = Replicates::of(&[vec![1], vec![3]], "exact").unwrap();
        let share =
            |value: f64| replicates.medians().iter().filter(|m| **m == value).count() as f64 / REPLICATES as f64;
        assert!(
            (share(1.0) - 0.25).abs() < 0.05 && (share(2.0) - 0.5).abs() < 0.05 && (share(3.0) - 0.25).abs() < 0.05
        );
        assert_eq!(replicates.interval(), Some(Interval { low: 1.0, high: 3.0 }));
    }

    #[test]
    fn the_interval_of_a_ratio_needs_a_base_above_zero() {
        let four = Replicates::of(&[vec![4, 4]], "a").unwrap();
        let two = Replicates::of(&[vec![2, 2]], "b").unwrap();
        let zero = Replicates::of(&[vec![0, 0]], "c").unwrap();
        assert_eq!(four.ratio_interval(&two), Some(Interval { low: 2.0, high: 2.0 }));
        assert_eq!(zero.ratio_interval(&two), Some(Interval { low: 0.0, high: 0.0 }));
        assert_eq!(four.ratio_interval(&zero), None);
    }
}
