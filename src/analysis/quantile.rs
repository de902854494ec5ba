//! Quantiles of samples.

/// A sample, as recorded (an integer) or computed (a float).
pub trait Value: Copy {
    /// The sample as a float. Integers below 2^53 stay exact; that is 104 days of nanoseconds and 8 PiB.
    fn value(self) -> f64;
}

impl Value for u64 {
    fn value(self) -> f64 {
        self as f64
    }
}

impl Value for f64 {
    fn value(self) -> f64 {
        self
    }
}

/// The samples in ascending order, as [`quantile`] wants them.
pub fn sorted(samples: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut samples: Vec<u64> = samples.into_iter().collect();
    samples.sort_unstable();
    samples
}

/// The median of values in any order, as [`quantile`] has it; `None` of no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// The `p` quantile (0 to 1) of samples in ascending order, in their unit: definition 7 of Hyndman & Fan, "Sample Quantiles in
/// Statistical Packages" (The American Statistician 50, 1996), which R and NumPy use by default: with h = (n - 1) p, linear
/// between the samples number floor(h) and floor(h) + 1, counted from 0. `None` of no samples, or when `p` is not in 0..=1.
pub fn quantile<T: Value>(sorted: &[T], p: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&p) {
        return None;
    }
    let h = (sorted.len().checked_sub(1)?) as f64 * p;
    let below = sorted.get(h.floor() as usize)?.value();
    let above = sorted.get(h.ceil() as usize)?.value();
    Some(below + (h - h.floor()) * (above - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_agree_with_hand_computed_values() {
        // (samples, p, by hand)
        let table: [(&[u64], f64, f64); 12] = [
            (&[7], 0.0, 7.0),
            (&[7], 0.5, 7.0),
            (&[7], 0.99, 7.0),
            (&[1, 3], 0.5, 2.0),
            (&[1, 3], 0.25, 1.5),
            (&[10, 20, 30], 0.5, 20.0),
            (&[10, 20, 30], 0.9, 28.0),                     // h = 1.8
            (&[10, 20, 30, 40], 0.25, 17.5),                // h = 0.75
            (&[10, 20, 30, 40], 0.5, 25.0),                 // h = 1.5
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9, 9.1),   // h = 8.1
            (&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.99, 9.91), // h = 8.91
            (&[5, 1, 4, 2, 3], 1.0, 5.0),
        ];
        for (samples, p, expected) in table {
            let found = quantile(&sorted(samples.iter().copied()), p).unwrap();
            assert!((found - expected).abs() < 1e-9, "quantile {p} of {samples:?}: {found}, by hand {expected}");
        }
    }

    #[test]
    fn no_samples_and_wrong_probabilities_have_no_quantile() {
        assert_eq!(quantile::<u64>(&[], 0.5), None);
        for p in [-0.1, 1.1, f64::NAN] {
            assert_eq!(quantile(&[1.0, 2.0], p), None);
        }
    }
}
