//! A mount as a guard: it knows what the kernel made of it, and it goes when it is dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::daemon::{self, Daemon};
use crate::host::{MountEntry, mount_table};

/// How long a mount may stay busy after its last file was closed: the kernel lets go of a file behind close(2), and of one that FUSE
/// passed through later still.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// Source of the kernel's unions, as the mount table shows it: by this name they are told from those of others.
pub(super) const SOURCE: &str = "layerbench";
/// What to do about EPERM of a mount.
pub(super) const MAY_NOT_MOUNT: &str =
    "only root may mount: run as root, or as root of a namespace (unshare --user --map-root-user --mount)";

/// Why a mount did not come to be, or did not go.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A system call failed.
    #[error("{driver}: {operation} {path}: {errno}{advice}", path = path.display())]
    Io {
        /// Which driver.
        driver: &'static str,
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
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
        move |errno| MountError::Io {
            driver,
            operation,
            path: path.to_owned(),
            errno: errno.into(),
            advice: String::new(),
        }
    }

    /// Adds what to do to an errno; other errors say it already.
    pub(super) fn advise(mut self, text: &str) -> MountError {
        if let MountError::Io { advice, .. } = &mut self {
            advice.push_str(text);
        }
        self
    }
}

/// How a mount differs from what was asked for, where that makes its numbers those of another variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// What is different, and why.
    pub reason: String,
    /// How to measure it all the same.
    pub remedy: String,
}

/// A mounted driver. Dropping it detaches the mount and ends its daemon; [`Mount::unmount`] does the same and reports errors.
#[derive(Debug)]
pub struct Mount {
    driver: &'static str,
    merged: PathBuf,
    options: String,
    daemon: Option<Daemon>,
    mounted: bool,
    deviation: Option<Deviation>,
}

impl Mount {
    /// Takes charge of what has just been mounted at `merged`, and of its daemon.
    pub(super) fn new(driver: &'static str, merged: &Path, daemon: Option<Daemon>) -> Mount {
        Mount { driver, merged: merged.to_owned(), options: String::new(), daemon, mounted: true, deviation: None }
    }

    /// Finds it in the mount table, and with it its options.
    pub(super) fn inspect(&mut self) -> Result<(), MountError> {
        let (driver, merged) = (self.driver, &self.merged);
        let real = std::fs::canonicalize(merged).map_err(MountError::at(driver, "resolve", merged))?;
        let table = mount_table().map_err(MountError::at(driver, "read", Path::new("/proc/self/mountinfo")))?;
        let entry = table.iter().rev().find(|entry| entry.mountpoint == real).ok_or_else(|| MountError::Request {
            driver,
            reason: format!("{} is not in the mount table after it was mounted", merged.display()),
        })?;
        self.options = describe(entry);
        Ok(())
    }

    /// Where it is mounted.
    pub fn merged(&self) -> &Path {
        &self.merged
    }

    /// Type and options as the kernel reports them, once they were looked at; lower folders are counted, not listed.
    pub fn options(&self) -> &str {
        &self.options
    }

    /// Puts what the driver found out about the mount in the place of one of its options.
    pub(super) fn replace_option(&mut self, option: &str, found: &str) {
        self.options = self.options.replace(option, found);
    }

    /// Process of the FUSE daemon.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// What is not as it was asked for. Such a mount must not be measured under the name of the variant.
    pub fn deviation(&self) -> Option<&Deviation> {
        self.deviation.as_ref()
    }

    pub(super) fn deviating(mut self, deviation: Deviation) -> Mount {
        self.deviation = Some(deviation);
        self
    }

    /// The beginning of what its daemon has written to standard error.
    pub(super) fn daemon_said(&self) -> String {
        self.daemon.as_ref().map(Daemon::said).unwrap_or_default()
    }

    /// Unmounts and waits for the daemon to end. After an error the mount is detached and the daemon killed, as by dropping.
    pub fn unmount(mut self) -> Result<(), MountError> {
        unmount_when_free(self.driver, &self.merged)?;
        self.mounted = false;
        match self.daemon.take() {
            Some(daemon) => daemon.wait(self.driver, &self.merged),
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
        if self.mounted {
            detach(self.driver, &self.merged);
        }
        // A detached FUSE mount ends when its daemon does.
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }
}

/// Takes a mount out of the tree at once; who has files open there keeps them. An error goes to stderr: there is another one to report.
pub(super) fn detach(driver: &str, merged: &Path) {
    match rustix::mount::unmount(merged, UnmountFlags::DETACH) {
        Ok(()) => {}
        Err(Errno::PERM) if fusermount(merged, &["-u", "-z"]) => {}
        Err(e) => eprintln!("{driver}: detach {}: {e}", merged.display()),
    }
}

/// Unmounts; a mount that is busy is tried again for a while.
fn unmount_when_free(driver: &'static str, merged: &Path) -> Result<(), MountError> {
    let start = Instant::now();
    loop {
        match rustix::mount::unmount(merged, UnmountFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if start.elapsed() < BUSY_PATIENCE => std::thread::sleep(PAUSE),
            Err(Errno::PERM) if fusermount(merged, &["-u"]) => return Ok(()),
            Err(e) => {
                let advice = match e {
                    Errno::BUSY => "; a process has a file or its working directory there: end it, then try again",
                    Errno::PERM => "; it was mounted by root or in another namespace: unmount it there",
                    _ => "",
                };
                return Err(MountError::at(driver, "unmount", merged)(e).advise(advice));
            }
        }
    }
}

/// Has the setuid helper unmount what it has mounted: a FUSE mount of an ordinary user outside a namespace.
fn fusermount(merged: &Path, flags: &[&str]) -> bool {
    ["fusermount3", "fusermount"].iter().any(|program| {
        let mut command = Command::new(program);
        command.args(flags).arg("--").arg(merged).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// The topmost mount at a path. The path need not answer: the mount of a FUSE daemon that died does not.
pub fn find_mount(merged: &Path) -> io::Result<Option<MountEntry>> {
    let real = std::fs::canonicalize(merged).or_else(|error| match (merged.parent(), merged.file_name()) {
        (Some(parent), Some(name)) if error.kind() != io::ErrorKind::NotFound => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(std::fs::canonicalize(parent)?.join(name))
        }
        _ => Err(error),
    })?;
    Ok(mount_table()?.into_iter().rev().find(|entry| entry.mountpoint == real))
}

/// Whether a mount is one that a driver here makes, by its marks. A bind mount has none: see [`is_bind`].
pub fn is_ours(entry: &MountEntry) -> bool {
    match entry.fs_type.as_str() {
        crate::union::FS_TYPE | "fuse.fuse-overlayfs" => true,
        "overlay" | "aufs" => entry.source == SOURCE,
        _ => false,
    }
}

/// Whether a mount shows once more what an earlier one shows: a bind mount, which bears no mark of whoever made it. Nothing is lost with it.
pub fn is_bind(entry: &MountEntry) -> io::Result<bool> {
    Ok(shows_again(&mount_table()?, entry))
}

fn shows_again(table: &[MountEntry], entry: &MountEntry) -> bool {
    let earlier = table.iter().rev().skip_while(|other| *other != entry).skip(1);
    earlier.into_iter().any(|other| other.device_number == entry.device_number && entry.root.starts_with(&other.root))
}

/// Unmounts what some other process has mounted and waits for its daemon, if it has one that can be found.
pub fn unmount(entry: &MountEntry) -> Result<(), MountError> {
    const WHO: &str = "umount";
    let daemons = match entry.fs_type.starts_with("fuse") {
        true => daemon::serving(&entry.mountpoint, &entry.device_number),
        false => Vec::new(),
    };
    unmount_when_free(WHO, &entry.mountpoint)?;
    daemon::await_end(WHO, &daemons, &entry.mountpoint)
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

    #[test]
    fn a_bind_mount_is_the_later_of_two_that_show_the_same() {
        let table = crate::host::parse_mountinfo(
            "20 1 254:0 / / rw - ext4 /dev/vda rw\n\
             21 20 0:30 /@home /home rw - btrfs /dev/vdb rw,subvol=/@home\n\
             22 20 0:30 /@srv /srv rw - btrfs /dev/vdb rw,subvol=/@srv\n\
             23 20 0:40 /../.. /sys/fs/cgroup rw - cgroup2 cgroup rw\n\
             24 20 254:0 /data /a rw - ext4 /dev/vda rw\n\
             25 20 254:0 / /b rw - ext4 /dev/vda rw\n\
             26 20 0:30 /@home/me /c rw - btrfs /dev/vdb rw,subvol=/@home\n",
        );
        let found: Vec<_> = table.iter().filter(|entry| shows_again(&table, entry)).map(|e| &e.mountpoint).collect();
        assert_eq!(found, [Path::new("/a"), Path::new("/b"), Path::new("/c")]);
    }
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
