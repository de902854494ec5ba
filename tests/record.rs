//! The contract between measuring and reporting: what was committed is read, and written again byte for byte; what an older version
//! wrote is read and means the same when it is written as this version does.

use std::fs;
use std::path::Path;

use layerbench::record::{CaseRecord, Run, RunWriter, SCHEMA_VERSION, list_runs};

#[test]
fn committed_runs_survive_reading_and_writing_byte_for_byte() {
    let runs = list_runs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results")).unwrap();
    assert!(!runs.is_empty(), "no run is committed");
    for folder in runs {
        let run = Run::load(&folder).unwrap();
        assert!(run.damaged.is_empty(), "{}: {:?}", folder.display(), run.damaged);
        let written: String = run.cases.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
        if run.manifest.schema_version < SCHEMA_VERSION {
            for (record, written) in run.cases.iter().zip(written.lines()) {
                assert_eq!(serde_json::from_str::<CaseRecord>(written).unwrap(), *record);
            }
            continue;
        }
        let line = |text: &str, n: usize| text.lines().nth(n).unwrap_or_default().chars().take(300).collect::<String>();
        let cases = fs::read_to_string(folder.join("cases.jsonl")).unwrap();
        // A run that was killed, as somebody's own in this folder may be, ends in a line that is not one.
        let cases = &cases[..cases.rfind('\n').map_or(0, |end| end + 1)];
        let different = cases.lines().zip(written.lines()).position(|(a, b)| a != b);
        if let Some(n) = different {
            panic!("line {} of {}:\n{}\n{}", n + 1, folder.display(), line(cases, n), line(&written, n));
        }
        assert_eq!(cases.len(), written.len(), "{}", folder.display());
        let manifest = serde_json::to_string_pretty(&run.manifest).unwrap() + "\n";
        assert_eq!(fs::read_to_string(folder.join("run.json")).unwrap(), manifest);
    }
}

#[test]
fn the_newest_run_of_a_day_has_the_last_number_also_where_an_older_one_was_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let reserve = |date: &str| RunWriter::reserve(scratch.path(), date).unwrap();
    assert_eq!(reserve("2026-01-02").0, "2026-01-02.1");
    let (_, second) = reserve("2026-01-02");
    for n in 3..=10 {
        assert_eq!(reserve("2026-01-02").0, format!("2026-01-02.{n}"));
    }
    fs::remove_dir(second).unwrap();
    assert_eq!(reserve("2026-01-02").0, "2026-01-02.11");
    assert_eq!(reserve("2026-01-03").0, "2026-01-03.1");
}

#[test]
fn a_run_whose_name_is_no_plain_word_is_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-24.3/run.json")).unwrap();
    for name in ["../../evil", "/tmp/evil", "latest", "", ".", "..", ".hidden", "a b", "a/b", "x\\u001b[31m"] {
        let line = text.lines().position(|line| line.contains("\"run\"")).unwrap() + 1;
        let changed = text.replacen("\"2026-11-24.3\"", &format!("\"{name}\""), 1);
        assert_ne!(text, changed);
        fs::write(folder.path().join("run.json"), changed).unwrap();
        let error = Run::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("run.json:{line}: ")) && error.contains("the field run is"), "{name}: {error}");
    }
}
