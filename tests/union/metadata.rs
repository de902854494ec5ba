//! Owner, mode, times, attributes: across copy_up, and of new files.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::fs::{CWD, Timespec, Timestamps, XattrFlags, lgetxattr, lsetxattr};

use crate::fixture::{Stack, each_mode, errno, here, names, open_and_copy_up, real_root, text, write_all};

/// A POSIX ACL as the kernel stores it (include/uapi/linux/posix_acl_xattr.h): version 2, then tag, permissions, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const NO_ID: u32 = u32::MAX;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(4096);
    lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).ok().map(|_| value)
}

fn set_times(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn copy_up_keeps_everything_and_touches_no_lower() {
    let file_acl = acl(&[(1, 6, NO_ID), (2, 4, 0), (4, 4, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)]);
    each_mode(
        "metadata::copy_up_keeps_everything_and_touches_no_lower",
        2,
        |s| {
            let lower = s.lower(1);
            write_all(&lower, &[("d/e/f", "content"), ("d/e/sibling", "")]);
            let file = lower.join("d/e/f");
            lsetxattr(&file, "user.colour", b"red", XattrFlags::empty()).unwrap();
            lsetxattr(&file, "system.posix_acl_access", &file_acl, XattrFlags::empty()).unwrap();
            lsetxattr(lower.join("d/e"), "user.dir", b"yes", XattrFlags::empty()).unwrap();
            if real_root() {
                chown(&file, Some(1234), Some(5678)).unwrap();
                chown(lower.join("d"), Some(11), Some(22)).unwrap();
                lsetxattr(&file, "trusted.t", b"t", XattrFlags::empty()).unwrap();
            }
            fs::set_permissions(lower.join("d/e"), fs::Permissions::from_mode(0o2751)).unwrap();
            for path in ["d/e/f", "d/e", "d"] {
                set_times(&lower.join(path), 1_000_000_000, 123_456_789);
            }
        },
        |s| {
            let before = crate::fixture::tree(&s.lower(1));
            let meta = |path: &Path| {
                let m = fs::symlink_metadata(path).unwrap();
                (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec())
            };
            let file = open_and_copy_up(s, "d/e/f");
            // Nothing is changed yet.
            for path in ["d/e/f", "d/e", "d"] {
                assert_eq!(meta(&s.upper().join(path)), meta(&s.lower(1).join(path)), "{path}");
                assert_eq!(meta(&s.mnt().join(path)), meta(&s.lower(1).join(path)), "{path} merged");
            }
            assert_eq!(names(&s.upper().join("d/e")), ["f"]);
            for place in [s.upper(), s.mnt()] {
                let path = place.join("d/e/f");
                assert_eq!(xattr(&path, "user.colour").as_deref(), Some(&b"red"[..]));
                assert_eq!(xattr(&path, "system.posix_acl_access"), Some(file_acl.clone()));
                assert_eq!(xattr(&place.join("d/e"), "user.dir").as_deref(), Some(&b"yes"[..]));
                if real_root() {
                    assert_eq!(xattr(&path, "trusted.t").as_deref(), Some(&b"t"[..]));
                }
            }
            file.write_at(b"C", 0).unwrap();
            drop(file);
            assert_eq!(text(s.upper().join("d/e/f")), "Content");
            assert_eq!(text(s.mnt().join("d/e/f")), "Content");
            assert_eq!(crate::fixture::tree(&s.lower(1)), before);
        },
    );
}

#[test]
fn changing_attributes_copies_up_files_directories_and_symlinks() {
    each_mode(
        "metadata::changing_attributes_copies_up_files_directories_and_symlinks",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content"), ("d/inside", ""), ("x", ""), ("g", "")]);
            symlink("f", s.lower(0).join("l")).unwrap();
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            fs::set_permissions(mnt.join("f"), fs::Permissions::from_mode(0o4711)).unwrap();
            assert_eq!(fs::metadata(upper.join("f")).unwrap().mode() & 0o7777, 0o4711);
            fs::set_permissions(mnt.join("d"), fs::Permissions::from_mode(0o1700)).unwrap();
            assert_eq!(fs::metadata(upper.join("d")).unwrap().mode() & 0o7777, 0o1700);
            assert_eq!(names(&mnt.join("d")), ["inside"]);
            set_times(&mnt.join("l"), 5, 6);
            assert_eq!(fs::symlink_metadata(upper.join("l")).unwrap().mtime(), 5);
            assert_eq!(fs::read_link(upper.join("l")).unwrap().to_str(), Some("f"));
            lsetxattr(mnt.join("x"), "user.a", b"1", XattrFlags::CREATE).unwrap();
            assert_eq!(xattr(&upper.join("x"), "user.a").as_deref(), Some(&b"1"[..]));
            rustix::fs::lremovexattr(mnt.join("x"), "user.a").unwrap();
            assert_eq!(xattr(&mnt.join("x"), "user.a"), None);
            // Removing what is not there is an error and no change.
            assert_eq!(rustix::fs::lremovexattr(mnt.join("g"), "user.a").unwrap_err(), rustix::io::Errno::NODATA);
            assert!(!upper.join("g").exists());
            if real_root() {
                chown(mnt.join("g"), Some(7), None).unwrap();
                assert_eq!(fs::metadata(upper.join("g")).unwrap().uid(), 7);
            }
        },
    );
}

#[test]
fn times_before_1970_keep_their_fraction() {
    each_mode(
        "metadata::times_before_1970_keep_their_fraction",
        1,
        |s| {
            write_all(&s.lower(0), &[("low", "")]);
            set_times(&s.lower(0).join("low"), -2, 800_000_000);
        },
        |s| {
            fs::write(s.mnt().join("f"), "").unwrap();
            set_times(&s.mnt().join("f"), -2, 800_000_000);
            for path in [s.upper().join("f"), s.mnt().join("f"), s.mnt().join("low")] {
                let meta = fs::metadata(&path).unwrap();
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (-2, 800_000_000), "{}", path.display());
                assert_eq!(meta.modified().unwrap(), UNIX_EPOCH - Duration::from_millis(1200));
            }
        },
    );
}

#[test]
fn holes_stay_holes_and_data_arrives_where_it_was() {
    each_mode(
        "metadata::holes_stay_holes_and_data_arrives_where_it_was",
        1,
        |s| {
            let mut file = File::create(s.lower(0).join("sparse")).unwrap();
            for at in [0, 3 << 20, 9 << 20] {
                file.seek(SeekFrom::Start(at)).unwrap();
                file.write_all(&[b'x'; 5000]).unwrap();
            }
            file.set_len(16 << 20).unwrap();
        },
        |s| {
            open_and_copy_up(s, "sparse");
            let (low, up) = (s.lower(0).join("sparse"), s.upper().join("sparse"));
            assert_eq!(fs::read(&up).unwrap(), fs::read(&low).unwrap());
            let blocks = fs::metadata(&up).unwrap().blocks();
            assert!(blocks < 200, "{blocks} blocks for 15 KB of data");
        },
    );
}

#[test]
fn new_files_belong_to_who_makes_them_and_take_the_group_of_a_setgid_directory() {
    each_mode(
        "metadata::new_files_belong_to_who_makes_them_and_take_the_group_of_a_setgid_directory",
        1,
        |s| {
            write_all(&s.lower(0), &[("open/", ""), ("shared/", ""), ("gone/x", "")]);
            fs::set_permissions(s.lower(0).join("open"), fs::Permissions::from_mode(0o777)).unwrap();
            if real_root() {
                chown(s.lower(0).join("shared"), Some(0), Some(4321)).unwrap();
            }
            fs::set_permissions(s.lower(0).join("shared"), fs::Permissions::from_mode(0o2777)).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            // Modes as asked for, whatever the umask of this process.
            OpenOptions::new().write(true).create_new(true).mode(0o604).open(mnt.join("f")).unwrap();
            assert_eq!(fs::metadata(mnt.join("f")).unwrap().mode() & 0o7777, 0o604);
            fs::remove_dir_all(mnt.join("gone")).unwrap();
            fs::create_dir(mnt.join("shared/sub")).unwrap();
            assert_eq!(fs::metadata(mnt.join("shared/sub")).unwrap().mode() & 0o2000, 0o2000);
            if !real_root() {
                eprintln!("skipped: other owners need root");
                return;
            }
            assert_eq!(fs::metadata(mnt.join("shared/sub")).unwrap().gid(), 4321);
            let status = std::process::Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec"])
                .arg("umask 027; echo x > open/f; mkdir open/d; ln -s t open/l; echo x > shared/f; ! echo x > denied 2> /dev/null")
                .current_dir(&mnt)
                .status()
                .unwrap();
            assert!(status.success());
            for (path, uid, gid, mode) in
                [("open/f", 65534, 65534, 0o640), ("open/d", 65534, 65534, 0o750), ("shared/f", 65534, 4321, 0o640)]
            {
                for place in [&mnt, &s.upper()] {
                    let meta = fs::metadata(place.join(path)).unwrap();
                    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, gid, mode), "{path}");
                }
            }
            assert_eq!(fs::symlink_metadata(mnt.join("open/l")).unwrap().uid(), 65534);
        },
    );
}

#[test]
fn a_default_acl_is_inherited_instead_of_the_umask_also_over_a_whiteout() {
    let default = acl(&[(1, 7, NO_ID), (2, 7, 0), (4, 7, NO_ID), (16, 7, NO_ID), (32, 0, NO_ID)]);
    each_mode(
        "metadata::a_default_acl_is_inherited_instead_of_the_umask_also_over_a_whiteout",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/old/x", "")]);
            lsetxattr(s.lower(0).join("d"), "system.posix_acl_default", &default, XattrFlags::empty()).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            OpenOptions::new().write(true).create_new(true).mode(0o666).open(mnt.join("d/f")).unwrap();
            // The usual umask would have made it 0644.
            assert_eq!(fs::metadata(mnt.join("d/f")).unwrap().mode() & 0o777, 0o660);
            fs::remove_dir_all(mnt.join("d/old")).unwrap();
            fs::create_dir(mnt.join("d/old")).unwrap();
            assert_eq!(xattr(&mnt.join("d/old"), "system.posix_acl_default"), Some(default.clone()));
            assert_eq!(names(&s.upper().join("d/old")), [".wh..wh..opq"]);
        },
    );
}

#[test]
fn writing_clears_set_id_bits() {
    each_mode(
        "metadata::writing_clears_set_id_bits",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "x"), ("g", "x")]);
            for name in ["f", "g"] {
                fs::set_permissions(s.lower(0).join(name), fs::Permissions::from_mode(0o6777)).unwrap();
            }
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            let status = std::process::Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec", "echo y >> f; : > g"])
                .current_dir(s.mnt())
                .status()
                .unwrap();
            assert!(status.success());
            for name in ["f", "g"] {
                for place in [s.mnt(), s.upper()] {
                    assert_eq!(fs::metadata(place.join(name)).unwrap().mode() & 0o7777, 0o777, "{name}");
                }
            }
        },
    );
}

#[test]
fn file_system_figures_are_those_of_the_upper() {
    each_mode(
        "metadata::file_system_figures_are_those_of_the_upper",
        1,
        |_| {},
        |s| {
            let (here, upper) = (rustix::fs::statvfs(s.mnt()).unwrap(), rustix::fs::statvfs(s.upper()).unwrap());
            assert_eq!((here.f_blocks, here.f_bsize, here.f_namemax), (upper.f_blocks, upper.f_bsize, upper.f_namemax));
            assert_eq!(errno(fs::write(s.mnt().join("n".repeat(256)), "")), libc::ENAMETOOLONG);
            assert_eq!(errno(fs::metadata(s.mnt().join("n".repeat(256)))), libc::ENAMETOOLONG);
        },
    );
}

#[test]
fn what_is_removed_while_somebody_has_it_open_has_no_link() {
    each_mode(
        "metadata::what_is_removed_while_somebody_has_it_open_has_no_link",
        2,
        |s| {
            write_all(&s.lower(0), &[("f", "content"), ("replaced", ""), ("d/", ""), ("merged/", "")]);
            write_all(&s.lower(1), &[("merged/", "")]);
            write_all(&s.upper(), &[("new", "")]);
        },
        |s| {
            let mnt = s.mnt();
            let open = ["f", "replaced", "d", "merged", "new"].map(|name| File::open(mnt.join(name)).unwrap());
            let links = || open.each_ref().map(|file| file.metadata().unwrap().nlink());
            assert_eq!(links()[..2], [1; 2]);
            for file in ["f", "new"] {
                fs::remove_file(mnt.join(file)).unwrap();
            }
            for dir in ["d", "merged"] {
                fs::remove_dir(mnt.join(dir)).unwrap();
            }
            fs::write(mnt.join("other"), "").unwrap();
            fs::rename(mnt.join("other"), mnt.join("replaced")).unwrap();
            assert_eq!(links(), [0; 5]);
            // Also behind a copy_up by the descriptor.
            open[0].set_permissions(PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(links(), [0; 5]);
        },
    );
}

#[test]
fn times_of_a_directory_that_are_set_while_a_file_in_it_is_copied_up_stay() {
    const FILES: usize = 3000;
    if !here("metadata::times_of_a_directory_that_are_set_while_a_file_in_it_is_copied_up_stay") {
        return;
    }
    // Once: no file is opened here, so that both modes are one.
    let mut s = Stack::new(1);
    let path = |n: usize| format!("d/f{n}");
    for n in 0..FILES {
        write_all(&s.lower(0), &[(&*path(n), "")]);
    }
    s.mount("");
    let [dir, below] = [s.mnt(), s.upper()].map(|root| root.join("d"));
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..FILES {
                both.wait();
                fs::set_permissions(s.mnt().join(path(n)), PermissionsExt::from_mode(0o600)).unwrap();
                both.wait();
            }
        });
        let lost = (0..FILES).filter(|n| {
            both.wait();
            // At another moment of the copy_up each time.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(*n as u64 % 100) {}
            set_times(&dir, *n as i64, 0);
            both.wait();
            fs::metadata(&below).unwrap().mtime() != *n as i64
        });
        assert_eq!(lost.count(), 0);
    });
    s.unmount();
}
