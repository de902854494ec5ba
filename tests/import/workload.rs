//! A workload on an imported image: its real files, chosen by size and layer.

use std::fs;
use std::path::PathBuf;

use layerbench::record::{Outcome, Run, list_runs};
use layerbench::stack::Selection;

use super::round_trip::open;
use super::writer::{E, Packed, dir, docker_files, file, hard, layer, symlink, write_archive};
use super::{Bed, is_root, text};

const WORKLOAD: &str = r#"
title = "an image"
why = "its own files"
[[driver]]
use = "bind"
[[driver]]
use = "overlay2"
[[driver]]
use = "fuse-union"
[[measure]]
probe = "copy_up"
why = "first writes"
stack = "app:1"
file_size = "4 KiB"
target_layer = 2
files = 5
[[measure]]
probe = "lookup"
why = "look-ups"
stack = "app:1"
files = 5
[[measure]]
probe = "page_cache"
why = "sharing"
stack = "app:1"
file_size = "16 KiB"
files = 4
containers = 2
[[measure]]
probe = "copy_up"
why = "of which there are none"
stack = "app:1"
file_size = "1 MiB"
files = 4
[[measure]]
probe = "copy_up"
why = "not there"
stack = "other:1"
file_size = "4 KiB"
files = 4
"#;

/// Two layers: files of 3 to 5 KiB in the base, of 16 KiB in the top layer, and some that are not for a study.
fn image(bed: &Bed) {
    let contents: Vec<(String, Vec<u8>)> =
        (0..12).map(|n| (format!("usr/lib/d{}/base-{n:02}", n % 3), vec![n; 3000 + 150 * usize::from(n)])).collect();
    let mut base = vec![dir("usr/", 0o755), dir("usr/lib/", 0o755), dir("etc/", 0o755)];
    base.extend(contents.iter().map(|(name, content)| file(name, content)));
    let plain = vec![1; 4096];
    base.push(E { mode: 0o4755, ..file("usr/lib/set-id", &plain) });
    base.extend([file("usr/lib/two-names", &plain), hard("usr/lib/second-name", "usr/lib/two-names")]);
    base.extend([file("usr/lib/gone", &plain), file("etc/elsewhere", &plain), file("at-the-root", &plain)]);
    let tops: Vec<(String, Vec<u8>)> = (0..6).map(|n| (format!("usr/top-{n}"), vec![n; 16 << 10])).collect();
    let mut top = vec![dir("usr/", 0o755), dir("usr/lib/", 0o755), file("usr/lib/.wh.gone", b"")];
    top.extend(tops.iter().map(|(name, content)| file(name, content)));
    let layers = [(layer(&base), Packed::Gzip), (layer(&top), Packed::Zstd)];
    write_archive(&bed.at("image.tar"), &docker_files(&["app:1"], &layers), Packed::Plain);
    bed.prints(&["stack", "import", "image.tar"]);
}

#[test]
fn files_are_chosen_by_size_and_layer_and_the_same_for_the_same_seed() {
    let bed = Bed::new();
    image(&bed);
    let stack = open(&bed, "app:1");
    let selection = Selection { seed: 1, files: 5, size_bytes: Some(4096), layer: Some(2) };
    let targets = stack.select(&selection);
    assert_eq!((targets.hits.len(), targets.unseen.len()), (5, 5));
    for path in targets.hits.iter().chain(&targets.unseen) {
        let fact = stack.file(path).unwrap();
        assert!(fact.layer == 2 && (2048..=8192).contains(&fact.size_bytes), "{fact:?}");
        assert!(path.to_string_lossy().contains("/base-"), "{path:?} is not for a study");
        assert_eq!(targets.hits.contains(path), !targets.unseen.contains(path));
    }
    assert_eq!(targets.whiteouts, [PathBuf::from("usr/lib/gone")]);
    assert!(targets.misses.len() == 5 && targets.misses.iter().all(|path| stack.file(path).is_none()));
    assert_eq!(stack.select(&selection), targets);
    assert_ne!(stack.select(&Selection { seed: 2, ..selection }).hits, targets.hits);
    let top = stack.select(&Selection { size_bytes: None, layer: Some(1), ..selection });
    assert!(top.hits.iter().all(|path| path.starts_with("usr") && stack.file(path).unwrap().size_bytes == 16 << 10));
    assert_eq!(stack.select(&Selection { layer: Some(3), ..selection }).hits, Vec::<PathBuf>::new());
}

#[test]
fn workloads_run_on_an_image_and_their_cases_say_so() {
    let bed = Bed::new();
    image(&bed);
    fs::write(bed.at("image.toml"), WORKLOAD).unwrap();
    bed.prints(&["run", "image.toml"]);
    let folder = list_runs(&bed.at("results")).unwrap().pop().unwrap();
    let run = Run::load(&folder).unwrap();
    let mut measured = 0;
    for case in run.cases.iter().filter(|case| !case.superseded) {
        let id = &case.case.id;
        match &case.outcome {
            Outcome::Measured { notes, observations, .. } => {
                measured += 1;
                assert!(id.contains("depth=2") && id.contains("stack=app:1"), "{id}");
                assert!(notes.iter().any(|note| note.contains("files of the image, of ")), "{notes:?}");
                assert!(observations.iter().any(|o| o.samples.len() > 1), "{id}");
            }
            Outcome::Skipped { reason, .. } => {
                let expected = ["has no image other:1", "has 0 such files"].iter().any(|part| reason.contains(part));
                let missing_driver = !id.contains("/bind/") && !expected;
                assert!(expected || missing_driver, "{id}: {reason}");
            }
            Outcome::Failed { error } => panic!("{id}: {error}"),
        }
    }
    // Three probes, the control at least.
    assert!(measured >= 3, "{measured} cases were measured");
    bed.prints(&["report", folder.to_str().unwrap(), "--out", "reports"]);
    let run_name = folder.file_name().unwrap();
    let page = fs::read_to_string(bed.at("reports").join(run_name).join("index.md")).unwrap();
    for words in
        ["## Images", "### app:1, 2 layers", "| first write, files of about 4 KiB, layer 2 | **", "| look-up, hit | **"]
    {
        assert!(page.contains(words), "{words:?} is not in {page}");
    }
    // The image is as it was.
    assert!(bed.prints(&["stack", "verify", "app:1"]).contains("as imported"));
}

/// Two layers: the machine's own `true` and `false` with the libraries that they load, and in the top layer a link to one of them.
fn programs(bed: &Bed) -> bool {
    let listed = std::process::Command::new("ldd").arg("/bin/true").output();
    let Ok(listed) = listed else {
        eprintln!("skipped: no ldd to say which libraries /bin/true loads");
        return false;
    };
    let libraries = text(&listed.stdout);
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    let contents: Vec<(String, Vec<u8>)> = libraries
        .chain(["/usr/bin/true", "/usr/bin/false"].map(str::to_owned))
        .map(|path| (path.trim_start_matches('/').to_owned(), fs::read(&path).unwrap()))
        .collect();
    let executable = |(name, content)| E { mode: 0o755, ..file(name, content) };
    let base: Vec<E> = contents.iter().map(|(name, content)| executable((name, content))).collect();
    let top = [
        symlink("opt/sure", "../usr/./bin/links/../true"),
        dir("usr/bin/links/", 0o755),
        symlink("opt/round", "round"),
    ];
    let layers = [(layer(&base), Packed::Gzip), (layer(&top), Packed::Gzip)];
    write_archive(&bed.at("programs.tar"), &docker_files(&["programs:1"], &layers), Packed::Plain);
    bed.prints(&["stack", "import", "programs.tar"]);
    true
}

#[test]
fn a_command_is_found_as_a_container_finds_it() {
    let bed = Bed::new();
    if !programs(&bed) {
        return;
    }
    let stack = open(&bed, "programs:1");
    let found = |name: &str| stack.command(name, "/nowhere:/usr/bin:/opt");
    let pair = |called: &str, file: &str| Some((PathBuf::from(called), PathBuf::from(file)));
    assert_eq!(found("true"), pair("/usr/bin/true", "usr/bin/true"));
    assert_eq!(found("sure"), pair("/opt/sure", "usr/bin/true"));
    assert_eq!(found("/opt/sure"), pair("/opt/sure", "usr/bin/true"));
    for name in ["nothing", "/nothing", "round", "/usr/bin", "links", "/usr/bin/true/more"] {
        assert_eq!(found(name), None, "{name}");
    }
}

#[test]
fn an_image_is_started_with_its_own_program() {
    let bed = Bed::new();
    if !programs(&bed) {
        return;
    }
    let drivers = "[[driver]]\nuse = 'bind'\n[[driver]]\nuse = 'overlay2'\n[[driver]]\nuse = 'fuse-union'\n";
    let measure = |program: &str, caches: &str| {
        format!("[[measure]]\nprobe = 'start'\nwhy = 'w'\nstack = 'programs:1'\nprogram = '{program}'\n{caches}\n")
    };
    let caches = if is_root() { "cache = ['fresh', 'cold']" } else { "" };
    let measures = [
        measure("/opt/sure  --version", &format!("containers = 2\n{caches}")),
        measure("false", ""),
        measure("nothing", ""),
    ];
    fs::write(bed.at("start.toml"), format!("title = 't'\nwhy = 'w'\n{drivers}{}", measures.concat())).unwrap();
    // A program that fails is a failed case, and the run says so.
    assert_eq!(bed.layerbench(&["run", "start.toml"]).status.code(), Some(1));
    let folder = list_runs(&bed.at("results")).unwrap().pop().unwrap();
    let run = Run::load(&folder).unwrap();
    let mut measured = 0;
    for case in run.last_attempts() {
        let id = &case.case.id;
        let program = case.case.params.program.unwrap().as_str();
        match (program, &case.outcome) {
            ("/opt/sure --version", Outcome::Measured { notes, observations, .. }) => {
                measured += 1;
                assert!(id.contains("program=%opt%sure --version"), "{id}");
                assert!(notes.iter().any(|note| note == "/opt/sure of the image is usr/bin/true"), "{notes:?}");
                let samples = |name: &str| &observations.iter().find(|o| o.metric.name == name).unwrap().samples;
                assert!(samples("start_ns").len() == 2 && samples("exec_ns").iter().all(|ns| *ns > 0), "{id}");
                // Nothing but the root of upper: the rehearsal was elsewhere.
                assert!(samples("upper_inodes_count").iter().all(|inodes| *inodes <= 1), "{id}: {observations:?}");
            }
            ("false", Outcome::Failed { error }) => {
                assert!(error.contains("/usr/bin/false ended with exit status: 1"), "{error}");
            }
            ("nothing", Outcome::Skipped { reason, .. }) => assert_eq!(reason, "the image has no program nothing"),
            (_, Outcome::Skipped { reason, .. }) => eprintln!("skipped: {id}: {reason}"),
            (_, outcome) => panic!("{id}: {outcome:?}"),
        }
    }
    assert!(measured > 0);
    bed.prints(&["report", folder.to_str().unwrap(), "--out", "reports"]);
    let page = fs::read_to_string(bed.at("reports").join(folder.file_name().unwrap()).join("index.md")).unwrap();
    assert!(page.contains("| start, /opt/sure --version, 2 containers | **"), "{page}");
}

#[test]
fn what_an_image_has_by_itself_cannot_be_asked_for() {
    let bed = Bed::new();
    for (line, reason) in [
        ("depth = 3", "has its own depth"),
        ("xattrs = 3", "has its own xattrs"),
        ("target_layer = \"bottom\"", "numbers from 1"),
        ("program = \"true\"", "no axis `program`"),
    ] {
        let text_of = WORKLOAD.replacen("target_layer = 2", line, 1);
        fs::write(bed.at("image.toml"), text_of).unwrap();
        let output = bed.layerbench(&["run", "image.toml", "--dry-run"]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(reason) && said.contains("image.toml:"), "{said}");
    }
    let head = "title = 't'\nwhy = 'w'\n[[driver]]\nuse = 'bind'\n[[measure]]\nprobe = 'start'\nwhy = 'w'\n";
    for (lines, reason) in [
        ("stack = 'app:1'", "needs the key `program`"),
        ("stack = 'app:1'\nprogram = ' '", "program is empty"),
        ("stack = 'app:1'\nprogram = 'true'\nfiles = 1", "has its own files"),
        ("stack = 'app:1'\nprogram = 'true'\ncache = 'warm'", "unknown cache \"warm\""),
        ("depth = 1\nfile_size = '4 KiB'\nfiles = 1\nprogram = 'true'", "`program` goes with `stack`"),
    ] {
        fs::write(bed.at("start.toml"), format!("{head}{lines}\n")).unwrap();
        let output = bed.layerbench(&["run", "start.toml", "--dry-run"]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(reason) && said.contains("start.toml:"), "{said}");
    }
}
