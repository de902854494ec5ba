//! What the merged tree shows.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, chmod, listxattr, mknodat, setxattr};

use layerbench::union::{UnionConfig, UnionError, UnionOptions, mount_background};

use crate::fixture::{Stack, each_mode, errno, here, names, scratch, text, write_all};

#[test]
fn the_topmost_layer_wins_and_directories_merge() {
    each_mode(
        "merge::the_topmost_layer_wins_and_directories_merge",
        3,
        |s| {
            write_all(&s.lower(0), &[("d/a", "0"), ("only0", "0")]);
            write_all(&s.lower(1), &[("d/a", "1"), ("d/b", "1"), ("d/sub/x", "1")]);
            write_all(&s.lower(2), &[("d/a", "2"), ("d/b", "2"), ("d/c", "2"), ("d/sub/y", "2"), ("only2", "2")]);
            write_all(&s.upper(), &[("d/u", "u"), ("d/c", "u")]);
        },
        |s| {
            let mnt = s.mnt();
            assert_eq!(names(&mnt), ["d", "only0", "only2"]);
            assert_eq!(names(&mnt.join("d")), ["a", "b", "c", "sub", "u"]);
            assert_eq!(names(&mnt.join("d/sub")), ["x", "y"]);
            for (path, content) in
                [("d/a", "0"), ("d/b", "1"), ("d/c", "u"), ("d/u", "u"), ("d/sub/y", "2"), ("only2", "2")]
            {
                assert_eq!(text(mnt.join(path)), content, "{path}");
            }
            assert_eq!(errno(fs::metadata(mnt.join("d/nothing"))), libc::ENOENT);
        },
    );
}

#[test]
fn whiteouts_and_opaque_directories_of_lowers_hide_what_is_below_and_nothing_else() {
    each_mode(
        "merge::whiteouts_and_opaque_directories_of_lowers_hide_what_is_below_and_nothing_else",
        3,
        |s| {
            write_all(&s.lower(0), &[("above", "0"), ("both", "0"), (".wh..wh.aufs", ""), (".wh..wh.plnk/x", "")]);
            write_all(
                &s.lower(1),
                &[
                    (".wh.above", ""),
                    (".wh.gone", ""),
                    ("o/.wh..wh..opq", ""),
                    ("o/new", "1"),
                    (".wh.both", ""),
                    ("both", "1"),
                ],
            );
            write_all(&s.lower(2), &[("above", "2"), ("gone", "2"), ("o/old", "2"), ("both", "2"), ("stays", "2")]);
        },
        |s| {
            let mnt = s.mnt();
            assert_eq!(names(&mnt), ["above", "both", "o", "stays"]);
            assert_eq!(names(&mnt.join("o")), ["new"]);
            assert_eq!(text(mnt.join("above")), "0");
            for hidden in ["gone", "o/old", ".wh.gone", ".wh..wh.aufs", ".wh..wh.plnk", "o/.wh..wh..opq"] {
                assert_eq!(errno(fs::symlink_metadata(mnt.join(hidden))), libc::ENOENT, "{hidden}");
            }
        },
    );
}

/// Hides a name as the kernel's overlay does.
fn overlay_whiteout(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Hides what is below a directory as the kernel's overlay does in a user namespace.
fn overlay_opaque(path: &Path) {
    setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

#[test]
fn what_the_kernels_overlay_has_hidden_is_hidden_and_stays_so_when_it_is_written_to() {
    each_mode(
        "merge::what_the_kernels_overlay_has_hidden_is_hidden_and_stays_so_when_it_is_written_to",
        2,
        |s| {
            let below = ["gone", "d/gone", "d/stays", "o/old", "o/sub/old", "dir/x", "above", "again", "p/old"];
            write_all(&s.lower(1), &below.map(|name| (name, "1")));
            for name in ["gone", "d/gone", "dir"] {
                overlay_whiteout(&s.lower(0).join(name));
            }
            write_all(&s.lower(0), &[("o/new", "0"), ("p/middle", "0")]);
            overlay_opaque(&s.lower(0).join("o"));
            // It mounted this upper before.
            write_all(&s.upper(), &[("p/mine", "u")]);
            overlay_opaque(&s.upper().join("p"));
            overlay_whiteout(&s.upper().join("above"));
            overlay_whiteout(&s.upper().join("again"));
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            let hidden = ["gone", "d/gone", "dir", "dir/x", "o/old", "o/sub", "above", "again", "p/old", "p/middle"];
            for name in hidden {
                assert_eq!(errno(fs::symlink_metadata(mnt.join(name))), libc::ENOENT, "{name}");
            }
            let shown = |s: &Stack| ["", "d", "o", "p"].map(|dir| names(&s.mnt().join(dir)));
            let expected = [vec!["d", "o", "p"], vec!["stays"], vec!["new"], vec!["mine"]];
            assert_eq!(shown(s), expected);
            // What it keeps beside a file is nobody else's, and says nothing of the copy.
            let listed = |path: &Path| listxattr(path, &mut [0; 256][..]).unwrap();
            assert_eq!(listed(&mnt.join("o")), 0);
            fs::write(mnt.join("o/new"), "written").unwrap();
            fs::write(mnt.join("d/stays"), "written").unwrap();
            assert_eq!(listed(&upper.join("o")), 0);
            fs::write(mnt.join("again"), "new").unwrap();
            assert!(fs::symlink_metadata(upper.join("again")).unwrap().is_file());
            // One that somebody made here is a device.
            let made = mknodat(CWD, mnt.join("d/made"), FileType::CharacterDevice, Mode::RUSR, 0);
            let device =
                |s: &Stack| fs::symlink_metadata(s.mnt().join("d/made")).is_ok_and(|m| m.file_type().is_char_device());
            assert!(made.is_err() || device(s), "{made:?}");
            // The next mount would take it for overlay's.
            let denied = Err(rustix::io::Errno::PERM);
            assert_eq!(mknodat(CWD, mnt.join("d/hides"), FileType::CharacterDevice, Mode::empty(), 0), denied);
            assert!(made.is_err() || chmod(mnt.join("d/made"), Mode::empty()) == denied);
            s.unmount();
            assert_eq!(names(&upper.join("p")), [".wh..wh..opq", "mine"], "as aufs writes it");
            s.mount("");
            assert_eq!(made.is_ok(), device(s));
            let in_d = if made.is_ok() { vec!["made", "stays"] } else { vec!["stays"] };
            let expected = [vec!["again", "d", "o", "p"], in_d, vec!["new"], vec!["mine"]];
            assert_eq!(shown(s), expected);
            assert_eq!((text(mnt.join("o/new")), text(mnt.join("again"))), ("written".into(), "new".into()));
        },
    );
}

#[test]
fn an_upper_of_overlays_stays_one_where_it_is_mounted_read_only() {
    each_mode(
        "merge::an_upper_of_overlays_stays_one_where_it_is_mounted_read_only",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/gone", "0"), ("d/f", "0"), ("o/old", "0")]);
            write_all(&s.upper(), &[("o/", "")]);
            overlay_opaque(&s.upper().join("o"));
            overlay_whiteout(&s.upper().join("d/gone"));
        },
        |s| {
            let mut read_only = s.config("");
            read_only.options.mount.flags = nix::mount::MsFlags::MS_RDONLY;
            s.mount_with(read_only);
            let shown = |s: &Stack| ["d", "o"].map(|dir| names(&s.mnt().join(dir)));
            let expected = [vec!["f"], vec![]];
            assert_eq!(shown(s), expected);
            let upper = s.upper();
            assert_eq!((names(&upper.join("d")), names(&upper.join("o"))), (vec!["gone".to_string()], vec![]));
            s.mount("");
            assert_eq!(shown(s), expected);
            assert_eq!(names(&upper.join("d")), [".wh.gone"]);
        },
    );
}

#[test]
fn nobody_hides_what_is_below_with_an_attribute_of_overlays() {
    each_mode(
        "merge::nobody_hides_what_is_below_with_an_attribute_of_overlays",
        1,
        |s| write_all(&s.lower(0), &[("d/f", "content")]),
        |s| {
            let set = setxattr(s.mnt().join("d"), "user.overlay.opaque", b"y", XattrFlags::empty());
            assert_eq!(set, Err(rustix::io::Errno::OPNOTSUPP));
            assert_eq!(names(&s.mnt().join("d")), ["f"]);
            assert!(!s.upper().join("d").exists());
        },
    );
}

#[test]
fn a_file_between_two_directories_ends_the_upper_one() {
    each_mode(
        "merge::a_file_between_two_directories_ends_the_upper_one",
        3,
        |s| {
            write_all(&s.lower(0), &[("n/top", ""), ("f", "file")]);
            write_all(&s.lower(1), &[("n", "a file"), ("f/inside", "")]);
            write_all(&s.lower(2), &[("n/bottom", "")]);
        },
        |s| {
            assert_eq!(names(&s.mnt().join("n")), ["top"]);
            assert_eq!(text(s.mnt().join("f")), "file");
        },
    );
}

#[test]
fn a_symlink_in_a_layer_never_leads_the_daemon_out_of_it() {
    each_mode(
        "merge::a_symlink_in_a_layer_never_leads_the_daemon_out_of_it",
        2,
        |s| {
            write_all(&s.lower(1), &[("dir/secret", "lower")]);
            symlink("/etc", s.lower(0).join("dir")).unwrap();
            symlink("no/where", s.lower(0).join("dangling")).unwrap();
        },
        |s| {
            assert_eq!(fs::read_link(s.mnt().join("dir")).unwrap().to_str(), Some("/etc"));
            assert_eq!(fs::read_link(s.mnt().join("dangling")).unwrap().to_str(), Some("no/where"));
            // Replaced by a directory, it shows neither /etc nor the lower directory that it hid.
            fs::remove_file(s.mnt().join("dir")).unwrap();
            fs::create_dir(s.mnt().join("dir")).unwrap();
            assert_eq!(names(&s.mnt().join("dir")), Vec::<String>::new());
            fs::write(s.mnt().join("dir/hosts"), "mine").unwrap();
            assert_eq!(text(s.upper().join("dir/hosts")), "mine");
        },
    );
}

#[test]
fn a_large_directory_is_listed_completely_and_each_name_once() {
    each_mode(
        "merge::a_large_directory_is_listed_completely_and_each_name_once",
        4,
        |s| {
            for n in 0..1200 {
                write_all(&s.lower(n % 4), &[(&format!("d/file-with-a-name-of-some-length-{n:05}"), "")]);
            }
        },
        |s| {
            let dir = s.mnt().join("d");
            for round in 0..2 {
                let listed = names(&dir);
                assert_eq!(listed.len(), 1200, "round {round}");
                assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 1200);
            }
            // The number that a listing gives is the one that stat gives.
            for entry in fs::read_dir(&dir).unwrap().step_by(97) {
                use std::os::unix::fs::DirEntryExt;
                let entry = entry.unwrap();
                assert_eq!(entry.ino(), fs::symlink_metadata(entry.path()).unwrap().ino());
            }
            // Removing while listing hides nothing.
            let removed =
                fs::read_dir(&dir).unwrap().inspect(|e| fs::remove_file(e.as_ref().unwrap().path()).unwrap()).count();
            assert_eq!(removed, 1200);
            assert_eq!(names(&dir), Vec::<String>::new());
        },
    );
}

#[test]
fn five_hundred_lowers_are_one_tree() {
    if !here("merge::five_hundred_lowers_are_one_tree") {
        return;
    }
    let mut s = Stack::new(500);
    for n in 0..500 {
        write_all(&s.lower(n), &[(&format!("d/{n}"), &n.to_string()), ("d/same", &n.to_string())]);
    }
    s.mount("");
    assert_eq!(names(&s.mnt().join("d")).len(), 501);
    assert_eq!(text(s.mnt().join("d/same")), "0");
    assert_eq!(text(s.mnt().join("d/499")), "499");
    s.unmount();
}

#[test]
fn without_an_upper_everything_can_be_read_and_nothing_written() {
    if !here("merge::without_an_upper_everything_can_be_read_and_nothing_written") {
        return;
    }
    let mut s = Stack::new(2);
    write_all(&s.lower(0), &[("a", "0")]);
    write_all(&s.lower(1), &[("b", "1")]);
    let config = layerbench::union::UnionConfig { upper: None, ..s.config("") };
    s.mount_with(config);
    assert_eq!(text(s.mnt().join("b")), "1");
    assert_eq!(errno(fs::write(s.mnt().join("a"), "x")), libc::EROFS);
    assert_eq!(errno(fs::remove_file(s.mnt().join("a"))), libc::EROFS);
    assert_eq!(errno(fs::create_dir(s.mnt().join("n"))), libc::EROFS);
}

#[test]
fn a_path_longer_than_path_max_works() {
    each_mode(
        "merge::a_path_longer_than_path_max_works",
        1,
        |_| {},
        |s| {
            use rustix::fs::{CWD, Mode, OFlags};
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let mut dir = rustix::fs::openat(CWD, s.mnt(), flags, Mode::empty()).unwrap();
            let name = "n".repeat(250);
            for _ in 0..20 {
                rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
                dir = rustix::fs::openat(&dir, &name, flags, Mode::empty()).unwrap();
            }
            let file = rustix::fs::openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR).unwrap();
            rustix::io::write(&file, b"deep").unwrap();
            assert_eq!(rustix::fs::statat(&dir, "f", rustix::fs::AtFlags::empty()).unwrap().st_size, 4);
        },
    );
}

#[test]
fn the_mount_is_recognisable_and_its_work_directory_is_locked() {
    if !here("merge::the_mount_is_recognisable_and_its_work_directory_is_locked") {
        return;
    }
    let mut s = Stack::new(1);
    s.mount("");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(s.mnt().to_str().unwrap())).unwrap();
    assert!(line.contains("- fuse.fuse-union fuse-union "), "{line}");
    let other = scratch();
    let error = mount_background(s.config(""), other.path()).unwrap_err();
    assert!(matches!(error, UnionError::InUse { .. }), "{error}");
    s.unmount();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(s.mnt().to_str().unwrap()));
}

#[test]
fn directories_that_lie_in_one_another_are_refused_and_nothing_is_removed() {
    if !here("merge::directories_that_lie_in_one_another_are_refused_and_nothing_is_removed") {
        return;
    }
    let dir = scratch();
    let at = |name: &str| if name.is_empty() { dir.path().to_path_buf() } else { dir.path().join(name) };
    let precious = ["low/tmp/f", "low/fuse-union-scratch/f", "up/fuse-union-scratch/f", "up/in/f", "up/work/", "mnt/"];
    write_all(dir.path(), &precious.map(|name| (name, "precious")));
    let before = crate::fixture::tree(dir.path());
    for (lower, upper, work) in [
        ("low", "up", "up"),
        ("low", "up", "up/work"),
        ("low", "up", "up/in"),
        ("low", "up/in", "up"),
        ("low", "low", "work"),
        ("low", "low/tmp", "work"),
        ("low", "up", "low"),
        ("low", "up", "low/tmp"),
        ("up/in", "up", "work"),
        ("low/tmp", "up", "low"),
        ("", "up", "work"),
    ] {
        let config = UnionConfig {
            lower: vec![at(lower)],
            upper: Some(at(upper)),
            work: Some(at(work)),
            options: UnionOptions::default(),
        };
        let error = mount_background(config, &at("mnt")).unwrap_err().to_string();
        assert!(error.contains("lies in it") && error.contains("dir "), "{lower} {upper} {work}: {error}");
        assert_eq!(crate::fixture::tree(dir.path()), before, "{lower} {upper} {work}");
    }
    // What two lowers have in common does not change.
    let config = UnionConfig {
        lower: vec![at("low/tmp"), at("low"), at("low")],
        upper: Some(at("up")),
        work: Some(at("work")),
        options: UnionOptions::default(),
    };
    // An earlier mount that failed may have left its folder; what lies in there is ours alone.
    let mount = mount_background(config.clone(), &at("mnt")).unwrap();
    assert_eq!(text(at("mnt/f")), "precious");
    // The same upper with another work directory.
    let other = UnionConfig { work: Some(at("other")), ..config };
    match mount_background(other, &at("low")).unwrap_err() {
        UnionError::InUse { word: "upperdir", holder, .. } => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other}"),
    }
    mount.unmount().unwrap();
}

#[test]
fn an_upper_and_a_work_directory_on_two_mounts_are_refused() {
    if !here("merge::an_upper_and_a_work_directory_on_two_mounts_are_refused") {
        return;
    }
    let mut s = Stack::new(1);
    let bound = scratch();
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&s.upper()), bound.path(), None::<&str>, flags, None::<&str>).unwrap();
    let mut config = s.config("");
    config.work = Some(s.upper().with_file_name("work"));
    config.upper = Some(bound.path().to_path_buf());
    let refused = mount_background(config, &s.mnt());
    nix::mount::umount(bound.path()).unwrap();
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("two mounts"), "{error}");
    s.mount("");
    s.unmount();
}

#[test]
fn a_union_may_be_mounted_in_its_own_upper_and_what_is_mounted_there_does_not_show() {
    if !here("merge::a_union_may_be_mounted_in_its_own_upper_and_what_is_mounted_there_does_not_show") {
        return;
    }
    let s = Stack::new(1);
    write_all(&s.lower(0), &[("low", "l")]);
    write_all(&s.upper(), &[("in/side", "s"), ("other/below", "b")]);
    let (inside, other) = (s.upper().join("in"), s.upper().join("other"));
    nix::mount::mount(None::<&str>, &other, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    let mount = mount_background(s.config(""), &inside).unwrap();
    assert_eq!(names(&inside), ["in", "low", "other"]);
    assert_eq!(names(&inside.join("in")), ["side"]);
    fs::write(inside.join("in/side"), "new").unwrap();
    fs::write(inside.join("low"), "new").unwrap();
    assert_eq!(names(&inside.join("other")), ["below"]);
    fs::write(inside.join("other/below"), "new").unwrap();
    mount.unmount().unwrap();
    nix::mount::umount(&other).unwrap();
    assert_eq!((text(inside.join("side")), text(other.join("below"))), ("new".into(), "new".into()));
}
