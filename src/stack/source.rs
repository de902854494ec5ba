//! C sources of a given length: functions that do nothing of use, so that there is something to compile.

use std::fmt::Write as _;
use std::path::Path;

/// Name of the source that has `main`, which ends with status 0.
pub(super) const MAIN: &str = "main.c";
/// Shortest source.
pub(super) const LEAST: u64 = 256;

/// Most bytes of functions: a build is to be felt, not to be waited for.
const CODE: usize = 2048;

/// Whether the content of a file is C: a question of its name.
pub(super) fn is_source(path: &Path) -> bool {
    path.starts_with(super::TREE) && path.extension().is_some_and(|extension| extension == "c")
}

/// A source of exactly this many bytes. Its functions are named after the file, so that all sources of a tree link to one program; lines that are
/// left over are empty.
pub(super) fn text(path: &Path, size: u64) -> Vec<u8> {
    let length = usize::try_from(size).unwrap_or(usize::MAX);
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("source");
    let mut text = String::new();
    if path.file_name().is_some_and(|name| name == MAIN) {
        text.push_str("int main(void) { return 0; }\n");
    }
    for n in 0u64.. {
        let mut function = String::new();
        // Writing to a string cannot fail.
        write!(function, "int {stem}_{n}(int x)\n{{\n    for (int i = 0; i < {n}; i++)\n        x = x * {} + i;\n    return x;\n}}\n\n", 2 * n + 3).ok();
        if text.len() + function.len() > length.min(CODE) {
            break;
        }
        text.push_str(&function);
    }
    let mut bytes = text.into_bytes();
    bytes.resize(length, b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_the_length_asked_for_and_a_function() {
        for size in [LEAST, 1000, 4097] {
            let bytes = text(Path::new("data/tree/s_000008.c"), size);
            assert_eq!(bytes.len() as u64, size);
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.starts_with("int s_000008_0(int x)\n") && text.trim_end().ends_with('}'), "{text}");
        }
        assert!(text(Path::new("data/tree/main.c"), LEAST).starts_with(b"int main(void)"));
        assert!(is_source(Path::new("data/tree/1/s_000008.c")) && !is_source(Path::new("data/f-1.c")));
    }
}
