//! fuse-union: our own union, served by this program in a process of its own.

use std::process::Command;

use super::availability::available_to_mount;
use super::options::OptionError;
use super::{Driver, Mount, MountError, MountRequest, daemon};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::union::{UnionOptions, escape};
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
        if !host.capabilities.fuse.is_available() {
            return host.capabilities.fuse.clone();
        }
        let passthrough = match &host.capabilities.fuse_passthrough {
            Feature::Available { .. } => "with passthrough".to_owned(),
            Feature::Missing { reason, .. } => format!("without passthrough: {reason}"),
        };
        available_to_mount(host, &format!("layerbench {}, {passthrough}", env!("CARGO_PKG_VERSION")))
    }

    fn mount(&self, request: &MountRequest) -> Result<Mount, MountError> {
        daemon::serve(NAME, foreground_command(NAME, request), request.merged)
    }
}

/// The command line that serves a request in the foreground: `layerbench mount --foreground`.
pub fn foreground_command(driver: &str, request: &MountRequest) -> Command {
    let mut command = Command::new(request.layerbench);
    command.args(["mount", "--driver", driver, "--foreground"]);
    for layer in request.lower {
        command.arg("--lower").arg(escape(layer.as_os_str()));
    }
    command.arg("--upper").arg(request.upper).arg("--work").arg(request.work);
    for option in request.options {
        command.arg("--option").arg(option);
    }
    command.arg("--").arg(request.merged);
    command
}
