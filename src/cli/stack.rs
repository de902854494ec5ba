//! `layerbench stack`: builds, imports, shows, verifies and removes stacks by hand.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::runner::{self, Store};
use crate::stack::{self, LayerStack, StackDefinition, StackError};
use crate::workload::{DEPTH_MAX, TargetLayer, count as counted, format_size, hint, parse_size};

/// How long a stack that was being made may take to be removed after a signal.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct StackArgs {
    #[command(subcommand)]
    command: StackCommand,
}

#[derive(Debug, clap::Subcommand)]
enum StackCommand {
    /// Build a stack as the studies use it, or reuse the one that is there
    Build(BuildArgs),
    /// Import an image: an OCI layout, an archive of docker save or podman save
    Import(super::image::ImportArgs),
    /// List the stacks of a store: images by name, built ones by key
    List(StoreArgs),
    /// Show the stacks of a store, or the layers of one
    Show(NameArgs),
    /// Check every file of a stack, or of all stacks, against its digest
    Verify(NameArgs),
    /// Remove a stack
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// Number of layers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEPTH_MAX)))]
    depth: u32,
    /// Number of target files
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    files: u32,
    /// Size of a target file, such as "4 KiB"
    #[arg(long, default_value = "4 KiB", value_parser = |text: &str| parse_size(text))]
    file_size: u64,
    /// Layer that holds the targets: top, middle, bottom, or a number from 1 (top)
    #[arg(long, default_value = "bottom", value_parser = target_layer)]
    target_layer: TargetLayer,
    /// Seed of the contents
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    /// Where the layers lie
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// Where the layers lie
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Folder of a stack, its name in the store, or an image's NAME:TAG; all stacks when none is given
    stack: Option<OsString>,
    /// Where the layers lie
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// Folder of a stack, its name in the store, or an image's NAME:TAG
    stack: OsString,
    /// Where the layers lie
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
}

fn target_layer(text: &str) -> Result<TargetLayer, String> {
    const WORDS: [&str; 3] = ["top", "middle", "bottom"];
    match text {
        "top" => Ok(TargetLayer::Top),
        "middle" => Ok(TargetLayer::Middle),
        "bottom" => Ok(TargetLayer::Bottom),
        _ => text
            .parse()
            .map(TargetLayer::Index)
            .map_err(|_| format!("not top, middle, bottom or a number{}", hint(text, &WORDS))),
    }
}

pub(super) fn run(args: StackArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        StackCommand::Build(args) => build(&args)?,
        StackCommand::Import(args) => super::image::import(&args)?,
        StackCommand::List(args) => return show(&NameArgs { stack: None, store: args.store }),
        StackCommand::Show(args) => return show(&args),
        StackCommand::Verify(args) => return verify(&args),
        StackCommand::Remove(args) => {
            if !args.store.is_dir() {
                return Err(super::bad_input(format!("--store {}: no such folder", args.store.display())));
            }
            let _lock = super::lock_store(&args.store)?;
            stack::remove(&find(&args.stack, &args.store)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn build(args: &BuildArgs) -> anyhow::Result<()> {
    let Some(target) = args.target_layer.resolve(args.depth) else {
        return Err(super::bad_input(format!(
            "a stack of depth {} has layers 1 (top) to {} (bottom), and so no such --target-layer",
            args.depth, args.depth
        )));
    };
    let definition = StackDefinition::study(args.depth, target, args.files, args.file_size);
    let stack = make_in(&args.store, |store| Ok(LayerStack::ensure(store.root(), &definition, args.seed, &|_| ())?))?;
    super::print(&format!("{}\n", stack.root().display()))
}

/// Makes a stack in a store. An error, or a signal, leaves nothing there that was not there before.
pub(super) fn make_in<T>(path: &Path, make: impl FnOnce(&Store) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let store = Arc::new(super::lock_store(path)?);
    let signalled = store.clone();
    runner::on_signal(move |status| {
        eprintln!("interrupted: {}", stop(&signalled));
        std::process::exit(status)
    })?;
    make(&store).inspect_err(|_| store.give_back())
}

/// Ends the making, and says what is there and what to do.
fn stop(store: &Store) -> String {
    let stopped = stack::stop(PATIENCE);
    if let Some(path) = stopped.finished.first() {
        return format!("{} was finished before, and stays", path.display());
    }
    if stopped.is_left {
        let root = store.root().display();
        return format!(
            "no stack was made, and what there is of it could not be removed in time: `layerbench clean --keep-stacks --store {root}` removes it"
        );
    }
    store.give_back();
    "no stack was made, and nothing of it is left; give the command again to make it".into()
}

/// A folder as given, or the folder of the stack of that name in the store. What it says of itself need not be readable.
fn find(name: &std::ffi::OsStr, store: &Path) -> anyhow::Result<PathBuf> {
    let places = [PathBuf::from(name), store.join("stacks").join(name)];
    let named = || name.to_str().map(|name| stack::named(store, name)).transpose();
    let place = match places.into_iter().find(|folder| stack::is_stack(folder)) {
        Some(folder) => Some(folder),
        None => named()?.flatten(),
    };
    match place {
        Some(folder) => Ok(folder),
        None => Err(super::bad_input(format!(
            "no stack {}: it is neither the folder of a stack nor a stack or an image in {} (see `layerbench stack list`)",
            name.to_string_lossy(),
            store.display()
        ))),
    }
}

/// The stack named, or all of the store. One that cannot be read is not in the way of the others.
fn selected(args: &NameArgs) -> anyhow::Result<Vec<Result<LayerStack, StackError>>> {
    match &args.stack {
        Some(name) => Ok(vec![Ok(LayerStack::open(&find(name, &args.store)?)?)]),
        None if !args.store.is_dir() => Err(super::bad_input(format!(
            "--store {}: no such store; `layerbench stack build` and `layerbench stack import` make one",
            args.store.display()
        ))),
        None => Ok(stack::list(&args.store)?.iter().map(|folder| LayerStack::open(folder)).collect()),
    }
}

/// A stack; or a line in its place, and an exit status that says so.
fn readable(stack: Result<LayerStack, StackError>, text: &mut String, code: &mut ExitCode) -> Option<LayerStack> {
    stack
        .inspect_err(|e| {
            // Writing to a String cannot fail.
            writeln!(text, "cannot be read: {e}").ok();
            *code = ExitCode::from(super::FAILED);
        })
        .ok()
}

/// `name  layers, files, bytes`.
fn line(stack: &LayerStack) -> String {
    let Some(manifest) = stack.manifest() else { return super::image::line(stack) };
    let files = manifest.layers.iter().flat_map(|layer| &layer.files);
    let (count, bytes) = files.fold((0u64, 0u64), |(n, b), file| (n + 1, b + file.size_bytes));
    let name = stack.root().file_name().unwrap_or_default().to_string_lossy();
    let (layers, files) = (counted(stack.depth(), "layer"), counted(count, "file"));
    format!("{name}  {layers:>11}  {files:>12}  {bytes:12} bytes  seed {}", manifest.seed)
}

fn show(args: &NameArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut text = String::new();
    for stack in selected(args)? {
        let Some(stack) = readable(stack, &mut text, &mut code) else { continue };
        writeln!(text, "{}", line(&stack))?;
        if args.stack.is_none() {
            continue;
        }
        text.push_str(&super::image::chain(&stack));
        if let Some(manifest) = stack.manifest() {
            for (index, (record, entries)) in manifest.layers.iter().zip(&manifest.definition.layers).enumerate() {
                let largest = record.files.iter().map(|file| file.size_bytes).max().unwrap_or(0);
                writeln!(
                    text,
                    "{:4}  {}  {} entries, {} of up to {}",
                    index + 1,
                    record.id,
                    entries.len(),
                    counted(record.files.len(), "file"),
                    format_size(largest)
                )?;
            }
        }
    }
    if text.is_empty() {
        text = format!("{}: no stacks\n", args.store.display());
    }
    super::print(&text)?;
    Ok(code)
}

fn verify(args: &NameArgs) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut text = String::new();
    for stack in selected(args)? {
        let Some(stack) = readable(stack, &mut text, &mut code) else { continue };
        let report = stack.verify()?;
        let whole = if stack.image().is_some() { "as imported" } else { "as built" };
        let state = if report.problems.is_empty() { whole } else { "CHANGED" };
        writeln!(text, "{}  {state}", line(&stack))?;
        for problem in &report.problems {
            writeln!(text, "  {problem}")?;
        }
        if !report.problems.is_empty() {
            code = ExitCode::from(super::FAILED);
        }
    }
    if text.is_empty() {
        text = format!("{}: no stacks\n", args.store.display());
    }
    super::print(&text)?;
    Ok(code)
}
