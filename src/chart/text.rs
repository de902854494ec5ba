//! Numbers as people read them.

use crate::record::Unit;

/// Three significant digits.
fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Nanoseconds with a fitting unit.
pub fn format_ns(ns: f64) -> String {
    match ns {
        v if v >= 999.5e6 => format!("{} s", digits(v / 1e9)),
        v if v >= 999.5e3 => format!("{} ms", digits(v / 1e6)),
        v if v >= 999.5 => format!("{} µs", digits(v / 1e3)),
        v => format!("{v:.0} ns"),
    }
}

/// Bytes with a fitting binary unit.
pub(super) fn format_bytes(bytes: f64) -> String {
    for (name, factor) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        let value = bytes / f64::from(1u32 << factor);
        if value >= 0.9995 {
            return if (value - value.round()).abs() < 5e-4 {
                format!("{} {name}", value.round())
            } else {
                format!("{} {name}", digits(value))
            };
        }
    }
    format!("{bytes:.0} B")
}

/// A value of a unit.
pub fn format_value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ns => format_ns(value),
        Unit::Bytes => format_bytes(value),
        Unit::Count => format!("{value:.0}"),
    }
}

/// A ratio, as `1.23 x` or `45 x`.
pub(super) fn format_ratio(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// Words with commas and a final `and`.
pub(super) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// A field of a CSV file (RFC 4180).
pub(super) fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (12.4, "12 ns"),
            (999.0, "999 ns"),
            (1000.0, "1.00 µs"),
            (12345.0, "12.3 µs"),
            (123_456.0, "123 µs"),
            (1_234_567.0, "1.23 ms"),
            (2.5e9, "2.50 s"),
        ] {
            assert_eq!(format_ns(ns), text);
        }
        for (bytes, text) in [(0.0, "0 B"), (4096.0, "4 KiB"), (1536.0, "1.50 KiB"), (16_777_216.0, "16 MiB")] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn fields_with_commas_are_quoted() {
        assert_eq!(csv_field("overlay2 volatile,metacopy=on"), "\"overlay2 volatile,metacopy=on\"");
        assert_eq!(csv_field("a\"b"), "\"a\"\"b\"");
        assert_eq!(csv_field("bind"), "bind");
    }
}
