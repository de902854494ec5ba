//! The program as a person uses it: help, wrong arguments, a smoke run from workload to page, a run that is killed, and what clean removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use layerbench::record::{Outcome, Privileges, Run};
use layerbench::workload::{CacheState, ProbeName};

fn layerbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_layerbench"))
}

fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (
        status.code().unwrap_or(-1),
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

/// A folder on the checkout's own file system (not /tmp), removed at the end.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn workload(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads").join(name)
}

fn can_mount() -> bool {
    let can = layerbench::host::fingerprint().privileges != Privileges::None;
    if !can {
        eprintln!("skipped: an ordinary user without user namespaces cannot mount");
    }
    can
}

/// Mounts and processes that name a folder: nothing of ours may survive.
fn survivors(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let mut found: Vec<String> = fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .filter(|line| line.contains(&folder))
        .map(|line| format!("mount {line}"))
        .collect();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid != std::process::id() && line.contains(&folder) {
            found.push(format!("process {pid} {line}"));
        }
    }
    found
}

/// What a dying process takes along goes within moments; nothing is timed, only waited for.
fn wait_until_gone(folder: &Path) {
    let start = Instant::now();
    while !survivors(folder).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "still there: {:#?}", survivors(folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn help_names_every_subcommand_and_the_exit_status() {
    let (code, out, _) = output(layerbench().arg("--help"));
    assert_eq!(code, 0);
    for word in [
        "doctor",
        "run",
        "report",
        "verdicts",
        "list",
        "limits",
        "stack",
        "mount",
        "umount",
        "clean",
        "completions",
        "man",
        "Exit status",
    ] {
        assert!(out.contains(word), "{word} is not in the help:\n{out}");
    }
}

#[test]
fn bad_usage_and_bad_input_exit_with_2_and_say_what_is_wrong() {
    let folder = scratch();
    let bad = folder.path().join("bad.toml");
    fs::write(&bad, "title = \"t\"\nwhy = \"w\"\n[[driver]]\nuse = \"overly2\"\n").unwrap();
    let bad = bad.to_str().unwrap().to_owned();
    let quick = workload("quick.toml").to_str().unwrap().to_owned();
    let empty = folder.path().to_str().unwrap().to_owned();
    for (args, words) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["run"], "WORKLOAD.toml"),
        (vec!["run", "no-such.toml"], "no-such.toml: No such file"),
        (vec!["run", bad.as_str()], "bad.toml:4: unknown driver \"overly2\"; did you mean \"overlay2\"?"),
        (vec!["run", quick.as_str(), "--dry-run", "--driver", "overlay"], "did you mean \"overlay2\"?"),
        (vec!["run", quick.as_str(), "--dry-run", "--store", "a=x", "--store", "a=y"], "two stores are labelled \"a\""),
        (vec!["run", quick.as_str(), quick.as_str(), "--dry-run"], "two workloads are named \"quick\""),
        (vec!["report", "--results", empty.as_str()], "no run in"),
        (vec!["report", "nothing-here"], "no run nothing-here"),
        (vec!["verdicts", "nothing-here"], "no run nothing-here"),
        (vec!["list", "colours"], "colours"),
    ] {
        let (code, _, err) = output(layerbench().args(&args).current_dir(folder.path()));
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "bad input makes nothing");
}

#[test]
fn lists_completions_and_manual_pages_are_made() {
    let folder = scratch();
    for (what, word) in
        [("drivers", "fuse-union"), ("probes", "copy_up"), ("charts", "first_write"), ("workloads", "quick.toml")]
    {
        let (code, out, err) = output(layerbench().args(["list", what]).current_dir(env!("CARGO_MANIFEST_DIR")));
        assert_eq!(code, 0, "{err}");
        assert!(out.contains(word), "list {what}:\n{out}");
    }
    let (code, out, _) = output(layerbench().args(["completions", "bash"]));
    assert!(code == 0 && out.contains("layerbench"), "{out}");
    let (code, _, err) = output(layerbench().args(["man", "--out"]).arg(folder.path()));
    assert_eq!(code, 0, "{err}");
    let page = fs::read_to_string(folder.path().join("layerbench-run.1")).unwrap();
    assert!(page.contains("dry") && page.contains("smoke"), "{page}");
}

#[test]
fn a_dry_run_prints_every_case_and_makes_nothing() {
    let folder = scratch();
    let (code, out, err) =
        output(layerbench().arg("run").arg(workload("quick.toml")).arg("--dry-run").current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    let text = fs::read_to_string(workload("quick.toml")).unwrap();
    let parsed = layerbench::workload::parse(
        "q",
        "quick",
        &text,
        layerbench::workload::Scale::Real,
        &layerbench::driver::Registry,
    )
    .unwrap();
    // A host without passthrough measures another variant of the union.
    let here = |id: &str| id.replace("/fuse-union/", "/fuse-union (no passthrough)/");
    for case in layerbench::workload::expand(&parsed, &["store".into()]) {
        assert!(out.contains(&case.id) || out.contains(&here(&case.id)), "{} is not printed", case.id);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a dry run leaves something");
}

#[test]
fn cold_cases_of_a_store_in_memory_are_skipped_with_the_reason() {
    let folder = scratch();
    let here = layerbench::host::store_info("here", Path::new("/dev/shm")).unwrap();
    if here.fs_type != "tmpfs" {
        eprintln!("skipped: /dev/shm is {}", here.fs_type);
        return;
    }
    let mut run = layerbench();
    run.args(["run", "--dry-run", "--driver", "bind"]).arg(workload("page-cache.toml"));
    let disk = output(run.current_dir(folder.path()));
    assert!(disk.0 == 0 && !disk.1.contains("page cache itself"), "{}{}", disk.1, disk.2);
    let memory = output(run.args(["--store", "/dev/shm/layerbench-none"]));
    assert!(memory.0 == 0 && memory.1.contains(" 0 to be measured"), "{}{}", memory.1, memory.2);
    assert!(memory.1.contains("skipped: cold caches: tmpfs is the page cache itself"), "{}", memory.1);
}

#[test]
fn a_smoke_run_of_every_workload_is_measured_verified_and_reported() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    let mut command = layerbench();
    command.arg("run").args(
        [
            "quick.toml",
            "copy-up.toml",
            "lookup.toml",
            "page-cache.toml",
            "triggers.toml",
            "parents.toml",
            "parallel.toml",
            "jobs.toml",
        ]
        .map(workload),
    );
    // Two stores, so that labels and interleaving are exercised as well.
    let (code, out, err) =
        output(command.args(["--smoke", "--store", "one=s1", "--store", "two=s2"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{out}\n{err}");
    let runs = layerbench::record::list_runs(&folder.path().join("results")).unwrap();
    assert_eq!(runs.len(), 1);
    let run = Run::load(&runs[0]).unwrap();
    assert!(run.manifest.smoke && !run.truncated);
    assert_eq!(run.last_attempts().count(), run.manifest.planned_cases as usize);
    let mut measured = 0;
    for record in run.last_attempts() {
        match &record.outcome {
            Outcome::Measured { observations, .. } => {
                measured += 1;
                assert!(
                    !observations.is_empty() && observations.iter().all(|o| !o.samples.is_empty()),
                    "{}",
                    record.case.id
                );
            }
            Outcome::Skipped { reason, remedy } => {
                assert!(!reason.is_empty() && !remedy.is_empty(), "{}", record.case.id)
            }
            Outcome::Failed { error } => panic!("{}: {error}", record.case.id),
        }
    }
    for record in run.last_attempts() {
        let Outcome::Measured { observations, notes, .. } = &record.outcome else { continue };
        let names: Vec<&str> = observations.iter().map(|o| &*o.metric.name).collect();
        let expected: Vec<&str> = match record.case.probe {
            ProbeName::CopyUp => continue,
            ProbeName::Jobs => vec!["job_ns"],
            ProbeName::Read => vec!["read_ns", "wall_ns"],
            ProbeName::Start => {
                vec![
                    "start_ns",
                    "mount_ns",
                    "exec_ns",
                    "second_exec_ns",
                    "unmount_ns",
                    "upper_bytes",
                    "upper_inodes_count",
                ]
            }
            ProbeName::Lookup => {
                let hiding = ["lookup_whiteout_ns", "lookup_opaque_ns"].into_iter();
                let others = ["lookup_hit_ns", "lookup_miss_ns", "lookup_merged_ns", "lookup_path_ns", "open_ns"];
                let first = ["lookup_first_ns", "lookup_first_miss_ns"].into_iter();
                let first = first.filter(|_| record.case.params.cache != CacheState::Warm);
                let hiding = hiding.filter(|_| record.case.params.depth > 1);
                hiding.chain(first).chain(others).chain(["readdir_ns"]).collect()
            }
            ProbeName::PageCache => {
                // Smoke files are too small for the kernel's count.
                assert!(notes.iter().any(|note| note.starts_with("charged_bytes is not measured: ")), "{notes:?}");
                let later = ["second_read_ns", "mapped_second_ns"].into_iter();
                let later = later.filter(|_| record.case.params.containers > 1);
                later.chain(["first_read_ns", "mapped_first_ns", "resident_bytes"]).collect()
            }
        };
        for name in expected {
            assert!(names.contains(&name), "{} has no {name}: {names:?}", record.case.id);
        }
    }
    for driver in ["bind", "overlay2", "fuse-union"] {
        assert!(
            run.cases.iter().any(|c| c.case.driver.driver == driver && matches!(c.outcome, Outcome::Measured { .. })),
            "{driver} was not measured"
        );
    }
    assert!(measured > 0);
    for store in ["s1", "s2"] {
        let left = fs::read_dir(folder.path().join(store).join("scratch")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "scratch is left in {store}");
    }
    wait_until_gone(folder.path());

    let (code, out, err) = output(layerbench().arg("report").current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    assert!(out.trim().ends_with("index.html"));
    let page = fs::read_to_string(folder.path().join("reports/latest/index.html")).unwrap();
    for word in ["bind", "overlay2", "fuse-union", "aufs", "smoke", "In parallel", "2 processes"] {
        assert!(page.contains(word), "{word} is not on the page");
    }

    let (code, out, err) = output(layerbench().arg("verdicts").current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    for word in ["grows-with-depth", "page-cache-memory", "not measured", "[no] ", "smoke"] {
        assert!(out.contains(word), "{word} is not in the verdicts:\n{out}");
    }
    let (code, out, err) = output(layerbench().args(["verdicts", "--json"]).arg(&runs[0]).current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    let verdicts: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(verdicts["run"], run.manifest.run.as_str());
    let finding = &verdicts["claims"][0]["findings"][0];
    assert!(finding["verdict"].is_string() && finding["driver"].is_string() && finding["groups"].is_array(), "{out}");
    assert!(verdicts["checklist"].as_array().is_some_and(|items| items.iter().all(|item| item["answer"].is_string())));

    let (code, out, err) =
        output(layerbench().args(["clean", "--store", "s1", "--store", "s2"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("removed stack"), "{out}");
    assert!(!folder.path().join("s1").exists() && !folder.path().join("s2").exists());
}

/// Drivers that keep a page cache of their own in each mount, and those that cannot.
#[test]
fn pages_are_shared_and_charged_as_each_driver_has_them() {
    if !can_mount() {
        return;
    }
    const READ_SET: u64 = 8 << 20;
    let folder = scratch();
    let toml = folder.path().join("sharing.toml");
    let text = "title = 't'\nwhy = 'w'\n\
        [[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[driver]]\nuse = 'fuse-union'\n\
        [[driver]]\nuse = 'fuse-union'\noptions = ['passthrough=off']\n[[driver]]\nuse = 'fuse-overlayfs'\n\
        [[measure]]\nprobe = 'page_cache'\nwhy = 'w'\ndepth = 2\nfile_size = '4 MiB'\nfiles = 2\ncontainers = 3\nblocks = 1\n";
    fs::write(&toml, text).unwrap();
    let (code, out, err) = output(layerbench().arg("run").arg("sharing.toml").current_dir(folder.path()));
    assert_eq!(code, 0, "{out}\n{err}");
    let run = Run::load(&layerbench::record::list_runs(&folder.path().join("results")).unwrap()[0]).unwrap();
    for record in run.last_attempts() {
        let id = &record.case.id;
        let (observations, notes) = match &record.outcome {
            Outcome::Measured { observations, notes, .. } => (observations, notes),
            other => {
                eprintln!("skipped: {id}: {other:?}");
                continue;
            }
        };
        let samples = |name: &str| observations.iter().find(|o| o.metric.name == name).map(|o| o.samples.as_slice());
        let driver = &record.case.driver;
        let own_pages =
            driver.driver == "fuse-overlayfs" || driver.options.iter().any(|option| option == "passthrough=off");
        match (samples("mapped_checked_pages_count"), samples("mapped_shared_pages_count")) {
            (Some([checked]), Some([shared])) => {
                // A page that the kernel is moving has no number for that moment.
                let pages = 2 * READ_SET / rustix::param::page_size() as u64;
                assert!((pages * 9 / 10..=pages).contains(checked), "{id}: {checked} of {pages} pages were compared");
                assert_eq!(*shared, if own_pages { 0 } else { *checked }, "{id}");
            }
            (None, None) => assert!(notes.iter().any(|note| note.contains("frame numbers")), "{id}: {notes:?}"),
            other => panic!("{id}: {other:?}"),
        }
        let Some(charged) = samples("charged_bytes") else {
            let why = notes.iter().find(|note| note.starts_with("charged_bytes is not measured: "));
            eprintln!("skipped: {id}: {}", why.unwrap_or_else(|| panic!("{notes:?}")));
            continue;
        };
        assert_eq!(charged.len(), 3, "{id}");
        // The kernel charges 64 pages at a time.
        let slack = 128 * rustix::param::page_size() as u64;
        for (container, bytes) in charged.iter().enumerate() {
            let expected = if own_pages || container == 0 { READ_SET } else { 0 };
            assert!(bytes.abs_diff(expected) <= slack, "{id}: container {container} is charged {bytes}");
        }
    }
    wait_until_gone(folder.path());
}

#[test]
fn limits_finds_the_deepest_stack_of_each_driver_and_leaves_nothing() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    let (code, out, err) = output(layerbench().args(["limits", "--json", "--store", "s"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let limits = found["limits"].as_array().unwrap();
    for driver in ["overlay2", "aufs", "fuse-union", "fuse-overlayfs"] {
        assert!(limits.iter().any(|limit| limit["driver"] == driver), "{driver} is missing: {out}");
    }
    for limit in limits {
        match limit["outcome"].as_str() {
            Some("limited") => {
                let depth = limit["depth_max_count"].as_u64().unwrap();
                assert!((1..512).contains(&depth), "{limit}");
                assert!(!limit["error"].as_str().unwrap().is_empty(), "{limit}");
                if limit["driver"] == "overlay2" {
                    assert_eq!((depth, &limit["errno"]), (500, &"EINVAL".into()), "{limit}");
                }
            }
            Some("not_reached") => assert_eq!(limit["depth_max_count"], 512),
            Some("skipped") => assert!(!limit["remedy"].as_str().unwrap().is_empty(), "{limit}"),
            other => panic!("{other:?}: {limit}"),
        }
    }
    let (code, out, err) = output(layerbench().args(["limits", "--store", "s"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("fuse-union (as the driver mounts here)\n"), "{out}");
    wait_until_gone(folder.path());
    let left = fs::read_dir(folder.path().join("s/scratch")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "scratch is left");
}

#[test]
fn a_run_killed_at_any_moment_leaves_nothing_that_clean_does_not_remove() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    let run = |folder: &Path| {
        let mut command = layerbench();
        command.arg("run").arg(workload("quick.toml")).args([
            "--smoke",
            "--driver",
            "fuse-union",
            "--driver",
            "overlay2",
        ]);
        command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // Moments spread over set-up, stack building and cases; which one is hit does not matter, that all are survived does.
    for moment in [0, 15, 60, 150, 300, 600, 900] {
        let mut child = run(folder.path()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until_gone(folder.path());
        let (code, out, err) = output(layerbench().arg("clean").current_dir(folder.path()));
        assert_eq!(code, 0, "clean after {moment} ms: {out}{err}");
        assert!(!folder.path().join("store").exists(), "the store is left after {moment} ms: {out}{err}");
    }
    // What a killed run recorded can be read, and the next run works without a clean.
    let mut child = run(folder.path()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    child.kill().unwrap();
    child.wait().unwrap();
    for run in layerbench::record::list_runs(&folder.path().join("results")).unwrap() {
        Run::load(&run).unwrap();
    }
    wait_until_gone(folder.path());
    let (code, out, err) = output(run(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let folder = scratch();
    let store = folder.path().join("store");
    let held = layerbench::runner::Store::lock(&store).unwrap();
    let (code, _, err) = output(layerbench().arg("clean").current_dir(folder.path()));
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("in use by another layerbench"), "{err}");
    drop(held);
    let (code, _, err) = output(layerbench().arg("clean").current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
}
