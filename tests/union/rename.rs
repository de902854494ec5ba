//! rename(2) between layers.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::fixture::{Stack, each_mode, errno, here, names, text, write_all};

fn rename2(from: &Path, to: &Path, flags: RenameFlags) -> i32 {
    renameat_with(CWD, from, CWD, to, flags).map_or_else(|errno| errno.raw_os_error(), |()| 0)
}

#[test]
fn a_lower_file_moves_by_copy_and_whiteout() {
    each_mode(
        "rename::a_lower_file_moves_by_copy_and_whiteout",
        2,
        |s| {
            write_all(&s.lower(1), &[("d/f", "lower"), ("e/old", "old")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            fs::rename(mnt.join("d/f"), mnt.join("e/g")).unwrap();
            assert_eq!((names(&upper.join("d")), names(&upper.join("e"))), (vec![".wh.f".into()], vec!["g".into()]));
            assert_eq!(text(mnt.join("e/g")), "lower");
            assert_eq!(names(&mnt.join("d")), Vec::<String>::new());
            // Over a lower file: no whiteout is needed where the upper has the name.
            fs::rename(mnt.join("e/g"), mnt.join("e/old")).unwrap();
            assert_eq!(names(&upper.join("e")), ["old"]);
            assert_eq!(names(&mnt.join("e")), ["old"]);
            assert_eq!(text(mnt.join("e/old")), "lower");
            // Back over the whiteout.
            fs::rename(mnt.join("e/old"), mnt.join("d/f")).unwrap();
            assert_eq!(names(&upper.join("d")), ["f"]);
            assert_eq!(names(&upper.join("e")), [".wh.old"]);
        },
    );
}

#[test]
fn a_directory_with_anything_below_is_exdev_and_any_other_moves() {
    each_mode(
        "rename::a_directory_with_anything_below_is_exdev_and_any_other_moves",
        1,
        |s| {
            write_all(&s.lower(0), &[("low/f", ""), ("merged/f", ""), ("empty/", ""), ("emptied/x", "")]);
            write_all(&s.upper(), &[("merged/u", ""), ("own/sub/deep", "deep")]);
        },
        |s| {
            let (mnt, upper) = (s.mnt(), s.upper());
            for name in ["low", "merged"] {
                assert_eq!(errno(fs::rename(mnt.join(name), mnt.join("new"))), libc::EXDEV, "{name}");
            }
            fs::rename(mnt.join("own"), mnt.join("new")).unwrap();
            assert_eq!(text(mnt.join("new/sub/deep")), "deep");
            fs::write(mnt.join("new/sub/more"), "").unwrap();
            assert_eq!(names(&upper.join("new/sub")), ["deep", "more"]);
            fs::rename(mnt.join("empty"), mnt.join("moved")).unwrap();
            assert_eq!(names(&upper.join("moved")), [".wh..wh..opq"]);
            fs::remove_file(mnt.join("emptied/x")).unwrap();
            fs::rename(mnt.join("emptied"), mnt.join("moved2")).unwrap();
            assert_eq!(names(&mnt), ["low", "merged", "moved", "moved2", "new"]);
            assert_eq!(names(&mnt.join("moved2")), Vec::<String>::new());
        },
    );
}

#[test]
fn a_directory_that_moves_onto_a_removed_one_shows_nothing_of_it() {
    each_mode(
        "rename::a_directory_that_moves_onto_a_removed_one_shows_nothing_of_it",
        1,
        |s| {
            write_all(&s.lower(0), &[("d/old", ""), ("e/old", "")]);
        },
        |s| {
            let mnt = s.mnt();
            // Onto a whiteout, and onto a merged directory that holds nothing but whiteouts.
            fs::remove_dir_all(mnt.join("d")).unwrap();
            fs::remove_file(mnt.join("e/old")).unwrap();
            for name in ["d", "e"] {
                fs::create_dir(mnt.join("n")).unwrap();
                fs::write(mnt.join("n/new"), name).unwrap();
                fs::rename(mnt.join("n"), mnt.join(name)).unwrap();
                assert_eq!(names(&mnt.join(name)), ["new"]);
            }
            assert_eq!(names(&s.upper()), ["d", "e"]);
            s.unmount();
            s.mount("");
            assert_eq!((names(&mnt.join("d")), names(&mnt.join("e"))), (vec!["new".into()], vec!["new".into()]));
        },
    );
}

#[test]
fn flags_and_errors() {
    each_mode(
        "rename::flags_and_errors",
        1,
        |s| {
            write_all(&s.lower(0), &[("a", "a"), ("b", "b"), ("d/x", "x"), ("full/y", "")]);
            write_all(&s.upper(), &[("own/z", "z")]);
        },
        |s| {
            let mnt = s.mnt();
            let p = |name: &str| mnt.join(name);
            assert_eq!(rename2(&p("a"), &p("b"), RenameFlags::NOREPLACE), libc::EEXIST);
            assert_eq!(rename2(&p("a"), &p("b"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("a")), text(p("b"))), ("b".into(), "a".into()));
            assert_eq!(names(&s.upper()), ["a", "b", "own"]);
            assert_eq!(rename2(&p("a"), &p("nothing"), RenameFlags::EXCHANGE), libc::ENOENT);
            assert_eq!(rename2(&p("a"), &p("d"), RenameFlags::EXCHANGE), libc::EXDEV);
            assert_eq!(rename2(&p("a"), &p("d/x"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("a")), text(p("d/x"))), ("x".into(), "b".into()));
            assert_eq!(rename2(&p("own"), &p("a"), RenameFlags::EXCHANGE), 0);
            assert_eq!((text(p("own")), text(p("a/z"))), ("x".into(), "z".into()));
            assert_eq!(rename2(&p("a"), &p("c"), RenameFlags::WHITEOUT), libc::EINVAL);
            assert_eq!(errno(fs::rename(p("a"), p("full"))), libc::ENOTEMPTY);
            assert_eq!(errno(fs::rename(p("b"), p("full"))), libc::EISDIR);
            assert_eq!(errno(fs::rename(p("a"), p("b"))), libc::ENOTDIR);
            assert_eq!(errno(fs::rename(p("nothing"), p("b"))), libc::ENOENT);
            assert_eq!(text(p("b")), "a");
        },
    );
}

#[test]
fn who_opens_a_file_that_is_being_replaced_gets_one_of_the_two() {
    each_mode(
        "rename::who_opens_a_file_that_is_being_replaced_gets_one_of_the_two",
        1,
        |_| (),
        |s| {
            let (path, new) = (s.mnt().join("x"), s.mnt().join("new"));
            // Each file says which one it is.
            let make = |at: &Path| {
                let file = File::create(at).unwrap();
                let ino = file.metadata().unwrap().ino();
                (&file).write_all(ino.to_string().as_bytes()).unwrap();
            };
            make(&path);
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..1500 {
                        make(&new);
                        fs::rename(&new, &path).unwrap();
                    }
                    over.store(true, Ordering::Relaxed);
                });
                while !over.load(Ordering::Relaxed) {
                    let mut file = File::open(&path).unwrap();
                    let mut said = String::new();
                    file.read_to_string(&mut said).unwrap();
                    let ino = file.metadata().unwrap().ino().to_string();
                    // A writer that has not come to it yet is no other file.
                    assert!(said == ino || said.is_empty(), "{ino} says that it is {said}");
                }
            });
        },
    );
}

#[test]
fn a_directory_that_cannot_be_replaced_stays_and_so_does_the_other() {
    each_mode(
        "rename::a_directory_that_cannot_be_replaced_stays_and_so_does_the_other",
        1,
        |s| write_all(&s.lower(0), &[("old/f", "gone"), ("new/below", "gone too")]),
        |s| {
            let (old, new) = (s.mnt().join("old"), s.mnt().join("new"));
            fs::remove_file(old.join("f")).unwrap();
            fs::remove_file(new.join("below")).unwrap();
            fs::write(new.join("data"), "precious").unwrap();
            // Where the replaced directory goes with its whiteouts there is no place any more.
            fs::remove_dir_all(s.scratch_dir()).unwrap();
            assert_eq!(errno(fs::rename(&new, &old)), libc::ENOENT);
            for root in [s.mnt(), s.upper()] {
                assert_eq!(text(root.join("new/data")), "precious");
            }
            assert_eq!((names(&old), names(&new)), (vec![], vec!["data".to_string()]));
            fs::create_dir(s.scratch_dir()).unwrap();
            s.unmount();
            s.mount("");
            assert_eq!((names(&old), names(&new)), (vec![], vec!["data".to_string()]));
            fs::rename(&new, &old).unwrap();
            assert_eq!(text(old.join("data")), "precious");
            assert!(!new.exists());
        },
    );
}

/// A crash between two steps would leave the directory that is replaced under the name of the other; and not every file system can exchange two.
#[test]
fn a_directory_takes_the_place_of_an_empty_one_in_one_step() {
    if !here("rename::a_directory_takes_the_place_of_an_empty_one_in_one_step") {
        return;
    }
    // A filter that says EINVAL to RENAME_EXCHANGE.
    let script = r#"
import ctypes, os, platform, struct, sys
number = {"x86_64": 316, "aarch64": 276}.get(platform.machine())
if number is None:
    sys.exit(77)
# Load the number; if it is renameat2's, load the flags; if they have RENAME_EXCHANGE, answer EINVAL.
program = [(0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 48), (0x45, 0, 1, 2), (6, 0, 0, 0x50000 | 22), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
filter = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let s = Stack::new(1);
    write_all(&s.lower(0), &[("removed/f", ""), ("lower/", "")]);
    write_all(&s.upper(), &[("from/data", "moved"), ("to/", "")]);
    let words = format!("lowerdir={},upperdir={}", s.lower(0).display(), s.upper().display());
    let program = [env!("CARGO_BIN_EXE_fuse-union"), "-o", &words, "union"];
    match Command::new("python3").args(["-c", script]).args(program).arg(s.mnt()).status() {
        Ok(status) if status.success() => {}
        Ok(status) if status.code() == Some(77) => {
            return eprintln!("skipped: the numbers of another architecture");
        }
        Ok(status) => panic!("{status}"),
        Err(error) => return eprintln!("skipped: the filter needs python3: {error}"),
    }
    let mnt = s.mnt();
    let moved = std::panic::catch_unwind(|| {
        fs::rename(mnt.join("from"), mnt.join("to")).unwrap();
        // Onto one that is opaque by now, and back over one that has something below.
        fs::remove_file(mnt.join("removed/f")).unwrap();
        fs::remove_dir(mnt.join("removed")).unwrap();
        fs::rename(mnt.join("to"), mnt.join("removed")).unwrap();
        fs::rename(mnt.join("removed"), mnt.join("lower")).unwrap();
        assert_eq!(text(mnt.join("lower/data")), "moved");
        assert_eq!(names(&mnt), ["lower"]);
    });
    nix::mount::umount2(&mnt, nix::mount::MntFlags::MNT_DETACH).unwrap();
    moved.unwrap();
}
