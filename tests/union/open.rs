//! Open files while their file is copied up, removed or renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use crate::fixture::{MODES, Stack, each_of, errno, here, names, real_root, text, write_all};

/// What a reader that opened the file before its copy_up sees afterwards: with passthrough the lower's data, without it the new.
fn old_reader<'a>(s: &Stack, old: &'a str, new: &'a str) -> &'a str {
    if s.mounted().passthrough() && real_root() { old } else { new }
}

#[test]
fn every_kind_of_writing_open_works_while_a_reader_holds_the_lower() {
    type Set = fn(&mut OpenOptions) -> &mut OpenOptions;
    let kinds: [(&str, Set, &str); 6] = [
        ("wronly", |o| o.write(true), "NEW-data"),
        ("rdwr", |o| o.read(true).write(true), "NEW-data"),
        ("append", |o| o.append(true), "old-dataNEW"),
        ("trunc", |o| o.write(true).truncate(true), "NEW"),
        ("rdwr-trunc", |o| o.read(true).write(true).truncate(true), "NEW"),
        ("creat", |o| o.write(true).create(true), "NEW-data"),
    ];
    each_of(
        &MODES,
        "open::every_kind_of_writing_open_works_while_a_reader_holds_the_lower",
        1,
        |s| {
            for (name, ..) in kinds {
                write_all(&s.lower(0), &[(name, "old-data"), (&format!("d/{name}"), "old-data")]);
            }
        },
        |s| {
            for (name, options, expected) in kinds {
                for name in [name.to_string(), format!("d/{name}")] {
                    let path = s.mnt().join(&name);
                    let held = File::open(&path).unwrap();
                    let mut writer = options(&mut OpenOptions::new()).open(&path).unwrap();
                    writer.write_all(b"NEW").unwrap();
                    // A second reader while both are open, and one more writer.
                    assert_eq!(text(&path), expected, "{name}");
                    let other = OpenOptions::new().write(true).open(&path).unwrap();
                    other.write_at(b"!", 0).unwrap();
                    let expected = format!("!{}", &expected[1..]);
                    assert_eq!(text(&path), expected, "{name}");
                    let mut seen = String::new();
                    (&held).read_to_string(&mut seen).unwrap();
                    assert_eq!(seen, old_reader(s, "old-data", &expected), "{name}");
                    drop((held, writer, other));
                    assert_eq!(text(&path), expected, "{name}");
                    assert_eq!(text(s.upper().join(&name)), expected, "{name}");
                    assert_eq!(text(s.lower(0).join(&name)), "old-data", "{name}");
                    assert_eq!(fs::metadata(&path).unwrap().len(), expected.len() as u64);
                }
            }
        },
    );
}

#[test]
fn what_was_read_from_a_lower_and_closed_is_read_from_there_only_as_long_as_it_is_there() {
    const TEST: &str = "open::what_was_read_from_a_lower_and_closed_is_read_from_there_only_as_long_as_it_is_there";
    /// What changes a file, and what is read afterwards.
    type Change = (&'static str, fn(&std::path::Path), &'static str);
    let changes: [Change; 8] = [
        ("written", |path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"+").unwrap(), "old+"),
        ("truncated", |path| File::create(path).unwrap().write_all(b"n").unwrap(), "n"),
        ("cut", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(1).unwrap(), "o"),
        // Copied up without being opened.
        ("mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap(), "old"),
        ("made anew", |path| fs::remove_file(path).and_then(|()| fs::write(path, "anew")).unwrap(), "anew"),
        (
            "replaced",
            |path| {
                let other = path.with_extension("other");
                fs::write(&other, "other").unwrap();
                fs::rename(&other, path).unwrap();
            },
            "other",
        ),
        (
            "moved there and back",
            |path| {
                let away = path.with_extension("away");
                fs::rename(path, &away).unwrap();
                assert_eq!(text(&away), "old");
                fs::rename(&away, path).unwrap();
            },
            "old",
        ),
        ("left alone", |_| (), "old"),
    ];
    each_of(
        &MODES,
        TEST,
        1,
        |s| {
            for (name, ..) in changes {
                write_all(&s.lower(0), &[(name, "old")]);
            }
        },
        |s| {
            for (name, change, expected) in changes {
                let path = s.mnt().join(name);
                for _ in 0..3 {
                    assert_eq!(text(&path), "old", "{name}");
                }
                change(&path);
                for _ in 0..3 {
                    assert_eq!(text(&path), expected, "{name}");
                }
                // A writer works as well, whatever is kept open.
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"!").unwrap();
                assert_eq!(text(&path), format!("{expected}!"), "{name}");
                assert_eq!(text(s.lower(0).join(name)), "old", "{name}");
            }
        },
    );
}

#[test]
fn what_needs_no_open_copies_up_while_a_reader_holds_the_lower() {
    each_of(
        &MODES,
        "open::what_needs_no_open_copies_up_while_a_reader_holds_the_lower",
        1,
        |s| {
            write_all(&s.lower(0), &[("t", "old-data"), ("r", "old-data"), ("u", "old-data"), ("m", "old-data")]);
        },
        |s| {
            let mnt = s.mnt();
            let held: Vec<File> = ["t", "r", "u", "m"].map(|name| File::open(mnt.join(name)).unwrap()).into();
            let status = Command::new("truncate").args(["-s", "3"]).arg(mnt.join("t")).status().unwrap();
            assert!(status.success());
            assert_eq!(text(mnt.join("t")), "old");
            fs::rename(mnt.join("r"), mnt.join("r2")).unwrap();
            OpenOptions::new().append(true).open(mnt.join("r2")).unwrap().write_all(b"+").unwrap();
            assert_eq!(text(mnt.join("r2")), "old-data+");
            fs::remove_file(mnt.join("u")).unwrap();
            // Through the descriptor: fchmod works on one that is open for reading.
            let mut mode = held[3].metadata().unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
            held[3].set_permissions(mode).unwrap();
            assert_eq!(fs::metadata(s.upper().join("m")).unwrap().mode() & 0o777, 0o600);
            assert_eq!(held[3].metadata().unwrap().mode() & 0o777, 0o600);
            assert_eq!(text(mnt.join("m")), "old-data");
            let expected =
                [old_reader(s, "old-data", "old"), old_reader(s, "old-data", "old-data+"), "old-data", "old-data"];
            for (mut file, expected) in held.iter().zip(expected) {
                let mut seen = String::new();
                file.read_to_string(&mut seen).unwrap();
                assert_eq!(seen, expected);
            }
        },
    );
}

#[test]
fn an_unlinked_file_lives_on_while_it_is_open() {
    each_of(
        &MODES,
        "open::an_unlinked_file_lives_on_while_it_is_open",
        1,
        |s| {
            write_all(&s.lower(0), &[("low", "lower"), ("lowro", "lower"), ("dir/x", "")]);
        },
        |s| {
            let mnt = s.mnt();
            fs::write(mnt.join("up"), "upper").unwrap();
            for name in ["low", "up"] {
                let file = OpenOptions::new().read(true).write(true).open(mnt.join(name)).unwrap();
                fs::remove_file(mnt.join(name)).unwrap();
                file.write_at(b"WRITE", 0).unwrap();
                file.set_len(7).unwrap();
                let mut seen = [0; 7];
                file.read_exact_at(&mut seen, 0).unwrap();
                assert_eq!(&seen, b"WRITE\0\0");
                assert_eq!(file.metadata().unwrap().nlink(), 0);
                assert_eq!(file.metadata().unwrap().len(), 7);
                // The name is free again, and another file.
                fs::write(mnt.join(name), "new").unwrap();
                assert_eq!(text(mnt.join(name)), "new");
                assert_ne!(file.metadata().unwrap().ino(), fs::metadata(mnt.join(name)).unwrap().ino());
                file.sync_all().unwrap();
            }
            let file = File::open(mnt.join("lowro")).unwrap();
            fs::remove_file(mnt.join("lowro")).unwrap();
            let mut seen = String::new();
            (&file).read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "lower");
            // It has no name to be copied up under, and is all the same.
            let mut mode = file.metadata().unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o611);
            file.set_permissions(mode).unwrap();
            assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o611);
            assert_eq!(names(&s.upper()), [".wh.lowro", "low", "up"]);
            // A directory that somebody is in.
            let dir = File::open(mnt.join("dir")).unwrap();
            fs::remove_dir_all(mnt.join("dir")).unwrap();
            assert!(dir.metadata().unwrap().is_dir());
        },
    );
}

#[test]
fn a_file_that_replaced_an_open_one_is_another_file() {
    each_of(
        &MODES,
        "open::a_file_that_replaced_an_open_one_is_another_file",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "old")]);
        },
        |s| {
            let held = OpenOptions::new().read(true).write(true).open(s.mnt().join("f")).unwrap();
            fs::write(s.mnt().join("new"), "new").unwrap();
            fs::rename(s.mnt().join("new"), s.mnt().join("f")).unwrap();
            held.write_at(b"OLD", 0).unwrap();
            assert_eq!(text(s.mnt().join("f")), "new");
            let mut seen = [0; 3];
            held.read_exact_at(&mut seen, 0).unwrap();
            assert_eq!(&seen, b"OLD");
        },
    );
}

#[test]
fn concurrent_first_writes_copy_up_once_and_lose_nothing() {
    each_of(
        &MODES,
        "open::concurrent_first_writes_copy_up_once_and_lose_nothing",
        1,
        |s| {
            for n in 0..8 {
                write_all(&s.lower(0), &[(&format!("d/{n}"), &"x".repeat(100_000))]);
            }
        },
        |s| {
            const WRITERS: usize = 8;
            for n in 0..8 {
                let path = s.mnt().join(format!("d/{n}"));
                // Every other file is held open for reading meanwhile.
                let held = (n % 2 == 0).then(|| File::open(&path).unwrap());
                let start = Barrier::new(WRITERS);
                std::thread::scope(|scope| {
                    for writer in 0..WRITERS {
                        let (path, start) = (&path, &start);
                        scope.spawn(move || {
                            start.wait();
                            let file = OpenOptions::new().write(true).open(path).unwrap();
                            file.write_at(&[b'0' + writer as u8], writer as u64 * 1000).unwrap();
                        });
                    }
                });
                drop(held);
                let data = fs::read(&path).unwrap();
                assert_eq!(data.len(), 100_000);
                for writer in 0..WRITERS {
                    assert_eq!(data[writer * 1000], b'0' + writer as u8, "file {n}, writer {writer}");
                }
                assert_eq!(data.iter().filter(|byte| **byte == b'x').count(), 100_000 - WRITERS);
                assert_eq!(data, fs::read(s.upper().join(format!("d/{n}"))).unwrap());
            }
        },
    );
}

/// A lease on the lower file keeps its copy_up from going on until it is given back.
#[test]
fn who_waits_for_a_copy_up_holds_up_nobody_else() {
    const TEST: &str = "open::who_waits_for_a_copy_up_holds_up_nobody_else";
    const WRITERS: u64 = 6;
    const HOLD: &str = r#"
import fcntl, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
file = open(sys.argv[1], "rb")
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.readline()
"#;
    if !here(TEST) {
        return;
    }
    for options in ["threads=1", "threads=2", "threads=2,passthrough=off,opens=on", "threads=2,opens=off"] {
        let mut s = Stack::new(1);
        write_all(&s.lower(0), &[("slow", "content"), ("other", "")]);
        s.mount(&format!("{options},uring=off"));
        let mut holder = Command::new("python3");
        holder.args(["-c", HOLD]).arg(s.lower(0).join("slow"));
        let mut holder = match holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
            Ok(holder) => holder,
            Err(error) => {
                eprintln!("skipped: {TEST} needs python3: {error}");
                return;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        // Where the kernel asks at no open, it lets one write a file at a time.
        let (kind, heard) = if s.mounted().asks_at_opens() { ("open", WRITERS) } else { ("write", 1) };
        let requests = || serde_json::to_value(s.mounted().counters()).unwrap()["requests_count"][kind].as_u64();
        let not_there = || !s.upper().join("slow").exists();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let path = s.mnt().join("slow");
                scope.spawn(move || OpenOptions::new().write(true).open(path).unwrap().write_at(b"!", writer).unwrap());
            }
            // The kernel gives up a lease after 45 s.
            while requests().unwrap_or(0) < heard && not_there() {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(not_there(), "{options}: some of the writers were not heard");
            for n in 0..50 {
                assert!(!s.mnt().join(format!("missing{n}")).exists());
            }
            fs::write(s.mnt().join("other"), "written").unwrap();
            assert!(not_there(), "{options}: others waited for the copy");
            drop(holder.stdin.take());
        });
        assert!(holder.wait().unwrap().success());
        assert_eq!(text(s.mnt().join("slow")), "!!!!!!t");
        s.unmount();
    }
}

#[test]
fn who_create_a_file_at_once_have_one() {
    each_of(
        &MODES,
        "open::who_create_a_file_at_once_have_one",
        1,
        |s| write_all(&s.lower(0), &[("d/gone", "")]),
        |s| {
            let dir = s.mnt().join("d");
            fs::remove_file(dir.join("gone")).unwrap();
            for round in 0..200 {
                // Also in place of a whiteout.
                let path = dir.join(if round == 0 { "gone".to_string() } else { format!("f{round}") });
                assert!(!path.exists());
                let barrier = Barrier::new(4);
                std::thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            barrier.wait();
                            OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(b"x").unwrap();
                        });
                    }
                });
                assert_eq!(text(&path), "xxxx");
            }
        },
    );
}

/// Somebody made a file behind the mount where the kernel knows that there is none: to create it opens it for who may open it.
#[test]
fn a_create_opens_nothing_without_permission_where_a_layer_has_changed() {
    each_of(
        &MODES,
        "open::a_create_opens_nothing_without_permission_where_a_layer_has_changed",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/", ""), ("read/x", "")]);
            fs::set_permissions(s.lower(0).join("d"), fs::Permissions::from_mode(0o777)).unwrap();
        },
        |s| {
            let file = s.mnt().join("d/f");
            assert!(!file.exists());
            write_all(&s.lower(0), &[("d/f", "secret")]);
            fs::set_permissions(s.lower(0).join("d/f"), fs::Permissions::from_mode(0o600)).unwrap();
            if real_root() {
                let output = std::process::Command::new("setpriv")
                    .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", "echo x >> d/f"])
                    .current_dir(s.mnt())
                    .env("LC_ALL", "C")
                    .output()
                    .unwrap();
                let said = String::from_utf8(output.stderr).unwrap();
                assert!(!output.status.success() && said.contains("Permission denied"), "{said}");
            }
            assert_eq!(text(s.lower(0).join("d/f")), "secret");
            assert!(!s.upper().join("d/f").exists());
            // Who may open it does.
            OpenOptions::new().append(true).create(true).open(&file).unwrap().write_all(b"!").unwrap();
            assert_eq!(text(&file), "secret!");
            // A name that the union cannot know of any more is an error, and nothing happens to the file.
            assert_eq!(names(&s.mnt().join("read")), ["x"]);
            fs::write(s.mnt().join("read/y"), "").unwrap();
            write_all(&s.upper(), &[("read/z", "behind")]);
            let created = OpenOptions::new().append(true).create(true).open(s.mnt().join("read/z"));
            assert_eq!(errno(created), libc::ESTALE);
            assert_eq!(text(s.upper().join("read/z")), "behind");
        },
    );
}

#[test]
fn a_link_in_proc_opens_an_old_reader_again() {
    each_of(
        &MODES,
        "open::a_link_in_proc_opens_an_old_reader_again",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "old-data")]);
        },
        |s| {
            let path = s.mnt().join("f");
            let held = File::open(&path).unwrap();
            fs::write(&path, "new").unwrap();
            assert_eq!(text(&path), "new");
            assert_eq!(text(link(&held)), old_reader(s, "old-data", "new"));
            drop(held);
            assert_eq!(text(&path), "new");
        },
    );
}

/// The link in /proc to an open file.
fn link(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[test]
fn a_link_in_proc_leads_to_its_file_whatever_became_of_the_name() {
    each_of(
        &MODES,
        "open::a_link_in_proc_leads_to_its_file_whatever_became_of_the_name",
        1,
        |s| {
            for name in ["moved", "twice", "written", "gone", "there", "linked"] {
                write_all(&s.lower(0), &[(name, "old-data")]);
            }
            fs::hard_link(s.lower(0).join("linked"), s.lower(0).join("too")).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            let chmod = |file: &File| file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
            type Change<'a> = &'a dyn Fn(&std::path::Path, &File);
            let changes: [(&str, Change<'_>, &str); 6] = [
                ("moved", &|path, _| fs::rename(path, path.with_extension("2")).unwrap(), "old-data"),
                (
                    "twice",
                    &|path, _| {
                        fs::rename(path, path.with_extension("2")).unwrap();
                        fs::rename(path.with_extension("2"), path).unwrap();
                    },
                    "old-data",
                ),
                ("written", &|path, _| fs::write(path, "new").unwrap(), old_reader(s, "old-data", "new")),
                ("gone", &|path, file| (chmod(file), fs::remove_file(path).unwrap()).1, "old-data"),
                ("there", &|_, file| chmod(file), "old-data"),
                ("linked", &|path, _| fs::rename(path, path.with_extension("2")).unwrap(), "old-data"),
            ];
            for (name, change, expected) in changes {
                let held = File::open(mnt.join(name)).unwrap();
                change(&mnt.join(name), &held);
                for _ in 0..3 {
                    let again = File::open(link(&held)).unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert_eq!(text(link(&again)), expected, "{name}");
                    again.sync_all().unwrap();
                }
                held.sync_all().unwrap();
            }
            // Whoever goes by a name has the file that can be written.
            for (name, expected) in [("moved.2", "old-data+"), ("written", "new+"), ("too", "old-data+")] {
                OpenOptions::new().append(true).open(mnt.join(name)).unwrap().write_all(b"+").unwrap();
                assert_eq!(text(mnt.join(name)), expected, "{name}");
            }
            assert_eq!(text(mnt.join("linked.2")), "old-data+");
        },
    );
}

/// What reads and writes of the kernel's do not show, questions that reach the daemon do: where its data ends is one.
#[test]
fn a_link_in_proc_never_leads_to_the_file_whose_name_another_took() {
    each_of(
        &MODES,
        "open::a_link_in_proc_never_leads_to_the_file_whose_name_another_took",
        1,
        |s| write_all(&s.lower(0), &[("mine", "mine"), ("secret", &"secret".repeat(5_000))]),
        |s| {
            let mnt = s.mnt();
            let held = File::open(mnt.join("mine")).unwrap();
            drop(OpenOptions::new().write(true).open(mnt.join("mine")).unwrap());
            fs::rename(mnt.join("mine"), mnt.join("secret")).unwrap();
            let again = File::open(link(&held)).unwrap();
            for file in [&held, &again] {
                assert_eq!(rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(0)), Ok(4));
                assert_eq!(rustix::fs::seek(file, rustix::fs::SeekFrom::Data(4)), Err(rustix::io::Errno::NXIO));
                let mut seen = [0; 100];
                assert_eq!(file.read_at(&mut seen, 0).unwrap(), 4);
                // The kernel asks for a copy where the file system below shares blocks.
                let copy = OpenOptions::new().create(true).write(true).truncate(true).open(mnt.join("copy")).unwrap();
                assert_eq!(rustix::fs::copy_file_range(file, Some(&mut 0), &copy, Some(&mut 0), 8192), Ok(4));
                assert_eq!(text(mnt.join("copy")), "mine");
            }
        },
    );
}

#[test]
fn a_descriptor_without_access_opens_its_file_also_when_the_old_readers_are_gone() {
    each_of(
        &MODES,
        "open::a_descriptor_without_access_opens_its_file_also_when_the_old_readers_are_gone",
        1,
        |s| write_all(&s.lower(0), &[("f", "old")]),
        |s| {
            let path = s.mnt().join("f");
            let held = File::from(rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap());
            let reader = File::open(&path).unwrap();
            fs::write(&path, "new").unwrap();
            drop(reader);
            // The kernel tells of the close behind it.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(text(link(&held)), "new");
            fs::write(link(&held), "newer").unwrap();
            assert_eq!((text(link(&held)), text(&path)), ("newer".into(), "newer".into()));
        },
    );
}

#[test]
fn a_program_that_was_moved_while_it_runs_starts_again_by_its_link_in_proc() {
    each_of(
        &MODES,
        "open::a_program_that_was_moved_while_it_runs_starts_again_by_its_link_in_proc",
        1,
        |s| assert!(fs::copy("/bin/sleep", s.lower(0).join("program")).unwrap() > 0),
        |s| {
            let program = s.mnt().join("program");
            let mut running = Command::new(&program).arg("1000").spawn().unwrap();
            fs::rename(&program, s.mnt().join("moved")).unwrap();
            let again = Command::new(format!("/proc/{}/exe", running.id())).arg("0").status();
            running.kill().and_then(|()| running.wait()).unwrap();
            assert!(again.unwrap().success());
        },
    );
}

#[test]
fn mappings_keep_what_they_map() {
    each_of(
        &MODES,
        "open::mappings_keep_what_they_map",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", &"o".repeat(10_000)), ("script", "#!/bin/sh\necho ran\n")]);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(s.lower(0).join("script"), mode).unwrap();
        },
        |s| {
            // Python's mmap, in a process of its own: this crate's tests have no unsafe code.
            let script = r#"
import mmap, os, sys
path, expected = sys.argv[1], sys.argv[2]
r = os.open(path, os.O_RDONLY)
low = mmap.mmap(r, 0, mmap.MAP_SHARED, mmap.PROT_READ)
assert low[:3] == b"ooo"
w = os.open(path, os.O_RDWR)
os.pwrite(w, b"NEW", 0)
up = mmap.mmap(w, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
assert up[:4] == b"NEWo", up[:4]
up[5000:5003] = b"MAP"
up.flush()
assert os.pread(w, 3, 5000) == b"MAP"
assert low[:3] == expected.encode(), low[:3]
assert os.pread(r, 3, 0) == expected.encode()
os.close(w); up.close()
# Reopened while the old mapping is still there.
assert open(path, "rb").read()[5000:5003] == b"MAP"
"#;
            let status =
                Command::new("python3").args(["-c", script]).arg(s.mnt().join("f")).arg(old_reader_mode(s)).status();
            match status {
                Ok(status) => assert!(status.success()),
                Err(error) => eprintln!("skipped: mappings need python3: {error}"),
            }
            assert_eq!(&fs::read(s.lower(0).join("f")).unwrap()[..3], b"ooo");
            // A program runs from the mount.
            let output = Command::new(s.mnt().join("script")).output().unwrap();
            assert_eq!(output.stdout, b"ran\n");
        },
    );
}

fn old_reader_mode(s: &Stack) -> &'static str {
    old_reader(s, "ooo", "NEW")
}

#[test]
fn truncating_opens_copy_no_data() {
    each_of(
        &MODES,
        "open::truncating_opens_copy_no_data",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", &"x".repeat(1 << 20))]);
        },
        |s| {
            let file = OpenOptions::new().write(true).truncate(true).open(s.mnt().join("f")).unwrap();
            let upper = fs::metadata(s.upper().join("f")).unwrap();
            assert_eq!((upper.len(), upper.blocks()), (0, 0));
            assert_eq!(file.metadata().unwrap().len(), 0);
            file.write_at(b"abc", 0).unwrap();
            assert_eq!(text(s.mnt().join("f")), "abc");
        },
    );
}

#[test]
fn an_open_that_is_refused_truncates_nothing() {
    each_of(
        &MODES,
        "open::an_open_that_is_refused_truncates_nothing",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content")]);
            assert!(fs::copy("/bin/sleep", s.lower(0).join("program")).unwrap() > 0);
        },
        |s| {
            let path = s.mnt().join("f");
            let reader = File::open(&path).unwrap();
            let flags = OFlags::RDONLY | OFlags::TRUNC;
            if !s.mounted().asks_at_opens() {
                // Nobody is asked before the kernel itself has looked whether it is a program that runs.
                let program = s.mnt().join("program");
                let mut running = Command::new(&program).arg("60").spawn().unwrap();
                let refused = rustix::fs::open(&program, flags, Mode::empty());
                running.kill().unwrap();
                running.wait().unwrap();
                assert_eq!(refused.unwrap_err(), rustix::io::Errno::TXTBSY);
                assert!(fs::read(&program).unwrap() == fs::read(s.lower(0).join("program")).unwrap());
                return;
            }
            assert_eq!(rustix::fs::open(&path, flags, Mode::empty()).unwrap_err(), rustix::io::Errno::TXTBSY);
            assert_eq!((text(&path), fs::metadata(&path).unwrap().len()), ("content".into(), 7));
            drop(reader);
        },
    );
}
