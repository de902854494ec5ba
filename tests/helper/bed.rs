//! A folder with layers and a mount point, the program on them, and ways to look at both. Nothing of it survives a test, however it ends.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use layerbench::host::{MountEntry, mount_table};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);
/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fuse-union");

/// Folders `top`, `base`, `upper`, `mnt`, and the file of counters `c.json`.
pub struct Bed {
    pub dir: tempfile::TempDir,
}

impl Bed {
    pub fn new() -> Bed {
        let bed = Bed { dir: fixture::scratch() };
        for name in ["top", "base", "upper", "mnt"] {
            fs::create_dir(bed.at(name)).unwrap();
        }
        fixture::write_all(&bed.at("top"), &[("t", "of the top"), ("d/both", "above")]);
        fixture::write_all(&bed.at("base"), &[("b", "of the base"), ("d/both", "below"), ("d/low", "12345678")]);
        bed
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The usual layers, in words that are relative to the folder, and these besides.
    pub fn words(&self, more: &str) -> String {
        format!("lowerdir=top:base,upperdir=upper,workdir=work,counters=c.json,{more}")
    }

    /// The program in the folder of the bed, with these arguments.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Mounts as a daemon; nothing may be said.
    pub fn mount(&self, more: &str) -> u32 {
        let words = self.words(more);
        let output = self.program(&["-o", &words, "mnt"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let expected = if fixture::real_root() { "" } else { layerbench::union::NO_PASSTHROUGH };
        assert!(said.lines().all(|line| !expected.is_empty() && line.starts_with(expected)), "{said}");
        self.pid()
    }

    /// Mounts in the foreground, as a child.
    pub fn foreground(&self, more: &str) -> Foreground {
        let words = self.words(more);
        // Those of an earlier mount would be taken for this one's.
        fs::remove_file(self.at("c.json")).ok();
        let stderr = fs::File::create(self.at("said")).unwrap();
        let child = self.program(&["-f", "-o", &words, "mnt"]).stderr(stderr).spawn().unwrap();
        let foreground = Foreground { child, said: self.at("said") };
        // The first report of counters is written when it is mounted.
        wait_until("the first counters", || self.at("c.json").exists());
        foreground
    }

    /// The process that serves, by its counters.
    pub fn pid(&self) -> u32 {
        self.counters()["pid"].as_u64().unwrap() as u32
    }

    pub fn counters(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.at("c.json")).unwrap()).unwrap()
    }

    /// Asks the daemon for new counters.
    pub fn new_counters(&self) -> serde_json::Value {
        let before = self.counters()["report_number"].as_u64().unwrap();
        signal(self.pid(), Signal::SIGUSR1);
        wait_until("new counters", || self.counters()["report_number"].as_u64().unwrap() > before);
        self.counters()
    }

    pub fn mounted(&self) -> Option<MountEntry> {
        // The mount point may not answer: its parent does.
        let place = self.dir.path().canonicalize().unwrap().join("mnt");
        mount_table().unwrap().into_iter().rev().find(|entry| entry.mountpoint == place)
    }

    /// The kernel lets go of a passthrough file behind close(2), when the daemon has answered the release: until then the mount is busy.
    pub fn unmount(&self) {
        let once = || nix::mount::umount2(&self.at("mnt"), nix::mount::MntFlags::empty());
        wait_until("the mount is not busy", || match once() {
            Err(nix::errno::Errno::EBUSY) => false,
            other => {
                other.unwrap();
                true
            }
        });
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        while self.mounted().is_some() {
            let lazily = nix::mount::umount2(&self.at("mnt"), nix::mount::MntFlags::MNT_DETACH);
            if lazily.is_err() && !run("fusermount3", &["-u", "-z", self.at("mnt").to_str().unwrap()]).status.success()
            {
                break;
            }
        }
        if let Ok(text) = fs::read(self.at("c.json"))
            && let Ok(counters) = serde_json::from_slice::<serde_json::Value>(&text)
            && let Some(pid) = counters["pid"].as_u64()
            && is_fuse_union(pid as u32)
        {
            wait(Duration::from_secs(2), || has_ended(pid as u32));
            if !has_ended(pid as u32) {
                signal(pid as u32, Signal::SIGKILL);
            }
        }
    }
}

/// A daemon that is a child of the test.
pub struct Foreground {
    child: Child,
    said: PathBuf,
}

impl Foreground {
    pub fn signal(&self, which: Signal) {
        signal(self.child.id(), which);
    }

    /// Waits for its end.
    pub fn end(mut self) -> (ExitStatus, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        (status, fs::read_to_string(&self.said).unwrap())
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        // It has ended already in a test that went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn signal(pid: u32, which: Signal) {
    kill(Pid::from_raw(pid as i32), which).unwrap();
}

/// Whether a process is gone, or a zombie that nobody has reaped.
pub fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().is_empty() || rest.trim_start().starts_with('Z'))
}

fn is_fuse_union(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "fuse-union")
}

fn wait(limit: Duration, done: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    assert!(wait(LIMIT, done), "waited in vain for {what}");
}

pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap_or_else(|error| Output {
        status: ExitStatus::from_raw(127 << 8),
        stdout: Vec::new(),
        stderr: error.to_string().into_bytes(),
    })
}

/// Exit status and standard error of a command.
pub fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Whether a program can be found.
pub fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| folder.join(program).exists())
        || Path::new("/usr/sbin").join(program).exists()
}
