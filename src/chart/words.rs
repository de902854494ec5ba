//! Sentences made from data. They name what was found and nothing else: no clause stands unless its numbers do.

use crate::analysis::{Comparison, Difference, ONCE, ResultSet, human};

/// `Store ssd. `, to begin a figure's subtitle; nothing where the run has but one store.
pub fn in_store(data: &ResultSet, store: &str) -> String {
    if data.several_stores() { format!("Store {store}. ") } else { String::new() }
}

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
/// and 28× with b; makes no difference that the samples show with c; gives no comparison with d`: a side was not
/// measured or is 0.
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
        clauses.push(format!("makes no difference that the samples show with {}", names(&none)));
    }
    let unknown = of(|d| d == Difference::Unknown);
    if !unknown.is_empty() {
        clauses.push(format!("has too few blocks to say with {}", names(&unknown)));
    }
    let missing: Vec<&str> = items.iter().filter(|(_, c)| c.is_none()).map(|(driver, _)| *driver).collect();
    if !missing.is_empty() {
        clauses.push(format!("gives no comparison with {}", human::list(&missing)));
    }
    clauses.join("; ")
}

/// How many copies of the same files `n` containers keep in memory: items are drivers with resident bytes per byte read. Up to 1.1 counts
/// as once.
pub fn copies(n: u32, items: &[(&str, f64)]) -> String {
    let once: Vec<&str> = items.iter().filter(|(_, copies)| *copies <= ONCE).map(|(driver, _)| *driver).collect();
    let more: Vec<(&str, f64)> = items.iter().copied().filter(|(_, copies)| *copies > ONCE).collect();
    let subject = format!("{n} containers that read the same files keep them in memory");
    let more_words = each(&more, |copies| format!("{} their size", human::ratio(copies)));
    match (once.is_empty(), more.is_empty()) {
        (true, true) => format!("How often {n} containers keep the same files in memory was not measured."),
        (false, true) => format!("{subject} once with {}: they share the page cache.", human::list(&once)),
        (true, false) => format!("{subject} more than once: {more_words}."),
        (false, false) => format!("{subject} once with {}, but take {more_words}.", human::list(&once)),
    }
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
            "takes longer, 30× with a; takes less time, 0.500× with c; makes no difference that the samples show with b; has too few \
             blocks to say with e; gives no comparison with d"
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

    #[test]
    fn copies_are_told_as_once_or_more() {
        let told = |items: &[(&str, f64)]| {
            copies(8, items).replace("8 containers that read the same files keep them in memory", "...")
        };
        assert_eq!(told(&[("a", 1.0)]), "... once with a: they share the page cache.");
        assert_eq!(told(&[("a", 1.05), ("b", 8.0)]), "... once with a, but take 8× their size with b.");
        assert_eq!(told(&[("b", 2.5)]), "... more than once: 2.50× their size with b.");
        assert_eq!(told(&[]), "How often 8 containers keep the same files in memory was not measured.");
    }
}
