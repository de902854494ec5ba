//! aufs: mounted as Docker's aufs driver does, branches of further pages appended by remount.
//!
//! The option line is Docker's (daemon/graphdriver/aufs/aufs.go, `aufsMount`); branch syntax is that of aufs(5).

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::availability::{available_to_mount, has_file_system};
use super::mount::SOURCE;
use super::options::{self, OptionError};
use super::{Driver, Mount, MountError, MountRequest};
use crate::record::{Feature, Host, Privileges};
use crate::stack::LayerForm;

const NAME: &str = "aufs";
/// Docker's: what mount(2) takes is a page, less what the kernel wants for itself.
const PAGE: usize = 4096;
/// AUFS_BRANCH_MAX of a build with the default CONFIG_AUFS_BRANCH_MAX_127 (include/uapi/linux/aufs_type.h); one more is ENOSPC.
const BRANCHES_MAX: u32 = 127;
/// Most branches and options in one mount string: a kernel 6.1 with aufs took 84, and crashed at one more.
const ENTRIES_MAX: usize = 60;
/// Where aufs says which branches a mount has (aufs(5)); the mount table has the mount's `si` and nothing more.
const SYSFS: &str = "/sys/fs/aufs";
const XINO: &str = "xino=/dev/shm/aufs.xino";

/// The driver.
pub(super) struct Aufs;

impl Driver for Aufs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the kernel's aufs, mounted as Docker's storage driver does"
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Aufs
    }

    /// The writable branch is one of the 127.
    fn depth_max(&self) -> u32 {
        BRANCHES_MAX - 1
    }

    fn check_options(&self, given: &[String]) -> Result<(), OptionError> {
        options::check(NAME, &[], given)
    }

    fn availability(&self, host: &Host) -> Feature {
        if !has_file_system("aufs") {
            return Feature::missing(
                format!("Linux {} has no aufs (/proc/filesystems does not list it)", host.kernel),
                "aufs was never part of Linux. Try modprobe aufs; Ubuntu's kernels had it up to 20.10 (20.04's own is 5.4), elsewhere build \
                 one with the patches of github.com/sfjro/aufs-standalone",
            );
        }
        // A parameter of the module (its module.c), off by default.
        let in_namespaces = std::fs::read_to_string("/sys/module/aufs/parameters/allow_userns");
        if host.privileges == Privileges::Root || in_namespaces.is_ok_and(|text| text.trim() == "Y") {
            return available_to_mount(host, &format!("aufs of Linux {}", host.kernel));
        }
        Feature::missing("aufs is not allowed in user namespaces", "run as root, or load it with allow_userns=1")
    }

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let lines = option_lines(request.upper, request.lower, PAGE)
            .map_err(|reason| MountError::Request { driver: NAME, reason })?;
        let mut lines = lines.iter();
        if let Some(first) = lines.next() {
            rustix::mount::mount(
                SOURCE,
                request.merged,
                "aufs",
                rustix::mount::MountFlags::empty(),
                Some(first.as_c_str() as &CStr),
            )
            .map_err(|errno| {
                missing(request).unwrap_or_else(|| MountError::at(NAME, "mount aufs at", request.merged)(errno))
            })?;
        }
        // From here on the guard unmounts, also when a branch cannot be appended.
        let mount = Mount::new(NAME, request.merged, None);
        for line in lines {
            rustix::mount::mount_remount(request.merged, rustix::mount::MountFlags::empty(), line.as_c_str())
                .map_err(MountError::at(NAME, "append branches to", request.merged))?;
        }
        Ok(mount)
    }

    fn inspect(&self, request: &MountRequest, mount: &mut Mount) -> Result<(), MountError> {
        mount.inspect()?;
        // A branch that is left out would be a faster union of fewer layers.
        let folder = Path::new(SYSFS);
        if let Some(id) = si(mount.options()).map(str::to_owned).filter(|_| folder.is_dir()) {
            let folder = folder.join(format!("si_{id}"));
            let found = branches(&folder).map_err(MountError::at(NAME, "list the branches in", &folder))?;
            let wanted = request.lower.len() + 1;
            if found != wanted {
                return Err(MountError::Request {
                    driver: NAME,
                    reason: format!("{} has {found} branches after the mount, not {wanted}", request.merged.display()),
                });
            }
            // The number is another in each mount and says nothing later.
            mount.replace_option(&format!("si={id}"), &format!("branches={found}"));
        }
        Ok(())
    }
}

/// The branch that is not there, where that is what keeps it from being mounted: aufs says EINVAL, and the rest to the kernel's log.
fn missing(request: &MountRequest) -> Option<MountError> {
    let branches = std::iter::once(request.upper).chain(request.lower.iter().map(std::path::PathBuf::as_path));
    branches
        .filter_map(|branch| Some((branch, std::fs::metadata(branch).err()?)))
        .map(|(branch, errno)| MountError::at(NAME, "find the branch", branch)(errno))
        .next()
}

/// The id of a mount in its options.
fn si(options: &str) -> Option<&str> {
    let id = options.split([' ', ',']).find_map(|word| word.strip_prefix("si="))?;
    id.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(id)
}

/// Number of branches of a mount, by its folder in sysfs: `br0`, `br1`, .. (`brid0` and others are about them).
fn branches(folder: &Path) -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("br"));
        count += usize::from(number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit())));
    }
    Ok(count)
}

/// The options of the mount, then of each remount: as many branches as fit a page, and [`ENTRIES_MAX`], go into the first, the others are
/// appended one page after the other. An error when a path cannot be written as a branch.
fn option_lines(upper: &Path, lower: &[std::path::PathBuf], page: usize) -> Result<Vec<CString>, String> {
    let branch = |path: &Path, mode: &str| -> Result<Vec<u8>, String> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.iter().any(|byte| b":,=\0".contains(byte)) {
            return Err(format!("{}: aufs has no way to write ':', ',' or '=' in a branch's path", path.display()));
        }
        Ok([bytes, b"=", mode.as_bytes()].concat())
    };
    let tail = format!(",dio,{XINO},dirperm1");
    let mut first = [b"br:".as_slice(), &branch(upper, "rw")?].concat();
    let mut lines = Vec::new();
    let mut rest = lower.iter().map(|path| branch(path, "ro+wh")).peekable();
    // The writable branch and the options are entries as well.
    let mut entries = 1 + tail.matches(',').count();
    // One byte of the page is the terminating zero.
    while let Some(next) = rest.next_if(|b| {
        entries < ENTRIES_MAX && b.as_ref().map_or(true, |b| first.len() + 1 + b.len() + tail.len() < page)
    }) {
        first.push(b':');
        first.extend(next?);
        entries += 1;
    }
    first.extend(tail.as_bytes());
    lines.push(first);
    let mut line: Vec<u8> = Vec::new();
    let mut entries = 0;
    for next in rest {
        let piece = [b"append:".as_slice(), &next?].concat();
        if !line.is_empty() && (entries == ENTRIES_MAX || line.len() + 1 + piece.len() >= page) {
            lines.push(std::mem::take(&mut line));
            entries = 0;
        }
        entries += 1;
        if !line.is_empty() {
            line.push(b',');
        }
        line.extend(piece);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.into_iter().map(|line| CString::new(line).map_err(|e| e.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_short_stack_is_dockers_line() {
        let lines = option_lines(Path::new("/d/up"), &["/d/a".into(), "/d/b".into()], PAGE).unwrap();
        assert_eq!(lines, [c"br:/d/up=rw:/d/a=ro+wh:/d/b=ro+wh,dio,xino=/dev/shm/aufs.xino,dirperm1".to_owned()]);
    }

    #[test]
    fn a_deep_stack_is_appended_in_order_and_no_line_exceeds_a_page() {
        let lower: Vec<PathBuf> = (0..126).map(|i| format!("/var/lib/docker/aufs/diff/{i:064}").into()).collect();
        let lines = option_lines(Path::new("/up"), &lower, PAGE).unwrap();
        assert!(lines.len() > 2);
        let mut found = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            assert!(line.as_bytes_with_nul().len() <= PAGE, "line {index}");
            let text = line.to_str().unwrap();
            let branches = match index {
                0 => text
                    .split_once(":/up=rw:")
                    .map_or(text.split_once(":").unwrap().1, |x| x.1)
                    .split(",dio")
                    .next()
                    .unwrap(),
                _ => text,
            };
            assert!(index == 0 || text.starts_with("append:"));
            for word in branches.split([':', ',']).filter(|w| w.ends_with("=ro+wh")) {
                found.push(PathBuf::from(word.trim_end_matches("=ro+wh")));
            }
        }
        assert_eq!(found, lower);
    }

    #[test]
    fn no_line_has_more_entries_than_a_kernel_survived() {
        let lower: Vec<PathBuf> = (0..126).map(|i| format!("/l/{i}").into()).collect();
        let lines = option_lines(Path::new("/up"), &lower, PAGE).unwrap();
        let entries =
            |line: &CString| line.to_str().unwrap().split([':', ',']).filter(|w| *w != "br" && *w != "append").count();
        assert_eq!(lines.iter().map(entries).collect::<Vec<_>>(), [60, 60, 10]);
    }

    #[test]
    fn branches_are_counted_as_sysfs_names_them() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["br0", "br1", "br10", "brid0", "brid1", "br", "xi_path"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(branches(folder.path()).unwrap(), 3);
        assert_eq!(si("aufs rw,relatime,si=a1b2c3,dio"), Some("a1b2c3"));
        assert_eq!(si("aufs rw,si=../../etc"), None);
        assert_eq!(si("aufs rw"), None);
    }

    #[test]
    fn a_path_that_cannot_be_a_branch_is_refused() {
        assert!(option_lines(Path::new("/a:b"), &[], PAGE).unwrap_err().contains("/a:b"));
        assert!(option_lines(Path::new("/a"), &["/x,y".into()], PAGE).is_err());
    }
}
