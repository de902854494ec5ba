//! What happens when something runs out: space.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use layerbench::union::UnionConfig;

use crate::fixture::{Stack, errno, here};

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
