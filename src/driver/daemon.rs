//! FUSE daemons: started as children that die with us, awaited until their mount answers, and awaited when it goes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags};

use super::mount::detach;
use super::{Mount, MountError};
use crate::host::mount_table;
use crate::sys;

/// How long a daemon may take to mount, or to end after its mount went.
const PATIENCE: Duration = Duration::from_secs(20);
/// strerror of ECONNABORTED.
const CONNECTION_ABORTED: &str = "Software caused connection abort";
/// How often it is asked for meanwhile: what a mount and an unmount take is known no better than that.
const PAUSE: Duration = Duration::from_micros(100);
/// How much of what a daemon said is shown: its beginning, where the cause is.
const SHOWN_BYTES: usize = 4096;

/// A daemon that serves a mount.
#[derive(Debug)]
pub(super) struct Daemon {
    program: String,
    child: Child,
    /// Its standard error: memory, and not a pipe, which would fill up when nobody reads it and break when we end before the daemon.
    said: File,
}

/// Starts a daemon that serves in the foreground and dies with us, and waits until its mount is there and answers.
pub(super) fn serve(driver: &'static str, mut command: Command, merged: &Path) -> Result<Mount, MountError> {
    sys::process::die_with_parent(&mut command);
    let daemon = Daemon::start(driver, command, merged)?;
    Ok(Mount::new(driver, merged, Some(daemon)))
}

/// Starts a daemon that outlives us, and waits until its mount answers.
pub fn start_detached(mut command: Command, merged: &Path) -> Result<(), MountError> {
    sys::process::new_session(&mut command);
    Daemon::start("mount", command, merged).map(drop)
}

impl Daemon {
    fn start(driver: &'static str, mut command: Command, merged: &Path) -> Result<Daemon, MountError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let at = |operation| MountError::at(driver, operation, merged);
        let real = std::fs::canonicalize(merged).map_err(at("resolve"))?;
        let before = device_at(&real).map_err(at("find the device of"))?;
        let said = rustix::fs::memfd_create("layerbench-daemon", rustix::fs::MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(MountError::at(driver, "make room for the messages of the daemon of", merged))?;
        let stderr = said.try_clone().map_err(at("make room for the messages of the daemon of"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().map_err(MountError::at(driver, "start", Path::new(&program)))?;
        let mut daemon = Daemon { program, child, said };
        match daemon.await_mount(&real, before) {
            Ok(()) => Ok(daemon),
            Err(reason) => {
                daemon.kill();
                let near = mounted_at(&real);
                // A daemon that was killed leaves a mount that answers ENOTCONN for ever.
                if device_at(&real).is_ok_and(|now| now != before) {
                    detach(driver, &real);
                }
                Err(daemon.error(driver, merged, &format!("{reason}{near}")))
            }
        }
    }

    /// Waits for another device than there was.
    fn await_mount(&mut self, real: &Path, before: (u32, u32)) -> Result<(), String> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Err(format!("it ended with {status}")),
                Ok(None) => {}
                Err(e) => return Err(format!("wait for it: {e}")),
            }
            if device_at(real).map_err(|e| format!("find the device of {}: {e}", real.display()))? != before {
                return answers(real, PATIENCE.saturating_sub(start.elapsed()));
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("no mount appeared within {} s", PATIENCE.as_secs()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself, as it should when its mount has gone.
    pub(super) fn wait(mut self, driver: &'static str, merged: &Path) -> Result<(), MountError> {
        let start = Instant::now();
        loop {
            match self.child.try_wait().map_err(MountError::at(driver, "wait for the daemon of", merged))? {
                Some(status) if status.success() => return Ok(()),
                // libfuse reports as an error what the kernel tells a reader of a connection that goes (ECONNABORTED): now and then
                // fuse-overlayfs ends with status 1 after an unmount that went well.
                Some(status) if status.code().is_some() && self.said().contains(CONNECTION_ABORTED) => return Ok(()),
                Some(status) => {
                    return Err(self.error(driver, merged, &format!("it ended with {status} after the unmount")));
                }
                None if start.elapsed() > PATIENCE => {
                    self.kill();
                    let reason =
                        format!("it did not end within {} s after the unmount, and was killed", PATIENCE.as_secs());
                    return Err(self.error(driver, merged, &reason));
                }
                None => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Ends it at once and reaps it.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        self.child.kill().ok();
        if let Err(e) = self.child.wait() {
            eprintln!("{}: wait for process {}: {e}", self.program, self.child.id());
        }
    }

    /// The beginning of what it said.
    pub(super) fn said(&self) -> String {
        let mut buffer = [0; SHOWN_BYTES];
        // That it cannot be read matters less than what is being reported.
        let length = self.said.read_at(&mut buffer, 0).unwrap_or(0);
        String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
    }

    fn error(&self, driver: &'static str, merged: &Path, reason: &str) -> MountError {
        let said = self.said();
        let said = if said.trim().is_empty() { String::new() } else { format!("; it said: {}", said.trim()) };
        MountError::Daemon {
            driver,
            program: self.program.clone(),
            path: merged.to_owned(),
            reason: format!("{reason}{said}"),
        }
    }
}

/// The device of what is mounted at a place: every mount of FUSE is one of its own. Neither are other mounts looked at, whose number would tell
/// on the time, nor is the daemon asked, which may not serve yet: the kernel answers a request for nothing by itself.
fn device_at(real: &Path) -> std::io::Result<(u32, u32)> {
    let found = rustix::fs::statx(rustix::fs::CWD, real, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())?;
    Ok((found.stx_dev_major, found.stx_dev_minor))
}

/// Asks a mount for its root. The kernel queues the request until the daemon serves; one that never does must not hold us, so that another
/// thread asks. It is freed when the daemon is killed.
fn answers(merged: &Path, limit: Duration) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    let path = merged.to_owned();
    std::thread::spawn(move || {
        // Nobody listens after the limit.
        sender.send(std::fs::metadata(path).map(drop)).ok();
    });
    match receiver.recv_timeout(limit) {
        Ok(answer) => answer.map_err(|e| format!("its mount does not answer: {e}")),
        Err(_) => Err(format!("its mount did not answer within {} s", PATIENCE.as_secs())),
    }
}

/// Lines of the mount table about a mount point, for an error.
fn mounted_at(merged: &Path) -> String {
    let lines: Vec<String> = mount_table()
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.mountpoint == merged)
        .map(|entry| format!("{} on {} ({})", entry.source, entry.mountpoint.display(), entry.fs_type))
        .collect();
    if lines.is_empty() { String::new() } else { format!("; mounted there: {}", lines.join("; ")) }
}

/// Processes that serve a FUSE mount that some other process made: those that hold /dev/fuse for its connection. fdinfo names it (Linux
/// 6.16); before, the mount point on the process's command line does. Processes of other users cannot be looked into and are passed over.
pub(super) fn serving(real: &Path, device_number: &str) -> Vec<u32> {
    let connection = device_number.rsplit_once(':').map_or(device_number, |(_, minor)| minor);
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id() && serves(*pid, real, connection).unwrap_or(false))
        .collect()
}

fn serves(pid: u32, real: &Path, connection: &str) -> std::io::Result<bool> {
    let process = Path::new("/proc").join(pid.to_string());
    for fd in std::fs::read_dir(process.join("fd"))?.flatten() {
        if std::fs::read_link(fd.path()).is_ok_and(|target| target == Path::new("/dev/fuse")) {
            let info = std::fs::read_to_string(process.join("fdinfo").join(fd.file_name()))?;
            return Ok(match fuse_connection(&info) {
                Some(found) => found == connection,
                None => {
                    let line = std::fs::read(process.join("cmdline"))?;
                    line.split(|byte| *byte == 0).any(|word| word == real.as_os_str().as_encoded_bytes())
                }
            });
        }
    }
    Ok(false)
}

/// The line `fuse_connection:` of a /proc/<pid>/fdinfo/<fd>: the minor number of the mount's device.
fn fuse_connection(fdinfo: &str) -> Option<&str> {
    fdinfo.lines().find_map(|line| line.strip_prefix("fuse_connection:")).map(str::trim)
}

/// Waits for processes to end.
pub(super) fn await_end(driver: &'static str, processes: &[u32], merged: &Path) -> Result<(), MountError> {
    let start = Instant::now();
    let mut left = processes.to_vec();
    loop {
        // Whoever started it may be slow to reap it: a zombie has ended.
        left.retain(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
        });
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(MountError::Request {
                driver,
                reason: format!(
                    "{} is unmounted, but its daemon {left:?} did not end within {seconds} s: look at it, then kill it",
                    merged.display()
                ),
            });
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connection_is_read_from_fdinfo_where_it_is() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nino:\t90\nfuse_connection:\t39\n";
        assert_eq!(fuse_connection(info), Some("39"));
        assert_eq!(fuse_connection("pos:\t0\nflags:\t02100002\n"), None);
    }
}
