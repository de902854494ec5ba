//! Files of a lower with several names: one file, before and after their copy_up.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Stack, each_mode, errno, ino, names, real_root, text, write_all};

/// Names of one file, in a directory that is beside, one that is not, and one that is deep.
const NAMES: [&str; 4] = ["a/one", "a/two", "b/three", "c/d/e/four"];

/// The same file under all of `names`, in lower `n`.
fn linked(s: &Stack, n: usize, names: &[&str], content: &str) {
    let lower = s.lower(n);
    write_all(&lower, &[(names[0], content)]);
    for name in &names[1..] {
        fs::create_dir_all(lower.join(name).parent().unwrap()).unwrap();
        fs::hard_link(lower.join(names[0]), lower.join(name)).unwrap();
    }
}

/// All of `names` are one file below `root`, with as many links, and show `content`.
fn one_file(root: &Path, names: &[&str], content: &str) {
    let first = fs::metadata(root.join(names[0])).unwrap();
    for name in names {
        let meta = fs::metadata(root.join(name)).unwrap();
        assert_eq!((meta.ino(), meta.nlink()), (first.ino(), names.len() as u64), "{name}");
        assert_eq!(text(root.join(name)), content, "{name}");
    }
}

#[test]
fn a_write_through_one_name_is_seen_through_all_also_after_a_new_mount() {
    each_mode(
        "hard_links::a_write_through_one_name_is_seen_through_all_also_after_a_new_mount",
        2,
        |s| {
            write_all(&s.lower(0), &[("a/other", ""), ("unrelated", "")]);
            linked(s, 1, &NAMES, "lower");
        },
        |s| {
            let before = crate::fixture::tree(&s.lower(1));
            one_file(&s.mnt(), &NAMES, "lower");
            let number = ino(s.mnt().join(NAMES[0]));
            OpenOptions::new().append(true).open(s.mnt().join(NAMES[3])).unwrap().write_all(b"+").unwrap();
            one_file(&s.mnt(), &NAMES, "lower+");
            assert_eq!(ino(s.mnt().join(NAMES[1])), number);
            one_file(&s.upper(), &NAMES, "lower+");
            s.unmount();
            s.mount("");
            one_file(&s.mnt(), &NAMES, "lower+");
            fs::write(s.mnt().join(NAMES[2]), "again").unwrap();
            one_file(&s.mnt(), &NAMES, "again");
            assert_eq!(crate::fixture::tree(&s.lower(1)), before);
        },
    );
}

#[test]
fn names_in_directories_that_nobody_visited_follow_and_nothing_else_is_copied() {
    each_mode(
        "hard_links::names_in_directories_that_nobody_visited_follow_and_nothing_else_is_copied",
        1,
        |s| {
            linked(s, 0, &NAMES, "lower");
            linked(s, 0, &["b/x", "c/d/y"], "second");
            write_all(&s.lower(0), &[("a/alone", ""), ("unrelated/z", "")]);
            for dir in ["a", "b", "c/d/e", "c/d", "c"] {
                let time = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 987_654_321 };
                let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
                rustix::fs::utimensat(CWD, s.lower(0).join(dir), &times, rustix::fs::AtFlags::empty()).unwrap();
            }
        },
        |s| {
            // A truncating open, a change of attributes: each is a first write.
            fs::write(s.mnt().join(NAMES[0]), "new").unwrap();
            fs::set_permissions(s.mnt().join("c/d/y"), fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(names(&s.upper()), ["a", "b", "c"]);
            assert_eq!(names(&s.upper().join("a")), ["one", "two"]);
            one_file(&s.upper(), &NAMES, "new");
            one_file(&s.upper(), &["b/x", "c/d/y"], "second");
            one_file(&s.mnt(), &NAMES, "new");
            assert_eq!(fs::metadata(s.mnt().join("b/x")).unwrap().mode() & 0o777, 0o600);
            for dir in ["a", "b", "c/d/e", "c/d", "c"] {
                let meta = fs::metadata(s.mnt().join(dir)).unwrap();
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 987_654_321), "{dir}");
            }
        },
    );
}

#[test]
fn names_that_are_hidden_stay_hidden() {
    let all = [
        "shown/one",
        "shown/two",
        "hidden/three",
        "opaque/four",
        "covered/five",
        "shown/six",
        "gone/seven",
        "file/eight",
    ];
    each_mode(
        "hard_links::names_that_are_hidden_stay_hidden",
        2,
        |s| {
            linked(s, 1, &all, "lower");
            write_all(
                &s.lower(0),
                &[
                    ("hidden/.wh.three", ""),
                    ("opaque/.wh..wh..opq", ""),
                    ("covered/five", "another"),
                    (".wh.gone", ""),
                    ("file", "a file"),
                ],
            );
        },
        |s| {
            let mnt = s.mnt();
            fs::remove_file(mnt.join("shown/six")).unwrap();
            assert_eq!(fs::metadata(mnt.join("shown/one")).unwrap().nlink(), 8, "as the layer says");
            fs::write(mnt.join("shown/two"), "new").unwrap();
            one_file(&mnt, &["shown/one", "shown/two"], "new");
            for name in ["hidden/three", "opaque/four", "shown/six", "gone/seven"] {
                assert_eq!(errno(fs::symlink_metadata(mnt.join(name))), libc::ENOENT, "{name}");
            }
            assert_eq!(text(mnt.join("covered/five")), "another");
            assert_eq!(text(mnt.join("file")), "a file");
            assert_eq!(names(&s.upper()), ["shown"]);
            assert_eq!(names(&s.upper().join("shown")), [".wh.six", "one", "two"]);
            s.unmount();
            s.mount("");
            one_file(&mnt, &["shown/one", "shown/two"], "new");
            assert_eq!(errno(fs::symlink_metadata(mnt.join("hidden/three"))), libc::ENOENT);
        },
    );
}

#[test]
fn one_number_in_two_layers_is_two_files() {
    each_mode(
        "hard_links::one_number_in_two_layers_is_two_files",
        2,
        |s| {
            // As a store that shares equal files between layers: the lowers are one inode on the disk.
            linked(s, 1, &["x", "y"], "shared");
            fs::create_dir(s.lower(0).join("d")).unwrap();
            fs::hard_link(s.lower(1).join("x"), s.lower(0).join("d/z")).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            assert_eq!(ino(mnt.join("x")), ino(mnt.join("y")));
            assert_ne!(ino(mnt.join("x")), ino(mnt.join("d/z")));
            fs::write(mnt.join("y"), "new").unwrap();
            one_file(&mnt, &["x", "y"], "new");
            assert_eq!(text(mnt.join("d/z")), "shared");
            fs::write(mnt.join("d/z"), "own").unwrap();
            assert_eq!((text(mnt.join("x")), text(mnt.join("d/z"))), ("new".into(), "own".into()));
            assert_eq!(fs::metadata(mnt.join("d/z")).unwrap().nlink(), 1);
        },
    );
}

#[test]
fn names_are_renamed_and_removed_before_the_copy_up() {
    each_mode(
        "hard_links::names_are_renamed_and_removed_before_the_copy_up",
        1,
        |s| {
            linked(s, 0, &NAMES, "lower");
            linked(s, 0, &["p", "q", "r"], "pqr");
            linked(s, 0, &["m", "n"], "mn");
        },
        |s| {
            let mnt = s.mnt();
            fs::remove_file(mnt.join("a/one")).unwrap();
            // A rename is a first write itself.
            fs::rename(mnt.join("b/three"), mnt.join("b/moved")).unwrap();
            one_file(&mnt, &["a/two", "b/moved", "c/d/e/four"], "lower");
            fs::write(mnt.join("a/two"), "new").unwrap();
            one_file(&mnt, &["a/two", "b/moved", "c/d/e/four"], "new");
            assert_eq!(names(&s.upper().join("a")), [".wh.one", "two"]);
            assert_eq!(names(&s.upper().join("b")), [".wh.three", "moved"]);
            // Between two names of one file rename(2) does nothing, also when nobody has seen the other one.
            fs::rename(mnt.join("p"), mnt.join("q")).unwrap();
            one_file(&mnt, &["p", "q", "r"], "pqr");
            let exchanged = renameat_with(CWD, mnt.join("p"), CWD, mnt.join("r"), RenameFlags::EXCHANGE);
            assert!(exchanged.is_ok());
            one_file(&mnt, &["p", "q", "r"], "pqr");
            // Replaced by a rename: the other name stays.
            fs::write(mnt.join("plain"), "plain").unwrap();
            fs::rename(mnt.join("plain"), mnt.join("m")).unwrap();
            fs::write(mnt.join("n"), "alone").unwrap();
            assert_eq!((text(mnt.join("m")), text(mnt.join("n"))), ("plain".into(), "alone".into()));
            assert_eq!(fs::metadata(mnt.join("n")).unwrap().nlink(), 1);
            // All but one removed, one after the other.
            for name in ["a/two", "b/moved"] {
                fs::remove_file(mnt.join(name)).unwrap();
            }
            one_file(&mnt, &["c/d/e/four"], "new");
            s.unmount();
            s.mount("");
            one_file(&mnt, &["c/d/e/four"], "new");
            one_file(&mnt, &["p", "q", "r"], "pqr");
        },
    );
}

#[test]
fn new_links_join_the_old_names() {
    each_mode(
        "hard_links::new_links_join_the_old_names",
        1,
        |s| {
            linked(s, 0, &["a/one", "b/two"], "lower");
        },
        |s| {
            let mnt = s.mnt();
            fs::hard_link(mnt.join("b/two"), mnt.join("three")).unwrap();
            one_file(&mnt, &["a/one", "b/two", "three"], "lower");
            fs::write(mnt.join("a/one"), "new").unwrap();
            one_file(&mnt, &["a/one", "b/two", "three"], "new");
        },
    );
}

#[test]
fn readers_of_another_name_read_on_and_new_readers_see_the_new_content() {
    each_mode(
        "hard_links::readers_of_another_name_read_on_and_new_readers_see_the_new_content",
        1,
        |s| {
            linked(s, 0, &NAMES, "old-data");
        },
        |s| {
            let mnt = s.mnt();
            let path = |n: usize| mnt.join(NAMES[n]);
            // The kernel knows every name before the write.
            one_file(&mnt, &NAMES, "old-data");
            let held = File::open(path(0)).unwrap();
            let writer = OpenOptions::new().write(true).open(path(1)).unwrap();
            writer.write_at(b"NEW", 0).unwrap();
            for n in [2, 0, 3, 1, 2] {
                assert_eq!(text(path(n)), "NEW-data", "{}", NAMES[n]);
            }
            let expected = if s.mounted().passthrough() && real_root() { "old-data" } else { "NEW-data" };
            let mut seen = String::new();
            (&held).read_to_string(&mut seen).unwrap();
            assert_eq!(seen, expected);
            // The descriptor stands for the old reader, however often it is opened again.
            for _ in 0..2 {
                assert_eq!(text(format!("/proc/self/fd/{}", held.as_raw_fd())), expected);
            }
            // Attributes that are changed through the old descriptor show under every name.
            held.set_permissions(fs::Permissions::from_mode(0o604)).unwrap();
            for name in NAMES {
                assert_eq!(fs::metadata(mnt.join(name)).unwrap().mode() & 0o777, 0o604, "{name}");
            }
            // And what is changed by a name.
            OpenOptions::new().write(true).open(path(3)).unwrap().set_len(3).unwrap();
            nix::unistd::truncate(&path(2), 2).unwrap();
            for name in NAMES {
                let path = mnt.join(name);
                assert_eq!((fs::metadata(&path).unwrap().len(), text(&path)), (2, "NE".into()), "{name}");
            }
            assert_eq!(held.metadata().unwrap().ino(), ino(path(3)));
            drop((held, writer));
            one_file(&mnt, &NAMES, "NE");
        },
    );
}

#[test]
fn a_link_made_while_a_reader_holds_the_lower_leads_both_names_to_the_new_content() {
    each_mode(
        "hard_links::a_link_made_while_a_reader_holds_the_lower_leads_both_names_to_the_new_content",
        1,
        |s| write_all(&s.lower(0), &[("f", "old-data")]),
        |s| {
            let mnt = s.mnt();
            let held = File::open(mnt.join("f")).unwrap();
            fs::hard_link(mnt.join("f"), mnt.join("g")).unwrap();
            OpenOptions::new().write(true).open(mnt.join("g")).unwrap().write_all(b"NEW").unwrap();
            one_file(&mnt, &["f", "g"], "NEW-data");
            drop(held);
            one_file(&mnt, &["f", "g"], "NEW-data");
        },
    );
}

#[test]
fn a_file_that_lost_the_name_it_was_opened_by_has_its_other_names() {
    each_mode(
        "hard_links::a_file_that_lost_the_name_it_was_opened_by_has_its_other_names",
        1,
        |s| {
            linked(s, 0, &["a/low", "b/other"], "lower");
            write_all(&s.upper(), &[("up", "upper"), ("d/", "")]);
            fs::hard_link(s.upper().join("up"), s.upper().join("d/up2")).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            let held = File::open(mnt.join("a/low")).unwrap();
            fs::remove_file(mnt.join("a/low")).unwrap();
            // The other name was never looked up, and is the file all the same.
            held.set_permissions(fs::Permissions::from_mode(0o606)).unwrap();
            assert_eq!(fs::metadata(mnt.join("b/other")).unwrap().mode() & 0o777, 0o606);
            assert_eq!(held.metadata().unwrap().ino(), ino(mnt.join("b/other")));
            fs::write(mnt.join("b/other"), "new").unwrap();
            assert_eq!(text(mnt.join("b/other")), "new");
            assert_eq!(names(&s.upper().join("a")), [".wh.low"]);
            let held = File::open(mnt.join("up")).unwrap();
            fs::remove_file(mnt.join("up")).unwrap();
            fs::hard_link(mnt.join("d/up2"), mnt.join("d/up3")).unwrap();
            one_file(&mnt, &["d/up2", "d/up3"], "upper");
            assert_eq!(held.metadata().unwrap().nlink(), 2);
        },
    );
}

#[test]
fn a_name_that_goes_while_a_reader_holds_the_lower_is_counted_through_all_others() {
    let names = ["one", "two", "three"];
    each_mode(
        "hard_links::a_name_that_goes_while_a_reader_holds_the_lower_is_counted_through_all_others",
        1,
        |s| linked(s, 0, &names, "old"),
        |s| {
            let mnt = s.mnt();
            one_file(&mnt, &names, "old");
            // The kernel goes on knowing this name by the reader's node, and the next one by another.
            let _reader = File::open(mnt.join("one")).unwrap();
            fs::write(mnt.join("two"), "new").unwrap();
            // Attributes are kept again when the close has been told of.
            std::thread::sleep(std::time::Duration::from_millis(50));
            let links = || fs::metadata(mnt.join("two")).unwrap().nlink();
            assert_eq!((links(), links()), (3, 3));
            fs::remove_file(mnt.join("one")).unwrap();
            one_file(&mnt, &names[1..], "new");
        },
    );
}

#[test]
fn symlinks_and_special_files_keep_their_links() {
    each_mode(
        "hard_links::symlinks_and_special_files_keep_their_links",
        1,
        |s| {
            let lower = s.lower(0);
            write_all(&lower, &[("d/", "")]);
            symlink("target", lower.join("link")).unwrap();
            fs::hard_link(lower.join("link"), lower.join("d/link")).unwrap();
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(CWD, lower.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
            fs::hard_link(lower.join("fifo"), lower.join("d/fifo")).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 6 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            for name in ["link", "fifo"] {
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::utimensat(CWD, mnt.join(name), &times, flags).unwrap();
                for place in [&mnt, &s.upper()] {
                    let (one, two) = (place.join(name), place.join("d").join(name));
                    let meta = fs::symlink_metadata(&two).unwrap();
                    assert_eq!((meta.mtime(), meta.nlink(), meta.ino()), (5, 2, ino(one)), "{name}");
                }
            }
            assert_eq!(fs::read_link(mnt.join("d/link")).unwrap().to_str(), Some("target"));
            assert!(fs::symlink_metadata(mnt.join("d/fifo")).unwrap().file_type().is_fifo());
        },
    );
}

#[test]
fn first_writes_through_all_names_at_once_make_one_file() {
    each_mode(
        "hard_links::first_writes_through_all_names_at_once_make_one_file",
        1,
        |s| {
            for n in 0..8 {
                let names: Vec<String> = (0..6).map(|dir| format!("{dir}/{n}")).collect();
                linked(s, 0, &names.iter().map(String::as_str).collect::<Vec<_>>(), &"x".repeat(50_000));
            }
        },
        |s| {
            let start = std::sync::Barrier::new(6);
            std::thread::scope(|scope| {
                for dir in 0..6u8 {
                    let (mnt, start) = (s.mnt(), &start);
                    scope.spawn(move || {
                        start.wait();
                        for n in 0..8 {
                            let path = mnt.join(format!("{dir}/{n}"));
                            if n == 7 && dir % 2 == 1 {
                                // Some names go meanwhile.
                                fs::remove_file(path).unwrap();
                                continue;
                            }
                            let file = OpenOptions::new().write(true).open(path).unwrap();
                            file.write_at(&[b'0' + dir], u64::from(dir)).unwrap();
                        }
                    });
                }
            });
            for n in 0..8 {
                let dirs: Vec<u8> = (0..6).filter(|dir| n < 7 || dir % 2 == 0).collect();
                let names: Vec<String> = dirs.iter().map(|dir| format!("{dir}/{n}")).collect();
                let mut expected = vec![b'x'; 50_000];
                dirs.iter().for_each(|dir| expected[usize::from(*dir)] = b'0' + dir);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                one_file(&s.mnt(), &names, std::str::from_utf8(&expected).unwrap());
                one_file(&s.upper(), &names, std::str::from_utf8(&expected).unwrap());
            }
        },
    );
}

#[test]
fn what_is_mounted_in_a_layer_is_not_searched_for_names_of_a_file_beside_it() {
    each_mode(
        "hard_links::what_is_mounted_in_a_layer_is_not_searched_for_names_of_a_file_beside_it",
        1,
        |s| {
            linked(s, 0, &NAMES, "linked");
            let place = s.lower(0).join("proc");
            fs::create_dir(&place).unwrap();
            // Processes come and go while it is read.
            let flags = nix::mount::MsFlags::MS_BIND | nix::mount::MsFlags::MS_REC;
            nix::mount::mount(Some("/proc"), &place, None::<&str>, flags, None::<&str>).unwrap();
        },
        |s| {
            let coming_and_going = AtomicBool::new(true);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while coming_and_going.load(Ordering::Relaxed) {
                        std::thread::spawn(|| ()).join().unwrap();
                    }
                });
                let written = OpenOptions::new().append(true).open(s.mnt().join(NAMES[0]));
                let written = written.and_then(|mut file| file.write_all(b"+"));
                coming_and_going.store(false, Ordering::Relaxed);
                let place = s.lower(0).join("proc");
                nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH).unwrap();
                written.unwrap();
            });
            for name in NAMES {
                assert_eq!(text(s.mnt().join(name)), "linked+");
            }
        },
    );
}
