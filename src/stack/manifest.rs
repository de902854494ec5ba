//! `stack.json`: what a stack is and what its files hold.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StackDefinition, StackError, at};

const NAME: &str = "stack.json";
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

impl Manifest {
    pub(super) fn load(root: &Path) -> Result<Manifest, StackError> {
        let path = root.join(NAME);
        let text = fs::read_to_string(&path).map_err(at("read", &path))?;
        let wrong = |line: usize, reason: String| StackError::Manifest { path: path.clone(), line, reason };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| wrong(e.line(), e.to_string()))?;
        if manifest.schema_version != SCHEMA_VERSION {
            return Err(wrong(1, format!("schema version {}, not {SCHEMA_VERSION}", manifest.schema_version)));
        }
        let hex = |id: &str| id.len() == 64 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match manifest.layers.iter().find(|layer| !hex(&layer.id)) {
            Some(layer) => Err(wrong(1, format!("{:?} is not an id of 64 hexadecimal digits", layer.id))),
            None if manifest.layers.len() != manifest.definition.layers.len() => {
                Err(wrong(1, "layers and definition differ in number".into()))
            }
            None => {
                manifest.definition.validate().map_err(|e| wrong(1, e.to_string()))?;
                Ok(manifest)
            }
        }
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
