//! `layerbench info`: what `docker info` says of a store, its layer graph, and which driver Docker would have chosen here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::stack::import::{SourceKind, SurveyedImage, SurveyedLayer, survey};
use crate::stack::{self, Image};
use crate::workload::count;

#[derive(Debug, clap::Args)]
pub(super) struct InfoArgs {
    /// Folder of Docker (/var/lib/docker), of Podman (/var/lib/containers/storage), or a store of layerbench
    #[arg(long, value_name = "DIR", default_value = super::STORE)]
    store: PathBuf,
    /// Docker's configuration; read only if it is there
    #[arg(long, value_name = "FILE", default_value = "/etc/docker/daemon.json")]
    daemon_json: PathBuf,
    /// What dockerd was started with
    #[arg(long, value_name = "NAME")]
    storage_driver: Option<String>,
    /// Print the layer graph alone, for Graphviz
    #[arg(long)]
    dot: bool,
}

/// Which drivers Docker tried, in this order (moby, daemon/graphdriver/driver_linux.go, `priority`).
const PRIORITIES: [(&str, &[&str]); 3] = [
    ("Docker 1.7 to 1.11", &["aufs", "btrfs", "zfs", "devicemapper", "overlay", "vfs"]),
    ("Docker 18.03 to 19.03", &["btrfs", "zfs", "overlay2", "aufs", "overlay", "devicemapper", "vfs"]),
    ("Docker 20.10", &["btrfs", "zfs", "overlay2", "fuse-overlayfs", "aufs", "overlay", "devicemapper", "vfs"]),
];

/// File systems as `docker info` names them (the same file, `FsNames`), by statfs's magic number.
const FILE_SYSTEMS: [(i64, &str); 12] = [
    (0x6175_6673, "aufs"),
    (0x9123_683e, "btrfs"),
    (0xef53, "extfs"),
    (0xf2f5_2010, "f2fs"),
    (0x3153_464a, "jfs"),
    (0x6969, "nfs"),
    (0x8584_58f6, "ramfs"),
    (0x5265_4973, "reiserfs"),
    (0x0102_1994, "tmpfs"),
    (0x5846_5342, "xfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x794c_7630, "overlayfs"),
];

pub(super) fn run(args: &InfoArgs) -> anyhow::Result<()> {
    if !args.store.is_dir() {
        return Err(super::bad_input(format!("{}: no such folder", args.store.display())));
    }
    let found = look(&args.store)?;
    if args.dot {
        return super::print(&dot(&found.images));
    }
    let backing = backing(&args.store)?;
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mut text = format!("Storage Driver: {}\n", found.driver);
    writeln!(text, " Root Dir: {}", found.root.display())?;
    writeln!(text, " Backing Filesystem: {backing}")?;
    if found.driver == "aufs" {
        let dirs = fs::read_dir(found.root.join("layers")).map(Iterator::count);
        writeln!(text, " Dirs: {}", dirs.unwrap_or(found.layers))?;
        writeln!(text, " Dirperm1 Supported: {}", dirperm1(&filesystems))?;
    }
    writeln!(text, " Read as: {}", found.kind)?;
    text.push('\n');
    text.push_str(&graph(&found.images));
    text.push('\n');
    let daemon_json = match fs::read_to_string(&args.daemon_json) {
        Ok(content) => Some(
            configured(&content)
                .map_err(|reason| super::bad_input(format!("{}: {reason}", args.daemon_json.display())))?,
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(super::bad_input(format!("{}: {e}", args.daemon_json.display()))),
    };
    let asked = Asked {
        flag: args.storage_driver.clone(),
        configured: daemon_json.flatten(),
        file: args.daemon_json.display().to_string(),
    };
    let here = Here {
        filesystems: &filesystems,
        backing: &backing,
        fuse_overlayfs: in_path("fuse-overlayfs"),
        prior: prior(&args.store),
    };
    for (era, priority) in PRIORITIES {
        writeln!(text, "{era} would use here: {}", choose(priority, &asked, &here))?;
    }
    super::print(&text)
}

/// What a folder holds.
struct Found {
    driver: String,
    root: PathBuf,
    kind: String,
    layers: usize,
    images: Vec<SurveyedImage>,
}

fn look(store: &Path) -> anyhow::Result<Found> {
    // A store of ours has the layout of aufs's, one for each stack.
    if store.join("stacks").is_dir() {
        let mut images = Vec::new();
        for folder in stack::list(store)? {
            let stack = match stack::LayerStack::open(&folder) {
                Ok(stack) => stack,
                Err(e) => {
                    eprintln!("left out: {e}");
                    continue;
                }
            };
            let key = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let size = |image: &Image, id: &str| image.layers.iter().find(|l| l.id == id).map(|l| l.bytes);
            let layers = stack.ids().into_iter().map(|id| SurveyedLayer {
                id: id.to_owned(),
                stated_bytes: stack.image().and_then(|image| size(image, id)),
            });
            let names = stack.image().map_or_else(|| vec![key], |image| image.names.clone());
            images.push(SurveyedImage { names, layers: layers.collect() });
        }
        let layers = images.iter().map(|image| image.layers.len()).sum();
        let root = store.join("stacks");
        return Ok(Found { driver: "aufs".into(), root, kind: "layerbench's own store".into(), layers, images });
    }
    let Some(survey) = survey(store).map_err(super::bad_input)? else {
        return Err(super::bad_input(format!(
            "{}: no store: neither layerbench's (stacks/), nor Docker's (aufs/, overlay2/, graph/, image/), nor Podman's (overlay-layers/)",
            store.display()
        )));
    };
    let (driver, folder) = match survey.kind {
        SourceKind::Overlay2 | SourceKind::DockerOverlay2 => ("overlay2", "overlay2"),
        SourceKind::ContainersStorage => ("overlay", "overlay"),
        _ => ("aufs", "aufs"),
    };
    let root = if store.join(folder).is_dir() { store.join(folder) } else { store.to_owned() };
    let ids: BTreeSet<&str> = survey.images.iter().flat_map(|image| &image.layers).map(|layer| &*layer.id).collect();
    let (layers, kind) = (ids.len(), survey.kind.as_str().to_owned());
    Ok(Found { driver: driver.into(), root, kind, layers, images: survey.images })
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// From each name to the top, and from there to the base.
fn graph(images: &[SurveyedImage]) -> String {
    let mut text = String::new();
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    // Writing to a String cannot fail.
    for image in images {
        let name = if image.names.is_empty() { "(no name)".to_owned() } else { image.names.join(" = ") };
        writeln!(text, "{name}  {}", count(image.layers.len(), "layer")).ok();
        for (index, layer) in image.layers.iter().enumerate() {
            let size = layer.stated_bytes.map(|bytes| format!("  {bytes} bytes")).unwrap_or_default();
            let base = if index + 1 == image.layers.len() { "  (base)" } else { "" };
            writeln!(text, "{:4}  {}{size}{base}", index + 1, layer.id).ok();
            if let Some(other) = known.get(&*layer.id) {
                writeln!(text, "      and on as {other}").ok();
                break;
            }
            known.insert(&layer.id, name.clone());
        }
    }
    if text.is_empty() { "no images\n".into() } else { text }
}

/// The same for Graphviz: an arrow from each layer to its parent, a box a name.
fn dot(images: &[SurveyedImage]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut lines = BTreeSet::new();
    for image in images {
        for (layer, below) in image.layers.iter().zip(image.layers.iter().skip(1)) {
            lines.insert(format!("  {} -> {};", quoted(&layer.id), quoted(&below.id)));
        }
        for layer in &image.layers {
            let size = layer.stated_bytes.map(|bytes| format!("\\n{bytes} B")).unwrap_or_default();
            lines.insert(format!("  {} [label=\"{}{size}\"];", quoted(&layer.id), short(&layer.id)));
        }
        if let Some(top) = image.layers.first() {
            for name in &image.names {
                lines.insert(format!("  {} [shape=box];", quoted(name)));
                lines.insert(format!("  {} -> {};", quoted(name), quoted(&top.id)));
            }
        }
    }
    let lines: Vec<String> = lines.into_iter().collect();
    format!("digraph layers {{\n  rankdir=TB;\n{}\n}}\n", lines.join("\n"))
}

/// The file system that a folder lies in, in Docker's words.
fn backing(folder: &Path) -> anyhow::Result<String> {
    let stat = rustix::fs::statfs(folder).map_err(|e| anyhow::anyhow!("statfs {}: {e}", folder.display()))?;
    let magic = stat.f_type & 0xffff_ffff;
    let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    Ok(known.map_or_else(|| format!("<unknown> (0x{magic:x})"), |(_, name)| (*name).to_owned()))
}

/// Docker finds out by mounting, which `info` does not do; a kernel without aufs supports no option of it.
fn dirperm1(filesystems: &str) -> &'static str {
    match has(filesystems, "aufs") {
        true => "unknown (aufs is in /proc/filesystems; Docker finds out by a mount, which is not made here)",
        false => "false (no aufs in /proc/filesystems)",
    }
}

fn has(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

fn in_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Drivers whose folders are in Docker's already.
fn prior(store: &Path) -> Vec<String> {
    let names = ["aufs", "btrfs", "zfs", "devicemapper", "overlay", "overlay2", "fuse-overlayfs"];
    let has_any = |name: &&&str| fs::read_dir(store.join(name)).is_ok_and(|mut entries| entries.next().is_some());
    // Podman's `overlay/` is not Docker's.
    if store.join("overlay-layers").is_dir() {
        return Vec::new();
    }
    names.iter().filter(has_any).map(|name| (*name).to_owned()).collect()
}

/// `storage-driver` of daemon.json.
fn configured(text: &str) -> Result<Option<String>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    match value.get("storage-driver") {
        None => Ok(None),
        Some(serde_json::Value::String(name)) => Ok(Some(name.clone())),
        Some(other) => Err(format!("storage-driver is {other}, not a name")),
    }
}

/// What somebody asked for.
struct Asked {
    flag: Option<String>,
    configured: Option<String>,
    file: String,
}

/// What there is.
struct Here<'a> {
    filesystems: &'a str,
    backing: &'a str,
    fuse_overlayfs: bool,
    prior: Vec<String>,
}

/// The driver and why, as Docker decides (driver.go, `New`): what was asked for, else what has been used before, else the first of the list
/// that works.
fn choose(priority: &[&str], asked: &Asked, here: &Here) -> String {
    let given = match (&asked.flag, &asked.configured) {
        (Some(flag), Some(file)) => {
            return format!(
                "nothing: dockerd does not start with storage-driver both as a flag ({flag}) and in {} ({file})",
                asked.file
            );
        }
        (Some(flag), None) => Some((flag, "asked for by --storage-driver".to_owned())),
        (None, Some(file)) => Some((file, format!("asked for by {}", asked.file))),
        (None, None) => None,
    };
    if let Some((name, why)) = given {
        if !priority.contains(&name.as_str()) {
            return format!("nothing: {name}, {why}, is no driver of it");
        }
        return match obstacle(name, here) {
            None => format!("{name}, {why}"),
            Some(reason) => format!("nothing: {name}, {why}, does not work here: {reason}"),
        };
    }
    let prior: Vec<&str> = here.prior.iter().map(String::as_str).filter(|name| priority.contains(name)).collect();
    match prior.as_slice() {
        [] => {}
        [name] => {
            return match obstacle(name, here) {
                None => format!("{name}: the store has been used with it"),
                Some(reason) => {
                    format!("nothing: the store has been used with {name}, which does not work here: {reason}")
                }
            };
        }
        several => {
            return format!(
                "nothing: the store has been used with several ({}), and one must be asked for",
                several.join(", ")
            );
        }
    }
    let mut passed = Vec::new();
    for name in priority {
        match obstacle(name, here) {
            None if passed.is_empty() => return format!("{name}: the first of its list"),
            None => return format!("{name}: the first of its list that works ({})", passed.join("; ")),
            Some(reason) => passed.push(format!("{name}: {reason}")),
        }
    }
    format!("nothing ({})", passed.join("; "))
}

/// Why a driver does not start here; `None` where nothing is known against it.
fn obstacle(name: &str, here: &Here) -> Option<String> {
    let unlisted = |name: &str| (!has(here.filesystems, name)).then(|| format!("no {name} in /proc/filesystems"));
    let not_on = |bad: &[&str]| bad.contains(&here.backing).then(|| format!("it does not work on {}", here.backing));
    match name {
        "aufs" => unlisted("aufs").or_else(|| not_on(&["aufs", "btrfs"])),
        "overlay" | "overlay2" => unlisted("overlay").or_else(|| not_on(&["aufs", "nfs", "overlayfs", "zfs"])),
        "btrfs" | "zfs" => (here.backing != name).then(|| format!("the store is on {}", here.backing)),
        "fuse-overlayfs" => (!here.fuse_overlayfs).then(|| "it is not installed".into()),
        "devicemapper" => (!Path::new("/dev/mapper/control").exists()).then(|| "no /dev/mapper/control".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "nodev\ttmpfs\n\text4\nnodev\toverlay\nnodev\taufs\n";

    fn by_era(filesystems: &str, backing: &str, prior: &[&str], flag: Option<&str>, file: Option<&str>) -> Vec<String> {
        let asked = Asked { flag: flag.map(str::to_owned), configured: file.map(str::to_owned), file: "d.json".into() };
        let prior = prior.iter().map(|name| (*name).to_owned()).collect();
        let here = Here { filesystems, backing, fuse_overlayfs: false, prior };
        PRIORITIES.iter().map(|(_, priority)| choose(priority, &asked, &here)).collect()
    }

    #[test]
    fn docker_of_the_seed_takes_aufs_where_it_is_and_later_ones_overlay2() {
        let chosen = by_era(BOTH, "extfs", &[], None, None);
        assert!(chosen[0].starts_with("aufs: the first"), "{chosen:?}");
        assert!(
            chosen[1].starts_with("overlay2: the first of its list that works (btrfs: the store is on extfs"),
            "{chosen:?}"
        );
        let without = by_era("nodev\toverlay\n", "btrfs", &[], None, None);
        assert!(without[0].starts_with("btrfs: the first of its list that works (aufs: no aufs in"), "{without:?}");
    }

    #[test]
    fn what_was_asked_for_or_used_before_comes_first() {
        assert!(by_era(BOTH, "extfs", &[], Some("aufs"), None)[2].starts_with("aufs, asked for by --storage-driver"));
        assert!(by_era(BOTH, "extfs", &[], None, Some("overlay2"))[0].contains("is no driver of it"));
        assert!(by_era(BOTH, "extfs", &[], None, Some("overlay2"))[1].contains("asked for by d.json"));
        assert!(by_era(BOTH, "extfs", &[], Some("aufs"), Some("aufs"))[0].contains("does not start"));
        assert!(by_era(BOTH, "extfs", &["aufs"], None, None)[2].contains("has been used with it"));
        assert!(by_era(BOTH, "extfs", &["aufs", "overlay2"], None, None)[1].contains("several"));
        assert!(by_era("", "extfs", &["aufs"], None, None)[1].contains("does not work here: no aufs"));
    }

    #[test]
    fn daemon_json_names_a_driver_or_none() {
        assert_eq!(configured("{}"), Ok(None));
        assert_eq!(configured(r#"{"storage-driver": "aufs"}"#), Ok(Some("aufs".into())));
        assert!(configured(r#"{"storage-driver": 1}"#).is_err() && configured("{").is_err());
    }
}
