//! Options of drivers as data: a list of words, some with values.

use crate::workload::hint;

/// An option that a driver does not have: names the driver, the option, and the nearest that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(pub(super) String);

/// What may follow an option's name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// Nothing.
    None,
    /// `=` and one of these.
    OneOf(&'static [&'static str]),
    /// `=` and anything that is not empty.
    Any,
}

/// Options of a driver by name.
pub(super) type Known = &'static [(&'static str, Value)];

/// Checks every option against what is known.
pub(super) fn check(driver: &'static str, known: Known, options: &[String]) -> Result<(), OptionError> {
    match options.iter().find(|option| !is_known(known, option)) {
        None => Ok(()),
        Some(option) => {
            let spelled: Vec<String> = known.iter().flat_map(|(name, value)| spell(name, *value)).collect();
            let words: Vec<&str> = spelled.iter().map(String::as_str).collect();
            let hint = hint(option, &words);
            let known = if words.is_empty() { "none".into() } else { words.join(", ") };
            Err(OptionError(format!("{driver} has no option {option:?}{hint} (options: {known})")))
        }
    }
}

fn is_known(known: Known, option: &str) -> bool {
    let (name, value) = match option.split_once('=') {
        None => (option, None),
        Some((name, value)) => (name, Some(value)),
    };
    known.iter().any(|(word, allowed)| {
        *word == name
            && match (allowed, value) {
                (Value::None, None) => true,
                (Value::OneOf(words), Some(value)) => words.contains(&value),
                (Value::Any, Some(value)) => !value.is_empty(),
                _ => false,
            }
    })
}

fn spell(name: &str, value: Value) -> Vec<String> {
    match value {
        Value::None => vec![name.to_owned()],
        Value::OneOf(words) => words.iter().map(|word| format!("{name}={word}")).collect(),
        Value::Any => vec![format!("{name}=...")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = &[("volatile", Value::None), ("index", Value::OneOf(&["on", "off"])), ("uid", Value::Any)];

    #[test]
    fn options_are_words_with_the_values_they_may_have() {
        let check = |option: &str| check("d", KNOWN, &[option.to_owned()]);
        for good in ["volatile", "index=on", "index=off", "uid=3"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["volatile=on", "index", "index=maybe", "uid", "uid=", "", "="] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let message = check("volatil").unwrap_err().to_string();
        assert_eq!(
            message,
            "d has no option \"volatil\"; did you mean \"volatile\"? (options: volatile, index=on, index=off, uid=...)"
        );
    }
}
