//! FUSE daemons: started as children that die with us, awaited until their mount answers, and awaited when it goes.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Mount, MountError};
use crate::host::mount_table;
use crate::sys;

/// How long a daemon may take to mount, or to end after its mount went.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the mount table is read meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts a daemon that serves in the foreground and dies with us, and waits until its mount is in the mount table and answers.
pub(super) fn serve(driver: &'static str, mut command: Command, merged: &Path) -> Result<Mount, MountError> {
    sys::process::die_with_parent(&mut command);
    let child = start(driver, command, merged)?;
    Mount::new(driver, merged, Some(child))
}

/// Starts a daemon that outlives us, and waits until its mount answers.
pub fn start_detached(mut command: Command, merged: &Path) -> Result<(), MountError> {
    sys::process::new_session(&mut command);
    start("mount", command, merged).map(drop)
}

fn start(driver: &'static str, mut command: Command, merged: &Path) -> Result<Child, MountError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(MountError::at(driver, "start", Path::new(&program)))?;
    match await_mount(&mut child, merged) {
        Ok(()) => Ok(child),
        Err(reason) => {
            // It may have ended by itself; then there is nothing to kill.
            child.kill().ok();
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                // What it said before is shown; that the rest cannot be read does not matter now.
                stderr.read_to_string(&mut said).ok();
            }
            child.wait().ok();
            let said = if said.trim().is_empty() { String::new() } else { format!("; it said: {}", said.trim()) };
            Err(MountError::Daemon {
                driver,
                program,
                path: merged.to_owned(),
                reason: format!("{reason}{said}{}", nearby(merged)),
            })
        }
    }
}

fn await_mount(child: &mut Child, merged: &Path) -> Result<(), String> {
    let real = std::fs::canonicalize(merged).map_err(|e| format!("resolve it: {e}"))?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) => {}
            Err(e) => return Err(format!("wait for it: {e}")),
        }
        let table = mount_table().map_err(|e| format!("read /proc/self/mountinfo: {e}"))?;
        if table.iter().any(|entry| entry.mountpoint == real && entry.fs_type.starts_with("fuse")) {
            // The kernel queues requests until the daemon answers, so this returns when it serves.
            return std::fs::metadata(merged).map(|_| ()).map_err(|e| format!("the mount does not answer: {e}"));
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("no mount appeared within {} s", PATIENCE.as_secs()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lines of the mount table around a mount point, for an error.
fn nearby(merged: &Path) -> String {
    let parent = merged.parent().unwrap_or(merged);
    let lines: Vec<String> = mount_table()
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| entry.mountpoint.starts_with(parent))
        .map(|entry| format!("{} on {} ({})", entry.source, entry.mountpoint.display(), entry.fs_type))
        .collect();
    if lines.is_empty() { String::new() } else { format!("; mounted there: {}", lines.join("; ")) }
}

/// Waits for a daemon whose mount has gone.
pub(super) fn wait(driver: &'static str, mut child: Child, merged: &Path) -> Result<(), MountError> {
    let start = Instant::now();
    loop {
        match child.try_wait().map_err(MountError::at(driver, "wait for the daemon of", merged))? {
            Some(_) => return Ok(()),
            None if start.elapsed() > PATIENCE => {
                child.kill().ok();
                child.wait().ok();
                return Err(MountError::Request {
                    driver,
                    reason: format!(
                        "the daemon of {} did not end within {} s after its unmount, and was killed",
                        merged.display(),
                        PATIENCE.as_secs()
                    ),
                });
            }
            None => std::thread::sleep(PAUSE),
        }
    }
}
