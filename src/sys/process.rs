//! Processes that must not outlive us.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

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

/// Has the child see a folder as its root, and start there. Its program is found below that folder. Needs CAP_SYS_CHROOT in the caller's user
/// namespace. It confines nobody who does not wish to be confined (chroot(2)).
pub fn enter_root(command: &mut Command, root: &Path) -> io::Result<()> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    // SAFETY: between fork and exec the closure makes two system calls with strings that it owns, and touches no other memory: chroot and
    // chdir are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            if libc::chroot(root.as_ptr()) < 0 || libc::chdir(c"/".as_ptr()) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(())
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

/// Whether this process ignores a signal, as nohup(1) and shells have their children do.
pub fn ignores(signal: i32) -> io::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no SigIgn in /proc/self/status"))?;
    Ok(signal > 0 && mask.checked_shr(signal as u32 - 1).unwrap_or(0) & 1 == 1)
}

/// Sleeps until a process has ended, without reaping it; for `limit` at most. Whether it has ended.
pub fn wait_for_exit(pid: u32, limit: Option<Duration>) -> io::Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
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
    let pid = i32::try_from(leader).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::kill_process_group(pid, Signal::KILL)?)
}

/// A process made by [`fork`]. Dropped without [`Forked::wait`], it is killed and reaped.
#[derive(Debug)]
pub struct Forked {
    pid: Option<Pid>,
}

/// Makes a copy of this process that does `work`, ends with its result as exit status, and is killed should this process end before it.
/// Nothing else of this program goes on in it, not even after a panic: no destructor runs, nothing is flushed.
///
/// # Errors
/// EBUSY when this process has more than one thread: a lock that another thread holds would stay locked in the copy for ever. One that has just been
/// joined is waited for: the kernel lists it a moment longer.
pub fn fork(work: impl FnOnce() -> u8) -> io::Result<Forked> {
    const LEAVING: Duration = Duration::from_millis(100);
    let start = Instant::now();
    while std::fs::read_dir("/proc/self/task")?.count() != 1 {
        if start.elapsed() > LEAVING {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        std::thread::yield_now();
    }
    let parent = std::process::id();
    // SAFETY: this process has one thread, so that memory is in a consistent state in the copy, and the copy may do whatever a process with
    // one thread may. It never returns from this match.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = match rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
                // The parent may have ended before that: then nobody would be told.
                Ok(())
                    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get())
                        == i32::try_from(parent).ok() =>
                {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(u8::MAX)
                }
                _ => u8::MAX,
            };
            // SAFETY: it ends the process and runs nothing of ours.
            unsafe { libc::_exit(i32::from(status)) }
        }
        pid => Ok(Forked { pid: Pid::from_raw(pid) }),
    }
}

impl Forked {
    /// Waits until the process ends; its exit status, or `None` when a signal ended it.
    pub fn wait(mut self) -> io::Result<Option<u8>> {
        let status = reap(self.pid.take())?;
        Ok(status.and_then(|status| status.exit_status()).and_then(|status| u8::try_from(status).ok()))
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        if let Some(pid) = self.pid.take() {
            // It is our child and has not been reaped, so that the number is its own; it can only have ended already.
            rustix::process::kill_process(pid, Signal::KILL).ok();
            reap(Some(pid)).ok();
        }
    }
}

fn reap(pid: Option<Pid>) -> io::Result<Option<WaitStatus>> {
    let Some(pid) = pid else { return Ok(None) };
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(ended) => return Ok(ended.map(|(_, status)| status)),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test's own thread is beside the main one.
        assert_eq!(super::fork(|| 0).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    }
}
