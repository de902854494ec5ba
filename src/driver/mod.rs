//! Drivers: ways to mount a stack. One file each; a new driver is one file and one line in [`all`].
//!
//! A driver knows nothing of probes. The runner, the benches and the command line use it.

mod aufs;
mod availability;
mod bind;
mod daemon;
mod fuse_overlayfs;
mod fuse_union;
mod mount;
mod options;
mod overlay2;
mod registry;

use std::path::{Path, PathBuf};

pub use daemon::start_detached;
pub use fuse_union::foreground_command;
pub use mount::{Deviation, Mount, MountError, find_mount, is_bind, is_ours, unmount};
pub use options::OptionError;
pub use overlay2::mount_overlay_by_line;
pub use registry::Registry;

use crate::record::{Feature, Host};
use crate::stack::LayerForm;
use crate::workload::{DriverVariant, hint};

/// What to mount, and where.
#[derive(Debug, Clone, Copy)]
pub struct MountRequest<'a> {
    /// Read-only layers, the top one first, in the driver's [`LayerForm`]; none for [`LayerForm::Flat`].
    pub lower: &'a [PathBuf],
    /// The writable layer; for [`LayerForm::Flat`] the folder to mount, with everything in it.
    pub upper: &'a Path,
    /// An empty folder in upper's file system.
    pub work: &'a Path,
    /// The mount point.
    pub merged: &'a Path,
    /// The driver's options.
    pub options: &'a [String],
    /// The program that serves our FUSE union.
    pub layerbench: &'a Path,
}

/// A way to mount a stack.
pub trait Driver: Sync {
    /// Its name in workloads and records.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn about(&self) -> &'static str;
    /// The form in which it needs layers.
    fn layer_form(&self) -> LayerForm;
    /// The most layers that it stacks.
    fn depth_max(&self) -> u32;
    /// Refuses options that it does not have, naming the nearest. Called before anything is mounted.
    fn check_options(&self, options: &[String]) -> Result<(), OptionError>;
    /// Its version, or why it is not here and how to get it.
    fn availability(&self, host: &Host) -> Feature;
    /// The same for a variant: options may need more than the driver does. The options have been checked.
    fn availability_with(&self, _options: &[String], host: &Host) -> Feature {
        self.availability(host)
    }
    /// Whether its daemon answers on the processor of whoever asks, so that it is not to be kept away from the probe's.
    fn answers_beside_callers(&self, _options: &[String]) -> bool {
        false
    }
    /// What this host makes of a variant. An option that the host refuses is spelled out, in the label too, so that nobody compares the
    /// numbers with those of a host that grants it.
    fn variant_on(&self, _host: &Host, variant: &DriverVariant) -> DriverVariant {
        variant.clone()
    }
    /// The option that has the driver write what it counted to a file when its mount ends, as JSON (docs/union.md); `None` where the driver
    /// counts nothing.
    fn counters_option(&self, _file: &Path) -> Option<String> {
        None
    }
    /// Mounts; returns when the mount answers. What the kernel made of it is not looked at.
    fn attach(&self, request: &MountRequest) -> Result<Mount, MountError>;
    /// Looks at what the kernel made of a mount. That is apart from mounting, which is timed: the mount table takes the longer to read the more
    /// mounts there are.
    fn inspect(&self, _: &MountRequest, mount: &mut Mount) -> Result<(), MountError> {
        mount.inspect()
    }
    /// Mounts, and looks at what the kernel made of it.
    fn mount(&self, request: &MountRequest) -> Result<Mount, MountError> {
        let mut mount = self.attach(request)?;
        self.inspect(request, &mut mount)?;
        Ok(mount)
    }
}

/// Every driver, the control first.
pub fn all() -> &'static [&'static dyn Driver] {
    &[&bind::Bind, &overlay2::Overlay2, &aufs::Aufs, &fuse_union::FuseUnion, &fuse_overlayfs::FuseOverlayfs]
}

/// A name that no driver has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown driver {name:?}{hint} (drivers: {known})")]
pub struct UnknownDriver {
    name: String,
    hint: String,
    known: String,
}

/// The driver of a name.
pub fn by_name(name: &str) -> Result<&'static dyn Driver, UnknownDriver> {
    all().iter().copied().find(|driver| driver.name() == name).ok_or_else(|| {
        let names: Vec<&str> = all().iter().map(|driver| driver.name()).collect();
        UnknownDriver { name: name.to_owned(), hint: hint(name, &names), known: names.join(", ") }
    })
}
