//! overlay2: the kernel's overlay file system, mounted with the new mount API, one layer a call, so that depth is bounded by the kernel's
//! 500 and not by a page of options.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, move_mount,
};

use super::bind::available_to_mount;
use super::options::{self, Known, OptionError, Value};
use super::{Driver, Mount, MountError, MountRequest};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::workload::DEPTH_MAX;

const NAME: &str = "overlay2";

const ON_OFF: Value = Value::OneOf(&["on", "off"]);

/// Documentation/filesystems/overlayfs.rst of the kernel.
const OPTIONS: Known = &[
    ("volatile", Value::None),
    ("userxattr", Value::None),
    ("default_permissions", Value::None),
    ("metacopy", ON_OFF),
    ("index", ON_OFF),
    ("nfs_export", ON_OFF),
    ("redirect_dir", Value::OneOf(&["on", "off", "follow", "nofollow"])),
    ("xino", Value::OneOf(&["on", "off", "auto"])),
    ("uuid", Value::OneOf(&["on", "off", "null", "auto"])),
    ("verity", Value::OneOf(&["on", "off", "require"])),
];

/// The driver.
pub(super) struct Overlay2;

impl Driver for Overlay2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the kernel's overlay; its options make variants"
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Overlay
    }

    fn depth_max(&self) -> u32 {
        DEPTH_MAX
    }

    fn check_options(&self, given: &[String]) -> Result<(), OptionError> {
        options::check(NAME, OPTIONS, given)
    }

    fn availability(&self, host: &Host) -> Feature {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !super::aufs::has_file_system(&known, "overlay") {
            return Feature::missing(
                "/proc/filesystems has no overlay",
                "load it (modprobe overlay), or use a kernel with CONFIG_OVERLAY_FS",
            );
        }
        available_to_mount(host, &format!("overlay of Linux {}", host.kernel))
    }

    fn mount(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(MountError::at(
            NAME,
            "fsopen overlay for",
            request.merged,
        ))?;
        let set = |key: &'static str, path: &Path| {
            fsconfig_set_string(context.as_fd(), key, path).map_err(|e| explain(&context, key, path, e))
        };
        fsconfig_set_string(context.as_fd(), "source", "layerbench")
            .map_err(|e| explain(&context, "source", request.merged, e))?;
        lower(&context, request)?;
        set("upperdir", request.upper)?;
        set("workdir", request.work)?;
        for option in request.options {
            let result = match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value),
                None => fsconfig_set_flag(context.as_fd(), option.as_str()),
            };
            result.map_err(|e| explain(&context, "set an option", Path::new(option), e))?;
        }
        // Without root, trusted.* attributes are out of reach: overlay keeps its marks in user.* then (Linux 5.11).
        if in_user_namespace() && !request.options.iter().any(|option| option == "userxattr") {
            fsconfig_set_flag(context.as_fd(), "userxattr")
                .map_err(|e| explain(&context, "set userxattr for", request.merged, e))?;
        }
        fsconfig_create(context.as_fd()).map_err(|e| explain(&context, "mount overlay at", request.merged, e))?;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
            .map_err(|e| explain(&context, "fsmount", request.merged, e))?;
        move_mount(mount.as_fd(), "", rustix::fs::CWD, request.merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(MountError::at(NAME, "move the mount to", request.merged))?;
        drop(mount);
        Mount::new(NAME, request.merged, None)
    }
}

/// Adds the layers one by one. Kernels before 6.5 know no `lowerdir+`: all go into one string of at most 255 bytes there (fsconfig's
/// own limit is one page less; overlay's parser of that time takes what fits).
fn lower(context: &OwnedFd, request: &MountRequest) -> Result<(), MountError> {
    for (index, folder) in request.lower.iter().enumerate() {
        match fsconfig_set_string(context.as_fd(), "lowerdir+", folder.as_path()) {
            Ok(()) => {}
            Err(Errno::INVAL) if index == 0 => return lower_in_one(context, request),
            Err(e) => return Err(explain(context, "add layer", folder, e)),
        }
    }
    Ok(())
}

fn lower_in_one(context: &OwnedFd, request: &MountRequest) -> Result<(), MountError> {
    let escaped: Vec<String> = request
        .lower
        .iter()
        .map(|folder| folder.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,"))
        .collect();
    let joined = escaped.join(":");
    fsconfig_set_string(context.as_fd(), "lowerdir", joined.as_str()).map_err(|source| MountError::Io {
        driver: NAME,
        operation: "set lowerdir for",
        path: request.merged.to_owned(),
        source: source.into(),
        advice: format!(
            "; this kernel has no lowerdir+ (Linux 6.5), so {} layers must fit one option of {} bytes: use a newer kernel or a smaller depth{}",
            request.lower.len(),
            joined.len(),
            kernel_says(context)
        ),
    })
}

/// An errno with what the kernel wrote into the context's log.
fn explain(context: &OwnedFd, operation: &'static str, path: &Path, errno: Errno) -> MountError {
    MountError::Io {
        driver: NAME,
        operation,
        path: path.to_owned(),
        source: errno.into(),
        advice: kernel_says(context),
    }
}

/// Messages of the kernel about a mount that is being configured: each read of the context gives one (fsopen(2)).
fn kernel_says(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        if length == 0 {
            break;
        }
        let message = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        // "e " marks an error, "w " a warning, "i " information.
        text.push_str(&format!("; the kernel says: {}", message.get(2..).unwrap_or(&message).trim()));
    }
    text
}

/// Whether this process is root of some user namespace other than the first.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}
