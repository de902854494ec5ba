//! Writing a run, a line a case, and reading it back whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

use super::{CaseRecord, RunManifest, SCHEMA_VERSION};

/// Name of the manifest in a run's folder.
const MANIFEST: &str = "run.json";
/// Name of the file of cases in a run's folder.
const CASES: &str = "cases.jsonl";

/// What can go wrong with a run's folder.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
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
    /// A file is not what it should be.
    #[error("{path}:{line}: not a record of layerbench: {reason}", path = path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A newer layerbench wrote it.
    #[error("{path}: schema version {found}, this layerbench reads up to {known}: use a newer layerbench", path = path.display())]
    Schema {
        /// Which file.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version known.
        known: u32,
    },
}

fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RecordError + 'a {
    move |errno| RecordError::Io { operation, path: path.to_owned(), errno }
}

/// A run as read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// What it was.
    pub manifest: RunManifest,
    /// Its cases, in the order they were executed.
    pub cases: Vec<CaseRecord>,
    /// Whether the last line was cut off, as a run that was killed while writing leaves it; that line is not in `cases`.
    pub truncated: bool,
}

impl Run {
    /// Reads `run.json` and `cases.jsonl` of a run's folder. A last line without its newline is left out and reported as
    /// `truncated`; any other line that cannot be read is an error with file and line.
    pub fn load(folder: &Path) -> Result<Run, RecordError> {
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(io_error("read", &path))?;
        let format = |path: &Path, line: usize, reason: &dyn std::fmt::Display| RecordError::Format {
            path: path.to_owned(),
            line,
            reason: reason.to_string(),
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| format(&path, e.line(), &e))?;
        if let Some(found) = value.get("schema_version").and_then(serde_json::Value::as_u64)
            && found > u64::from(SCHEMA_VERSION)
        {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(RecordError::Schema { path, found, known: SCHEMA_VERSION });
        }
        let manifest: RunManifest = serde_json::from_str(&text).map_err(|e| format(&path, e.line(), &e))?;

        let path = folder.join(CASES);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A run killed before its first case.
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(io_error("read", &path)(e)),
        };
        let mut cases = Vec::new();
        let mut truncated = false;
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if !line.ends_with('\n') {
                truncated = true;
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            cases.push(serde_json::from_str(line).map_err(|e| format(&path, index + 1, &e))?);
        }
        Ok(Run { folder: folder.to_owned(), manifest, cases, truncated })
    }
}

impl Run {
    /// Each case once, as its last attempt ended: attempts that were disturbed and repeated are left out.
    pub fn last_attempts(&self) -> impl Iterator<Item = &CaseRecord> {
        self.cases.iter().filter(|record| !record.superseded)
    }
}

/// Folders of `results` that hold a run, oldest first.
pub fn list_runs(results: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = match fs::read_dir(results) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error("list", results)(e)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error("list", results))?.path();
        if path.join(MANIFEST).is_file() {
            runs.push(path);
        }
    }
    runs.sort_by_key(|path| run_key(path));
    Ok(runs)
}

/// Sort key of `YYYY-MM-DD.N`: the date as text, then N as a number.
fn run_key(path: &Path) -> (String, u64, PathBuf) {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let (date, n) = name.rsplit_once('.').unwrap_or((&name, ""));
    (date.to_owned(), n.parse().unwrap_or(0), path.to_owned())
}

/// Appends to a run's folder.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    cases: File,
}

impl RunWriter {
    /// Makes the next free folder `results/<date>.<n>`. mkdir is the lock: two runs never share a folder and none is overwritten.
    /// Returns the folder's name and path; [`RunWriter::create`] then fills it.
    pub fn reserve(results: &Path, date: &str) -> Result<(String, PathBuf), RecordError> {
        fs::create_dir_all(results).map_err(io_error("create folder", results))?;
        for n in 1.. {
            let name = format!("{date}.{n}");
            let folder = results.join(&name);
            match fs::create_dir(&folder) {
                Ok(()) => return Ok((name, folder)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(io_error("create folder", &folder)(e)),
            }
        }
        unreachable!("some number is free")
    }

    /// Writes the manifest into a reserved folder and opens its file of cases. Neither may exist.
    pub fn create(folder: &Path, manifest: &RunManifest) -> Result<RunWriter, RecordError> {
        let path = folder.join(MANIFEST);
        let mut text = serde_json::to_string_pretty(manifest).map_err(|e| RecordError::Format {
            path: path.clone(),
            line: e.line(),
            reason: e.to_string(),
        })?;
        text.push('\n');
        // Complete or absent: a killed run must not leave half a manifest, which would make its cases unreadable.
        let partial = folder.join(".run.json.partial");
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&partial).map_err(io_error("create", &partial))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", &partial))?;
        fs::rename(&partial, &path).map_err(io_error("rename into", &path))?;
        let path = folder.join(CASES);
        let cases = OpenOptions::new().append(true).create_new(true).open(&path).map_err(io_error("create", &path))?;
        Ok(RunWriter { folder: folder.to_owned(), cases })
    }

    /// Appends one case, in one write, so that a kill leaves at most one cut line at the end.
    pub fn append(&mut self, record: &CaseRecord) -> Result<(), RecordError> {
        let path = self.folder.join(CASES);
        let mut line = serde_json::to_string(record).map_err(|e| RecordError::Format {
            path: path.clone(),
            line: e.line(),
            reason: e.to_string(),
        })?;
        line.push('\n');
        self.cases.write_all(line.as_bytes()).map_err(io_error("append to", &path))
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// HdrHistogram V2 (compressed, base64) of samples, three significant digits. `None` if the samples do not fit one.
pub(super) fn encode_histogram(samples: &[u64]) -> Option<String> {
    let mut histogram = Histogram::<u64>::new(3).ok()?;
    for &sample in samples {
        histogram.record(sample).ok()?;
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram, &mut bytes).ok()?;
    Some(base64::engine::general_purpose::STANDARD.encode(bytes))
}
