//! Reports of runs that nobody measured: the same records give the same bytes, and odd runs give a page that says what is odd.

use std::fs;
use std::path::{Path, PathBuf};

use layerbench::report::render;

#[path = "report/synthetic.rs"]
mod synthetic;

use synthetic::Spec;

/// A folder of this test alone, removed with it.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder for the test")
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("read");
                found.push((path.strip_prefix(folder).expect("below").to_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let scratch = scratch();
    let run = synthetic::run(&Spec::default());
    let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
    render(&run, &a).expect("first");
    render(&run, &b).expect("second");
    let (a, b) = (files(&a), files(&b));
    assert!(a.len() > 4, "too few files: {a:?}");
    assert_eq!(a, b);
}
