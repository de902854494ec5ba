//! Without opens: the kernel asks when a file is read, written or truncated, and at nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Stack, each_of, here, names, real_root, text, write_all};

/// Counted requests of this kind.
fn requests(s: &Stack, kind: &str) -> u64 {
    let counters = serde_json::to_value(s.mounted().counters()).unwrap();
    counters["requests_count"][kind].as_u64().unwrap_or_else(|| panic!("no {kind} in {counters}"))
}

/// How many files of the stack this process, which serves it, has open that have no name any more.
fn nameless(s: &Stack) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let top = s.upper().parent().unwrap().to_path_buf();
    open.filter(|link| link.starts_with(&top) && link.to_string_lossy().ends_with(" (deleted)")).count()
}

#[test]
fn a_file_that_is_opened_again_is_nobodys_business() {
    each_of(
        &["opens=off", "passthrough=off"],
        "unopened::a_file_that_is_opened_again_is_nobodys_business",
        1,
        |s| (0..20).for_each(|n| write_all(&s.lower(0), &[(&format!("f{n}"), "content")])),
        |s| {
            let read_all = || (0..20).for_each(|n| assert_eq!(text(s.mnt().join(format!("f{n}"))), "content"));
            // What is read changes its access time, which is asked for once more.
            (0..2).for_each(|_| read_all());
            let kinds = ["open", "release", "flush", "read", "getattr", "lookup"];
            let before = kinds.map(|kind| requests(s, kind));
            // One of each that is told that it will not be answered.
            assert!(before[0] <= 1 && before[1] <= 1 && before[2] <= 1, "{before:?}");
            assert_eq!(before[3], 20, "a request for the data of each");
            (0..5).for_each(|_| read_all());
            assert_eq!(kinds.map(|kind| requests(s, kind)), before);
            assert!(!s.mounted().asks_at_opens() && names(&s.upper()).is_empty());
        },
    );
}

#[test]
fn a_file_is_copied_up_by_what_changes_it() {
    each_of(
        &["opens=off"],
        "unopened::a_file_is_copied_up_by_what_changes_it",
        1,
        |s| {
            ["read", "written", "cut", "emptied", "made", "punched"]
                .iter()
                .for_each(|f| write_all(&s.lower(0), &[(f, "content")]))
        },
        |s| {
            let open = |name: &str| OpenOptions::new().read(true).write(true).open(s.mnt().join(name)).unwrap();
            let [read, written, cut, punched] = ["read", "written", "cut", "punched"].map(open);
            assert_eq!(names(&s.upper()), Vec::<String>::new());
            let mut seen = String::new();
            (&read).read_to_string(&mut seen).unwrap();
            written.write_at(b"C", 0).unwrap();
            cut.set_len(3).unwrap();
            let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&punched, hole, 0, 2).unwrap();
            let emptied = OpenOptions::new().write(true).truncate(true).open(s.mnt().join("emptied")).unwrap();
            // Nobody copied what was thrown away.
            assert_eq!(fs::metadata(s.upper().join("emptied")).unwrap().blocks(), 0);
            emptied.write_at(b"new", 0).unwrap();
            assert_eq!(names(&s.upper()), ["cut", "emptied", "punched", "written"]);
            for (name, content) in [
                ("read", "content"),
                ("written", "Content"),
                ("cut", "con"),
                ("emptied", "new"),
                ("punched", "\0\0ntent"),
            ] {
                assert_eq!(text(s.mnt().join(name)), content);
                if name != "read" {
                    assert_eq!(text(s.upper().join(name)), content);
                }
            }
            written.sync_all().unwrap();
            read.sync_all().unwrap();
        },
    );
}

#[test]
fn who_makes_a_file_writes_it_whatever_its_mode_says() {
    const TEST: &str = "unopened::who_makes_a_file_writes_it_whatever_its_mode_says";
    each_of(
        &["opens=off"],
        TEST,
        1,
        |s| {
            write_all(&s.lower(0), &[("d/", ""), ("secret", "content")]);
            fs::set_permissions(s.lower(0).join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
            for folder in [s.lower(0).join("d"), s.mnt().parent().unwrap().to_path_buf()] {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
            }
        },
        |s| {
            let made = OpenOptions::new().write(true).create_new(true).mode(0o444).open(s.mnt().join("d/f")).unwrap();
            made.write_at(b"first", 0).unwrap();
            if !real_root() {
                return;
            }
            // An ordinary user, whom modes mean.
            let as_nobody = |script: &str| {
                Command::new("setpriv")
                    .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-ec", script])
                    .current_dir(s.mnt())
                    .output()
                    .unwrap()
            };
            let script = "umask 333; { echo one; sleep 0.1; echo two; } > d/his; test ! -w d/his; cat d/his";
            let said = as_nobody(script);
            assert_eq!(
                String::from_utf8_lossy(&said.stdout),
                "one\ntwo\n",
                "{}",
                String::from_utf8_lossy(&said.stderr)
            );
            for refused in ["cat secret", "echo more >> secret", "echo more >> d/f", ": > secret"] {
                assert!(!as_nobody(refused).status.success(), "{refused}");
            }
            assert!(!s.upper().join("secret").exists());
        },
    );
}

#[test]
fn files_that_were_made_or_written_and_removed_leave_nothing_open() {
    each_of(
        &["opens=off"],
        "unopened::files_that_were_made_or_written_and_removed_leave_nothing_open",
        1,
        |s| (0..50).for_each(|n| write_all(&s.lower(0), &[(&format!("low{n}"), "content")])),
        |s| {
            for n in 0..50 {
                fs::write(s.mnt().join(format!("made{n}")), "content").unwrap();
                OpenOptions::new()
                    .append(true)
                    .open(s.mnt().join(format!("low{n}")))
                    .unwrap()
                    .write_at(b"!", 0)
                    .unwrap();
            }
            let now = serde_json::to_value(s.mounted().counters()).unwrap();
            assert_eq!((&now["now"]["open_files_count"], &now["opens"]["all_count"]), (&0.into(), &0.into()));
            let held = File::open(s.mnt().join("made7")).unwrap();
            for n in 0..50 {
                fs::remove_file(s.mnt().join(format!("made{n}"))).unwrap();
                fs::remove_file(s.mnt().join(format!("low{n}"))).unwrap();
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            while nameless(s) > 1 {
                assert!(Instant::now() < deadline, "{} files are held", nameless(s));
                std::thread::yield_now();
            }
            let mut seen = String::new();
            (&held).read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "content");
            held.metadata().unwrap();
            drop(held);
            while nameless(s) > 0 {
                assert!(Instant::now() < deadline, "the last one is held");
                std::thread::yield_now();
            }
        },
    );
}

#[test]
fn who_needs_to_look_at_each_open_is_asked() {
    if !here("unopened::who_needs_to_look_at_each_open_is_asked") {
        return;
    }
    for (options, asked) in [
        ("passthrough=off", false),
        ("passthrough=off,ttl=1", true),
        ("opens=off,ttl=1", false),
        ("passthrough=off,opens=on", true),
        ("passthrough=on,opens=on", true),
        // Outside user namespaces the kernel reads and writes by itself.
        ("", real_root()),
    ] {
        let mut s = Stack::new(1);
        write_all(&s.lower(0), &[("f", "content")]);
        s.mount(options);
        for _ in 0..3 {
            fs::write(s.mnt().join("f"), "new").unwrap();
        }
        assert_eq!(s.mounted().asks_at_opens(), asked, "{options}");
        assert_eq!(requests(&s, "open") >= 3, asked, "{options}");
        assert_eq!(text(s.upper().join("f")), "new");
        s.unmount();
    }
}
