//! bind: a bind mount. The control, and what a volume is: the file system below, and nothing between.

use super::availability::available_to_mount;
use super::mount::MAY_NOT_MOUNT;
use super::options::{self, OptionError};
use super::{Driver, Mount, MountError, MountRequest};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::workload::DEPTH_MAX;

const NAME: &str = "bind";

/// The driver.
pub(super) struct Bind;

impl Driver for Bind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a bind mount of a plain folder: the control, and what a volume is"
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Flat
    }

    /// It has no layers, so that any depth is the same to it.
    fn depth_max(&self) -> u32 {
        DEPTH_MAX
    }

    fn check_options(&self, given: &[String]) -> Result<(), OptionError> {
        options::check(NAME, &[], given)
    }

    fn availability(&self, host: &Host) -> Feature {
        available_to_mount(host, "part of every kernel")
    }

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        if !request.lower.is_empty() {
            return Err(MountError::Request {
                driver: NAME,
                reason: "a bind mount has no lower layers: give the folder to mount as upper".into(),
            });
        }
        rustix::mount::mount_bind(request.upper, request.merged).map_err(|errno| {
            let advice = if errno == rustix::io::Errno::PERM { format!("; {MAY_NOT_MOUNT}") } else { String::new() };
            MountError::at(NAME, "bind-mount", request.upper)(errno).advise(&advice)
        })?;
        Ok(Mount::new(NAME, request.merged, None))
    }
}
