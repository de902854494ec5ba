//! What the samples say: quantiles, intervals, ratios. Pure functions over records; nothing is read, drawn or timed here.
//!
//! Quantiles are type 7 of Hyndman and Fan (1996), as in R and NumPy. Intervals are 95 % percentile bootstrap intervals that resample
//! rounds first and samples within rounds second (Kalibera and Jones, 2013), because rounds are the level at which process, mount and
//! files are new. The generator is seeded, so that the same records give the same figures.

mod bootstrap;
mod group;

pub use bootstrap::{Interval, Ratio, median_interval, ratio};
pub use group::{Group, Key, ResultSet, axis};

/// Quantile `q` (0 to 1) of sorted values; `None` of nothing.
pub fn quantile(sorted: &[u64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let below = position.floor();
    let value = |index: f64| sorted.get(index as usize).map(|v| *v as f64);
    let (low, high) = (value(below)?, value(position.ceil())?);
    Some(low + (high - low) * (position - below))
}

/// Samples in few numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples.
    pub samples: usize,
    /// Number of rounds that they come from.
    pub rounds: usize,
    /// Smallest.
    pub min: f64,
    /// 10th percentile.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// 95 % interval of the median.
    pub interval: Interval,
}

/// Sums up the samples of all rounds; `None` of nothing.
pub fn summarise(rounds: &[Vec<u64>]) -> Option<Summary> {
    let mut all: Vec<u64> = rounds.iter().flatten().copied().collect();
    all.sort_unstable();
    Some(Summary {
        samples: all.len(),
        rounds: rounds.iter().filter(|round| !round.is_empty()).count(),
        min: quantile(&all, 0.0)?,
        p10: quantile(&all, 0.1)?,
        p50: quantile(&all, 0.5)?,
        p90: quantile(&all, 0.9)?,
        p99: quantile(&all, 0.99)?,
        max: quantile(&all, 1.0)?,
        interval: median_interval(rounds)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_type_7() {
        let values = [1, 2, 4, 8];
        for (q, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.75, 5.0), (0.9, 6.8), (1.0, 8.0)] {
            let found = quantile(&values, q).unwrap();
            assert!((found - expected).abs() < 1e-9, "{q}: {found}");
        }
        assert_eq!(quantile(&[5], 0.3), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_summary_counts_samples_and_rounds() {
        let summary = summarise(&[vec![1, 3], vec![], vec![2]]).unwrap();
        assert_eq!((summary.samples, summary.rounds, summary.p50, summary.min, summary.max), (3, 2, 2.0, 1.0, 3.0));
        assert_eq!(summarise(&[vec![]]), None);
    }
}
