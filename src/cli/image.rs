//! `layerbench stack import`, and how an imported image is shown.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::stack::LayerStack;
use crate::stack::import::{ImportError, ImportRequest, Limits, import as import_image};
use crate::workload::{count, parse_size};

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// OCI image layout (a folder, or an archive of it), an archive of docker save or podman save, or the folder of Docker or Podman
    /// (/var/lib/docker, aufs or overlay2 in it, /var/lib/containers/storage). It is read only
    source: PathBuf,
    /// Which image, where the source has several: a name, or the start of an id
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// What the store calls it, instead of the source's own names
    #[arg(long, value_name = "NAME:TAG")]
    name: Option<String>,
    /// Which of the images of one name, such as linux/arm64; this machine's unless given
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<String>,
    /// Most bytes that it may unpack to, such as "64 GiB"
    #[arg(long, value_name = "SIZE", value_parser = |text: &str| parse_size(text))]
    max_bytes: Option<u64>,
    /// Most entries of all its layers
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries_max)]
    max_entries: u64,
    /// How many times its compressed length a layer of more than 64 MiB may have
    #[arg(long, value_name = "N", default_value_t = Limits::default().ratio_max, value_parser = clap::value_parser!(u64).range(1..))]
    max_ratio: u64,
    /// Import the rest where entries are refused, and note which were
    #[arg(long)]
    skip_refused: bool,
    /// Where the layers lie
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    // Before a store is made for it.
    if let Err(e) = args.source.symlink_metadata() {
        let advice =
            if args.source.as_os_str() == "-" { "; an image is read from a file: save it to one first" } else { "" };
        return Err(super::bad_input(format!("{}: {e}{advice}", args.source.display())));
    }
    let limits = Limits {
        bytes_max: args.max_bytes.unwrap_or(Limits::default().bytes_max),
        entries_max: args.max_entries,
        ratio_max: args.max_ratio,
    };
    let request = ImportRequest {
        source: &args.source,
        image: args.image.as_deref(),
        name: args.name.as_deref(),
        platform: args.platform.as_deref(),
        limits,
        skip_refused: args.skip_refused,
    };
    let imported = super::stack::make_in(&args.store, |store| {
        import_image(store.root(), &request).map_err(|e| match e {
            ImportError::Argument { .. }
            | ImportError::Unknown { .. }
            | ImportError::Choose { .. }
            | ImportError::NameTaken { .. } => super::bad_input(e),
            e => e.into(),
        })
    })?;
    if let Some(image) = imported.stack.image() {
        for sentence in &image.left_out {
            eprintln!("left out: {sentence}");
        }
        for sentence in &image.refused {
            eprintln!("refused: {sentence}");
        }
    }
    let already = if imported.is_new { "" } else { "  (it was there already)" };
    super::print(&format!("{}{already}\n{}\n", line(&imported.stack), imported.stack.root().display()))
}

/// One line about an imported image.
pub(super) fn line(stack: &LayerStack) -> String {
    let Some(image) = stack.image() else { return String::new() };
    let (files, bytes) = image.layers.iter().fold((0, 0), |(n, b), layer| (n + layer.files, b + layer.bytes));
    let key = stack.root().file_name().unwrap_or_default().to_string_lossy();
    let names = image.names.join(" = ");
    let (layers, files) = (count(image.layers.len(), "layer"), count(files, "file"));
    format!("{key}  {layers:>11}  {files:>12}  {bytes:12} bytes  {names}  ({})", image.source)
}

/// The layers of an imported image from the name to the base, as one walks from parent to parent; nothing of a stack that was built.
pub(super) fn chain(stack: &LayerStack) -> String {
    const MADE_BY_MAX: usize = 100;
    let Some(image) = stack.image() else { return String::new() };
    let mut text = String::new();
    // Writing to a String cannot fail.
    for name in &image.names {
        let top = image.layers.first().map_or("", |layer| layer.id.as_str());
        writeln!(text, "{name} -> {top}").ok();
    }
    for (index, layer) in image.layers.iter().enumerate() {
        let parent = match image.layers.get(index + 1) {
            Some(below) => format!("parent {}", below.id.get(..12).unwrap_or(&below.id)),
            None => "base: no parent".to_owned(),
        };
        write!(
            text,
            "{:4}  {}  {:>12} bytes  {:>12}  {parent}",
            index + 1,
            layer.id,
            layer.bytes,
            count(layer.files, "file")
        )
        .ok();
        if let Some(stated) = layer.stated_bytes.filter(|stated| *stated != layer.bytes) {
            write!(text, "  (layersize {stated})").ok();
        }
        if let Some(made_by) = &layer.created_by {
            let line = made_by.split_whitespace().collect::<Vec<_>>().join(" ");
            let line: String = line.chars().filter(|c| !c.is_control()).take(MADE_BY_MAX).collect();
            write!(text, "  {line}").ok();
        }
        text.push('\n');
    }
    for (what, sentences) in [("left out", &image.left_out), ("refused", &image.refused)] {
        for sentence in sentences {
            writeln!(text, "{what}: {sentence}").ok();
        }
    }
    text
}
