//! The stores of Docker and Podman: which images they have, and in which folders their layers lie.
//!
//! Docker before 1.10: `repositories-aufs`, `graph/<id>/{json,layersize}`, `aufs/{diff,layers,mnt}/<id>`. Docker since: `image/<driver>/` with
//! `repositories.json`, `imagedb/content/sha256/<digits>` and `layerdb/sha256/<chain id>/{cache-id,parent,size}`, which lead to
//! `<driver>/<cache-id>` (moby, image/store.go and layer/filestore.go). Podman: `overlay-images/images.json`, `overlay-layers/layers.json`,
//! `overlay/<id>/diff` (containers/storage, store.go). Without names, what is not below anything else is taken for the top of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::decode::sha256_text;
use super::error::{ImportError, wrong};
use super::found::{Found, Layer, LayerContent, TreeForm};
use crate::stack::image::is_id;
use crate::stack::{at, folder};
use crate::workload::DEPTH_MAX;

/// Longest file of a store's own that is read.
const FILE_MAX: u64 = 64 << 20;

fn named(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path) -> Result<String, ImportError> {
    let meta = fs::metadata(path).map_err(at("find", path))?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return Err(wrong(named(path), "not a file of this store"));
    }
    Ok(fs::read_to_string(path).map_err(at("read", path))?)
}

/// A file that need not be there.
fn read_if_there(path: &Path) -> Result<Option<String>, ImportError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => read(path).map(Some),
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ImportError> {
    serde_json::from_str(&read(path)?).map_err(|e| wrong(named(path), e.to_string()))
}

/// A layer's id, which becomes a part of a path.
fn id(text: &str, what: &Path) -> Result<String, ImportError> {
    let text = text.trim();
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if is_id(digits) {
        Ok(digits.to_owned())
    } else {
        Err(wrong(named(what), format!("{digits:?} is not the id of a layer")))
    }
}

/// `{"Repositories":{"redis":{"latest":"<id>"}}}`, in newer ones `"redis:latest"` within.
#[derive(Debug, Deserialize)]
struct Repositories {
    #[serde(rename = "Repositories")]
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

impl Repositories {
    /// Names by the id that they mean. Digests (`redis@sha256:..`) are no names.
    fn by_id(self, what: &Path) -> Result<BTreeMap<String, Vec<String>>, ImportError> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (repository, tags) in self.repositories {
            for (tag, image) in tags.into_iter().filter(|(tag, _)| !tag.contains('@')) {
                let name = if tag.contains(':') { tag } else { format!("{repository}:{tag}") };
                all.entry(id(&image, what)?).or_default().push(name);
            }
        }
        Ok(all)
    }
}

/// `graph/<id>/json`, as far as it is of use.
#[derive(Debug, Deserialize)]
struct GraphLayer {
    id: String,
    parent: Option<String>,
    created: Option<String>,
    container_config: Option<ContainerConfig>,
}

#[derive(Debug, Deserialize)]
struct ContainerConfig {
    #[serde(rename = "Cmd")]
    command: Option<Vec<String>>,
}

/// Whether a folder is Docker's before 1.10.
pub(super) fn is_graph(root: &Path) -> bool {
    root.join("repositories-aufs").is_file() && root.join("graph").is_dir()
}

/// The images of the old store: from a name to the top, then from parent to parent down to the base.
pub(super) fn graph(root: &Path) -> Result<Vec<Found>, ImportError> {
    let place = root.join("repositories-aufs");
    let repositories: Repositories = json(&place)?;
    let mut found = Vec::new();
    for (top, names) in repositories.by_id(&place)? {
        let mut layers = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = Some(top);
        while let Some(id_here) = next {
            let place = root.join("graph").join(&id_here).join("json");
            let layer: GraphLayer = json(&place)?;
            if layer.id != id_here {
                return Err(wrong(named(&place), format!("it is about {:?}", layer.id)));
            }
            if !seen.insert(id_here.clone()) || seen.len() > DEPTH_MAX as usize {
                return Err(wrong(named(&place), "its parents have no end"));
            }
            let size = root.join("graph").join(&id_here).join("layersize");
            let stated = read_if_there(&size)?;
            let command = layer.container_config.and_then(|config| config.command);
            let content = LayerContent::Tree(root.join("aufs/diff").join(&id_here), TreeForm::Aufs);
            layers.push(Layer {
                id: Some(id_here),
                stated_bytes: stated.and_then(|text| text.trim().parse().ok()),
                created: layer.created,
                created_by: command.map(|words| words.join(" ")),
                ..Layer::new(content)
            });
            next = layer.parent.filter(|parent| !parent.is_empty()).map(|parent| id(&parent, &place)).transpose()?;
        }
        check_parents(root, &layers)?;
        layers.reverse();
        found.push(Found { names, config_digest: None, platform: None, layers });
    }
    Ok(found)
}

/// The two accounts of the old store, `graph` and `aufs/layers`, must agree.
fn check_parents(root: &Path, top_first: &[Layer]) -> Result<(), ImportError> {
    for (index, layer) in top_first.iter().enumerate() {
        let Some(id) = &layer.id else { continue };
        let place = root.join("aufs/layers").join(id);
        let Some(text) = read_if_there(&place)? else { continue };
        let below = top_first.iter().skip(index + 1).filter_map(|layer| layer.id.as_deref());
        if !text.lines().filter(|line| !line.is_empty()).eq(below) {
            return Err(wrong(named(&place), "it does not list the parents that graph/ has"));
        }
    }
    Ok(())
}

/// The driver of a store of Docker since 1.10 that can be imported.
pub(super) fn docker_driver(root: &Path) -> Option<&'static str> {
    ["overlay2", "aufs"].into_iter().find(|driver| root.join("image").join(driver).join("repositories.json").is_file())
}

/// The images of Docker's store since 1.10.
pub(super) fn docker(root: &Path, driver: &str) -> Result<Vec<Found>, ImportError> {
    let database = root.join("image").join(driver);
    let place = database.join("repositories.json");
    let repositories: Repositories = json(&place)?;
    let mut names = repositories.by_id(&place)?;
    let contents = database.join("imagedb/content/sha256");
    let mut found = Vec::new();
    for path in folder::children(&contents).map_err(at("list", &contents))? {
        let image = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = read(&path)?;
        let digest = sha256_text(Sha256::digest(&text));
        if digest.strip_prefix("sha256:") != Some(&image) {
            return Err(ImportError::Digest { what: named(&path), expected: format!("sha256:{image}"), found: digest });
        }
        let config: ImageConfiguration = serde_json::from_str(&text).map_err(|e| wrong(named(&path), e.to_string()))?;
        let mut history = config.history().iter().flatten().filter(|entry| entry.empty_layer() != Some(true));
        let mut chain = String::new();
        let mut layers = Vec::new();
        for diff_id in config.rootfs().diff_ids() {
            chain = match chain.as_str() {
                "" => diff_id.clone(),
                below => sha256_text(Sha256::digest(format!("{below} {diff_id}"))),
            };
            let entry = database.join("layerdb/sha256").join(id(&chain, &path)?);
            let cache = entry.join("cache-id");
            let cache_id = id(&read(&cache)?, &cache)?;
            let (content, form) = match driver {
                "aufs" => (root.join("aufs/diff").join(&cache_id), TreeForm::Aufs),
                _ => (root.join(driver).join(&cache_id).join("diff"), TreeForm::Overlay),
            };
            let event = history.next();
            layers.push(Layer {
                id: Some(cache_id),
                diff_id: Some(diff_id.clone()),
                stated_bytes: read_if_there(&entry.join("size"))?.and_then(|text| text.trim().parse().ok()),
                created: event.and_then(|event| event.created().clone()),
                created_by: event.and_then(|event| event.created_by().clone()),
                ..Layer::new(LayerContent::Tree(content, form))
            });
        }
        found.push(Found {
            names: names.remove(&image).unwrap_or_default(),
            config_digest: Some(digest),
            platform: None,
            layers,
        });
    }
    Ok(found)
}

/// An element of `images.json`.
#[derive(Debug, Deserialize)]
struct StorageImage {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    layer: Option<String>,
}

/// An element of `layers.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StorageLayer {
    id: String,
    parent: Option<String>,
    created: Option<String>,
    diff_digest: Option<String>,
    compressed_diff_digest: Option<String>,
    diff_size: Option<i64>,
}

/// Whether a folder is Podman's.
pub(super) fn is_storage(root: &Path) -> bool {
    root.join("overlay-images/images.json").is_file() && root.join("overlay-layers/layers.json").is_file()
}

/// The images of Podman's store.
pub(super) fn storage(root: &Path) -> Result<Vec<Found>, ImportError> {
    let images: Vec<StorageImage> = json(&root.join("overlay-images/images.json"))?;
    let place = root.join("overlay-layers/layers.json");
    let all: Vec<StorageLayer> = json(&place)?;
    let by_id: BTreeMap<&str, &StorageLayer> = all.iter().map(|layer| (layer.id.as_str(), layer)).collect();
    let mut found = Vec::new();
    for image in images {
        let mut layers = Vec::new();
        let mut next = image.layer.filter(|layer| !layer.is_empty());
        while let Some(here) = next {
            let layer = by_id.get(here.as_str()).ok_or_else(|| wrong(named(&place), format!("no layer {here:?}")))?;
            if layers.len() >= DEPTH_MAX as usize {
                return Err(wrong(named(&place), format!("the parents of {here} have no end")));
            }
            let own = id(&layer.id, &place)?;
            let content = root.join("overlay").join(&own).join("diff");
            layers.push(Layer {
                id: Some(own),
                diff_id: layer.diff_digest.clone(),
                blob_digest: layer.compressed_diff_digest.clone(),
                stated_bytes: layer.diff_size.and_then(|size| u64::try_from(size).ok()),
                created: layer.created.clone(),
                ..Layer::new(LayerContent::Tree(content, TreeForm::Overlay))
            });
            next = layer.parent.clone().filter(|parent| !parent.is_empty());
        }
        layers.reverse();
        let config_digest = is_id(&image.id).then(|| format!("sha256:{}", image.id));
        found.push(Found { names: image.names.unwrap_or_default(), config_digest, platform: None, layers });
    }
    Ok(found)
}

/// The folder of an aufs store: given itself, or Docker's around it.
pub(super) fn aufs_folder(root: &Path) -> Option<PathBuf> {
    let is_it = |folder: &PathBuf| folder.join("diff").is_dir() && folder.join("layers").is_dir();
    [root.join("aufs"), root.to_owned()].into_iter().find(is_it)
}

/// An aufs store without names: every layer that is below no other is the top of an image.
pub(super) fn aufs(folder: &Path) -> Result<Vec<Found>, ImportError> {
    let lists = folder.join("layers");
    let mut parents = BTreeMap::new();
    for path in folder::children(&lists).map_err(at("list", &lists))? {
        let own = id(&path.file_name().unwrap_or_default().to_string_lossy(), &path)?;
        let text = read(&path)?;
        let below = text.lines().filter(|line| !line.is_empty()).map(|line| id(line, &path));
        parents.insert(own, below.collect::<Result<Vec<_>, _>>()?);
    }
    let content = |id: &str| LayerContent::Tree(folder.join("diff").join(id), TreeForm::Aufs);
    Ok(tops(&parents, &content))
}

/// The folder of an overlay2 store: given itself, or Docker's around it.
pub(super) fn overlay2_folder(root: &Path) -> Option<PathBuf> {
    [root.join("overlay2"), root.to_owned()].into_iter().find(|folder| folder.join("l").is_dir())
}

/// An overlay2 store without names.
pub(super) fn overlay2(folder: &Path) -> Result<Vec<Found>, ImportError> {
    let mut short = BTreeMap::new();
    let mut layers = BTreeMap::new();
    for path in folder::children(folder).map_err(at("list", folder))? {
        let link = path.join("link");
        let Some(text) = read_if_there(&link)? else { continue };
        let own = id(&path.file_name().unwrap_or_default().to_string_lossy(), &path)?;
        short.insert(text.trim().to_owned(), own.clone());
        layers.insert(own, path);
    }
    let mut parents = BTreeMap::new();
    for (own, path) in &layers {
        let place = path.join("lower");
        let mut below = Vec::new();
        for name in
            read_if_there(&place)?.iter().flat_map(|text| text.trim().split(':')).filter(|name| !name.is_empty())
        {
            let parent = name.strip_prefix("l/").and_then(|name| short.get(name));
            below.push(parent.cloned().ok_or_else(|| wrong(named(&place), format!("no layer has the link {name:?}")))?);
        }
        parents.insert(own.clone(), below);
    }
    let content = |id: &str| LayerContent::Tree(folder.join(id).join("diff"), TreeForm::Overlay);
    Ok(tops(&parents, &content))
}

/// Images of a store that knows of each layer what is below it, top first, and no names.
fn tops(parents: &BTreeMap<String, Vec<String>>, content: &dyn Fn(&str) -> LayerContent) -> Vec<Found> {
    let below: BTreeSet<&String> = parents.values().flatten().collect();
    let tops = parents.iter().filter(|(id, _)| !below.contains(id));
    tops.map(|(top, rest)| {
        let layers = rest.iter().rev().chain([top]);
        let layers = layers.map(|id| Layer { id: Some(id.clone()), ..Layer::new(content(id)) }).collect();
        Found { names: Vec::new(), config_digest: None, platform: None, layers }
    })
    .collect()
}
