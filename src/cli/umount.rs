//! `layerbench umount`: unmounts what `mount` mounted, and waits for its daemon.

use std::path::PathBuf;

use crate::driver;

#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// Where it is mounted
    mountpoint: PathBuf,
}

pub(super) fn run(args: UmountArgs) -> anyhow::Result<()> {
    let merged = std::fs::canonicalize(&args.mountpoint)
        .map_err(|e| super::bad_input(format!("{}: {e}", args.mountpoint.display())))?;
    let mounted = crate::host::mount_table()?.into_iter().any(|entry| entry.mountpoint == merged);
    if !mounted {
        return Err(super::bad_input(format!("{}: nothing is mounted there", args.mountpoint.display())));
    }
    driver::unmount(&merged)?;
    Ok(())
}
