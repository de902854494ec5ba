//! `stack.json`: what a stack is and what its files hold.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Entry, StackDefinition, StackError, at, layer_id};

pub(super) const NAME: &str = "stack.json";
/// Version of the manifest's shape and of what a definition means on disk.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// A stack's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the shape.
    pub schema_version: u32,
    /// Seed of the contents.
    pub seed: u64,
    /// What was asked for.
    pub definition: StackDefinition,
    /// The layers, the top one first.
    pub layers: Vec<LayerRecord>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its regular files, in the definition's order.
    pub files: Vec<FileRecord>,
}

/// One regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Relative to the layer.
    pub path: PathBuf,
    /// Length.
    pub size_bytes: u64,
    /// BLAKE3 of the content, hexadecimal.
    pub blake3: String,
    /// The first byte, so that a probe can change it without reading the file; `None` for an empty file.
    pub first_byte: Option<u8>,
}

/// What all versions of the shape have in common.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

impl Manifest {
    pub(super) fn load(root: &Path) -> Result<Manifest, StackError> {
        let path = root.join(NAME);
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        let wrong = |line: usize, reason: String| StackError::Manifest { path: path.clone(), line, reason };
        // A newer version may have another shape, and is not to be taken for damage.
        let version: Version = serde_json::from_str(&text).map_err(|e| wrong(e.line(), e.to_string()))?;
        if version.schema_version != SCHEMA_VERSION {
            return Err(wrong(1, format!("schema version {}, not {SCHEMA_VERSION}", version.schema_version)));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| wrong(e.line(), e.to_string()))?;
        manifest.definition.validate().map_err(|e| wrong(1, e.to_string()))?;
        // What follows from definition and seed must be what is written, so that nothing that lies on disk has to be trusted.
        let key = manifest.definition.key(manifest.seed);
        if manifest.layers.len() != manifest.definition.layers.len() {
            return Err(wrong(1, "layers and definition differ in number".into()));
        }
        for (index, (record, entries)) in manifest.layers.iter().zip(&manifest.definition.layers).enumerate() {
            if record.id != layer_id(&key, index) {
                return Err(wrong(1, format!("{:?} is not the id of layer {}", record.id, index + 1)));
            }
            let defined = entries.iter().filter_map(|entry| match entry {
                Entry::File { path, size_bytes, .. } => Some((path, *size_bytes)),
                _ => None,
            });
            if !defined.eq(record.files.iter().map(|file| (&file.path, file.size_bytes))) {
                return Err(wrong(1, format!("the files of layer {} are not those of its definition", index + 1)));
            }
            if let Some(file) = record.files.iter().find(|file| blake3::Hash::from_hex(&file.blake3).is_err()) {
                return Err(wrong(1, format!("{:?} is not a digest of 64 hexadecimal digits", file.blake3)));
            }
        }
        Ok(manifest)
    }

    pub(super) fn save(&self, root: &Path) -> Result<(), StackError> {
        let path = root.join(NAME);
        let text = serde_json::to_string_pretty(self).map_err(|e| StackError::Manifest {
            path: path.clone(),
            line: 0,
            reason: e.to_string(),
        })?;
        fs::write(&path, text + "\n").map_err(at("write", &path))
    }
}
