//! Requests by io_uring against requests by /dev/fuse: one caller and two, on processors that are kept awake and, at the end, on ones that
//! sleep whenever nobody has work for them, as they do on a machine that nobody prepares.
//!
//! The kernel offers it to whom it has been switched on for; here it is, for as long as it is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use layerbench::runner::Setup;
use layerbench::sys::fuse_ring::SWITCH;

use crate::common::{Container, names};
use crate::table::{Table, Wanted, in_rotation};
use crate::trees::{job, rate, shell, stack};
use crate::{Bench, Side, side};

/// The switch, as it was when this is dropped.
struct Switched(String);

impl Switched {
    fn on() -> std::io::Result<Switched> {
        let before = fs::read_to_string(SWITCH)?;
        fs::write(SWITCH, "Y")?;
        Ok(Switched(before))
    }
}

impl Drop for Switched {
    fn drop(&mut self) {
        fs::write(SWITCH, self.0.trim()).unwrap();
    }
}

/// Opens each file and closes it, by so many threads at once. Thousands a second.
fn open_rate(folder: &Path, files: &[PathBuf], threads: usize) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in files.chunks(files.len().div_ceil(threads)) {
            scope.spawn(move || part.iter().for_each(|file| drop(fs::File::open(folder.join(file)).unwrap())));
        }
    });
    files.len() as f64 / start.elapsed().as_secs_f64() / 1e3
}

pub fn against_the_device(bench: &Bench, table: &mut Table, setup: Setup) {
    const QUESTION: &str = "io_uring to /dev/fuse";
    if !bench.asks(QUESTION) {
        return;
    }
    let _switched = match Switched::on() {
        Ok(switched) => switched,
        Err(e) => {
            return table.skipped(QUESTION, &format!("{SWITCH}: {e} (needs Linux 6.14 with CONFIG_FUSE_IO_URING)"));
        }
    };
    let sides = [side("by io_uring", "fuse-union", &["uring=on"]), side("by /dev/fuse", "fuse-union", &["uring=off"])];
    measure(bench, table, &sides, QUESTION, "awake");
    drop(setup);
    measure(bench, table, &sides, QUESTION, "asleep");
}

fn measure(bench: &Bench, table: &mut Table, sides: &[Side; 2], question: &str, processors: &str) {
    const THREADS: [usize; 2] = [1, 2];
    let stack = stack(bench, 2, bench.scale.of(8000));
    let targets = stack.targets();
    let looked_up = names(&targets.hits);
    let files = targets.hits.chunks(bench.scale.of(1000) as usize).next().unwrap();
    let new = |n: usize| Container::new(sides[n].driver, &sides[n].options, &stack, &bench.scratch);
    let turns = bench.scale.turns;

    let rates = THREADS.map(|threads| {
        let rates = in_rotation(turns, 2, |n| rate(&new(n).merged.join("data"), &looked_up, threads));
        let name = format!("{question}, {processors}: look-ups by {threads}");
        table.ratio(&name, "k/s", &rates[0], &rates[1], Wanted::Nothing);
        rates
    });
    let name = format!("io_uring, {processors}: look-ups by two against one");
    table.ratio(&name, "k/s", &rates[1][0], &rates[0][0], Wanted::AtLeast(1.6));

    let containers = [new(0), new(1)];
    let folders = [0, 1].map(|n| containers[n].merged.as_path());
    for threads in THREADS {
        for folder in &folders {
            open_rate(folder, files, 1);
        }
        let rates = in_rotation(turns, 2, |n| open_rate(folders[n], files, threads));
        let name = format!("{question}, {processors}: open and close by {threads}");
        table.ratio(&name, "k/s", &rates[0], &rates[1], Wanted::Nothing);
    }
    let script = "tar cf - . | tar tf - | wc -l";
    let expected = shell("find . | wc -l", folders[0]);
    let times = in_rotation(turns, 2, |n| job(script, folders[n], expected.trim()));
    table.ratio(&format!("{question}, {processors}: tar c"), "ms", &times[0], &times[1], Wanted::Nothing);
}
