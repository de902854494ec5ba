//! What is in a file: large, mapped, direct, appended to by many.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fixture::{Stack, each_mode, errno, here, names, open_and_copy_up, real_root, text, write_all};

#[test]
fn a_file_above_four_gibibytes_keeps_its_ends_and_its_holes() {
    const SIZE: u64 = 5 << 30;
    const ODD: u64 = (4 << 30) + 12_345;
    each_mode(
        "data::a_file_above_four_gibibytes_keeps_its_ends_and_its_holes",
        1,
        |s| {
            let file = File::create(s.lower(0).join("large")).unwrap();
            file.write_at(b"begin", 0).unwrap();
            file.write_at(b"beyond", ODD).unwrap();
            file.set_len(SIZE).unwrap();
        },
        |s| {
            let path = s.mnt().join("large");
            let mut read = [0; 6];
            File::open(&path).unwrap().read_exact_at(&mut read, ODD).unwrap();
            assert_eq!(&read, b"beyond");
            let file = OpenOptions::new().read(true).append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut &file, b"end").unwrap();
            for place in [path, s.upper().join("large")] {
                let file = File::open(&place).unwrap();
                let meta = file.metadata().unwrap();
                assert_eq!(meta.len(), SIZE + 3);
                assert!(meta.blocks() < 1000, "{} blocks of 512 bytes", meta.blocks());
                file.read_exact_at(&mut read, ODD).unwrap();
                assert_eq!(&read, b"beyond");
                file.read_exact_at(&mut read[..5], 0).unwrap();
                assert_eq!(&read[..5], b"begin");
                file.read_exact_at(&mut read[..3], SIZE).unwrap();
                assert_eq!(&read[..3], b"end");
                // Where the data is, a program that copies the file finds through the mount, too.
                let data = |from| rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(from)).unwrap();
                assert!((2 << 30..=ODD).contains(&data(1 << 20)), "{}", data(1 << 20));
            }
        },
    );
}

#[test]
fn private_mappings_change_no_file_and_shared_ones_do() {
    each_mode(
        "data::private_mappings_change_no_file_and_shared_ones_do",
        1,
        |s| write_all(&s.lower(0), &[("private", &"o".repeat(9000)), ("shared", &"o".repeat(9000))]),
        |s| {
            // Python's mmap, in a process of its own: this crate's tests have no unsafe code.
            let script = r#"
import mmap, os, sys, time
folder = sys.argv[1]
r = os.open(folder + "/private", os.O_RDONLY)
private = mmap.mmap(r, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
private[10:13] = b"own"
w = os.open(folder + "/private", os.O_WRONLY)
os.pwrite(w, b"file", 8000)
assert private[10:13] == b"own"
assert open(folder + "/private", "rb").read() == b"o" * 8000 + b"file" + b"o" * 996
rw = os.open(folder + "/shared", os.O_RDWR)
one = mmap.mmap(rw, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
other = mmap.mmap(os.open(folder + "/shared", os.O_RDONLY), 0, mmap.MAP_SHARED, mmap.PROT_READ)
one[5000:5003] = b"MAP"
assert other[5000:5003] == b"MAP"
os.pwrite(rw, b"PWRITE", 0)
assert one[:6] == other[:6] == b"PWRITE"
one.flush()
# Through the mapping alone: the kernel's FUSE side sees no write, and must not go on with the times that it knows.
before = os.stat(folder + "/shared").st_mtime_ns
time.sleep(0.02)
one[8200:8203] = b"MAP"
one.flush()
mapped = os.stat(folder + "/shared").st_mtime_ns
assert mapped > before
time.sleep(0.02)
one[100:103] = b"MAP"
os.close(rw); one.close()
assert os.pread(os.open(folder + "/shared", os.O_RDONLY), 3, 5000) == b"MAP"
"#;
            match Command::new("python3").args(["-c", script]).arg(s.mnt()).status() {
                Ok(status) => assert!(status.success()),
                Err(error) => return eprintln!("skipped: mappings need python3: {error}"),
            }
            assert_eq!(&fs::read(s.upper().join("shared")).unwrap()[5000..5003], b"MAP");
            let times = |root: PathBuf| fs::metadata(root.join("shared")).unwrap().modified().unwrap();
            assert_eq!(times(s.mnt()), times(s.upper()), "the time of the last write through the mapping");
            assert_eq!(text(s.lower(0).join("shared")), "o".repeat(9000));
        },
    );
}

/// A mapping outlasts its open (mmap(2)), and what is written through it the kernel's FUSE side does not see.
#[test]
fn what_a_mapping_writes_shows_in_blocks_and_times_also_after_the_close() {
    each_mode(
        "data::what_a_mapping_writes_shows_in_blocks_and_times_also_after_the_close",
        1,
        |s| File::create(s.lower(0).join("known")).unwrap().set_len(1 << 20).unwrap(),
        |s| {
            // Python's mmap keeps a descriptor, that of the C library does not.
            let script = r#"
import ctypes, os, sys, time
folder, below = sys.argv[1:]
SIZE = 1 << 20
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

def change(name, address, offset, length):
    before = os.stat(folder + "/" + name)
    time.sleep(0.02)
    ctypes.memset(address + offset, 65, length)
    assert libc.msync(address, SIZE, 4) == 0
    after, real = os.stat(folder + "/" + name), os.stat(below + "/" + name)
    assert after.st_mtime_ns > before.st_mtime_ns, (name, offset)
    assert (after.st_blocks, after.st_mtime_ns) == (real.st_blocks, real.st_mtime_ns), (name, offset, after, real)

for name in ["new", "known"]:
    path = folder + "/" + name
    if name == "known":
        os.stat(path)
    fd = os.open(path, os.O_RDWR | (os.O_CREAT if name == "new" else 0), 0o644)
    if name == "new":
        os.ftruncate(fd, SIZE)
    address = libc.mmap(None, SIZE, 3, 1, fd, 0)
    if name == "known":
        change(name, address, 0, 5000)
    os.close(fd)
    # The kernel tells of the release behind the close.
    time.sleep(0.05)
    change(name, address, 100000, 300000)
    # Another open comes and goes.
    os.close(os.open(path, os.O_RDWR))
    time.sleep(0.05)
    change(name, address, 500000, 500000)
    assert libc.munmap(address, SIZE) == 0
    assert os.stat(path).st_blocks == os.stat(below + "/" + name).st_blocks >= 1500
"#;
            match Command::new("python3").args(["-c", script]).arg(s.mnt()).arg(s.upper()).status() {
                Ok(status) => assert!(status.success()),
                Err(error) => eprintln!("skipped: mappings need python3: {error}"),
            }
        },
    );
}

#[test]
fn direct_io_reads_and_writes_the_same_file() {
    const BLOCK: usize = 65536;
    each_mode(
        "data::direct_io_reads_and_writes_the_same_file",
        1,
        |s| write_all(&s.lower(0), &[("f", &"x".repeat(4 * BLOCK)), ("source", &"y".repeat(BLOCK))]),
        |s| {
            // dd aligns its buffers, which takes unsafe code here.
            let dd = |words: &[String]| {
                let output = Command::new("dd").args(words).args(["bs=64k", "conv=notrunc"]).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            };
            let path = |name: &str| s.mnt().join(name).display().to_string();
            let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(s.lower(0).join("f"));
            if let Err(error) = direct {
                return eprintln!("skipped: no O_DIRECT on the file system of the layers: {error}");
            }
            dd(&[format!("if={}", path("f")), format!("of={}", path("copy")), "iflag=direct".into()]);
            assert_eq!(text(path("copy")), "x".repeat(4 * BLOCK));
            let cached = File::open(path("f")).unwrap();
            cached.read_exact_at(&mut [0; BLOCK], 0).unwrap();
            drop(cached);
            dd(&[
                format!("if={}", path("source")),
                format!("of={}", path("f")),
                "oflag=direct".into(),
                "seek=2".into(),
            ]);
            let expected = "x".repeat(2 * BLOCK) + &"y".repeat(BLOCK) + &"x".repeat(BLOCK);
            assert_eq!(text(path("f")), expected);
            assert_eq!(text(s.upper().join("f")), expected);
        },
    );
}

#[test]
fn appends_of_several_processes_lose_nothing() {
    each_mode(
        "data::appends_of_several_processes_lose_nothing",
        1,
        |s| write_all(&s.lower(0), &[("log", "first\n")]),
        |s| {
            let script = "i=0; while [ $i -lt 200 ]; do echo $1-$i >> log; i=$((i + 1)); done";
            let children: Vec<_> = (0..4)
                .map(|n| {
                    let mut command = Command::new("sh");
                    command.args(["-c", script, "sh", &n.to_string()]).current_dir(s.mnt()).spawn().unwrap()
                })
                .collect();
            for mut child in children {
                assert!(child.wait().unwrap().success());
            }
            let mut lines: Vec<String> = text(s.mnt().join("log")).lines().map(str::to_string).collect();
            assert_eq!(lines[0], "first");
            lines[1..].sort();
            let mut expected: Vec<String> = (0..4).flat_map(|n| (0..200).map(move |i| format!("{n}-{i}"))).collect();
            expected.sort();
            assert_eq!(lines[1..], expected);
        },
    );
}

#[test]
fn a_file_without_a_name_is_refused_cleanly() {
    each_mode(
        "data::a_file_without_a_name_is_refused_cleanly",
        1,
        |s| write_all(&s.lower(0), &[("d/", "")]),
        |s| {
            // fuser has no FUSE_TMPFILE; programs then make a file and unlink it.
            let made = OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(s.mnt().join("d"));
            assert_eq!(errno(made), libc::EOPNOTSUPP);
            assert_eq!(names(&s.upper()), Vec::<String>::new());
            let file = tempfile::tempfile_in(s.mnt().join("d")).unwrap();
            file.write_at(b"data", 0).unwrap();
            assert_eq!((file.metadata().unwrap().len(), file.metadata().unwrap().nlink()), (4, 0));
            assert_eq!(names(&s.mnt().join("d")), Vec::<String>::new());
        },
    );
}

#[test]
fn a_file_keeps_its_number_and_device_while_readers_and_writers_hold_it() {
    each_mode(
        "data::a_file_keeps_its_number_and_device_while_readers_and_writers_hold_it",
        1,
        |s| write_all(&s.lower(0), &[("d/f", "old"), ("d/g", "old")]),
        |s| {
            let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
            let (path, dir) = (s.mnt().join("d/f"), s.mnt().join("d"));
            let before = (id(fs::metadata(&path).unwrap()), id(fs::metadata(&dir).unwrap()));
            assert_eq!(before.0.0, before.1.0, "one device for files and directories");
            assert_eq!(before.0.0, fs::metadata(s.mnt()).unwrap().dev());
            let reader = File::open(&path).unwrap();
            let writer = OpenOptions::new().write(true).open(&path).unwrap();
            writer.write_at(b"new", 0).unwrap();
            let late = File::open(&path).unwrap();
            for meta in [reader.metadata(), writer.metadata(), late.metadata(), fs::metadata(&path)] {
                assert_eq!(id(meta.unwrap()), before.0);
            }
            drop((reader, writer, late));
            assert_eq!((id(fs::metadata(&path).unwrap()), id(fs::metadata(&dir).unwrap())), before);
            fs::rename(&path, s.mnt().join("moved")).unwrap();
            assert_eq!(id(fs::metadata(s.mnt().join("moved")).unwrap()), before.0);
            assert_ne!(id(fs::metadata(s.mnt().join("d/g")).unwrap()), before.0);
        },
    );
}

/// Takes a mount away that another process serves.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_copy_up_works_where_the_upper_has_no_o_tmpfile() {
    if !here("data::a_copy_up_works_where_the_upper_has_no_o_tmpfile") {
        return;
    }
    // No usual file system is without. A filter of system calls (seccomp(2)) has the daemon believe it.
    let script = r#"
import ctypes, errno, os, platform, struct, sys
openat = {"x86_64": 257, "aarch64": 56}.get(platform.machine())
if openat is None:
    sys.exit(77)
# Load the number; if it is openat's, load the flags; if they have __O_TMPFILE, answer EOPNOTSUPP.
program = [(0x20, 0, 0, 0), (0x15, 0, 3, openat), (0x20, 0, 0, 32), (0x45, 0, 1, 0o20000000), (6, 0, 0, 0x50000 | 95), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
filter = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
try:
    os.open(sys.argv[-1], os.O_TMPFILE | os.O_RDWR)
    sys.exit("O_TMPFILE works")
except OSError as error:
    assert error.errno == errno.EOPNOTSUPP
os.execv(sys.argv[1], sys.argv[1:])
"#;
    for options in ["passthrough=on", "passthrough=off"] {
        let s = Stack::new(1);
        write_all(&s.lower(0), &[("d/f", "old"), ("d/g", "old")]);
        let words = format!("lowerdir={},upperdir={},{options}", s.lower(0).display(), s.upper().display());
        let program = [env!("CARGO_BIN_EXE_fuse-union"), "-o", &words, "union"];
        match Command::new("python3").args(["-c", script]).args(program).arg(s.mnt()).status() {
            Ok(status) if status.success() => {}
            Ok(status) if status.code() == Some(77) => {
                return eprintln!("skipped: the numbers of another architecture");
            }
            Ok(status) => panic!("{status}"),
            Err(error) => return eprintln!("skipped: the filter needs python3: {error}"),
        }
        let _mount = Unmount(s.mnt());
        let (written, truncated) = (s.mnt().join("d/f"), s.mnt().join("d/g"));
        OpenOptions::new().append(true).open(&written).unwrap().write_at(b"new", 3).unwrap();
        fs::write(&truncated, "short").unwrap();
        assert_eq!((text(&written), text(&truncated)), ("oldnew".into(), "short".into()));
        assert_eq!(text(s.upper().join("d/f")), "oldnew");
        assert_eq!(text(s.upper().join("d/g")), "short");
        assert_eq!(s.left_in_scratch(), Vec::<String>::new());
    }
}

#[test]
fn first_writes_in_a_row_make_the_right_files_and_leave_no_nameless_one() {
    // What is made ready for the next one has the mode of the last: here none has that of the one before.
    let mode = |n: u32| 0o600 | ((n * 0o13) & 0o177);
    each_mode(
        "data::first_writes_in_a_row_make_the_right_files_and_leave_no_nameless_one",
        1,
        |s| {
            for n in 0..64 {
                let path = s.lower(0).join(format!("f{n}"));
                fs::write(&path, format!("{n}")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(mode(n))).unwrap();
                if real_root() {
                    std::os::unix::fs::chown(&path, Some(n % 3), Some(n % 5)).unwrap();
                }
            }
        },
        |s| {
            let owner = |n: u32| if real_root() { (n % 3, n % 5) } else { (0, 0) };
            for n in 0..64 {
                let path = s.mnt().join(format!("f{n}"));
                match n % 4 {
                    0 => fs::write(&path, "new").unwrap(),
                    1 => drop(open_and_copy_up(s, &format!("f{n}"))),
                    2 => fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap(),
                    _ => OpenOptions::new().append(true).open(&path).unwrap().write_at(b"+", 0).map(drop).unwrap(),
                }
                let content = match n % 4 {
                    0 => "new".to_string(),
                    3 => format!("{n}+"),
                    _ => n.to_string(),
                };
                for place in [path, s.upper().join(format!("f{n}"))] {
                    let meta = fs::metadata(&place).unwrap();
                    let expected = if n % 4 == 2 { 0o640 } else { mode(n) };
                    let found = (text(&place), meta.mode() & 0o7777, (meta.uid(), meta.gid()), meta.nlink());
                    assert_eq!(found, (content.clone(), expected, owner(n), 1), "{n}");
                }
            }
            let scratch = s.scratch_dir();
            let nameless = || {
                let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
                open.filter(|link| link.starts_with(&scratch) && *link != scratch).count()
            };
            let start = Instant::now();
            while nameless() > 0 {
                assert!(start.elapsed() < Duration::from_secs(20), "{} are kept", nameless());
                std::thread::yield_now();
            }
        },
    );
}
