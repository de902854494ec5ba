//! Processes that must not outlive us.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Has the kernel kill the child when the thread that starts it ends, however it ends. Start such children from a thread that lasts.
pub fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec the closure makes two system calls and touches no memory but its own: prctl and getppid are
    // async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before prctl: then nobody would be told.
            if u32::try_from(libc::getppid()).ok() != Some(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Starts the child in a session of its own, so that no terminal's signals reach it, with none of our descriptors but the standard ones: a
/// daemon must not hold locks and pipes of whoever started it.
pub fn new_session(command: &mut Command) {
    /// CLOSE_RANGE_CLOEXEC of <linux/close_range.h>.
    const CLOEXEC: libc::c_uint = 1 << 2;
    // SAFETY: between fork and exec the closure makes two system calls, setsid and close_range, and touches no memory: both are
    // async-signal-safe, and the second marks descriptors without closing any of them before exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            // Before Linux 5.11 there is no such call, and what was inherited stays.
            libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, CLOEXEC);
            Ok(())
        });
    }
}

/// Sleeps until a process has ended, without reaping it; for `limit` at most. Whether it has ended.
pub fn wait_for_exit(pid: u32, limit: Option<Duration>) -> io::Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let start = Instant::now();
    loop {
        let left =
            limit.map(|limit| Timespec::try_from(limit.saturating_sub(start.elapsed())).map_err(io::Error::other));
        let left = left.transpose()?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], left.as_ref()) {
            Ok(ended) => return Ok(ended > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Kills a process group by the id of its leader. ESRCH when it is gone.
pub fn kill_group(leader: u32) -> io::Result<()> {
    let pid = i32::try_from(leader).ok().filter(|pid| *pid > 1).and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::kill_process_group(pid, rustix::process::Signal::KILL)?)
}
