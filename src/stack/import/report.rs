//! What an import may take, and what it says of the entries that it did not take as they are.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ImportError, LISTED_MAX, shown};

/// How much an import may unpack: an archive of a few kilobytes can hold any number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers together, unpacked.
    pub bytes_max: u64,
    /// Entries of all layers together.
    pub entries_max: u64,
    /// How many times longer than its compressed form a layer may be. Asked for once it is longer than [`Limits::RATIO_FROM_BYTES`].
    pub ratio_max: u64,
}

impl Limits {
    /// A layer of this length may have any ratio: a short file of zeros is nothing unusual.
    pub const RATIO_FROM_BYTES: u64 = 64 << 20;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes_max: 64 << 30, entries_max: 500_000, ratio_max: 200 }
    }
}

/// What is left of the limits, and what was refused or left out so far.
#[derive(Debug)]
pub(super) struct Report {
    pub limits: Limits,
    entries: u64,
    bytes: u64,
    /// The layer at hand, for messages.
    layer: String,
    refused: Vec<String>,
    refused_count: u64,
    /// By reason: how many, and the first.
    left_out: BTreeMap<String, (u64, String)>,
}

impl Report {
    pub(super) fn new(limits: Limits) -> Report {
        Report {
            limits,
            entries: 0,
            bytes: 0,
            layer: String::new(),
            refused: Vec::new(),
            refused_count: 0,
            left_out: BTreeMap::new(),
        }
    }

    pub(super) fn layer(&mut self, name: &str) {
        name.clone_into(&mut self.layer);
    }

    /// How errors call an entry of the layer at hand.
    pub(super) fn name(&self, path: &Path) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        format!("{}: {}", self.layer, shown(path.as_os_str().as_bytes()))
    }

    /// Counts an entry.
    pub(super) fn entry(&mut self) -> Result<(), ImportError> {
        self.entries += 1;
        if self.entries > self.limits.entries_max {
            return Err(ImportError::Limit {
                what: self.layer.clone(),
                reason: format!("the image has more than {} entries", self.limits.entries_max),
                option: "--max-entries",
            });
        }
        Ok(())
    }

    /// Counts bytes of content before they are written.
    pub(super) fn content(&mut self, bytes: u64) -> Result<(), ImportError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes_max {
            return Err(ImportError::Limit {
                what: self.layer.clone(),
                reason: format!("the image unpacks to more than {} bytes", self.limits.bytes_max),
                option: "--max-bytes",
            });
        }
        Ok(())
    }

    /// Notes an entry that no layer may have.
    pub(super) fn refuse(&mut self, name: &[u8], reason: impl AsRef<str>) {
        self.refused_count += 1;
        if self.refused.len() < LISTED_MAX {
            self.refused.push(format!("{}: {}: {}", self.layer, shown(name), reason.as_ref()));
        } else if self.refused.len() == LISTED_MAX {
            self.refused.push("and more".into());
        }
    }

    /// Notes something that this user, or this file system, cannot keep.
    pub(super) fn leave_out(&mut self, reason: impl Into<String>, path: &Path) {
        use std::os::unix::ffi::OsStrExt as _;
        let first = || (0, shown(path.as_os_str().as_bytes()));
        self.left_out.entry(reason.into()).or_insert_with(first).0 += 1;
    }

    /// The refused entries, as an error.
    pub(super) fn refusal(&self) -> Option<ImportError> {
        let listed = self.refused.clone();
        (self.refused_count > 0).then_some(ImportError::Refused { count: self.refused_count, listed })
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.clone()
    }

    /// One sentence a reason.
    pub(super) fn left_out(&self) -> Vec<String> {
        self.left_out
            .iter()
            .map(|(reason, (count, first))| match count {
                1 => format!("{reason}: {first}"),
                _ => format!("{reason}: {first} and {} more", count - 1),
            })
            .collect()
    }
}
