//! Building a stack against unpacking the same tree with `tar -x`, on the same file system: `cargo bench --bench stack_build [-- DIR]`.
//!
//! Both start from nothing on disk; tar reads its archive from the page cache, we make the contents. The two take turns, so that drift
//! of the machine falls on both, and change places from turn to turn. Nothing is removed before the end: ext4 avoids inodes that were freed a moment ago, which
//! would make whoever comes after a removal pay for it. Printed are medians with the range, the ratio of the medians (below 1 the
//! stack is built faster) and in how many turns it was. Under `cargo test` each tree is tiny and built once.

#[path = "common/scratch.rs"]
mod scratch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use layerbench::stack::{LayerStack, StackDefinition};
use layerbench::workload::format_size;
use scratch::Scratch;

/// A tree to build: a study's parameters.
struct Tree {
    depth: u32,
    files: u32,
    file_size_bytes: u64,
}

const TREES: [Tree; 5] = [
    Tree { depth: 1, files: 10_000, file_size_bytes: 4 << 10 },
    Tree { depth: 8, files: 2_000, file_size_bytes: 64 << 10 },
    Tree { depth: 4, files: 200, file_size_bytes: 1 << 20 },
    Tree { depth: 1, files: 12, file_size_bytes: 16 << 20 },
    Tree { depth: 120, files: 200, file_size_bytes: 4 << 10 },
];
const SMOKE: [Tree; 2] =
    [Tree { depth: 1, files: 8, file_size_bytes: 4 << 10 }, Tree { depth: 3, files: 2, file_size_bytes: 1 << 20 }];
/// Turns of each; odd, so that the median is one of them.
const TURNS: u64 = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes --bench to a benchmark that is to measure.
    let measure = arguments.iter().any(|argument| argument == "--bench");
    let folder = arguments.iter().find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")));
    if Command::new("tar").arg("--version").output().is_err() {
        eprintln!("skipped: tar is not installed");
        return;
    }
    let (trees, turns) = if measure { (&TREES[..], TURNS) } else { (&SMOKE[..], 1) };
    println!("{:<28} {:>26} {:>26} {:>7} {:>12}", "tree", "stack build, ms", "tar -x, ms", "ratio", "turns faster");
    for tree in trees {
        compare(&folder, tree, turns);
    }
}

fn compare(folder: &Path, tree: &Tree, turns: u64) {
    let definition = StackDefinition::study(tree.depth, tree.depth, tree.files, tree.file_size_bytes);
    let scratch = Scratch::new(folder, "stack-build");
    // Turn 0 gives the archive, and the page cache and both programs their first touch.
    let build = |turn: u64| {
        let store = scratch.0.join(format!("store-{turn}"));
        settle();
        let start = Instant::now();
        let stack = LayerStack::ensure(&store, &definition, turn, &|_| ()).unwrap();
        let elapsed = start.elapsed();
        assert_eq!(stack.depth(), tree.depth as usize);
        (elapsed, stack)
    };
    let archive = scratch.0.join("tree.tar");
    let unpack = |turn: u64| {
        let target = scratch.0.join(format!("tar-{turn}"));
        fs::create_dir(&target).unwrap();
        settle();
        let start = Instant::now();
        let status = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&target).status().unwrap();
        let elapsed = start.elapsed();
        assert!(status.success(), "tar: {status}");
        elapsed
    };
    let (_, first) = build(0);
    let packed = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(first.root()).arg(".").status().unwrap();
    assert!(packed.success(), "tar: {packed}");
    fs::read(&archive).unwrap();
    unpack(0);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 1..=turns {
        if turn % 2 == 0 {
            ours.push(build(turn).0);
            theirs.push(unpack(turn));
        } else {
            theirs.push(unpack(turn));
            ours.push(build(turn).0);
        }
    }
    let faster = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours < theirs).count();
    let name = format!("{} layers, {} x {}", tree.depth, tree.files, format_size(tree.file_size_bytes));
    let ratio = median(&mut ours).as_secs_f64() / median(&mut theirs).as_secs_f64();
    println!(
        "{name:<28} {:>26} {:>26} {ratio:>7.2} {:>12}",
        show(&mut ours),
        show(&mut theirs),
        format!("{faster} of {turns}")
    );
}

/// Writes back what earlier turns left, so that no turn pays for another.
fn settle() {
    rustix::fs::sync();
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(times: &mut [Duration]) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!("{:.1} ({:.1}-{:.1})", ms(median(times)), ms(times[0]), ms(times[times.len() - 1]))
}
