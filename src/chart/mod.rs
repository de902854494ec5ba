//! One figure per file, drawn from [`crate::analysis`] alone: an SVG, a CSV with every number in it, and two sentences that say what
//! it shows. Nothing here reads or writes a file; `report` does. The same data give the same bytes.
//!
//! A run with several stores gives one figure a store. They share their scales, so that they can be laid side by side. One figure holds all of them.

mod axis;
mod csv;
mod lanes;
mod panel;
mod ratios;
mod sheet;
mod style;
mod words;

mod first_write_by_depth;
mod first_write_by_size;
mod first_write_by_store;
mod first_write_distribution;
mod first_write_heatmap;
mod jobs;
mod lookup_atlas;
mod lookup_by_depth;
mod lookup_panels;
mod model_residuals;
mod parallel;
mod resident_by_containers;
mod start;
mod start_by_place;
mod tax_over_bind;
mod triggers;

use crate::analysis::ResultSet;

/// A kind of figure.
pub trait Chart: Sync {
    /// Name: the stem of its files.
    fn name(&self) -> &'static str;
    /// What it draws, in one line.
    fn about(&self) -> &'static str;
    /// Whether a run without data for it should say so: not where few runs have any.
    fn is_expected(&self) -> bool {
        true
    }
    /// Whether a reader who looks at a few figures should look at this one.
    fn is_main(&self) -> bool {
        false
    }
    /// Whether one figure holds all stores.
    fn holds_all_stores(&self) -> bool {
        false
    }
    /// Draws it for one store, or for all where one figure holds all. `None`: the run has no data for it.
    fn draw(&self, data: &ResultSet, store: &str) -> Result<Option<Figure>, ChartError>;
}

/// A drawn figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Title, as in the drawing.
    pub title: String,
    /// The drawing: a whole SVG document without an XML declaration, so that it can stand inside HTML.
    pub svg: String,
    /// Every number drawn, with the number of samples and the bounds of the interval; RFC 4180 but for lines that end in `\n`.
    pub csv: String,
    /// What it shows, in plain words made from the data.
    pub sentences: [String; 2],
}

/// Why a figure could not be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("draw the figure {figure:?}: {reason}")]
pub struct ChartError {
    /// Its title.
    pub figure: String,
    /// What the drawing library says.
    pub reason: String,
}

/// Looks of the drivers of a figure, as its legend shows them.
fn legend(data: &ResultSet, drivers: &[&str]) -> Vec<(String, style::Look)> {
    drivers.iter().map(|driver| (data.shown(driver), style::look(&data.drivers, driver))).collect()
}

/// Every chart, in the order in which a report shows them.
pub fn all() -> &'static [&'static dyn Chart] {
    &[
        &first_write_by_store::FirstWriteByStore,
        &first_write_by_size::FirstWriteBySize,
        &first_write_by_depth::FirstWriteByDepth,
        &first_write_heatmap::FirstWriteHeatmap,
        &first_write_distribution::FirstWriteDistribution,
        &model_residuals::ModelResiduals,
        &lookup_by_depth::LookupByDepth,
        &lookup_atlas::LookupAtlas,
        &resident_by_containers::ResidentByContainers,
        &start::Start,
        &start_by_place::StartByPlace,
        &tax_over_bind::TaxOverBind,
        &triggers::Triggers,
        &jobs::Jobs,
        &parallel::Parallel,
    ]
}
