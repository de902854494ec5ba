//! Images as they are in the world become stacks of the store: OCI image layouts, archives of `docker save` and `podman save`, and the
//! stores that Docker and Podman keep.
//!
//! A source is read and never written. A layer is unpacked below its own folder through no symbolic link; what no layer may have is refused
//! by name. An import that ends early leaves nothing, one that is killed what [`super::leftovers`] lists. What is kept, what is refused and
//! the limits are in docs/images.md.

mod decode;
mod error;
mod files;
mod found;
mod member;
mod oci;
mod place;
mod report;
mod source;
mod stores;
mod survey;
mod tar_stream;
mod tree;
mod unpack;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub use error::ImportError;
pub use report::Limits;
pub use source::{SourceKind, reference};
pub use survey::{Survey, SurveyedImage, SurveyedLayer, survey};

use decode::{Decoded, Digests, read_error, sha256_text};
use error::wrong;
use found::{Found, Layer, LayerContent};
use member::Kind;
use report::Report;
use source::Source;
use tar_stream::{Next, TarStream};
use unpack::{Below, Unpacker};

use super::build::parents;
use super::image::{self, Image, ImageLayer, ItemKind};
use super::partial::Partial;
use super::{LayerStack, STACKS, at, diff, layers_file, lock, mnt};
use crate::workload::{DEPTH_MAX, count};

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct ImportRequest<'a> {
    /// The folder, archive or store.
    pub source: &'a Path,
    /// Which of its images, by a name or the start of its topmost layer's id; not needed where there is one.
    pub image: Option<&'a str>,
    /// `name:tag` by which the store is to know it, instead of the source's own names.
    pub name: Option<&'a str>,
    /// `os/architecture`, where one name stands for several images; this machine's unless given.
    pub platform: Option<&'a str>,
    /// How much it may unpack.
    pub limits: Limits,
    /// Whether refused entries are noted and the rest is imported.
    pub skip_refused: bool,
}

/// What became of an import.
#[derive(Debug)]
pub struct Imported {
    /// The stack.
    pub stack: LayerStack,
    /// What was read.
    pub kind: SourceKind,
    /// Whether it was unpacked now; else the store had it.
    pub is_new: bool,
}

impl<'a> ImportRequest<'a> {
    /// The one image of a source, under its own name, within the usual limits.
    pub fn new(source: &'a Path) -> ImportRequest<'a> {
        ImportRequest {
            source,
            image: None,
            name: None,
            platform: None,
            limits: Limits::default(),
            skip_refused: false,
        }
    }
}

/// Imports an image into a store.
///
/// # Errors
/// Everything that is wrong with the source, by name; then the store is as it was.
pub fn import(store: &Path, request: &ImportRequest) -> Result<Imported, ImportError> {
    let stacks = store.join(STACKS);
    fs::create_dir_all(&stacks).map_err(at("create folder", &stacks))?;
    let _lock = lock(&stacks)?;
    let source = Source::open(request.source, &stacks, request.limits)?;
    let kind = source.kind();
    let found = source.choose(request.image, request.platform)?;
    let names = match request.name {
        Some(name) => vec![
            reference(name).map_err(|reason| ImportError::Argument { argument: format!("--name {name}"), reason })?,
        ],
        None => source.names(&found)?,
    };
    let ids = layer_ids(request.source, &found)?;
    let key = key(&ids);
    for folder in super::list(store)? {
        // A stack that cannot be read is not in the way of another.
        let Ok(image) = Image::load(&folder) else { continue };
        if let Some(name) = names.iter().find(|name| image.names.contains(name))
            && folder.file_name() != Some(key.as_ref())
        {
            return Err(ImportError::NameTaken { name: name.clone(), folder });
        }
    }
    let root = stacks.join(&key);
    if root.exists() {
        // The same ids, and so the same layers if the source holds what it says.
        for layer in &found.layers {
            if let LayerContent::Blob(name) = &layer.content {
                let files = source.files()?;
                let what = files.name(name);
                let digests = Decoded::open(files.read(name)?, &what, request.limits)?.finish(&what)?;
                promised(&what, layer, &digests)?;
            }
        }
        let mut image = Image::load(&root)?;
        let known: BTreeSet<String> = image.names.iter().chain(&names).cloned().collect();
        if known.len() > image.names.len() {
            image.names = known.into_iter().collect();
            image.save(&root)?;
        }
        return Ok(Imported { stack: LayerStack::open(&root)?, kind, is_new: false });
    }
    let partial = Partial::create(&root)?;
    // A layer holds programs that take their owner's rights, and devices: nobody else is to reach them through the store.
    fs::set_permissions(partial.path(), fs::Permissions::from_mode(0o700)).map_err(at("chmod", partial.path()))?;
    let mut report = Report::new(request.limits);
    let layers = unpack_all(partial.path(), &source, &found.layers, &ids, &mut report)?;
    if let Some(refusal) = report.refusal().filter(|_| !request.skip_refused) {
        return Err(refusal);
    }
    let image = Image {
        schema_version: image::SCHEMA_VERSION,
        names,
        source: kind.as_str().to_owned(),
        config_digest: found.config_digest.clone(),
        layers,
        refused: report.refused(),
        left_out: report.left_out(),
    };
    image.save(partial.path())?;
    partial.commit(&root)?;
    Ok(Imported { stack: LayerStack::open(&root)?, kind, is_new: true })
}

/// Ids of the layers, the base first: the source's own, or chain ids.
fn layer_ids(source: &Path, found: &Found) -> Result<Vec<String>, ImportError> {
    let what = || source.display().to_string();
    if found.layers.is_empty() {
        return Err(wrong(what(), "an image without layers: there is nothing to stack"));
    }
    let depth_max = usize::try_from(DEPTH_MAX).unwrap_or(usize::MAX);
    if found.layers.len() > depth_max {
        return Err(wrong(
            what(),
            format!("{}, and no driver stacks more than {DEPTH_MAX}", count(found.layers.len(), "layer")),
        ));
    }
    let mut ids: Vec<String> = Vec::with_capacity(found.layers.len());
    let mut chain = String::new();
    for layer in &found.layers {
        let id = match (&layer.id, &layer.diff_id) {
            (Some(id), _) => id.clone(),
            (None, Some(diff_id)) => {
                chain = match chain.as_str() {
                    "" => diff_id.clone(),
                    below => sha256_text(Sha256::digest(format!("{below} {diff_id}"))),
                };
                chain.rsplit(':').next().unwrap_or_default().to_owned()
            }
            (None, None) => return Err(wrong(what(), "a layer without a digest")),
        };
        if !image::is_id(&id) {
            return Err(wrong(what(), format!("{:?} is not the id of a layer", error::shown(id.as_bytes()))));
        }
        if ids.contains(&id) {
            return Err(wrong(what(), format!("the layer {id} stands in it twice")));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Name of the folder: the same layers are the same stack.
fn key(ids: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"layerbench image 1");
    for id in ids {
        hasher.update(id.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().as_str().get(..16).unwrap_or_default().to_owned()
}

/// Unpacks all layers, the base first, and returns them with the top first.
fn unpack_all(
    root: &Path,
    source: &Source,
    layers: &[Layer],
    ids: &[String],
    report: &mut Report,
) -> Result<Vec<ImageLayer>, ImportError> {
    for folder in ["diff", "layers", "mnt", image::INDEX] {
        let path = root.join(folder);
        fs::create_dir(&path).map_err(at("create folder", &path))?;
    }
    let mut below: Vec<Below> = Vec::new();
    let mut done = Vec::with_capacity(layers.len());
    let top_first: Vec<&String> = ids.iter().rev().collect();
    for (index, (layer, id)) in layers.iter().zip(ids).enumerate() {
        let folder = diff(root, id);
        for path in [&folder, &mnt(root, id)] {
            fs::create_dir(path).map_err(at("create folder", path))?;
        }
        let path = layers_file(root, id);
        let from_top = ids.len() - 1 - index;
        fs::write(&path, parents(&top_first, from_top)).map_err(at("write", &path))?;
        let what = format!("layer {} ({})", from_top + 1, id.get(..12).unwrap_or(id));
        report.layer(&what);
        let mut unpacker = Unpacker::new(&folder, report)?;
        let mut layer = layer.clone();
        match &layer.content {
            LayerContent::Blob(name) => {
                let digests = unpack_blob(source, name, &layer, &mut unpacker)?;
                layer.blob_digest = Some(digests);
            }
            LayerContent::Tree(path, form) => tree::unpack(path, *form, &mut unpacker)?,
        }
        let (items, facts) = unpacker.finish(&below)?;
        below.insert(0, facts);
        let files = items.iter().filter_map(|item| match item.kind {
            ItemKind::File { size_bytes, .. } => Some(size_bytes),
            _ => None,
        });
        let (files, bytes) = files.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size));
        done.push(ImageLayer {
            id: id.clone(),
            diff_id: layer.diff_id,
            blob_digest: layer.blob_digest,
            stated_bytes: layer.stated_bytes,
            created: layer.created,
            created_by: layer.created_by,
            // Its root is no entry.
            entries: items.len() as u64 - 1,
            files,
            bytes,
            index_blake3: image::save_items(root, id, &items)?,
        });
    }
    done.reverse();
    Ok(done)
}

/// Unpacks an archive, checks its digests, and returns the blob's.
fn unpack_blob(source: &Source, name: &str, layer: &Layer, unpacker: &mut Unpacker<'_>) -> Result<String, ImportError> {
    let files = source.files()?;
    let what = files.name(name);
    let limits = unpacker.report().limits;
    let mut stream = TarStream::new(Decoded::open(files.read(name)?, &what, limits)?);
    while let Some(next) = stream.next().map_err(|e| read_error(&what, e))? {
        match next {
            Next::Member(member) => {
                let length = stream.left();
                unpacker.add(&member, if member.kind == Kind::File { length } else { 0 }, &mut stream)?;
            }
            Next::Refused(name, reason) => {
                unpacker.report().entry()?;
                unpacker.report().refuse(&name, reason);
            }
        }
    }
    let digests = stream.into_inner().finish(&what)?;
    promised(&what, layer, &digests)?;
    Ok(digests.blob)
}

/// Checks the digests of a layer against those by which the source names it.
fn promised(what: &str, layer: &Layer, digests: &Digests) -> Result<(), ImportError> {
    for (expected, found) in [(&layer.blob_digest, &digests.blob), (&layer.diff_id, &digests.archive)] {
        if let Some(expected) = expected.as_ref().filter(|expected| *expected != found) {
            return Err(ImportError::Digest {
                what: what.to_owned(),
                expected: expected.clone(),
                found: found.clone(),
            });
        }
    }
    Ok(())
}
