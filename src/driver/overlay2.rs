//! overlay2: the kernel's overlay file system, mounted with the new mount API, one layer a call, so that depth is bounded by the kernel's
//! 500 and not by a page of options.

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};

use super::bind::available_to_mount;
use super::mount::MAY_NOT_MOUNT;
use super::options::{self, Known, OptionError, Value};
use super::{Driver, Mount, MountError, MountRequest};
use crate::record::{Feature, Host, Privileges};
use crate::stack::LayerForm;
use crate::workload::DEPTH_MAX;

const NAME: &str = "overlay2";
/// Source of the mount, as the mount table shows it.
const SOURCE: &str = "layerbench";
/// fs/fsopen.c of the kernel copies at most 256 bytes of a string, the terminating zero included.
const FSCONFIG_STRING_MAX: usize = 255;

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
        // Where it is a module that nobody has used yet, fsopen by root loads it.
        if !super::aufs::has_file_system(&known, "overlay") && fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_err() {
            return Feature::missing(
                "/proc/filesystems has no overlay",
                "load it (modprobe overlay), or use a kernel with CONFIG_OVERLAY_FS",
            );
        }
        available_to_mount(host, &format!("overlay of Linux {}", host.kernel))
    }

    fn availability_with(&self, options: &[String], host: &Host) -> Feature {
        match needs_trusted(options) {
            Some(option) if host.privileges == Privileges::UserNamespace => Feature::missing(
                format!(
                    "{option} needs trusted.* attributes, which nobody can write in a user namespace: with userxattr the kernel refuses it"
                ),
                "run as root",
            ),
            _ => self.availability(host),
        }
    }

    fn mount(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let mut options = request.options.to_vec();
        // Without root, trusted.* attributes are out of reach: overlay keeps its marks in user.* then (Linux 5.11).
        if in_user_namespace() && !options.iter().any(|option| option == "userxattr") {
            options.push("userxattr".into());
        }
        let refused =
            |errno| MountError::at(NAME, "fsopen overlay for", request.merged)(errno).advise(&advice(request, errno));
        if takes_layers_one_by_one().map_err(refused)? {
            mount_one_by_one(request, &options)?;
        } else {
            mount_by_line(request, &options)?;
        }
        Mount::new(NAME, request.merged, None)
    }
}

/// Whether overlay takes layers one by one (`lowerdir+`, Linux 6.8): tried on a context that is thrown away.
fn takes_layers_one_by_one() -> Result<bool, Errno> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS) => return Ok(false),
        Err(e) => return Err(e),
    };
    // Before Linux 6.5 overlay does not look at its options here: it takes any word, and chokes on it later (fs/fs_context.c,
    // `legacy_parse_param`).
    let takes_anything = fsconfig_set_flag(context.as_fd(), "layerbench").is_ok();
    Ok(!takes_anything && fsconfig_set_string(context.as_fd(), "lowerdir+", "/").is_ok())
}

/// The new mount API: a call for each layer and option.
fn mount_one_by_one(request: &MountRequest, options: &[String]) -> Result<(), MountError> {
    let merged = request.merged;
    let context =
        fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(MountError::at(NAME, "fsopen overlay for", merged))?;
    // Descriptors behind short names of long paths: in use until the file system is created.
    let mut held = Vec::new();
    let mut set = |key: &str, operation: &'static str, path: &Path| -> Result<(), MountError> {
        let (name, descriptor) = short_name(path).map_err(MountError::at(NAME, operation, path))?;
        held.extend(descriptor);
        fsconfig_set_string(context.as_fd(), key, name.as_path())
            .map_err(|e| refused(&context, request, operation, path, e))
    };
    fsconfig_set_string(context.as_fd(), "source", SOURCE)
        .map_err(|e| refused(&context, request, "name the source of", merged, e))?;
    for folder in request.lower {
        set("lowerdir+", "add layer", folder)?;
    }
    set("upperdir", "set upper", request.upper)?;
    set("workdir", "set work", request.work)?;
    for option in options {
        let result = match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value),
            None => fsconfig_set_flag(context.as_fd(), option.as_str()),
        };
        result.map_err(|e| refused(&context, request, "set option", Path::new(option), e))?;
    }
    fsconfig_create(context.as_fd()).map_err(|e| refused(&context, request, "mount overlay at", merged, e))?;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(|e| refused(&context, request, "fsmount overlay for", merged, e))?;
    move_mount(mount.as_fd(), "", rustix::fs::CWD, merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(MountError::at(NAME, "move the mount to", merged))
}

/// An errno with what the kernel says of it, and what to do.
fn refused(
    context: &OwnedFd,
    request: &MountRequest,
    operation: &'static str,
    path: &Path,
    errno: Errno,
) -> MountError {
    MountError::at(NAME, operation, path)(errno).advise(&kernel_says(context)).advise(&advice(request, errno))
}

/// fsconfig takes strings of at most 255 bytes (fs/fsopen.c). A longer path gets a short name: that of a descriptor.
fn short_name(path: &Path) -> Result<(PathBuf, Option<OwnedFd>), Errno> {
    if path.as_os_str().len() <= FSCONFIG_STRING_MAX {
        return Ok((path.to_owned(), None));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
    Ok((format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into(), Some(descriptor)))
}

/// mount(2) with all options in one line, which is all that kernels before 6.8 have.
fn mount_by_line(request: &MountRequest, options: &[String]) -> Result<(), MountError> {
    let line = option_line(request, options)?;
    mount(SOURCE, request.merged, "overlay", MountFlags::empty(), Some(line.as_c_str())).map_err(|errno| {
        MountError::at(NAME, "mount overlay at", request.merged)(errno).advise(&advice(request, errno))
    })
}

/// The options of mount(2): a page with its terminating zero (mount(2), NOTES). Backslash, colon and comma of a path are escaped.
fn option_line(request: &MountRequest, options: &[String]) -> Result<CString, MountError> {
    let refuse = |reason: String| MountError::Request { driver: NAME, reason };
    let escape = |path: &Path| -> Vec<u8> {
        let bytes = path.as_os_str().as_bytes();
        bytes.iter().flat_map(|byte| [b'\\', *byte].into_iter().skip(usize::from(!b"\\:,".contains(byte)))).collect()
    };
    let lower: Vec<Vec<u8>> = request.lower.iter().map(|folder| escape(folder)).collect();
    let mut line = [b"lowerdir=".as_slice(), &lower.join(&b':')].concat();
    for (key, path) in [("upperdir", request.upper), ("workdir", request.work)] {
        line.extend(format!(",{key}=").as_bytes());
        line.extend(escape(path));
    }
    for option in options {
        line.push(b',');
        line.extend(option.as_bytes());
    }
    if line.len() >= rustix::param::page_size() {
        return Err(refuse(format!(
            "this kernel takes overlay's options in one page, and {} layers need {} bytes: use Linux 6.8 or later (lowerdir+), fewer \
             layers, or a store with a shorter path",
            request.lower.len(),
            line.len() + 1
        )));
    }
    CString::new(line).map_err(|e| refuse(format!("a path or option has a zero byte: {e}")))
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

/// What to do about an errno: overlay explains most refusals to the kernel's log alone.
fn advice(request: &MountRequest, errno: Errno) -> String {
    let text = match errno {
        Errno::INVAL if request.work.join("work/incompat/volatile").exists() => {
            "a volatile overlay was mounted on this work folder before, so that its upper may be incomplete: give an empty work folder"
        }
        Errno::INVAL if in_user_namespace() && needs_trusted(request.options).is_some() => {
            "in a user namespace (userxattr) the kernel refuses metacopy, verity and redirect_dir: run as root"
        }
        Errno::INVAL | Errno::XDEV if device(request.upper) != device(request.work) => {
            "upper and work must be on one file system"
        }
        Errno::INVAL if request.lower.is_empty() => "overlay needs at least one lower layer",
        Errno::PERM => MAY_NOT_MOUNT,
        Errno::STALE => "upper or work was used with other layers before (index=on): give empty ones",
        Errno::BUSY => "another mount uses upper or work: give others",
        Errno::LOOP | Errno::INVAL => "dmesg has the kernel's reason",
        _ => return String::new(),
    };
    format!("; {text}")
}

fn device(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|meta| std::os::unix::fs::MetadataExt::dev(&meta))
}

/// The first option that makes overlay keep trusted.* attributes (`ovl_fs_params_verify` of the kernel's fs/overlayfs/params.c).
fn needs_trusted(options: &[String]) -> Option<&String> {
    options.iter().find(|option| match option.split_once('=') {
        Some(("metacopy", value)) => value == "on",
        Some(("redirect_dir", value)) => value != "nofollow",
        Some(("verity", value)) => value != "off",
        _ => false,
    })
}

/// Whether this process is root of some user namespace other than the first.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(lower: &'a [PathBuf]) -> MountRequest<'a> {
        let path = Path::new;
        MountRequest {
            lower,
            upper: path("/s/a,b"),
            work: path("/s/w"),
            merged: path("/s/m"),
            options: &[],
            layerbench: path("/"),
        }
    }

    #[test]
    fn the_line_of_mount_2_escapes_what_separates() {
        let lower = ["/l/a:b".into(), "/l/c\\d".into()];
        let line = option_line(&request(&lower), &["volatile".into(), "index=off".into()]).unwrap();
        assert_eq!(
            line.to_str().unwrap(),
            r"lowerdir=/l/a\:b:/l/c\\d,upperdir=/s/a\,b,workdir=/s/w,volatile,index=off"
        );
    }

    #[test]
    fn more_than_a_page_is_refused_with_what_to_do() {
        let layers = |count: usize| -> Vec<PathBuf> {
            (0..count).map(|n| format!("/var/lib/layerbench/stacks/0123456789abcdef/diff/{n:064}").into()).collect()
        };
        assert!(option_line(&request(&layers(30)), &[]).is_ok());
        let error = option_line(&request(&layers(300)), &[]).unwrap_err().to_string();
        assert!(error.contains("300 layers") && error.contains("Linux 6.8"), "{error}");
    }

    #[test]
    fn options_that_need_trusted_attributes_are_known() {
        for (option, needs) in [
            ("metacopy=on", true),
            ("metacopy=off", false),
            ("redirect_dir=on", true),
            ("redirect_dir=off", true),
            ("redirect_dir=nofollow", false),
            ("verity=require", true),
            ("volatile", false),
        ] {
            assert_eq!(needs_trusted(&["index=off".into(), option.into()]).is_some(), needs, "{option}");
        }
    }
}
