//! Data: reads and writes against the same file without any union, and how often a page is in memory.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerbench::{probe, sys};

use crate::common::Container;
use crate::null::Mounted;
use crate::table::{Table, Turns, Wanted, in_rotation, microseconds};
use crate::{Bench, mirror};

/// Size of the pieces of sequential work.
const PIECE: usize = 128 << 10;
/// Size of the pieces of random work.
const BLOCK: usize = 4 << 10;

/// Places in a file of `blocks` blocks, the same for both sides.
fn places(blocks: u64, count: u32) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        // xorshift64: any order will do that neither side can foresee.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % blocks * BLOCK as u64
    };
    (0..count).map(|_| next()).collect()
}

/// Reads a file from start to end. GB/s.
fn read_through(path: &Path, size: u64) -> f64 {
    let mut buffer = vec![0; PIECE];
    let start = Instant::now();
    let file = File::open(path).unwrap();
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset).unwrap() {
            0 => break,
            n => offset += n as u64,
        }
    }
    assert_eq!(offset, size);
    size as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Thousands of operations a second.
fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64() / 1e3
}

fn read_at_random(path: &Path, places: &[u64]) -> f64 {
    let file = File::open(path).unwrap();
    let mut buffer = vec![0; BLOCK];
    let start = Instant::now();
    for offset in places {
        file.read_exact_at(&mut buffer, *offset).unwrap();
    }
    rate(places.len(), start)
}

/// Overwrites a file from start to end, in the page cache. GB/s.
fn write_through(path: &Path, size: u64) -> f64 {
    let buffer = vec![7; PIECE];
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let start = Instant::now();
    for offset in (0..size).step_by(PIECE) {
        file.write_all_at(&buffer, offset).unwrap();
    }
    size as f64 / start.elapsed().as_secs_f64() / 1e9
}

fn write_at_random(path: &Path, places: &[u64]) -> f64 {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let buffer = vec![9; BLOCK];
    let start = Instant::now();
    for offset in places {
        file.write_all_at(&buffer, *offset).unwrap();
    }
    rate(places.len(), start)
}

/// A file that is full of something, on the disk.
fn filled(path: &Path, size: u64) {
    let piece: Vec<u8> = (0..1 << 20).map(|n: u32| ((n * 31) >> 3) as u8).collect();
    let file = File::create(path).unwrap();
    (0..size >> 20).for_each(|n| file.write_all_at(&piece, n << 20).unwrap());
    file.sync_all().unwrap();
}

/// The question that is put to the least that FUSE with passthrough takes, too.
const RANDOM_READ: usize = 2;

pub fn reads(bench: &Bench, table: &mut Table) {
    if !bench.asks("read") {
        return;
    }
    let size = u64::from(bench.scale.of(256)) << 20;
    let lower = bench.scratch.join("data-lower");
    fs::create_dir_all(&lower).unwrap();
    let below = lower.join("read");
    filled(&below, size);
    let places = places(size / BLOCK as u64, bench.scale.of(100_000));
    read_through(&below, size);
    let (mut ours, mut theirs) = (vec![Turns::new(); 3], vec![Turns::new(); 3]);
    let least = Mounted::new(&bench.scratch, &[mirror::SERVE.as_ref(), lower.as_os_str()]);
    let mut of_least = Turns::new();
    for turn in 0..bench.scale.turns {
        let layers = std::slice::from_ref(&lower);
        let container = Container::of(bench.union.driver, &bench.union.options, layers, &bench.scratch);
        let merged = container.merged.join("read");
        // Question by question, so that little time lies between the two sides.
        for question in 0..ours.len() {
            let answer = |path: &Path| match question {
                RANDOM_READ => read_at_random(path, &places),
                _ => read_through(path, size),
            };
            let (a, b) = if turn % 2 == 0 {
                let ours = answer(&merged);
                (ours, answer(&below))
            } else {
                let theirs = answer(&below);
                (answer(&merged), theirs)
            };
            ours[question].push(a);
            theirs[question].push(b);
            if question == RANDOM_READ {
                of_least.push(read_at_random(&least.at.join("read"), &places));
            }
        }
    }
    let questions = [
        ("first read through a new mount, cached below", "GB/s", 0.95),
        ("sequential read, warm", "GB/s", 0.95),
        ("random read of 4 KiB, warm", "k/s", 0.95),
    ];
    for (n, (question, unit, limit)) in questions.into_iter().enumerate() {
        table.ratio(&format!("{question}, to native"), unit, &ours[n], &theirs[n], Wanted::AtLeast(limit));
        if n == RANDOM_READ {
            table.ratio(&format!("{question}, the least to native"), unit, &of_least, &theirs[n], Wanted::Nothing);
        }
    }
    drop(least);
    fs::remove_dir_all(lower).unwrap();
}

/// Writes to one file of the upper, through the union, past it, and through the least that FUSE with passthrough takes: to the same pages of memory, all of them
/// dirty. Two files would differ in what the copy_up has left of theirs.
pub fn writes(bench: &Bench, table: &mut Table) {
    if !bench.asks("write to upper") {
        return;
    }
    let size = u64::from(bench.scale.of(256)) << 20;
    let lower = bench.scratch.join("written-lower");
    fs::create_dir_all(&lower).unwrap();
    filled(&lower.join("file"), size);
    let places = places(size / BLOCK as u64, bench.scale.of(100_000));
    let layers = std::slice::from_ref(&lower);
    let container = Container::of(bench.union.driver, &bench.union.options, layers, &bench.scratch);
    let merged = container.merged.join("file");
    // The first write copies it up.
    OpenOptions::new().write(true).open(&merged).unwrap().write_all_at(&[1], 0).unwrap();
    let upper = container.merged.with_file_name("upper");
    let least = Mounted::new(&bench.scratch, &[mirror::SERVE.as_ref(), upper.as_os_str()]);
    let ways = [merged, upper.join("file"), least.at.join("file")];
    write_through(&ways[1], size);
    let mut ask = |question: &str, unit: &'static str, answer: &dyn Fn(&Path) -> f64| {
        let answers = in_rotation(bench.scale.turns, ways.len(), |way| answer(&ways[way]));
        table.ratio(&format!("{question}, to native"), unit, &answers[0], &answers[1], Wanted::AtLeast(0.9));
        table.ratio(&format!("{question}, the least to native"), unit, &answers[2], &answers[1], Wanted::Nothing);
    };
    ask("sequential write to upper", "GB/s", &|path| write_through(path, size));
    ask("random write to upper of 4 KiB", "k/s", &|path| write_at_random(path, &places));
    drop((least, container));
    fs::remove_dir_all(lower).unwrap();
}

/// Page frames that hold the pages of one file, read through several mounts, over the pages of the file.
pub fn one_copy(bench: &Bench, table: &mut Table) {
    const MOUNTS: usize = 16;
    const QUESTION: &str = "copies of a page, 16 mounts read one file";
    if !bench.asks(QUESTION) {
        return;
    }
    let lower = bench.scratch.join("shared-lower");
    fs::create_dir_all(&lower).unwrap();
    fs::write(lower.join("file"), vec![5; 1 << 20]).unwrap();
    let layers = std::slice::from_ref(&lower);
    let mount = || Container::of(bench.union.driver, &bench.union.options, layers, &bench.scratch);
    let containers: Vec<_> = (0..MOUNTS).map(|_| mount()).collect();
    let mut frames = BTreeSet::new();
    let mut pages = 0;
    for container in &containers {
        let path = container.merged.join("file");
        fs::read(&path).unwrap();
        let found = sys::pagemap::frame_numbers(&File::open(&path).unwrap()).unwrap();
        pages = found.len();
        frames.extend(found.into_iter().map(|frame| frame.expect("a page that was read is resident")));
    }
    table.figure(QUESTION, "", &vec![frames.len() as f64 / pages as f64], Wanted::AtMost(1.0));
    drop(containers);
    fs::remove_dir_all(lower).unwrap();
}

/// Opens and closes each file once more. Median in microseconds.
fn open_again(folder: &Path, files: u32) -> f64 {
    let paths: Vec<_> = (0..files).map(|n| folder.join(format!("f{n}"))).collect();
    // Who comes a second time finds names, attributes and files known.
    paths.iter().for_each(|path| drop(File::open(path).unwrap()));
    let once = |path: &PathBuf| probe::timed(|| drop(File::open(path).unwrap())).0;
    microseconds(&paths.iter().map(once).collect::<Vec<_>>())
}

pub fn opens(bench: &Bench, table: &mut Table) {
    const QUESTION: &str = "open and close, warm";
    if !bench.asks(QUESTION) {
        return;
    }
    let files = bench.scale.of(1000);
    let lower = bench.scratch.join("opened-lower");
    fs::create_dir_all(&lower).unwrap();
    (0..files).for_each(|n| fs::write(lower.join(format!("f{n}")), "x").unwrap());
    let layers = std::slice::from_ref(&lower);
    let containers =
        [&bench.union, &bench.overlay].map(|side| Container::of(side.driver, &side.options, layers, &bench.scratch));
    let least = Mounted::new(&bench.scratch, &[mirror::SERVE.as_ref(), lower.as_os_str()]);
    let places = [&containers[0].merged, &containers[1].merged, &least.at];
    let times = in_rotation(bench.scale.turns, places.len(), |n| open_again(places[n], files));
    table.ratio(&format!("{QUESTION}, to overlay2"), "us", &times[0], &times[1], Wanted::Nothing);
    table.ratio(&format!("{QUESTION}, to the least"), "us", &times[0], &times[2], Wanted::Nothing);
    drop((containers, least));
    fs::remove_dir_all(lower).unwrap();
}
