//! `layerbench umount`: unmounts what `mount` and `disk` mounted, and waits for its daemon.

use std::path::PathBuf;

use crate::driver;

#[derive(Debug, clap::Args)]
pub(super) struct UmountArgs {
    /// Where it is mounted. A bind mount of a folder is taken away whoever made it: it bears no mark, and what it shows stays where it lies
    mountpoint: PathBuf,
}

pub(super) fn run(args: UmountArgs) -> anyhow::Result<()> {
    let place = args.mountpoint.display();
    let found = driver::find_mount(&args.mountpoint).map_err(|e| super::bad_input(format!("{place}: {e}")))?;
    let entry = found.ok_or_else(|| super::bad_input(format!("{place}: nothing is mounted there")))?;
    if super::disk::take_away(&entry.mountpoint, &entry.source)? {
        return Ok(());
    }
    let may_go = driver::is_ours(&entry) || (entry.mountpoint.is_dir() && driver::is_bind(&entry)?);
    if !may_go {
        return Err(super::bad_input(format!(
            "{place}: {} of {} is mounted there, and nothing shows that layerbench did it: umount(8) unmounts it, if that \
             is wanted",
            entry.fs_type, entry.source
        )));
    }
    Ok(driver::unmount(&entry)?)
}
