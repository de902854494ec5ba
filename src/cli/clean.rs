//! `layerbench clean`: removes what earlier runs left.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::runner::{self, Keep, Leftovers};

#[derive(Debug, clap::Args)]
pub(super) struct CleanArgs {
    /// Store to clean; may be given several times
    #[arg(long, value_name = "[LABEL=]DIR", default_value = super::STORE)]
    store: Vec<OsString>,
    /// Keep finished stacks, which the next run would reuse
    #[arg(long)]
    keep_stacks: bool,
    /// Remove imported images as well, which no run makes again
    #[arg(long, conflicts_with = "keep_stacks")]
    images: bool,
}

pub(super) fn run(args: CleanArgs) -> anyhow::Result<()> {
    let keep = match (args.keep_stacks, args.images) {
        (true, _) => Keep::Stacks,
        (false, true) => Keep::Nothing,
        (false, false) => Keep::Images,
    };
    for store in &args.store {
        let (_, path) = super::labelled_store(store)?;
        let found = runner::clean(&path, keep)?;
        super::print(&describe(&path, &found))?;
    }
    Ok(())
}

fn describe(path: &std::path::Path, found: &Leftovers) -> String {
    if *found == Leftovers::default() {
        return format!("{}: nothing was left\n", path.display());
    }
    let mut text = String::new();
    for (what, paths) in [
        ("unmounted", &found.mounts),
        ("freed loop device", &found.loop_devices),
        ("removed", &found.folders),
        ("removed stack", &found.stacks),
        ("kept imported image", &found.kept),
    ] {
        for path in paths {
            // Writing to a String cannot fail.
            writeln!(text, "{what} {}", path.display()).ok();
        }
    }
    text
}
