//! First writes: against overlay2 on the file system of the build folder, and on XFS, where blocks are shared instead of copied.

use std::path::{Path, PathBuf};
use std::process::Command;

use layerbench::stack::{LayerStack, StackDefinition};
use layerbench::workload::format_size;

use crate::common::{Container, names};
use crate::table::{Table, Turns, Wanted, in_turns, microseconds};
use crate::trees::cold_null;
use crate::{Bench, Side};

/// The first writes of a new container. Median in microseconds.
fn first_write(side: &Side, stack: &LayerStack, scratch: &Path) -> f64 {
    let container = Container::new(side.driver, &side.options, stack, scratch);
    microseconds(&container.first_writes(&names(&stack.targets().hits)))
}

fn stack(store: &Path, files: u32, size: u64) -> LayerStack {
    let stack = LayerStack::ensure(store, &StackDefinition::study(1, 1, files, size), 1, &|_| ()).unwrap();
    // To share the blocks of a file means to write it out first, if it has not been.
    rustix::fs::sync();
    stack
}

pub fn first_writes(bench: &Bench, table: &mut Table) {
    for (size, files, limit) in [(4 << 10, 256, 1.5), (64 << 10, 128, 1.5), (1 << 20, 32, 1.1)] {
        let question = format!("first write, {}", format_size(size));
        if !bench.asks(&question) {
            continue;
        }
        let stack = stack(&bench.scratch.join("store"), bench.scale.of(files), size);
        let mut requests = Turns::new();
        let (ours, theirs) = in_turns(
            bench.scale.turns,
            || {
                // Look-up, open, and the question for security.capability, each at the price of one that does nothing.
                requests.push(3.0 * cold_null(&bench.scratch, bench.scale.of(files))[1]);
                first_write(&bench.union, &stack, &bench.scratch)
            },
            || first_write(&bench.overlay, &stack, &bench.scratch),
        );
        table.ratio(&question, "us", &ours, &theirs, Wanted::AtMost(limit));
        let rest = ours.iter().zip(&requests).map(|(ours, requests)| ours - requests).collect();
        table.ratio(&format!("{question}, less three requests to null"), "us", &rest, &theirs, Wanted::Nothing);
    }
}

/// A new file system in a file of its own. The mount goes with the benchmark's mount namespace, and the loop device with the mount.
pub struct Disk(pub PathBuf);

impl Disk {
    pub fn new(kind: &str, options: &[&str], scratch: &Path) -> Result<Disk, String> {
        let image = scratch.join(format!("{kind}.img"));
        let at = scratch.join(kind);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::File::create(&image).and_then(|file| file.set_len(16 << 30)).unwrap();
        run(Command::new(format!("mkfs.{kind}")).arg("-q").args(options).arg(&image))?;
        run(Command::new("mount").arg("-o").arg("loop").arg(&image).arg(&at))?;
        Ok(Disk(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.0)).unwrap();
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(e) => Err(format!("{}: {e}", command.get_program().display())),
    }
}

pub fn shared_blocks(bench: &Bench, table: &mut Table) {
    const QUESTION: &str = "first write, 64 MiB, XFS reflink";
    if !bench.asks(QUESTION) {
        return;
    }
    let xfs = match Disk::new("xfs", &["-m", "reflink=1"], &bench.scratch) {
        Ok(xfs) => xfs,
        Err(reason) => return table.skipped(QUESTION, &format!("{reason} (needs xfsprogs and a loop device)")),
    };
    let (large, small) =
        (stack(&xfs.0.join("store"), bench.scale.of(16), 64 << 20), stack(&xfs.0.join("store"), 16, 1 << 20));
    // Each turn has new containers of both sizes, so that the three figures are of the same minutes.
    let mut ours_small = Vec::new();
    let (ours, theirs) = in_turns(
        bench.scale.turns,
        || {
            ours_small.push(first_write(&bench.union, &small, &xfs.0));
            first_write(&bench.union, &large, &xfs.0)
        },
        || first_write(&bench.overlay, &large, &xfs.0),
    );
    table.ratio(QUESTION, "us", &ours, &theirs, Wanted::AtMost(1.5));
    table.ratio("first write, XFS: 64 MiB against 1 MiB", "us", &ours, &ours_small, Wanted::AtMost(1.2));
}
