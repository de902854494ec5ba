//! The program as a person uses it: help, wrong arguments, a smoke run from workload to page, a run that is killed, and what clean removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use layerbench::record::{Outcome, Privileges, Run};
use layerbench::workload::{CacheState, Durability, ProbeName};

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
    let twice = folder.path().join("twice.toml");
    fs::write(&twice, "title = \"t\"\nwhy = \"w\"\n\ntitle = \"u\"\n").unwrap();
    let latin = folder.path().join("latin.toml");
    fs::write(&latin, b"title = \"t\"\nwhy = \"caf\xe9\"\n").unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for (args, words) in [
        (vec!["frobnicate"], "frobnicate"),
        (vec!["run"], "WORKLOAD.toml"),
        (vec!["run", "no-such.toml"], "no-such.toml: No such file"),
        (vec!["doctor", "--store", "file"], "--store file: not a folder"),
        (vec!["report", "--results", "file"], "--results file: not a folder"),
        (vec!["compare", "a", "b", "--fail-above", "-1"], "not a ratio: give a number above 0"),
        (vec!["list", "workloads", "--workloads", "results"], "list workloads in results: No such file"),
        (vec!["mount", "--driver", "bind", "--lower", ".", "--upper", ".", "."], "bind has no layers"),
        (vec!["run", "twise.toml"], "; did you mean twice.toml?"),
        (vec!["run", "twice"], "; did you mean twice.toml?"),
        (vec!["run", "."], ".: Is a directory (os error 21): name a workload in it, such as ./bad.toml"),
        (vec!["run", quick.as_str(), "--store", "file"], "--store file: not a folder"),
        (vec!["run", quick.as_str(), "--dry-run", "--store", "file"], "--store file: not a folder"),
        (vec!["run", quick.as_str(), "--smoke", "--store", "file/below"], "file/below: Not a directory"),
        (vec!["limits", "--store", "file"], "--store file: not a folder"),
        (vec!["limits", "--store", "file/below"], "file/below: Not a directory"),
        (vec!["stack", "build", "--depth", "1", "--store", "file"], "--store file: not a folder"),
        (vec!["stack", "import", "file", "--store", "file"], "--store file: not a folder"),
        (vec!["stack", "import", "-"], "; an image is read from a file: save it to one first"),
        (vec!["doctor", "--store", "=x"], "--store =x: the label is missing"),
        (vec!["stack", "rm", "x", "--store", "nope"], "--store nope: no such folder"),
        (vec!["clean", "--store", "file"], "--store file: no such folder"),
        (vec!["run", bad.as_str()], "bad.toml:4: unknown driver \"overly2\"; did you mean \"overlay2\"?"),
        (vec!["run", quick.as_str(), "--dry-run", "--driver", "overlay"], "did you mean \"overlay2\"?"),
        (vec!["run", quick.as_str(), "--dry-run", "--store", "a=x", "--store", "a=y"], "two stores are labelled \"a\""),
        (vec!["run", quick.as_str(), quick.as_str(), "--dry-run"], "two workloads are named \"quick\""),
        (vec!["report", "--results", empty.as_str()], "no run in"),
        (vec!["report", "nothing-here"], "no run nothing-here"),
        (vec!["verdicts", "nothing-here"], "no run nothing-here"),
        (vec!["list", "colours"], "colours"),
        (vec!["run", "twice.toml"], "twice.toml:4: duplicate key `title`"),
        (vec!["run", "latin.toml"], "latin.toml:2: not UTF-8"),
        (vec!["run", quick.as_str(), "--seed", "-1"], "invalid value '-1' for '--seed"),
        (vec!["run", quick.as_str(), "--out", "file"], "--out file: not a folder"),
        (vec!["report", "--out", "file"], "--out file: not a folder"),
        (vec!["man", "--out", "file"], "--out file: not a folder"),
        (vec!["run", quick.as_str(), "--dry-run", "--driver", "zfs"], "has it (drivers:"),
        (vec!["doctor", "--kernel", "missing"], "missing: No such file"),
        (vec!["doctor", "--kernel", "bad.toml"], "bad.toml: is no kernel"),
        (vec!["guest", "run", "--kernel", "missing", quick.as_str()], "missing: No such file"),
        (vec!["case"], "standard input: not a case"),
    ] {
        let (code, _, err) = output(layerbench().args(&args).current_dir(folder.path()));
        assert_eq!(code, 2, "{args:?}: {err}");
        assert!(err.contains(words), "{args:?}: {err}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "bad input makes nothing");
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
    // Those of other shells complete no values.
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = output(layerbench().args(["completions", shell]));
        assert!(code == 0 && out.contains("layerbench") && out.contains("fuse-overlayfs"), "{shell}: {out}");
    }
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
            ProbeName::Read => vec!["read_ns", "read_again_ns", "wall_ns"],
            ProbeName::Write => {
                let durable = ["rewrite_durable_ns", "overwrite_durable_ns", "create_durable_ns"].into_iter();
                let durable = durable.filter(|_| record.case.params.durability == Durability::Fsync);
                durable.chain(["rewrite_ns", "overwrite_ns", "create_ns"]).collect()
            }
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
fn each_block_has_stacks_of_its_own_and_each_run_an_order_of_its_own() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    let text = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[driver]]\nuse = 'fuse-union'\n\
        [[measure]]\nprobe = 'copy_up'\nwhy = 'w'\ndepth = [1, 2]\nfile_size = '4 KiB'\nfiles = 2\ncache = 'fresh'\nblocks = 2\n";
    fs::write(folder.path().join("blocks.toml"), text).unwrap();
    let run = |order: &[&str]| {
        let (code, out, err) =
            output(layerbench().args(["run", "blocks.toml", "--unprepared"]).args(order).current_dir(folder.path()));
        assert_eq!(code, 0, "{out}\n{err}");
        // Two stacks in each of two blocks; those of the first are found by later runs.
        assert_eq!(err.lines().filter(|line| line.starts_with("stack ")).count(), 4, "{err}");
        assert!(!folder.path().join("store/scratch").exists());
        assert_eq!(
            fs::read_dir(folder.path().join("store/stacks")).unwrap().flatten().filter(|e| e.path().is_dir()).count(),
            2
        );
        Run::load(layerbench::record::list_runs(&folder.path().join("results")).unwrap().last().unwrap()).unwrap()
    };
    let runs = [run(&[]), run(&["--order", "7"]), run(&["--order", "7"]), run(&["--order", "8"])];
    let order = |run: &Run| run.last_attempts().map(|record| record.case.id.clone()).collect::<Vec<_>>();
    assert!(runs.iter().all(|run| run.manifest.stacks_each_block && run.manifest.seed == runs[0].manifest.seed));
    assert!(runs[0].manifest.order_seed.is_some());
    assert_eq!((runs[1].manifest.order_seed, order(&runs[1])), (Some(7), order(&runs[2])));
    assert_ne!(order(&runs[2]), order(&runs[3]));
    for record in runs.iter().flat_map(Run::last_attempts) {
        let Outcome::Measured { observations, mount_options, .. } = &record.outcome else {
            eprintln!("skipped: {}: {:?}", record.case.id, record.outcome);
            continue;
        };
        assert!(!mount_options.contains(&*folder.path().to_string_lossy()), "{mount_options}");
        let spent = observations.iter().find(|o| o.metric.name == "first_processor_ns").unwrap();
        assert!(matches!(spent.samples[..], [ns] if ns > 0), "{:?}", spent.samples);
    }
    wait_until_gone(folder.path());
}

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
fn a_signal_ends_limits_in_order() {
    if !can_mount() {
        return;
    }
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = scratch();
        let child = Command::new("env")
            .args(["--default-signal=INT,TERM", env!("CARGO_BIN_EXE_layerbench"), "limits", "--store", "s"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // In the middle: layers are there, and something is being mounted.
        let is_mounting = || {
            let scratch = fs::read_dir(folder.path().join("s/scratch")).ok()?.flatten().next()?.path();
            scratch.join("m2").exists().then_some(())
        };
        let start = Instant::now();
        while is_mounting().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(status), "{err}");
        assert_eq!(err.lines().last(), Some("interrupted: nothing is found"));
        assert!(!folder.path().join("s").exists(), "a store is left that was not there");
        wait_until_gone(folder.path());
    }
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

#[test]
fn more_layers_than_files_may_be_open_are_refused_with_what_to_do() {
    let folder = scratch();
    for name in ["up", "mnt"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let layers: Vec<String> = (0..120).map(|n| format!("l{n}")).collect();
    layers.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_layerbench")]);
    command.args(["mount", "--lower", &layers.join(":"), "--upper", "up", "mnt"]).current_dir(folder.path());
    let (code, _, err) = output(&mut command);
    if err.contains("to get it:") {
        eprintln!("skipped: {err}");
        return;
    }
    assert!(code == 1 && err.contains("ulimit -n"), "{code} {err}");
}

#[test]
fn doctor_looks_for_the_programs_that_come_with_fuse() {
    let (code, out, err) = output(layerbench().arg("doctor").env("PATH", "/nowhere"));
    assert_eq!(code, 0, "{err}");
    let (_, programs) = out.split_once("\nPrograms\n").unwrap();
    assert!(programs.contains("fusermount3") && programs.contains("mount.fuse3"), "{out}");
    assert!(programs.contains("to get it: apt install fuse3"), "{out}");
}

#[test]
fn clean_removes_only_what_layerbench_made_and_says_what_is_left() {
    let folder = scratch();
    let at = |path: &str| folder.path().join(path);
    let make = |path: &str| {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        fs::write(at(path), "precious").unwrap();
    };
    let clean = |words: &[&str]| output(layerbench().arg("clean").args(words).current_dir(folder.path()));
    // Somebody's folder that has the same names in it.
    let theirs = ["opt/stacks/web/compose.yaml", "opt/scratch/x", "opt/scratch/1-2-3/f"];
    theirs.iter().for_each(|path| make(path));
    let (code, _, err) = clean(&["--store", "opt"]);
    assert!(code == 2 && err.contains("opt is not a store"), "{err}");
    // It becomes a store as well.
    let (code, out, err) =
        output(layerbench().args(["stack", "build", "--depth", "2", "--store", "opt"]).current_dir(folder.path()));
    assert_eq!(code, 0, "{err}");
    let built = PathBuf::from(out.trim());
    fs::remove_dir_all(at("opt/scratch/1-2-3")).expect("it was no store when that was made");
    make("opt/scratch/77-0-1/merged/f");
    make("opt/stacks/.0123456789abcdef.partial-1-0/f");
    // The name of a stack without the record, and the record without the name.
    make("opt/stacks/0123456789abcdef/f");
    make("opt/stacks/named/stack.json");
    let (code, out, err) = clean(&["--store", "opt"]);
    assert_eq!(code, 0, "{err}");
    for gone in [&built, &at("opt/scratch/77-0-1"), &at("opt/stacks/.0123456789abcdef.partial-1-0")] {
        assert!(!gone.exists() && out.contains(&*gone.file_name().unwrap().to_string_lossy()), "{gone:?}: {out}");
    }
    for left in ["opt/stacks/web", "opt/stacks/0123456789abcdef", "opt/stacks/named", "opt/scratch/x"] {
        let line = format!("left, since layerbench did not make it: {}", at(left).canonicalize().unwrap().display());
        assert!(at(left).exists() && out.contains(&line), "{left}: {out}");
    }
    assert_eq!(fs::read_to_string(at(theirs[0])).unwrap(), "precious");
}

#[test]
fn a_store_that_is_not_there_is_an_error_where_it_is_named() {
    let folder = scratch();
    for args in [
        vec!["clean", "--store", "nope"],
        vec!["clean", "--store", ""],
        vec!["stack", "list", "--store", "nope"],
        vec!["stack", "show", "--store", "nope"],
        vec!["doctor", "--store", ""],
    ] {
        let (code, _, err) = output(layerbench().args(&args).current_dir(folder.path()));
        assert!(code == 2 && err.contains("--store"), "{args:?}: {code} {err}");
    }
    let (code, out, err) = output(layerbench().arg("clean").current_dir(folder.path()));
    assert!(code == 0 && out.contains("nothing was left"), "{out}{err}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A run of this checkout, in a folder and with a name of one's own.
fn copy_of_a_run(into: &Path, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-24.3");
    let folder = into.join(name);
    fs::create_dir_all(&folder).unwrap();
    let manifest = fs::read_to_string(from.join("run.json")).unwrap();
    fs::write(folder.join("run.json"), manifest.replace("\"2026-11-24.3\"", &format!("\"{name}\""))).unwrap();
    let cases = fs::read_to_string(from.join("cases.jsonl")).unwrap();
    let first: String = cases.split_inclusive('\n').take(2).collect();
    fs::write(folder.join("cases.jsonl"), first).unwrap();
    folder
}

#[test]
fn reports_of_two_runs_of_one_name_do_not_overwrite_each_other_and_latest_is_the_newest() {
    let folder = scratch();
    let report = |words: &[&str]| output(layerbench().arg("report").args(words).current_dir(folder.path()));
    let latest = || fs::read_link(folder.path().join("reports/latest")).unwrap();
    for (machine, name) in [("a", "2026-01-02.9"), ("b", "2026-01-02.9"), ("a", "2026-01-02.10"), ("a", "2026-01-03.1")]
    {
        copy_of_a_run(&folder.path().join(machine), name);
    }
    let (code, _, err) = report(&["a/2026-01-02.9", "b/2026-01-02.9"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("a/2026-01-02.9 and b/2026-01-02.9 are both named 2026-01-02.9"), "{err}");
    assert!(!folder.path().join("reports").exists());
    for (run, newest) in
        [("2026-01-02.10", "2026-01-02.10"), ("2026-01-02.9", "2026-01-02.10"), ("2026-01-03.1", "2026-01-03.1")]
    {
        let (code, _, err) = report(&[&format!("a/{run}")]);
        assert_eq!((code, latest()), (0, PathBuf::from(newest)), "{run}: {err}");
    }
    // A link to nothing is in nobody's way.
    fs::remove_dir_all(folder.path().join("reports/2026-01-03.1")).unwrap();
    report(&["a/2026-01-02.9"]);
    assert_eq!(latest(), Path::new("2026-01-02.9"));
}

#[test]
fn a_run_that_measures_nothing_says_why_and_fails_at_once() {
    let folder = scratch();
    let text = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n\
        [[measure]]\nprobe = 'copy_up'\nwhy = 'w'\nstack = 'img:z'\nfile_size = '4 KiB'\nfiles = 2\ncache = 'fresh'\nblocks = 2\n";
    fs::write(folder.path().join("w.toml"), text).unwrap();
    let (code, out, err) = output(layerbench().args(["run", "w.toml"]).current_dir(folder.path()));
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("0 measured, 0 failed"), "{out}");
    assert_eq!(err.matches("has no image img:z").count(), 1, "{err}");
    assert!(err.contains("to get it: layerbench stack import") && !err.contains("memory:"), "{err}");
}

#[test]
fn a_run_that_measures_the_control_alone_fails_unless_that_was_asked_for() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    let text = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'aufs'\n\
        [[measure]]\nprobe = 'copy_up'\nwhy = 'w'\ndepth = 127\nfile_size = '4 KiB'\nfiles = 1\n";
    fs::write(folder.path().join("w.toml"), text).unwrap();
    // aufs stacks 126, where it is here at all.
    let run = |words: &[&str]| {
        let mut command = layerbench();
        output(command.args(["run", "w.toml", "--smoke"]).args(words).current_dir(folder.path()))
    };
    let (code, out, err) = run(&[]);
    assert!(code == 1 && out.contains("2 measured, 0 failed, 1 skipped"), "{code} {out}{err}");
    assert!(err.contains("nothing but bind, the control, was measured"), "{err}");
    assert!(err.contains("skipped: 1 case: "), "{err}");
    let (code, out, err) = run(&["--driver", "aufs"]);
    assert!(code == 1 && err.contains("nothing but bind"), "{code} {out}{err}");
    let (code, out, err) = run(&["--driver", "bind"]);
    assert!(code == 0 && !err.contains("nothing but bind"), "{code} {out}{err}");
    let (code, out, err) = run(&["--driver", "bind", "--dry-run"]);
    assert!(code == 0 && out.contains("2 cases, 2 to be measured and 0 skipped, on 1 stack of"), "{code} {out}{err}");
    assert!(err.is_empty(), "{err}");
}

#[test]
fn a_full_disk_ends_a_run_in_order() {
    let folder = scratch();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if let Err(e) = rustix::mount::mount("tmpfs", &small, "tmpfs", flags, Some(c"size=128k")) {
        eprintln!("skipped: mount a tmpfs: {e}");
        return;
    }
    let run = || {
        let mut command = layerbench();
        command.arg("run").arg(workload("quick.toml")).args(["--smoke", "--driver", "overlay2", "--out", "small/out"]);
        output(command.current_dir(folder.path()))
    };
    let first = run();
    let runs = layerbench::record::list_runs(&small.join("out")).unwrap();
    let recorded = Run::load(&runs[0]).map(|run| run.last_attempts().count()).unwrap();
    // Not even the manifest of another one fits.
    let mut fill = fs::File::create(small.join("fill")).unwrap();
    while std::io::Write::write_all(&mut fill, &[0; 4096]).is_ok() {}
    let second = run();
    let left = layerbench::record::list_runs(&small.join("out")).unwrap().len();
    let folders = fs::read_dir(small.join("out")).unwrap().count();
    drop(fill);
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::empty()).unwrap();
    for (code, _, err) in [&first, &second] {
        assert_eq!(*code, 1, "{err}");
        assert!(err.contains("No space left on device (os error 28); free space there"), "{err}");
    }
    assert!(
        recorded > 0 && first.2.contains(&format!("{recorded} of ")) && first.2.contains(" recorded in small/out/"),
        "{}",
        first.2
    );
    assert_eq!((left, folders), (1, 1), "the run that could not begin is gone: {}", second.2);
    assert!(!folder.path().join("store/scratch").exists(), "scratch is left");
    wait_until_gone(folder.path());
}

#[test]
fn what_was_not_finished_is_removed_by_whoever_locks_the_store_next() {
    let folder = scratch();
    let build = || output(layerbench().args(["stack", "build", "--depth", "1"]).current_dir(folder.path()));
    assert_eq!(build().0, 0);
    let partial = folder.path().join("store/stacks/.0123456789abcdef.partial-1-0");
    fs::create_dir_all(partial.join("diff")).unwrap();
    let (code, out, err) = build();
    assert_eq!(code, 0, "{err}");
    assert!(!partial.exists() && Path::new(out.trim()).is_dir());
}

#[test]
fn verdicts_fit_a_page() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/2026-11-24.3");
    let (code, out, err) = output(layerbench().arg("verdicts").arg(run));
    assert_eq!(code, 0, "{err}");
    // The id of a case is one word, and stays one.
    let is_long = |line: &&str| line.chars().count() > 100 && line.trim().contains(' ');
    let long: Vec<&str> = out.lines().filter(is_long).collect();
    assert!(long.is_empty() && out.lines().count() > 20, "{long:#?}");
}

#[test]
fn cases_that_failed_are_named_once_with_their_error() {
    if !can_mount() {
        return;
    }
    let folder = scratch();
    // Options that the driver knows and the kernel refuses together.
    let text = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'overlay2'\noptions = ['userxattr', 'metacopy=on']\n\
        [[driver]]\nuse = 'bind'\n\
        [[measure]]\nprobe = 'copy_up'\nwhy = 'w'\ndepth = 2\nfile_size = '4 KiB'\nfiles = 2\ncache = 'fresh'\nblocks = 3\n";
    fs::write(folder.path().join("w.toml"), text).unwrap();
    let (code, out, err) = output(layerbench().args(["run", "w.toml", "--smoke"]).current_dir(folder.path()));
    if out.contains(" 0 failed") {
        eprintln!("skipped: this host does not mount them in the first place: {err}");
        return;
    }
    assert_eq!(code, 1, "{out}{err}");
    let (_, end) = err.split_once("failed: ").expect("the cases are named");
    assert!(end.contains("overlay2") && end.contains("more"), "{err}");
    assert_eq!(end.matches("failed: ").count(), 0, "one error is said once: {err}");
}

#[test]
fn a_signal_ends_a_run_in_order() {
    if !can_mount() {
        return;
    }
    use rustix::process::{Pid, Signal, kill_process};
    for (signal, status, recorded) in [(Signal::INT, 130, true), (Signal::TERM, 143, false), (Signal::HUP, 129, false)]
    {
        let folder = scratch();
        // Whoever runs the tests may ignore signals, as a shell makes its background jobs do.
        let child = Command::new("env")
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_layerbench"), "run"])
            .arg(workload("quick.toml"))
            .args(["--smoke", "--driver", "fuse-union"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The second case in cases.jsonl, or the folder of results.
        let results = folder.path().join("results");
        let start = Instant::now();
        let reached = || {
            let run = fs::read_dir(&results).ok()?.flatten().next()?.path();
            let cases = fs::read_to_string(run.join("cases.jsonl")).unwrap_or_default();
            // Where the machine is busy the first attempts of a case may count for nothing.
            let counted = cases.lines().filter(|line| !line.contains("\"superseded\":true")).count();
            (!recorded || counted >= 2).then_some(())
        };
        while reached().is_none() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(status), "{err}");
        let last = err.lines().last().unwrap();
        let runs = layerbench::record::list_runs(&results).unwrap();
        match runs.first() {
            Some(run) => {
                let run = Run::load(run).unwrap();
                let (n, of) = (run.last_attempts().count(), run.manifest.planned_cases);
                assert!(n > 0 && !run.truncated);
                let name = &run.manifest.run;
                let are = if n == 1 { "is" } else { "are" };
                assert_eq!(last, format!("interrupted: {n} of {of} cases {are} recorded in results/{name}"));
            }
            None => {
                assert_eq!(last, "interrupted: no case is recorded");
                assert!(!recorded && fs::read_dir(&results).unwrap().count() == 0);
            }
        }
        assert!(!folder.path().join("store/scratch").exists());
        wait_until_gone(folder.path());
    }
}

#[test]
fn umount_leaves_what_layerbench_did_not_mount() {
    let folder = scratch();
    let (code, _, err) = output(layerbench().args(["umount", "/"]));
    assert!(code == 2 && err.contains("nothing shows that layerbench did it"), "{code} {err}");
    let foreign = folder.path().join("tmpfs");
    fs::create_dir(&foreign).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if let Err(e) = rustix::mount::mount("tmpfs", &foreign, "tmpfs", flags, None) {
        eprintln!("skipped: mount a tmpfs: {e}");
        return;
    }
    let (code, _, err) = output(layerbench().arg("umount").arg(&foreign));
    rustix::mount::unmount(&foreign, rustix::mount::UnmountFlags::empty()).expect("it is still mounted");
    assert!(code == 2 && err.contains("tmpfs of tmpfs is mounted there"), "{code} {err}");
}

#[test]
fn umount_takes_a_bind_mount_away() {
    let folder = scratch();
    for name in ["up", "mnt"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("up/file"), "").unwrap();
    let run = |words: &[&str]| output(layerbench().args(words).current_dir(folder.path()));
    let (code, _, err) = run(&["mount", "--driver", "bind", "--upper", "up", "mnt"]);
    if code != 0 {
        eprintln!("skipped: {err}");
        return;
    }
    assert!(folder.path().join("mnt/file").exists());
    let (code, _, err) = run(&["umount", "mnt"]);
    assert_eq!(code, 0, "{err}");
    assert!(!folder.path().join("mnt/file").exists() && folder.path().join("up/file").exists());
    assert_eq!(run(&["umount", "mnt"]).0, 2, "nothing is mounted there any more");
}

#[test]
fn a_layer_without_a_name_is_refused() {
    let folder = scratch();
    for name in ["top", "base", "up", "mnt"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for lower in ["", "top:", ":top", "top::base"] {
        let mut command = layerbench();
        command.args(["mount", "--lower", lower, "--upper", "up", "mnt"]).current_dir(folder.path());
        let (code, _, err) = output(&mut command);
        assert!(code == 2 && err.contains("a layer has no name"), "{lower:?}: {err}");
    }
}
