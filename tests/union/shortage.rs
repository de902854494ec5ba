//! What happens when something runs out: space, descriptors.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use layerbench::union::UnionConfig;

use crate::fixture::{Stack, errno, here, ino, names, real_root, text, write_all};

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
fn mount_with_limit(s: &Stack, limit: u32, options: &str) -> Mounted {
    let words = format!("lowerdir={},upperdir={},{options}", s.lower(0).display(), s.upper().display());
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
        // Without opens files are open here only while they are kept.
        let _mounted = mount_with_limit(&s, 256, "opens=on");
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

/// Of some opens the kernel does not tell: whoever removes what he has open in this way takes the daemon's descriptors.
#[test]
fn who_removes_all_that_he_has_open_keeps_nobody_from_anything_else() {
    if !here("shortage::who_removes_all_that_he_has_open_keeps_nobody_from_anything_else") {
        return;
    }
    for (options, what) in [
        ("opens=off", "lower file"),
        ("opens=off", "read lower file"),
        ("opens=off", "new file"),
        ("opens=off", "replaced file"),
        ("opens=off", "folder"),
        ("passthrough=on", "folder"),
        ("passthrough=on", "FIFO"),
        ("opens=off", "replaced folder"),
    ] {
        let case = format!("{options}, {what}");
        let s = Stack::new(1);
        for n in 0..400 {
            write_all(&s.lower(0), &[(&*format!("d/f{n:03}"), "content"), (&*format!("tree/{n}/file"), "content")]);
        }
        let _mounted = mount_with_limit(&s, 256, options);
        let (mnt, dir) = (s.mnt(), s.mnt().join("d"));
        fs::create_dir(mnt.join("new")).unwrap();
        let remove = |n: usize| {
            let (lower, new) = (numbered(&dir, n), numbered(&mnt.join("new"), n));
            match what {
                "lower file" => File::open(&lower).and_then(|file| fs::remove_file(&lower).map(|()| file)),
                "read lower file" => {
                    assert_eq!(text(&lower), "content", "{case}");
                    File::open(&lower).and_then(|file| fs::remove_file(&lower).map(|()| file))
                }
                "new file" => {
                    let mut file = File::options().read(true).write(true).create_new(true).open(&new)?;
                    file.write_all(b"content")?;
                    fs::remove_file(&new).map(|()| file)
                }
                "replaced file" => {
                    let (file, other) = (File::open(&lower)?, mnt.join("other"));
                    rustix::fs::mknodat(
                        rustix::fs::CWD,
                        &other,
                        rustix::fs::FileType::RegularFile,
                        rustix::fs::Mode::RWXU,
                        0,
                    )
                    .or_else(|errno| if errno == rustix::io::Errno::EXIST { Ok(()) } else { Err(errno) })?;
                    fs::rename(other, &lower).map(|()| file)
                }
                "FIFO" => {
                    rustix::fs::mknodat(rustix::fs::CWD, &new, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)?;
                    let file = File::options().read(true).write(true).open(&new)?;
                    fs::remove_file(&new).map(|()| file)
                }
                "folder" => {
                    fs::create_dir(&new)?;
                    File::open(&new).and_then(|file| fs::remove_dir(&new).map(|()| file))
                }
                _ => {
                    let (old, other) = (mnt.join("new/old"), mnt.join("new/other"));
                    let _ = (fs::create_dir(&old), fs::create_dir(&other));
                    File::open(&old).and_then(|file| fs::rename(&other, &old).map(|()| file))
                }
            }
        };
        let mut all = Vec::new();
        let refused = loop {
            match remove(all.len()) {
                Ok(file) => all.push(file),
                Err(error) => break error.raw_os_error(),
            }
        };
        assert_eq!(refused, Some(libc::ENFILE), "{case}");
        assert!(all.len() > 100, "{case}: no more than {}", all.len());
        // What takes a descriptor for a moment.
        for n in 0..400 {
            let folder = mnt.join(format!("tree/{n}"));
            assert_eq!(names(&folder), ["file"], "{case}");
            if options == "opens=off" {
                assert_eq!(text(folder.join("file")), "content", "{case}");
            }
        }
        if options == "opens=off" {
            fs::write(mnt.join("tree/7/file"), "more").unwrap();
        }
        if what.ends_with("file") {
            for file in &all {
                let mut seen = [0; 7];
                file.read_exact_at(&mut seen, 0).unwrap();
                assert_eq!(&seen, b"content", "{case}");
            }
        }
        drop(all);
        // The kernel has them forgotten a moment later.
        let again = (256..400).any(|n| {
            std::thread::sleep(Duration::from_millis(20));
            remove(n).is_ok()
        });
        assert!(again, "{case}");
    }
}

/// Whiteouts are names of one file, which takes no inode for each.
#[test]
fn what_is_below_can_be_removed_where_no_inode_is_left() {
    if !here("shortage::what_is_below_can_be_removed_where_no_inode_is_left") {
        return;
    }
    if !real_root() {
        return eprintln!("skipped: a file system of few inodes takes root");
    }
    let mut s = Stack::new(1);
    write_all(&s.lower(0), &[("file", "lower"), ("moved", "lower"), ("folder/file", "lower"), ("kept", "lower")]);
    let (image, at) = (s.mnt().with_file_name("image"), s.mnt().with_file_name("small"));
    File::create(&image).unwrap().set_len(4 << 20).unwrap();
    fs::create_dir(&at).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).args([&image]).output().is_ok_and(|output| output.status.success())
    };
    if !run("mkfs.ext4", &["-q", "-N", "64"]) {
        return eprintln!("skipped: no mkfs.ext4");
    }
    let mounting = Command::new("mount").args(["-o", "loop"]).args([&image, &at]).output().unwrap();
    if !mounting.status.success() {
        return eprintln!("skipped: no loop device: {}", String::from_utf8_lossy(&mounting.stderr));
    }
    let small = Mounted(at);
    for name in ["upper", "work"] {
        fs::create_dir(small.0.join(name)).unwrap();
    }
    let config = UnionConfig { upper: Some(small.0.join("upper")), work: Some(small.0.join("work")), ..s.config("") };
    s.mount_with(config.clone());
    let mnt = s.mnt();
    fs::write(mnt.join("moved"), "copied up").unwrap();
    fs::rename(mnt.join("folder/file"), mnt.join("folder/new")).unwrap();
    let mut filling = (0..).map(|n| mnt.join(format!("filling{n}")));
    let full = filling.find_map(|path| File::create(path).err()).unwrap();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(rustix::fs::statvfs(&small.0).unwrap().f_ffree, 0);
    fs::remove_file(mnt.join("file")).unwrap();
    fs::rename(mnt.join("moved"), mnt.join("filling0")).unwrap();
    fs::remove_dir_all(mnt.join("folder")).unwrap();
    let left: Vec<String> = names(&mnt).into_iter().filter(|name| !name.starts_with("filling")).collect();
    assert_eq!(left, ["kept"]);
    assert_eq!(text(mnt.join("filling0")), "copied up");
    let all = names(&mnt);
    s.mount_with(config);
    assert_eq!(names(&mnt), all, "for a daemon that reads them from the disk");
    // One file, whoever looks at it.
    let whiteouts = [".wh.file", ".wh.moved", ".wh.folder"].map(|name| ino(small.0.join("upper").join(name)));
    assert_eq!(whiteouts, [whiteouts[0]; 3]);
}
