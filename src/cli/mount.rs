//! `layerbench mount`: mounts layers with a driver, for a person; and serves our FUSE union in the foreground, for the driver.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::driver::{self, MountRequest};
use crate::record::Feature;
use crate::union::{self, UnionConfig, UnionOptions};
use crate::{host, sys};

#[derive(Debug, clap::Args)]
pub(super) struct MountArgs {
    /// Which driver
    #[arg(long, value_name = "NAME", default_value = "fuse-union")]
    driver: String,
    /// Read-only layers, the top one first, separated by colons; may be given several times. A colon in a path is written \:
    #[arg(long, value_name = "A:B:C")]
    lower: Vec<OsString>,
    /// The writable layer; with bind the folder that is shown
    #[arg(long, value_name = "DIR")]
    upper: PathBuf,
    /// An empty folder in upper's file system; made beside upper when it is not given
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// An option of the driver, such as volatile or passthrough=off; may be given several times
    #[arg(long, short, value_name = "OPTION")]
    option: Vec<String>,
    /// Serve in the foreground until unmounted (FUSE drivers)
    #[arg(long)]
    foreground: bool,
    /// Where to mount; `layerbench umount` takes it away
    mountpoint: PathBuf,
}

pub(super) fn run(args: MountArgs) -> anyhow::Result<()> {
    let driver = driver::by_name(&args.driver).map_err(super::bad_input)?;
    driver.check_options(&args.option).map_err(super::bad_input)?;
    let lower: Vec<PathBuf> = args.lower.iter().flat_map(|text| union::split_layers(text)).collect();
    // Such as a variable of a script that is empty: a stack without that layer would be another one.
    if let Some(text) = args.lower.iter().find(|text| union::lacks_a_layer(text)) {
        return Err(super::bad_input(format!(
            "--lower {text:?}: a layer has no name: write A:B:C, and no colon at an end"
        )));
    }
    for (what, folder) in lower
        .iter()
        .map(|path| ("--lower", path))
        .chain([("--upper", &args.upper), ("the mount point", &args.mountpoint)])
    {
        let meta =
            std::fs::metadata(folder).map_err(|e| super::bad_input(format!("{what} {}: {e}", folder.display())))?;
        if !meta.is_dir() {
            return Err(super::bad_input(format!("{what} {}: not a directory", folder.display())));
        }
    }
    if driver.layer_form() == crate::stack::LayerForm::Flat && !lower.is_empty() {
        return Err(super::bad_input(format!(
            "--lower: {} has no layers: give the folder to mount as --upper",
            args.driver
        )));
    }
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|e| super::bad_input(format!("{}: {e}", path.display())));
    let lower = lower.iter().map(|path| absolute(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let upper = absolute(&args.upper)?;
    let work = match &args.work {
        Some(work) => absolute(work)?,
        None => beside(&upper)?,
    };
    let merged = absolute(&args.mountpoint)?;
    if args.driver == "fuse-union" && args.foreground {
        let options = UnionOptions::parse(&args.option).map_err(super::bad_input)?;
        let config = UnionConfig { lower, upper: Some(upper), work: Some(work), options };
        return union::serve(config, &merged, leave_folder).map_err(super::of_union);
    }
    if let Feature::Missing { reason, remedy } = driver.availability_with(&args.option, &host::fingerprint()) {
        return Err(anyhow::anyhow!("{}: {reason}; to get it: {remedy}", args.driver));
    }
    if driver.layer_form() != crate::stack::LayerForm::Flat {
        std::fs::create_dir_all(&work).map_err(|e| anyhow::anyhow!("create work folder {}: {e}", work.display()))?;
    }
    let layerbench = std::env::current_exe()?;
    let request = MountRequest {
        lower: &lower,
        upper: &upper,
        work: &work,
        merged: &merged,
        options: &args.option,
        layerbench: &layerbench,
    };
    if args.foreground {
        leave_folder();
        return foreground(driver, &request);
    }
    if args.driver.starts_with("fuse") {
        return background(&args.driver, &request);
    }
    driver.mount(&request)?.keep();
    Ok(())
}

/// `<upper>.work`.
fn beside(upper: &Path) -> anyhow::Result<PathBuf> {
    let mut name = upper.file_name().map(OsStr::to_owned).ok_or_else(|| {
        super::bad_input(format!("--upper {}: give --work, it has no name of its own", upper.display()))
    })?;
    name.push(".work");
    Ok(upper.with_file_name(name))
}

/// Mounts and stays until the mount is gone. The daemon is a child that dies with this process.
fn foreground(driver: &dyn driver::Driver, request: &MountRequest) -> anyhow::Result<()> {
    let mount = driver.mount(request)?;
    let Some(pid) = mount.daemon_pid() else {
        mount.keep();
        return Err(super::bad_input(format!("--foreground: {} has no daemon to wait for", driver.name())));
    };
    sys::process::wait_for_exit(pid, None)?;
    mount.keep();
    Ok(())
}

/// Starts this program again with --foreground, detached from the terminal, and returns when its mount answers.
fn background(driver: &str, request: &MountRequest) -> anyhow::Result<()> {
    Ok(driver::start_detached(driver::foreground_command(driver, request), request.merged)?)
}

/// A daemon must not keep the folder busy that it was started in. Its relative paths have been opened by then.
pub(super) fn leave_folder() {
    if let Err(error) = std::env::set_current_dir("/") {
        eprintln!("leave the folder of the start: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_layers_has_a_name_for_each() {
        for good in ["a", "a:b", r"a\:", r"\:", r"a\::b", r"a\\:b"] {
            assert!(!union::lacks_a_layer(OsStr::new(good)), "{good}");
        }
        for bad in ["", ":", "a:", ":a", "a::b", r"a\\:", r"a\:::b"] {
            assert!(union::lacks_a_layer(OsStr::new(bad)), "{bad}");
        }
    }
}
