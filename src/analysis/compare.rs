//! Is one thing slower than another? Only if both the interval and what chance does to two measurements of the same thing say so.

use super::bootstrap::{Interval, Replicates};
use super::results::Data;

/// A ratio of two estimates and what may be said about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The subject's divided by the base's.
    pub ratio: f64,
    /// Interval of the ratio, paired by block; `None` when one side has fewer than two blocks.
    pub interval: Option<Interval>,
    /// A against A: the ratio, at least 1, up to which two measurements of the same thing differ in this run, the larger of both
    /// sides; `None` when the run did not measure it.
    pub noise: Option<f64>,
    /// What may be said.
    pub difference: Difference,
}

/// What may be said about two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The subject's value is higher.
    Higher,
    /// The subject's value is lower.
    Lower,
    /// No difference: the interval of the ratio includes 1.
    WithinInterval,
    /// No difference: it is not larger than between two measurements of the same thing.
    WithinNoise,
    /// Too few blocks to say.
    Unknown,
}

impl Difference {
    /// Whether a difference was found.
    pub fn is_found(self) -> bool {
        matches!(self, Difference::Higher | Difference::Lower)
    }
}

impl Comparison {
    /// A comparison from a ratio, its interval and the noise.
    pub fn of(ratio: f64, interval: Option<Interval>, noise: Option<f64>) -> Comparison {
        let difference = match (interval, noise) {
            (None, _) => Difference::Unknown,
            (Some(interval), _) if interval.contains(1.0) => Difference::WithinInterval,
            (_, Some(noise)) if ratio <= noise && ratio >= 1.0 / noise => Difference::WithinNoise,
            _ if ratio > 1.0 => Difference::Higher,
            _ => Difference::Lower,
        };
        Comparison { ratio, interval, noise, difference }
    }
}

/// What of a distribution is compared with that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// The median.
    Median,
    /// 90th less 10th percentile, in the metric's unit.
    Spread,
    /// 90th percentile over the median: how much longer than usual one operation in ten takes, whatever the usual is.
    Tail,
}

impl Data {
    /// A statistic, and its replicates.
    pub fn statistic(&self, statistic: Statistic) -> (f64, Option<&Replicates>) {
        let s = &self.summary;
        match statistic {
            Statistic::Median => (s.p50, self.replicates.as_ref()),
            Statistic::Spread => (s.p90 - s.p10, self.spreads.as_ref()),
            Statistic::Tail => (s.p90 / s.p50, self.tails.as_ref()),
        }
    }
}

/// Compares the medians of a subject and a base of the same metric; `None` when the base's is 0, where a ratio has no meaning.
pub fn compare(subject: &Data, base: &Data) -> Option<Comparison> {
    combine(&[subject, base], Statistic::Median, noise_of_medians(&[subject, base]), |v| v[0] / v[1])
}

/// Compares a statistic, under the same condition. What chance does to a spread is not what it does to a median: `noise` is that of the statistic.
pub fn compare_statistic(statistic: Statistic, subject: &Data, base: &Data, noise: Option<f64>) -> Option<Comparison> {
    combine(&[subject, base], statistic, noise, |v| v[0] / v[1])
}

/// The geometric mean of ratios of a statistic, each a subject and a base that were measured alike. `None` without pairs or when one is 0.
pub fn compare_all(statistic: Statistic, pairs: &[(&Data, &Data)], noise: Option<f64>) -> Option<Comparison> {
    let parts: Vec<&Data> = pairs.iter().flat_map(|(subject, base)| [*subject, *base]).collect();
    combine(&parts, statistic, noise, |v| {
        let logs: f64 = v.chunks_exact(2).map(|pair| (pair[0] / pair[1]).ln()).sum();
        (logs / (v.len() / 2) as f64).exp()
    })
}

/// The noise of medians that are compared with one another: the larger one.
pub(super) fn noise_of_medians(parts: &[&Data]) -> Option<f64> {
    parts.iter().filter_map(|data| data.summary.noise).reduce(f64::max)
}

/// A ratio made of a statistic of several things, with the interval if all of them have replicates; of medians of which each block gave a single sample
/// the ratio block by block, see [`Interval::paired`]. `None` when it is not finite.
fn combine(
    parts: &[&Data],
    statistic: Statistic,
    noise: Option<f64>,
    of: impl Fn(&[f64]) -> f64,
) -> Option<Comparison> {
    let (estimates, replicates): (Vec<f64>, Vec<Option<&Replicates>>) =
        parts.iter().map(|data| data.statistic(statistic)).unzip();
    let ratio = (!estimates.is_empty()).then(|| of(&estimates)).filter(|ratio| ratio.is_finite())?;
    let single = single_samples(parts).filter(|_| statistic == Statistic::Median);
    let by_block = single.map(|blocks| blocks.iter().map(|block| of(block)).collect::<Vec<f64>>());
    if let Some((ratio, interval)) = by_block.and_then(|ratios| Interval::paired(&ratios)) {
        return Some(Comparison::of(ratio, Some(interval), noise));
    }
    let replicates: Option<Vec<&Replicates>> = replicates.into_iter().collect();
    let interval = replicates.and_then(|parts| Replicates::combined(&parts, of)).and_then(|r| r.interval());
    Some(Comparison::of(ratio, interval, noise))
}

/// Block by block the one sample that each part has in it; `None` where one has more, and where they were measured in different blocks.
fn single_samples(parts: &[&Data]) -> Option<Vec<Vec<f64>>> {
    let first = parts.first()?;
    let numbers = |data: &Data| data.medians.iter().map(|(block, _)| *block).collect::<Vec<u32>>();
    let single = |data: &&&Data| data.summary.n == data.summary.blocks && numbers(data) == numbers(first);
    if parts.iter().filter(single).count() < parts.len() {
        return None;
    }
    let block = |at: usize| parts.iter().filter_map(|data| Some(data.medians.get(at)?.1)).collect();
    Some((0..first.medians.len()).map(block).collect())
}

#[cfg(test)]
mod tests {
    use super::super::results::blocks;
    use super::*;

    fn data(lists: &[&[u64]], noise: Option<f64>) -> Data {
        let mut data = Data::of(&blocks(lists)).unwrap();
        data.summary.noise = noise;
        data
    }

    #[test]
    fn differences_are_found_only_beyond_interval_and_noise() {
        let base: &'static [&'static [u64]] = &[&[100, 101, 102], &[100, 101, 103], &[99, 101, 102]];
        // (subject, noise, ratio by hand, what may be said)
        type Row = (&'static [&'static [u64]], Option<f64>, f64, Difference);
        let table: [Row; 8] = [
            (&[&[202, 202, 203], &[201, 202, 203], &[202, 202, 202]], Some(1.1), 2.0, Difference::Higher),
            (&[&[50, 50, 51], &[50, 51, 51], &[50, 50, 51]], Some(1.1), 50.0 / 101.0, Difference::Lower),
            (base, Some(1.1), 1.0, Difference::WithinInterval),
            // Every sample is above every one of the base's, but the same thing measured twice differs by as much.
            (
                &[&[120, 120, 120], &[121, 120, 120], &[120, 120, 121]],
                Some(1.2),
                120.0 / 101.0,
                Difference::WithinNoise,
            ),
            (&[&[84, 84, 84], &[85, 84, 84], &[84, 84, 85]], Some(1.25), 84.0 / 101.0, Difference::WithinNoise),
            (&[&[120, 120, 120], &[121, 120, 120], &[120, 120, 121]], None, 120.0 / 101.0, Difference::Higher),
            // Blocks below and above: the interval includes 1.
            (
                &[&[50, 50, 50], &[200, 200, 200], &[110, 110, 110]],
                Some(1.1),
                110.0 / 101.0,
                Difference::WithinInterval,
            ),
            (&[&[500, 500, 501]], Some(1.1), 500.0 / 101.0, Difference::Unknown),
        ];
        for (subject, noise, ratio, difference) in table {
            let found = compare(&data(subject, noise), &data(base, None)).unwrap();
            assert!((found.ratio - ratio).abs() < 1e-9, "{found:?}, by hand {ratio}");
            assert_eq!(found.difference, difference, "{subject:?}: {found:?}");
        }
    }

    #[test]
    fn a_base_of_zero_has_no_ratio() {
        let zero = data(&[&[0, 0], &[0, 0]], None);
        assert_eq!(compare(&data(&[&[5, 5], &[5, 5]], None), &zero), None);
        assert_eq!(compare(&zero, &zero), None);
    }

    #[test]
    fn spreads_are_compared_with_an_interval() {
        let wide = data(&[&[100, 200, 300, 400, 500], &[110, 200, 300, 400, 510]], None);
        let narrow = data(&[&[300, 301, 302, 303, 304], &[300, 301, 302, 303, 304]], None);
        let found = compare_statistic(Statistic::Spread, &wide, &narrow, Some(1.5)).unwrap();
        // Pooled p10 and p90 by hand: 10 samples each, h = 0.9 and 8.1.
        assert!((found.ratio - (501.0 - 109.0) / (304.0 - 300.0)).abs() < 1e-9, "{found:?}");
        assert!(found.interval.is_some());
        let flat = data(&[&[7, 7], &[7, 7]], None);
        assert_eq!(compare_statistic(Statistic::Spread, &narrow, &flat, None), None);
    }

    #[test]
    fn tails_are_relative_whatever_an_operation_takes() {
        let short = data(&[&[100, 100, 100, 150, 150], &[100, 100, 100, 150, 150]], None);
        // The same a thousand times as long: the spread is a thousand times as wide, the tail is the same.
        let long: &[u64] = &[100_000, 100_000, 100_000, 150_000, 150_000];
        let long = data(&[long, long], None);
        let of = |statistic| compare_statistic(statistic, &long, &short, Some(1.1)).unwrap();
        assert_eq!((of(Statistic::Tail).ratio, of(Statistic::Spread).ratio), (1.0, 1000.0));
        assert_eq!(of(Statistic::Tail).interval, Some(Interval { low: 1.0, high: 1.0 }));
    }

    #[test]
    fn single_samples_are_compared_block_by_block() {
        // Ratios 2, 2, 2 and 4 by block: a job that took twice as long in each but one. Their geometric mean is 2 to the power of 5 / 4.
        let (base, subject) =
            (data(&[&[100], &[120], &[90], &[100]], None), data(&[&[200], &[240], &[180], &[400]], None));
        let found = compare(&subject, &base).unwrap();
        assert!((found.ratio - 2f64.powf(1.25)).abs() < 1e-9);
        assert_eq!(found.interval, Interval::paired(&[2.0, 2.0, 2.0, 4.0]).map(|paired| paired.1));
        // Two samples in one block: that is resampled.
        let more = data(&[&[200, 210], &[240], &[180], &[400]], None);
        assert_eq!(compare(&more, &base).unwrap().ratio, 210.0 / 100.0);
    }

    #[test]
    fn several_ratios_are_told_by_their_geometric_mean() {
        let d = |value: u64| data(&[&[value; 3], &[value; 3]], Some(1.05));
        let (one, two, eight) = (d(10), d(20), d(80));
        let found = compare_all(Statistic::Median, &[(&two, &one), (&eight, &one)], Some(1.05)).unwrap();
        assert!((found.ratio - 4.0).abs() < 1e-9 && found.difference == Difference::Higher, "{found:?}");
        assert_eq!(compare_all(Statistic::Median, &[], None), None);
        assert_eq!(compare_all(Statistic::Median, &[(&one, &d(0))], None), None);
    }
}
