//! Sizes as people write them: `4 KiB`, `1 MiB`, `512 B`. Binary units only, so that nobody has to guess what `KB` means.

const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number in front.
    #[error("{0:?} is not a size: write a whole number and a unit, such as \"4 KiB\"")]
    Number(String),
    /// Not one of our units.
    #[error("{text:?} has the unknown unit {unit:?}{hint} (units: B, KiB, MiB, GiB)")]
    Unit {
        /// The whole text.
        text: String,
        /// The unit found.
        unit: String,
        /// The same number with the unit that is meant; empty, where none is near.
        hint: String,
    },
    /// More than 2^63 bytes.
    #[error("{0:?} is too large for a file size")]
    TooLarge(String),
}

/// Parses `<whole number> <unit>` into bytes; the space may be left out.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.is_empty() {
        return Err(SizeError::Number(text.to_owned()));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let meant = nearest_unit(unit);
        return Err(SizeError::Unit {
            text: text.to_owned(),
            unit: unit.to_owned(),
            hint: meant.map(|unit| format!("; did you mean \"{number} {unit}\"?")).unwrap_or_default(),
        });
    };
    let number: u64 = number.parse().map_err(|_| SizeError::TooLarge(text.to_owned()))?;
    number
        .checked_mul(*factor)
        .filter(|bytes| *bytes <= i64::MAX as u64)
        .ok_or_else(|| SizeError::TooLarge(text.to_owned()))
}

/// The unit with the same first letter (`k`, `KB`, `mb` all have one).
fn nearest_unit(unit: &str) -> Option<&'static str> {
    let first = unit.chars().next().map(|c| c.to_ascii_uppercase());
    UNITS.iter().map(|(name, _)| *name).find(|name| name.chars().next() == first)
}

/// Writes bytes with the largest unit that divides them: 4096 is `4 KiB`, 4097 is `4097 B`.
pub fn format_size(bytes: u64) -> String {
    let (name, factor) =
        UNITS.iter().rev().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor)).unwrap_or(&UNITS[0]);
    format!("{} {name}", bytes / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_binary_units_parse() {
        for (text, bytes) in
            [("0 B", 0), ("512 B", 512), ("4 KiB", 4096), ("4KiB", 4096), (" 1 MiB ", 1 << 20), ("2 GiB", 2 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn decimal_units_are_refused_with_the_nearest_binary_one() {
        for (text, meant) in [("4 KB", "4 KiB"), ("4k", "4 KiB"), ("1 mb", "1 MiB"), ("1 G", "1 GiB")] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains(&format!("; did you mean {meant:?}? (units: ")), "{error}");
        }
        let error = parse_size("100 TiB").unwrap_err().to_string();
        assert_eq!(error, "\"100 TiB\" has the unknown unit \"TiB\" (units: B, KiB, MiB, GiB)");
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "KiB", "4", "-4 KiB", "1.5 MiB", "four KiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(matches!(parse_size("99999999999 GiB"), Err(SizeError::TooLarge(_))));
        assert!(matches!(parse_size("99999999999999999999999 B"), Err(SizeError::TooLarge(_))));
    }

    #[test]
    fn formatting_is_the_inverse_of_parsing() {
        for bytes in [0, 1, 512, 4096, 4097, 65536, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
        assert_eq!(format_size(65536), "64 KiB");
    }
}
