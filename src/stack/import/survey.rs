//! The layer graph of a store, for people: nothing is imported, nothing of the layers is read.

use std::path::Path;

use super::error::ImportError;
use super::source::{self, SourceKind};

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedLayer {
    /// The store's own name for it.
    pub id: String,
    /// Size that the store states.
    pub stated_bytes: Option<u64>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedImage {
    /// Its names, as the store has them.
    pub names: Vec<String>,
    /// Its layers, the top one first.
    pub layers: Vec<SurveyedLayer>,
}

/// What a store of Docker's or Podman's holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Which store.
    pub kind: SourceKind,
    /// Its images, sorted by name.
    pub images: Vec<SurveyedImage>,
}

/// Looks a store through. `None` where the folder is none.
pub fn survey(path: &Path) -> Result<Option<Survey>, ImportError> {
    let Some(kind) = source::store_kind(path) else { return Ok(None) };
    let mut images: Vec<SurveyedImage> = source::store_images(kind, path)?
        .into_iter()
        .map(|found| SurveyedImage {
            names: found.names,
            layers: found
                .layers
                .into_iter()
                .rev()
                .map(|layer| SurveyedLayer { id: layer.id.unwrap_or_default(), stated_bytes: layer.stated_bytes })
                .collect(),
        })
        .collect();
    images.sort_by(|a, b| a.names.cmp(&b.names));
    Ok(Some(Survey { kind, images }))
}
