//! What removing and replacing leaves in the upper.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use layerbench::union::{UnionConfig, mount_background};

use crate::fixture::{Stack, each_mode, errno, ino, names, text, write_all};

#[test]
fn removing_a_lower_file_leaves_a_whiteout_and_creating_it_again_removes_that() {
    each_mode(
        "whiteout::removing_a_lower_file_leaves_a_whiteout_and_creating_it_again_removes_that",
        2,
        |s| {
            write_all(&s.lower(1), &[("d/f", "lower"), ("d/keep", "lower")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            fs::remove_file(mnt.join("d/f")).unwrap();
            assert_eq!(names(&upper.join("d")), [".wh.f"]);
            assert_eq!(names(&mnt.join("d")), ["keep"]);
            assert_eq!(errno(fs::read(mnt.join("d/f"))), libc::ENOENT);
            fs::write(mnt.join("d/f"), "new").unwrap();
            assert_eq!(names(&upper.join("d")), ["f"]);
            assert_eq!(text(mnt.join("d/f")), "new");
            // Now in both: the whiteout comes back when the upper file goes.
            fs::remove_file(mnt.join("d/f")).unwrap();
            assert_eq!(names(&upper.join("d")), [".wh.f"]);
            symlink("target", mnt.join("d/f")).unwrap();
            assert_eq!(names(&upper.join("d")), ["f"]);
            assert_eq!(text(s.lower(1).join("d/f")), "lower");
        },
    );
}

#[test]
fn a_file_of_the_upper_alone_goes_without_a_trace() {
    each_mode(
        "whiteout::a_file_of_the_upper_alone_goes_without_a_trace",
        1,
        |_| {},
        |s| {
            fs::write(s.mnt().join("f"), "").unwrap();
            fs::create_dir(s.mnt().join("d")).unwrap();
            fs::remove_file(s.mnt().join("f")).unwrap();
            fs::remove_dir(s.mnt().join("d")).unwrap();
            assert_eq!(names(&s.upper()), Vec::<String>::new());
        },
    );
}

#[test]
fn a_directory_in_place_of_a_removed_one_is_opaque() {
    each_mode(
        "whiteout::a_directory_in_place_of_a_removed_one_is_opaque",
        2,
        |s| {
            write_all(&s.lower(0), &[("d/zero", "")]);
            write_all(&s.lower(1), &[("d/one", ""), ("d/sub/deep", "")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            assert_eq!(errno(fs::remove_dir(mnt.join("d"))), libc::ENOTEMPTY);
            fs::remove_dir_all(mnt.join("d")).unwrap();
            assert_eq!(names(&upper), [".wh.d"]);
            assert_eq!(errno(fs::metadata(mnt.join("d"))), libc::ENOENT);
            fs::create_dir(mnt.join("d")).unwrap();
            assert_eq!(names(&upper), ["d"]);
            assert_eq!(names(&upper.join("d")), [".wh..wh..opq"]);
            assert_eq!(names(&mnt.join("d")), Vec::<String>::new());
            fs::create_dir(mnt.join("d/sub")).unwrap();
            assert_eq!(names(&mnt.join("d/sub")), Vec::<String>::new());
            // Also for a daemon that reads it from the disk.
            s.unmount();
            s.mount("");
            assert_eq!(names(&mnt.join("d")), ["sub"]);
            assert_eq!(names(&mnt.join("d/sub")), Vec::<String>::new());
        },
    );
}

#[test]
fn a_merged_directory_whose_content_was_removed_can_be_removed() {
    each_mode(
        "whiteout::a_merged_directory_whose_content_was_removed_can_be_removed",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/a", ""), ("d/b", "")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            fs::write(mnt.join("d/u"), "").unwrap();
            for name in ["a", "b", "u"] {
                fs::remove_file(mnt.join("d").join(name)).unwrap();
            }
            assert_eq!(names(&upper.join("d")), [".wh.a", ".wh.b"]);
            fs::remove_dir(mnt.join("d")).unwrap();
            assert_eq!(names(&upper), [".wh.d"]);
        },
    );
}

#[test]
fn an_upper_where_no_whiteout_can_be_made_is_refused() {
    each_mode(
        "whiteout::an_upper_where_no_whiteout_can_be_made_is_refused",
        1,
        |_| {},
        |s| {
            // On the mount of another union.
            let upper = s.mnt().join("upper");
            fs::create_dir(&upper).unwrap();
            let inner = Stack::new(1);
            let refused = mount_background(UnionConfig { upper: Some(upper), ..inner.config("") }, &inner.mnt());
            let said = refused.map(|_| ()).unwrap_err().to_string();
            assert!(
                said.contains("/mnt/upper is on a file system that allows no name that begins with \".wh.\""),
                "{said}"
            );
            assert_eq!(names(&s.mnt()), ["upper"], "no work directory is left");
        },
    );
}

#[test]
fn reserved_names_can_neither_be_seen_nor_made() {
    each_mode(
        "whiteout::reserved_names_can_neither_be_seen_nor_made",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "")]);
        },
        |s| {
            let mnt = s.mnt();
            for name in [".wh.f", ".wh.x", ".wh..wh..opq", ".wh..wh.aufs", ".wh."] {
                let path = mnt.join(name);
                assert_eq!(errno(fs::symlink_metadata(&path)), libc::ENOENT, "{name}");
                assert_eq!(errno(fs::write(&path, "")), libc::EPERM, "{name}");
                assert_eq!(errno(fs::create_dir(&path)), libc::EPERM, "{name}");
                assert_eq!(errno(symlink("t", &path)), libc::EPERM, "{name}");
                assert_eq!(errno(fs::hard_link(mnt.join("f"), &path)), libc::EPERM, "{name}");
                assert_eq!(errno(fs::rename(mnt.join("f"), &path)), libc::EPERM, "{name}");
            }
            assert_eq!(names(&s.upper()), Vec::<String>::new());
            // What is like them and is not.
            fs::write(mnt.join(".wh"), "").unwrap();
            assert_eq!(names(&mnt), [".wh", "f"]);
        },
    );
}

#[test]
fn a_real_entry_beside_its_whiteout_is_there_and_hides_what_is_below() {
    each_mode(
        "whiteout::a_real_entry_beside_its_whiteout_is_there_and_hides_what_is_below",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/old", ""), ("f", "old")]);
            // What a crash between the two steps of a removal leaves.
            write_all(&s.upper(), &[("d/new", ""), (".wh.d", ""), ("f", "new"), (".wh.f", "")]);
        },
        |s| {
            assert_eq!(names(&s.mnt()), ["d", "f"]);
            assert_eq!(names(&s.mnt().join("d")), ["new"]);
            assert_eq!(text(s.mnt().join("f")), "new");
            fs::remove_file(s.mnt().join("f")).unwrap();
            assert_eq!(names(&s.mnt()), ["d"]);
            assert_eq!(names(&s.upper()), [".wh.d", ".wh.f", "d"]);
        },
    );
}

#[test]
fn the_prefix_of_whiteouts_alone_is_no_name_and_keeps_no_directory() {
    each_mode(
        "whiteout::the_prefix_of_whiteouts_alone_is_no_name_and_keeps_no_directory",
        2,
        |s| {
            write_all(&s.lower(0), &[("d/.wh.", "of nothing"), ("d/f", ""), ("deep/.wh.", "")]);
            write_all(&s.lower(1), &[("deep/g", "")]);
            write_all(&s.upper(), &[("e/.wh.", "")]);
        },
        |s| {
            let [d, e, deep] = ["d", "e", "deep"].map(|name| s.mnt().join(name));
            assert_eq!((names(&d), names(&e), names(&deep)), (vec!["f".into()], vec![], vec!["g".into()]));
            assert_eq!(errno(fs::symlink_metadata(d.join(".wh."))), libc::ENOENT);
            fs::remove_file(d.join("f")).unwrap();
            for dir in [d, e] {
                fs::remove_dir(dir).unwrap();
            }
            assert_eq!(names(&s.mnt()), ["deep"]);
        },
    );
}

#[test]
fn a_directory_that_cannot_be_removed_goes_on_hiding_what_is_below() {
    each_mode(
        "whiteout::a_directory_that_cannot_be_removed_goes_on_hiding_what_is_below",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/old", "removed long ago")]);
            // What a crash may have left: the directory was removed below, made anew, and had a file removed.
            write_all(&s.upper(), &[("d/.wh.gone", ""), (".wh.d", "")]);
        },
        |s| {
            let dir = s.mnt().join("d");
            assert_eq!(names(&dir), Vec::<String>::new());
            // Where it goes with its whiteouts there is no place any more.
            fs::remove_dir_all(s.scratch_dir()).unwrap();
            assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOENT);
            fs::create_dir(s.scratch_dir()).unwrap();
            s.unmount();
            s.mount("");
            assert_eq!(names(&dir), Vec::<String>::new());
            fs::remove_dir(&dir).unwrap();
            assert_eq!(names(&s.mnt()), Vec::<String>::new());
        },
    );
}

#[test]
fn whiteouts_and_opaque_markers_are_names_of_one_file() {
    each_mode(
        "whiteout::whiteouts_and_opaque_markers_are_names_of_one_file",
        1,
        |s| write_all(&s.lower(0), &[("a", ""), ("b", ""), ("c", ""), ("d/f", ""), ("e", "")]),
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            let marker = |name: &str| ino(upper.join(name));
            for name in ["a", "b"] {
                fs::remove_file(mnt.join(name)).unwrap();
            }
            fs::remove_dir_all(mnt.join("d")).unwrap();
            fs::create_dir(mnt.join("d")).unwrap();
            assert_eq!([marker(".wh.b"), marker("d/.wh..wh..opq")], [marker(".wh.a"); 2]);
            let permissions = fs::metadata(upper.join(".wh.a")).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o7777, 0o444);
            // Where that file has gone, the next one takes its place.
            fs::remove_file(s.scratch_dir().join(".wh..wh.aufs")).unwrap();
            for name in ["c", "e"] {
                fs::remove_file(mnt.join(name)).unwrap();
            }
            assert_ne!(marker(".wh.c"), marker(".wh.a"));
            assert_eq!(marker(".wh.e"), marker(".wh.c"));
            assert_eq!(names(&mnt), ["d"]);
        },
    );
}
