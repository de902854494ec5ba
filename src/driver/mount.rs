//! A mount as a guard: it knows what the kernel made of it, and it goes when it is dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::mount::UnmountFlags;

use super::daemon;
use crate::host::{MountEntry, mount_table};

/// Why a mount did not come to be, or did not go.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A system call failed.
    #[error("{driver}: {operation} {path}: {source}{advice}", path = path.display())]
    Io {
        /// Which driver.
        driver: &'static str,
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
        /// What the kernel said besides, and what to do; empty or with a leading separator.
        advice: String,
    },
    /// A FUSE daemon did not serve.
    #[error("{driver}: {program} did not mount {path}: {reason}", path = path.display())]
    Daemon {
        /// Which driver.
        driver: &'static str,
        /// Its program.
        program: String,
        /// The mount point.
        path: PathBuf,
        /// What happened, what the daemon said, what the mount table has.
        reason: String,
    },
    /// The request is not one that this driver can mount.
    #[error("{driver}: {reason}")]
    Request {
        /// Which driver.
        driver: &'static str,
        /// Why not.
        reason: String,
    },
}

impl MountError {
    /// An errno with operation and path, ready for `map_err`.
    pub(super) fn at<'a, E: Into<io::Error>>(
        driver: &'static str,
        operation: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(E) -> MountError + 'a {
        move |source| MountError::Io {
            driver,
            operation,
            path: path.to_owned(),
            source: source.into(),
            advice: String::new(),
        }
    }
}

/// A mounted driver. Dropping it detaches the mount and ends its daemon; [`Mount::unmount`] does the same and reports errors.
#[derive(Debug)]
pub struct Mount {
    driver: &'static str,
    merged: PathBuf,
    options: String,
    daemon: Option<Child>,
    mounted: bool,
}

impl Mount {
    /// Takes charge of what has just been mounted at `merged`, and of its daemon.
    pub(super) fn new(driver: &'static str, merged: &Path, daemon: Option<Child>) -> Result<Mount, MountError> {
        let mut mount = Mount { driver, merged: merged.to_owned(), options: String::new(), daemon, mounted: true };
        let real = std::fs::canonicalize(merged).map_err(MountError::at(driver, "resolve", merged))?;
        let table = mount_table().map_err(MountError::at(driver, "read", Path::new("/proc/self/mountinfo")))?;
        let entry = table.iter().rev().find(|entry| entry.mountpoint == real).ok_or_else(|| MountError::Request {
            driver,
            reason: format!("{} is not in the mount table after it was mounted", merged.display()),
        })?;
        mount.options = describe(entry);
        Ok(mount)
    }

    /// Where it is mounted.
    pub fn merged(&self) -> &Path {
        &self.merged
    }

    /// Type and options as the kernel reports them; lower folders are counted, not listed.
    pub fn options(&self) -> &str {
        &self.options
    }

    /// Process of the FUSE daemon.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// Unmounts and waits for the daemon to end.
    pub fn unmount(mut self) -> Result<(), MountError> {
        self.mounted = false;
        rustix::mount::unmount(&self.merged, UnmountFlags::empty()).map_err(MountError::at(
            self.driver,
            "unmount",
            &self.merged,
        ))?;
        match self.daemon.take() {
            Some(child) => daemon::wait(self.driver, child, &self.merged),
            None => Ok(()),
        }
    }

    /// Leaves the mount and its daemon to themselves, for a caller who ends before them.
    pub fn keep(mut self) {
        self.mounted = false;
        self.daemon = None;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted
            && let Err(e) = rustix::mount::unmount(&self.merged, UnmountFlags::DETACH)
        {
            eprintln!("{}: detach {}: {e}", self.driver, self.merged.display());
        }
        if let Some(mut child) = self.daemon.take() {
            // A detached FUSE mount ends when its daemon does. The daemon may have ended already; then there is nothing to kill.
            child.kill().ok();
            if let Err(e) = child.wait() {
                eprintln!("{}: wait for daemon {}: {e}", self.driver, child.id());
            }
        }
    }
}

/// Unmounts a mount that some other process made.
pub fn unmount(merged: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(merged, UnmountFlags::empty()).map_err(MountError::at("umount", "unmount", merged))
}

/// `type options`, the mount's first, then the file system's; lower folders are counted.
fn describe(entry: &MountEntry) -> String {
    let mut words = Vec::new();
    let mut layers = 0;
    for option in entry.mount_options.split(',').chain(split_options(&entry.super_options)) {
        if let Some(folders) = option.strip_prefix("lowerdir=") {
            layers += folders.split(':').filter(|folder| !folder.is_empty()).count();
        } else if option.starts_with("lowerdir+=") {
            layers += 1;
        } else if !words.contains(&option) {
            words.push(option);
        }
    }
    let mut text = format!("{} {}", entry.fs_type, words.join(","));
    if layers > 0 {
        text.push_str(&format!(",lowerdir=<{layers} layers>"));
    }
    text
}

/// Options are separated by commas; a comma within a path is written `\,`.
fn split_options(options: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let mut pieces = Vec::new();
    let bytes = options.as_bytes();
    for at in 0..bytes.len() {
        if bytes[at] == b',' && (at == 0 || bytes[at - 1] != b'\\') {
            pieces.push(&options[start..at]);
            start = at + 1;
        }
    }
    pieces.push(&options[start..]);
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::parse_mountinfo;

    #[test]
    fn lower_folders_are_counted_in_both_spellings_and_options_listed_once() {
        let describe_line = |options: &str| {
            let entries = parse_mountinfo(&format!("1 0 0:9 / /m rw,relatime - overlay o {options}\n"));
            describe(&entries[0])
        };
        assert_eq!(
            describe_line("rw,lowerdir=/a:/b,upperdir=/u,workdir=/w,volatile"),
            "overlay rw,relatime,upperdir=/u,workdir=/w,volatile,lowerdir=<2 layers>"
        );
        assert_eq!(
            describe_line("rw,lowerdir+=/a,lowerdir+=/b\\,c,lowerdir+=/d,upperdir=/u"),
            "overlay rw,relatime,upperdir=/u,lowerdir=<3 layers>"
        );
        assert_eq!(describe_line("rw"), "overlay rw,relatime");
    }
}
