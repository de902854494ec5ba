//! Mounting and unmounting. Serving to the end of a process is `serve`.
//!
//! mount(2) is called here and not by fuser, so that the mount shows as `fuse.fuse-union` and works in a user namespace without any
//! helper program. fuser's own way (the setuid fusermount3) is the fallback for an ordinary user outside a namespace.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::counters::Report;
use super::fs::Edge;
use super::more::More;
use super::node::lock;
use super::state::Union;
use super::{UnionConfig, UnionError};

/// Type of the mount in /proc/self/mountinfo: what `mount -t fuse.fuse-union` is told, too.
pub const FS_TYPE: &str = "fuse.fuse-union";
const SUBTYPE: &str = "fuse-union";
/// The setuid program that mounts and unmounts for ordinary users.
const HELPER: &str = "fusermount3";
/// How long a mount may stay busy after its last file was closed: the kernel lets go of a file behind close(2).
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
/// How long the daemon of a mount that has just gone may hold the work directory: it ends after umount(2) has returned.
const WORK_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

/// A union that is mounted and served by threads of this process. Dropping it unmounts it.
#[derive(Debug)]
pub struct UnionMount {
    pub(super) session: Option<BackgroundSession>,
    lanes: Vec<Serving>,
    mountpoint: PathBuf,
    /// Whether fusermount3 made the mount, and so has to undo it.
    by_helper: bool,
    /// What the kernel numbers the mount by (Linux 5.8).
    mount_id: Option<u64>,
    pub(super) union: Arc<Union>,
}

/// Mounts a union and serves it in the background. A panic in a thread that serves is answered with EIO, and the others go on; in a process of
/// its own a union is better served by [`serve`](super::serve), which does not go on after that.
///
/// # Errors
/// What kept the union from being mounted.
pub fn mount_background(config: UnionConfig, mountpoint: &Path) -> Result<UnionMount, UnionError> {
    let failed = |operation| move |error: std::io::Error| UnionError::io(operation, mountpoint, error);
    let mountpoint = mountpoint.canonicalize().map_err(failed("find mount point"))?;
    let union = Arc::new(open_union(&config)?);
    if let Some(layer) = union.layers.meets_itself_at(&mountpoint) {
        return Err(UnionError::Config(format!(
            "{} lies in the layer {}: the union would wait for itself there; mount it elsewhere, or with CAP_SYS_ADMIN",
            mountpoint.display(),
            layer.display()
        )));
    }
    let edge = Edge::new(Arc::clone(&union));
    let (session, by_helper) = match mount_directly(&config, &mountpoint) {
        Ok(device) => {
            let session = Session::from_fd(edge, device, SessionACL::All, fuser_config(&config, SessionACL::All));
            (session.inspect_err(|_| detach(&mountpoint, false)).map_err(failed("start serving"))?, false)
        }
        Err(UnionError::Io { operation: "mount", errno, .. }) if errno.raw_os_error() == Some(libc::EPERM) => {
            (mount_with_helper(edge, &config, &mountpoint)?, true)
        }
        Err(error) => return Err(error),
    };
    let mount_id = mount_id_at(&mountpoint);
    let (session, lanes) = match start(session, &union) {
        Ok(started) => started,
        Err(error) => {
            detach(&mountpoint, by_helper);
            return Err(failed("start serving")(error));
        }
    };
    // Set once, here; a second value cannot come.
    let _ = union.notifier.set(session.notifier());
    // Nobody here asks the mount whether it answers: a process that is killed while it waits for itself can never be ended, since the
    // thread that would answer is gone and the one that waits keeps the device open. The kernel holds requests back until we serve.
    Ok(UnionMount { session: Some(session), lanes, mountpoint, by_helper, mount_id, union })
}

/// A thread that serves to the end.
pub(super) type Serving = JoinHandle<std::io::Result<()>>;

/// Starts to serve: from the device, and by io_uring where that has been agreed on.
fn start(session: Session<Edge>, union: &Arc<Union>) -> std::io::Result<(BackgroundSession, Vec<Serving>)> {
    let device = Arc::new(File::from(session.as_fd().try_clone_to_owned()?));
    union.passthrough.serves(&device, union.layers.file_to_probe());
    // Decided before the first request, once and for all.
    union.no_open.fetch_and(!union.passthrough.is_on(), Ordering::Relaxed);
    union.crew.serves(&device, union.options.linger, union.spare.clone());
    let lanes = std::mem::take(&mut *lock(&union.lanes));
    union.counters.lanes(lanes.len());
    let lanes = lanes.into_iter().map(|lane| lane.serve(union, &device)).collect::<std::io::Result<Vec<_>>>()?;
    let session = session.spawn()?;
    if lanes.is_empty() {
        union.crew.may_have(More::new(union, &device));
    }
    Ok((session, lanes))
}

/// Gives a mount of a union that is there the flags of `config`, as `mount -o remount` does. The kernel answers EBUSY to `ro` while a file is
/// open for writing. What is mounted there nobody checks.
///
/// # Errors
/// If the kernel refuses.
pub fn remount(config: &UnionConfig, mountpoint: &Path) -> Result<(), UnionError> {
    let flags = config.options.mount.flags | MsFlags::MS_REMOUNT;
    nix::mount::mount(None::<&str>, mountpoint, None::<&str>, flags, None::<&str>)
        .map_err(|errno| UnionError::io("remount", mountpoint, errno))
}

/// Opens the layers. Who unmounts and mounts again finds the work directory still locked, for a moment.
fn open_union(config: &UnionConfig) -> Result<Union, UnionError> {
    let start = Instant::now();
    loop {
        match Union::new(config) {
            Err(UnionError::InUse { .. }) if start.elapsed() < WORK_PATIENCE => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// What mount(2) is told in its flags.
fn flags(config: &UnionConfig) -> MsFlags {
    let mut flags = config.options.mount.flags;
    flags.set(MsFlags::MS_RDONLY, flags.contains(MsFlags::MS_RDONLY) || config.upper.is_none());
    flags
}

fn mount_directly(config: &UnionConfig, mountpoint: &Path) -> Result<OwnedFd, UnionError> {
    const DEVICE: &str = "/dev/fuse";
    let device = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => UnionError::Config(format!(
            "open {DEVICE}: {error}; it is for all users where udev made it; as root: chmod 666 {DEVICE}"
        )),
        std::io::ErrorKind::NotFound => UnionError::Config(format!(
            "open {DEVICE}: {error}; load the module (modprobe fuse), or give the container --device {DEVICE}"
        )),
        _ => UnionError::io("open", DEVICE, error),
    })?;
    // The kernel checks permissions from the attributes it is told, for everybody who gets there.
    let mut options = OsString::from(format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    ));
    // As mount(8) does: where there is no SELinux, its words mean nothing.
    if Path::new("/sys/fs/selinux").exists() {
        for word in &config.options.mount.security {
            options.push(",");
            options.push(word);
        }
    }
    let source = config.options.mount.source.as_os_str();
    nix::mount::mount(Some(source), mountpoint, Some(FS_TYPE), flags(config), Some(options.as_os_str()))
        .map_err(|errno| UnionError::io("mount", mountpoint, errno))?;
    Ok(device.into())
}

/// An ordinary user outside a namespace. fusermount3 refuses `allow_other` unless /etc/fuse.conf has `user_allow_other`.
fn mount_with_helper(edge: Edge, config: &UnionConfig, mountpoint: &Path) -> Result<Session<Edge>, UnionError> {
    let acl = if config.options.mount.allow_other { SessionACL::All } else { SessionACL::Owner };
    Session::new(edge, mountpoint, &fuser_config(config, acl)).map_err(|error| {
        let place = mountpoint.display();
        UnionError::Config(match error.kind() {
            // The second where a directory of PATH may not be looked into.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => format!(
                "mount on {place}: {}; an ordinary user needs {HELPER} (package fuse3) on PATH, or a user namespace (unshare --user \
                 --map-root-user --mount)",
                error.to_string().trim()
            ),
            _ => format!("mount on {place}: {}", error.to_string().trim()),
        })
    })
}

fn fuser_config(config: &UnionConfig, acl: SessionACL) -> Config {
    let mut options = Config::default();
    options.acl = acl;
    options.n_threads = Some(config.options.threads);
    options.clone_fd = true;
    // fusermount3 takes a comma or a backslash in a name when it is escaped.
    let source = config.options.mount.source.to_string_lossy().replace('\\', "\\\\").replace(',', "\\,");
    options.mount_options =
        vec![MountOption::FSName(source), MountOption::Subtype(SUBTYPE.into()), MountOption::DefaultPermissions];
    let flags = flags(config);
    for (flag, option) in [
        (MsFlags::MS_RDONLY, MountOption::RO),
        (MsFlags::MS_NOSUID, MountOption::NoSuid),
        (MsFlags::MS_NODEV, MountOption::NoDev),
        (MsFlags::MS_NOEXEC, MountOption::NoExec),
        (MsFlags::MS_NOATIME, MountOption::NoAtime),
        (MsFlags::MS_SYNCHRONOUS, MountOption::Sync),
        (MsFlags::MS_DIRSYNC, MountOption::DirSync),
    ] {
        if flags.contains(flag) {
            options.mount_options.push(option);
        }
    }
    options
}

/// How serving ended, where an end is what was wanted. A thread that reads the device while the mount goes is told ENODEV or, when the
/// kernel was a step further, ECONNABORTED (fs/fuse/dev.c, `fuse_dev_do_read`); fuser knows the first alone.
pub(super) fn ended(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(()),
        other => other,
    }
}

/// The mount that is on top at a place. Nobody is asked for attributes: it may be this very process that would have to answer.
fn mount_id_at(place: &Path) -> Option<u64> {
    let found = statx(CWD, place, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

/// Whether there is a mount of this number in our namespace.
fn is_mounted(id: u64) -> bool {
    let own = |line: &str| line.split(' ').next().and_then(|first| first.parse().ok()) == Some(id);
    // Where nobody says, it is taken to be there.
    std::fs::read_to_string("/proc/self/mountinfo").map_or(true, |table| table.lines().any(own))
}

/// Takes the mount away from the tree at once; the kernel ends it when nobody uses it any more.
fn detach(mountpoint: &Path, by_helper: bool) {
    // Used where there is an error to report already.
    let _ = umount(mountpoint, by_helper, true);
}

fn umount(mountpoint: &Path, by_helper: bool, lazily: bool) -> std::io::Result<()> {
    let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    match nix::mount::umount2(mountpoint, flags) {
        Ok(()) => Ok(()),
        // Somebody else has unmounted it.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(nix::errno::Errno::EPERM) if by_helper => {
            let lazily = lazily.then_some("-z");
            let mut command = Command::new(HELPER);
            command.arg("-u").args(lazily).arg("--").arg(mountpoint);
            let done = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            // It says why in words only; what it mounted itself it refuses to unmount for one reason.
            if done.success() { Ok(()) } else { Err(nix::errno::Errno::EBUSY.into()) }
        }
        Err(errno) => Err(errno.into()),
    }
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

    /// Whether the kernel asks when somebody opens a file; else files are copied up when they are written to.
    pub fn asks_at_opens(&self) -> bool {
        !self.union.leaves_out_opens()
    }

    /// What it has done so far.
    pub fn counters(&self) -> Report {
        self.union.report(0)
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
        self.take_down()?;
        let mut ends = vec![ended(session.join())];
        // One that has panicked has said so.
        ends.extend(self.lanes.drain(..).flat_map(JoinHandle::join));
        ends.extend(self.union.crew.end().into_iter().map(ended));
        ends.into_iter().collect::<Result<_, _>>().map_err(|error| UnionError::io("unmount", &self.mountpoint, error))
    }

    /// Takes the mount out of the tree, without waiting for the end of serving. What is busy for a second is detached.
    ///
    /// # Errors
    /// EBUSY if it was busy. If something else is mounted over it, both stay.
    pub(super) fn take_down(&self) -> Result<(), UnionError> {
        let start = Instant::now();
        if let Some(id) = self.mount_id.filter(|id| mount_id_at(&self.mountpoint) != Some(*id)) {
            if !is_mounted(id) {
                // Somebody else has unmounted it.
                return Ok(());
            }
            return Err(UnionError::Config(format!(
                "something else is mounted over {}: unmount that, and then the union, which answers ENOTCONN from now on",
                self.mountpoint.display()
            )));
        }
        loop {
            match umount(&self.mountpoint, self.by_helper, false) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && start.elapsed() < BUSY_PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => {
                    detach(&self.mountpoint, self.by_helper);
                    return Err(UnionError::io("unmount", &self.mountpoint, error));
                }
            }
        }
    }
}

impl Drop for UnionMount {
    fn drop(&mut self) {
        // `unmount` reports the error to who wants to know it.
        let _ = self.end();
    }
}
