//! Jobs from the workload to the record: every one is done and found right through several drivers, and one whose program is not here says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use layerbench::record::{CaseRecord, Outcome, Privileges, Run};
use layerbench::workload::Job;

const DRIVERS: &str = "[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[driver]]\nuse = 'fuse-union'\n";

fn can_mount() -> bool {
    let can = layerbench::host::fingerprint().privileges != Privileges::None;
    if !can {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
    }
    can
}

/// Runs a measure of jobs in a new folder, with programs from `path` alone where it is given.
fn run(drivers: &str, measure: &str, path: Option<&Path>) -> (tempfile::TempDir, Vec<CaseRecord>) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let text =
        format!("title = 't'\nwhy = 'w'\n{drivers}[[measure]]\nprobe = 'jobs'\nwhy = 'w'\nblocks = 1\n{measure}\n");
    fs::write(folder.path().join("jobs.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
    command.args(["run", "jobs.toml", "--store", "s"]).current_dir(folder.path());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let runs = layerbench::record::list_runs(&folder.path().join("results")).unwrap();
    let run = Run::load(&runs[0]).unwrap();
    let records: Vec<CaseRecord> = run.last_attempts().cloned().collect();
    assert_eq!(records.len(), run.manifest.planned_cases as usize);
    (folder, records)
}

/// Samples of a metric; the case's single one.
fn sample(record: &CaseRecord, name: &str) -> Option<u64> {
    let Outcome::Measured { observations, .. } = &record.outcome else { return None };
    let samples = &observations.iter().find(|o| o.metric.name == name)?.samples;
    assert_eq!(samples.len(), 1, "{}: {name}", record.case.id);
    samples.first().copied()
}

#[test]
fn every_job_is_done_and_verified_on_layers_and_on_a_volume() {
    if !can_mount() {
        return;
    }
    let jobs: Vec<&str> = Job::ALL.iter().map(|job| job.as_str()).collect();
    let measure = format!("depth = 3\nfile_size = '4 KiB'\nfiles = 40\ncache = ['fresh', 'warm']\njob = {jobs:?}");
    let (_folder, records) = run(DRIVERS, &measure, None);
    let mut measured = 0;
    for record in &records {
        let id = &record.case.id;
        let job = record.case.params.job.unwrap();
        assert!(id.contains(&format!(",job={}/", job.as_str())), "{id}");
        match &record.outcome {
            Outcome::Failed { error } => panic!("{id}: {error}"),
            Outcome::Skipped { reason, remedy } => {
                assert!(!reason.is_empty() && !remedy.is_empty(), "{id}");
                eprintln!("skipped: {id}: {reason}");
                continue;
            }
            Outcome::Measured { notes, .. } => assert!(notes.iter().any(|note| note.contains(": ")), "{id}: {notes:?}"),
        }
        measured += 1;
        assert!(sample(record, "job_ns").unwrap() > 0, "{id}");
        let inodes = sample(record, "upper_inodes_count");
        match (record.case.driver.driver.as_str(), job) {
            // A volume has no upper.
            ("bind", _) => assert_eq!(inodes, None, "{id}"),
            (_, Job::Tar | Job::Git) => assert_eq!(inodes, Some(0), "{id}"),
            // Each of 40 files and their folders.
            (_, Job::Chown | Job::Copy | Job::Unpack | Job::Install) => {
                assert!(inodes.unwrap() > 40, "{id}: {inodes:?}")
            }
            // One whiteout instead of the tree, or nothing at all besides the folder it lies in.
            (_, Job::Remove) => assert!((1..10).contains(&inodes.unwrap()), "{id}: {inodes:?}"),
            (_, Job::Compile | Job::Sqlite) => assert!(inodes.unwrap() > 0, "{id}"),
        }
    }
    assert!(measured > 0);
}

#[test]
fn a_job_whose_program_is_missing_is_skipped_and_says_how_to_get_it() {
    if !can_mount() {
        return;
    }
    let programs = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tar = ["/usr/bin/tar", "/bin/tar"].into_iter().find(|path| Path::new(path).exists());
    let Some(tar) = tar else {
        eprintln!("skipped: no tar in /usr/bin or /bin");
        return;
    };
    symlink(tar, programs.path().join("tar")).unwrap();
    // An ordinary user's namespace is tried with these.
    for name in ["unshare", "true"] {
        symlink(Path::new("/usr/bin").join(name), programs.path().join(name)).unwrap();
    }
    let measure = "depth = 1\nfile_size = '1 KiB'\nfiles = 2\njob = ['tar', 'sqlite', 'compile']";
    let (_folder, records) = run("[[driver]]\nuse = 'bind'\n", measure, Some(programs.path()));
    for record in &records {
        match (record.case.params.job.unwrap(), &record.outcome) {
            (Job::Tar, Outcome::Measured { .. }) => {}
            (Job::Sqlite, Outcome::Skipped { reason, remedy }) => {
                assert_eq!(
                    (reason.as_str(), remedy.as_str()),
                    ("there is no program \"sqlite3\" here", "apt install sqlite3")
                );
            }
            (Job::Compile, Outcome::Skipped { remedy, .. }) => {
                assert!(remedy.starts_with("apt install gcc"), "{remedy}")
            }
            (_, other) => panic!("{}: {other:?}", record.case.id),
        }
    }
}
