//! fuse-union: our own union, served by this program in a process of its own.

use std::process::Command;

use super::options::OptionError;
use super::{Driver, Mount, MountError, MountRequest, daemon};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::union::UnionOptions;
use crate::workload::DEPTH_MAX;

const NAME: &str = "fuse-union";

/// The driver.
pub(super) struct FuseUnion;

impl Driver for FuseUnion {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "our own union on FUSE: aufs semantics, look-ups that do not slow down with depth"
    }

    fn layer_form(&self) -> LayerForm {
        LayerForm::Aufs
    }

    fn depth_max(&self) -> u32 {
        DEPTH_MAX
    }

    fn check_options(&self, given: &[String]) -> Result<(), OptionError> {
        UnionOptions::parse(given).map(drop).map_err(|e| OptionError(format!("{NAME}: {e}")))
    }

    fn availability(&self, host: &Host) -> Feature {
        match &host.capabilities.fuse {
            Feature::Missing { reason, remedy } => Feature::missing(reason.clone(), remedy.clone()),
            Feature::Available { .. } => {
                let passthrough = match &host.capabilities.fuse_passthrough {
                    Feature::Available { .. } => "with passthrough".to_owned(),
                    Feature::Missing { reason, .. } => format!("without passthrough: {reason}"),
                };
                super::bind::available_to_mount(
                    host,
                    &format!("layerbench {}, {passthrough}", env!("CARGO_PKG_VERSION")),
                )
            }
        }
    }

    fn mount(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let mut command = Command::new(request.layerbench);
        command.args(["mount", "--driver", NAME, "--foreground"]);
        for layer in request.lower {
            command.arg("--lower").arg(layer);
        }
        command.arg("--upper").arg(request.upper).arg("--work").arg(request.work);
        for option in request.options {
            command.arg("--option").arg(option);
        }
        command.arg(request.merged);
        daemon::serve(NAME, command, request.merged)
    }
}
