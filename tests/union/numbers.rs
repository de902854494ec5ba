//! Inode numbers: which files share one, and how long a file keeps its.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Stack, each_mode, forget_all, here, ino, text, write_all};

/// All paths below a directory and their numbers; listings show the same ones.
fn all_numbers(root: &Path) -> BTreeMap<String, u64> {
    fn walk(root: &Path, at: &Path, into: &mut BTreeMap<String, u64>) {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let number = ino(&path);
            assert_eq!(entry.ino(), number, "{}", path.display());
            into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), number);
            if entry.file_type().unwrap().is_dir() {
                walk(root, &path, into);
            }
        }
    }
    let mut numbers = BTreeMap::new();
    walk(root, root, &mut numbers);
    numbers
}

#[test]
fn an_inode_keeps_its_number_through_copy_up_and_rename() {
    each_mode(
        "numbers::an_inode_keeps_its_number_through_copy_up_and_rename",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "1"), ("held", "1"), ("d/x", "")]);
        },
        |s| {
            let mnt = s.mnt();
            let ino = |name: &str| fs::metadata(mnt.join(name)).unwrap().ino();
            let (f, held, d) = (ino("f"), ino("held"), ino("d"));
            fs::write(mnt.join("f"), "2").unwrap();
            assert_eq!(ino("f"), f);
            fs::rename(mnt.join("f"), mnt.join("g")).unwrap();
            assert_eq!(ino("g"), f);
            let reader = File::open(mnt.join("held")).unwrap();
            fs::write(mnt.join("held"), "2").unwrap();
            assert_eq!(ino("held"), held);
            assert_eq!(reader.metadata().unwrap().ino(), held);
            fs::write(mnt.join("d/y"), "").unwrap();
            assert_eq!(ino("d"), d);
            // Two names of one file are one inode.
            fs::hard_link(mnt.join("g"), mnt.join("h")).unwrap();
            assert_eq!((ino("g"), ino("h")), (f, f));
            assert_eq!(fs::metadata(mnt.join("g")).unwrap().nlink(), 2);
            fs::write(mnt.join("h"), "through h").unwrap();
            assert_eq!(text(mnt.join("g")), "through h");
            fs::remove_file(mnt.join("g")).unwrap();
            assert_eq!(fs::metadata(mnt.join("h")).unwrap().nlink(), 1);
            assert_eq!(text(mnt.join("h")), "through h");
        },
    );
}

#[test]
fn links_of_the_upper_are_one_inode_also_after_a_new_mount() {
    each_mode(
        "numbers::links_of_the_upper_are_one_inode_also_after_a_new_mount",
        1,
        |s| {
            write_all(&s.upper(), &[("a/x", "1"), ("b/", "")]);
            fs::hard_link(s.upper().join("a/x"), s.upper().join("b/y")).unwrap();
        },
        |s| {
            let ino = |path: &str| fs::metadata(s.mnt().join(path)).unwrap().ino();
            assert_eq!(ino("a/x"), ino("b/y"));
            fs::write(s.mnt().join("a/x"), "longer than before").unwrap();
            assert_eq!(text(s.mnt().join("b/y")), "longer than before");
            fs::remove_file(s.mnt().join("a/x")).unwrap();
            assert_eq!(text(s.mnt().join("b/y")), "longer than before");
        },
    );
}

#[test]
fn numbers_outlast_the_mount() {
    each_mode(
        "numbers::numbers_outlast_the_mount",
        2,
        |s| {
            write_all(&s.lower(0), &[("top", "1"), ("merged/of0", "1"), ("only0/x/y/z", "1")]);
            write_all(&s.lower(1), &[("bottom", "1"), ("merged/of1", "1"), ("gone", "1"), ("moved", "1")]);
        },
        |s| {
            let mnt = s.mnt();
            let found = all_numbers(&mnt);
            assert_eq!(found.len(), 11);
            let made = [("made/", ""), ("made/file", "1"), ("merged/made", "1"), ("only0/x/made/deep", "1")];
            write_all(&mnt, &made);
            fs::write(mnt.join("bottom"), "written").unwrap();
            fs::write(mnt.join("only0/x/y/z"), "written").unwrap();
            fs::remove_file(mnt.join("gone")).unwrap();
            fs::write(mnt.join("gone"), "new").unwrap();
            fs::rename(mnt.join("moved"), mnt.join("made/moved")).unwrap();
            let mut before = all_numbers(&mnt);
            for (path, number) in found.iter().filter(|(path, _)| !["gone", "moved"].contains(&path.as_str())) {
                assert_eq!(before[path], *number, "{path}");
            }
            let moved = before.remove("made/moved").unwrap();
            assert_eq!(moved, found["moved"]);

            s.unmount();
            s.mount("");
            let mut after = all_numbers(&mnt);
            assert_ne!(after.remove("made/moved").unwrap(), moved, "its path is another one");
            // Where the kernel had not let go of the removed file yet, the new one had another number for the time being.
            before.insert("gone".into(), found["gone"]);
            assert_eq!(after, before);
            // The layers may lie elsewhere, and another stack may have the same path.
            let mut other = Stack::new(1);
            write_all(&other.lower(0), &[("only0/x/y/z", "other")]);
            other.mount("");
            assert_eq!(ino(other.mnt().join("only0/x/y/z")), before["only0/x/y/z"]);
        },
    );
}

#[test]
fn a_number_that_a_file_took_to_another_name_is_not_given_again() {
    each_mode(
        "numbers::a_number_that_a_file_took_to_another_name_is_not_given_again",
        1,
        |s| write_all(&s.lower(0), &[("a", "first"), ("d/x", "first"), ("p", "p"), ("q", "q")]),
        |s| {
            let mnt = s.mnt();
            let at = |name: &str| mnt.join(name);
            let [a, x, p, q] = ["a", "d/x", "p", "q"].map(|name| ino(at(name)));
            fs::rename(at("a"), at("b")).unwrap();
            fs::rename(at("d/x"), at("x")).unwrap();
            renameat_with(CWD, at("p"), CWD, at("q"), RenameFlags::EXCHANGE).unwrap();
            fs::remove_file(at("p")).unwrap();
            forget_all(&mnt);
            write_all(&mnt, &[("a", "second"), ("d/x", "second"), ("p", "second")]);
            for (name, number) in [("b", a), ("x", x), ("q", p)] {
                assert_eq!(ino(at(name)), number, "{name}");
            }
            // Directories are forgotten as well, and what they held is read anew.
            fs::create_dir(at("new")).unwrap();
            write_all(&at("new"), &[("y/z", "1")]);
            let below = ["", "y", "y/z"].map(|name| ino(at("new").join(name)));
            fs::rename(at("new"), at("newer")).unwrap();
            forget_all(&mnt);
            assert_eq!(["", "y", "y/z"].map(|name| ino(at("newer").join(name))), below);
            assert_eq!([ino(at("b")), ino(at("x"))], [a, x]);
            fs::remove_dir_all(at("newer")).unwrap();
            let mut all: Vec<u64> = all_numbers(&mnt).into_values().collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            assert_eq!((all.len(), count), (7, 7), "two files share a number");
            assert_eq!([text(at("a")), text(at("b")), text(at("x"))], ["second", "first", "first"]);
            assert!(ino(at("p")) != p && ino(at("a")) != a);
            // Nobody has q's number.
            assert!(all.iter().all(|number| *number != q));
        },
    );
}

#[test]
fn a_removed_file_keeps_its_number_while_it_is_open() {
    each_mode(
        "numbers::a_removed_file_keeps_its_number_while_it_is_open",
        1,
        |s| write_all(&s.lower(0), &[("lower", "old"), ("target", "old")]),
        |s| {
            let mnt = s.mnt();
            fs::write(mnt.join("upper"), "old").unwrap();
            fs::write(mnt.join("source"), "new").unwrap();
            let held = ["lower", "upper", "target"].map(|name| (name, File::open(mnt.join(name)).unwrap()));
            let numbers = held.each_ref().map(|(_, file)| file.metadata().unwrap().ino());
            fs::remove_file(mnt.join("lower")).unwrap();
            fs::remove_file(mnt.join("upper")).unwrap();
            fs::rename(mnt.join("source"), mnt.join("target")).unwrap();
            fs::remove_file(mnt.join("target")).unwrap();
            for ((name, file), number) in held.iter().zip(numbers) {
                fs::write(mnt.join(name), "new").unwrap();
                assert_ne!(ino(mnt.join(name)), number, "{name}");
                assert_eq!(file.metadata().unwrap().ino(), number, "{name}");
                assert_eq!(std::io::read_to_string(file).unwrap(), "old", "{name}");
                assert_eq!(text(mnt.join(name)), "new", "{name}");
            }
        },
    );
}

#[test]
fn the_last_name_of_several_leads_to_the_file_that_is_open_under_another() {
    each_mode(
        "numbers::the_last_name_of_several_leads_to_the_file_that_is_open_under_another",
        1,
        |s| {
            write_all(&s.upper(), &[("a", "1"), ("sub/", "")]);
            fs::hard_link(s.upper().join("a"), s.upper().join("sub/b")).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            let held = File::open(mnt.join("a")).unwrap();
            fs::remove_file(mnt.join("a")).unwrap();
            fs::write(mnt.join("sub/b"), "through the other").unwrap();
            assert_eq!(std::io::read_to_string(&held).unwrap(), "through the other");
            assert_eq!(held.metadata().unwrap().ino(), ino(mnt.join("sub/b")));
            fs::write(mnt.join("a"), "new").unwrap();
            assert_ne!(ino(mnt.join("a")), ino(mnt.join("sub/b")));
        },
    );
}

#[test]
fn small_numbers_fit_into_32_bits() {
    if !here("numbers::small_numbers_fit_into_32_bits") {
        return;
    }
    let mut s = Stack::new(1);
    write_all(&s.lower(0), &[("a", "1"), ("d/x", "1")]);
    s.mount("inode32");
    fs::write(s.mnt().join("made"), "1").unwrap();
    let numbers = all_numbers(&s.mnt());
    assert!(numbers.len() == 4 && numbers.values().all(|number| u32::try_from(*number).is_ok()), "{numbers:?}");
}
