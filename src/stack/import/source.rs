//! What a source is, told from what is there, and its images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::{ImportError, shown, wrong};
use super::files::Files;
use super::found::Found;
use super::oci::{self, Wanted};
use super::report::Limits;
use super::stores;

/// What can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// A folder with `oci-layout` and `index.json`.
    OciLayout,
    /// The same in an archive.
    OciArchive,
    /// An archive with `manifest.json`, as `docker save` and `podman save` write it; or what is in it.
    DockerArchive,
    /// A folder with `version` and the `manifest.json` of one image, as `skopeo copy` writes for `dir:`.
    Dir,
    /// Docker's folder before 1.10, with aufs: `repositories-aufs`, `graph/`.
    Graph,
    /// Docker's folder since 1.10, with aufs.
    DockerAufs,
    /// Docker's folder since 1.10, with overlay2.
    DockerOverlay2,
    /// `diff/`, `layers/`, `mnt/`, and nothing that knows names.
    Aufs,
    /// `l/`, `<id>/{diff,link,lower}`, and nothing that knows names.
    Overlay2,
    /// Podman's folder: `overlay-images/`, `overlay-layers/`, `overlay/`.
    ContainersStorage,
}

impl SourceKind {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            SourceKind::OciLayout => "OCI image layout",
            SourceKind::OciArchive => "OCI image layout in an archive",
            SourceKind::DockerArchive => "docker-archive",
            SourceKind::Dir => "image of skopeo's dir:",
            SourceKind::Graph => "Docker's graph/ and aufs",
            SourceKind::DockerAufs => "Docker's store, aufs",
            SourceKind::DockerOverlay2 => "Docker's store, overlay2",
            SourceKind::Aufs => "aufs store",
            SourceKind::Overlay2 => "overlay2 store",
            SourceKind::ContainersStorage => "containers/storage",
        }
    }
}

/// What is looked for, for the error of a source that has none of it.
const LOOKED_FOR: &str =
    "oci-layout and index.json (OCI image layout), manifest.json (docker save, podman save, skopeo dir:)";

/// An open source.
#[derive(Debug)]
pub(super) struct Source {
    kind: SourceKind,
    path: PathBuf,
    files: Option<Files>,
}

impl Source {
    pub(super) fn open(path: &Path, scratch: &Path, limits: Limits) -> Result<Source, ImportError> {
        let files = Files::open(path, scratch, limits)?;
        let kind = if files.has("manifest.json") && files.has("version") && !files.is_archive() {
            SourceKind::Dir
        } else if files.has("manifest.json") {
            // Newer ones are layouts as well, but the names are simpler here.
            SourceKind::DockerArchive
        } else if files.has("index.json") {
            if files.is_archive() { SourceKind::OciArchive } else { SourceKind::OciLayout }
        } else {
            let kind = store_kind(path).filter(|_| !files.is_archive());
            let unknown = || ImportError::Unknown { path: path.to_owned(), looked_for: LOOKED_FOR.to_owned() };
            return Ok(Source { kind: kind.ok_or_else(unknown)?, path: path.to_owned(), files: None });
        };
        Ok(Source { kind, path: path.to_owned(), files: Some(files) })
    }

    pub(super) fn kind(&self) -> SourceKind {
        self.kind
    }

    /// The files, of a source that consists of files.
    pub(super) fn files(&self) -> Result<&Files, ImportError> {
        self.files.as_ref().ok_or_else(|| wrong(self.path.display().to_string(), "it has no archives of layers"))
    }

    /// The image that is meant.
    pub(super) fn choose(&self, image: Option<&str>, platform: Option<&str>) -> Result<Found, ImportError> {
        let wanted_platform = wanted(platform)?;
        let mut found = match self.kind {
            SourceKind::OciLayout | SourceKind::OciArchive => oci::images(self.files()?, &wanted_platform)?,
            SourceKind::DockerArchive => oci::saved(self.files()?)?,
            SourceKind::Dir => oci::dir(self.files()?)?,
            kind => store_images(kind, &self.path)?,
        };
        let known = || {
            let all: Vec<String> = found.iter().map(|found| self.called(found)).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        let choose = |reason: String| ImportError::Choose { path: self.path.clone(), reason, known: known() };
        let index = match image {
            None if found.len() == 1 => 0,
            None => return Err(choose(format!("it has {} images", found.len()))),
            Some(wanted) => {
                let name = reference(wanted).ok();
                let is_it = |found: &Found| {
                    let named = self.names(found).is_ok_and(|names| names.iter().any(|n| Some(n) == name.as_ref()));
                    let top = found.layers.last().and_then(|layer| layer.id.as_deref().or(layer.diff_id.as_deref()));
                    let digest = found.config_digest.as_deref().and_then(|digest| digest.split(':').next_back());
                    let begins = |id: Option<&str>| wanted.len() >= 12 && id.is_some_and(|id| id.starts_with(wanted));
                    named || begins(top) || begins(digest)
                };
                let fitting: Vec<usize> =
                    found.iter().enumerate().filter(|(_, found)| is_it(found)).map(|(index, _)| index).collect();
                match fitting.as_slice() {
                    [index] => *index,
                    [] => return Err(choose(format!("it has no image {}", shown(wanted.as_bytes())))),
                    several => {
                        return Err(choose(format!("{} means {} images", shown(wanted.as_bytes()), several.len())));
                    }
                }
            }
        };
        let chosen = found.swap_remove(index);
        // Whoever names no platform may well want the only one that there is.
        if let (Some(given), Some(has)) = (platform, &chosen.platform)
            && *has != format!("{}/{}", wanted_platform.os, wanted_platform.architecture)
        {
            let reason = format!("{} is for {has}", self.called(&chosen));
            return Err(ImportError::Argument { argument: format!("--platform {given}"), reason });
        }
        Ok(chosen)
    }

    /// How a list calls an image.
    fn called(&self, found: &Found) -> String {
        match self.names(found) {
            Ok(names) if !found.names.is_empty() => names.join(" = "),
            _ => {
                let top = found.layers.last().and_then(|layer| layer.id.clone());
                let digest = || found.config_digest.as_deref().and_then(|digest| digest.split(':').next_back());
                let id = top.or_else(|| digest().map(str::to_owned)).unwrap_or_else(|| "one without a name".into());
                id.get(..12).unwrap_or(&id).to_owned()
            }
        }
    }

    /// The names of an image: its own, or one made of the source's.
    pub(super) fn names(&self, found: &Found) -> Result<Vec<String>, ImportError> {
        let stem = self.path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let stem =
            [".gz", ".zst", ".tgz", ".tar"].iter().fold(stem.as_str(), |s, end| s.strip_suffix(end).unwrap_or(s));
        let of = |text: &str| match text.strip_prefix(':') {
            Some(tag) => reference(&format!("{stem}:{tag}")),
            None => reference(text),
        };
        let no_name =
            |reason: String| wrong(self.path.display().to_string(), format!("{reason}: give --name NAME:TAG"));
        let named: Vec<&str> = match found.names.as_slice() {
            // A store's folder is not named after one of its images.
            [] if self.files.is_none() => return Err(no_name("the image has no name".into())),
            [] => vec![stem],
            names => names.iter().map(String::as_str).collect(),
        };
        let names: Result<BTreeSet<String>, String> = named.into_iter().map(of).collect();
        Ok(names.map_err(no_name)?.into_iter().collect())
    }
}

/// This machine's platform, or the one given.
fn wanted(platform: Option<&str>) -> Result<Wanted, ImportError> {
    let here = Wanted { os: "linux".into(), architecture: oci_spec::image::Arch::default().to_string() };
    match platform {
        None => Ok(here),
        Some(text) => match text.split('/').collect::<Vec<_>>().as_slice() {
            [os, architecture] if !os.is_empty() && !architecture.is_empty() => {
                Ok(Wanted { os: (*os).to_owned(), architecture: (*architecture).to_owned() })
            }
            _ => Err(ImportError::Argument {
                argument: format!("--platform {text}"),
                reason: "not OS/ARCHITECTURE, such as linux/arm64".into(),
            }),
        },
    }
}

/// `name:tag` as Docker shows it: `docker.io/library/redis` is `redis`, and a name without a tag means `latest`.
///
/// # Errors
/// Why it is no name.
pub fn reference(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
    if text.is_empty() || text.len() > 255 || !text.chars().all(plain) || text.starts_with(['-', '.', '/', ':', '@']) {
        return Err(format!("{:?} is no name of an image", shown(text.as_bytes())));
    }
    let name = ["docker.io/library/", "docker.io/"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let name = name.unwrap_or(text);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.is_empty() || last.ends_with(':') {
        return Err(format!("{:?} is no name of an image", shown(text.as_bytes())));
    }
    Ok(if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") })
}

/// Which store a folder is; the one that knows names before the one inside that does not.
pub(super) fn store_kind(path: &Path) -> Option<SourceKind> {
    if stores::is_storage(path) {
        return Some(SourceKind::ContainersStorage);
    }
    if stores::is_graph(path) {
        return Some(SourceKind::Graph);
    }
    match stores::docker_driver(path) {
        Some("aufs") => return Some(SourceKind::DockerAufs),
        Some(_) => return Some(SourceKind::DockerOverlay2),
        None => {}
    }
    stores::overlay2_folder(path)
        .map(|_| SourceKind::Overlay2)
        .or_else(|| stores::aufs_folder(path).map(|_| SourceKind::Aufs))
}

/// The images of a store.
pub(super) fn store_images(kind: SourceKind, path: &Path) -> Result<Vec<Found>, ImportError> {
    let gone = || ImportError::Unknown { path: path.to_owned(), looked_for: LOOKED_FOR.to_owned() };
    match kind {
        SourceKind::Graph => stores::graph(path),
        SourceKind::DockerAufs => stores::docker(path, "aufs"),
        SourceKind::DockerOverlay2 => stores::docker(path, "overlay2"),
        SourceKind::ContainersStorage => stores::storage(path),
        SourceKind::Overlay2 => stores::overlay2(&stores::overlay2_folder(path).ok_or_else(gone)?),
        SourceKind::Aufs => stores::aufs(&stores::aufs_folder(path).ok_or_else(gone)?),
        SourceKind::OciLayout | SourceKind::OciArchive | SourceKind::DockerArchive | SourceKind::Dir => Err(gone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_docker_s_short_ones() {
        for (text, name) in [
            ("redis", "redis:latest"),
            ("docker.io/library/redis:7", "redis:7"),
            ("docker.io/a/b", "a/b:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("quay.io/x/y:1.2", "quay.io/x/y:1.2"),
        ] {
            assert_eq!(reference(text).as_deref(), Ok(name));
        }
        for wrong in ["", ":x", "a b", "a:", "../x", "a\nb", "/a", "-x"] {
            assert!(reference(wrong).is_err(), "{wrong:?}");
        }
    }
}
