//! flock(2) and fcntl(2) locks, between processes and across a copy_up.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use crate::fixture::{MODES, each_of, real_root, write_all};

/// Whether another process gets an exclusive lock of this kind (`flock` or `lockf`) at once; `None` without python3.
fn other_process_gets(kind: &str, path: &Path) -> Option<bool> {
    let script = "
import fcntl, sys
with open(sys.argv[2], 'r+') as file:
    try:
        getattr(fcntl, sys.argv[1])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(7)
";
    match Command::new("python3").args(["-c", script, kind]).arg(path).stdin(Stdio::null()).status() {
        Ok(status) => Some(match status.code() {
            Some(0) => true,
            Some(7) => false,
            other => panic!("{kind}: {other:?}"),
        }),
        Err(error) => {
            eprintln!("skipped: a second process needs python3: {error}");
            None
        }
    }
}

#[test]
fn locks_exclude_other_processes() {
    each_of(
        &MODES,
        "locks::locks_exclude_other_processes",
        1,
        |s| write_all(&s.lower(0), &[("f", "x"), ("reading", "x")]),
        |s| {
            let path = s.mnt().join("f");
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let other = OpenOptions::new().read(true).open(&path).unwrap();
            flock(&file, FlockOperation::LockExclusive).unwrap();
            assert_eq!(flock(&other, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK));
            assert_ne!(other_process_gets("flock", &path), Some(true));
            flock(&file, FlockOperation::Unlock).unwrap();
            assert_ne!(other_process_gets("flock", &path), Some(false));
            fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
            assert_ne!(other_process_gets("lockf", &path), Some(true));
            fcntl_lock(&file, FlockOperation::Unlock).unwrap();
            assert_ne!(other_process_gets("lockf", &path), Some(false));
            // Readers of a lower file that nobody writes.
            let path = s.mnt().join("reading");
            let (one, two) = (File::open(&path).unwrap(), File::open(&path).unwrap());
            flock(&one, FlockOperation::LockExclusive).unwrap();
            assert_eq!(flock(&two, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
            drop(one);
            flock(&two, FlockOperation::NonBlockingLockExclusive).unwrap();
            assert!(!s.upper().join("reading").exists());
        },
    );
}

#[test]
fn a_lock_of_a_reader_across_the_first_write() {
    each_of(
        &MODES,
        "locks::a_lock_of_a_reader_across_the_first_write",
        1,
        |s| write_all(&s.lower(0), &[("f", "x"), ("attributes", "x")]),
        |s| {
            // Where the kernel reads the old data for the reader, those who open later have another node, and locks belong to nodes.
            let two_nodes = s.mounted().passthrough() && real_root();
            let path = s.mnt().join("f");
            let reader = File::open(&path).unwrap();
            flock(&reader, FlockOperation::LockShared).unwrap();
            let writer = OpenOptions::new().write(true).open(&path).unwrap();
            let expected = if two_nodes { Ok(()) } else { Err(Errno::WOULDBLOCK) };
            assert_eq!(flock(&writer, FlockOperation::NonBlockingLockExclusive), expected);
            drop(writer);
            // Among those who open later, it holds.
            let writer = OpenOptions::new().write(true).open(&path).unwrap();
            let late = File::open(&path).unwrap();
            flock(&late, FlockOperation::NonBlockingLockShared).unwrap();
            assert_eq!(flock(&writer, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
            drop((reader, late));
            flock(&writer, FlockOperation::NonBlockingLockExclusive).unwrap();
            // A copy_up that opens nothing changes nothing.
            let path = s.mnt().join("attributes");
            let one = File::open(&path).unwrap();
            flock(&one, FlockOperation::LockExclusive).unwrap();
            one.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(flock(&one, FlockOperation::NonBlockingLockExclusive), Ok(()));
            assert!(s.upper().join("attributes").exists());
        },
    );
}
