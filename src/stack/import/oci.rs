//! OCI image layout (image-layout.md): `oci-layout`, `index.json`, `blobs/<algorithm>/<digits>`; and what `docker save` and `podman save`
//! write in Docker's own form: `manifest.json` with configuration and layers of each image.

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;

use super::error::{ImportError, shown, wrong};
use super::files::Files;
use super::found::{Found, Layer, LayerContent};

/// How deep indexes may hold indexes.
const NESTED_MAX: usize = 4;
/// Media types of Docker's that mean the same as OCI's (distribution, "Image Manifest Version 2, Schema 2").
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Annotation in which containerd and Docker keep the whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Which of several images of an index is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub os: String,
    pub architecture: String,
}

/// The blob of a digest.
fn blob(descriptor: &Descriptor) -> Result<(String, String), ImportError> {
    let digest = descriptor.digest().to_string();
    let known = descriptor.as_digest_sha256().is_some();
    let (algorithm, digits) = digest.split_once(':').unwrap_or_default();
    if !known {
        return Err(wrong(shown(digest.as_bytes()), "a digest that is not sha256"));
    }
    Ok((format!("blobs/{algorithm}/{digits}"), digest.clone()))
}

/// The images of a layout, without their layers' contents.
pub(super) fn images(files: &Files, wanted: &Wanted) -> Result<Vec<Found>, ImportError> {
    let index: ImageIndex = files.json("index.json", None)?;
    let mut found = Vec::new();
    for descriptor in index.manifests() {
        let Some(manifest) = manifest_of(files, descriptor, wanted, 0)? else { continue };
        let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key)).cloned();
        let reference = annotation(oci_spec::image::ANNOTATION_REF_NAME);
        let name = match (annotation(CONTAINERD_NAME), reference) {
            (Some(name), _) => Some(name),
            // Mostly a tag alone.
            (None, Some(reference)) if reference.contains([':', '/']) => Some(reference),
            (None, Some(tag)) => Some(format!(":{tag}")),
            (None, None) => None,
        };
        found.push(image(files, name, &manifest)?);
    }
    Ok(found)
}

/// The manifest that a descriptor means for this machine; `None` where it is none of an image.
fn manifest_of(
    files: &Files,
    descriptor: &Descriptor,
    wanted: &Wanted,
    nested: usize,
) -> Result<Option<ImageManifest>, ImportError> {
    let (name, digest) = blob(descriptor)?;
    match descriptor.media_type() {
        MediaType::ImageManifest => files.json(&name, Some(&digest)).map(Some),
        MediaType::Other(kind) if kind == DOCKER_MANIFEST => files.json(&name, Some(&digest)).map(Some),
        kind if *kind == MediaType::ImageIndex || kind.to_string() == DOCKER_INDEX => {
            if nested >= NESTED_MAX {
                return Err(wrong(files.name(&name), "indexes in indexes without end"));
            }
            let index: ImageIndex = files.json(&name, Some(&digest))?;
            let fits = |candidate: &&Descriptor| match candidate.platform() {
                Some(platform) => {
                    platform.os().to_string() == wanted.os && platform.architecture().to_string() == wanted.architecture
                }
                None => true,
            };
            match index.manifests().iter().find(fits) {
                Some(chosen) => manifest_of(files, chosen, wanted, nested + 1),
                None => Err(wrong(
                    files.name(&name),
                    format!(
                        "no image for {}/{}: it has {}; choose with --platform",
                        wanted.os,
                        wanted.architecture,
                        platforms(&index)
                    ),
                )),
            }
        }
        _ => Ok(None),
    }
}

fn platforms(index: &ImageIndex) -> String {
    let named = index.manifests().iter().filter_map(|descriptor| descriptor.platform().as_ref());
    let named: Vec<String> = named.map(|platform| format!("{}/{}", platform.os(), platform.architecture())).collect();
    named.join(", ")
}

fn image(files: &Files, name: Option<String>, manifest: &ImageManifest) -> Result<Found, ImportError> {
    let (config_name, config_digest) = blob(manifest.config())?;
    let config: ImageConfiguration = files.json(&config_name, Some(&config_digest))?;
    let mut layers = Vec::new();
    for descriptor in manifest.layers() {
        let kind = descriptor.media_type().to_string();
        if kind.contains("encrypted") {
            return Err(wrong(files.name(descriptor.digest().as_ref()), format!("an encrypted layer ({kind})")));
        }
        let (name, digest) = blob(descriptor)?;
        layers.push(Layer { blob_digest: Some(digest), ..Layer::new(LayerContent::Blob(name)) });
    }
    with_config(files, &config_name, name, config_digest, &config, layers)
}

/// Adds what a configuration says of the layers, which stand base first in both.
fn with_config(
    files: &Files,
    config_name: &str,
    name: Option<String>,
    config_digest: String,
    config: &ImageConfiguration,
    mut layers: Vec<Layer>,
) -> Result<Found, ImportError> {
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != layers.len() {
        let reason = format!("it has {} diff_ids, and the manifest {} layers", diff_ids.len(), layers.len());
        return Err(wrong(files.name(config_name), reason));
    }
    let history = config.history().iter().flatten().filter(|entry| entry.empty_layer() != Some(true));
    for (layer, entry) in layers.iter_mut().zip(history) {
        layer.created.clone_from(entry.created());
        layer.created_by.clone_from(entry.created_by());
    }
    for (layer, diff_id) in layers.iter_mut().zip(diff_ids) {
        layer.diff_id = Some(diff_id.clone());
    }
    let platform = Some(format!("{}/{}", config.os(), config.architecture()));
    Ok(Found { names: name.into_iter().collect(), config_digest: Some(config_digest), platform, layers })
}

/// An element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The sha256 that a name of a file states: `<digits>.json`, `blobs/sha256/<digits>`.
fn stated_digest(name: &str) -> Option<String> {
    let last = name.rsplit('/').next()?;
    let digits = last.strip_suffix(".json").or_else(|| last.strip_suffix(".tar")).unwrap_or(last);
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then(|| format!("sha256:{digits}"))
}

/// The images of an archive of `docker save` or `podman save`.
pub(super) fn saved(files: &Files) -> Result<Vec<Found>, ImportError> {
    let saved: Vec<Saved> = files.json("manifest.json", None)?;
    let mut found = Vec::new();
    for entry in saved {
        let digest = stated_digest(&entry.config);
        let config: ImageConfiguration = files.json(&entry.config, digest.as_deref())?;
        let layers = entry.layers.into_iter().map(|name| {
            // `<digits>.tar` is named after the archive, `blobs/sha256/<digits>` after the blob, which is mostly the archive too. The old
            // `<id>/layer.tar` is named after neither.
            let blob_digest = stated_digest(&name).filter(|_| name.contains("blobs/"));
            Layer { blob_digest, ..Layer::new(LayerContent::Blob(name)) }
        });
        let layers = layers.collect();
        let digest = digest.unwrap_or_default();
        let mut image = with_config(files, &entry.config, None, digest, &config, layers)?;
        image.config_digest = image.config_digest.filter(|digest| !digest.is_empty());
        image.names = entry.repo_tags.unwrap_or_default();
        found.push(image);
    }
    Ok(found)
}

/// What `skopeo copy dir:` and `podman save --format docker-dir` write: `version`, `manifest.json` of one image, blobs by their digits.
pub(super) fn dir(files: &Files) -> Result<Vec<Found>, ImportError> {
    let manifest: ImageManifest = files.json("manifest.json", None)?;
    let digits =
        |descriptor: &Descriptor| blob(descriptor).map(|(name, digest)| (name.replace("blobs/sha256/", ""), digest));
    let (config_name, config_digest) = digits(manifest.config())?;
    let config: ImageConfiguration = files.json(&config_name, Some(&config_digest))?;
    let mut layers = Vec::new();
    for descriptor in manifest.layers() {
        let (name, digest) = digits(descriptor)?;
        layers.push(Layer { blob_digest: Some(digest), ..Layer::new(LayerContent::Blob(name)) });
    }
    Ok(vec![with_config(files, &config_name, None, config_digest, &config, layers)?])
}
