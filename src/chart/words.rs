//! Sentences made from data. They name what was found and nothing else: no clause stands unless its numbers do.

use crate::analysis::{Comparison, Difference, human};

/// `30× with a, 28× with b and 5× with c`; of more than four only the ends: `from 5× with c to 30× with a (10 drivers)`. Empty without
/// items.
pub fn each(items: &[(&str, f64)], format: impl Fn(f64) -> String) -> String {
    let words = |(driver, value): &(&str, f64)| format!("{} with {driver}", format(*value));
    if items.len() <= 4 {
        return human::list(&items.iter().map(words).collect::<Vec<_>>());
    }
    let low = items.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let high = items.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    match (low, high) {
        (Some(low), Some(high)) => format!("from {} to {} ({} drivers)", words(low), words(high), items.len()),
        _ => String::new(),
    }
}

/// What a change does to each driver, to stand after a subject such as "a file of 64 MiB instead of 4 KiB": `takes longer, 30× with a
/// and 28× with b; makes no difference beyond the noise with c; was not measured with d`.
pub fn change(items: &[(&str, Option<Comparison>)]) -> String {
    let of = |wanted: fn(Difference) -> bool| -> Vec<(&str, f64)> {
        items.iter().filter_map(|(d, c)| c.filter(|c| wanted(c.difference)).map(|c| (*d, c.ratio))).collect()
    };
    let names = |items: &[(&str, f64)]| human::list(&items.iter().map(|(driver, _)| *driver).collect::<Vec<_>>());
    let mut clauses = Vec::new();
    let higher = of(|d| d == Difference::Higher);
    if !higher.is_empty() {
        clauses.push(format!("takes longer, {}", each(&higher, human::ratio)));
    }
    let lower = of(|d| d == Difference::Lower);
    if !lower.is_empty() {
        clauses.push(format!("takes less time, {}", each(&lower, human::ratio)));
    }
    let none = of(|d| matches!(d, Difference::WithinInterval | Difference::WithinNoise));
    if !none.is_empty() {
        clauses.push(format!("makes no difference beyond the noise with {}", names(&none)));
    }
    let unknown = of(|d| d == Difference::Unknown);
    if !unknown.is_empty() {
        clauses.push(format!("has too few samples to say with {}", names(&unknown)));
    }
    let missing: Vec<&str> = items.iter().filter(|(_, c)| c.is_none()).map(|(driver, _)| *driver).collect();
    if !missing.is_empty() {
        clauses.push(format!("was not measured with {}", human::list(&missing)));
    }
    clauses.join("; ")
}

/// The text with its first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The names of the lowest and the highest of some values, as `a (71 µs) and b (3 ms)`.
pub(super) fn ends(items: &[(&str, f64)], format: impl Fn(f64) -> String) -> Option<(String, String)> {
    let words = |(driver, value): &(&str, f64)| format!("{driver} ({})", format(*value));
    let low = items.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let high = items.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((words(low), words(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ratio: f64, difference: Difference) -> Option<Comparison> {
        Some(Comparison { ratio, interval: None, noise: None, difference })
    }

    #[test]
    fn a_change_is_told_by_what_was_found() {
        let items = [
            ("a", found(30.0, Difference::Higher)),
            ("b", found(1.4, Difference::WithinNoise)),
            ("c", found(0.5, Difference::Lower)),
            ("d", None),
            ("e", found(9.0, Difference::Unknown)),
        ];
        assert_eq!(
            change(&items),
            "takes longer, 30× with a; takes less time, 0.5× with c; makes no difference beyond the noise with b; has too few \
             samples to say with e; was not measured with d"
        );
        assert_eq!(change(&[]), "");
    }

    #[test]
    fn many_items_are_told_by_their_ends() {
        let items = [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 9.0), ("e", 4.0)];
        assert_eq!(each(&items[..2], human::ratio), "3× with a and 1× with b");
        assert_eq!(each(&items, human::ratio), "from 1× with b to 9× with d (5 drivers)");
        assert_eq!(ends(&items, human::ns), Some(("b (1 ns)".into(), "d (9 ns)".into())));
        assert_eq!(ends(&[], human::ns), None);
    }
}
