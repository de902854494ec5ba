//! Names: look-ups, listings, mounting, and two jobs over many files.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use layerbench::stack::{LayerForm, LayerStack, StackDefinition};
use layerbench::{probe, sys};

use crate::common::{Container, names, open_dir};
use crate::mirror;
use crate::null::{self, Mounted};
use crate::table::{Table, Turns, Wanted, in_rotation, in_turns, microseconds};
use crate::{Bench, Side};

const SIZE: u64 = 4 << 10;

pub fn stack(bench: &Bench, depth: u32, files: u32) -> LayerStack {
    LayerStack::ensure(&bench.scratch.join("store"), &StackDefinition::study(depth, depth, files, SIZE), 1, &|_| ())
        .unwrap()
}

/// Looks each name up once. Median in microseconds.
fn ask(folder: BorrowedFd<'_>, names: &[CString], present: bool) -> f64 {
    let mut samples = Vec::with_capacity(names.len());
    for name in names {
        let (ns, answer) = probe::timed(|| probe::stat_name(folder, name));
        assert_eq!(answer.is_ok(), present, "{name:?}");
        samples.push(ns);
    }
    microseconds(&samples)
}

/// Which caches are empty.
#[derive(Clone, Copy, PartialEq)]
enum Cold {
    /// Those of the new mount: other containers have used the layers.
    Mount,
    /// Those of the layers too: dentries and inodes of all file systems are dropped.
    Layers,
}

/// Asks every layer for every name, so that the file system below knows whether it is there.
fn warm(stack: &LayerStack) {
    let targets = stack.targets();
    for layer in stack.layer_folders() {
        for name in targets.hits.iter().chain(&targets.misses) {
            // Missing is an answer, too.
            fs::symlink_metadata(layer.join(name)).ok();
        }
    }
}

/// Hits, misses, the misses asked again, and before them the first name of the directory, in one new container.
fn cold(side: &Side, stack: &LayerStack, scratch: &Path, cold: Cold) -> [f64; 4] {
    let container = Container::new(side.driver, &side.options, stack, scratch);
    let root = open_dir(&container.merged);
    let targets = stack.targets();
    let (hits, misses) = (names(&targets.hits), names(&targets.misses));
    match cold {
        Cold::Mount => warm(stack),
        Cold::Layers => {
            // What is dirty is not dropped, and new directories are.
            rustix::fs::sync();
            sys::cache::drop_caches().unwrap();
        }
    }
    let (first, others) = hits.split_first().unwrap();
    let first = ask(root.as_fd(), &[CString::new(["data/".as_bytes(), first.as_bytes()].concat()).unwrap()], true);
    let folder = container.data();
    let hit = ask(folder.as_fd(), others, true);
    let miss = ask(folder.as_fd(), &misses, false);
    [hit, miss, ask(folder.as_fd(), &misses, false), first]
}

/// Cold look-ups in a file system that does nothing: names that are there, and names that are not.
pub fn cold_null(scratch: &Path, count: u32) -> [f64; 2] {
    let mounted = Mounted::new(scratch, &[null::SERVE.as_ref()]);
    let folder = open_dir(&mounted.at);
    let name = |prefix: &str| (0..count).map(|n| CString::new(format!("{prefix}{n:05}")).unwrap()).collect::<Vec<_>>();
    let hit = ask(folder.as_fd(), &name("h"), true);
    [hit, ask(folder.as_fd(), &name(null::MISSING), false)]
}

pub fn lookups(bench: &Bench, table: &mut Table) {
    const FILES: u32 = 200;
    if !bench.asks("look-up") {
        return;
    }
    let depths: &[u32] = if bench.scale.turns > 1 { &[2, 16, 64, 120, 127, 500] } else { &[2, 120] };
    let files = bench.scale.of(FILES);
    let stacks: Vec<_> = depths.iter().map(|depth| stack(bench, *depth, files)).collect();
    let overlaid = depths.iter().position(|depth| *depth == 120).unwrap();
    let (mut ours, mut null_hit, mut null_miss) = (vec![Vec::new(); depths.len()], Turns::new(), Turns::new());
    let (mut overlay, mut cold_ours, mut cold_overlay) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..bench.scale.turns {
        let [hit, miss] = cold_null(&bench.scratch, files);
        null_hit.push(hit);
        null_miss.push(miss);
        // Another depth first in every turn.
        for n in 0..depths.len() {
            let n = (n + turn) % depths.len();
            ours[n].push(cold(&bench.union, &stacks[n], &bench.scratch, Cold::Mount));
        }
        overlay.push(cold(&bench.overlay, &stacks[overlaid], &bench.scratch, Cold::Mount));
        cold_ours.push(cold(&bench.union, &stacks[overlaid], &bench.scratch, Cold::Layers));
        cold_overlay.push(cold(&bench.overlay, &stacks[overlaid], &bench.scratch, Cold::Layers));
    }
    let column = |rows: &[[f64; 4]], n: usize| rows.iter().map(|row| row[n]).collect::<Turns>();
    for (n, kind) in ["hit", "miss"].into_iter().enumerate() {
        let null = [&null_hit, &null_miss][n];
        for (depth, rows) in depths.iter().zip(&ours) {
            let question = format!("look-up, cold {kind}, {depth} layers, to null");
            table.ratio(&question, "us", &column(rows, n), null, Wanted::AtMost(1.3));
        }
        let (deepest, shallowest) = (ours.last().unwrap(), ours.first().unwrap());
        let question = format!("look-up, cold {kind}, {} layers to {}", depths.last().unwrap(), depths[0]);
        table.ratio(&question, "us", &column(deepest, n), &column(shallowest, n), Wanted::AtMost(1.15));
        let question = format!("look-up, new mount, {kind}, 120 layers, overlay2 to ours");
        table.ratio(&question, "us", &column(&overlay, n), &column(&ours[overlaid], n), Wanted::Nothing);
        let question = format!("look-up, cold layers, {kind}, 120 layers, overlay2 to ours");
        table.ratio(&question, "us", &column(&cold_overlay, n), &column(&cold_ours, n), Wanted::AtLeast(3.0));
    }
    for (state, overlay, ours) in [("new mount", &overlay, &ours[overlaid]), ("cold layers", &cold_overlay, &cold_ours)]
    {
        let question = format!("first look-up in a directory, {state}, 120 layers, overlay2 to ours");
        table.ratio(&question, "us", &column(overlay, 3), &column(ours, 3), Wanted::Nothing);
    }
    let again = (column(&ours[overlaid], 2), column(&overlay, 2));
    table.ratio("look-up, same miss again, to overlay2", "us", &again.0, &again.1, Wanted::AtMost(1.5));
}

/// The first name of a directory that has many, which a union may have to read.
pub fn large_directory(bench: &Bench, table: &mut Table) {
    const NAMES: u32 = 2000;
    for depth in [1, 2] {
        let question = format!("first look-up among {NAMES} names, {depth} layers, overlay2 to ours");
        if !bench.asks(&question) {
            continue;
        }
        let stack = stack(bench, depth, bench.scale.of(NAMES));
        let first = |side| cold(side, &stack, &bench.scratch, Cold::Mount)[3];
        let (theirs, ours) = in_turns(bench.scale.turns, || first(&bench.overlay), || first(&bench.union));
        table.ratio(&question, "us", &theirs, &ours, Wanted::Nothing);
    }
}

/// Lists a directory of a new container and asks for everything in it. Milliseconds.
fn list_and_stat(side: &Side, stack: &LayerStack, entries: usize, scratch: &Path) -> f64 {
    warm(stack);
    let container = Container::new(side.driver, &side.options, stack, scratch);
    let start = Instant::now();
    let mut found = 0;
    for entry in fs::read_dir(container.merged.join("data")).unwrap() {
        entry.unwrap().metadata().unwrap();
        found += 1;
    }
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    assert!(found >= entries, "{found} entries");
    elapsed
}

pub fn listing(bench: &Bench, table: &mut Table) {
    const QUESTION: &str = "list and stat 620 entries, 120 layers";
    if !bench.asks(QUESTION) {
        return;
    }
    let stack = stack(bench, 120, 620);
    let (ours, theirs) = in_turns(
        bench.scale.turns,
        || list_and_stat(&bench.union, &stack, 620, &bench.scratch),
        || list_and_stat(&bench.overlay, &stack, 620, &bench.scratch),
    );
    table.ratio(QUESTION, "ms", &ours, &theirs, Wanted::AtMost(0.25));
}

/// Cold look-ups a second in a folder, by one thread or by two that share the names. Thousands.
pub fn rate(folder: &Path, names: &[CString], threads: usize) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(threads)) {
            let folder = open_dir(folder);
            scope.spawn(move || {
                for name in part {
                    probe::stat_name(folder.as_fd(), name).unwrap();
                }
            });
        }
    });
    names.len() as f64 / start.elapsed().as_secs_f64() / 1e3
}

pub fn threads(bench: &Bench, table: &mut Table) {
    const QUESTION: &str = "look-ups a second, two threads against one";
    if !bench.asks(QUESTION) {
        return;
    }
    let stack = stack(bench, 2, bench.scale.of(8000));
    let names = names(&stack.targets().hits);
    let of = |side: &Side, threads| {
        let container = Container::new(side.driver, &side.options, &stack, &bench.scratch);
        rate(&container.merged.join("data"), &names, threads)
    };
    let nothing = |threads| rate(&Mounted::new(&bench.scratch, &[null::SERVE.as_ref()]).at, &names, threads);
    for (side, name, wanted) in [
        (&bench.union, QUESTION.to_owned(), Wanted::AtLeast(1.6)),
        (&bench.overlay, format!("{QUESTION}, overlay2"), Wanted::Nothing),
    ] {
        let (two, one) = in_turns(bench.scale.turns, || of(side, 2), || of(side, 1));
        table.ratio(&name, "k/s", &two, &one, wanted);
    }
    let (two, one) = in_turns(bench.scale.turns, || nothing(2), || nothing(1));
    table.ratio(&format!("{QUESTION}, null"), "k/s", &two, &one, Wanted::Nothing);
}

/// A field of /proc/<pid>/smaps_rollup, in MiB.
fn memory(pid: u32, field: &str) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

pub fn mounting(bench: &Bench, table: &mut Table) {
    const QUESTION: &str = "mount 127 layers to the first answer";
    if !bench.asks(QUESTION) {
        return;
    }
    let stack = stack(bench, 127, 4);
    let (mut times, mut own) = (Turns::new(), Turns::new());
    for _ in 0..bench.scale.turns {
        let start = Instant::now();
        let container = Container::new(bench.union.driver, &bench.union.options, &stack, &bench.scratch);
        fs::metadata(container.merged.join("data")).unwrap();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        let pid = container.daemon_pid().unwrap();
        own.push(memory(pid, "Private_Dirty:"));
    }
    table.figure(QUESTION, "ms", &times, Wanted::AtMost(20.0));
    table.figure("memory of a daemon at rest, 127 layers", "MiB", &own, Wanted::AtMost(10.0));
}

pub fn shell(script: &str, at: &Path) -> String {
    let output = Command::new("sh").arg("-ec").arg(script).current_dir(at).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A git work tree with everything committed, made when it is needed first.
fn work_tree(at: &Path, files: u32) {
    const IN_A_FOLDER: u32 = 100;
    if at.exists() {
        return;
    }
    for n in 0..files {
        let folder = at.join(format!("d{:03}", n / IN_A_FOLDER));
        if n % IN_A_FOLDER == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("f{n:05}")), format!("{n}\n").repeat(40)).unwrap();
    }
    let git = "git -c user.name=l -c user.email=l@localhost -c gc.auto=0";
    shell(&format!("git init -q . && git add . && {git} commit -q -m tree"), at);
}

/// A job in a container, which must say what is expected. Milliseconds.
pub fn job(script: &str, merged: &Path, expected: &str) -> f64 {
    let start = Instant::now();
    let said = shell(script, merged);
    let elapsed = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(said.trim(), expected, "{script}");
    elapsed
}

pub fn jobs(bench: &Bench, table: &mut Table) {
    const STATUS: &str = "git status, 50,000 files, warm";
    const FIRST: &str = "git status, 50,000 files, first in a new mount";
    const TAR: &str = "tar c, 50,000 files, warm";
    if ![STATUS, FIRST, TAR].iter().any(|question| bench.asks(question)) {
        return;
    }
    if Command::new("git").arg("--version").output().is_err() {
        return table.skipped(STATUS, "git is not installed");
    }
    let lower = bench.scratch.join("tree");
    work_tree(&lower, bench.scale.of(50_000));
    let lowers: [PathBuf; 1] = [lower.clone()];
    assert_eq!(bench.union.driver.layer_form(), LayerForm::Aufs);
    let containers =
        [&bench.union, &bench.overlay].map(|side| Container::of(side.driver, &side.options, &lowers, &bench.scratch));
    let least = Mounted::new(&bench.scratch, &[mirror::SERVE.as_ref(), lower.as_os_str()]);
    let places = [&containers[0].merged, &containers[1].merged, &least.at];
    // git writes down what it found, which the third cannot take. GNU tar notices /dev/null and reads nothing then.
    for (question, script, places) in [
        (STATUS, "git status --porcelain | wc -l", &places[..2]),
        (TAR, "tar cf - --exclude=.git . | tar tf - | wc -l", &places[..]),
    ] {
        let expected = shell(script, &lower);
        for place in places {
            // git notices that the inodes are others than before the mount, and reads everything once.
            job(script, place, expected.trim());
            job(script, place, expected.trim());
        }
        let times = in_rotation(bench.scale.turns, places.len(), |n| job(script, places[n], expected.trim()));
        let (ours, theirs) = (&times[0], &times[1]);
        table.ratio(question, "ms", ours, theirs, Wanted::AtMost(1.3));
        if let Some(least) = times.get(2) {
            table.ratio(&format!("{question}, to the least"), "ms", ours, least, Wanted::Nothing);
            table.ratio(&format!("{question}, the least to overlay2"), "ms", least, theirs, Wanted::Nothing);
        }
    }
    // The second mount decides: the first one writes down what it sees.
    let sides = [&bench.union, &bench.overlay];
    let indexes = [0, 1].map(|side| bench.scratch.join(format!("index.{side}")));
    let in_a_new_mount = |side: usize| {
        let container = Container::of(sides[side].driver, &sides[side].options, &lowers, &bench.scratch);
        let script = format!("GIT_INDEX_FILE={} git status --porcelain | wc -l", indexes[side].display());
        job(&script, &container.merged, "0")
    };
    for (side, index) in indexes.iter().enumerate() {
        fs::copy(lower.join(".git/index"), index).unwrap();
        in_a_new_mount(side);
    }
    let times = in_rotation(bench.scale.turns, sides.len(), in_a_new_mount);
    table.ratio(&format!("{FIRST}, to overlay2"), "ms", &times[0], &times[1], Wanted::Nothing);
}

/// Unpacks an archive and removes what it brought, in a container: what people do who build images. Nothing is copied up, all is made.
pub fn unpacking(bench: &Bench, table: &mut Table) {
    const UNPACK: &str = "tar x, 2,000 files";
    const REMOVE: &str = "rm -r, 2,000 files";
    if !bench.asks(UNPACK) && !bench.asks(REMOVE) {
        return;
    }
    let files = bench.scale.of(2000);
    let (packed, lower) = (bench.scratch.join("packed"), bench.scratch.join("unpack-lower"));
    // Of an earlier mode.
    fs::remove_dir_all(&packed).ok();
    for n in 0..files {
        let folder = packed.join(format!("d{:02}", n / 50));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("f{n:04}")), format!("{n}\n").repeat(400)).unwrap();
    }
    fs::create_dir_all(&lower).unwrap();
    let archive = bench.scratch.join("packed.tar");
    shell(&format!("tar cf {} .", archive.display()), &packed);
    let layers = std::slice::from_ref(&lower);
    let unpack = format!("tar xf {} && find . -type f | wc -l", archive.display());
    let sides = [&bench.union, &bench.overlay];
    let times = in_rotation(bench.scale.turns, sides.len(), |n| {
        let container = Container::of(sides[n].driver, &sides[n].options, layers, &bench.scratch);
        let target = container.merged.join("target");
        fs::create_dir(&target).unwrap();
        let unpacked = job(&unpack, &target, &files.to_string());
        (unpacked, job("rm -r target && ls | wc -l", &container.merged, "0"))
    });
    let column = |side: usize, which: fn(&(f64, f64)) -> f64| times[side].iter().map(which).collect::<Turns>();
    for (question, which) in [(UNPACK, (|t| t.0) as fn(&(f64, f64)) -> f64), (REMOVE, |t| t.1)] {
        let question = format!("{question}, to overlay2");
        table.ratio(&question, "ms", &column(0, which), &column(1, which), Wanted::Nothing);
    }
}
