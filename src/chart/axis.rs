//! A scale: from a value to a place between 0 and 1, with ticks that people read. Logarithmic where the range asks for it.

use crate::analysis::{Data, human};

/// What an axis counts, which decides where its ticks are and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Ns,
    Bytes,
    Count,
    Ratio,
    PerSecond,
}

impl Quantity {
    fn write(self, value: f64) -> String {
        match self {
            Quantity::Ns => human::ns(value),
            Quantity::Bytes => human::bytes(value),
            Quantity::Count => format!("{value:.0}"),
            Quantity::PerSecond if value >= 1e6 => format!("{} M/s", value / 1e6),
            Quantity::PerSecond if value >= 1e3 => format!("{} k/s", value / 1e3),
            Quantity::PerSecond => format!("{value}/s"),
            // What was chosen as a tick is exact: 0.7×, not 0.700×.
            Quantity::Ratio if value < 10.0 => {
                format!("{}×", format!("{value:.6}").trim_end_matches('0').trim_end_matches('.'))
            }
            Quantity::Ratio => human::ratio(value),
        }
    }
}

/// From this ratio of the largest to the smallest value on, an axis is logarithmic.
const LOG_FROM: f64 = 8.0;

/// A scale with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub title: String,
    /// Ticks with a label, as places between 0 and 1.
    pub ticks: Vec<(f64, String)>,
    /// Places of the finer mesh.
    pub mesh: Vec<f64>,
    log: bool,
    low: f64,
    high: f64,
}

impl Axis {
    /// A scale that holds all values, with some room around them. Values of 0 have no place on a logarithmic scale: they are drawn
    /// at its foot, and [`Axis::clips`] says so.
    pub fn fit(title: impl Into<String>, quantity: Quantity, values: impl IntoIterator<Item = f64>) -> Axis {
        let values: Vec<f64> = values.into_iter().filter(|v| v.is_finite() && *v >= 0.0).collect();
        let positive = || values.iter().copied().filter(|v| *v > 0.0);
        let low = positive().fold(f64::INFINITY, f64::min);
        let high = positive().fold(0.0, f64::max);
        if low > high {
            // Nothing but zeros, or nothing at all.
            return Axis::linear(title.into(), quantity, 1.0);
        }
        if high / low < LOG_FROM && quantity != Quantity::Ratio {
            return Axis::linear(title.into(), quantity, high);
        }
        let room = (high / low).powf(0.04).max(1.12);
        Axis::logarithmic(title.into(), quantity, low / room, high * room)
    }

    /// A scale of times that holds medians and their bands.
    pub fn latency<'a>(title: &str, data: impl IntoIterator<Item = &'a Data>) -> Axis {
        let values = data.into_iter().flat_map(|data| [data.summary.p10, data.p50(), data.summary.p90]);
        Axis::fit(title, Quantity::Ns, values)
    }

    /// A scale whose ticks are the values themselves, for an axis that was set and not measured.
    pub fn at(title: impl Into<String>, quantity: Quantity, values: &[f64]) -> Axis {
        let mut axis = Axis::fit(title, quantity, values.iter().copied());
        let (low, high) = values.iter().fold((f64::INFINITY, 0.0), |(l, h), v| (v.min(l), v.max(h)));
        if low == high {
            // One value stands in the middle.
            axis = Axis { log: false, low: 0.0, high: if high > 0.0 { 2.0 * high } else { 1.0 }, ..axis };
        } else if !axis.log {
            let room = (high - low) * 0.06;
            axis = Axis { low: low - room, high: high + room, ..axis };
        }
        axis.mesh = Vec::new();
        axis.ticks = values.iter().map(|value| (axis.place(*value), quantity.write(*value))).collect();
        axis
    }

    /// The axis without the labels that would run into one another where a label takes `share` of its length; the last one stays, and
    /// places keep their lines.
    pub fn thinned(&self, share: impl Fn(&str) -> f64) -> Axis {
        let Some((last, last_label)) = self.ticks.last() else { return self.clone() };
        let last_from = last - share(last_label) / 2.0;
        let (mut ticks, mut mesh) = (Vec::new(), self.mesh.clone());
        let mut free_from = f64::NEG_INFINITY;
        for (place, label) in &self.ticks {
            let half = share(label) / 2.0;
            if place == last || (place - half >= free_from && place + half <= last_from) {
                free_from = place + half;
                ticks.push((*place, label.clone()));
            } else {
                mesh.push(*place);
            }
        }
        Axis { ticks, mesh, ..self.clone() }
    }

    /// Percentiles on the scale 1 / (1 - p) up to `most`, which stretches the tail as HdrHistogram's plots do. Its values are
    /// 1 / (1 - p), from 1.
    pub fn percentiles(most: f64) -> Axis {
        let high = most.max(10.0) * 1.12;
        let mut axis = Axis {
            title: "percentile of the samples".to_owned(),
            ticks: Vec::new(),
            mesh: Vec::new(),
            log: true,
            low: 1.0,
            high,
        };
        let named = [
            (1.0, "0"),
            (2.0, "50"),
            (4.0, "75"),
            (10.0, "90"),
            (20.0, "95"),
            (1e2, "99"),
            (1e3, "99.9"),
            (1e4, "99.99"),
            (1e5, "99.999"),
            (1e6, "99.9999"),
        ];
        for (value, label) in named.into_iter().filter(|(value, _)| *value <= high) {
            axis.ticks.push((axis.place(value), format!("{label} %")));
        }
        axis
    }

    /// A scale from 0 to `high`, whatever is on it.
    pub fn linear(title: String, quantity: Quantity, high: f64) -> Axis {
        let mut axis = Axis { title, ticks: Vec::new(), mesh: Vec::new(), log: false, low: 0.0, high: high * 1.06 };
        let step = match quantity {
            // Steps of bytes are powers of two.
            Quantity::Bytes => (axis.high / 5.0).max(1.0).log2().ceil().exp2(),
            Quantity::Count => nice_step(axis.high / 5.0).max(1.0),
            Quantity::Ns | Quantity::Ratio | Quantity::PerSecond => nice_step(axis.high / 6.0),
        };
        for i in 0..=(axis.high / step).floor() as u32 {
            let value = f64::from(i) * step;
            axis.ticks.push((axis.place(value), quantity.write(value)));
        }
        axis
    }

    fn logarithmic(title: String, quantity: Quantity, low: f64, high: f64) -> Axis {
        let mut axis = Axis { title, ticks: Vec::new(), mesh: Vec::new(), log: true, low, high };
        let base: f64 = if quantity == Quantity::Bytes { 2.0 } else { 10.0 };
        let span = (high / low).log(base);
        let first = low.log(base).ceil() as i32;
        let last = high.log(base).floor() as i32;
        if quantity == Quantity::Bytes {
            let every = (span / 7.0).ceil().max(1.0) as i32;
            for power in first..=last {
                let place = axis.place(base.powi(power));
                match power.rem_euclid(every) {
                    0 => axis.ticks.push((place, quantity.write(base.powi(power)))),
                    _ => axis.mesh.push(place),
                }
            }
            return axis;
        }
        // Less than a decade: digits, and parts of the first ones.
        if span < 0.8 {
            const TENTHS: [u32; 14] = [10, 11, 12, 14, 16, 20, 25, 30, 40, 50, 60, 70, 80, 90];
            let values = (first - 1..=last)
                .flat_map(|power| TENTHS.map(|tenths| f64::from(tenths) / 10.0 * base.powi(power)))
                .filter(|value| (low..=high).contains(value));
            axis.ticks = values.map(|value| (axis.place(value), quantity.write(value))).collect();
            return axis;
        }
        // Decades, with 2 and 5 between them when there are few, and with some left out when there are many.
        let labelled: &[i32] = if span < 1.3 {
            &[1, 2, 3, 5, 7]
        } else if span < 3.2 {
            &[1, 2, 5]
        } else {
            &[1]
        };
        let every = (span / 9.0).ceil().max(1.0) as i32;
        for power in first - 1..=last {
            for digit in 1..10 {
                let value = f64::from(digit) * base.powi(power);
                if value < low || value > high {
                    continue;
                }
                let place = axis.place(value);
                if labelled.contains(&digit) && power.rem_euclid(every) == 0 {
                    axis.ticks.push((place, quantity.write(value)));
                } else if span < 7.0 {
                    axis.mesh.push(place);
                }
            }
        }
        axis
    }

    /// Where a value stands, between 0 and 1.
    pub fn place(&self, value: f64) -> f64 {
        let place = if !self.log {
            (value - self.low) / (self.high - self.low)
        } else if value > 0.0 {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            0.0
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Whether the scale is logarithmic.
    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Whether a value has no place on this scale and is drawn at its foot.
    pub fn clips(&self, value: f64) -> bool {
        self.log && value <= 0.0
    }
}

/// The smallest of 1, 2, 5, 10, 20, ... that is at least `value`.
fn nice_step(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * decade).find(|step| *step >= value * 0.999).unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn a_wide_range_is_logarithmic_and_a_narrow_one_is_not() {
        let wide = Axis::fit("t", Quantity::Ns, [1e3, 1e9]);
        assert!(wide.log);
        assert_eq!(labels(&wide), ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]);
        let narrow = Axis::fit("t", Quantity::Ns, [40e3, 60e3]);
        assert!(!narrow.log);
        assert_eq!(labels(&narrow), ["0 ns", "20 µs", "40 µs", "60 µs"]);
    }

    #[test]
    fn a_scale_of_less_than_a_decade_has_more_ticks_than_one() {
        let axis = Axis::fit("t", Quantity::Ratio, [0.63, 1.0, 1.34]);
        assert_eq!(labels(&axis), ["0.6×", "0.7×", "0.8×", "0.9×", "1×", "1.1×", "1.2×", "1.4×"]);
    }

    #[test]
    fn rates_are_written_in_thousands() {
        let axis = Axis::fit("t", Quantity::PerSecond, [80.0, 3e6]);
        assert_eq!(labels(&axis), ["100/s", "1 k/s", "10 k/s", "100 k/s", "1 M/s"]);
    }

    #[test]
    fn zeros_stand_at_the_foot_of_a_logarithmic_scale() {
        let axis = Axis::fit("t", Quantity::Ns, [0.0, 10.0, 1e6]);
        assert!(axis.log && axis.clips(0.0) && !axis.clips(10.0));
        assert_eq!(axis.place(0.0), 0.0);
        assert!(axis.place(10.0) > 0.0 && axis.place(1e6) < 1.0);
        for values in [&[][..], &[0.0], &[0.0, 0.0]] {
            let axis = Axis::fit("t", Quantity::Ns, values.iter().copied());
            assert!(!axis.log && !axis.ticks.is_empty() && axis.place(0.0) == 0.0);
        }
    }

    #[test]
    fn an_axis_that_was_set_has_its_values_as_ticks() {
        let axis = Axis::at("t", Quantity::Bytes, &[4096.0, 65536.0, 1048576.0]);
        assert_eq!(labels(&axis), ["4 KiB", "64 KiB", "1 MiB"]);
        let one = Axis::at("t", Quantity::Count, &[5.0]);
        assert_eq!(one.ticks, vec![(0.5, "5".to_owned())]);
        let crowded: Vec<f64> = (1..=120).map(f64::from).collect();
        let crowded = Axis::at("t", Quantity::Count, &crowded);
        assert_eq!(crowded.ticks.len(), 120);
        let share = |label: &str| 0.02 * label.len() as f64;
        let thin = crowded.thinned(share);
        assert!((10..30).contains(&thin.ticks.len()) && labels(&thin).contains(&"120"));
        for pair in thin.ticks.windows(2) {
            let room = (share(&pair[0].1) + share(&pair[1].1)) / 2.0;
            assert!(pair[1].0 - pair[0].0 >= room - 1e-9, "{pair:?}");
        }
        assert_eq!(thin.ticks.len() + thin.mesh.len(), 120, "every value keeps its line");
        assert_eq!(axis.thinned(share), axis, "where there is room all stay");
    }
}
