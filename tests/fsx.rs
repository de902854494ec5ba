//! fsx on the FUSE union: random reads, writes, mappings, truncations, holes and copies, on a file that starts in a lower layer.
//!
//! `make test` installs the tool below target/tools; LAYERBENCH_FSX names another one, LAYERBENCH_FSX_OPERATIONS asks for more operations. fsx
//! 0.3 keeps mappings: a million operations, on any file system, need more of them than vm.max_map_count usually allows.

#[path = "union/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fixture::{Stack, each_mode};

/// Operations of one run, unless the environment says otherwise. A run of as many takes a few seconds.
const OPERATIONS: u32 = 2000;
/// Length of the file, in bytes.
const LENGTH: usize = 256 * 1024;

/// All that fsx can do. No operation is empty: fsx takes the EINVAL of an empty posix_fallocate(3) for a failure. msync(2) and fsync(2) are rare: they test the disk.
const ALL: &str = "
flen = 262144
nomsyncafterwrite = true
[opsize]
min = 1
max = 65536
[weights]
close_open = 1.0
invalidate = 1.0
mapread = 10.0
mapwrite = 10.0
read = 10.0
write = 10.0
truncate = 10.0
fsync = 0.2
fdatasync = 0.2
posix_fallocate = 5.0
punch_hole = 5.0
sendfile = 5.0
posix_fadvise = 1.0
copy_file_range = 5.0
";

/// With the length kept: fsx then opens the lower file without truncating it, so that its data is copied up.
const KEPT_LENGTH: &str = "
flen = 262144
blockmode = true
nomsyncafterwrite = true
[opsize]
min = 1
max = 65536
[weights]
invalidate = 1.0
mapread = 10.0
mapwrite = 10.0
read = 10.0
write = 10.0
truncate = 0.0
fdatasync = 0.2
punch_hole = 5.0
sendfile = 5.0
copy_file_range = 5.0
";

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
    each_mode(test, 1, build, |s| {
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
