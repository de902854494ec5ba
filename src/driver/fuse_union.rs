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
/// What a host without passthrough makes of every mount, as an option.
const NO_PASSTHROUGH_OPTION: &str = "passthrough=off";
/// What every mount is that does not ask for io_uring.
const NO_URING_OPTION: &str = "uring=off";

/// Whether requests are to come by io_uring, if the options say.
fn uring(options: &[String]) -> Option<bool> {
    UnionOptions::parse(options).ok().and_then(|options| options.uring)
}

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
        let wants = UnionOptions::parse(&variant.options).is_ok_and(|options| options.passthrough);
        let mut variant = variant.clone();
        if wants && !host.capabilities.fuse_passthrough.is_available() {
            variant.options.push(NO_PASSTHROUGH_OPTION.to_owned());
            variant.label.push_str(" (no passthrough)");
        }
        variant
    }

    fn availability_with(&self, options: &[String], host: &Host) -> Feature {
        match &host.capabilities.fuse_uring {
            Some(missing @ Feature::Missing { .. }) if uring(options) == Some(true) => missing.clone(),
            _ => self.availability(host),
        }
    }

    fn answers_beside_callers(&self, options: &[String]) -> bool {
        uring(options) == Some(true)
    }

    fn counters_option(&self, file: &Path) -> Option<String> {
        // Options are text; a store whose path is none goes uncounted.
        let file = escape(file.as_os_str());
        file.to_str().map(|file| format!("counters={file}"))
    }

    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError> {
        // What the kernel of one host offers, and that of another does not, is only used where a workload asks for it.
        let mut options = request.options.to_vec();
        if uring(&options).is_none() {
            options.push(NO_URING_OPTION.to_owned());
        }
        let command = foreground_command(NAME, &MountRequest { options: &options, ..*request });
        let mount = daemon::serve(NAME, command, request.merged)?;
        // Said before the mount answered, where it is said at all.
        let said = mount.daemon_said();
        let wishes = [(NO_PASSTHROUGH, "passthrough", NO_PASSTHROUGH_OPTION), (NO_URING, "io_uring", NO_URING_OPTION)];
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
    fn io_uring_is_skipped_where_it_is_asked_for_and_not_offered() {
        let mut host = host::fingerprint();
        host.capabilities.fuse = Feature::available("/dev/fuse");
        let options = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (offered, words, same) in [
            (Feature::missing("off", "switch it on"), &["uring=on"][..], false),
            (Feature::missing("off", "switch it on"), &["uring=off"], true),
            (Feature::missing("off", "switch it on"), &[], true),
            (Feature::available("on"), &["uring=on"], true),
        ] {
            host.capabilities.fuse_uring = Some(offered.clone());
            let found = FuseUnion.availability_with(&options(words), &host);
            assert_eq!(found, if same { FuseUnion.availability(&host) } else { offered }, "{words:?}");
        }
        assert!(FuseUnion.answers_beside_callers(&options(&["uring=on"])));
        assert!(!FuseUnion.answers_beside_callers(&[]));
    }
}
