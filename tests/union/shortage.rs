//! What happens when something runs out: space, descriptors.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use layerbench::union::UnionConfig;

use crate::fixture::{Stack, errno, here, names, text, write_all};

/// A mount that goes with its test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A file system of 4 MiB.
fn small(at: PathBuf) -> Mounted {
    fs::create_dir(&at).unwrap();
    mount(Some("small"), &at, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    Mounted(at)
}

#[test]
fn a_write_that_finds_too_little_space_says_how_much_there_was() {
    if !here("shortage::a_write_that_finds_too_little_space_says_how_much_there_was") {
        return;
    }
    for options in ["passthrough=on", "passthrough=off"] {
        let mut s = Stack::new(1);
        let below = small(s.mnt().with_file_name("small"));
        let upper = below.0.join("upper");
        fs::create_dir(&upper).unwrap();
        // What is left is no multiple of what one request may write.
        fs::write(below.0.join("filling"), vec![0; 300_000]).unwrap();
        s.mount_with(UnionConfig { upper: Some(upper.clone()), ..s.config(options) });
        let mut file = File::create(s.mnt().join("f")).unwrap();
        let written = file.write(&vec![b'x'; 6 << 20]).unwrap() as u64;
        let sizes = [file.metadata(), fs::metadata(upper.join("f"))].map(|meta| meta.unwrap().len());
        assert_eq!(sizes, [written; 2], "{options}");
        assert_eq!(errno(file.write(&vec![b'x'; 1 << 20])), libc::ENOSPC, "{options}");
    }
}

/// Serves a stack by a process that may have so many files open.
fn mount_with_limit(s: &Stack, limit: u32) -> Mounted {
    // Without opens files are open here only while they are kept.
    let words = format!("opens=on,lowerdir={},upperdir={}", s.lower(0).display(), s.upper().display());
    let limited = format!("ulimit -n {limit}; exec \"$@\"");
    let program = ["sh", env!("CARGO_BIN_EXE_fuse-union"), "-o", &words, "union"];
    assert!(Command::new("sh").args(["-c", &limited]).args(program).arg(s.mnt()).status().unwrap().success());
    Mounted(s.mnt())
}

fn numbered(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("f{n:03}"))
}

#[test]
fn who_has_all_files_open_that_the_daemon_may_have_keeps_nobody_from_anything_else() {
    if !here("shortage::who_has_all_files_open_that_the_daemon_may_have_keeps_nobody_from_anything_else") {
        return;
    }
    for (written, of_lower) in [(false, true), (true, true), (true, false)] {
        let case = format!("written: {written}, of the lower: {of_lower}");
        let s = Stack::new(1);
        for n in 0..600 {
            write_all(&s.lower(0), &[(&*format!("d/f{n:03}"), "content"), (&*format!("tree/{n}/file"), "")]);
        }
        let _mounted = mount_with_limit(&s, 256);
        let (mnt, dir) = (s.mnt(), s.mnt().join("d"));
        // Lower files stay open for their next open, but only as long as nobody needs the room.
        for n in 500..600 {
            assert_eq!(text(numbered(&dir, n)), "content");
        }
        let new = mnt.join("new");
        fs::create_dir(&new).unwrap();
        let open = |n: usize| {
            let path = numbered(if of_lower { &dir } else { &new }, n);
            File::options().read(true).write(written).create(!of_lower).truncate(false).open(path)
        };
        let mut all = Vec::new();
        let refused = loop {
            match open(all.len()) {
                Ok(file) => all.push(file),
                Err(error) => break error.raw_os_error(),
            }
        };
        assert_eq!(refused, Some(libc::ENFILE), "{case}");
        assert!(all.len() > 100, "{case}: no more than {}", all.len());
        // What takes a descriptor for a moment.
        assert_eq!(names(&dir).len(), 600, "{case}");
        for n in 0..600 {
            assert_eq!(names(&mnt.join(format!("tree/{n}"))), ["file"], "{case}");
        }
        fs::create_dir(mnt.join("folder")).unwrap();
        fs::rename(numbered(&dir, 400), mnt.join("folder/moved")).unwrap();
        fs::remove_file(numbered(&dir, 401)).unwrap();
        fs::set_permissions(numbered(&dir, 402), fs::metadata(s.upper()).unwrap().permissions()).unwrap();
        rustix::fs::statvfs(&mnt).unwrap();
        drop(all);
        assert_eq!(text(mnt.join("folder/moved")), "content", "{case}");
    }
}
