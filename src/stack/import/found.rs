//! An image as a source describes it, before anything is unpacked.

use std::path::PathBuf;

/// Where the content of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayerContent {
    /// An archive, perhaps compressed, among the source's files.
    Blob(String),
    /// A folder, with whiteouts in this form.
    Tree(PathBuf, TreeForm),
}

/// How a folder of a store marks what it hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TreeForm {
    /// `.wh.<name>`, `.wh..wh..opq`.
    Aufs,
    /// Character devices 0:0, the attribute `overlay.opaque`.
    Overlay,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub content: LayerContent,
    /// The source's own name for it.
    pub id: Option<String>,
    pub diff_id: Option<String>,
    pub blob_digest: Option<String>,
    pub stated_bytes: Option<u64>,
    pub created: Option<String>,
    pub created_by: Option<String>,
}

impl Layer {
    pub(super) fn new(content: LayerContent) -> Layer {
        Layer {
            content,
            id: None,
            diff_id: None,
            blob_digest: None,
            stated_bytes: None,
            created: None,
            created_by: None,
        }
    }
}

/// An image: its names, and its layers with the base first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// As the source has them; `:tag` where it has no more.
    pub names: Vec<String>,
    pub config_digest: Option<String>,
    /// `os/architecture`, where the source says what the image is for.
    pub platform: Option<String>,
    pub layers: Vec<Layer>,
}
