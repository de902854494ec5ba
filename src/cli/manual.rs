//! `layerbench completions` and `layerbench man`.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write a page for each subcommand into this folder; without it the main page is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn completions(args: CompletionsArgs, mut command: clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "layerbench", &mut text);
    super::print(&String::from_utf8_lossy(&text))
}

pub(super) fn man(args: ManArgs, command: clap::Command) -> anyhow::Result<()> {
    match args.out {
        Some(folder) => {
            std::fs::create_dir_all(&folder).map_err(|e| anyhow::anyhow!("create folder {}: {e}", folder.display()))?;
            clap_mangen::generate_to(command, &folder)
                .map_err(|e| anyhow::anyhow!("write manual pages into {}: {e}", folder.display()))
        }
        None => {
            let mut text = Vec::new();
            clap_mangen::Man::new(command).render(&mut text)?;
            super::print(&String::from_utf8_lossy(&text))
        }
    }
}
