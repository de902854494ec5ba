//! rename(2) between layers.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{each_mode, errno, names, text, write_all};

fn rename2(from: &Path, to: &Path, flags: RenameFlags) -> i32 {
    renameat_with(CWD, from, CWD, to, flags).map_or_else(|errno| errno.raw_os_error(), |()| 0)
}

#[test]
fn a_lower_file_moves_by_copy_and_whiteout() {
    each_mode(
        "rename::a_lower_file_moves_by_copy_and_whiteout",
        2,
        |s| {
            write_all(&s.lower(1), &[("d/f", "lower"), ("e/old", "old")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            fs::rename(mnt.join("d/f"), mnt.join("e/g")).unwrap();
            assert_eq!((names(&upper.join("d")), names(&upper.join("e"))), (vec![".wh.f".into()], vec!["g".into()]));
            assert_eq!(text(mnt.join("e/g")), "lower");
            assert_eq!(names(&mnt.join("d")), Vec::<String>::new());
            // Over a lower file: no whiteout is needed where the upper has the name.
            fs::rename(mnt.join("e/g"), mnt.join("e/old")).unwrap();
            assert_eq!(names(&upper.join("e")), ["old"]);
            assert_eq!(names(&mnt.join("e")), ["old"]);
            assert_eq!(text(mnt.join("e/old")), "lower");
            // Back over the whiteout.
            fs::rename(mnt.join("e/old"), mnt.join("d/f")).unwrap();
            assert_eq!(names(&upper.join("d")), ["f"]);
            assert_eq!(names(&upper.join("e")), [".wh.old"]);
        },
    );
}

#[test]
fn a_directory_with_anything_below_is_exdev_and_any_other_moves() {
    each_mode(
        "rename::a_directory_with_anything_below_is_exdev_and_any_other_moves",
        1,
        |s| {
            write_all(&s.lower(0), &[("low/f", ""), ("merged/f", ""), ("empty/", ""), ("emptied/x", "")]);
            write_all(&s.upper(), &[("merged/u", ""), ("own/sub/deep", "deep")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            for name in ["low", "merged"] {
                assert_eq!(errno(fs::rename(mnt.join(name), mnt.join("new"))), libc::EXDEV, "{name}");
            }
            fs::rename(mnt.join("own"), mnt.join("new")).unwrap();
            assert_eq!(text(mnt.join("new/sub/deep")), "deep");
            fs::write(mnt.join("new/sub/more"), "").unwrap();
            assert_eq!(names(&upper.join("new/sub")), ["deep", "more"]);
            fs::rename(mnt.join("empty"), mnt.join("moved")).unwrap();
            assert_eq!(names(&upper.join("moved")), [".wh..wh..opq"]);
            fs::remove_file(mnt.join("emptied/x")).unwrap();
            fs::rename(mnt.join("emptied"), mnt.join("moved2")).unwrap();
            assert_eq!(names(&mnt), ["low", "merged", "moved", "moved2", "new"]);
            assert_eq!(names(&mnt.join("moved2")), Vec::<String>::new());
        },
    );
}

#[test]
fn a_directory_that_moves_onto_a_removed_one_shows_nothing_of_it() {
    each_mode(
        "rename::a_directory_that_moves_onto_a_removed_one_shows_nothing_of_it",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/old", ""), ("e/old", "")]);
        },
        |s| {
            let mnt = s.mnt();
            // Onto a whiteout, and onto a merged directory that holds nothing but whiteouts.
            fs::remove_dir_all(mnt.join("d")).unwrap();
            fs::remove_file(mnt.join("e/old")).unwrap();
            for name in ["d", "e"] {
                fs::create_dir(mnt.join("n")).unwrap();
                fs::write(mnt.join("n/new"), name).unwrap();
                fs::rename(mnt.join("n"), mnt.join(name)).unwrap();
                assert_eq!(names(&mnt.join(name)), ["new"]);
            }
            assert_eq!(names(&s.upper()), ["d", "e"]);
            s.unmount();
            s.mount("");
            assert_eq!((names(&mnt.join("d")), names(&mnt.join("e"))), (vec!["new".into()], vec!["new".into()]));
        },
    );
}

#[test]
fn flags_and_errors() {
    each_mode(
        "rename::flags_and_errors",
        1,
        |s| {
            write_all(&s.lower(0), &[("a", "a"), ("b", "b"), ("d/x", "x"), ("full/y", "")]);
            write_all(&s.upper(), &[("own/z", "z")]);
        },
        |s| {
            let mnt = s.mnt();
            let p = |name: &str| mnt.join(name);
            assert_eq!(rename2(&p("a"), &p("b"), RenameFlags::NOREPLACE), libc::EEXIST);
            assert_eq!(rename2(&p("a"), &p("b"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("a")), text(p("b"))), ("b".into(), "a".into()));
            assert_eq!(names(&s.upper()), ["a", "b", "own"]);
            assert_eq!(rename2(&p("a"), &p("nothing"), RenameFlags::EXCHANGE), libc::ENOENT);
            assert_eq!(rename2(&p("a"), &p("d"), RenameFlags::EXCHANGE), libc::EXDEV);
            assert_eq!(rename2(&p("a"), &p("d/x"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("a")), text(p("d/x"))), ("x".into(), "b".into()));
            assert_eq!(rename2(&p("own"), &p("a"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("own")), text(p("a/z"))), ("x".into(), "z".into()));
            assert_eq!(rename2(&p("a"), &p("c"), RenameFlags::WHITEOUT), libc::EINVAL);
            assert_eq!(errno(fs::rename(p("a"), p("full"))), libc::ENOTEMPTY);
            assert_eq!(errno(fs::rename(p("b"), p("full"))), libc::EISDIR);
            assert_eq!(errno(fs::rename(p("a"), p("b"))), libc::ENOTDIR);
            assert_eq!(errno(fs::rename(p("nothing"), p("b"))), libc::ENOENT);
            assert_eq!(text(p("b")), "a");
        },
    );
}

#[test]
fn who_opens_a_file_that_is_being_replaced_gets_one_of_the_two() {
    each_mode(
        "rename::who_opens_a_file_that_is_being_replaced_gets_one_of_the_two",
        1,
        |_| (),
        |s| {
            let (path, new) = (s.mnt().join("x"), s.mnt().join("new"));
            // Each file says which one it is.
            let make = |at: &Path| {
                let file = File::create(at).unwrap();
                let ino = file.metadata().unwrap().ino();
                (&file).write_all(ino.to_string().as_bytes()).unwrap();
            };
            make(&path);
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..1500 {
                        make(&new);
                        fs::rename(&new, &path).unwrap();
                    }
                    over.store(true, Ordering::Relaxed);
                });
                while !over.load(Ordering::Relaxed) {
                    let mut file = File::open(&path).unwrap();
                    let mut said = String::new();
                    file.read_to_string(&mut said).unwrap();
                    let ino = file.metadata().unwrap().ino().to_string();
                    // A writer that has not come to it yet is no other file.
                    assert!(said == ino || said.is_empty(), "{ino} says that it is {said}");
                }
            });
        },
    );
}

#[test]
fn a_directory_that_cannot_be_replaced_stays_and_so_does_the_other() {
    each_mode(
        "rename::a_directory_that_cannot_be_replaced_stays_and_so_does_the_other",
        1,
        |s| write_all(&s.lower(0), &[("old/f", "gone"), ("new/below", "gone too")]),
        |s| {
            let (old, new) = (s.mnt().join("old"), s.mnt().join("new"));
            fs::remove_file(old.join("f")).unwrap();
            fs::remove_file(new.join("below")).unwrap();
            fs::write(new.join("data"), "precious").unwrap();
            // Where the replaced directory goes with its whiteouts there is no place any more.
            fs::remove_dir(s.scratch_dir()).unwrap();
            assert_eq!(errno(fs::rename(&new, &old)), libc::ENOENT);
            for root in [s.mnt(), s.upper()] {
                assert_eq!(text(root.join("new/data")), "precious");
            }
            assert_eq!((names(&old), names(&new)), (vec![], vec!["data".to_string()]));
            fs::create_dir(s.scratch_dir()).unwrap();
            s.unmount();
            s.mount("");
            assert_eq!((names(&old), names(&new)), (vec![], vec!["data".to_string()]));
            fs::rename(&new, &old).unwrap();
            assert_eq!(text(old.join("data")), "precious");
            assert!(!new.exists());
        },
    );
}
