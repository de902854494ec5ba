//! Workload files: what is accepted, what is refused and with which words, what the shipped ones expand to.

#[path = "workload/reference.rs"]
mod reference;

use std::collections::HashSet;
use std::path::Path;

use layerbench::workload::{
    CacheState, Case, DriverWords, Job, ProbeName, Scale, TargetLayer, Workload, expand, load, parse, shuffle,
};

/// Two drivers with one option: the parser knows drivers only by this.
struct Words;

impl DriverWords for Words {
    fn names(&self) -> Vec<&'static str> {
        vec!["bind", "overlay2"]
    }
    fn check_options(&self, driver: &str, options: &[String]) -> Result<(), String> {
        match options.iter().find(|option| *option != "volatile") {
            Some(option) => Err(format!("{driver} has no option {option:?}")),
            None => Ok(()),
        }
    }
}

const GOOD: &str = r#"title = "t"
why = "w"
[[driver]]
use = "bind"
[[driver]]
use = "overlay2"
options = ["volatile"]
[[measure]]
probe = "copy_up"
why = "w"
depth = { smoke = 1, real = [1, 8] }
file_size = ["4 KiB", "1 MiB"]
files = { smoke = 2, real = 100 }
bytes_max = "8 MiB"
blocks = { smoke = 1, real = 2 }
target_layer = ["top", "bottom"]
"#;

fn parse_real(text: &str) -> Result<Workload, String> {
    parse("w.toml", "w", text, Scale::Real, &Words).map_err(|e| e.to_string())
}

fn refused(text: &str) -> String {
    parse_real(text).expect_err("accepted")
}

#[test]
fn a_good_file_resolves_to_the_values_of_its_scale() {
    let real = parse_real(GOOD).unwrap();
    assert_eq!(real.drivers.iter().map(|d| d.label.as_str()).collect::<Vec<_>>(), ["bind", "overlay2 volatile"]);
    assert_eq!(real.measures[0].depth, [1, 8]);
    assert_eq!(real.measures[0].file_size_bytes, [4096, 1 << 20]);
    assert_eq!(real.measures[0].target_layer, [TargetLayer::Top, TargetLayer::Bottom]);
    assert_eq!(real.measures[0].cache, [CacheState::Fresh]);
    let smoke = parse("w.toml", "w", GOOD, Scale::Smoke, &Words).unwrap();
    assert_eq!((smoke.measures[0].depth.as_slice(), smoke.measures[0].files), ([1].as_slice(), 2));
}

#[test]
fn expansion_is_the_product_of_the_axes_with_files_bounded_by_bytes() {
    let cases = expand(&parse_real(GOOD).unwrap(), &["ssd".into(), "hdd".into()]);
    // Depth 1 has one layer, so top and bottom are one point there: (1 + 2) points x 2 sizes x 2 blocks x 2 stores x 2 drivers.
    assert_eq!(cases.len(), 3 * 2 * 2 * 2 * 2);
    let ids: HashSet<&str> = cases.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "ids are unique");
    for case in &cases {
        let expected = if case.params.file_size_bytes == 4096 { 100 } else { 8 };
        assert_eq!(case.params.files, expected, "{}", case.id);
    }
}

#[test]
fn what_two_measures_have_in_common_is_measured_once() {
    let (_, measure) = GOOD.split_once("[[measure]]").unwrap();
    let more = measure.replace("real = [1, 8] }", "real = [8, 9] }").replace("real = 2 }", "real = 3 }");
    let cases = expand(&parse_real(&format!("{GOOD}[[measure]]{more}")).unwrap(), &["s".into()]);
    // Depth 1 has one layer that is both top and bottom. Of depth 8, which both have, the second measure has a block of its own.
    assert_eq!(cases.len(), (3 * 2 + 2 + 2 * 3) * 2 * 2);
    let ids: HashSet<&str> = cases.iter().map(|c| c.id.as_str()).collect();
    assert_eq!(ids.len(), cases.len(), "ids are unique");
}

#[test]
fn the_order_is_interleaved_whole_rounds_first_and_repeatable() {
    let plan = |seed| {
        let mut cases = expand(&parse_real(GOOD).unwrap(), &["a".into()]);
        shuffle(&mut cases, seed);
        cases
    };
    let cases = plan(1);
    assert!(cases.is_sorted_by_key(|c| c.block));
    assert_eq!(plan(1), cases);
    assert_ne!(plan(2), cases);
    // Not one driver after the other.
    let switches = cases.windows(2).filter(|w| w[0].driver != w[1].driver).count();
    assert!(switches > 2, "{switches} switches between drivers in {} cases", cases.len());
}

#[test]
fn refusals_name_file_line_and_the_nearest_word() {
    for (from, to, line, words) in [
        ("use = \"overlay2\"", "use = \"overlay\"", 6, "did you mean \"overlay2\"?"),
        ("options = [\"volatile\"]", "options = [\"volatil\"]", 7, "no option \"volatil\""),
        ("probe = \"copy_up\"", "probe = \"copyup\"", 9, "did you mean \"copy_up\"?"),
        ("probe = \"copy_up\"", "probe = \"copy-up\"", 9, "did you mean \"copy_up\"?"),
        ("\nfiles =", "\nfile =", 13, "did you mean \"files\"?"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = { smoke = 1, reel = [1, 8] }", 11, "did you mean \"real\"?"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = { real = [1, 8] }", 11, "needs the key `smoke`"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = [0]", 11, "depth 0 cannot be run: it goes from 1 to 500"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = [501]", 11, "depth 501 cannot be run"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = \"8\"", 11, "must be a whole number, not a string"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = [8, 8]", 11, "same value twice"),
        ("depth = { smoke = 1, real = [1, 8] }", "depth = []", 11, "has no value"),
        ("\"4 KiB\"", "\"4 KB\"", 12, "did you mean \"4 KiB\"?"),
        ("\"4 KiB\"", "4096", 12, "must be a size such as \"4 KiB\", not an integer"),
        ("\"top\"", "\"upmost\"", 16, "unknown target_layer"),
        ("\"top\"", "4", 16, "depth 1 has layers 1 (top) to 1 (bottom)"),
        ("blocks = { smoke = 1, real = 2 }", "containers = 2", 15, "copy_up has no axis `containers`"),
        ("blocks = { smoke = 1, real = 2 }", "cache = \"hot\"", 15, "unknown cache \"hot\""),
        ("title = \"t\"", "title = 3", 1, "title must be a string, not an integer"),
        ("title = \"t\"", "title = \"t", 1, "w.toml:1: "),
        ("use = \"bind\"", "use = \"bind\"\nlabel = \"overlay2 volatile (twin)\"", 5, "give it another"),
        ("use = \"bind\"", "use = \"bind\"\nlabel = \"a\\nb\"", 5, "must be one line"),
        ("use = \"bind\"", "use = \"overlay2\"\noptions = [\"volatile\"]", 6, "two drivers are labelled"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let message = refused(&GOOD.replacen(from, to, 1));
        assert!(message.starts_with(&format!("w.toml:{line}: ")), "line of {to:?}: {message}");
        assert!(message.contains(words), "{to:?}: {message}");
    }
}

const JOBS: &str = r#"title = "t"
why = "w"
[[driver]]
use = "bind"
[[measure]]
probe = "jobs"
why = "w"
depth = 8
file_size = "4 KiB"
files = { smoke = 20, real = 2000 }
job = ["tar", "chown"]
blocks = 3
"#;

#[test]
fn jobs_are_an_axis_of_their_own_probe_and_part_of_the_case() {
    let cases = expand(&parse_real(JOBS).unwrap(), &["s".into()]);
    assert_eq!(cases.len(), 2 * 3);
    assert!(cases[0].id.ends_with(",containers=1,job=tar/block=1"), "{}", cases[0].id);
    let jobs: HashSet<Option<Job>> = cases.iter().map(|case| case.params.job).collect();
    assert_eq!(jobs, [Some(Job::Tar), Some(Job::Chown)].into());
    assert!(cases.iter().all(|case| case.params.plain().job.is_none() && case.params.files == 2000));
    for (from, to, line, words) in [
        ("\"chown\"", "\"chwon\"", 11, "unknown job \"chwon\"; did you mean \"chown\"?"),
        ("\"chown\"", "\"tar\"", 11, "same value twice"),
        ("job = [\"tar\", \"chown\"]\n", "", 5, "needs the key `job`"),
        ("blocks = 3", "containers = 3", 12, "jobs has no axis `containers`"),
        ("blocks = 3", "trigger = \"write\"", 12, "jobs has no axis `trigger`"),
    ] {
        assert!(JOBS.contains(from), "{from}");
        let message = refused(&JOBS.replacen(from, to, 1));
        assert!(message.starts_with(&format!("w.toml:{line}: ")), "line of {to:?}: {message}");
        assert!(message.contains(words), "{to:?}: {message}");
    }
    // A record of another probe does not know the word, and one of this does.
    let text = serde_json::to_string(&cases[0]).unwrap();
    assert!(text.contains("\"job\":\"tar\""), "{text}");
    assert_eq!(serde_json::from_str::<Case>(&text).unwrap(), cases[0]);
    let other = serde_json::to_string(&expand(&parse_real(GOOD).unwrap(), &["s".into()])[0]).unwrap();
    assert!(!other.contains("job"), "{other}");
}

#[test]
fn a_wrong_smoke_value_is_refused_for_a_real_run_too() {
    assert!(refused(&GOOD.replace("files = { smoke = 2", "files = { smoke = 0")).contains("w.toml:13"));
}

#[test]
fn no_text_makes_the_parser_panic() {
    // Every prefix, and every single byte knocked out: the parser must answer, whatever it answers.
    for end in 0..GOOD.len() {
        parse_real(&GOOD[..end]).ok();
        parse_real(&format!("{}{}", &GOOD[..end], &GOOD[end + 1..])).ok();
    }
    assert!(refused("").contains("w.toml:1: a workload needs the key `title`"));
}

#[test]
fn a_missing_file_is_named() {
    let message = load(Path::new("no/such.toml"), Scale::Real, &Words).unwrap_err().to_string();
    assert!(message.contains("no/such.toml") && message.contains("No such file"), "{message}");
}

#[test]
fn what_nobody_could_measure_is_refused_before_it_is_listed() {
    let all: Vec<String> = (1..=500).map(|n| n.to_string()).collect();
    let depths = format!("depth = [{}]\nxattrs = [0, 1, 2, 3]\ndirectories = [0, 1, 2, 3]\n", all.join(", "));
    let many = GOOD.replace("depth = { smoke = 1, real = [1, 8] }\n", &depths).replace("real = 2 }", "real = 1000 }");
    let message = refused(&many.replace("target_layer = [\"top\", \"bottom\"]\n", ""));
    assert_eq!(message, "w.toml:8: a measure of 32000000 cases, blocks and drivers included: at most 1000000");
    let message = load(Path::new("/dev/zero"), Scale::Real, &Words).unwrap_err().to_string();
    assert_eq!(message, "/dev/zero:1: longer than 1 MiB, and so no workload");
}

/// Writes to files that are in upper already.
const WRITES: &str = r#"title = "t"
why = "w"
[[driver]]
use = "bind"
[[measure]]
probe = "write"
why = "w"
depth = 2
file_size = ["4 KiB", "4 MiB"]
files = 4
durability = ["default", "fsync"]
"#;

#[test]
fn writes_in_place_are_made_with_warm_caches_and_durable_if_asked() {
    let cases = expand(&parse_real(WRITES).unwrap(), &["s".into()]);
    assert_eq!(cases.len(), 2 * 2);
    assert!(cases.iter().all(|case| case.probe == ProbeName::Write && case.params.cache == CacheState::Warm));
    assert_eq!(cases.iter().filter(|case| case.id.contains("durability=fsync")).count(), 2);
    for more in ["cache = \"cold\"", "trigger = \"append\"", "processes = 2", "stack = \"debian:12\""] {
        let message = refused(&WRITES.replace("files = 4", &format!("files = 4\n{more}")));
        let word = more.split(" =").next().unwrap_or_default();
        assert!(message.contains(&format!("the probe write has no axis `{word}`")), "{more}: {message}");
    }
    let message = refused(&WRITES.replace("[\"4 KiB\", \"4 MiB\"]", "\"4095 B\""));
    assert!(message.contains("file_size \"4095 B\" cannot be run: at least 4 KiB"), "{message}");
}

const READS: &str = r#"title = "t"
why = "w"
[[driver]]
use = "bind"
[[measure]]
probe = "read"
why = "w"
depth = 2
file_size = ["4 KiB", "4 MiB"]
files = 400
bytes_max = "40 MiB"
cache = ["fresh", "warm", "cold"]
processes = [1, 10]
"#;

#[test]
fn reads_have_processes_and_folders_and_nothing_that_writes_has() {
    let cases = expand(&parse_real(READS).unwrap(), &["s".into()]);
    assert_eq!(cases.len(), 2 * 3 * 2);
    assert!(cases.iter().all(|case| case.probe == ProbeName::Read && case.id.starts_with("w/read/bind/s/depth=2,")));
    assert!(
        cases.iter().any(|case| case.id.ends_with("size=4MiB,files=10,cache=cold,containers=1,processes=10/block=1"))
    );
    let line = READS.lines().position(|line| line.starts_with("processes")).unwrap() + 1;
    for (more, words) in [
        ("trigger = \"append\"", "the probe read has no axis `trigger` (its axes: stack, depth, file_size, files,"),
        ("durability = \"fsync\"", "the probe read has no axis `durability`"),
        ("containers = 2", "the probe read has no axis `containers`"),
        ("xattrs = 2", "the probe read has no axis `xattrs`"),
        ("processes = [1, 1]", "processes has the same value twice"),
        ("processes = 0", "processes 0 cannot be run: it goes from 1 to 1000"),
        ("process = 1", "did you mean \"processes\"?"),
        // `bytes_max` leaves ten of the large files.
        (
            "processes = [1, 11]",
            "11 processes cannot each have a file of their own of 10: raise `files`, or `bytes_max`",
        ),
    ] {
        let message = refused(&READS.replace("processes = [1, 10]", more));
        assert!(message.starts_with(&format!("w.toml:{line}: ")), "line of {more:?}: {message}");
        assert!(message.contains(words), "{more:?}: {message}");
    }
    let more = "trigger = \"append\"\nprocesses = [1, 11]\nbytes_max";
    let appends =
        READS.replace("\"read\"", "\"copy_up\"").replace("processes = [1, 10]\n", "").replace("bytes_max", more);
    assert!(refused(&appends).contains("11 processes cannot each have a file"), "writes are refused alike");
}

/// The drivers of the program itself.
#[test]
fn the_shipped_workloads_parse_and_cover_what_they_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let workload = load(&path, Scale::Real, &layerbench::driver::Registry).unwrap();
        let smoke = load(&path, Scale::Smoke, &layerbench::driver::Registry).unwrap();
        assert!(expand(&smoke, &["s".into()]).len() < expand(&workload, &["s".into()]).len());
        names.push(workload.name.clone());
        if ["quick", "study", "aufs"].contains(&&*workload.name) {
            let cases: Vec<Case> = expand(&workload, &["s".into()]);
            // Jobs take long: they are for the study alone. Reads of whole files stand beside appends, in a study of their own.
            let probes = ProbeName::ALL.into_iter().filter(|probe| match probe {
                ProbeName::Jobs => workload.name == "study",
                ProbeName::Read => false,
                _ => true,
            });
            for probe in probes {
                assert!(cases.iter().any(|case| case.probe == probe), "{} measures {}", workload.name, probe.as_str());
            }
        }
    }
    names.sort();
    assert_eq!(
        names,
        [
            "aufs",
            "copy-up",
            "debian",
            "file-systems",
            "io_uring",
            "jobs",
            "kernels",
            "lookup",
            "media",
            "page-cache",
            "parallel",
            "parents",
            "quick",
            "rootless",
            "start",
            "study",
            "triggers",
            "union"
        ]
    );
}
