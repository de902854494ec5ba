//! How it is called, and what the mount becomes.

use std::fs;
use std::process::{Command, Stdio};

use crate::bed::{Bed, PROGRAM, has, has_ended, outcome, wait_until};
use crate::fixture::{self, here, text};

#[test]
fn podman_gets_a_daemon_without_naming_a_source() {
    if !here("options::podman_gets_a_daemon_without_naming_a_source") {
        return;
    }
    let bed = Bed::new();
    // A descriptor of ours that a daemon must not keep. `Command::output` returns when the last holder of the pipes has let go.
    let lock = fs::File::create(bed.at("lock")).unwrap();
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
    let pid = bed.mount(r#"volatile,nodev,fsync=0,metacopy=on,uidmapping=0:0:65536,context="s:c1,c2""#);
    assert_eq!(text(bed.at("mnt/t")), "of the top");
    fs::write(bed.at("mnt/b"), "changed").unwrap();
    assert_eq!((text(bed.at("upper/b")), text(bed.at("base/b"))), ("changed".into(), "of the base".into()));
    let entry = bed.mounted().unwrap();
    assert_eq!((entry.fs_type.as_str(), entry.source.as_str()), ("fuse.fuse-union", "fuse-union"));
    assert!(entry.mount_options.contains("nodev"), "{}", entry.mount_options);

    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = fs::read_link(fd.unwrap().path()).unwrap_or_default();
        assert!(!target.ends_with("lock"), "the daemon holds {}", target.display());
    }
    bed.unmount();
    wait_until("the daemon's end", || has_ended(pid));
}

#[test]
fn mount_8_calls_it_through_mount_fuse() {
    if !here("options::mount_8_calls_it_through_mount_fuse") {
        return;
    }
    if !has("mount.fuse3") {
        eprintln!("skipped: mount.fuse3 (package fuse3) is not installed");
        return;
    }
    let bed = Bed::new();
    let folder = std::path::Path::new(PROGRAM).parent().unwrap();
    let path = std::env::join_paths([folder, "/usr/sbin".as_ref(), "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    let at = |name: &str| bed.at(name).to_str().unwrap().to_owned();
    let words =
        format!("rw,noexec,noatime,nofail,x-what=1,lowerdir={}:{},upperdir={}", at("top"), at("base"), at("upper"));
    let mut command = Command::new("/usr/sbin/mount.fuse3");
    command.args(["a source", &at("mnt"), "-t", "fuse.fuse-union", "-o", &words]).env("PATH", path);
    let (code, said) = outcome(command.stdin(Stdio::null()));
    assert_eq!(code, 0, "{said}");
    let entry = bed.mounted().unwrap();
    assert_eq!((entry.fs_type.as_str(), entry.source.as_str()), ("fuse.fuse-union", r"a source"));
    assert!(entry.mount_options.contains("noexec") && entry.mount_options.contains("noatime"), "{entry:?}");
    fs::write(bed.at("mnt/new"), "x").unwrap();
    // Without a word about it, the work directory lies beside the upper.
    assert!(bed.at("upper.work").is_dir() && bed.at("upper/new").exists());
    bed.unmount();
}

#[test]
fn a_mount_of_500_layers_with_names_that_hold_separators() {
    if !here("options::a_mount_of_500_layers_with_names_that_hold_separators") {
        return;
    }
    let bed = Bed::new();
    let mut words = Vec::new();
    for n in 0..500 {
        let name = format!("a:layer,number\\{n}");
        fs::create_dir(bed.at(&name)).unwrap();
        fs::write(bed.at(&name).join(format!("f{n}")), n.to_string()).unwrap();
        words.push(name.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,"));
    }
    let words = format!("nosuid,lowerdir={},upperdir=upper,counters=c.json", words.join(":"));
    let (code, said) = outcome(&mut bed.program(&["mnt", "-o", &words]));
    assert_eq!(code, 0, "{said}");
    assert_eq!((text(bed.at("mnt/f0")), text(bed.at("mnt/f499"))), ("0".into(), "499".into()));
    assert_eq!(fixture::names(&bed.at("mnt")).len(), 500);
    bed.unmount();
}

#[test]
fn without_an_upper_or_with_ro_nothing_can_be_written() {
    if !here("options::without_an_upper_or_with_ro_nothing_can_be_written") {
        return;
    }
    let bed = Bed::new();
    for words in ["lowerdir=top:base,counters=c.json", "lowerdir=top:base,upperdir=upper,ro,counters=c.json"] {
        let (code, said) = outcome(&mut bed.program(&["mnt", "-o", words]));
        assert_eq!(code, 0, "{said}");
        assert!(bed.mounted().unwrap().mount_options.starts_with("ro"));
        assert_eq!(fixture::errno(fs::write(bed.at("mnt/b"), "x")), libc::EROFS);
        assert_eq!(text(bed.at("mnt/b")), "of the base");
        bed.unmount();
    }
}

#[test]
fn a_mount_can_be_made_read_only_and_writable_again() {
    if !here("options::a_mount_can_be_made_read_only_and_writable_again") {
        return;
    }
    let bed = Bed::new();
    let (code, said) = outcome(&mut bed.program(&["mnt", "-o", "remount,ro"]));
    assert!(code == 1 && said.contains("no fuse-union is mounted there"), "{code} {said}");
    assert_eq!(outcome(&mut bed.program(&["mnt", "-o", "lowerdir=top:base,upperdir=upper,counters=c.json"])).0, 0);
    let open = fs::File::create(bed.at("mnt/new")).unwrap();
    let (code, said) = outcome(&mut bed.program(&["mnt", "-o", "remount,ro"]));
    assert!(code == 1 && said.contains("busy"), "{code} {said}");
    drop(open);
    // What mount(8) makes of `mount -o remount,ro` and of what it reads in the mount table.
    let words = "remount,ro,relatime,user_id=0,group_id=0,default_permissions,allow_other";
    wait_until("the kernel to let go of the file", || outcome(&mut bed.program(&["name", "mnt", "-o", words])).0 == 0);
    assert_eq!(fixture::errno(fs::write(bed.at("mnt/b"), "x")), libc::EROFS);
    let (code, said) = outcome(&mut bed.program(&["mnt", "-o", "remount,rw"]));
    assert_eq!(code, 0, "{said}");
    fs::write(bed.at("mnt/b"), "x").unwrap();
    bed.unmount();
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_mounted() {
    if !here("options::what_is_wrong_is_said_and_nothing_is_mounted") {
        return;
    }
    let bed = Bed::new();
    fs::write(bed.at("a file"), "").unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 2, "MOUNTPOINT"),
        (&["mnt"], 2, "no layers"),
        (
            &["mnt", "-o", "upperdir=upper,lowerdr=top"],
            2,
            "\"lowerdr=top\": no such option; did you mean \"lowerdir\"?",
        ),
        (&["mnt", "-o", "lowerdir=top,nosiud"], 2, "did you mean \"nosuid\"?"),
        (
            &["mnt", "-o", "lowerdir=top,uidmapping=0:100000"],
            2,
            "needs triples of numbers below 2^32: uidmapping=IN:OUT:COUNT",
        ),
        (&["a", "b", "c", "-o", "lowerdir=top"], 2, "unexpected value"),
        (&["mnt", "-o", "lowerdir=top", "--what"], 2, "--what"),
        (&["nowhere", "-o", "lowerdir=top"], 1, "nowhere: No such file or directory"),
        (&["a file", "-o", "lowerdir=top"], 1, "Not a directory"),
        (&["mnt", "-o", "lowerdir=nolayer:top"], 1, "nolayer: No such file or directory"),
        (&["mnt", "-o", "lowerdir=top,upperdir=noupper"], 1, "noupper: No such file or directory"),
        (&["mnt", "-o", "lowerdir=top,upperdir=upper,workdir=/proc/self"], 1, "/proc/self"),
        (&["mnt", "-o", "lowerdir=top,counters=nofolder/c"], 1, "nofolder/c: No such file or directory"),
    ];
    for (arguments, code, words) in cases {
        // In the foreground no word is different.
        for foreground in [false, true] {
            let mut command = bed.program(arguments);
            if foreground {
                command.arg("-f");
            }
            let (got, said) = outcome(&mut command);
            assert_eq!(got, *code, "{arguments:?}: {said}");
            assert!(said.contains(words), "{arguments:?}: {said}");
            assert!(bed.mounted().is_none(), "{arguments:?} mounted");
        }
    }
    let output = bed.program(&["--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && help.contains("lowerdir=A:B:C") && help.contains("SIGUSR1"), "{help}");
    for flag in ["-V", "--version"] {
        let output = bed.program(&[flag]).output().unwrap();
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(version, format!("fuse-union {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_mount_follows_an_unmount_at_once() {
    if !here("options::a_mount_follows_an_unmount_at_once") {
        return;
    }
    let bed = Bed::new();
    for _ in 0..10 {
        bed.mount("");
        fs::write(bed.at("mnt/b"), "x").unwrap();
        bed.unmount();
    }
    // Two at a time cannot share a work directory, and that is said.
    bed.mount("");
    fs::create_dir(bed.at("mnt2")).unwrap();
    let (code, said) = outcome(&mut bed.program(&["mnt2", "-o", "lowerdir=top,upperdir=upper,workdir=work"]));
    assert!(code == 1 && said.contains("used by another mount"), "{said}");
    bed.unmount();
}

#[test]
fn counters_replace_a_file_and_nothing_else() {
    if !here("options::counters_replace_a_file_and_nothing_else") {
        return;
    }
    let bed = Bed::new();
    fs::write(bed.at("elsewhere"), "").unwrap();
    std::os::unix::fs::symlink("elsewhere", bed.at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, bed.at("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for name in ["link", "fifo", "/dev/null", "base"] {
        let words = format!("lowerdir=top,counters={name}");
        let output = bed.program(&["-o", &words, "mnt"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("no regular file"), "{name}: {said}");
        assert!(bed.mounted().is_none(), "{name}");
    }
    assert!(bed.at("link").is_symlink());
}
