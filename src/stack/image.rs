//! What is known of an imported image: `image.json`, and beside it `index/<id>.json`, which says of every entry of a layer what it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{StackError, at, scan};

/// Name of the manifest.
pub(super) const NAME: &str = "image.json";
/// Folder of the indexes.
pub(super) const INDEX: &str = "index";
/// Version of the shape.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// An imported image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Version of the shape.
    pub schema_version: u32,
    /// `name:tag`, each of which means this image in its store.
    pub names: Vec<String>,
    /// What it was read from: the kind of source, without a path.
    pub source: String,
    /// Its configuration's digest, where the source has one.
    pub config_digest: Option<String>,
    /// The layers, the top one first.
    pub layers: Vec<ImageLayer>,
    /// Entries that were refused when the rest was imported, each with its layer and the reason.
    pub refused: Vec<String>,
    /// What could not be kept: a sentence a reason.
    pub left_out: Vec<String>,
}

/// A layer of an imported image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLayer {
    /// Its name on disk: the source's own, or the chain id (OCI image specification, config.md, "Layer ChainID").
    pub id: String,
    /// Digest of its archive, uncompressed, where there was one.
    pub diff_id: Option<String>,
    /// Digest of its archive as it lay in the source.
    pub blob_digest: Option<String>,
    /// Size that the source states (the old `layersize`).
    pub stated_bytes: Option<u64>,
    /// When it was made, as the source says.
    pub created: Option<String>,
    /// What made it.
    pub created_by: Option<String>,
    /// Entries, whiteouts and opaque marks included.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// BLAKE3 of its index.
    pub index_blake3: String,
}

/// A path or a target as text. Bytes that are not UTF-8 are written `\xNN`, and a backslash `\\`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Name(pub PathBuf);

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('\\', "\\\\"));
            text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('\\') {
            bytes.extend_from_slice(before.as_bytes());
            rest = match (after.strip_prefix('\\'), after.strip_prefix('x')) {
                (Some(after), _) => {
                    bytes.push(b'\\');
                    after
                }
                (_, Some(after)) => {
                    let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    bytes.push(byte.ok_or_else(|| serde::de::Error::custom(r"\x without two hexadecimal digits"))?);
                    after.get(2..).unwrap_or_default()
                }
                _ => return Err(serde::de::Error::custom(r"a backslash that is neither \\ nor \xNN")),
            };
        }
        bytes.extend_from_slice(rest.as_bytes());
        Ok(Name(OsString::from_vec(bytes).into()))
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A folder.
    Dir,
    /// A regular file.
    File {
        /// Length.
        size_bytes: u64,
        /// BLAKE3 of the content, hexadecimal.
        blake3: String,
        /// The first byte; `None` for an empty file.
        first_byte: Option<u8>,
        /// Names that it has in its layer.
        links: u64,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to.
        target: Name,
    },
    /// A device, a named pipe or a socket.
    Special {
        /// `st_mode & S_IFMT`.
        format: u32,
        /// `st_rdev`.
        device: u64,
    },
    /// Hides the path in the layers below.
    Whiteout,
    /// Makes the folder of this path hide everything of the same name below.
    Opaque,
}

/// One entry of a layer, as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Relative to the layer; empty for its root.
    pub path: Name,
    /// What it is.
    pub kind: ItemKind,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was modified: seconds since 1970 and nanoseconds.
    pub mtime: (i64, i64),
    /// Extended attributes: names, and values in base64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

impl Item {
    /// Everything in a folder and the folder itself, with paths relative to it, sorted.
    ///
    /// # Errors
    /// What cannot be listed or read.
    pub fn below(folder: &Path) -> Result<Vec<Item>, StackError> {
        scan::layer(folder, &|path, _| scan::content(path)).map_err(|(path, e)| at("read", &path)(e))
    }

    /// In what another entry of the path differs, with a look at owners if wanted: the first thing that does. How many names a file has is not
    /// asked: overlay's form of a layer gives it more.
    pub fn difference(&self, found: &Item, owners: bool) -> Option<&'static str> {
        let kinds = |item: &Item| match &item.kind {
            ItemKind::File { size_bytes, blake3, first_byte, .. } => {
                ItemKind::File { size_bytes: *size_bytes, blake3: blake3.clone(), first_byte: *first_byte, links: 0 }
            }
            other => other.clone(),
        };
        let what = match (kinds(self), kinds(found)) {
            (known, found) if known == found => None,
            (ItemKind::File { .. }, ItemKind::File { .. }) => Some("the content"),
            _ => Some("the kind, or the target,"),
        };
        what.or((self.mode != found.mode).then_some("the mode"))
            .or((owners && (self.uid, self.gid) != (found.uid, found.gid)).then_some("the owner"))
            .or((self.mtime != found.mtime).then_some("the time"))
            .or((self.xattrs != found.xattrs).then_some("an extended attribute"))
    }
}

fn wrong(path: &Path, line: usize, reason: impl Into<String>) -> StackError {
    StackError::Manifest { path: path.to_owned(), line, reason: reason.into() }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, StackError> {
    serde_json::from_slice(text).map_err(|e| wrong(path, e.line(), e.to_string()))
}

impl Image {
    /// Whether a folder is that of an imported image.
    pub(super) fn is_at(root: &Path) -> bool {
        root.join(NAME).is_file()
    }

    pub(super) fn load(root: &Path) -> Result<Image, StackError> {
        let path = root.join(NAME);
        let text = fs::read(&path).map_err(at("read", &path))?;
        let image: Image = json(&path, &text)?;
        if image.schema_version != SCHEMA_VERSION {
            return Err(wrong(&path, 1, format!("schema version {}, not {SCHEMA_VERSION}", image.schema_version)));
        }
        if image.layers.is_empty() {
            return Err(wrong(&path, 1, "an image without layers"));
        }
        // Ids become paths.
        if let Some(layer) = image.layers.iter().find(|layer| !is_id(&layer.id)) {
            return Err(wrong(&path, 1, format!("{:?} is not the id of a layer", layer.id)));
        }
        Ok(image)
    }

    /// The entries of every layer, the top layer first, each sorted by path.
    pub(super) fn items(&self, root: &Path) -> Result<Vec<Vec<Item>>, StackError> {
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let path = index_file(root, &layer.id);
            let text = fs::read(&path).map_err(at("read", &path))?;
            if blake3::hash(&text).to_hex().as_str() != layer.index_blake3 {
                return Err(wrong(&path, 1, "it is not the index that was written"));
            }
            let items: Vec<Item> = json(&path, &text)?;
            let plain =
                |item: &Item| item.path.0.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            if let Some(item) = items.iter().find(|item| !plain(item)) {
                return Err(wrong(&path, 1, format!("{} is not a path in a layer", item.path.0.display())));
            }
            all.push(items);
        }
        Ok(all)
    }

    /// Writes the manifest, so that another process meets the old one or the new one.
    pub(super) fn save(&self, root: &Path) -> Result<(), StackError> {
        let path = root.join(NAME);
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| wrong(&path, 0, e.to_string()))?;
        text.push(b'\n');
        let new = root.join(format!(".{NAME}.new"));
        fs::write(&new, text).map_err(at("write", &new))?;
        fs::rename(&new, &path).map_err(at("rename into", &path))
    }
}

/// Writes a layer's index and returns its digest.
pub(super) fn save_items(root: &Path, id: &str, items: &[Item]) -> Result<String, StackError> {
    let path = index_file(root, id);
    let text = serde_json::to_vec(items).map_err(|e| wrong(&path, 0, e.to_string()))?;
    fs::write(&path, &text).map_err(at("write", &path))?;
    Ok(blake3::hash(&text).to_hex().to_string())
}

fn index_file(root: &Path, id: &str) -> PathBuf {
    root.join(INDEX).join(format!("{id}.json"))
}

/// Whether a text can name a layer: what Docker's and Podman's stores use, and nothing that means something in a path.
pub(super) fn is_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_bytes_survive_the_index() {
        for bytes in [&b"plain"[..], b"back\\slash\\x41", b"\xff\xfe/\xc3\xa9", b"\\", b"new\nline", b""] {
            let name = Name(OsString::from_vec(bytes.to_vec()).into());
            let text = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<Name>(&text).unwrap(), name, "{text}");
        }
        for wrong in [r#""\\y""#, r#""\\x4""#, r#""\\""#, r#""\\xé9""#] {
            assert!(serde_json::from_str::<Name>(wrong).is_err(), "{wrong}");
        }
    }
}
