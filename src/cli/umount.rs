//! `layerbench umount`: unmounts what `mount` and `disk` mounted, and waits for its daemon.

use std::path::PathBuf;

use crate::driver;

#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// Where it is mounted
    mountpoint: PathBuf,
}

pub(super) fn run(args: UmountArgs) -> anyhow::Result<()> {
    let place = args.mountpoint.display();
    let found = driver::find_mount(&args.mountpoint).map_err(|e| super::bad_input(format!("{place}: {e}")))?;
    let entry = found.ok_or_else(|| super::bad_input(format!("{place}: nothing is mounted there")))?;
    if super::disk::take_away(&entry.mountpoint, &entry.source)? {
        return Ok(());
    }
    Ok(driver::unmount(&entry)?)
}
