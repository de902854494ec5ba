//! `layerbench clean`: removes what earlier runs left.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

use crate::runner::{self, Keep, Leftovers};

#[derive(Debug, clap::Args)]
pub(super) struct CleanArgs {
    /// Store to clean; may be given several times [default: store]
    #[arg(long, value_name = "[LABEL=]DIR", value_hint = clap::ValueHint::DirPath)]
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
    if args.store.is_empty() && !Path::new(super::STORE).exists() {
        return super::print(&describe(Path::new(super::STORE), &Leftovers::default()));
    }
    let usual = [OsString::from(super::STORE)];
    for store in if args.store.is_empty() { &usual[..] } else { &args.store } {
        let (_, path) = super::labelled_store(store)?;
        if !path.is_dir() {
            return Err(super::bad_input(format!("--store {}: no such folder", path.display())));
        }
        let found = runner::clean(&path, keep).map_err(super::of_store)?;
        super::print(&describe(&path, &found))?;
    }
    Ok(())
}

fn describe(path: &Path, found: &Leftovers) -> String {
    if *found == Leftovers::default() {
        return format!("{}: nothing was left\n", path.display());
    }
    let mut text = String::new();
    for (what, paths) in [
        ("unmounted", &found.mounts),
        ("removed", &found.folders),
        ("removed stack", &found.stacks),
        ("kept imported image", &found.kept),
        ("left, since layerbench did not make it:", &found.foreign),
    ] {
        for path in paths {
            // Writing to a String cannot fail.
            writeln!(text, "{what} {}", path.display()).ok();
        }
    }
    text
}
