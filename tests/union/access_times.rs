//! Access times: which reads change them, and where.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use layerbench::union::UnionConfig;

use crate::fixture::{Stack, here, real_root, text, write_all};

const NAMES: [&str; 3] = ["low", "d/low", "high"];

/// Some time in the past, which a file system with relatime would change at the next read.
const LONG_AGO: i64 = 1_000_000_000;

fn set(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
}

fn atime(path: impl AsRef<Path>) -> i64 {
    fs::metadata(path).unwrap().atime()
}

/// A mount with these words of mount(8), in which everything was read and listed once.
fn read_all(words: &str, passthrough: &str) -> Stack {
    let mut s = Stack::new(2);
    write_all(&s.lower(0), &[("d/", "")]);
    write_all(&s.lower(1), &[("low", "1"), ("d/low", "1")]);
    write_all(&s.upper(), &[("high", "1")]);
    for path in [s.lower(0), s.lower(0).join("d"), s.lower(1).join("d"), s.lower(1), s.upper()] {
        set(&path, LONG_AGO);
    }
    for path in [s.lower(1).join("low"), s.lower(1).join("d/low"), s.upper().join("high")] {
        set(&path, LONG_AGO);
    }
    let paths = (0..2).map(|n| s.lower(n).to_str().unwrap().to_owned()).collect::<Vec<_>>().join(":");
    let words = format!("lowerdir={paths},upperdir={},{words},passthrough={passthrough}", s.upper().display());
    s.mount_with(UnionConfig::parse([words]).unwrap());
    for name in NAMES {
        assert_eq!(text(s.mnt().join(name)), "1");
    }
    assert_eq!(fs::read_dir(s.mnt()).unwrap().count() + fs::read_dir(s.mnt().join("d")).unwrap().count(), 4);
    s
}

#[test]
fn what_is_read_of_a_lower_changes_nothing_there_and_the_upper_does_as_the_mount_says() {
    if !here("access_times::what_is_read_of_a_lower_changes_nothing_there_and_the_upper_does_as_the_mount_says") {
        return;
    }
    // The kernel leaves access times to whoever serves the data.
    let ours = if real_root() { ["on", "off"].as_slice() } else { ["off"].as_slice() };
    for passthrough in ours {
        for words in ["rw", "noatime", "relatime", "strictatime", "ro"] {
            let s = read_all(words, passthrough);
            let lowers =
                [s.lower(0), s.lower(0).join("d"), s.lower(1), s.lower(1).join("low"), s.lower(1).join("d/low")];
            for path in &lowers {
                assert_eq!(atime(path), LONG_AGO, "{} with {words}, passthrough={passthrough}", path.display());
            }
            assert_eq!([atime(s.mnt().join("low")), atime(s.mnt().join("d/low"))], [LONG_AGO; 2], "{words}");
            if *passthrough == "off" {
                continue;
            }
            let high = s.mnt().join("high");
            let changes = !["noatime", "ro"].contains(&words);
            assert_eq!(atime(&high) > LONG_AGO, changes, "{words}");
            // Once more, a moment later: as the mount says, and not as the file system below does.
            let first = fs::metadata(&high).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            text(&high);
            let second = fs::metadata(&high).unwrap();
            let again = (second.atime(), second.atime_nsec()) != (first.atime(), first.atime_nsec());
            assert_eq!(again, words == "strictatime", "{words}");
        }
    }
}
