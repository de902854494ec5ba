//! `layerbench completions` and `layerbench man`.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use crate::driver;
use crate::medium::DISKS;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
    /// Of which program
    #[arg(long, value_enum, default_value_t = Program::Layerbench)]
    of: Program,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Program {
    Layerbench,
    FuseUnion,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each subcommand into this folder; without it the main page is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn completions(args: CompletionsArgs, layerbench: clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    let mut command = match args.of {
        Program::Layerbench => with_names(layerbench),
        Program::FuseUnion => super::fuse_union::command(),
    };
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    super::print(&String::from_utf8_lossy(&text))
}

/// The command line with the names that an argument may have. For completion alone: what is no driver is refused by whoever knows drivers, with the
/// nearest name, and `run --driver` takes labels of workloads as well.
fn with_names(command: clap::Command) -> clap::Command {
    let drivers = || PossibleValuesParser::new(driver::all().iter().map(|driver| driver.name()));
    command
        .mut_subcommand("run", |run| run.mut_arg("driver", |arg| arg.value_parser(drivers())))
        .mut_subcommand("mount", |mount| mount.mut_arg("driver", |arg| arg.value_parser(drivers())))
        .mut_subcommand("guest", |guest| {
            guest.mut_subcommand("run", |run| run.mut_arg("driver", |arg| arg.value_parser(drivers())))
        })
        .mut_subcommand("disk", |disk| {
            disk.mut_arg("model", |arg| arg.value_parser(PossibleValuesParser::new(DISKS.map(|disk| disk.name))))
        })
}

pub(super) fn man(args: ManArgs, command: clap::Command) -> anyhow::Result<()> {
    match args.out {
        Some(folder) => {
            super::may_write("--out", &folder)?;
            std::fs::create_dir_all(&folder).map_err(|e| anyhow::anyhow!("create folder {}: {e}", folder.display()))?;
            clap_mangen::generate_to(command, &folder)
                .and_then(|()| clap_mangen::generate_to(super::fuse_union::command(), &folder))
                .and_then(|()| lay_out_all(&folder))
                .map_err(|e| anyhow::anyhow!("write manual pages into {}: {e}", folder.display()))
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            super::print(&laid_out(&String::from_utf8_lossy(&text)))
        }
    }
}

/// Lays out the pages of both programs in a folder.
fn lay_out_all(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".1") && ["layerbench", "fuse-union"].iter().any(|program| name.starts_with(program)) {
            let page = laid_out(&std::fs::read_to_string(entry.path())?);
            std::fs::write(entry.path(), page)?;
        }
    }
    Ok(())
}

/// A page whose columns, behind the arguments, stay as they are.
fn laid_out(text: &str) -> String {
    let mut page = String::new();
    let (mut behind, mut columns) = (false, false);
    for line in text.lines() {
        behind = if line.starts_with(".SH") { line == ".SH EXTRA" } else { behind };
        if columns != (behind && line.starts_with(' ')) {
            columns = !columns;
            page.push_str(if columns { ".nf\n" } else { ".fi\n" });
        }
        page.push_str(if line == ".SH EXTRA" { ".SH NOTES" } else { line });
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_and_prose_is_filled() {
        let page = ".SH OPTIONS\n  a\n.SH EXTRA\nWords:\n  one  first\n  two  second\nProse.\n.SH VERSION\nv1\n";
        let expected =
            ".SH OPTIONS\n  a\n.SH NOTES\nWords:\n.nf\n  one  first\n  two  second\n.fi\nProse.\n.SH VERSION\nv1\n";
        assert_eq!(laid_out(page), expected);
    }
}
