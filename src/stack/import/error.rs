//! Why an import ends without a stack.

use std::path::PathBuf;

use crate::stack::StackError;

/// Names of refused entries that an error lists.
pub(super) const LISTED_MAX: usize = 50;

/// What can go wrong with an import. Nothing is left in the store in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store, or a file of the source.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// A source of no known kind.
    #[error("{path}: no image that layerbench reads: looked for {looked_for}", path = path.display())]
    Unknown {
        /// The source.
        path: PathBuf,
        /// What would have been recognised.
        looked_for: String,
    },
    /// A part of the source that is not what it should be.
    #[error("{what}: {reason}")]
    Source {
        /// Which part.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// An argument that cannot be meant.
    #[error("{argument}: {reason}")]
    Argument {
        /// The option and its value.
        argument: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A content with another digest.
    #[error(
        "{what}: its digest is {found}, and {expected} was promised: it is damaged, so save or fetch the image again"
    )]
    Digest {
        /// Which content.
        what: String,
        /// The digest by which it was named.
        expected: String,
        /// The digest that it has.
        found: String,
    },
    /// More than an import may unpack.
    #[error("{what}: {reason}; if that is what the image is, raise {option}")]
    Limit {
        /// Which content.
        what: String,
        /// What is too much.
        reason: String,
        /// The option that raises the limit.
        option: &'static str,
    },
    /// Entries that no layer may have.
    #[error(
        "{count} {entries} refused, and nothing was imported (--skip-refused imports the rest):\n  {}",
        listed.join("\n  "), entries = if *count == 1 { "entry was" } else { "entries were" }
    )]
    Refused {
        /// How many.
        count: u64,
        /// The first of them, each with its layer and the reason.
        listed: Vec<String>,
    },
    /// Several images, and none was chosen.
    #[error("{path}: {reason}; choose with --image (there are: {known})", path = path.display())]
    Choose {
        /// The source.
        path: PathBuf,
        /// Why one cannot be taken.
        reason: String,
        /// The images.
        known: String,
    },
    /// A name that is another image's.
    #[error("{name} is another image in this store ({folder}): remove that one first, or give --name", folder = folder.display())]
    NameTaken {
        /// The name.
        name: String,
        /// Its stack.
        folder: PathBuf,
    },
}

/// A part of the source is not what it should be.
pub(super) fn wrong(what: impl Into<String>, reason: impl Into<String>) -> ImportError {
    ImportError::Source { what: what.into(), reason: reason.into() }
}

/// A name of the source as one line of text: what is not printable is escaped.
pub(super) fn shown(name: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    let text = String::from_utf8_lossy(name.get(..SHOWN_MAX).unwrap_or(name));
    let text: String =
        text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    if name.len() > SHOWN_MAX { format!("{text}.. ({} bytes)", name.len()) } else { text }
}
