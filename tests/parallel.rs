//! Several processes at once from the workload to the record: files are appended to and read through several drivers, every sample is kept,
//! and the wall time is that of all of them together.

use std::fs;
use std::path::Path;
use std::process::Command;

use layerbench::record::{CaseRecord, Outcome, Privileges, Run};
use layerbench::workload::{CacheState, ProbeName};

const FILES: usize = 7;
const WORKLOAD: &str = "title = 't'
why = 'w'
[[driver]]
use = 'bind'
[[driver]]
use = 'overlay2'
[[driver]]
use = 'fuse-union'
[[measure]]
probe = 'read'
why = 'w'
depth = 3
file_size = ['4 KiB', '300 KiB']
files = 7
cache = ['fresh', 'warm', 'cold']
directories = 2
processes = [1, 3]
[[measure]]
probe = 'copy_up'
why = 'w'
depth = 3
file_size = '4 KiB'
files = 7
trigger = 'append'
processes = [1, 3]
";

/// Samples of a metric.
fn samples<'a>(record: &'a CaseRecord, name: &str) -> &'a [u64] {
    let Outcome::Measured { observations, .. } = &record.outcome else { return &[] };
    let found = observations.iter().find(|o| o.metric.name == name);
    &found.unwrap_or_else(|| panic!("{} has no {name}", record.case.id)).samples
}

/// Runs a workload in a folder, and what was recorded; `None` where nothing can be mounted.
fn run(folder: &Path, workload: &str) -> Option<Run> {
    if layerbench::host::fingerprint().privileges == Privileges::None {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
        return None;
    }
    fs::write(folder.join("w.toml"), workload).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
    command.args(["run", "w.toml", "--store", "s"]).current_dir(folder).output().unwrap();
    let runs = layerbench::record::list_runs(&folder.join("results")).unwrap();
    let run = Run::load(runs.last().unwrap()).unwrap();
    assert_eq!(run.last_attempts().count(), run.manifest.planned_cases as usize);
    Some(run)
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn every_process_has_its_own_files_and_every_sample_is_kept() {
    let folder = scratch();
    let Some(run) = run(folder.path(), WORKLOAD) else { return };
    let privileges = run.manifest.host.privileges;
    let mut measured = [0; 2];
    for record in run.last_attempts() {
        let (id, p) = (&record.case.id, &record.case.params);
        match &record.outcome {
            Outcome::Failed { error } => panic!("{id}: {error}"),
            Outcome::Skipped { reason, remedy } => {
                assert!(!reason.is_empty() && !remedy.is_empty(), "{id}");
                let cold = p.cache == CacheState::Cold;
                assert!(
                    cold && privileges != Privileges::Root || record.case.driver.driver == "fuse-union",
                    "{id}: {reason}"
                );
                eprintln!("skipped: {id}: {reason}");
                continue;
            }
            Outcome::Measured { .. } => {}
        }
        let reads = record.case.probe == ProbeName::Read;
        measured[usize::from(reads)] += 1;
        let each = samples(record, if reads { "read_ns" } else { "first_write_ns" });
        let &[wall] = samples(record, "wall_ns") else { panic!("{id}: several wall times") };
        assert_eq!(each.len(), FILES, "{id}");
        let again = samples(record, if reads { "read_again_ns" } else { "second_write_ns" });
        assert!(again.len() == FILES && again.iter().all(|ns| *ns > 0), "{id}: {again:?}");
        // No process can be done before its own longest, nor one alone before the sum; and nobody measures zero.
        let least = if p.processes == 1 { each.iter().sum() } else { each.iter().copied().max().unwrap() };
        assert!(wall >= least && each.iter().all(|ns| *ns > 0), "{id}: {wall} of {each:?}");
    }
    assert!(measured.iter().all(|count| *count > 0), "{measured:?}");
}

#[test]
fn a_file_that_is_read_wrong_fails_the_case_however_many_processes_read() {
    let folder = scratch();
    let workload = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[measure]]\nprobe = 'read'\nwhy = 'w'\n\
                    depth = 2\nfile_size = '4 KiB'\nfiles = 4\nprocesses = [1, 3]\n";
    let Some(before) = run(folder.path(), workload) else { return };
    assert!(before.last_attempts().all(|record| matches!(record.outcome, Outcome::Measured { .. })));
    // A stack that is used again is not read again: that a content is another is for the probe to find.
    let stacks = fs::read_dir(folder.path().join("s/stacks")).unwrap();
    let layers = stacks.flat_map(|stack| fs::read_dir(stack.unwrap().path().join("diff")).unwrap());
    let mut targets = layers.map(|layer| layer.unwrap().path().join("data/f-000001")).filter(|path| path.exists());
    fs::write(targets.next().unwrap(), [0; 4096]).unwrap();
    let after = run(folder.path(), workload).unwrap();
    for record in after.last_attempts() {
        let Outcome::Failed { error } = &record.outcome else { panic!("{}: {:?}", record.case.id, record.outcome) };
        assert!(error.contains("data/f-000001 is not the file of its layer"), "{error}");
    }
}
