//! How a daemon ends: told to, unmounted, killed, or by a fault of its own. Callers never hang, and no file is half copied.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use layerbench::sys::fuse_ring::is_offered;
use layerbench::union::{UnionConfig, serve};
use nix::sys::signal::Signal;

use crate::bed::{Bed, has, has_ended, run, signal, wait_until};
use crate::fixture::{self, errno, here, real_root, text};

#[test]
fn a_signal_unmounts_and_is_a_good_end() {
    if !here("end::a_signal_unmounts_and_is_a_good_end") {
        return;
    }
    for which in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let bed = Bed::new();
        let daemon = bed.foreground("");
        fs::write(bed.at("mnt/b"), "written").unwrap();
        daemon.signal(which);
        let (status, said) = daemon.end();
        assert_eq!(status.code(), Some(0), "{which}: {said}");
        assert!(bed.mounted().is_none(), "{which}");
        assert_eq!((text(bed.at("upper/b")), fixture::names(&bed.at("mnt"))), ("written".into(), vec![]));
        assert_eq!(bed.counters()["copy_ups"]["files_count"], 1, "the end is worth a last report");
    }
}

#[test]
fn an_unmount_by_somebody_else_is_a_good_end() {
    if !here("end::an_unmount_by_somebody_else_is_a_good_end") {
        return;
    }
    let bed = Bed::new();
    let daemon = bed.foreground("");
    assert_eq!(text(bed.at("mnt/b")), "of the base");
    bed.unmount();
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn a_busy_mount_is_detached_and_who_holds_it_is_told() {
    if !here("end::a_busy_mount_is_detached_and_who_holds_it_is_told") {
        return;
    }
    let bed = Bed::new();
    let daemon = bed.foreground("");
    let held = fs::File::open(bed.at("mnt/d")).unwrap();
    daemon.signal(Signal::SIGTERM);
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("busy") && said.contains("detached"), "{said}");
    assert!(bed.mounted().is_none());
    not_connected(false, || {
        let asked = rustix::fs::openat(&held, "never asked", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
        asked.unwrap_err().raw_os_error()
    });
}

/// Whether this is what the kernel answers as long as it takes a daemon's rings apart, which is a moment longer than the daemon is there.
fn by_rings(errno: i32) -> bool {
    is_offered().unwrap_or(false) && matches!(errno, libc::ECONNABORTED | libc::ECANCELED | libc::EINTR)
}

/// What is asked of a mount without a daemon is refused. A request that comes while its threads still die (`dying`) is aborted, and so may be one that
/// comes before its rings are gone; every later one is refused.
fn not_connected(dying: bool, ask: impl Fn() -> i32) {
    wait_until("ENOTCONN", || match ask() {
        libc::ENOTCONN => true,
        libc::ECONNABORTED if dying => false,
        errno if by_rings(errno) => false,
        other => panic!("errno {other}"),
    });
}

#[test]
fn sigusr1_without_a_file_is_no_end() {
    if !here("end::sigusr1_without_a_file_is_no_end") {
        return;
    }
    let bed = Bed::new();
    let daemon = bed.foreground("");
    let other = bed.at("other");
    fs::create_dir(&other).unwrap();
    let said = fs::File::create(bed.at("said2")).unwrap();
    let mut child = bed.program(&["-f", "other", "-o", "lowerdir=top"]).stderr(said).spawn().unwrap();
    wait_until("the second mount", || other.join("t").exists());
    signal(child.id(), Signal::SIGUSR1);
    wait_until("its answer", || text(bed.at("said2")).contains("no counters=FILE"));
    assert_eq!(text(other.join("t")), "of the top");
    signal(child.id(), Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
    daemon.signal(Signal::SIGTERM);
    daemon.end();
}

/// Whether a process has a file open.
fn holds(pid: u32, file: &Path) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file))
}

/// A file large enough to be caught half copied.
const LARGE: usize = 96 << 20;

#[test]
fn a_daemon_killed_while_it_copies_leaves_the_old_file_or_the_new_one() {
    if !here("end::a_daemon_killed_while_it_copies_leaves_the_old_file_or_the_new_one") {
        return;
    }
    let bed = Bed::new();
    let old: Vec<u8> = (0..LARGE).map(|n| (n / 4096 + n % 251) as u8).collect();
    fs::write(bed.at("base/large"), &old).unwrap();
    let scratch = bed.at("work/fuse-union-scratch");
    let mut cut_short = 0;
    for round in 0..4 {
        let pid = bed.mount("");
        let writer = {
            let path = bed.at("mnt/large");
            std::thread::spawn(move || {
                let mut file = fs::OpenOptions::new().write(true).open(path)?;
                file.write_all(b"new")
            })
        };
        // Rounds differ in how far the copy gets.
        let source = bed.at("base/large").canonicalize().unwrap();
        wait_until("the copy to begin", || holds(pid, &source) || bed.at("upper/large").exists());
        std::thread::sleep(std::time::Duration::from_millis(5 * round));
        signal(pid, Signal::SIGKILL);
        wait_until("the killed daemon's end", || has_ended(pid));
        // The caller comes back, with success or with an error that says what happened.
        if let Err(error) = writer.join().unwrap() {
            let errno = error.raw_os_error().unwrap();
            assert!(matches!(errno, libc::ENOTCONN | libc::ECONNABORTED) || by_rings(errno), "{error}");
        }
        cut_short += usize::from(!bed.at("upper/large").exists());
        not_connected(true, || errno(fs::metadata(bed.at("mnt/never asked"))));
        nix::mount::umount2(&bed.at("mnt"), nix::mount::MntFlags::MNT_DETACH).unwrap();

        // What is left where there is no O_TMPFILE.
        fs::write(scratch.join("half"), &old[..LARGE / 2]).unwrap();
        let pid = bed.mount("");
        assert!(!scratch.join("half").exists(), "the next mount empties scratch");
        let mut now = fs::read(bed.at("mnt/large")).unwrap();
        if now.starts_with(b"new") {
            now[..3].copy_from_slice(&old[..3]);
        }
        assert!(now == old, "round {round}: neither the old content nor the new: {} bytes", now.len());
        fs::remove_file(bed.at("mnt/large")).unwrap();
        bed.unmount();
        wait_until("the daemon's end", || has_ended(pid));
        fs::remove_file(bed.at("upper/.wh.large")).unwrap();
    }
    eprintln!("{cut_short} of 4 copies were cut short");
}

/// Set in a process that is to serve this folder and to panic.
const PANICKING: &str = "LAYERBENCH_TEST_PANIC";

#[test]
fn a_panic_ends_the_daemon_and_callers_are_told() {
    const NAME: &str = "end::a_panic_ends_the_daemon_and_callers_are_told";
    if let Some(folder) = std::env::var_os(PANICKING) {
        let folder = Path::new(&folder);
        let config = UnionConfig {
            lower: vec![folder.join("base")],
            upper: Some(folder.join("upper")),
            work: None,
            options: Default::default(),
        };
        let result = serve(config, &folder.join("mnt"), || {
            // What fuser's threads would do.
            std::thread::spawn(|| panic!("on purpose")).join().ok();
        });
        panic!("served on after a panic: {result:?}");
    }
    if !here(NAME) {
        return;
    }
    let bed = Bed::new();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(PANICKING, bed.dir.path())
        .current_dir(bed.dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
    assert!(said.contains("on purpose") && said.contains("fault of fuse-union"), "{said}");
    not_connected(false, || errno(fs::metadata(bed.at("mnt/b"))));
}

/// A new ext4 in a file, that can be frozen: what changes it waits until it is thawed.
struct Frozen(PathBuf);

impl Frozen {
    fn new(image: &Path, at: &Path) -> Result<Frozen, String> {
        fs::File::create(image).and_then(|file| file.set_len(64 << 20)).unwrap();
        fs::create_dir(at).unwrap();
        let (image, place) = (image.to_str().unwrap(), at.to_str().unwrap());
        let (mkfs, mount) = (["-q", image], ["-o", "loop", image, place]);
        for (program, arguments) in [("mkfs.ext4", &mkfs[..]), ("mount", &mount[..])] {
            let output = run(program, arguments);
            if !output.status.success() {
                return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)));
            }
        }
        Ok(Frozen(at.to_owned()))
    }

    fn set(&self, frozen: bool) -> bool {
        run("fsfreeze", &[if frozen { "-f" } else { "-u" }, self.0.to_str().unwrap()]).status.success()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.set(false);
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn who_is_held_up_by_a_disk_holds_up_nobody_else() {
    if !here("end::who_is_held_up_by_a_disk_holds_up_nobody_else") {
        return;
    }
    if !real_root() || !has("fsfreeze") || !has("mkfs.ext4") {
        eprintln!("skipped: to freeze a file system takes root, fsfreeze and mkfs.ext4");
        return;
    }
    let bed = Bed::new();
    let frozen = match Frozen::new(&bed.at("image"), &bed.at("disk")) {
        Ok(frozen) => frozen,
        Err(reason) => return eprintln!("skipped: no loop device: {reason}"),
    };
    for name in ["upper", "work"] {
        fs::create_dir(bed.at("disk").join(name)).unwrap();
    }
    let words = "lowerdir=top:base,upperdir=disk/upper,workdir=disk/work,counters=c.json,threads=2";
    assert!(bed.program(&["-o", words, "mnt"]).status().unwrap().success());
    fs::create_dir(bed.at("mnt/e")).unwrap();
    // One caller for a while, so that one of the two threads rests; then the same caller is held up.
    let (mount, (held, begun)) = (bed.at("mnt"), channel());
    let (frozen_at, done) = channel::<()>();
    let caller = std::thread::spawn({
        let mount = mount.clone();
        move || {
            for n in 0..100 {
                fs::metadata(mount.join(format!("missing{n}"))).unwrap_err();
            }
            held.send(()).unwrap();
            done.recv().unwrap();
            // Not where the others look: names of a directory wait for one another, as everywhere.
            fs::create_dir(mount.join("e/made"))
        }
    });
    begun.recv().unwrap();
    assert!(frozen.set(true));
    frozen_at.send(()).unwrap();
    wait_until("the caller's request", || {
        // The counters lie elsewhere.
        bed.new_counters().pointer("/requests_count/mkdir").and_then(serde_json::Value::as_u64) == Some(2)
    });
    let (answer, answered) = channel();
    std::thread::spawn(move || answer.send(fs::read_to_string(mount.join("d/low")).unwrap()).unwrap());
    let text = answered.recv_timeout(Duration::from_secs(10));
    assert!(!caller.is_finished(), "it is still held up");
    assert!(frozen.set(false));
    assert_eq!(text.as_deref(), Ok("12345678"), "while another one was held up");
    caller.join().unwrap().unwrap();
    bed.unmount();
}

#[test]
fn what_somebody_mounted_over_it_stays() {
    if !here("end::what_somebody_mounted_over_it_stays") {
        return;
    }
    let bed = Bed::new();
    let daemon = bed.foreground("");
    let over = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("theirs"), &bed.at("mnt"), Some("tmpfs"), over, None::<&str>).unwrap();
    fs::write(bed.at("mnt/keep"), "keep").unwrap();
    daemon.signal(Signal::SIGTERM);
    let (status, said) = daemon.end();
    assert!(status.success() && said.contains("mounted over"), "{said}");
    assert_eq!(text(bed.at("mnt/keep")), "keep");
    nix::mount::umount(&bed.at("mnt")).unwrap();
    not_connected(false, || errno(fs::metadata(bed.at("mnt/b"))));
}

/// The program as a shell with these limits starts it, in the foreground.
fn limited(bed: &Bed, limits: &str, more: &str) -> std::process::Child {
    let words = bed.words(more);
    fs::remove_file(bed.at("c.json")).ok();
    let program = bed.program(&["-f", "-o", &words, "mnt"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(program.get_program()).args(program.get_args());
    let child = shell.current_dir(bed.dir.path()).stdin(Stdio::null()).spawn().unwrap();
    wait_until("the first counters", || bed.at("c.json").exists());
    child
}

#[test]
fn a_limit_of_whoever_started_it_is_not_one_of_who_writes() {
    if !here("end::a_limit_of_whoever_started_it_is_not_one_of_who_writes") {
        return;
    }
    for more in ["passthrough=on", "passthrough=off"] {
        let bed = Bed::new();
        fs::write(bed.at("base/large"), vec![1; 300_000]).unwrap();
        // In blocks of 512 bytes. The hard limit stays where it is, so that it can be raised again.
        let mut daemon = limited(&bed, "ulimit -S -f 100", more);
        let mut file = fs::OpenOptions::new().append(true).open(bed.at("mnt/large")).unwrap();
        file.write_all(&[2; 100_000]).unwrap();
        drop(file);
        assert_eq!(fs::metadata(bed.at("upper/large")).unwrap().len(), 400_000);
        bed.unmount();
        assert!(daemon.wait().unwrap().success());
        // One that cannot be raised is an error of whoever writes, and not the end of the mount.
        fs::write(bed.at("base/larger"), vec![1; 600_000]).unwrap();
        let mut daemon = limited(&bed, "ulimit -f 1000", more);
        let larger = fs::OpenOptions::new().append(true).open(bed.at("mnt/larger"));
        assert_eq!(errno(larger.and_then(|mut file| file.write_all(b"x"))), libc::EFBIG);
        assert_eq!(text(bed.at("mnt/t")), "of the top");
        bed.unmount();
        assert!(daemon.wait().unwrap().success());
    }
}

#[test]
fn a_directory_moves_while_somebody_asks_for_it_and_descriptors_are_few() {
    if !here("end::a_directory_moves_while_somebody_asks_for_it_and_descriptors_are_few") {
        return;
    }
    let bed = Bed::new();
    // A quarter of them may be kept: the way to a directory is looked for each time.
    let mut daemon = limited(&bed, "ulimit -n 64", "threads=4");
    for n in 0..60 {
        fs::create_dir_all(bed.at(&format!("mnt/other/{n}/e"))).unwrap();
    }
    let deep = (0..40).fold(bed.at("mnt"), |path, _| path.join("a"));
    let (one, two) = (deep.join("one"), deep.join("two"));
    fs::create_dir_all(&one).unwrap();
    let held = fs::File::open(&one).unwrap();
    let (done, over) = channel();
    let mover = {
        let done = done.clone();
        std::thread::spawn(move || {
            for _ in 0..500 {
                fs::rename(&one, &two).unwrap();
                fs::rename(&two, &one).unwrap();
            }
            done.send(()).unwrap();
        })
    };
    let asker = std::thread::spawn(move || {
        for _ in 0..5000 {
            held.metadata().unwrap();
        }
        done.send(()).unwrap();
    });
    for _ in 0..2 {
        if over.recv_timeout(Duration::from_secs(60)).is_err() {
            // A daemon that is dead answers: nobody hangs for ever.
            daemon.kill().unwrap();
            panic!("neither goes on");
        }
    }
    mover.join().unwrap();
    asker.join().unwrap();
    bed.unmount();
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_tree_may_be_deeper_than_a_stack() {
    if !here("end::a_tree_may_be_deeper_than_a_stack") {
        return;
    }
    const DEPTH: usize = 1500;
    let bed = Bed::new();
    // No path as long as that is opened.
    let make = |root: &Path| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
        let mut at = rustix::fs::open(root, flags, rustix::fs::Mode::empty()).unwrap();
        for _ in 0..DEPTH {
            let made = rustix::fs::mkdirat(&at, "a", rustix::fs::Mode::RWXU);
            assert!(matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST)), "{made:?}");
            at = rustix::fs::openat(&at, "a", flags, rustix::fs::Mode::empty()).unwrap();
        }
        at
    };
    make(&bed.at("base"));
    let mut daemon = limited(&bed, "export RUST_MIN_STACK=131072", "");
    let deepest = make(&bed.at("mnt"));
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    drop(rustix::fs::openat(&deepest, "file", flags, rustix::fs::Mode::RWXU).unwrap());
    drop(deepest);
    bed.unmount();
    assert!(daemon.wait().unwrap().success());
    assert_eq!(bed.counters()["copy_ups"]["directories_count"], DEPTH);
}
