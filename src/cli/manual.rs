//! `layerbench completions` and `layerbench man`.

use std::path::PathBuf;

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
        Program::Layerbench => layerbench,
        Program::FuseUnion => super::fuse_union::command(),
    };
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    super::print(&String::from_utf8_lossy(&text))
}

pub(super) fn man(args: ManArgs, command: clap::Command) -> anyhow::Result<()> {
    match args.out {
        Some(folder) => {
            super::is_folder_or_free("--out", &folder)?;
            std::fs::create_dir_all(&folder).map_err(|e| anyhow::anyhow!("create folder {}: {e}", folder.display()))?;
            clap_mangen::generate_to(command, &folder)
                .and_then(|()| clap_mangen::generate_to(super::fuse_union::command(), &folder))
                .map_err(|e| anyhow::anyhow!("write manual pages into {}: {e}", folder.display()))
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            super::print(&String::from_utf8_lossy(&text))
        }
    }
}
