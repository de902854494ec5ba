//! Special files, special bits, long names, attributes of security modules.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, lgetxattr, lsetxattr, makedev,
};

use crate::fixture::{each_mode, errno, names, real_root, text, write_all};

/// A shell of nobody's in `dir`; whether it succeeds.
fn as_nobody(dir: &Path, script: &str) -> bool {
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec", script];
    Command::new("setpriv").args(nobody).current_dir(dir).status().unwrap().success()
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(4096);
    lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)).ok().map(|_| value)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn fifos_sockets_and_devices_work_and_copy_up() {
    each_mode(
        "special::fifos_sockets_and_devices_work_and_copy_up",
        1,
        |s| {
            let lower = s.lower(0);
            let make = |name: &str, kind, device| {
                rustix::fs::mknodat(CWD, lower.join(name), kind, Mode::RUSR | Mode::WUSR, device).unwrap();
            };
            make("fifo", FileType::Fifo, 0);
            drop(UnixListener::bind(lower.join("socket")).unwrap());
            if real_root() {
                make("null", FileType::CharacterDevice, makedev(1, 3));
                make("block", FileType::BlockDevice, makedev(259, 70_000));
            }
        },
        |s| {
            let mnt = s.mnt();
            // Data goes through the kernel's FIFO, and through a socket that is bound here.
            let reader = std::thread::spawn({
                let path = mnt.join("fifo");
                move || text(path)
            });
            OpenOptions::new().write(true).open(mnt.join("fifo")).unwrap().write_all(b"through").unwrap();
            assert_eq!(reader.join().unwrap(), "through");
            assert_eq!(names(&s.upper()), Vec::<String>::new(), "no copy_up for data that is in no file");
            // By a short path, which sockets need.
            let dir = fs::File::open(&mnt).unwrap();
            let at = std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
            let listener = UnixListener::bind(at.join("new-socket")).unwrap();
            let mut client = UnixStream::connect(at.join("new-socket")).unwrap();
            client.write_all(b"hello").unwrap();
            drop(client);
            let mut heard = String::new();
            listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            drop(dir);
            for name in ["fifo", "socket"] {
                chmod(mnt.join(name), 0o640);
                let kind = fs::symlink_metadata(s.upper().join(name)).unwrap().file_type();
                assert!(if name == "fifo" { kind.is_fifo() } else { kind.is_socket() });
                assert_eq!(mode(s.upper().join(name)), 0o640);
                fs::rename(mnt.join(name), mnt.join(format!("{name}2"))).unwrap();
            }
            assert_eq!(names(&s.upper()), [".wh.fifo", ".wh.socket", "fifo2", "new-socket", "socket2"]);
            if !real_root() {
                return eprintln!("skipped: device nodes need root");
            }
            for (name, device) in [("null", makedev(1, 3)), ("block", makedev(259, 70_000))] {
                assert_eq!(fs::symlink_metadata(mnt.join(name)).unwrap().rdev(), device);
                chmod(mnt.join(name), 0o600);
                assert_eq!(fs::symlink_metadata(s.upper().join(name)).unwrap().rdev(), device);
            }
            let new = mnt.join("new-device");
            rustix::fs::mknodat(CWD, &new, FileType::CharacterDevice, Mode::RUSR, makedev(500, 300_000)).unwrap();
            assert_eq!(fs::symlink_metadata(s.upper().join("new-device")).unwrap().rdev(), makedev(500, 300_000));
        },
    );
}

#[test]
fn a_sticky_directory_protects_the_files_of_others() {
    each_mode(
        "special::a_sticky_directory_protects_the_files_of_others",
        1,
        |s| {
            write_all(&s.lower(0), &[("tmp/roots", "r"), ("tmp/nobodys", "n"), ("tmp/taken", "n")]);
            chmod(s.lower(0).join("tmp"), 0o1777);
            if real_root() {
                for name in ["nobodys", "taken"] {
                    chown(s.lower(0).join("tmp").join(name), Some(65534), Some(65534)).unwrap();
                }
            }
        },
        |s| {
            let tmp = s.mnt().join("tmp");
            assert_eq!(mode(&tmp), 0o1777);
            fs::write(tmp.join("new"), "").unwrap();
            assert_eq!(mode(s.upper().join("tmp")), 0o1777, "also of the copy");
            if !real_root() {
                return eprintln!("skipped: another user needs root");
            }
            assert!(!as_nobody(&tmp, "rm -f roots"));
            assert!(!as_nobody(&tmp, "mv new newer"));
            assert!(!as_nobody(&tmp, "mv nobodys roots"));
            assert!(as_nobody(&tmp, "rm nobodys; mv taken mine; echo x > own; rm own"));
            assert_eq!(names(&tmp), ["mine", "new", "roots"]);
        },
    );
}

#[test]
fn set_id_bits_go_when_the_owner_or_the_content_changes() {
    each_mode(
        "special::set_id_bits_go_when_the_owner_or_the_content_changes",
        1,
        |s| {
            for name in ["chown", "write", "truncate", "kept", "no-exec"] {
                write_all(&s.lower(0), &[(name, "x")]);
                chmod(s.lower(0).join(name), if name == "no-exec" { 0o2767 } else { 0o6777 });
            }
        },
        |s| {
            let mnt = s.mnt();
            if !real_root() {
                return eprintln!("skipped: another user needs root");
            }
            chown(mnt.join("chown"), Some(1), None).unwrap();
            assert!(as_nobody(&mnt, "printf y >> write; truncate -s 3 truncate"));
            // Root's writes keep them, as everywhere; a copy_up is no write.
            fs::write(mnt.join("kept"), "root").unwrap();
            lsetxattr(mnt.join("no-exec"), "user.x", b"", XattrFlags::empty()).unwrap();
            for (name, expected) in
                [("chown", 0o777), ("write", 0o777), ("truncate", 0o777), ("kept", 0o6777), ("no-exec", 0o2767)]
            {
                for place in [&mnt, &s.upper()] {
                    assert_eq!(mode(place.join(name)), expected, "{name}");
                }
            }
        },
    );
}

#[test]
fn attributes_of_every_kind_survive_copy_up() {
    // A capability as the kernel stores it (include/uapi/linux/capability.h): version 2, effective; CAP_NET_RAW permitted.
    let capability = [&[1, 0, 0, 2, 0, 0x20, 0, 0], &[0; 12][..]].concat();
    let label = b"system_u:object_r:etc_t:s0\0";
    each_mode(
        "special::attributes_of_every_kind_survive_copy_up",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "x"), ("d/", "")]);
            for name in ["f", "d"] {
                let path = s.lower(0).join(name);
                lsetxattr(&path, "user.empty", b"", XattrFlags::empty()).unwrap();
                lsetxattr(&path, "user.long", &[7; 2000], XattrFlags::empty()).unwrap();
                if real_root() {
                    lsetxattr(&path, "trusted.t", b"trusted", XattrFlags::empty()).unwrap();
                    lsetxattr(&path, "security.selinux", label, XattrFlags::empty()).unwrap();
                    lsetxattr(&path, "security.other", b"other", XattrFlags::empty()).unwrap();
                }
            }
            if real_root() {
                lsetxattr(s.lower(0).join("f"), "security.capability", &capability, XattrFlags::empty()).unwrap();
            }
        },
        |s| {
            for name in ["f", "d"] {
                let before = mode(s.mnt().join(name));
                chmod(s.mnt().join(name), before ^ 0o001);
                for place in [s.mnt(), s.upper()] {
                    let path = place.join(name);
                    assert_eq!(xattr(&path, "user.empty"), Some(Vec::new()));
                    assert_eq!(xattr(&path, "user.long"), Some(vec![7; 2000]));
                    if real_root() {
                        assert_eq!(xattr(&path, "trusted.t").as_deref(), Some(&b"trusted"[..]));
                        assert_eq!(xattr(&path, "security.selinux").as_deref(), Some(&label[..]));
                        assert_eq!(xattr(&path, "security.other").as_deref(), Some(&b"other"[..]));
                    }
                }
            }
            if !real_root() {
                return eprintln!("skipped: trusted and security attributes need root");
            }
            assert_eq!(xattr(&s.upper().join("f"), "security.capability"), Some(capability.clone()));
            // They can be set through the mount as well.
            lsetxattr(s.mnt().join("d"), "security.selinux", b"other_t\0", XattrFlags::REPLACE).unwrap();
            assert_eq!(xattr(&s.upper().join("d"), "security.selinux").as_deref(), Some(&b"other_t\0"[..]));
            // A write takes the capability away.
            fs::write(s.mnt().join("f"), "changed").unwrap();
            assert_eq!(xattr(&s.upper().join("f"), "security.capability"), None);
        },
    );
}

#[test]
fn trusted_attributes_are_listed_to_administrators_alone() {
    each_mode(
        "special::trusted_attributes_are_listed_to_administrators_alone",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "")]);
            for name in ["user.a", "trusted.t", "user.b"] {
                if real_root() || name != "trusted.t" {
                    lsetxattr(s.lower(0).join("f"), name, b"", XattrFlags::empty()).unwrap();
                }
            }
        },
        |s| {
            if !real_root() {
                return eprintln!("skipped: trusted attributes need root");
            }
            let list = "import os, sys; print(sorted(os.listxattr('f')) == sys.argv[1:])";
            const ALL: &[&str] = &["trusted.t", "user.a", "user.b"];
            const USERS: &[&str] = &["user.a", "user.b"];
            let user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
            let fewer = ["setpriv", "--bounding-set", "-sys_admin"];
            let namespace = ["unshare", "--user", "--map-root-user"];
            for (caller, listed) in
                [(&["env"][..], ALL), (&user[..], USERS), (&fewer[..], USERS), (&namespace[..], USERS)]
            {
                // The lower is the file system below, whose answer it is to be.
                for dir in [s.lower(0), s.mnt()] {
                    let mut command = Command::new(caller[0]);
                    command.args(&caller[1..]).args(["python3", "-c", list]).args(listed).current_dir(&dir);
                    match command.output() {
                        Ok(output) if output.status.success() => {
                            assert_eq!(String::from_utf8(output.stdout).unwrap(), "True\n", "{caller:?} in {dir:?}");
                        }
                        other => eprintln!("skipped: {caller:?}: {other:?}"),
                    }
                }
            }
        },
    );
}

#[test]
fn an_acl_rules_and_shows_in_the_mode() {
    // POSIX ACL, version 2: owner rw-, user 65534 rw-, group ---, mask rw-, others ---.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 65534), (4, 0, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        acl.extend([tag.to_le_bytes(), perm.to_le_bytes()].concat());
        acl.extend(id.to_le_bytes());
    }
    each_mode(
        "special::an_acl_rules_and_shows_in_the_mode",
        1,
        |s| {
            write_all(&s.lower(0), &[("low", "l"), ("plain", "p")]);
            if real_root() {
                lsetxattr(s.lower(0).join("low"), "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
                chmod(s.lower(0).join("plain"), 0o600);
            }
        },
        |s| {
            if !real_root() {
                return eprintln!("skipped: another user needs root");
            }
            let mnt = s.mnt();
            assert!(as_nobody(&mnt, "cat low > /dev/null; printf + >> low; ! cat plain 2> /dev/null"));
            assert_eq!((text(s.upper().join("low")), mode(mnt.join("low"))), ("l+".into(), 0o660));
            lsetxattr(mnt.join("plain"), "system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
            assert!(as_nobody(&mnt, "cat plain > /dev/null"));
            // The mask is the group's part of the mode, in both directions.
            assert_eq!(mode(mnt.join("plain")), 0o660);
            chmod(mnt.join("plain"), 0o600);
            assert!(!as_nobody(&mnt, "cat plain > /dev/null 2>&1"));
            assert_eq!(mode(s.upper().join("plain")), 0o600);
        },
    );
}

#[test]
fn the_longest_names_can_be_written_and_those_without_room_for_a_whiteout_not_removed() {
    let (fits, longer) = ("f".repeat(251), "l".repeat(255));
    each_mode(
        "special::the_longest_names_can_be_written_and_those_without_room_for_a_whiteout_not_removed",
        1,
        |s| {
            write_all(&s.lower(0), &[(&fits, "fits"), (&longer, "lower"), (&"d".repeat(252), "lower")]);
            fs::create_dir(s.lower(0).join("e".repeat(254))).unwrap();
        },
        |s| {
            let mnt = s.mnt();
            OpenOptions::new().append(true).open(mnt.join(&longer)).unwrap().write_all(b"+").unwrap();
            assert_eq!(text(s.upper().join(&longer)), "lower+");
            for name in [longer.clone(), "d".repeat(252)] {
                assert_eq!(errno(fs::remove_file(mnt.join(&name))), libc::ENAMETOOLONG);
                assert_eq!(errno(fs::rename(mnt.join(&name), mnt.join("short"))), libc::ENAMETOOLONG);
                assert!(mnt.join(&name).exists() && !mnt.join("short").exists());
            }
            assert_eq!(errno(fs::remove_dir(mnt.join("e".repeat(254)))), libc::ENAMETOOLONG);
            assert_eq!(text(mnt.join(&longer)), "lower+");
            // Replacing it needs no whiteout, and neither does a name that the upper alone has.
            fs::write(mnt.join("new"), "new").unwrap();
            fs::rename(mnt.join("new"), mnt.join(&longer)).unwrap();
            assert_eq!(text(mnt.join(&longer)), "new");
            fs::write(mnt.join("u".repeat(255)), "upper").unwrap();
            fs::remove_file(mnt.join("u".repeat(255))).unwrap();
            fs::remove_file(mnt.join(&fits)).unwrap();
            assert_eq!(fs::symlink_metadata(s.upper().join(format!(".wh.{fits}"))).unwrap().len(), 0);
            assert!(!mnt.join(&fits).exists());
        },
    );
}

#[test]
fn a_path_as_long_as_path_max_copies_up() {
    each_mode(
        "special::a_path_as_long_as_path_max_copies_up",
        1,
        |s| {
            // Made step by step: the paths of the layers are longer than the one in the mount.
            let mut dir = rustix::fs::openat(CWD, s.lower(0), OFlags::PATH, Mode::empty()).unwrap();
            for part in long_path(&s.mnt()).parent().unwrap() {
                rustix::fs::mkdirat(&dir, part, Mode::RWXU).unwrap();
                dir = rustix::fs::openat(&dir, part, OFlags::PATH, Mode::empty()).unwrap();
            }
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = rustix::fs::openat(&dir, "file", flags, Mode::RUSR | Mode::WUSR).unwrap();
            rustix::io::write(&file, b"deep").unwrap();
        },
        |s| {
            let path = s.mnt().join(long_path(&s.mnt()));
            assert_eq!(path.as_os_str().len(), 4095, "with its NUL, PATH_MAX");
            assert_eq!(text(&path), "deep");
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"er").unwrap();
            assert_eq!(text(&path), "deeper");
            fs::hard_link(&path, path.with_file_name("link")).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(names(path.parent().unwrap()), ["link"]);
            let top = fs::read_dir(s.mnt()).unwrap().next().unwrap().unwrap().path();
            fs::remove_dir_all(&top).unwrap();
            assert_eq!(names(&s.mnt()), Vec::<String>::new());
        },
    );
}

/// A relative path that is 4095 bytes long below `root`, and ends in `/file`.
fn long_path(root: &Path) -> std::path::PathBuf {
    let mut left = 4095 - root.as_os_str().len() - "/file".len();
    let mut path = std::path::PathBuf::new();
    while left > 0 {
        // No remainder of a single byte: a slash needs a name behind it.
        let length = if left > 202 { 199 } else { left - 1 };
        let length = length.min(255);
        path.push("n".repeat(length));
        left -= length + 1;
    }
    path.join("file")
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    each_mode(
        "special::times_are_kept_to_the_nanosecond",
        1,
        |s| write_all(&s.lower(0), &[("f", ""), ("d/", "")]),
        |s| {
            for (n, name) in ["f", "d"].into_iter().enumerate() {
                let at = |tv_nsec| Timespec { tv_sec: 4_000_000_000 + n as i64, tv_nsec };
                let times = Timestamps { last_access: at(999_999_999), last_modification: at(1) };
                rustix::fs::utimensat(CWD, s.mnt().join(name), &times, AtFlags::empty()).unwrap();
            }
            let check = |root: &Path| {
                for (n, name) in ["f", "d"].into_iter().enumerate() {
                    let meta = fs::metadata(root.join(name)).unwrap();
                    let seconds = 4_000_000_000 + n as i64;
                    assert_eq!((meta.atime(), meta.atime_nsec()), (seconds, 999_999_999), "{name}");
                    assert_eq!((meta.mtime(), meta.mtime_nsec()), (seconds, 1), "{name}");
                }
            };
            check(&s.mnt());
            check(&s.upper());
            s.unmount();
            s.mount("");
            check(&s.mnt());
        },
    );
}
