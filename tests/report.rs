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

/// A run small enough to be read.
fn small() -> Spec {
    Spec {
        depth: vec![1, 8],
        file_size_bytes: vec![4 << 10, 1 << 20],
        containers: vec![1, 4],
        files: 5,
        ..Spec::default()
    }
}

fn page(run: &layerbench::record::Run) -> (String, String, tempfile::TempDir) {
    let scratch = scratch();
    let out = scratch.path().join("report");
    render(run, &out).expect("render");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect(name);
    (read("index.html"), read("index.md"), scratch)
}

/// What a change of words, numbers or tables does to a report is seen in a diff. UPDATE_GOLDEN=1 writes what is there now.
#[test]
fn a_small_report_is_the_golden_one() {
    let (_, markdown, scratch) = page(&synthetic::run(&small()));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let charts = scratch.path().join("report/charts");
    for (name, text) in [
        ("index.md", markdown),
        ("first_write_by_size.csv", fs::read_to_string(charts.join("first_write_by_size.csv")).expect("csv")),
        ("tax_over_bind.csv", fs::read_to_string(charts.join("tax_over_bind.csv")).expect("csv")),
        ("first_write_by_size.svg", fs::read_to_string(charts.join("first_write_by_size.svg")).expect("svg")),
    ] {
        let path = golden.join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(&golden).expect("folder");
            fs::write(&path, &text).expect("write");
        }
        let expected = fs::read_to_string(&path).expect(name);
        let line = expected.lines().zip(text.lines()).position(|(a, b)| a != b);
        assert!(
            expected == text,
            "{name} differs from line {:?} on; UPDATE_GOLDEN=1 accepts what is there now",
            line.map(|n| n + 1)
        );
    }
}

#[test]
fn every_chart_is_drawn_with_its_numbers_and_two_sentences() {
    let (html, markdown, scratch) = page(&synthetic::run(&small()));
    for chart in layerbench::chart::all() {
        let file = |extension: &str| scratch.path().join(format!("report/charts/{}.{extension}", chart.name()));
        let svg = fs::read_to_string(file("svg")).expect("svg");
        assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{}", chart.name());
        assert!(fs::read_to_string(file("csv")).expect("csv").lines().count() > 2, "{}", chart.name());
        assert!(markdown.contains(&format!("charts/{}.svg", chart.name())));
    }
    assert!(html.matches("<svg").count() >= layerbench::chart::all().len());
    // Self-contained: nothing is fetched.
    assert!(!html.contains("src=\"http") && !html.contains("<script"), "the page fetches something");
    for driver in ["bind", "overlay2", "overlay2 volatile", "fuse-union", "aufs"] {
        assert!(html.contains(driver), "{driver}");
    }
}

#[test]
fn an_interrupted_run_a_smoke_run_and_an_empty_one_say_what_they_are() {
    let mut cut = synthetic::run(&small());
    cut.cases.truncate(cut.cases.len() / 2);
    cut.truncated = true;
    let (html, ..) = page(&cut);
    assert!(html.contains("interrupted") || html.contains("incomplete"), "an interrupted run does not say so");

    let (html, ..) = page(&synthetic::run(&Spec { smoke: true, ..small() }));
    assert!(html.contains("moke"), "a smoke run does not say so");

    let all = small().drivers.iter().map(|(_, driver)| driver.clone()).collect();
    let (html, markdown, _) = page(&synthetic::run(&Spec { missing: all, ..small() }));
    assert!(html.contains("not measured") || html.contains("othing was measured"), "{markdown}");
}

#[test]
fn odd_runs_are_rendered_without_a_panic() {
    let hostile = vec![
        ("bind".to_owned(), "bind".to_owned()),
        ("<script>alert(1)</script>".to_owned(), "overlay2".to_owned()),
        (
            "a | label, \"quoted\" *and* very long, longer than any chart has room for, indeed".to_owned(),
            "overlay2".to_owned(),
        ),
    ];
    let many =
        (0..10).map(|n| (format!("driver {n}"), if n == 0 { "bind".into() } else { "overlay2".to_owned() })).collect();
    for spec in [
        Spec { zeros: true, ..small() },
        Spec { depth: vec![1], file_size_bytes: vec![4096], containers: vec![1], ..small() },
        Spec { files: 1, rounds: 1, ..small() },
        Spec { stores: vec!["ssd".into(), "hdd".into()], ..small() },
        Spec { drivers: hostile, ..small() },
        Spec { drivers: many, ..small() },
        Spec { drivers: vec![("overlay2".into(), "overlay2".into())], ..small() },
    ] {
        let (html, markdown, _) = page(&synthetic::run(&spec));
        assert!(!html.contains("<script>"), "a label became markup");
        assert!(!html.contains("NaN") && !markdown.contains("NaN") && !markdown.contains(" inf"), "{spec:?}");
    }
}
