//! A stack in a scratch directory, its mount, and small helpers to look at both.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;

use layerbench::union::{UnionConfig, UnionError, UnionMount, UnionOptions, mount_background};

/// A new directory on a real file system.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Whether the calling test can go on here. As an ordinary user it is run again, in a user namespace, and its outcome is taken over.
pub fn here(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    if let Err(error) = device {
        eprintln!("skipped: {test} needs /dev/fuse for all users: {error}");
        return false;
    }
    let unshare = ["--user", "--map-root-user", "--mount", "--"];
    match Command::new("unshare").args(unshare).arg("true").status() {
        Ok(status) if status.success() => {}
        other => {
            eprintln!("skipped: {test} needs root or user namespaces: {other:?}");
            return false;
        }
    }
    let status = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed inside a user namespace");
    false
}

/// Whether this process is root outside any user namespace of the tests.
pub fn real_root() -> bool {
    rustix::process::geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295")
}

/// A stack of lowers, an upper and a mount point.
pub struct Stack {
    // First, because fields are dropped in this order: also after a failed test the mount goes before its directory.
    mount: Option<UnionMount>,
    dir: tempfile::TempDir,
    pub lowers: usize,
}

impl Stack {
    pub fn new(lowers: usize) -> Stack {
        let dir = scratch();
        for n in 0..lowers {
            fs::create_dir(dir.path().join(format!("lower{n}"))).unwrap();
        }
        for name in ["upper", "mnt"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Stack { mount: None, dir, lowers }
    }

    pub fn lower(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("lower{n}"))
    }

    pub fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }

    pub fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// Where a copy_up has its temporary files.
    pub fn scratch_dir(&self) -> PathBuf {
        self.dir.path().join("upper.work/fuse-union-scratch")
    }

    /// What is in there but for the file that all whiteouts are.
    pub fn left_in_scratch(&self) -> Vec<String> {
        names(&self.scratch_dir()).into_iter().filter(|name| name != ".wh..wh.aufs").collect()
    }

    pub fn config(&self, options: &str) -> UnionConfig {
        UnionConfig {
            lower: (0..self.lowers).map(|n| self.lower(n)).collect(),
            upper: Some(self.upper()),
            work: None,
            options: UnionOptions::parse([options]).unwrap(),
        }
    }

    /// Mounts with these options.
    pub fn mount(&mut self, options: &str) {
        self.mount_with(self.config(options));
    }

    pub fn mount_with(&mut self, config: UnionConfig) {
        self.mount = None;
        // A child that another test has forked a moment ago holds the lock of the work directory until its exec.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mounted = loop {
            match mount_background(config.clone(), &self.mnt()) {
                Err(UnionError::InUse { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                other => break other,
            }
        };
        self.mount = Some(mounted.unwrap());
    }

    pub fn mounted(&self) -> &UnionMount {
        self.mount.as_ref().unwrap()
    }

    /// Unmounts; what copy_up left in its scratch directory is a failure.
    pub fn unmount(&mut self) {
        self.mount.take().unwrap().unmount().unwrap();
        assert_eq!(self.left_in_scratch(), Vec::<String>::new());
    }
}

/// Has the kernel forget every file of a mount that nobody has open: whoever mounts anew (reconfigure_super in fs/super.c) drops the names.
pub fn forget_all(mnt: &Path) {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(None::<&str>, mnt, None::<&str>, flags, None::<&str>).unwrap();
}

/// Runs a test on a stack made by `build`, once with passthrough and once without.
pub fn each_mode(test: &str, lowers: usize, build: impl Fn(&Stack), check: impl Fn(&mut Stack)) {
    each_of(&["passthrough=on", "passthrough=off"], test, lowers, build, check);
}

/// As [`each_mode`], in those modes.
pub fn each_of(modes: &[&str], test: &str, lowers: usize, build: impl Fn(&Stack), check: impl Fn(&mut Stack)) {
    if !here(test) {
        return;
    }
    for options in modes {
        let mut stack = Stack::new(lowers);
        build(&stack);
        stack.mount(options);
        eprintln!("{test} with {options}");
        check(&mut stack);
        stack.unmount();
    }
}

/// How files can be served.
pub const MODES: [&str; 3] = ["passthrough=on", "passthrough=off,opens=on", "opens=off"];

/// Opens a file for writing and has it copied up: by the open itself, where the daemon is asked.
pub fn open_and_copy_up(s: &Stack, path: &str) -> File {
    let file = OpenOptions::new().write(true).open(s.mnt().join(path)).unwrap();
    if !s.mounted().asks_at_opens() {
        assert!(!s.upper().join(path).exists(), "{path}: nobody is to be told of an open");
        file.set_permissions(file.metadata().unwrap().permissions()).unwrap();
    }
    file
}

/// Writes files (and the directories they need): a path that ends in `/` is a directory.
pub fn write_all(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let full = root.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
        } else {
            fs::create_dir_all(full.parent().unwrap()).unwrap();
            fs::write(full, content).unwrap();
        }
    }
}

/// Names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path.as_ref()).unwrap_or_else(|error| panic!("read {}: {error}", path.as_ref().display()))
}

pub fn ino(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// The errno of what must fail.
pub fn errno<T>(result: std::io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("succeeded where it must fail"),
        Err(error) => error.raw_os_error().unwrap(),
    }
}

/// A tree as text, a line a file: type, mode, owner, size, mtime, content or target.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if meta.is_file() {
                format!("{:?}", fs::read(&path).unwrap())
            } else {
                String::new()
            };
            let line = format!(
                "{:o} {}:{} {}.{} {what}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec()
            );
            into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_string(), line);
            if meta.is_dir() {
                walk(root, &path, into);
            }
        }
    }
    let mut lines = BTreeMap::new();
    walk(root, root, &mut lines);
    lines
}
