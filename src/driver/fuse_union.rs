//! fuse-union: our own union, served by this program in a process of its own.

use std::path::Path;
use std::process::Command;

use super::availability::available_to_mount;
use super::options::OptionError;
use super::{Deviation, Driver, Mount, MountError, MountRequest, daemon};
use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::union::{NO_PASSTHROUGH, NO_URING, UnionOptions, escape};
use crate::workload::{DEPTH_MAX, DriverVariant};

const NAME: &str = "fuse-union";
/// What a host without passthrough makes of every mount, as an option; and what one with or without io_uring does.
const NO_PASSTHROUGH_OPTION: &str = "passthrough=off";
const URING: [&str; 2] = ["uring=off", "uring=on"];

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

    fn variant_on(&self, host: &Host, variant: &DriverVariant) -> DriverVariant {
        let mut variant = variant.clone();
        let Ok(wants) = UnionOptions::parse(&variant.options) else { return variant };
        if wants.passthrough && !host.capabilities.fuse_passthrough.is_available() {
            variant.options.push(NO_PASSTHROUGH_OPTION.to_owned());
            variant.label.push_str(" (no passthrough)");
        }
        let [off, on] = URING;
        let asked = variant.options.iter().any(|option| option == on);
        let offered = host.capabilities.fuse_uring.as_ref().is_some_and(Feature::is_available);
        match (asked, offered) {
            (true, false) => {
                variant.options.push(off.to_owned());
                variant.label.push_str(" (no io_uring)");
            }
            // Used wherever it is offered, unless told not to.
            (false, true) if wants.uring => {
                variant.options.push(on.to_owned());
                variant.label.push_str(" (io_uring)");
            }
            _ => {}
        }
        variant
    }

    fn counters_option(&self, file: &Path) -> Option<String> {
        // Options are text; a store whose path is none goes uncounted.
        let file = escape(file.as_os_str());
        file.to_str().map(|file| format!("counters={file}"))
    }

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let mount = daemon::serve(NAME, foreground_command(NAME, request), request.merged)?;
        // Said before the mount answered, where it is said at all.
        let said = mount.daemon_said();
        let wishes = [(NO_PASSTHROUGH, "passthrough", NO_PASSTHROUGH_OPTION), (NO_URING, "io_uring", URING[0])];
        let refused = wishes.into_iter().find_map(|(words, what, without)| {
            let reason = said.lines().find_map(|line| line.strip_prefix(words))?;
            Some(Deviation {
                reason: format!("{what} was asked for and refused: {reason}"),
                remedy: format!("measure it as a variant of its own, with options = [{without:?}]"),
            })
        });
        Ok(match refused {
            Some(deviation) => mount.deviating(deviation),
            None => mount,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn a_host_without_passthrough_measures_another_variant() {
        let mut host = host::fingerprint();
        host.capabilities.fuse_uring = None;
        let variant = |options: &[&str]| DriverVariant {
            driver: NAME.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            label: NAME.into(),
            twin_of: None,
        };
        host.capabilities.fuse_passthrough = Feature::available("Linux 6.18");
        assert_eq!(FuseUnion.variant_on(&host, &variant(&[])), variant(&[]));
        host.capabilities.fuse_passthrough = Feature::missing("Linux before 6.9", "a newer kernel");
        let here = FuseUnion.variant_on(&host, &variant(&["threads=2"]));
        assert_eq!(here.options, ["threads=2", "passthrough=off"]);
        assert_eq!(here.label, "fuse-union (no passthrough)");
        assert_eq!(FuseUnion.variant_on(&host, &variant(&["passthrough=off"])), variant(&["passthrough=off"]));
    }

    #[test]
    fn what_comes_by_io_uring_is_another_variant() {
        let mut host = host::fingerprint();
        host.capabilities.fuse_passthrough = Feature::available("Linux 6.18");
        let with = |state: Feature, given: &[&str]| {
            host.capabilities.fuse_uring = Some(state);
            let options = given.iter().map(|option| (*option).to_owned()).collect();
            let variant = DriverVariant { driver: NAME.into(), options, label: "ours".into(), twin_of: None };
            let here = FuseUnion.variant_on(&host, &variant);
            (here.label, here.options.join(","))
        };
        let (there, missing) = (|| Feature::available("on"), || Feature::missing("off", "switch it on"));
        let both = |label: &str, options: &str| (label.to_owned(), options.to_owned());
        let mut with = with;
        assert_eq!(with(there(), &[]), both("ours (io_uring)", "uring=on"));
        assert_eq!(with(there(), &["uring=on"]), both("ours", "uring=on"));
        assert_eq!(with(there(), &["uring=off"]), both("ours", "uring=off"));
        assert_eq!(with(missing(), &[]), both("ours", ""));
        assert_eq!(with(missing(), &["uring=on"]), both("ours (no io_uring)", "uring=on,uring=off"));
    }
}
