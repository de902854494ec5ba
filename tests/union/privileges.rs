//! What a write takes away.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr};

use super::fixture::{each_mode, names, real_root, write_all};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn as_user(at: &Path, script: &str) {
    let status = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec", script])
        .current_dir(at)
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn every_kind_of_write_by_a_user_takes_set_id_bits_away() {
    const WAYS: [(&str, &str); 5] = [
        ("append", "echo y >> FILE"),
        ("overwrite", "printf z | dd of=FILE conv=notrunc status=none"),
        ("truncate", "truncate -s 1 FILE"),
        ("open with O_TRUNC", ": > FILE"),
        ("fallocate", "fallocate -l 8192 FILE"),
    ];
    each_mode(
        "privileges::every_kind_of_write_by_a_user_takes_set_id_bits_away",
        1,
        |s| {
            for n in 0..WAYS.len() {
                write_all(&s.lower(0), &[(&format!("f{n}"), "content")]);
                fs::set_permissions(s.lower(0).join(format!("f{n}")), fs::Permissions::from_mode(0o6777)).unwrap();
            }
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            for (n, (way, script)) in WAYS.iter().enumerate() {
                let name = format!("f{n}");
                as_user(&s.mnt(), &script.replace("FILE", &name));
                assert_eq!(mode(&s.mnt().join(&name)), 0o777, "{way}");
                assert_eq!(mode(&s.upper().join(&name)), 0o777, "{way}, upper");
            }
        },
    );
}

#[test]
fn a_users_write_takes_them_away_also_while_root_has_the_file_open() {
    each_mode(
        "privileges::a_users_write_takes_them_away_also_while_root_has_the_file_open",
        1,
        |s| {
            for name in ["read", "written"] {
                write_all(&s.lower(0), &[(name, "content")]);
                fs::set_permissions(s.lower(0).join(name), fs::Permissions::from_mode(0o4777)).unwrap();
            }
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            let reader = File::open(s.mnt().join("read")).unwrap();
            let writer = OpenOptions::new().write(true).open(s.mnt().join("written")).unwrap();
            for name in ["read", "written"] {
                as_user(&s.mnt(), &format!("echo y >> {name}"));
                assert_eq!(mode(&s.mnt().join(name)), 0o777, "{name}");
                assert_eq!(fs::read_to_string(s.mnt().join(name)).unwrap(), "contenty\n", "{name}");
            }
            drop((reader, writer));
        },
    );
}

/// Then the file has two nodes, of which the older one has root's descriptor.
#[test]
fn roots_descriptor_is_opened_again_by_its_link_in_proc_also_after_a_user_wrote() {
    each_mode(
        "privileges::roots_descriptor_is_opened_again_by_its_link_in_proc_also_after_a_user_wrote",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content")]);
            fs::set_permissions(s.lower(0).join("f"), fs::Permissions::from_mode(0o6777)).unwrap();
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            let path = s.mnt().join("f");
            let held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            as_user(&s.mnt(), "echo y >> f");
            let link = format!("/proc/self/fd/{}", held.as_raw_fd());
            assert_eq!(fs::read_to_string(&link).unwrap(), "contenty\n");
            OpenOptions::new().append(true).open(&link).unwrap().write_all(b"z").unwrap();
            fs::rename(&path, s.mnt().join("g")).unwrap();
            OpenOptions::new().append(true).open(&link).unwrap().write_all(b"!").unwrap();
            for path in [link.as_ref(), s.mnt().join("g").as_path(), s.upper().join("g").as_path()] {
                assert_eq!(fs::read_to_string(path).unwrap(), "contenty\nz!", "{}", path.display());
            }
        },
    );
}

/// Set-id bits that come while a user has the file open for writing go with the next write, and stat(2) says so at once.
#[test]
fn bits_that_are_set_while_a_user_writes_go_with_the_next_write() {
    each_mode(
        "privileges::bits_that_are_set_while_a_user_writes_go_with_the_next_write",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content")]);
            fs::set_permissions(s.lower(0).join("f"), fs::Permissions::from_mode(0o777)).unwrap();
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            let mut child = Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-ec"])
                .arg("exec 3>>f; echo 1 >&3; echo ready; read go; echo 2 >&3; echo done; read go")
                .current_dir(s.mnt())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut tell = child.stdin.take().unwrap();
            let path = s.mnt().join("f");
            assert_eq!(told.next().unwrap().unwrap(), "ready");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
            assert_eq!(mode(&path), 0o6777);
            // Root's write is another matter, whoever has the file open; and what is written on either side shows on both.
            append(&path, "root\n");
            assert_eq!((mode(&path), fs::metadata(&path).unwrap().len()), (0o6777, 14));
            tell.write_all(b"go\n").unwrap();
            assert_eq!(told.next().unwrap().unwrap(), "done");
            assert_eq!((mode(&path), fs::metadata(&path).unwrap().len()), (0o777, 16));
            assert_eq!(fs::read_to_string(&path).unwrap(), "content1\nroot\n2\n");
            tell.write_all(b"go\n").unwrap();
            assert!(child.wait().unwrap().success());
            assert_eq!((mode(&path), mode(&s.upper().join("f"))), (0o777, 0o777));
        },
    );
}

/// A set-group-id bit without the group's permission to execute goes or stays with whoever writes: a member of the group leaves it.
#[test]
fn the_bit_of_mandatory_locking_goes_when_the_writer_is_not_in_the_group() {
    each_mode(
        "privileges::the_bit_of_mandatory_locking_goes_when_the_writer_is_not_in_the_group",
        1,
        |s| write_all(&s.lower(0), &[("d/", "")]),
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            const MEMBER: &[&str] = &["--regid", "3000", "--clear-groups"];
            const ALSO: &[&str] = &["--regid", "3001", "--groups", "3002,3000"];
            const OTHER: &[&str] = &["--regid", "3001", "--groups", "3002"];
            for (write, truncated) in [("echo x >> f", false), ("truncate -s 1 f", true), ("fallocate -l 9 f", true)] {
                for (groups, after) in [(MEMBER, 0o2666), (ALSO, 0o2666), (OTHER, 0o666)] {
                    let path = s.mnt().join("f");
                    fs::write(&path, "content").unwrap();
                    std::os::unix::fs::chown(&path, Some(65534), Some(3000)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o6666)).unwrap();
                    let command = Command::new("setpriv")
                        .args(["--reuid", "65534"])
                        .args(groups)
                        .args(["sh", "-ec", write])
                        .current_dir(s.mnt())
                        .status();
                    assert!(command.unwrap().success());
                    assert_eq!(mode(&path), after, "{write} as {groups:?}, through the daemon: {truncated}");
                    fs::remove_file(&path).unwrap();
                }
            }
        },
    );
}

#[test]
fn an_acl_by_an_owner_outside_the_group_takes_the_set_group_id_bit_away() {
    each_mode(
        "privileges::an_acl_by_an_owner_outside_the_group_takes_the_set_group_id_bit_away",
        1,
        |s| write_all(&s.lower(0), &[("f", "content"), ("d/", "")]),
        |s| {
            if !real_root() {
                eprintln!("skipped: another user needs root");
                return;
            }
            // user::rwx, group::rwx, mask::rwx, user 2:rwx, other::rwx: tag, permissions and id of each, in this order.
            let mut acl = vec![2, 0, 0, 0];
            for (tag, id) in [(1u16, u32::MAX), (2, 2), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)] {
                acl.extend(tag.to_le_bytes().into_iter().chain(7u16.to_le_bytes()).chain(id.to_le_bytes()));
            }
            for (name, bits) in [("f", 0o2777), ("d", 0o2777)] {
                let path = s.mnt().join(name);
                for (group, after) in [(3000, bits), (3001, bits & 0o777)] {
                    std::os::unix::fs::chown(&path, Some(65534), Some(3000)).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
                    std::thread::scope(|scope| {
                        // Of this thread alone, and with them its privileges over files.
                        let other_user = || {
                            setfsgid(Gid::from_raw(group));
                            setfsuid(Uid::from_raw(65534));
                            lsetxattr(&path, "system.posix_acl_access", &acl, XattrFlags::empty())
                        };
                        scope.spawn(other_user).join().unwrap().unwrap();
                    });
                    assert_eq!(mode(&path), after, "{name} as {group}");
                }
            }
        },
    );
}

/// As the file system below, on which the same is done.
#[test]
fn who_is_not_in_the_group_takes_the_set_group_id_bit_away_with_a_new_owner() {
    const CALLERS: [&[&str]; 4] = [
        &["--reuid", "1000", "--regid", "1000", "--groups", "2001"],
        &["--reuid", "1000", "--regid", "1000", "--groups", "2000,2001"],
        &["--reuid", "1000", "--regid", "2000", "--groups", "2001"],
        &["--reuid", "0"],
    ];
    const CHANGES: [&str; 4] = ["chgrp 2001 *", "chown 1000 *", "chown 1000:2001 *", "chgrp 2000 *"];
    const BITS: [u32; 9] = [0o2664, 0o2644, 0o2745, 0o6666, 0o2755, 0o6755, 0o4644, 0o2060, 0o644];
    each_mode(
        "privileges::who_is_not_in_the_group_takes_the_set_group_id_bit_away_with_a_new_owner",
        1,
        |s| write_all(&s.lower(0), &[("d/", "")]),
        |s| {
            if !real_root() {
                eprintln!("skipped: other owners need root");
                return;
            }
            let below = s.mnt().with_file_name("below");
            fs::create_dir(&below).unwrap();
            for (caller, change) in CALLERS.iter().flat_map(|caller| CHANGES.map(|change| (caller, change))) {
                let [seen, expected] = [s.mnt().join("d"), below.clone()].map(|dir| {
                    for bits in BITS {
                        let [file, fifo, sub] =
                            ["file", "fifo", "dir"].map(|kind| dir.join(format!("{kind}-{bits:o}")));
                        File::create(&file).unwrap();
                        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
                        fs::create_dir(&sub).unwrap();
                        for path in [file, fifo, sub] {
                            std::os::unix::fs::chown(&path, Some(1000), Some(2000)).unwrap();
                            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
                        }
                    }
                    let command =
                        Command::new("setpriv").args(*caller).args(["sh", "-c", change]).current_dir(&dir).status();
                    // Some of them are refused.
                    assert!(command.unwrap().code().is_some());
                    let after = names(&dir).into_iter().map(|name| {
                        let meta = fs::metadata(dir.join(&name)).unwrap();
                        (format!("{name} {:o}", meta.mode()), meta.gid())
                    });
                    let after: Vec<_> = after.collect();
                    fs::remove_dir_all(&dir).unwrap();
                    fs::create_dir(&dir).unwrap();
                    after
                });
                assert_eq!(seen, expected, "{change} as {caller:?}");
            }
        },
    );
}

#[test]
fn roots_write_leaves_set_id_bits_as_they_are() {
    each_mode(
        "privileges::roots_write_leaves_set_id_bits_as_they_are",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content")]);
            fs::set_permissions(s.lower(0).join("f"), fs::Permissions::from_mode(0o6755)).unwrap();
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: root of a namespace has no CAP_FSETID over files of others");
                return;
            }
            let path = s.mnt().join("f");
            fs::write(&path, "other").unwrap();
            assert_eq!(mode(&path), 0o6755);
            let reader = File::open(&path).unwrap();
            append(&path, "+");
            assert_eq!((mode(&path), reader.metadata().unwrap().len()), (0o6755, 6));
            assert_eq!(std::io::read_to_string(reader).unwrap(), "other+");
        },
    );
}

#[test]
fn who_reads_a_set_id_file_is_never_refused_however_often_root_opens_it_for_writing() {
    let files: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    each_mode(
        "privileges::who_reads_a_set_id_file_is_never_refused_however_often_root_opens_it_for_writing",
        1,
        |s| {
            for name in &files {
                write_all(&s.lower(0), &[(name, "content")]);
                fs::set_permissions(s.lower(0).join(name), fs::Permissions::from_mode(0o4755)).unwrap();
            }
        },
        |s| {
            let mnt = s.mnt();
            let _held: Vec<File> = files.iter().map(|name| File::open(mnt.join(name)).unwrap()).collect();
            let barrier = Barrier::new(4);
            let open_all = &|write: bool| {
                let open = |name| OpenOptions::new().read(true).write(write).open(mnt.join(name)).err();
                let of_file = |name| (barrier.wait(), (0..20).filter_map(|_| open(name)).next_back()).1;
                files.iter().filter_map(of_file).count()
            };
            std::thread::scope(|scope| {
                let [one, other, ..] = [false, false, true, true].map(|write| scope.spawn(move || open_all(write)));
                assert_eq!([one, other].map(|reader| reader.join().unwrap()), [0, 0]);
            });
        },
    );
}

#[test]
fn a_write_takes_file_capabilities_away() {
    // struct vfs_cap_data, revision 2: cap_net_raw permitted.
    const CAPABILITY: [u8; 20] = [0, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    each_mode(
        "privileges::a_write_takes_file_capabilities_away",
        1,
        |s| {
            write_all(&s.lower(0), &[("f", "content")]);
            if real_root() {
                let path = s.lower(0).join("f");
                rustix::fs::setxattr(path, "security.capability", &CAPABILITY, rustix::fs::XattrFlags::empty())
                    .unwrap();
            }
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: file capabilities need root");
                return;
            }
            let path = s.mnt().join("f");
            let mut value = [0; 64];
            assert_eq!(rustix::fs::getxattr(&path, "security.capability", &mut value).unwrap(), CAPABILITY.len());
            fs::write(&path, "other").unwrap();
            let gone = rustix::fs::getxattr(&path, "security.capability", &mut value);
            assert_eq!(gone, Err(rustix::io::Errno::NODATA));
        },
    );
}

#[test]
fn a_chown_that_changes_nothing_takes_set_id_bits_away() {
    const CALLERS: [&[&str]; 4] = [
        &["--reuid", "1000", "--regid", "1000", "--groups", "2001"],
        &["--reuid", "1000", "--regid", "1000", "--groups", "2000"],
        &["--reuid", "1001", "--regid", "2000", "--clear-groups"],
        &["--reuid", "0"],
    ];
    const BITS: [u32; 7] = [0o6755, 0o4755, 0o2755, 0o2644, 0o6644, 0o4644, 0o644];
    each_mode(
        "privileges::a_chown_that_changes_nothing_takes_set_id_bits_away",
        1,
        |s| {
            for bits in BITS {
                write_all(&s.lower(0), &[(&format!("f-{bits:o}"), "content")]);
            }
        },
        |s| {
            if !real_root() {
                eprintln!("skipped: other owners need root");
                return;
            }
            let below = s.mnt().with_file_name("below");
            fs::create_dir(&below).unwrap();
            for caller in CALLERS {
                let [seen, expected] = [s.mnt(), below.clone()].map(|dir| {
                    let paths = BITS.map(|bits| (dir.join(format!("f-{bits:o}")), bits));
                    for (path, bits) in &paths {
                        OpenOptions::new().append(true).create(true).open(path).unwrap();
                        std::os::unix::fs::chown(path, Some(1000), Some(2000)).unwrap();
                        fs::set_permissions(path, fs::Permissions::from_mode(*bits)).unwrap();
                    }
                    // Some of them are refused.
                    let chown = ["perl", "-e", "chown(-1, -1, $_) for glob('f-*')"];
                    let command = Command::new("setpriv").args(caller).args(chown).current_dir(&dir).status();
                    assert!(command.unwrap().success());
                    paths.map(|(path, _)| format!("{:o}", mode(&path)))
                });
                assert_eq!(seen, expected, "{caller:?}");
            }
        },
    );
}
