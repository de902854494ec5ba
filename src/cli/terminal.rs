//! Text for a terminal: how wide it is, and lines that fit.

/// Columns where there is no terminal: as wide as the help is at most.
const COLUMNS: usize = 100;
/// Fewest columns that text is fitted into: in fewer nothing can be read anyway.
const COLUMNS_MIN: usize = 40;

/// Columns of standard output.
pub(super) fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        // A terminal that does not know its own size says 0.
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).max(COLUMNS_MIN),
        _ => COLUMNS,
    }
}

/// A text in lines of at most so many columns: the first behind `first`, the others behind as many blanks as `hang` says. A word that is longer than
/// a line has one by itself.
pub(super) fn wrapped(first: &str, hang: usize, text: &str, columns: usize) -> String {
    let mut out = first.to_owned();
    let mut width = first.rsplit('\n').next().unwrap_or_default().chars().count();
    let mut is_begun = false;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if is_begun && width + 1 + length > columns {
            out.push('\n');
            out.push_str(&" ".repeat(hang));
            width = hang;
        } else if is_begun {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
        is_begun = true;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hang_and_fit() {
        assert_eq!(wrapped("- ", 2, "one two three", 9), "- one two\n  three\n");
        assert_eq!(
            wrapped("- ", 4, "µµµ ××× incomprehensibilities x", 9),
            "- µµµ ×××\n    incomprehensibilities\n    x\n"
        );
        assert_eq!(wrapped("\n- ", 2, "one two", 9), "\n- one two\n");
        assert_eq!(wrapped("", 2, "", 9), "\n");
        // Behind a long beginning there is one word at least.
        assert_eq!(wrapped("  supported     ", 4, "a b", 9), "  supported     a\n    b\n");
    }
}
