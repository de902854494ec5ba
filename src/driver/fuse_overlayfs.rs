//! fuse-overlayfs: the external program, when it is on PATH.

use std::path::Path;
use std::process::{Command, Stdio};

use super::availability::available_to_mount;
use super::options::{self, Known, OptionError, Value};
use super::{Driver, Mount, MountError, MountRequest, daemon};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;

const NAME: &str = "fuse-overlayfs";

/// fuse-overlayfs(1).
const OPTIONS: Known = &[
    ("volatile", Value::None),
    ("noacl", Value::None),
    ("squash_to_root", Value::None),
    ("static_nlink", Value::None),
    ("xattr_permissions", Value::OneOf(&["1", "2"])),
    ("fast_ino", Value::OneOf(&["0", "1"])),
    ("timeout", Value::Any),
    ("threaded", Value::OneOf(&["0", "1"])),
    ("writeback", Value::OneOf(&["0", "1"])),
];

/// One command-line argument may have 32 pages (MAX_ARG_STRLEN, <linux/binfmts.h>).
const ARGUMENT_MAX: usize = 32 * 4096 - 1;

/// The driver.
pub(super) struct FuseOverlayfs;

impl Driver for FuseOverlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "the external FUSE program, when it is on PATH"
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Overlay
    }

    /// It has no limit of its own; the paths must fit one argument, which is checked when it is mounted.
    fn depth_max(&self) -> u32 {
        crate::workload::DEPTH_MAX
    }

    fn check_options(&self, given: &[String]) -> Result<(), OptionError> {
        options::check(NAME, OPTIONS, given)
    }

    fn availability(&self, host: &Host) -> Feature {
        if !host.capabilities.fuse.is_available() {
            return host.capabilities.fuse.clone();
        }
        match version() {
            Ok(version) => available_to_mount(host, &version),
            Err(reason) => Feature::missing(
                reason,
                "apt install fuse-overlayfs (1.10 in Debian 12), or cargo install fuse-overlayfs (2.0)",
            ),
        }
    }

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let mut lower = String::new();
        for folder in request.lower {
            let text =
                folder.to_str().filter(|text| !text.contains([':', ',', '\\'])).ok_or_else(|| MountError::Request {
                    driver: NAME,
                    reason: format!(
                        "{}: a path with ':', ',', '\\' or no UTF-8 cannot be handed to it",
                        folder.display()
                    ),
                })?;
            if !lower.is_empty() {
                lower.push(':');
            }
            lower.push_str(text);
        }
        let show = |path: &Path| path.display().to_string();
        let mut line = format!("lowerdir={lower},upperdir={},workdir={}", show(request.upper), show(request.work));
        for option in request.options {
            line.push(',');
            line.push_str(option);
        }
        if line.len() > ARGUMENT_MAX {
            return Err(MountError::Request {
                driver: NAME,
                reason: format!(
                    "{} layers need an argument of {} bytes, and the kernel takes {ARGUMENT_MAX}: use a shorter path or a smaller depth",
                    request.lower.len(),
                    line.len()
                ),
            });
        }
        let mut command = Command::new("fuse-overlayfs");
        command.arg("-f").arg("-o").arg(line).arg(request.merged);
        daemon::serve(NAME, command, request.merged)
    }
}

/// What `fuse-overlayfs --version` says of itself.
fn version() -> Result<String, String> {
    let output =
        Command::new("fuse-overlayfs").arg("--version").stdin(Stdio::null()).output().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "fuse-overlayfs is not on PATH".to_owned(),
            _ => format!("start fuse-overlayfs: {e}"),
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("fuse-overlayfs")).unwrap_or("fuse-overlayfs of unknown version");
    Ok(line.trim().replace(": version", ""))
}
