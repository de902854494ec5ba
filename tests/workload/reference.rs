//! docs/workloads.md says what the parser does: keys, ranges, defaults, words and refusals are asked of the parser, and its example runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use layerbench::driver::{self, Registry};
use layerbench::record::{Outcome, Privileges, Run};
use layerbench::workload::{
    CacheState, Durability, Job, Params, ProbeName, Scale, Trigger, Workload, expand, format_size, parse,
};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/workloads.md")).unwrap()
}

/// The rows of the table whose header begins with these cells, without the header.
fn table(page: &str, header: &[&str]) -> Vec<Vec<String>> {
    let mut tables = page.split("\n\n").filter(|part| part.trim_start().starts_with('|'));
    let found = tables.find(|part| {
        cells(part.trim().lines().next().unwrap())
            .iter()
            .map(String::as_str)
            .take(header.len())
            .eq(header.iter().copied())
    });
    let found = found.unwrap_or_else(|| panic!("docs/workloads.md has no table {header:?}"));
    let rows: Vec<Vec<String>> = found.trim().lines().map(cells).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "cells are missing: {rows:#?}");
    rows[2..].to_vec()
}

fn cells(row: &str) -> Vec<String> {
    row.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// What stands between backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).map(str::trim).collect()
}

/// The rows of the table of keys below a heading: key, then type, default, values, meaning.
fn keys(page: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let (_, section) = page.split_once(&format!("\n### {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let rows = table(section, &["key", "type", "default", "values", "meaning"]);
    rows.into_iter().map(|row| (words(&row[0])[0].to_owned(), row)).collect()
}

fn real(text: &str) -> Result<Workload, String> {
    parse("mine.toml", "mine", text, Scale::Real, &Registry).map_err(|e| e.to_string())
}

fn refused(text: &str) -> String {
    real(text).map(|workload| format!("{workload:?}")).expect_err(text)
}

/// The words in brackets behind a refusal, as in `(keys: a, b)`.
fn listed<'a>(refusal: &'a str, name: &str) -> Vec<&'a str> {
    let (_, rest) = refusal.rsplit_once(&format!("({name}: ")).unwrap_or_else(|| panic!("no {name}: {refusal}"));
    rest.trim_end_matches(')').split(", ").collect()
}

/// A value that every key of a measure takes.
const VALUES: [(&str, &str); 15] = [
    ("stack", "\"debian:12\""),
    ("program", "\"sh -c true\""),
    ("depth", "2"),
    ("file_size", "\"4 KiB\""),
    ("files", "4"),
    ("bytes_max", "\"1 MiB\""),
    ("target_layer", "1"),
    ("cache", "\"fresh\""),
    ("containers", "2"),
    ("trigger", "\"append\""),
    ("durability", "\"fsync\""),
    ("directories", "1"),
    ("xattrs", "1"),
    ("processes", "2"),
    ("job", "\"tar\""),
];

const HEAD: &str = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n[[measure]]\nwhy = 'w'\n";

/// A workload with one measure of these keys.
fn measure<'a>(probe: &str, keys: impl IntoIterator<Item = &'a str>) -> String {
    let value = |key: &str| VALUES.iter().find(|(name, _)| *name == key).unwrap().1;
    let lines: String = keys.into_iter().map(|key| format!("{key} = {}\n", value(key))).collect();
    format!("{HEAD}probe = \"{probe}\"\n{lines}")
}

/// The axes that a probe says it has, and those of them that it cannot do without when these are there.
fn axes(probe: ProbeName, with: &[&'static str]) -> (BTreeSet<&'static str>, BTreeSet<&'static str>) {
    let name = probe.as_str();
    let has: BTreeSet<&str> = VALUES
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| !real(&measure(name, [*key])).err().is_some_and(|e| e.contains("has no axis")))
        .collect();
    let mut needed: BTreeSet<&'static str> = BTreeSet::new();
    while let Err(e) = real(&measure(name, with.iter().copied().chain(needed.iter().copied()))) {
        let (_, key) = e.trim_end_matches('`').rsplit_once("needs the key `").unwrap_or_else(|| panic!("{name}: {e}"));
        needed.insert(VALUES.iter().find(|(name, _)| *name == key).unwrap().0);
    }
    (has, needed)
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let page = page();
    let known =
        |text: &str| -> BTreeSet<String> { listed(&refused(text), "keys").into_iter().map(str::to_owned).collect() };
    for (heading, text) in [
        ("Of the file", "no_such_key = 1\n".to_owned()),
        ("Of a driver", "title = 't'\nwhy = 'w'\n[[driver]]\nno_such_key = 1\n".to_owned()),
        ("Of a measure", format!("{HEAD}no_such_key = 1\n")),
    ] {
        let found: BTreeSet<String> = keys(&page, heading).into_keys().collect();
        assert_eq!(found, known(&text), "{heading}");
    }
}

#[test]
fn the_page_has_the_axes_of_every_probe_with_an_image_and_without() {
    let page = page();
    let names = ProbeName::ALL.map(ProbeName::as_str);
    let (_, section) = page.split_once("\n### Which probe has which\n").unwrap();
    let head = cells(section.lines().find(|line| line.starts_with("| key |")).unwrap());
    let order: Vec<&str> = head[1..].iter().map(|cell| words(cell)[0]).collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>(), names.iter().collect());
    let rows = table(section, &["key"]);
    assert_eq!(
        rows.iter().map(|row| words(&row[0])[0]).collect::<Vec<_>>(),
        VALUES.map(|(key, _)| key),
        "every key once, in the order of the code"
    );
    for (column, name) in order.iter().enumerate() {
        let probe = ProbeName::ALL.into_iter().find(|probe| probe.as_str() == *name).unwrap();
        let (has, needed) = axes(probe, &[]);
        for row in &rows {
            let key = words(&row[0])[0];
            let expected = match (has.contains(key), needed.contains(key)) {
                (false, _) => "–",
                (true, true) => "needed",
                (true, false) if key == "program" => "with `stack`",
                (true, false) => "may",
            };
            assert_eq!(row[column + 1], expected, "`{key}` of {name}");
        }
    }

    let rows = table(&page, &["probe", "keys with `stack`", "refused with `stack`"]);
    let mut seen = BTreeSet::new();
    for row in &rows {
        let name = words(&row[0])[0];
        let probe = ProbeName::ALL.into_iter().find(|probe| probe.as_str() == name).unwrap();
        seen.insert(name);
        let (has, needed) = axes(probe, &["stack"]);
        let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
        for key in has.into_iter().filter(|key| *key != "stack") {
            let mut with: Vec<&str> = needed.iter().copied().filter(|needed| *needed != key).collect();
            with.extend(["stack", key]);
            match real(&measure(name, with)) {
                Ok(_) => good.insert(key),
                Err(e) if e.contains("an imported image has its own") => bad.insert(key),
                Err(e) => panic!("{name}, {key}: {e}"),
            };
        }
        assert_eq!(words(&row[1]).into_iter().collect::<BTreeSet<_>>(), good, "with {name}");
        assert_eq!(words(&row[2]).into_iter().collect::<BTreeSet<_>>(), bad, "with {name}");
    }
    let can: BTreeSet<&str> =
        names.into_iter().filter(|name| !refused(&measure(name, ["stack"])).contains("has no axis")).collect();
    assert_eq!(seen, can);
}

/// What a point of one measure is.
fn point(text: &str) -> Params {
    expand(&real(text).unwrap(), &["s".into()])[0].params
}

#[test]
fn the_page_has_the_range_the_words_and_the_default_of_every_key() {
    let page = page();
    let rows = keys(&page, "Of a measure");
    // A probe that has the axis, with what else it needs.
    let base = |key: &str| -> (ProbeName, BTreeSet<&'static str>) {
        let probe = ProbeName::ALL.into_iter().find(|probe| axes(*probe, &[]).0.contains(key));
        let probe = probe.unwrap_or(ProbeName::CopyUp);
        (probe, axes(probe, &[]).1)
    };
    let with = |key: &str, value: &str| {
        let (probe, needed) = base(key);
        format!("{}{key} = {value}\n", measure(probe.as_str(), needed.into_iter().filter(|needed| *needed != key)))
    };
    for (key, row) in &rows {
        let values = row[3].as_str();
        match row[1].split(' ').next().unwrap() {
            "number" | "numbers" => {
                let refusal = refused(&with(key, "4294967295"));
                let range = refusal.rsplit_once("it goes from ").map_or("", |(_, range)| range);
                assert!(!range.is_empty() && values.starts_with(range), "{key}: {values} and {refusal}");
            }
            "size" | "sizes" => {
                let least = words(values)[0];
                assert!(real(&with(key, &format!("{least:?}"))).is_ok(), "{key} from {least}");
                if let Some(below) = layerbench::workload::parse_size(least).unwrap().checked_sub(1) {
                    let refusal = refused(&with(key, &format!("\"{below} B\"")));
                    assert!(refusal.contains(&format!("at least {least}")), "{refusal}");
                }
                let most = words(values)[1];
                assert!(real(&with(key, &format!("{most:?}"))).is_ok(), "{key} to {most}");
                let above = layerbench::workload::parse_size(most).unwrap() + 1;
                let refusal = refused(&with(key, &format!("\"{above} B\"")));
                assert!(refusal.contains(&format!("at most {most}")), "{refusal}");
            }
            "words" => {
                let all: Vec<&str> = match key.as_str() {
                    "cache" => CacheState::ALL.map(CacheState::as_str).to_vec(),
                    "trigger" => Trigger::ALL.map(Trigger::as_str).to_vec(),
                    "durability" => Durability::ALL.map(Durability::as_str).to_vec(),
                    "job" => Job::ALL.map(Job::as_str).to_vec(),
                    "target_layer" => {
                        assert!(refused(&with(key, "\"x\"")).contains("(top, middle, bottom or a number from 1)"));
                        continue;
                    }
                    other => panic!("the test does not know the words of {other}"),
                };
                let found: BTreeSet<&str> = words(values).into_iter().collect();
                assert_eq!(found, all.into_iter().collect(), "{key}");
            }
            "text" if key == "probe" => {
                assert_eq!(words(values), ProbeName::ALL.map(ProbeName::as_str), "in the order of the code");
            }
            "text" => {}
            other => panic!("{key} has the type {other}"),
        }
        // Of an axis one value or a list, of the others one.
        if VALUES.iter().any(|(name, _)| name == key) && !["stack", "program"].contains(&key.as_str()) {
            let value = VALUES.iter().find(|(name, _)| name == key).unwrap().1;
            let listed = real(&with(key, &format!("[{value}]")));
            assert_eq!(listed.is_ok(), row[1].ends_with("(axis)"), "{key} is {}: {listed:?}", row[1]);
            assert!(real(&with(key, &format!("{{ smoke = {value}, real = {value} }}"))).is_ok(), "{key} has scales");
        }
    }

    let plain = point(&measure("copy_up", ["depth", "file_size", "files"]));
    let started = point(&measure("start", ["depth", "file_size", "files"]));
    let large = real(&measure("copy_up", ["depth", "file_size", "files"])).unwrap();
    assert_eq!(plain.target_layer, plain.depth, "the bottom");
    for (key, default) in [
        ("blocks", large.measures[0].blocks.to_string()),
        ("bytes_max", format_size(large.measures[0].bytes_max)),
        ("target_layer", "bottom".to_owned()),
        ("cache", plain.cache.as_str().to_owned()),
        ("containers", started.containers.to_string()),
        ("trigger", plain.trigger.as_str().to_owned()),
        ("durability", plain.durability.as_str().to_owned()),
        ("directories", plain.directories.to_string()),
        ("xattrs", plain.xattrs.to_string()),
        ("processes", plain.processes.to_string()),
    ] {
        assert_eq!(rows[key][2], format!("`{default}`"), "default of {key}");
    }
    // All others are needed, or say why they are not.
    for (key, row) in rows.iter().filter(|(_, row)| !row[2].starts_with('`')) {
        assert!(row[2].starts_with("needed") || key == "stack", "{key} has the default {}", row[2]);
    }
    let probes = table(&page, &["probe", "what it measures"]);
    assert_eq!(probes.iter().map(|row| words(&row[0])[0]).collect::<BTreeSet<_>>().len(), ProbeName::ALL.len());
    for probe in ProbeName::ALL {
        assert!(probes.iter().any(|row| words(&row[0])[0] == probe.as_str()), "{} is not there", probe.as_str());
    }
    let rows = table(&page, &["`cache`"]);
    assert_eq!(rows.iter().map(|row| words(&row[0])[0]).collect::<Vec<_>>(), CacheState::ALL.map(CacheState::as_str));
}

#[test]
fn the_page_has_every_driver_with_its_options() {
    let page = page();
    let names: Vec<&str> = driver::all().iter().map(|driver| driver.name()).collect();
    assert_eq!(words(&keys(&page, "Of a driver")["use"][3]), names);
    let rows = table(&page, &["driver", "options"]);
    for driver in driver::all() {
        let refusal = driver.check_options(&["no_such_option".to_owned()]).unwrap_err().to_string();
        let row = rows.iter().find(|row| words(&row[0]) == [driver.name()]);
        match row {
            Some(row) => assert!(refusal.ends_with(&format!("(options: {})", row[1])), "{refusal}"),
            // It has words of its own, with a page and a help of their own.
            None => {
                let (_, rest) = page.split_once("Those of `fuse-union` that say how it serves: ").unwrap();
                let (list, _) = rest.split_once(";\n").unwrap();
                let (one, sample) = (["N", "MICROSECONDS", "SECONDS"], "1");
                for word in words(list) {
                    let (key, value) = word.split_once('=').unwrap_or((word, ""));
                    let values = match value {
                        "" => vec![key.to_owned()],
                        value if one.contains(&value) => vec![format!("{key}={sample}")],
                        value => value.split('|').map(|value| format!("{key}={value}")).collect(),
                    };
                    for option in values {
                        assert_eq!(driver.check_options(std::slice::from_ref(&option)), Ok(()), "{option}");
                    }
                }
            }
        }
    }
}

/// The example, as somebody would copy it.
fn example(page: &str) -> String {
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").unwrap();
    example.to_owned()
}

#[test]
fn the_example_has_as_many_cases_as_the_page_says_and_is_refused_with_the_words_of_the_page() {
    let page = page();
    let example = example(&page);
    let workload = real(&example).unwrap();
    let cases = expand(&workload, &["s".into()]).len();
    let drivers = workload.drivers.len();
    let with_twins = cases / drivers * (drivers + workload.twins.len());
    assert!(page.contains(&format!("5 blocks: {with_twins} cases in one store.")), "it has {with_twins}");

    let rows = table(&page, &["instead of", "somebody writes", "and is told"]);
    assert!(rows.len() >= 8);
    for row in rows {
        let code = |cell: &str| cell.trim_matches('`').trim().to_owned();
        let (from, to, told) = (code(&row[0]), code(&row[1]), code(&row[2]));
        assert!(example.contains(&from), "{from}");
        assert_eq!(refused(&example.replacen(&from, &to, 1)), told);
    }
}

#[test]
fn the_example_runs() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::write(folder.path().join("mine.toml"), example(&page())).unwrap();
    let run = |option: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
        command.args(["run", "mine.toml", option]).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{option}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("--dry-run");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a dry run makes nothing");
    if layerbench::host::fingerprint().privileges == Privileges::None {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
        return;
    }
    run("--smoke");
    let runs = layerbench::record::list_runs(&folder.path().join("results")).unwrap();
    let run = Run::load(&runs[0]).unwrap();
    let measured = run.last_attempts().filter(|record| matches!(record.outcome, Outcome::Measured { .. })).count();
    assert!(measured > 0 && run.last_attempts().count() == run.manifest.planned_cases as usize);
}
