//! Maps of user and group ids: what lies in the layers with one owner is shown with another.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use layerbench::union::UnionConfig;
use rustix::fs::XattrFlags;

use super::fixture::{Stack, errno, here, names, real_root, write_all};

/// The first id of a container's user namespace, as in /etc/subuid.
const FIRST: u32 = 100_000;
const MAP: &str = "uidmapping=0:100000:65536,gidmapping=:0:100000:65536";

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

/// A mount with these maps, with passthrough and without.
fn each_mode(test: &str, words: &str, build: impl Fn(&Stack), check: impl Fn(&Stack)) {
    if !here(test) {
        return;
    }
    if !real_root() {
        eprintln!("skipped: files of several owners need root");
        return;
    }
    for mode in ["passthrough=on", "passthrough=off"] {
        let mut stack = Stack::new(1);
        build(&stack);
        let mut config = stack.config("");
        config.options = UnionConfig::parse([format!("lowerdir=/l,{mode},{words}")]).unwrap().options;
        stack.mount_with(config);
        eprintln!("{test} with {mode}");
        check(&stack);
        stack.unmount();
    }
}

/// Runs a script as a user of the container.
fn as_user(at: &Path, uid: u32, gid: u32, script: &str) -> bool {
    let (uid, gid) = ((FIRST + uid).to_string(), (FIRST + gid).to_string());
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "sh", "-ec", script]).current_dir(at);
    command.stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn a_container_finds_its_own_ids_and_leaves_them_in_the_upper() {
    each_mode(
        "owners::a_container_finds_its_own_ids_and_leaves_them_in_the_upper",
        MAP,
        |s| {
            write_all(&s.lower(0), &[("root", "r"), ("user", "u"), ("set-id", "s"), ("stranger", "x"), ("d/", "")]);
            fs::set_permissions(s.lower(0).join("user"), fs::Permissions::from_mode(0o640)).unwrap();
            for (name, uid, gid) in [("user", 5, 6), ("set-id", 5, 6), ("stranger", 70_000, 6), ("d", 5, 6)] {
                chown(s.lower(0).join(name), Some(uid), Some(gid)).unwrap();
            }
            fs::set_permissions(s.lower(0).join("set-id"), fs::Permissions::from_mode(0o6755)).unwrap();
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            assert_eq!(owner(&mnt.join("root")), (FIRST, FIRST));
            assert_eq!(owner(&mnt.join("user")), (FIRST + 5, FIRST + 6));
            assert_eq!(owner(&mnt.join("stranger")), (65534, FIRST + 6));
            // The kernel checks permissions by what is shown.
            assert!(as_user(&mnt, 5, 6, "cat user") && as_user(&mnt, 9, 6, "cat user"));
            assert!(!as_user(&mnt, 9, 9, "cat user") && !as_user(&mnt, 5, 6, "echo x > root"));
            // What comes up keeps its owner; what is made gets its maker's.
            let script =
                "echo more >> user; echo x >> set-id; cd d; echo x > file; mkdir dir; ln -s to link; mkfifo pipe";
            assert!(as_user(&mnt, 5, 6, script));
            assert_eq!(names(&upper.join("d")), ["dir", "file", "link", "pipe"]);
            for name in ["user", "set-id", "d", "d/file", "d/dir", "d/link", "d/pipe"] {
                assert_eq!(owner(&upper.join(name)), (5, 6), "{name}, upper");
                assert_eq!(owner(&mnt.join(name)), (FIRST + 5, FIRST + 6), "{name}");
            }
            assert_eq!(fs::metadata(mnt.join("set-id")).unwrap().mode() & 0o7777, 0o755);
        },
    );
}

#[test]
fn chown_gives_mapped_ids_alone() {
    each_mode(
        "owners::chown_gives_mapped_ids_alone",
        MAP,
        |s| write_all(&s.lower(0), &[("f", "content"), ("g", "content")]),
        |s| {
            chown(s.mnt().join("f"), Some(FIRST + 7), Some(FIRST + 8)).unwrap();
            assert_eq!((owner(&s.upper().join("f")), owner(&s.mnt().join("f"))), ((7, 8), (FIRST + 7, FIRST + 8)));
            assert_eq!(errno(chown(s.mnt().join("g"), Some(7), None)), libc::EOVERFLOW);
            assert_eq!(errno(chown(s.mnt().join("g"), None, Some(FIRST + 65536))), libc::EOVERFLOW);
            assert!(!s.upper().join("g").exists(), "a chown that is refused brings nothing up");
            // An engine outside the namespace makes something for the container, and gives it away.
            symlink("/proc/mounts", s.mnt().join("mtab")).unwrap();
            assert_eq!(owner(&s.upper().join("mtab")), (65534, 65534));
            lchown(s.mnt().join("mtab"), Some(FIRST), Some(FIRST)).unwrap();
            assert_eq!(owner(&s.upper().join("mtab")), (0, 0));
        },
    );
}

/// An ACL as an extended attribute, with one user and one group by name.
fn acl(user: u32, group: u32) -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(0x01u16, 6u16, NONE), (0x02, 6, user), (0x04, 0, NONE), (0x08, 4, group), (0x10, 6, NONE), (0x20, 0, NONE)]
    {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
fn acls_name_who_they_mean() {
    const ACL: &str = "system.posix_acl_access";
    const DEFAULT: &str = "system.posix_acl_default";
    let get = |path: &Path, name: &str| {
        let mut value = [0; 256];
        let length = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    each_mode(
        "owners::acls_name_who_they_mean",
        MAP,
        |s| {
            write_all(&s.lower(0), &[("f", "content"), ("g", "content"), ("d/", "")]);
            rustix::fs::setxattr(s.lower(0).join("f"), ACL, &acl(5, 6), XattrFlags::empty()).unwrap();
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            assert_eq!(get(&mnt.join("f"), ACL), acl(FIRST + 5, FIRST + 6));
            assert!(as_user(&mnt, 5, 9, "echo x >> f"), "the user named may write");
            assert!(as_user(&mnt, 9, 6, "cat f") && !as_user(&mnt, 9, 6, "echo x >> f"), "the group named may read");
            assert!(!as_user(&mnt, 9, 9, "cat f"), "nobody else may");
            assert_eq!(get(&upper.join("f"), ACL), acl(5, 6), "copied up");
            for (name, acl_name) in [("g", ACL), ("d", DEFAULT)] {
                let set = |value: &[u8]| rustix::fs::setxattr(mnt.join(name), acl_name, value, XattrFlags::empty());
                set(&acl(FIRST + 1, FIRST + 2)).unwrap();
                assert_eq!(get(&upper.join(name), acl_name), acl(1, 2), "{acl_name}");
                assert_eq!(set(&acl(1, FIRST + 2)), Err(rustix::io::Errno::OVERFLOW));
            }
            // Inherited by what is made below.
            File::create(mnt.join("d/new")).unwrap();
            assert_eq!(get(&mnt.join("d/new"), ACL)[12..20], acl(FIRST + 1, 0)[12..20]);
        },
    );
}

#[test]
fn squashed_files_are_all_one_users() {
    each_mode(
        "owners::squashed_files_are_all_one_users",
        "squash_to_uid=100005,squash_to_gid=100006",
        |s| {
            write_all(&s.lower(0), &[("root", "r"), ("user", "u")]);
            chown(s.lower(0).join("user"), Some(5), Some(6)).unwrap();
        },
        |s| {
            for name in ["root", "user"] {
                assert_eq!(owner(&s.mnt().join(name)), (FIRST + 5, FIRST + 6));
                assert!(as_user(&s.mnt(), 5, 6, &format!("echo x >> {name}")));
            }
            assert_eq!((owner(&s.upper().join("root")), owner(&s.upper().join("user"))), ((0, 0), (5, 6)));
            chown(s.mnt().join("root"), Some(3), Some(4)).unwrap();
            assert_eq!(
                (owner(&s.upper().join("root")), owner(&s.mnt().join("root"))),
                ((3, 4), (FIRST + 5, FIRST + 6))
            );
        },
    );
}

/// What it is for: the same layers in a user namespace whose ids begin elsewhere, without a chown of anything.
#[test]
fn a_user_namespace_sees_the_layers_as_their_image_has_them() {
    each_mode(
        "owners::a_user_namespace_sees_the_layers_as_their_image_has_them",
        MAP,
        |s| {
            write_all(&s.lower(0), &[("root", "r"), ("user", "u")]);
            chown(s.lower(0).join("user"), Some(5), Some(6)).unwrap();
        },
        |s| {
            // The directories of the test are for root alone, so that the namespace is entered from within.
            let script = "stat -c %u:%g root user; echo x >> user; echo x > new; chown 7:8 new; stat -c %u:%g new";
            let inside = format!(
                "cd '{}' && exec nsenter --user --target \"$1\" --setuid 0 --setgid 0 --preserve-credentials \
                 setpriv --reuid 0 --regid 0 --clear-groups sh -ec '{script}'",
                s.mnt().display()
            );
            let mut holder =
                Command::new("unshare").args(["--user", "sleep", "60"]).stdin(Stdio::null()).spawn().unwrap();
            let pid = holder.id();
            let own = fs::read_link("/proc/self/ns/user").unwrap();
            while fs::read_link(format!("/proc/{pid}/ns/user")).unwrap() == own {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{pid}/{map}"), "0 100000 65536").unwrap();
            }
            let output = Command::new("sh").args(["-ec", &inside, "sh", &pid.to_string()]).output();
            holder.kill().unwrap();
            holder.wait().unwrap();
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(String::from_utf8_lossy(&output.stdout), "0:0\n5:6\n7:8\n", "{said}");
            assert_eq!((owner(&s.upper().join("user")), owner(&s.upper().join("new"))), ((5, 6), (7, 8)));
        },
    );
}
