//! Is one thing slower than another? Only if both the interval and the noise between rounds say so.

use super::bootstrap::Interval;
use super::results::Data;

/// A ratio of two medians and what may be said about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Median of the subject divided by the median of the base.
    pub ratio: f64,
    /// Interval of the ratio; `None` when one side is a single sample.
    pub interval: Option<Interval>,
    /// A against A: how far two rounds of the same thing differed, the larger of both sides; `None` when not known.
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
    /// No difference: it is not larger than between two rounds of the same thing.
    WithinNoise,
    /// Too few samples to say.
    Unknown,
}

impl Difference {
    /// Whether a difference was found.
    pub fn is_found(self) -> bool {
        matches!(self, Difference::Higher | Difference::Lower)
    }
}

/// Compares a subject with a base of the same metric; `None` when the base's median is 0, where a ratio has no meaning.
pub fn compare(subject: &Data, base: &Data) -> Option<Comparison> {
    if base.p50() <= 0.0 {
        return None;
    }
    let ratio = subject.p50() / base.p50();
    let interval = match (&subject.replicates, &base.replicates) {
        (Some(subject), Some(base)) => subject.ratio_interval(base),
        _ => None,
    };
    let noise = larger(subject.summary.noise, base.summary.noise);
    let difference = match (interval, noise) {
        (None, _) => Difference::Unknown,
        (Some(interval), _) if interval.contains(1.0) => Difference::WithinInterval,
        (_, Some(noise)) if ratio <= noise && ratio >= 1.0 / noise => Difference::WithinNoise,
        _ if ratio > 1.0 => Difference::Higher,
        _ => Difference::Lower,
    };
    Some(Comparison { ratio, interval, noise, difference })
}

/// Whether two causes together cost more than each alone adds: (both - second) - (first - neither), in the metric's unit, and what
/// may be said of it. `first` has only the first cause (a deep stack), `second` only the second (a large file). Higher: compounded.
/// The noise is that of `both` and `second`, whose difference is the larger one. `None` when a part is a single sample.
pub fn compounding(neither: &Data, first: &Data, second: &Data, both: &Data) -> Option<(f64, Interval, Difference)> {
    let [n, f, s, b] = [neither, first, second, both].map(|data| data.replicates.as_ref());
    let (n, f, s, b) = (n?.medians(), f?.medians(), s?.medians(), b?.medians());
    let extra = |n: f64, f: f64, s: f64, b: f64| (b - s) - (f - n);
    let replicates = (0..n.len()).map(|i| extra(n[i], f[i], s[i], b[i])).collect();
    let interval = Interval::of(replicates)?;
    let value = extra(neither.p50(), first.p50(), second.p50(), both.p50());
    let noise = larger(second.summary.noise, both.summary.noise).map(|noise| (noise - 1.0) * second.p50());
    let difference = if interval.contains(0.0) {
        Difference::WithinInterval
    } else if noise.is_some_and(|noise| value.abs() <= noise) {
        Difference::WithinNoise
    } else if value > 0.0 {
        Difference::Higher
    } else {
        Difference::Lower
    };
    Some((value, interval, difference))
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(rounds: &[&[u64]], name: &str) -> Data {
        Data::of(&rounds.iter().map(|r| r.to_vec()).collect::<Vec<_>>(), name).unwrap()
    }

    #[test]
    fn differences_are_found_only_beyond_interval_and_noise() {
        let base: &[&[u64]] = &[&[100, 101, 102], &[100, 101, 103], &[99, 101, 102]];
        // (subject, ratio by hand, what may be said)
        let table: [(&[&[u64]], f64, Difference); 6] = [
            (&[&[202, 202, 203], &[201, 202, 203], &[202, 202, 202]], 2.0, Difference::Higher),
            (&[&[50, 50, 51], &[50, 51, 51], &[50, 50, 51]], 50.0 / 101.0, Difference::Lower),
            (base, 1.0, Difference::WithinInterval),
            // Every sample is above every one of the base's, but its own rounds differ by 1.5.
            (&[&[104, 104, 104], &[156, 156, 156], &[120, 120, 120]], 120.0 / 101.0, Difference::WithinNoise),
            // Rounds below and above: the interval includes 1.
            (&[&[50, 50, 50], &[200, 200, 200], &[110, 110, 110]], 110.0 / 101.0, Difference::WithinInterval),
            (&[&[500]], 500.0 / 101.0, Difference::Unknown),
        ];
        for (subject, ratio, difference) in table {
            let found = compare(&data(subject, "subject"), &data(base, "base")).unwrap();
            assert!((found.ratio - ratio).abs() < 1e-9, "{found:?}, by hand {ratio}");
            assert_eq!(found.difference, difference, "{subject:?}: {found:?}");
        }
    }

    #[test]
    fn a_base_of_zero_has_no_ratio() {
        assert_eq!(compare(&data(&[&[5, 5]], "a"), &data(&[&[0, 0]], "b")), None);
    }

    #[test]
    fn compounding_is_what_the_causes_add_beyond_their_sum() {
        let d = |value: u64, name: &str| data(&[&[value; 3], &[value; 3]], name);
        // small+shallow 10, deep 15, large 100; both 105 is the plain sum, 140 is 35 more, 90 is 15 less.
        for (both, value, difference) in
            [(105, 0.0, Difference::WithinInterval), (140, 35.0, Difference::Higher), (90, -15.0, Difference::Lower)]
        {
            let found = compounding(&d(10, "n"), &d(15, "f"), &d(100, "s"), &d(both, "b")).unwrap();
            assert_eq!((found.0, found.2), (value, difference));
        }
        assert!(compounding(&data(&[&[1]], "n"), &d(15, "f"), &d(100, "s"), &d(105, "b")).is_none());
    }
}
