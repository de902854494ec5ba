//! Intervals by resampling.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::quantile;

/// Resamples of one interval.
const RESAMPLES: usize = 1000;

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// A ratio of two medians and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Ratio of the medians of all samples.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
}

impl Ratio {
    /// Whether the interval leaves 1 out: otherwise there is no difference to speak of.
    pub fn differs(&self) -> bool {
        self.interval.low > 1.0 || self.interval.high < 1.0
    }
}

/// Interval of the median of all samples. A single round has its samples alone to resample.
pub fn median_interval(rounds: &[Vec<u64>]) -> Option<Interval> {
    ends(medians(rounds, 1)?)
}

/// Ratio of the median of `a` to that of `b`; `None` when either has no samples or `b` has the median 0.
pub fn ratio(a: &[Vec<u64>], b: &[Vec<u64>]) -> Option<Ratio> {
    let median = |rounds: &[Vec<u64>]| {
        let mut all: Vec<u64> = rounds.iter().flatten().copied().collect();
        all.sort_unstable();
        quantile(&all, 0.5)
    };
    let (top, bottom) = (median(a)?, median(b)?);
    if bottom == 0.0 {
        return None;
    }
    // Different streams: the two sides are resampled independently.
    let pairs = medians(a, 1)?.into_iter().zip(medians(b, 2)?);
    let interval = ends(pairs.filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b).collect())?;
    Some(Ratio { value: top / bottom, interval })
}

/// Medians of resamples: rounds with replacement, then samples within each with replacement.
fn medians(rounds: &[Vec<u64>], stream: u64) -> Option<Vec<f64>> {
    let rounds: Vec<&Vec<u64>> = rounds.iter().filter(|round| !round.is_empty()).collect();
    if rounds.is_empty() {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(stream);
    let mut found = Vec::with_capacity(RESAMPLES);
    let mut resample = Vec::new();
    for _ in 0..RESAMPLES {
        resample.clear();
        for _ in 0..rounds.len() {
            let round = rounds.get(rng.random_range(0..rounds.len()))?;
            for _ in 0..round.len() {
                resample.extend(round.get(rng.random_range(0..round.len())));
            }
        }
        found.push(median_of(&mut resample)?);
    }
    Some(found)
}

/// Median of unsorted values, which it reorders: a selection, since a sort is most of the time of a resample.
fn median_of(values: &mut [u64]) -> Option<f64> {
    let values_len = values.len();
    let middle = values_len.checked_sub(1)? / 2;
    let (_, low, above) = values.select_nth_unstable(middle);
    let low = *low as f64;
    let even = values_len % 2 == 0;
    if even { above.iter().min().map(|high| (low + *high as f64) / 2.0) } else { Some(low) }
}

/// The middle 95 % of values.
fn ends(mut values: Vec<f64>) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| values.get((q * values.len().checked_sub(1)? as f64).round() as usize).copied();
    Some(Interval { low: at(0.025)?, high: at(0.975)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_have_an_interval_of_one_point() {
        let interval = median_interval(&[vec![7; 5], vec![7; 3]]).unwrap();
        assert_eq!(interval, Interval { low: 7.0, high: 7.0 });
        assert_eq!(median_interval(&[]), None);
    }

    #[test]
    fn rounds_that_disagree_widen_the_interval() {
        let within = median_interval(&[vec![10, 11, 12], vec![10, 11, 12], vec![10, 11, 12]]).unwrap();
        let between = median_interval(&[vec![10; 3], vec![11; 3], vec![30; 3]]).unwrap();
        assert!(between.high - between.low > within.high - within.low);
        assert_eq!((between.low, between.high), (10.0, 30.0));
    }

    #[test]
    fn a_ratio_knows_when_there_is_no_difference() {
        let a = vec![vec![10, 12, 11], vec![11, 10, 12]];
        let same = ratio(&a, &a).unwrap();
        assert_eq!(same.value, 1.0);
        assert!(!same.differs());
        let double = ratio(&[vec![22, 22, 22]], &a).unwrap();
        assert_eq!(double.value, 2.0);
        assert!(double.differs() && double.interval.low > 1.7 && double.interval.high < 2.3);
        assert_eq!(ratio(&a, &[vec![0, 0, 0]]), None);
        assert_eq!(ratio(&a, &[]), None);
    }

    #[test]
    fn a_selected_median_is_the_sorted_one() {
        for values in [vec![3], vec![3, 1], vec![5, 1, 9], vec![4, 4, 1, 8], vec![9, 7, 5, 3, 1, 0]] {
            let mut sorted = values.clone();
            sorted.sort_unstable();
            assert_eq!(median_of(&mut values.clone()), quantile(&sorted, 0.5), "{values:?}");
        }
        assert_eq!(median_of(&mut []), None);
    }

    #[test]
    fn the_same_samples_give_the_same_interval() {
        let rounds = vec![vec![1, 5, 9, 4], vec![2, 8, 3]];
        assert_eq!(median_interval(&rounds), median_interval(&rounds));
    }
}
