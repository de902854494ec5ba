//! Whether the kernel may read and write files by itself, and what it said when it refused: told once, and kept for the counters.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::node::lock;
use crate::sys::fuse::Backing;

/// How a daemon begins the line that says that it serves data itself although passthrough was asked for.
pub const NO_PASSTHROUGH: &str = "fuse-union: without passthrough: ";

/// How files are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// By the kernel.
    On,
    /// By the daemon, as it was asked to.
    Off,
    /// By the daemon: the kernel refuses every file. Why.
    Refused(String),
    /// Some by the daemon: the kernel refuses them. Why, of the first.
    RefusedForSome(String),
}

/// The switch of passthrough.
#[derive(Debug)]
pub(super) struct PassthroughSwitch {
    /// Read at every open.
    on: AtomicBool,
    state: Mutex<State>,
    /// The connection's device.
    device: OnceLock<Arc<File>>,
}

impl PassthroughSwitch {
    pub(super) fn new(wanted: bool) -> PassthroughSwitch {
        PassthroughSwitch {
            on: AtomicBool::new(wanted),
            state: Mutex::new(if wanted { State::On } else { State::Off }),
            device: OnceLock::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> State {
        lock(&self.state).clone()
    }

    /// The kernel does without it altogether.
    pub(super) fn refuse(&self, reason: &str) {
        self.on.store(false, Ordering::Relaxed);
        self.become_state(State::Refused(reason.to_owned()), reason);
    }

    /// The kernel has refused a file: all of them, if it is for lack of a privilege or of the feature.
    pub(super) fn refused(&self, error: &io::Error) {
        let reason = match error.raw_os_error() {
            Some(libc::EPERM) => "it takes CAP_SYS_ADMIN outside any user namespace",
            Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOSYS) => "the kernel has none (Linux before 6.9)",
            Some(libc::ELOOP) => {
                let reason = "a layer is on too many stacked file systems";
                return self.become_state(State::RefusedForSome(reason.to_owned()), reason);
            }
            _ => {
                let reason = error.to_string();
                return self.become_state(State::RefusedForSome(reason.clone()), &reason);
            }
        };
        self.refuse(reason);
    }

    fn become_state(&self, new: State, reason: &str) {
        let mut state = lock(&self.state);
        // Said once: the first reason is the one that counts.
        if *state == State::On {
            eprintln!("{NO_PASSTHROUGH}{reason}");
            *state = new;
        } else if matches!((&*state, &new), (State::RefusedForSome(_), State::Refused(_))) {
            *state = new;
        }
    }

    /// There is a connection. Hands the kernel a file, if there is one, and takes it back, so that a refusal is known before the first open.
    pub(super) fn serves(&self, device: &Arc<File>, file: Option<impl AsFd>) {
        // Set once: a union has one connection.
        let _ = self.device.set(Arc::clone(device));
        if let (Some(file), true) = (file, self.is_on())
            && let Err(error) = self.hand_over(file)
        {
            self.refused(&error);
        }
    }

    /// Hands the kernel a file.
    pub(super) fn hand_over(&self, file: impl AsFd) -> io::Result<Backing> {
        let device = self.device.get().ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
        Backing::new(device, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_every_file_switches_off_and_what_concerns_one_does_not() {
        for (errno, all) in [(libc::EPERM, true), (libc::ENOTTY, true), (libc::ELOOP, false), (libc::EIO, false)] {
            let switch = PassthroughSwitch::new(true);
            switch.refused(&io::Error::from_raw_os_error(errno));
            assert_eq!(switch.is_on(), !all, "{errno}");
            assert_eq!(matches!(switch.state(), State::Refused(_)), all, "{:?}", switch.state());
        }
        let off = PassthroughSwitch::new(false);
        off.refuse("never asked for");
        assert_eq!((off.is_on(), off.state()), (false, State::Off));
        let twice = PassthroughSwitch::new(true);
        twice.refused(&io::Error::from_raw_os_error(libc::ELOOP));
        twice.refused(&io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(twice.state(), State::Refused(_)) && !twice.is_on());
    }
}
