//! Charts: one figure a file, drawn from a [`ResultSet`] and nothing else. The same records give the same bytes.
//!
//! Figures are readable in black and white: drivers differ in dash and marker as well as in colour (Okabe and Ito's palette, which the
//! colour-blind can tell apart).

mod draw;
mod first_write_by_depth;
mod first_write_by_size;
mod first_write_distribution;
mod first_write_heatmap;
mod lookup_by_depth;
mod resident_by_containers;
mod select;
mod tax_over_bind;
mod text;

pub use text::{format_ns, format_value};

use crate::analysis::ResultSet;

/// A finished figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// File name without extension.
    pub name: String,
    /// Headline.
    pub title: String,
    /// What was held fixed.
    pub subtitle: String,
    /// The drawing.
    pub svg: String,
    /// Every number drawn.
    pub csv: String,
    /// Two sentences on what it shows.
    pub sentences: [String; 2],
}

/// Why a figure could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("draw {chart}: {reason}")]
pub struct ChartError {
    /// Which.
    pub chart: &'static str,
    /// What the library says.
    pub reason: String,
}

/// One kind of figure.
pub trait Chart: Sync {
    /// File name without extension.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn about(&self) -> &'static str;
    /// Figures of it, one a store; none when nothing was measured for it.
    fn draw(&self, data: &ResultSet) -> Result<Vec<Figure>, ChartError>;
}

/// Every chart, in the order of a report.
pub fn all() -> &'static [&'static dyn Chart] {
    &[
        &first_write_by_size::FirstWriteBySize,
        &first_write_by_depth::FirstWriteByDepth,
        &first_write_heatmap::FirstWriteHeatmap,
        &first_write_distribution::FirstWriteDistribution,
        &lookup_by_depth::LookupByDepth,
        &resident_by_containers::ResidentByContainers,
        &tax_over_bind::TaxOverBind,
    ]
}
