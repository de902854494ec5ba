//! How mounts come and go: through the guard and through `layerbench mount` and `umount`; what is left when something goes wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use layerbench::driver::{self, MountRequest};
use layerbench::host::mount_table;
use layerbench::stack::Entry;

use crate::bed::{self, Bed, Variant, dir, file, for_each};

const LIMIT: Duration = Duration::from_secs(20);

fn layers() -> Vec<Vec<Entry>> {
    vec![vec![dir("d"), file("d/top", 100, 0o644)], vec![dir("d"), file("d/base", 5000, 0o644)]]
}

fn is_mounted(path: &Path) -> bool {
    mount_table().unwrap().iter().any(|entry| entry.mountpoint == path)
}

/// Processes with a word on their command line that begins with a path.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        // A process may end while it is looked at.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if is_process && line.contains(path) {
            found.push(line);
        }
    }
    found
}

/// Waits for what a dying process takes along.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn layerbench(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_layerbench")).args(arguments).stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_guard_that_is_dropped_leaves_neither_mount_nor_daemon() {
    for_each(|variant| {
        let bed = Bed::new(variant, layers());
        let mount = bed.try_mount().unwrap();
        let daemon = mount.daemon_pid();
        assert_eq!(daemon.is_some(), variant.driver.starts_with("fuse"));
        assert_eq!(mount.merged(), bed.at(""));
        // Even while somebody works in it.
        let open = fs::File::open(bed.at("d/base")).unwrap();
        drop(mount);
        drop(open);
        assert!(!is_mounted(&bed.at("")));
        if let Some(pid) = daemon {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the daemon still runs");
        }
    });
}

#[test]
fn a_busy_mount_is_an_error_that_says_so_and_is_detached_all_the_same() {
    for_each(|variant| {
        let bed = Bed::new(variant, layers());
        let mount = bed.try_mount().unwrap();
        let open = fs::File::open(bed.at("d/base")).unwrap();
        let error = mount.unmount().unwrap_err().to_string();
        assert!(error.contains("busy") && error.contains("merged") && error.contains("end it"), "{error}");
        assert!(!is_mounted(&bed.at("")));
        drop(open);
    });
}

#[test]
fn a_store_below_a_path_of_any_length_can_be_mounted() {
    for_each(|variant| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let deep = folder.path().join("a".repeat(150)).join("b".repeat(150));
        fs::create_dir_all(&deep).unwrap();
        let bed = Bed::in_folder(variant, layers(), &deep).mounted();
        assert_eq!(bed.names("d"), ["base", "top"]);
        fs::write(bed.at("d/base"), "changed").unwrap();
        assert_eq!(fs::read_to_string(bed.upper("d/base")).unwrap(), "changed");
    });
}

#[test]
fn the_command_line_mounts_and_unmounts_what_the_driver_would() {
    for_each(|variant| {
        let bed = Bed::new(variant, layers());
        let merged = bed.at("");
        let (merged, upper) = (merged.to_str().unwrap().trim_end_matches('/'), bed.upper(""));
        let lowers: Vec<String> = bed.lowers().iter().map(|path| path.to_str().unwrap().replace(':', "\\:")).collect();
        let lower = lowers.join(":");
        let mut arguments = vec!["mount", "--driver", variant.driver, "--upper", upper.to_str().unwrap(), merged];
        if !variant.is_control() {
            arguments.extend(["--lower", &lower]);
        }
        arguments.extend(variant.options.iter().flat_map(|option| ["--option", option]));
        let (code, said) = layerbench(&arguments);
        assert_eq!((code, said.as_str()), (0, ""), "{arguments:?}");
        assert!(is_mounted(Path::new(merged)), "the command has returned and nothing is mounted");
        assert_eq!(bed.names("d"), ["base", "top"]);
        fs::write(bed.at("d/base"), "changed").unwrap();
        assert_eq!(fs::read_to_string(bed.upper("d/base")).unwrap(), "changed");

        let (code, said) = layerbench(&["umount", merged]);
        assert_eq!((code, said.as_str()), (0, ""));
        assert!(!is_mounted(Path::new(merged)));
        // The daemon has ended; a process of ours that waited for it may need a moment more.
        wait_until("a process of the mount still runs", || processes_with(Path::new(merged)).is_empty());
        let (code, said) = layerbench(&["umount", merged]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("nothing is mounted"), "{said}");
    });
}

#[test]
fn a_daemon_that_died_leaves_a_mount_that_umount_takes_away() {
    for_each(|variant| {
        let bed = Bed::new(variant, layers());
        let mount = bed.try_mount().unwrap();
        let Some(pid) = mount.daemon_pid() else { return };
        // SIGKILL to the process that was started here.
        let pid_of = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid_of, rustix::process::Signal::KILL).unwrap();
        // A name that the kernel has not cached, so that it has to ask.
        wait_until("the mount still answers", || {
            fs::metadata(bed.at("never-seen")).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN))
        });
        let (code, said) = layerbench(&["umount", bed.at("").to_str().unwrap().trim_end_matches('/')]);
        assert_eq!((code, said.as_str()), (0, ""));
        assert!(!is_mounted(&bed.at("")));
        let error = mount.unmount().unwrap_err().to_string();
        assert!(error.contains("unmount"), "{error}");
    });
}

#[test]
fn a_killed_foreground_process_takes_its_daemon_along() {
    for_each(|variant| {
        if !variant.driver.starts_with("fuse") {
            return;
        }
        let bed = Bed::new(variant, layers());
        let merged = bed.at("");
        let merged = Path::new(merged.to_str().unwrap().trim_end_matches('/')).to_owned();
        let lowers = bed.lowers();
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerbench"));
        command.args(["mount", "--driver", variant.driver, "--foreground", "--upper"]).arg(bed.upper(""));
        for lower in &lowers {
            command.arg("--lower").arg(lower);
        }
        let mut child = command.arg(&merged).spawn().unwrap();
        wait_until("it does not mount", || is_mounted(&merged));
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("the daemon outlives its parent", || processes_with(&merged).is_empty());
        driver::unmount(&driver::find_mount(&merged).unwrap().expect("a dead mount is still in the table")).unwrap();
    });
}

#[test]
fn a_mount_that_fails_says_why_and_leaves_nothing() {
    for_each(|variant| {
        let bed = Bed::new(variant, layers());
        let missing = bed.upper("no-such-folder");
        let lower = if variant.is_control() { Vec::new() } else { vec![missing.clone()] };
        let (upper, work, merged) = (bed.upper(""), bed.upper("../work"), bed.at(""));
        let options: Vec<String> = variant.options.iter().map(|option| (*option).to_owned()).collect();
        let error = variant
            .driver()
            .mount(&MountRequest {
                lower: &lower,
                upper: if variant.is_control() { &missing } else { &upper },
                work: &work,
                merged: &merged,
                options: &options,
                layerbench: Path::new(env!("CARGO_BIN_EXE_layerbench")),
            })
            .map(|mount| mount.options().to_owned())
            .unwrap_err()
            .to_string();
        assert!(error.contains(variant.driver), "{error}");
        assert!(error.contains("no-such-folder") && error.contains("No such file"), "{error}");
        assert_eq!(error.matches("No such file").count(), 1, "said twice: {error}");
        assert!(!is_mounted(&merged));
        assert!(processes_with(&merged).is_empty());
    });
}

#[test]
fn the_command_line_refuses_bad_input_before_anything_is_mounted() {
    if !bed::inside() {
        return;
    }
    let variant = Variant { driver: "fuse-union", options: &[], needs_root: false };
    let bed = Bed::new(&variant, layers());
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (upper, merged, lower) = (text(bed.upper("")), text(bed.at("")), text(bed.lowers().remove(0)));
    let (plain, missing) = (text(bed.lower(0, "d/top")), text(bed.upper("missing")));
    for (arguments, words) in [
        (vec!["--lower", missing.as_str(), "--upper", &upper, &merged], "missing: No such file"),
        (vec!["--lower", &plain, "--upper", &upper, &merged], "not a directory"),
        (vec!["--lower", &lower, "--upper", &missing, &merged], "--upper"),
        (vec!["--lower", &lower, "--upper", &upper, &missing], "mount point"),
        (vec!["--driver", "overlay", "--lower", &lower, "--upper", &upper, &merged], "did you mean \"overlay2\""),
        (vec!["--option", "passthru=off", "--lower", &lower, "--upper", &upper, &merged], "passthrough"),
        (
            vec!["--driver", "overlay2", "--option", "metacopi=on", "--lower", &lower, "--upper", &upper, &merged],
            "did you mean \"metacopy=on\"",
        ),
    ] {
        let (code, said) = layerbench(&[&["mount"], arguments.as_slice()].concat());
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(!is_mounted(&bed.at("")), "{arguments:?}");
    }
}
