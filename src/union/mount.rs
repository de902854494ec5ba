//! Mounting, serving, unmounting.
//!
//! mount(2) is called here and not by fuser, so that the mount shows as `fuse.layerbench` and works in a user namespace without any
//! helper program. fuser's own way (the setuid fusermount3) is the fallback for an ordinary user outside a namespace.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags};

use super::fs::Edge;
use super::state::Union;
use super::{UnionConfig, UnionError};

/// Type of the mount in /proc/self/mountinfo.
const FS_TYPE: &str = "fuse.layerbench";
/// Source of the mount there.
const SOURCE: &str = "layerbench";

/// A union that is mounted and served by threads of this process. Dropping it unmounts it.
#[derive(Debug)]
pub struct UnionMount {
    session: Option<BackgroundSession>,
    mountpoint: PathBuf,
    /// Whether fuser made the mount, and so has to undo it.
    by_fuser: bool,
    union: Arc<Union>,
}

/// Mounts a union and serves it until somebody unmounts it. `ready` is called once it is mounted and served.
///
/// # Errors
/// What kept the union from being mounted, or what ended its serving other than an unmount.
pub fn serve(config: UnionConfig, mountpoint: &Path, ready: impl FnOnce()) -> Result<(), UnionError> {
    let mut mount = mount_background(config, mountpoint)?;
    ready();
    match mount.session.take() {
        Some(session) => ended(session.join()).map_err(|error| UnionError::io("serve", mountpoint, error)),
        None => Ok(()),
    }
}

/// Mounts a union and serves it in the background.
///
/// # Errors
/// What kept the union from being mounted.
pub fn mount_background(config: UnionConfig, mountpoint: &Path) -> Result<UnionMount, UnionError> {
    let failed = |operation| move |error: std::io::Error| UnionError::io(operation, mountpoint, error);
    let mountpoint = mountpoint.canonicalize().map_err(failed("find mount point"))?;
    let union = Arc::new(Union::new(&config)?);
    let edge = Edge(Arc::clone(&union));
    let (session, by_fuser) = match mount_directly(&config, &mountpoint) {
        Ok(device) => {
            let session = Session::from_fd(edge, device, SessionACL::All, fuser_config(&config, SessionACL::All));
            (session.inspect_err(|_| detach(&mountpoint)).map_err(failed("start serving"))?, false)
        }
        Err(UnionError::Io { operation: "mount", errno, .. }) if errno.raw_os_error() == Some(libc::EPERM) => {
            (mount_with_helper(edge, &union, &config, &mountpoint).map_err(failed("mount with fusermount3 on"))?, true)
        }
        Err(error) => return Err(error),
    };
    let session = match session.spawn() {
        Ok(session) => session,
        Err(error) => {
            if !by_fuser {
                detach(&mountpoint);
            }
            return Err(failed("start serving")(error));
        }
    };
    // Set once, here; a second value cannot come.
    let _ = union.notifier.set(session.notifier());
    // Nobody here asks the mount whether it answers: a process that is killed while it waits for itself can never be ended, since the
    // thread that would answer is gone and the one that waits keeps the device open. The kernel holds requests back until we serve.
    Ok(UnionMount { session: Some(session), mountpoint, by_fuser, union })
}

fn mount_directly(config: &UnionConfig, mountpoint: &Path) -> Result<OwnedFd, UnionError> {
    const DEVICE: &str = "/dev/fuse";
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|error| UnionError::io("open", DEVICE, error))?;
    // The kernel checks permissions from the attributes it is told, for everybody who gets there.
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    let mut flags = MsFlags::empty();
    if config.upper.is_none() {
        flags |= MsFlags::MS_RDONLY;
    }
    nix::mount::mount(Some(SOURCE), mountpoint, Some(FS_TYPE), flags, Some(options.as_str()))
        .map_err(|errno| UnionError::io("mount", mountpoint, errno))?;
    Ok(device.into())
}

/// An ordinary user outside a namespace. fusermount3 refuses `allow_other` unless /etc/fuse.conf has `user_allow_other`.
fn mount_with_helper(
    edge: Edge,
    union: &Arc<Union>,
    config: &UnionConfig,
    mountpoint: &Path,
) -> std::io::Result<Session<Edge>> {
    match Session::new(edge, mountpoint, &fuser_config(config, SessionACL::All)) {
        Err(_) => Session::new(Edge(Arc::clone(union)), mountpoint, &fuser_config(config, SessionACL::Owner)),
        mounted => mounted,
    }
}

fn fuser_config(config: &UnionConfig, acl: SessionACL) -> Config {
    let mut options = Config::default();
    options.acl = acl;
    options.n_threads = Some(config.options.threads);
    options.clone_fd = true;
    options.mount_options =
        vec![MountOption::FSName(SOURCE.into()), MountOption::Subtype(SOURCE.into()), MountOption::DefaultPermissions];
    if config.upper.is_none() {
        options.mount_options.push(MountOption::RO);
    }
    options
}

/// How serving ended, where an end is what was wanted. A thread that reads the device while the mount goes is told ENODEV or, when the
/// kernel was a step further, ECONNABORTED (fs/fuse/dev.c, `fuse_dev_do_read`); fuser knows the first alone.
fn ended(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
        other => other,
    }
}

/// Takes the mount away from the tree at once; the kernel ends it when nobody uses it any more.
fn detach(mountpoint: &Path) {
    // Used where there is an error to report already.
    let _ = nix::mount::umount2(mountpoint, MntFlags::MNT_DETACH);
}

impl UnionMount {
    /// Where it is mounted.
    pub fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Whether the kernel reads and writes files by itself (FUSE passthrough). Known for sure once a file has been opened.
    pub fn passthrough(&self) -> bool {
        self.union.passthrough.is_on()
    }

    /// Unmounts and waits until everything is released.
    ///
    /// # Errors
    /// EBUSY if files are still open after a second; the mount is then detached, and ends when they are closed.
    pub fn unmount(mut self) -> Result<(), UnionError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), UnionError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let failed = |error| UnionError::io("unmount", &self.mountpoint, error);
        if self.by_fuser {
            return ended(session.umount_and_join()).map_err(failed);
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match nix::mount::umount2(&self.mountpoint, MntFlags::empty()) {
                Ok(()) => break,
                // Somebody else has unmounted it.
                Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => break,
                // Also an open that was closed a moment ago keeps it busy.
                Err(nix::errno::Errno::EBUSY) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1))
                }
                Err(errno) => {
                    detach(&self.mountpoint);
                    return Err(failed(errno.into()));
                }
            }
        }
        ended(session.join()).map_err(failed)
    }
}

impl Drop for UnionMount {
    fn drop(&mut self) {
        // `unmount` reports the error to who wants to know it.
        let _ = self.end();
    }
}
