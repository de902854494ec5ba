//! Without privileges: in a user namespace, and outside one through fusermount3. What is refused is said, and measured under its own name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use layerbench::driver::{self, MountRequest};
use layerbench::record::Run;
use layerbench::union::NO_PASSTHROUGH;

use crate::bed::{Bed, PROGRAM, has, has_ended, outcome, run, signal, wait_until};
use crate::fixture::{self, here, real_root, text};

/// Runs the calling test once more in a user namespace, also when root runs it. True inside.
fn in_user_namespace(test: &str) -> bool {
    const INSIDE: &str = "LAYERBENCH_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = ["--user", "--map-root-user", "--mount", "--"];
    let tried = run("unshare", &[&unshare[..], &["true"]].concat());
    if !tried.status.success() {
        eprintln!("skipped: {test} needs user namespaces: {}", String::from_utf8_lossy(&tried.stderr));
        return false;
    }
    let status = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside a user namespace");
    false
}

#[test]
fn a_refusal_of_passthrough_is_said_once_and_the_union_works() {
    if !in_user_namespace("unprivileged::a_refusal_of_passthrough_is_said_once_and_the_union_works") {
        return;
    }
    let bed = Bed::new();
    let daemon = bed.foreground("");
    for file in ["mnt/t", "mnt/b", "mnt/d/low"] {
        assert!(!text(bed.at(file)).is_empty());
        fs::write(bed.at(file), "changed").unwrap();
        assert_eq!(text(bed.at(file)), "changed");
    }
    let counters = bed.new_counters();
    assert_eq!(counters["passthrough"]["state"], "refused");
    assert!(counters["passthrough"]["refused_because"].as_str().unwrap().contains("CAP_SYS_ADMIN"), "{counters}");
    assert_eq!(counters["opens"]["passthrough_count"], 0);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let (status, said) = daemon.end();
    assert!(status.success());
    assert_eq!(said.lines().filter(|line| line.starts_with(NO_PASSTHROUGH)).count(), 1, "{said}");
    // Who does not ask for it is not told.
    let daemon = bed.foreground("passthrough=off");
    assert_eq!(text(bed.at("mnt/b")), "changed");
    assert_eq!(bed.counters()["passthrough"]["state"], "off");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(daemon.end().1, "");
}

#[test]
fn a_mount_that_was_refused_passthrough_must_not_be_measured_under_the_name_of_one_that_has_it() {
    const NAME: &str =
        "unprivileged::a_mount_that_was_refused_passthrough_must_not_be_measured_under_the_name_of_one_that_has_it";
    if !in_user_namespace(NAME) {
        return;
    }
    let bed = Bed::new();
    fs::create_dir(bed.at("work")).unwrap();
    let mount = |options: &[&str]| {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let request = MountRequest {
            lower: &[bed.at("top"), bed.at("base")],
            upper: &bed.at("upper"),
            work: &bed.at("work"),
            merged: &bed.at("mnt"),
            options: &options,
            layerbench: Path::new(env!("CARGO_BIN_EXE_layerbench")),
        };
        let mount = driver::by_name("fuse-union").unwrap().mount(&request).unwrap();
        let deviation = mount.deviation().cloned();
        mount.unmount().unwrap();
        deviation
    };
    let deviation = mount(&[]).expect("nothing was said of the refusal");
    assert!(
        deviation.reason.contains("CAP_SYS_ADMIN") && deviation.remedy.contains("passthrough=off"),
        "{deviation:?}"
    );
    assert_eq!(mount(&["passthrough=off"]), None);
}

/// Labels of the union's measured cases in a run, with their options.
fn labels(folder: &Path, unshare: bool) -> Vec<(String, Vec<String>)> {
    let layerbench = env!("CARGO_BIN_EXE_layerbench");
    let mut command = match unshare {
        true => Command::new("unshare"),
        false => Command::new(layerbench),
    };
    if unshare {
        command.args(["--user", "--map-root-user", "--mount", "--", layerbench]);
    }
    let workload = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/quick.toml");
    command.args(["run", workload, "--smoke", "--driver", "fuse-union"]).current_dir(folder).stdout(Stdio::null());
    let (code, said) = outcome(&mut command);
    assert_eq!(code, 0, "{said}");
    let runs = layerbench::record::list_runs(&folder.join("results")).unwrap();
    let run = Run::load(runs.last().unwrap()).unwrap();
    let of_union = |driver: &str| driver == "fuse-union";
    let mut labels: Vec<_> = run
        .cases
        .iter()
        .filter(|case| of_union(&case.case.driver.driver) && case.case.driver.twin_of.is_none())
        .filter(|case| matches!(case.outcome, layerbench::record::Outcome::Measured { .. }))
        .map(|case| (case.case.driver.label.clone(), case.case.driver.options.clone()))
        .collect();
    assert!(!labels.is_empty(), "nothing was measured: {said}");
    labels.sort();
    labels.dedup();
    let named: Vec<_> = run
        .manifest
        .drivers
        .iter()
        .filter(|info| of_union(&info.driver) && info.twin_of.is_none())
        .map(|info| (info.label.clone(), info.options.clone()))
        .collect();
    assert_eq!(named, labels, "the manifest names what was measured");
    assert!(run.manifest.workloads.iter().flat_map(|w| &w.drivers).any(|d| d.label == labels[0].0));
    labels
}

#[test]
fn a_run_without_privileges_has_other_labels_than_one_with_passthrough() {
    let tried = run("unshare", &["--user", "--map-root-user", "--mount", "--", "true"]);
    if !tried.status.success() {
        eprintln!("skipped: needs user namespaces: {}", String::from_utf8_lossy(&tried.stderr));
        return;
    }
    let folder = fixture::scratch();
    let without = vec![("fuse-union (no passthrough)".to_owned(), vec!["passthrough=off".to_owned()])];
    assert_eq!(labels(folder.path(), true), without);
    let host = layerbench::host::fingerprint();
    if fixture::real_root() && host.capabilities.fuse_passthrough.is_available() {
        assert_eq!(labels(folder.path(), false), [("fuse-union".to_owned(), vec![])]);
    } else {
        eprintln!("skipped: a run with passthrough: {:?}", host.capabilities.fuse_passthrough);
    }
}

#[test]
fn an_ordinary_user_mounts_with_fusermount3() {
    if !has("fusermount3") {
        eprintln!("skipped: fusermount3 (package fuse3) is not installed");
        return;
    }
    const NOBODY: u32 = 65534;
    let root = fixture::real_root();
    if !root && (rustix::process::geteuid().is_root() || fs::File::open("/dev/fuse").is_err()) {
        eprintln!("skipped: needs an ordinary user outside a namespace, with /dev/fuse, or root to become one");
        return;
    }
    let bed = Bed::new();
    // As root, give it all to nobody; otherwise it is ours.
    let as_user = |program: &str| {
        let mut command = match root {
            true => Command::new("setpriv"),
            false => Command::new(program),
        };
        if root {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", program]);
        }
        command.current_dir(bed.dir.path()).stdin(Stdio::null());
        command
    };
    if root {
        for place in ["", "top", "base", "upper", "mnt", "top/d", "base/d", "base/b"] {
            std::os::unix::fs::chown(bed.at(place), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    if !outcome(as_user("test").args(["-x", PROGRAM])).1.is_empty()
        || !as_user("test").args(["-x", PROGRAM]).status().unwrap().success()
    {
        eprintln!("skipped: uid {NOBODY} cannot reach {PROGRAM}");
        return;
    }
    if !as_user("test").args(["-w", "/dev/fuse"]).status().unwrap().success() {
        eprintln!("skipped: uid {NOBODY} cannot open /dev/fuse");
        return;
    }
    let words = bed.words("noexec");
    let (code, said) = outcome(as_user(PROGRAM).args(["a\\,source,with", "mnt", "-o", &words]));
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with(NO_PASSTHROUGH) && said.lines().count() == 1, "{said}");
    let entry = bed.mounted().unwrap();
    assert_eq!((entry.fs_type.as_str(), entry.source.as_str()), ("fuse.fuse-union", "a\\,source,with"));
    for word in ["nosuid", "nodev", "noexec"] {
        assert!(entry.mount_options.contains(word), "{entry:?}");
    }
    assert!(!entry.super_options.contains("allow_other"), "{entry:?}");
    let read = as_user("cat").arg("mnt/b").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "of the base");
    let (code, said) = outcome(as_user("sh").args(["-c", "printf changed > mnt/b"]));
    assert_eq!(code, 0, "{said}");
    assert_eq!(text(bed.at("upper/b")), "changed");
    if root {
        assert_eq!(fixture::errno(fs::metadata(bed.at("mnt/b"))), libc::EACCES, "it is for its user alone");
    }
    let pid = bed.pid();
    signal(pid, nix::sys::signal::Signal::SIGTERM);
    wait_until("the end of the daemon", || has_ended(pid));
    assert!(bed.mounted().is_none());

    let (code, said) = outcome(as_user(PROGRAM).args(["mnt", "-o", &words]));
    assert_eq!(code, 0, "{said}");
    let (code, said) = outcome(as_user("fusermount3").args(["-u", "mnt"]));
    assert_eq!(code, 0, "{said}");
    let pid = bed.pid();
    wait_until("the end of the daemon", || has_ended(pid));

    let permitted = fs::read_to_string("/etc/fuse.conf").unwrap_or_default();
    let permitted = permitted.lines().any(|line| line.trim() == "user_allow_other");
    let (code, said) = outcome(as_user(PROGRAM).args(["mnt", "-o", &bed.words("allow_other")]));
    if permitted {
        assert_eq!(code, 0, "{said}");
        assert!(bed.mounted().unwrap().super_options.contains("allow_other"));
    } else {
        assert!(code == 1 && said.contains("user_allow_other") && said.contains("/etc/fuse.conf"), "{said}");
    }
}

#[test]
fn an_owner_without_privileges_changes_what_he_may_neither_read_nor_write() {
    if !here("unprivileged::an_owner_without_privileges_changes_what_he_may_neither_read_nor_write") || !real_root() {
        return;
    }
    let bed = Bed::new();
    let make = r#"
        mkdir base/ro base/emptied base/removed
        echo a > base/ro/f; echo a > base/emptied/f
        echo a > base/noted; chmod 444 base/noted
        chmod 555 base/ro
        chown -R 1234:1234 .; chmod 755 .
    "#;
    assert!(Command::new("sh").args(["-ec", make]).current_dir(bed.dir.path()).status().unwrap().success());
    match rustix::fs::setxattr(bed.at("base/noted"), "user.note", b"hi", rustix::fs::XattrFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(errno) => panic!("{errno}"),
    }
    let who = ["--reuid=1234", "--regid=1234", "--clear-groups"];
    // Of privileges it has what mount(2) asks for, and nothing that opens files.
    let words = bed.words("passthrough=off");
    let mounted = Command::new("setpriv")
        .args(who)
        .args(["--inh-caps=+sys_admin", "--ambient-caps=+sys_admin", PROGRAM, "-o", &words, "mnt"])
        .current_dir(bed.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&mounted.stderr).into_owned();
    if said.contains("/dev/fuse") {
        eprintln!("skipped: {said}");
        return;
    }
    assert!(mounted.status.success(), "{said}");
    let change = r#"
        chmod 755 ro
        rm emptied/f; chmod 555 emptied; rmdir emptied
        chmod u+w noted
        echo new > blind; chmod 200 blind; echo more >> blind
        rmdir removed; mkdir -m 555 removed
    "#;
    let changed =
        Command::new("setpriv").args(who).args(["sh", "-ec", change]).current_dir(bed.at("mnt")).output().unwrap();
    assert!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
    let mode = |path: &str| fs::metadata(bed.at(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        ["ro", "noted", "blind", "removed"].map(|name| mode(&format!("mnt/{name}"))),
        [0o755, 0o644, 0o200, 0o555]
    );
    assert_eq!(text(bed.at("upper/blind")), "new\nmore\n");
    assert!(bed.at("upper/removed/.wh..wh..opq").exists() && !bed.at("mnt/emptied").exists());
    bed.unmount();
}
