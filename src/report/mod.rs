//! Pages from a run: `index.html`, which needs nothing but itself, and `index.md` with the same words, with an SVG and a CSV for each
//! figure in `charts/`. Reads a [`Run`] and nothing else: no clock, no environment, so that the same run gives the same bytes
//! on any machine in any year. Only `cli` and tests may call it.

mod advice;
mod amplification;
mod breakdown;
mod content;
mod counts;
mod headline;
mod html;
mod images;
mod jobs;
mod machine;
mod markdown;
mod method;
mod model;
mod page;
mod parallel;
mod stores;
mod verdicts;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::analysis::ResultSet;
use crate::chart::{self, ChartError, Figure};
use crate::record::Run;

/// A report as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedReport {
    /// The page for a browser.
    pub html: PathBuf,
    /// The same in Markdown.
    pub markdown: PathBuf,
    /// Names of the figures drawn: the stems of their files in `charts/`.
    pub figures: Vec<String>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A system call failed.
    #[error("{operation} {path}: {errno}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        errno: io::Error,
    },
    /// The folder to write has no name, or holds things that no report has.
    #[error("{path}: {reason}", path = path.display())]
    Out {
        /// The folder.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// A figure could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

/// A chart in the page: drawn, or without data.
struct Plate {
    chart: &'static dyn chart::Chart,
    /// Stem of its files.
    stem: String,
    /// The store to name: of several, where a figure does not hold all.
    store: Option<String>,
    figure: Option<Figure>,
}

/// Renders a run into the folder `out`: `index.html`, `index.md`, `charts/<name>.svg` and `charts/<name>.csv`, where `<name>` ends in
/// `-<store>` if the run has several. An earlier report in `out` is replaced by the new one as a whole, and only when that is complete.
pub fn render(run: &Run, out: &Path) -> Result<RenderedReport, ReportError> {
    let results = ResultSet::of(run);
    let mut plates = plates(&results)?;
    let mut files: Vec<(String, String)> = Vec::new();
    let mut figures = Vec::new();
    for plate in &mut plates {
        let Some(figure) = &mut plate.figure else { continue };
        files.push((format!("charts/{}.csv", plate.stem), std::mem::take(&mut figure.csv)));
        figures.push(plate.stem.clone());
    }
    let page = content::page(run, &results, plates);
    files.push(("index.html".to_owned(), html::write(&page)));
    files.push(("index.md".to_owned(), markdown::write(&page)));
    // The page has the drawings: they are large, and one copy of them is enough.
    drawings(page.blocks, &mut files);
    publish(out, &files)?;
    Ok(RenderedReport { html: out.join("index.html"), markdown: out.join("index.md"), figures })
}

/// The drawings of a page as files, those of its shut sections too.
fn drawings(blocks: Vec<page::Block>, files: &mut Vec<(String, String)>) {
    for block in blocks {
        match block {
            page::Block::Figure { stem, svg, .. } => {
                files.push((format!("charts/{stem}.svg"), with_declaration(&svg)));
            }
            page::Block::Fold { blocks, .. } => drawings(blocks, files),
            _ => {}
        }
    }
}

/// A document of its own has to say that it is UTF-8 SVG; inside HTML it must not.
fn with_declaration(svg: &str) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{svg}")
}

fn plates(results: &ResultSet) -> Result<Vec<Plate>, ReportError> {
    let slugs: Vec<String> = results.stores.iter().map(|store| slug(store)).collect();
    let mut plates = Vec::new();
    for chart in chart::all() {
        let figures = if chart.holds_all_stores() { 1 } else { results.stores.len() };
        for (i, store) in results.stores.iter().take(figures).enumerate() {
            let clash = slugs.iter().filter(|slug| **slug == slugs[i]).count() > 1;
            let named = results.several_stores() && !chart.holds_all_stores();
            let stem = match (named, clash) {
                (false, _) => chart.name().to_owned(),
                (true, false) => format!("{}-{}", chart.name(), slugs[i]),
                (true, true) => format!("{}-{}-{}", chart.name(), slugs[i], i + 1),
            };
            let figure = chart.draw(results, store)?;
            if figure.is_none() && !chart.is_expected() {
                continue;
            }
            plates.push(Plate { chart: *chart, stem, store: named.then(|| store.clone()), figure });
        }
    }
    Ok(plates)
}

/// A label as part of a file name.
fn slug(label: &str) -> String {
    let slug: String =
        label.chars().take(40).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if slug.is_empty() { "store".to_owned() } else { slug }
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ReportError + 'a {
    move |errno| ReportError::Io { operation, path: path.to_owned(), errno }
}

/// Writes the files into a folder beside `out`, then puts it in the place of `out`. A reader sees the old report or the new one;
/// between the two renames, for an instant, neither.
fn publish(out: &Path, files: &[(String, String)]) -> Result<(), ReportError> {
    let Some(name) = out.file_name() else {
        let reason = "has no name of its own: give a folder such as reports/latest".to_owned();
        return Err(ReportError::Out { path: out.to_owned(), reason });
    };
    refuse_foreign(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io_error("create folder", parent))?;
    let beside = |role: &str| {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{role}-{}", std::process::id()));
        parent.join(hidden)
    };
    let (new, old) = (beside("new"), beside("old"));
    let written = write_all(&new, files).and_then(|()| swap(&new, out, &old));
    if written.is_err() && new.exists() {
        // The first error is the one to tell; a folder that cannot be removed either is only litter.
        let _ = fs::remove_dir_all(&new);
    }
    written
}

fn write_all(folder: &Path, files: &[(String, String)]) -> Result<(), ReportError> {
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).map_err(io_error("create folder", &charts))?;
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(io_error("write", &path))?;
    }
    Ok(())
}

fn swap(new: &Path, out: &Path, old: &Path) -> Result<(), ReportError> {
    let replaces = out.exists();
    if replaces {
        fs::rename(out, old).map_err(io_error("move aside", out))?;
    }
    if let Err(errno) = fs::rename(new, out) {
        if replaces {
            // Back to where it was; if that fails too, the first error is the one to tell.
            let _ = fs::rename(old, out);
        }
        return Err(ReportError::Io { operation: "rename into", path: out.to_owned(), errno });
    }
    if replaces {
        fs::remove_dir_all(old).map_err(io_error("remove", old))?;
    }
    Ok(())
}

/// A report replaces the whole folder. A folder that holds anything else was named by mistake.
fn refuse_foreign(out: &Path) -> Result<(), ReportError> {
    let entries = match fs::read_dir(out) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error("list", out)(e)),
    };
    for entry in entries {
        let name = entry.map_err(io_error("list", out))?.file_name();
        if !["index.html", "index.md", "charts"].iter().any(|known| name == *known) {
            let reason = format!(
                "holds {}, which is no part of a report and would be lost: name another folder",
                name.to_string_lossy()
            );
            return Err(ReportError::Out { path: out.to_owned(), reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_safe_file_names() {
        assert_eq!(slug("ssd"), "ssd");
        assert_eq!(slug("../My Disk/<x>"), "___my_disk__x_");
        assert_eq!(slug(""), "store");
    }
}
