//! fsx on the FUSE union: random reads, writes, mappings, truncations, holes and copies, on a file that starts in a lower layer.
//!
//! `make test` installs the tool below target/tools; LAYERBENCH_FSX names another one, LAYERBENCH_FSX_OPERATIONS asks for more operations.
//! docs/crosscheck/fsx.sh runs a million.

#[path = "union/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fixture::{MODES, Stack, each_of};

/// Operations of one run, unless the environment says otherwise. A run of as many takes a few seconds.
const OPERATIONS: u32 = 2000;
/// Length of the file, in bytes.
const LENGTH: usize = 256 * 1024;

const ALL: &str = include_str!("data/fsx-all.toml");
const KEPT_LENGTH: &str = include_str!("data/fsx-kept-length.toml");

fn fsx() -> Option<PathBuf> {
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin/fsx");
    let fsx = std::env::var_os("LAYERBENCH_FSX").map_or(installed, PathBuf::from);
    match Command::new(&fsx).arg("--version").output() {
        Ok(output) if output.status.success() => Some(fsx),
        other => {
            let why = other.map_or_else(|error| error.to_string(), |output| output.status.to_string());
            eprintln!("skipped: {} does not run ({why}); `make tools` installs it", fsx.display());
            None
        }
    }
}

fn exercise(test: &str, seeds: std::ops::Range<u32>, config: &str) {
    let Some(fsx) = fsx() else { return };
    let operations = std::env::var("LAYERBENCH_FSX_OPERATIONS");
    let operations = operations.map_or(OPERATIONS, |n| n.parse().expect("LAYERBENCH_FSX_OPERATIONS is a number"));
    let file = |seed| format!("d/seed-{seed}");
    let build = |s: &Stack| {
        fs::create_dir(s.lower(0).join("d")).unwrap();
        for seed in seeds.clone() {
            fs::write(s.lower(0).join(file(seed)), vec![0xa5; LENGTH]).unwrap();
        }
    };
    each_of(&MODES, test, 1, build, |s| {
        let work = fixture::scratch();
        let toml = work.path().join("fsx.toml");
        fs::write(&toml, config).unwrap();
        for seed in seeds.clone() {
            let output = Command::new(&fsx)
                .args(["-N", &operations.to_string(), "-S", &seed.to_string(), "-f"])
                .arg(&toml)
                .arg("-P")
                .arg(work.path())
                .arg(s.mnt().join(file(seed)))
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "seed {seed}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            // What the mount shows is what lies in the upper, and the lower is as it was.
            assert_eq!(fs::read(s.mnt().join(file(seed))).unwrap(), fs::read(s.upper().join(file(seed))).unwrap());
            assert!(fs::read(s.lower(0).join(file(seed))).unwrap() == vec![0xa5; LENGTH]);
        }
    });
}

#[test]
fn every_operation_on_a_lower_file() {
    exercise("every_operation_on_a_lower_file", 1..4, ALL);
}

#[test]
fn a_lower_file_that_keeps_its_length() {
    exercise("a_lower_file_that_keeps_its_length", 1..3, KEPT_LENGTH);
}
