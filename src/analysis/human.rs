//! Numbers as people read them: three significant digits and a unit. Only text comes out of here, nothing is computed from it.

use super::bootstrap::Interval;
use crate::record::Unit;
pub use crate::workload::count;

/// Three significant digits; a whole number is written as one, since `4 KiB` is exact and `4.00 KiB` looks measured.
fn digits(value: f64) -> String {
    let magnitude = value.abs();
    // Digits are counted after rounding: 0.9999 is 1.00.
    let decimals = match magnitude {
        0.0 => 0,
        _ => (0..8).find(|decimals| magnitude >= 100.0 * 0.1f64.powi(*decimals) * 0.9995).unwrap_or(8),
    } as usize;
    let text = format!("{value:.decimals$}");
    if (value - value.round()).abs() < 1e-9 { format!("{value:.0}") } else { text }
}

/// A value scaled to the largest unit of which it has at least one.
fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    // Rounding must not give "1000 µs": a value within half a unit of the last digit belongs to the next unit.
    let (name, factor) =
        units.iter().rev().find(|(_, f)| value.abs() >= f * 0.9995).or(units.first()).unwrap_or(&("", 1.0));
    format!("{} {name}", digits(value / factor))
}

/// Nanoseconds: `850 ns`, `71.2 µs`, `1.23 ms`, `2 s`.
pub fn ns(value: f64) -> String {
    scaled(value, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)])
}

/// Bytes: `512 B`, `4 KiB`, `1.50 MiB`.
pub fn bytes(value: f64) -> String {
    let k = 1024.0;
    scaled(value, &[("B", 1.0), ("KiB", k), ("MiB", k * k), ("GiB", k * k * k), ("TiB", k * k * k * k)])
}

/// A value in a metric's unit.
pub fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns => ns(value),
        Unit::Bytes => bytes(value),
        Unit::Count => digits(value),
    }
}

/// A ratio: `3.42×`. Further digits of a large one say nothing: `over 1000000×`.
pub fn ratio(value: f64) -> String {
    const MOST: f64 = 1e6;
    if value > MOST { format!("over {MOST}×") } else { format!("{}×", digits(value)) }
}

/// A share between 0 and 1: `98.4 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", digits(share * 100.0))
}

/// An interval whose bounds are written by `format`: `70 to 73 µs`, `900 ns to 1.1 µs`; `no interval` where there is none.
pub fn interval(interval: Option<Interval>, format: impl Fn(f64) -> String) -> String {
    match interval {
        Some(Interval { low, high }) => {
            let (low, high) = (format(low), format(high));
            match (low.rsplit_once(' '), high.rsplit_once(' ')) {
                (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} to {high}"),
                _ => format!("{low} to {high}"),
            }
        }
        None => "no interval".to_owned(),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_the_right_unit() {
        for (value, text) in [
            (0.0, "0 ns"),
            (0.5, "0.500 ns"),
            (850.0, "850 ns"),
            (999.4, "999 ns"),
            (999.6, "1.00 µs"),
            (1000.0, "1 µs"),
            (10_960.0, "11.0 µs"),
            (71_234.0, "71.2 µs"),
            (999_960.0, "1.00 ms"),
            (1_234_567.0, "1.23 ms"),
            (123_456_789.0, "123 ms"),
            (2e9, "2 s"),
            (7.2e12, "7200 s"),
        ] {
            assert_eq!(ns(value), text, "{value}");
        }
        for (value, text) in [(0.0, "0 B"), (4096.0, "4 KiB"), (1_572_864.0, "1.50 MiB"), (1023.9, "1.00 KiB")] {
            assert_eq!(bytes(value), text, "{value}");
        }
        for (value, text) in [
            (1.0, "1×"),
            (3.417, "3.42×"),
            (0.5, "0.500×"),
            (0.0999, "0.0999×"),
            (0.001_987, "0.00199×"),
            (0.000_999_9, "0.00100×"),
            (250.4, "250×"),
            (1234.0, "1234×"),
            (5e22, "over 1000000×"),
        ] {
            assert_eq!(ratio(value), text, "{value}");
        }
        assert_eq!(percent(0.984), "98.4 %");
    }

    #[test]
    fn lists_and_counts_read_as_english() {
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(list(&["a"]), "a");
        assert_eq!(list(&["a", "b"]), "a and b");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
