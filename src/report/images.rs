//! Imported images: their own files, by driver.

use super::content::section;
use super::jobs::{NOT_RESOLVED, table};
use super::page::{Block, plain};
use crate::analysis::{ImageView, ResultSet, human};

/// The section; nothing where the run has no image.
pub(super) fn blocks(results: &ResultSet) -> Vec<Block> {
    let mut blocks = Vec::new();
    for store in &results.stores {
        for view in ImageView::all(results, store) {
            if blocks.is_empty() {
                blocks.push(section("images", "Images"));
                blocks.push(Block::Text(plain(format!(
                    "Operations on the images’ own files, as they lie in the images’ own layers: the median, and in brackets its ratio to the same on a \
                     volume that holds a copy of the whole image, with the {} interval of the ratio. {NOT_RESOLVED} Caches are fresh \
                     where nothing else is said. Which files were drawn is in the notes of the records; jobs work on all that an image has.",
                    human::percent(crate::analysis::CONFIDENCE)
                ))));
            }
            let place = if results.several_stores() { format!(", store {store}") } else { String::new() };
            let layers = human::count(view.depth, "layer");
            blocks.push(Block::Heading(format!("{}, {layers}{place}", view.name)));
            blocks.push(table(results, "Operation", &view.operations));
        }
    }
    blocks
}
