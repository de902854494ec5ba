//! Pages: a run as one self-contained HTML file, the same in Markdown, and an SVG and a CSV for each figure.
//!
//! It reads a [`Run`] and nothing else; the same run gives the same bytes. The command line calls it.

mod document;
mod html;
mod markdown;
mod verdict;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::chart::ChartError;
use crate::record::Run;

use document::Document;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A system call failed.
    #[error("{operation} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The errno.
        source: io::Error,
    },
    /// A figure could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

fn at<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ReportError + 'a {
    move |source| ReportError::Io { operation, path: path.to_owned(), source }
}

/// Renders a run into a folder: `index.html`, `index.md` and `charts/<name>.{svg,csv}`. An earlier report there is replaced when the new
/// one is complete.
pub fn render(run: &Run, out: &Path) -> Result<(), ReportError> {
    let document = Document::new(run)?;
    let parent = out.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at("create folder", parent))?;
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let partial = parent.join(format!(".{name}.partial-{}", std::process::id()));
    remove(&partial)?;
    write(&document, &partial)?;
    let old = parent.join(format!(".{name}.old-{}", std::process::id()));
    if out.exists() {
        fs::rename(out, &old).map_err(at("move away", out))?;
    }
    fs::rename(&partial, out).map_err(at("rename into", out))?;
    remove(&old)
}

fn remove(path: &Path) -> Result<(), ReportError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(e)),
        _ => Ok(()),
    }
}

fn write(document: &Document, folder: &Path) -> Result<(), ReportError> {
    let charts = folder.join("charts");
    fs::create_dir_all(&charts).map_err(at("create folder", &charts))?;
    let put = |path: PathBuf, text: &str| fs::write(&path, text).map_err(at("write", &path));
    for figure in &document.figures {
        put(charts.join(format!("{}.svg", figure.name)), &figure.svg)?;
        put(charts.join(format!("{}.csv", figure.name)), &figure.csv)?;
    }
    put(folder.join("index.html"), &html::page(document))?;
    put(folder.join("index.md"), &markdown::page(document))
}
