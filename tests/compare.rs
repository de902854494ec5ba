//! `layerbench compare` on runs that nobody measured: known ratios are found, what cannot be compared is named, and the exit status is what a
//! script needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use layerbench::analysis::{Between, Difference, ResultSet, Side, between};
use layerbench::record::{Conditions, Feature, Observation, Outcome, Run, RunWriter};
use layerbench::workload::{Params, ProbeName};
use serde_json::Value;

#[path = "report/synthetic.rs"]
mod synthetic;

use synthetic::Spec;

fn spec() -> Spec {
    Spec {
        depth: vec![1, 8],
        file_size_bytes: vec![4096, 65536],
        containers: vec![1, 2],
        files: 6,
        blocks: 5,
        ..Spec::default()
    }
}

/// A folder on the checkout's own file system (not /tmp), removed at the end.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The run with every sample of a driver's metric changed.
fn changed(run: &Run, driver: &str, metric: &str, change: impl Fn(u64) -> u64) -> Run {
    let mut run = run.clone();
    for record in run.cases.iter_mut().filter(|record| record.case.driver.label == driver) {
        let Outcome::Measured { observations, .. } = &mut record.outcome else { continue };
        for observation in observations.iter_mut().filter(|o| o.metric.name == metric) {
            let samples = observation.samples.iter().map(|sample| change(*sample)).collect();
            *observation = Observation::new(observation.metric.clone(), samples);
        }
    }
    run
}

/// Writes runs into `results/`, named `a`, `b`, ... after their place.
fn write(folder: &Path, runs: &[&Run]) {
    for (run, name) in runs.iter().zip(["a", "b", "c"]) {
        let at = folder.join("results").join(name);
        fs::create_dir_all(&at).unwrap();
        let mut manifest = run.manifest.clone();
        manifest.run = name.to_owned();
        let mut writer = RunWriter::create(&at, &manifest).unwrap();
        for case in &run.cases {
            writer.append(case).unwrap();
        }
    }
}

fn compare(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
    let Output { status, stdout, stderr } = command.arg("compare").args(args).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn compared(a: &Run, b: &Run) -> Between {
    related(a, b, None)
}

fn related(a: &Run, b: &Run, relative_to: Option<&str>) -> Between {
    let (ra, rb) = (ResultSet::of(a), ResultSet::of(b));
    let side = |run, results| Side { manifest: run, results };
    between(side(&a.manifest, &ra), side(&b.manifest, &rb), relative_to).unwrap()
}

fn mean<'a>(found: &'a Between, metric: Option<&str>, driver: Option<&str>) -> &'a layerbench::analysis::Mean {
    let mean = found.means.iter().find(|m| m.metric.as_deref() == metric && m.driver.as_deref() == driver);
    mean.unwrap_or_else(|| panic!("no mean of {metric:?} of {driver:?}"))
}

/// How many points of the axes a run has first writes of a driver at.
fn written_at(run: &Run, driver: &str, at: impl Fn(&Params) -> bool) -> usize {
    let cases = run.cases.iter().filter(|record| {
        let case = &record.case;
        case.probe == ProbeName::CopyUp && case.driver.label == driver && at(&case.params)
    });
    cases.map(|record| record.case.params).collect::<BTreeSet<Params>>().len()
}

#[test]
fn ratios_and_their_means_are_what_was_made_of_the_samples() {
    let a = synthetic::run(&spec());
    // Twice as long: every quantile of every resampling is exactly twice as large.
    let b = changed(&a, "overlay2", "first_write_ns", |sample| 2 * sample);
    let found = compared(&a, &b);
    let writes = found.ratios.iter().filter(|r| r.metric == "first_write_ns");
    for ratio in writes {
        let expected = if ratio.key.driver == "overlay2" { 2.0 } else { 1.0 };
        assert_eq!(ratio.comparison.ratio, expected, "{}", ratio.key);
        let interval = ratio.comparison.interval.unwrap();
        assert!(interval.contains(expected) && interval.low < interval.high, "{}: {interval:?}", ratio.key);
        assert_eq!(ratio.comparison.difference.is_found(), expected == 2.0, "{}: {interval:?}", ratio.key);
    }
    // 4 drivers measured at the same points; the mean over drivers is the fourth root of 2.
    let n = written_at(&a, "overlay2", |_| true);
    assert!(n >= 4);
    let of = |driver| mean(&found, Some("first_write_ns"), driver);
    assert_eq!((of(Some("overlay2")).ratios, of(None).ratios, of(None).left_out), (n, 4 * n, 0));
    assert!((of(Some("overlay2")).mean.unwrap() - 2.0).abs() < 1e-9);
    assert!((of(None).mean.unwrap() - 2f64.powf(0.25)).abs() < 1e-9);
    assert!((of(Some("bind")).mean.unwrap() - 1.0).abs() < 1e-9);
    let (one, all) = (of(Some("overlay2")).repeated, of(None).repeated);
    assert_eq!((one.intervals, one.include_one, one.stated, one.inside), (n, 0, n, 0));
    assert_eq!((all.intervals, all.include_one, all.stated, all.inside), (4 * n, 3 * n, 4 * n, 3 * n));
    // Differences first, the largest first.
    let (first, rest) = found.ratios.split_at(n);
    assert!(first.iter().all(|r| r.key.driver == "overlay2" && r.comparison.difference == Difference::Higher));
    assert!(rest.iter().all(|r| !r.comparison.difference.is_found()));
    assert!(found.changes.is_empty() && found.only_a.is_empty() && found.only_b.is_empty());
    // A volume writes nothing to upper: 0 over 0 is no ratio.
    assert!(!found.without_ratio.is_empty());
    assert!(
        found.without_ratio.iter().all(|(key, metric)| key.driver == "bind" && metric.starts_with("upper_")
            || metric == "checked_pages_count"
            || metric == "shared_pages_count"
            || metric == "mapped_shared_pages_count"),
        "{:?}",
        found.without_ratio
    );
}

#[test]
fn a_faster_machine_is_no_difference_between_drivers() {
    let a = synthetic::run(&spec());
    // Everything takes four times as long, the twin too, and fuse-union twice that.
    let labels: BTreeSet<&str> = a.cases.iter().map(|record| record.case.driver.label.as_str()).collect();
    let b = labels.iter().fold(a.clone(), |run, driver| changed(&run, driver, "first_write_ns", |sample| 4 * sample));
    let b = changed(&b, "fuse-union", "first_write_ns", |sample| 2 * sample);
    let found = related(&a, &b, Some("overlay2"));
    let writes: Vec<_> = found.ratios.iter().filter(|ratio| ratio.metric == "first_write_ns").collect();
    let points = written_at(&a, "overlay2", |_| true);
    assert_eq!(writes.len(), 3 * points, "all but overlay2's own");
    for ratio in writes {
        let expected = if ratio.key.driver == "fuse-union" { 2.0 } else { 1.0 };
        assert!((ratio.comparison.ratio - expected).abs() < 1e-9, "{} {:?}", ratio.key, ratio.comparison);
        assert_eq!(ratio.comparison.difference.is_found(), expected > 1.0, "{} {:?}", ratio.key, ratio.comparison);
        // What is compared is what a run's own report says of two drivers.
        let results = ResultSet::of(&a);
        let median = |driver: &str| {
            let key = layerbench::analysis::GroupKey { driver: driver.to_owned(), ..ratio.key.clone() };
            let group = results.groups.iter().find(|group| group.key == key).unwrap();
            group.metric("first_write_ns").unwrap().p50()
        };
        assert!((ratio.a.value - median(&ratio.key.driver) / median("overlay2")).abs() < 1e-9);
    }
    assert_eq!(mean(&found, Some("first_write_ns"), Some("bind")).repeated.inside, points);
    assert_eq!(mean(&found, Some("first_write_ns"), Some("fuse-union")).repeated.inside, 0);
    // Bytes belong to no machine: they are compared as they are, overlay2's too.
    let bytes = changed(&a, "overlay2", "upper_bytes", |bytes| 3 * bytes);
    let found = related(&a, &bytes, Some("overlay2"));
    assert!((mean(&found, Some("upper_bytes"), Some("overlay2")).mean.unwrap() - 3.0).abs() < 1e-9);
    assert!(found.only_a.is_empty() && found.only_b.is_empty());

    let folder = scratch();
    write(folder.path(), &[&a, &b]);
    let (code, out, err) = compare(folder.path(), &["a", "b", "--relative-to", "overlay2", "--fail-above", "1.5"]);
    assert_eq!(code, 1, "{out}\n{err}");
    assert!(err.contains("first_write_ns, fuse-union: 2×") && !err.contains("volatile"), "{err}");
    assert!(out.contains("Times are divided by those of overlay2 at the same point of the same run."), "{out}");
    let (_, out, _) = compare(folder.path(), &["a", "b", "--relative-to", "overlay2", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["relative_to"], "overlay2");
    // All drivers are slower by as much, the volume too: what the run says of them is the same, and of fuse-union all the more.
    let (_, out, _) = compare(folder.path(), &["a", "a", "--json"]);
    let verdicts = &serde_json::from_str::<Value>(&out).unwrap()["verdicts"];
    assert!(verdicts["in_both"].as_u64().unwrap() > 10 && verdicts["differ"] == serde_json::json!([]), "{verdicts}");
    let (_, out, _) = compare(folder.path(), &["a", "b"]);
    assert!(out.contains("\nVerdicts: ") && out.contains(" are the same, 0 reversed"), "{out}");
}

#[test]
fn the_limit_is_for_whole_intervals_of_one_driver_or_of_all() {
    let a = synthetic::run(&spec());
    let b = changed(&a, "overlay2", "first_write_ns", |sample| 2 * sample);
    let found = compared(&a, &b);
    let above = |limit| found.above(limit).map(|m| (m.metric.clone(), m.driver.clone())).collect::<Vec<_>>();
    let overlay2 = (Some("first_write_ns".to_owned()), Some("overlay2".to_owned()));
    assert!(above(1.1).contains(&overlay2));
    assert!(above(1.1).iter().all(|(metric, _)| metric.as_deref() == Some("first_write_ns")));
    let bounds = mean(&found, Some("first_write_ns"), Some("overlay2")).interval.unwrap();
    assert!(bounds.low > 1.1 && bounds.low < 2.0, "{bounds:?}");
    // A limit inside the interval is not passed, although the mean is above it.
    assert!(above(bounds.low + 1e-9).is_empty() && 2.0 > bounds.low);
    // Bytes are no time, however many more.
    let bytes = compared(&a, &changed(&a, "overlay2", "upper_bytes", |bytes| 3 * bytes));
    assert!((mean(&bytes, Some("upper_bytes"), Some("overlay2")).mean.unwrap() - 3.0).abs() < 1e-9);
    assert_eq!(bytes.above(1.1).count(), 0);
    // One block says nothing of its own spread: nothing is above anything.
    let single = synthetic::run(&Spec { blocks: 1, ..spec() });
    let found = compared(&single, &changed(&single, "overlay2", "first_write_ns", |sample| 9 * sample));
    assert_eq!(found.above(1.1).count(), 0);
    assert_eq!(found.count(Difference::Unknown), found.ratios.len());
    assert!((mean(&found, Some("first_write_ns"), Some("overlay2")).mean.unwrap() - 9.0).abs() < 1e-9);
}

#[test]
fn what_cannot_be_compared_is_named_and_what_differs_is_marked() {
    let a = synthetic::run(&spec());
    let mut b = synthetic::run(&Spec {
        depth: vec![1, 40],
        missing: vec!["aufs".to_owned(), "fuse-union".to_owned()],
        ..spec()
    });
    b.manifest.host.kernel = "7.1.0-other".to_owned();
    b.manifest.stores[0].fs_type = "xfs".to_owned();
    for info in b.manifest.drivers.iter_mut() {
        match info.label.as_str() {
            "overlay2 volatile" => info.options.push("metacopy=on".to_owned()),
            "bind" => info.availability = Feature::available("made up 2.0"),
            _ => {}
        }
    }
    let found = compared(&a, &b);
    let changes: Vec<(&str, &str, &str)> =
        found.changes.iter().map(|c| (c.what.as_str(), c.a.as_str(), c.b.as_str())).collect();
    assert_eq!(
        changes,
        [
            ("kernel", "6.18.0-synthetic", "7.1.0-other"),
            ("file system", "ext4", "xfs"),
            ("version", "made up 1.0", "made up 2.0")
        ]
    );
    for ratio in &found.ratios {
        assert_eq!(ratio.changes, if ratio.key.driver == "bind" { vec![0, 1, 2] } else { vec![0, 1] }, "{}", ratio.key);
        assert_eq!(ratio.key.params.depth, 1);
        assert!(["bind", "overlay2"].contains(&ratio.key.driver.as_str()), "{}", ratio.key);
    }
    assert!(!found.ratios.is_empty());
    let other = &found.other_options[..];
    assert!(
        matches!(other, [o] if o.driver == "overlay2 volatile" && o.b.ends_with("volatile,metacopy=on")),
        "{other:?}"
    );
    let why = |driver: &str, metric: &str| {
        let only = found.only_a.iter().find(|only| only.driver == driver && only.metric == metric).unwrap();
        (only.points, only.why.clone())
    };
    // Every point where the driver is gone; of the other one, those of the depth that only this run has.
    let deep = |run: &Run| written_at(run, "overlay2", |params| params.depth > 1);
    let (points, reason) = why("fuse-union", "first_write_ns");
    assert!(
        points == written_at(&a, "fuse-union", |_| true) && reason.contains("/proc/filesystems"),
        "{points} {reason}"
    );
    assert_eq!(why("overlay2", "first_write_ns"), (deep(&a), "not asked for, or not measured".to_owned()));
    assert!(
        found
            .only_b
            .iter()
            .any(|only| only.driver == "overlay2" && only.metric == "first_write_ns" && only.points == deep(&b))
    );

    let folder = scratch();
    write(folder.path(), &[&a, &b]);
    let (code, out, err) = compare(folder.path(), &["a", "b"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for words in [
        "[1] kernel: 6.18.0-synthetic -> 7.1.0-other",
        "[2] store default, file system: ext4 -> xfs",
        "[3] bind, version: made up 1.0 -> made up 2.0",
        "overlay2 volatile: overlay2 with volatile -> overlay2 with volatile,metacopy=on",
        "Only in A: ",
        "Only in B: ",
        "fuse-union was not there",
        "[1,2]",
    ] {
        assert!(out.contains(words), "no {words:?} in\n{out}");
    }
}

#[test]
fn twins_are_no_driver_and_their_spread_is_no_difference() {
    let a = synthetic::run(&spec());
    // A twin that differs by 3: then a factor of 2 between the runs is nothing.
    let with_twin = |run: &Run, factor: u64| {
        let mut run = run.clone();
        let twins: Vec<_> = run
            .cases
            .iter()
            .filter(|record| record.case.driver.label == "overlay2")
            .map(|record| {
                let mut record = record.clone();
                record.case.driver = record.case.driver.twin();
                record.case.id.push_str("/twin");
                record
            })
            .collect();
        run.cases.extend(twins);
        changed(&run, "overlay2 (twin)", "first_write_ns", |sample| factor * sample)
    };
    let slower = changed(&a, "overlay2", "first_write_ns", |sample| 2 * sample);
    for (found, expected) in [
        (compared(&with_twin(&a, 3), &slower), Difference::WithinNoise),
        (compared(&a, &with_twin(&slower, 3)), Difference::WithinNoise),
        (compared(&with_twin(&a, 1), &slower), Difference::Higher),
    ] {
        let mut seen = 0;
        for ratio in &found.ratios {
            assert!(!ratio.key.driver.contains("twin"), "{}", ratio.key);
            if ratio.key.driver == "overlay2" && ratio.metric == "first_write_ns" {
                assert_eq!(ratio.comparison.difference, expected, "{:?}", ratio.comparison);
                seen += 1;
            }
        }
        assert_eq!(seen, written_at(&a, "overlay2", |_| true));
        assert!(found.only_a.is_empty() && found.only_b.is_empty());
    }
}

#[test]
fn the_exit_status_serves_a_script() {
    let folder = scratch();
    let a = synthetic::run(&spec());
    let slower = changed(&a, "overlay2", "first_write_ns", |sample| 2 * sample);
    let faster = changed(&a, "overlay2", "first_write_ns", |sample| sample / 2);
    write(folder.path(), &[&a, &slower, &faster]);
    let (code, out, err) = compare(folder.path(), &["a", "b", "--fail-above", "1.1"]);
    assert_eq!(code, 1, "{out}\n{err}");
    assert!(err.contains("above 1.10×: first_write_ns, overlay2: 2×"), "{err}");
    assert!(!err.contains("bind") && !err.contains("lookup"), "{err}");
    for args in
        [["a", "b", "--fail-above", "2.5"], ["a", "c", "--fail-above", "1.1"], ["a", "a", "--fail-above", "1.1"]]
    {
        let (code, out, err) = compare(folder.path(), &args);
        assert_eq!(code, 0, "{args:?}: {out}");
        assert!(err.starts_with("nothing is above ") && err.lines().count() == 1, "{err}");
    }
    // Without a limit it is a table and nothing more.
    let (code, out, err) = compare(folder.path(), &["a", "b"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("more: --all shows them") && out.contains("How far B repeats A"), "{out}");
    let line = out.lines().find(|line| line.trim_start().starts_with("2×") && line.contains("depth=")).unwrap();
    assert!(line.contains("first_write_ns") && line.contains("overlay2") && line.contains("size="), "{line}");
    let (_, all, _) = compare(folder.path(), &["a", "b", "--all"]);
    assert!(!all.contains("--all shows") && all.lines().count() > out.lines().count());
    // A folder is as good as a name, and a damaged line is said here too.
    let cases = folder.path().join("results/b/cases.jsonl");
    let text = fs::read_to_string(&cases).unwrap();
    fs::write(&cases, text.replacen("{\"id\"", "{id", 1)).unwrap();
    let (code, _, err) = compare(folder.path(), &["results/a", "b"]);
    assert!(code == 0 && err.contains("cases.jsonl:1: damaged, left out: "), "{code} {err}");
}

#[test]
fn how_far_a_run_came_and_how_quiet_it_was_is_said() {
    let scratch = scratch();
    let a = synthetic::run(&spec());
    let measured = a.last_attempts().filter(|record| matches!(record.outcome, Outcome::Measured { .. })).count();
    let mut b = a.clone();
    let mut those = b.cases.iter_mut().filter(|record| matches!(record.outcome, Outcome::Measured { .. }));
    let noisy = those.next().unwrap();
    noisy.conditions = Some(Conditions { disturbed: vec!["steal".to_owned()], ..Conditions::default() });
    those.next().unwrap().outcome = Outcome::Failed { error: "verify: another content".to_owned() };
    b.cases.pop();
    write(scratch.path(), &[&a, &b]);
    let (_, text, _) = compare(scratch.path(), &["a", "b"]);
    let line = |side: &str| text.lines().find(|line| line.starts_with(side)).unwrap().to_owned();
    assert!(line("A  ").ends_with(&format!(": {measured} cases measured, 0 of them disturbed")), "{text}");
    let (left, planned) = (b.cases.len(), b.manifest.planned_cases);
    let end = format!("1 of them disturbed, 1 failed, interrupted: {left} of {planned} executed");
    assert!(line("B  ").ends_with(&end), "{text}");
    let (_, json, _) = compare(scratch.path(), &["a", "b", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["b"]["cases"]["disturbed"], 1);
    assert_eq!((&json["a"]["cases"]["interrupted"], &json["b"]["cases"]["interrupted"]), (&false.into(), &true.into()));
}

#[test]
fn everything_is_in_the_json() {
    let folder = scratch();
    let a = synthetic::run(&spec());
    let mut b = changed(&a, "overlay2", "first_write_ns", |sample| 2 * sample);
    b.manifest.host.kernel = "7.1.0-other".to_owned();
    write(folder.path(), &[&a, &b]);
    let (code, out, err) = compare(folder.path(), &["a", "b", "--json", "--fail-above", "1.1"]);
    assert_eq!(code, 1, "{err}");
    let value: Value = serde_json::from_str(&out).unwrap();
    let found = compared(&a, &b);
    let ratios = value["ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), found.ratios.len());
    let first = &ratios[0];
    assert_eq!((first["ratio"].as_f64(), first["driver"].as_str()), (Some(2.0), Some("overlay2")));
    assert!(first["difference"] == true && first["verdict"] == "higher" && first["changes"][0] == 0, "{first}");
    assert!(first["interval"]["low"].as_f64() < first["interval"]["high"].as_f64());
    assert_eq!(first["params"]["depth"].as_u64(), Some(u64::from(found.ratios[0].key.params.depth)));
    assert_eq!(value["means"].as_array().map(Vec::len), Some(found.means.len()));
    let above = value["above"].as_array().unwrap();
    assert!(above.iter().any(|mean| mean["driver"] == "overlay2" && mean["metric"] == "first_write_ns"), "{above:?}");
    assert_eq!(value["changes"][0]["what"], "kernel");
    assert_eq!(value["repeated"]["include_one"].as_u64(), Some(found.repeated.include_one as u64));
    assert_eq!((value["a"]["run"].as_str(), value["b"]["run"].as_str()), (Some("a"), Some("b")));
}

#[test]
fn wrong_arguments_and_unfit_runs_are_refused() {
    let folder = scratch();
    let a = synthetic::run(&spec());
    let smoke = synthetic::run(&Spec { smoke: true, ..spec() });
    let elsewhere = synthetic::run(&Spec { stores: vec!["ssd".to_owned()], ..spec() });
    write(folder.path(), &[&a, &smoke, &elsewhere]);
    for (args, words) in [
        (&["a"][..], "RUN_B"),
        (&[], "RUN_A"),
        (&["a", "nowhere"], "no run nowhere"),
        (&["nowhere", "a"], "no run nowhere"),
        (&["a", "b"], "run b is a smoke run"),
        (&["b", "a"], "run b is a smoke run"),
        (&["a", "c"], "have no figure in common"),
        (&["a", "a", "--fail-above", "fast"], "not a ratio"),
        (&["a", "a", "--fail-above", "0"], "not a ratio"),
        (&["a", "a", "--fail-above", "nan"], "not a ratio"),
        (&["a", "a", "--fail-above", "inf"], "not a ratio"),
        (&["a", "a", "--fail-above"], "--fail-above"),
        (&["a", "a", "a"], "unexpected argument"),
        (&["a", "a", "--relative-to", "overlay"], "no driver of run a is labelled overlay; there are bind, overlay2, "),
    ] {
        let (code, _, err) = compare(folder.path(), args);
        assert!(code == 2 && err.contains(words), "{args:?}: {code} {err}");
    }
    let (_, out, _) = compare(folder.path(), &["a", "c"]);
    assert!(out.contains("no store is labelled ssd") && out.contains("no store is labelled default"), "{out}");
}
