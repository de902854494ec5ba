//! Bad and big input: damaged runs are read as far as they can be, with every loss named; versions that nobody knows are refused; memory
//! grows with the samples and not with a multiple of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use layerbench::record::{Outcome, RecordError, Run, RunWriter};

#[path = "report/synthetic.rs"]
mod synthetic;

use synthetic::Spec;

/// A folder on the checkout's own file system (not /tmp), removed at the end.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Writes a made-up run into `results/2026-01-02.1` of a folder.
fn write(folder: &Path, spec: &Spec) -> (Run, PathBuf) {
    let run = synthetic::run(spec);
    let (_, at) = RunWriter::reserve(&folder.join("results"), "2026-01-02").unwrap();
    let mut writer = RunWriter::create(&at, &run.manifest).unwrap();
    for case in &run.cases {
        writer.append(case).unwrap();
    }
    (run, at)
}

fn small() -> Spec {
    Spec { depth: vec![1, 8], file_size_bytes: vec![4096, 65536], containers: vec![1, 2], files: 4, ..Spec::default() }
}

/// Lines of a run's cases, without their newlines.
fn lines(folder: &Path) -> Vec<Vec<u8>> {
    let cases = fs::read(folder.join("cases.jsonl")).unwrap();
    cases.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn write_lines(folder: &Path, lines: &[Vec<u8>]) {
    let mut bytes = lines.join(&b'\n');
    bytes.push(b'\n');
    fs::write(folder.join("cases.jsonl"), bytes).unwrap();
}

/// `layerbench report` of the latest run below a folder: exit status, output, errors.
fn report(folder: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_layerbench")).arg("report").current_dir(folder).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_kind_of_damaged_line_is_named_and_the_rest_is_read() {
    let folder = scratch();
    let (run, at) = write(folder.path(), &small());
    let whole = lines(&at);
    type Damage = fn(&[u8]) -> Vec<u8>;
    // (what happens to the line, what the reason must say)
    let table: [(Damage, &str); 10] = [
        (|line| line[..line.len() / 2].to_vec(), "EOF"),
        (|line| vec![0; line.len()], "expected value"),
        (|_| b"\x1b[31mred".to_vec(), "expected value"),
        (|line| [&line[..7], b"\xff\xfe", &line[7..]].concat(), "unicode"),
        (
            |line| String::from_utf8_lossy(line).replace("\"order\":", "\"odder\":").into_bytes(),
            "missing field `order`",
        ),
        (|line| String::from_utf8_lossy(line).replace("\"depth\":", "\"depth\":-").into_bytes(), "invalid value"),
        (|_| b"{}".to_vec(), "missing field"),
        (|_| b"[1, 2]".to_vec(), "expected"),
        (|line| [line, b"}"].concat(), "trailing characters"),
        (|line| [line, line].concat(), "trailing characters"),
    ];
    let mut damaged = whole.clone();
    let places: Vec<usize> = (0..table.len()).map(|i| 1 + 3 * i).collect();
    for (place, (damage, _)) in places.iter().zip(&table) {
        damaged[*place] = damage(&whole[*place]);
    }
    write_lines(&at, &damaged);
    let read = Run::load(&at).unwrap();
    assert_eq!(read.damaged.iter().map(|d| d.line - 1).collect::<Vec<_>>(), places);
    for (found, (_, words)) in read.damaged.iter().zip(&table) {
        assert!(found.reason.contains(words), "{found:?} does not say {words:?}");
        assert!(!found.reason.contains(char::is_control), "{found:?}");
    }
    let kept: Vec<_> =
        run.cases.iter().enumerate().filter(|(i, _)| !places.contains(i)).map(|(_, case)| case.clone()).collect();
    assert_eq!(read.cases, kept);
    assert!(!read.truncated);

    // Loudly: each on the terminal, all at the top of the page, and the report is made.
    let (code, _, err) = report(folder.path());
    assert_eq!(code, 0, "{err}");
    for place in places {
        assert!(err.contains(&format!("cases.jsonl:{}: damaged, left out: ", place + 1)), "{err}");
    }
    let page = fs::read_to_string(folder.path().join("reports/latest/index.md")).unwrap();
    assert!(page.contains("10 lines of this run’s records cannot be read and are left out: lines 2, 5, 8,"), "{page}");
}

#[test]
fn a_cut_line_an_empty_line_and_no_line_are_no_damage() {
    let folder = scratch();
    let (run, at) = write(folder.path(), &small());
    let cases = at.join("cases.jsonl");
    let text = fs::read_to_string(&cases).unwrap();
    fs::write(&cases, &text[..text.len() - 40]).unwrap();
    let read = Run::load(&at).unwrap();
    assert!(read.truncated && read.damaged.is_empty());
    assert_eq!(read.cases.len(), run.cases.len() - 1);

    fs::write(&cases, text.replacen('\n', "\n\n  \n", 1)).unwrap();
    let read = Run::load(&at).unwrap();
    assert!(!read.truncated && read.damaged.is_empty() && read.cases == run.cases);

    for nothing in [Some(""), Some("{\"id\":"), None] {
        match nothing {
            Some(text) => fs::write(&cases, text).unwrap(),
            None => fs::remove_file(&cases).unwrap(),
        }
        let read = Run::load(&at).unwrap();
        assert!(read.cases.is_empty() && read.damaged.is_empty());
        assert_eq!(read.truncated, nothing.is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn a_run_of_which_nothing_can_be_read_is_an_error() {
    let folder = scratch();
    let (_, at) = write(folder.path(), &small());
    let broken: Vec<Vec<u8>> = lines(&at).iter().map(|line| line[1..].to_vec()).collect();
    write_lines(&at, &broken);
    match Run::load(&at) {
        Err(RecordError::Damaged { count, first, .. }) => assert_eq!((count, first.line), (broken.len(), 1)),
        other => panic!("{other:?}"),
    }
    let (code, out, err) = report(folder.path());
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("lines are damaged") && out.is_empty(), "{err}");
    assert!(!folder.path().join("reports").exists());
}

#[test]
fn versions_that_nobody_knows_and_broken_manifests_are_errors() {
    let folder = scratch();
    let (_, at) = write(folder.path(), &small());
    let manifest = fs::read_to_string(at.join("run.json")).unwrap();
    let version = format!("\"schema_version\": {}", layerbench::record::SCHEMA_VERSION);
    assert!(manifest.contains(&version));
    // (what stands there instead, what the error must say)
    for (wrong, words) in [
        ("\"schema_version\": 3", "use a newer layerbench"),
        ("\"schema_version\": 99999999999", "use a newer layerbench"),
        ("\"schema_version\": 0", "version 0 is not known"),
        ("\"schema_version\": -1", "no schema_version"),
        ("\"schema_version\": \"2\"", "no schema_version"),
        ("\"other\": 2", "no schema_version"),
        ("\"schema_version\": 2, \"other\": 2", "unknown field `other`"),
        ("", "run.json:"),
    ] {
        fs::write(at.join("run.json"), manifest.replace(&version, wrong)).unwrap();
        let (code, out, err) = report(folder.path());
        assert_eq!(code, 2, "{wrong}: {err}");
        assert!(err.contains(words) && err.contains("run.json") && out.is_empty(), "{wrong}: {err}");
    }
    // A newer version is refused for its version, however strange the rest of it is.
    fs::write(at.join("run.json"), "{\"schema_version\": 7, \"cases\": []}").unwrap();
    assert!(matches!(Run::load(&at), Err(RecordError::Schema { found: 7, .. })));
    for version in 1..=layerbench::record::SCHEMA_VERSION {
        fs::write(
            at.join("run.json"),
            manifest.replace(&version_of(&manifest), &format!("\"schema_version\": {version}")),
        )
        .unwrap();
        assert_eq!(Run::load(&at).unwrap().manifest.schema_version, version);
    }
}

fn version_of(manifest: &str) -> String {
    let start = manifest.find("\"schema_version\"").unwrap();
    manifest[start..start + manifest[start..].find(',').unwrap()].to_owned()
}

/// A run of some thousand cases in 15 blocks.
fn big(files: u32) -> Spec {
    Spec { file_size_bytes: [4, 8, 16, 32].map(|kib| kib << 10).to_vec(), blocks: 15, files, ..Spec::default() }
}

fn count(run: &Run) -> u64 {
    let observations = run.cases.iter().filter_map(|case| match &case.outcome {
        Outcome::Measured { observations, .. } => Some(observations),
        _ => None,
    });
    observations.flatten().map(|observation| observation.samples.len() as u64).sum()
}

/// Makes a run of at least so many samples, renders it, and gives its samples, the peak of the program's memory in bytes, and the time
/// that it took.
fn render(wanted: u64) -> (u64, u64, Duration) {
    let folder = scratch();
    let a_file = (count(&synthetic::run(&big(20))) - count(&synthetic::run(&big(10)))) / 10;
    let samples = count(&write(folder.path(), &big((wanted / a_file + 1) as u32)).0);
    assert!(samples >= wanted && samples < wanted + wanted / 4, "{samples} samples for {wanted}");
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_layerbench"))
        .arg("report")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        // The high-water mark of the process: it never falls, so that the last look before the end has it.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = mark.map_or(peak, |kib| kib << 10);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = begun.elapsed();
    assert!(ended.success());
    eprintln!("{samples} samples: report in {:.1} s, at most {:.0} MB", took.as_secs_f64(), peak as f64 / 1e6);
    (samples, peak, took)
}

#[test]
fn memory_grows_with_the_samples() {
    let (samples, peak, _) = render(1_000_000);
    let bound = 30_000_000 + 27 * samples;
    assert!(peak > 8 * samples && peak <= bound, "{peak} B for {samples} samples, bound {bound} B");
}

#[test]
#[ignore = "10 million samples take a release build: cargo test --release --test limits -- --ignored --nocapture"]
fn ten_million_samples_are_reported_within_300_mb() {
    let (samples, peak, took) = render(10_000_000);
    assert!(peak <= 300_000_000, "{peak} B for {samples} samples");
    if took > Duration::from_secs(10) {
        eprintln!("slower than the 10 s that a report should take: {:.1} s", took.as_secs_f64());
    }
}
