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

use super::availability::{available_to_mount, has_file_system};
use super::mount::{MAY_NOT_MOUNT, SOURCE};
use super::options::{self, Known, OptionError, Value};
use super::{Driver, Mount, MountError, MountRequest};
use crate::record::{Feature, Host, Privileges};
use crate::stack::LayerForm;
use crate::sys;
use crate::workload::DEPTH_MAX;

const NAME: &str = "overlay2";
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
        // Where it is a module that nobody has used yet, fsopen by root loads it.
        if !has_file_system("overlay") && fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_err() {
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

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let options = possible(request.options);
        let refused =
            |errno| MountError::at(NAME, "fsopen overlay for", request.merged)(errno).advise(&advice(request, errno));
        if takes_layers_one_by_one().map_err(refused)? {
            mount_one_by_one(request, &options)?;
        } else {
            mount_by_line(request, &options)?;
        }
        Ok(Mount::new(NAME, request.merged, None))
    }
}

/// Mounts overlay with mount(2) and one line of options, as the driver does on kernels before 6.8: for whoever wants to know how
/// many layers that way takes.
pub fn mount_overlay_by_line(request: &MountRequest) -> Result<Mount, MountError> {
    mount_by_line(request, &possible(request.options))?;
    let mut mount = Mount::new(NAME, request.merged, None);
    mount.inspect()?;
    Ok(mount)
}

/// The options, and what this process cannot mount without.
fn possible(options: &[String]) -> Vec<String> {
    let mut options = options.to_vec();
    // Without root, trusted.* attributes are out of reach: overlay keeps its marks in user.* then (Linux 5.11).
    if in_user_namespace() && !options.iter().any(|option| option == "userxattr") {
        options.push("userxattr".into());
    }
    options
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
    let descriptor = open_folder(path)?;
    Ok((format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into(), Some(descriptor)))
}

fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// mount(2) with all options in one line, which is all that kernels before 6.8 have. Layers whose paths do not fit go by the numbers of
/// descriptors, as names in /proc/self/fd: 500 of them fit. For that a thread with a working directory of its own mounts.
fn mount_by_line(request: &MountRequest, options: &[String]) -> Result<(), MountError> {
    let MountRequest { upper, work, merged, .. } = *request;
    let call = |line: CString, merged: &Path| {
        mount(SOURCE, merged, "overlay", MountFlags::empty(), Some(line.as_c_str()))
            .map_err(|errno| MountError::at(NAME, "mount overlay at", merged)(errno).advise(&advice(request, errno)))
    };
    if let Some(line) = option_line(request.lower, upper, work, options)? {
        return call(line, merged);
    }
    let absolute = |path: &Path| std::path::absolute(path).map_err(MountError::at(NAME, "resolve", path));
    let (upper, work, merged) = (absolute(upper)?, absolute(work)?, absolute(merged)?);
    let mut held = Vec::with_capacity(request.lower.len());
    for folder in request.lower {
        held.push(open_folder(folder).map_err(MountError::at(NAME, "open layer", folder))?);
    }
    let numbers: Vec<PathBuf> = held.iter().map(|folder| folder.as_raw_fd().to_string().into()).collect();
    let line = option_line(&numbers, &upper, &work, options)?.ok_or_else(|| MountError::Request {
        driver: NAME,
        reason: format!(
            "{} layers do not fit one page of options, which is all that this kernel takes: use Linux 6.8 or later (lowerdir+), fewer \
             layers, or a store with a shorter path",
            request.lower.len()
        ),
    })?;
    let folder = Path::new("/proc/self/fd");
    let in_folder = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)
            .and_then(|()| nix::unistd::chdir(folder))
            .map_err(MountError::at(NAME, "change, for one thread, to", folder))?;
        call(line, &merged)
    };
    let mounted = std::thread::scope(|scope| scope.spawn(in_folder).join());
    mounted
        .unwrap_or_else(|_| Err(MountError::Request { driver: NAME, reason: "the thread that mounts failed".into() }))
}

/// The options of mount(2), or `None` when they do not fit a page with its terminating zero (mount(2), NOTES). Backslash, colon and
/// comma of a path are escaped.
fn option_line(
    lower: &[PathBuf],
    upper: &Path,
    work: &Path,
    options: &[String],
) -> Result<Option<CString>, MountError> {
    let escape = |path: &Path| -> Vec<u8> {
        let bytes = path.as_os_str().as_bytes();
        bytes.iter().flat_map(|byte| [b'\\', *byte].into_iter().skip(usize::from(!b"\\:,".contains(byte)))).collect()
    };
    let lower: Vec<Vec<u8>> = lower.iter().map(|folder| escape(folder)).collect();
    let mut line = [b"lowerdir=".as_slice(), &lower.join(&b':')].concat();
    for (key, path) in [("upperdir", upper), ("workdir", work)] {
        line.extend(format!(",{key}=").as_bytes());
        line.extend(escape(path));
    }
    for option in options {
        line.push(b',');
        line.extend(option.as_bytes());
    }
    if line.len() >= rustix::param::page_size() {
        return Ok(None);
    }
    CString::new(line)
        .map(Some)
        .map_err(|e| MountError::Request { driver: NAME, reason: format!("a path or option has a zero byte: {e}") })
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
        Errno::NOENT => {
            let paths = request.lower.iter().map(PathBuf::as_path).chain([request.upper, request.work, request.merged]);
            let missing = paths.into_iter().find(|path| !path.exists());
            return missing.map(|path| format!("; {} is not there", path.display())).unwrap_or_default();
        }
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

/// Whether this process is root of some user namespace other than the first; not where /proc does not say.
fn in_user_namespace() -> bool {
    sys::namespace::in_user_namespace().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_mount_2_escapes_what_separates() {
        let lower = ["/l/a:b".into(), "/l/c\\d".into()];
        let options = ["volatile".into(), "index=off".into()];
        let line = option_line(&lower, Path::new("/s/a,b"), Path::new("/s/w"), &options).unwrap().unwrap();
        assert_eq!(
            line.to_str().unwrap(),
            r"lowerdir=/l/a\:b:/l/c\\d,upperdir=/s/a\,b,workdir=/s/w,volatile,index=off"
        );
    }

    #[test]
    fn what_exceeds_a_page_is_no_line_and_500_numbers_do_not() {
        let line = |lower: &[PathBuf]| option_line(lower, Path::new("/u"), Path::new("/w"), &[]).unwrap();
        let layers = |count: usize| -> Vec<PathBuf> {
            (0..count).map(|n| format!("/var/lib/layerbench/stacks/0123456789abcdef/diff/{n:064}").into()).collect()
        };
        assert!(line(&layers(30)).is_some());
        assert!(line(&layers(40)).is_none());
        let numbers: Vec<PathBuf> = (1000..1500).map(|n| n.to_string().into()).collect();
        assert!(line(&numbers).is_some());
    }

    #[test]
    fn kernels_without_lowerdir_plus_mount_deep_stacks_by_the_numbers_of_descriptors() {
        if !rustix::process::geteuid().is_root() || in_user_namespace() {
            eprintln!("skipped: only root may enter a mount namespace in one thread of many");
            return;
        }
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let make = |name: String| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let lower: Vec<PathBuf> = (0..300).map(|n| make(format!("{n:064}"))).collect();
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| make(name.into()));
        std::fs::write(lower[299].join("base"), "from the base").unwrap();
        std::fs::write(lower[0].join("top"), "from the top").unwrap();
        let request = MountRequest {
            lower: &lower,
            upper: &upper,
            work: &work,
            merged: &merged,
            options: &[],
            layerbench: Path::new("/"),
        };
        // The namespace is this thread's own and goes with it, and so does the mount.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                crate::sys::namespace::enter_private(true).unwrap();
                let before = std::env::current_dir().unwrap();
                mount_by_line(&request, &[]).unwrap();
                assert_eq!(std::env::current_dir().unwrap(), before, "the working directory has changed");
                assert_eq!(std::fs::read_to_string(merged.join("base")).unwrap(), "from the base");
                assert_eq!(std::fs::read_to_string(merged.join("top")).unwrap(), "from the top");
                let mut mount = Mount::new(NAME, &merged, None);
                mount.inspect().unwrap();
                assert!(mount.options().contains("lowerdir=<300 layers>"), "{}", mount.options());
                mount.unmount().unwrap();
            });
            inside.join().unwrap();
        });
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
