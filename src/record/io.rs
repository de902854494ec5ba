//! Writing a run, a line a case, and reading it back: what is damaged is left out and named.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

use super::{CaseRecord, RunManifest, SCHEMA_VERSION};

/// Name of the manifest in a run's folder.
const MANIFEST: &str = "run.json";
/// Name of the file of cases in a run's folder.
const CASES: &str = "cases.jsonl";
/// Longest line of cases that is read, in bytes: some 30 million samples. A file of something else may have no newline at all, and
/// must not fill the memory before it is found out.
const LINE_MAX: usize = 256 << 20;
/// Longest reason kept of a damaged line, in characters: a parser may quote what it did not understand.
const REASON_MAX: usize = 200;

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
    /// Another layerbench wrote it, or nobody did.
    #[error("{path}: schema version {found} is not known, this layerbench reads 1 to {known}{remedy}", path = path.display(),
            remedy = if *found > u64::from(*known) { ": use a newer layerbench" } else { "" })]
    Schema {
        /// Which file.
        path: PathBuf,
        /// Version found.
        found: u64,
        /// Newest version known.
        known: u32,
    },
    /// No line of the cases can be read.
    #[error("{path}: {all}; line {line}: {reason}", path = path.display(), all = all_damaged(*count), line = first.line,
            reason = first.reason)]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How many lines.
        count: usize,
        /// The first of them.
        first: DamagedLine,
    },
}

/// A line of `cases.jsonl` that could not be read, and was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLine {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it, with the column in bytes where that is known: one line of printable text.
    pub reason: String,
}

impl DamagedLine {
    fn new(line: usize, reason: &str) -> DamagedLine {
        // What the parser quotes may hold anything, and goes to terminals and pages.
        let reason = reason.chars().take(REASON_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        DamagedLine { line, reason }
    }

    /// What the parser says, without its own count of lines: it saw only this one.
    fn of(line: usize, error: &serde_json::Error) -> DamagedLine {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match text.strip_suffix(&place) {
            Some(reason) => DamagedLine::new(line, &format!("column {}: {reason}", error.column())),
            None => DamagedLine::new(line, &text),
        }
    }
}

fn all_damaged(count: usize) -> String {
    if count == 1 { "its one line is damaged".to_owned() } else { format!("all {count} lines are damaged") }
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
    /// Lines that could not be read, in order: their cases are not in `cases`, and whoever shows the run must say so.
    pub damaged: Vec<DamagedLine>,
}

impl Run {
    /// Reads `run.json` and `cases.jsonl` of a run's folder, every version up to [`SCHEMA_VERSION`].
    ///
    /// A last line without its newline is left out and reported as `truncated`. Any other line that cannot be read (no JSON, no UTF-8, of
    /// another shape) is left out and named in `damaged`: one bad block of a disk must not take the run with it. It is an error when
    /// no line can be read, when the version is not known, and when `run.json` is damaged, without which cases mean nothing.
    ///
    /// Lines are read one at a time: beyond the records themselves (8 bytes a sample) only one line is in memory.
    pub fn load(folder: &Path) -> Result<Run, RecordError> {
        let manifest = load_manifest(&folder.join(MANIFEST))?;
        let path = folder.join(CASES);
        let mut run =
            Run { folder: folder.to_owned(), manifest, cases: Vec::new(), truncated: false, damaged: Vec::new() };
        match File::open(&path) {
            Ok(file) => run.read_cases(BufReader::new(file)).map_err(io_error("read", &path))?,
            // A run killed before its first case.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("open", &path)(e)),
        }
        match run.damaged.first() {
            Some(first) if run.cases.is_empty() => {
                Err(RecordError::Damaged { path, count: run.damaged.len(), first: first.clone() })
            }
            _ => Ok(run),
        }
    }

    fn read_cases(&mut self, mut reader: impl BufRead) -> io::Result<()> {
        let mut text = Vec::new();
        for number in 1.. {
            match read_line(&mut reader, &mut text, LINE_MAX)? {
                Line::End => break,
                Line::Cut => self.truncated = true,
                Line::TooLong => {
                    self.damaged.push(DamagedLine::new(number, &format!("longer than {} MiB", LINE_MAX >> 20)));
                }
                Line::Whole if text.trim_ascii().is_empty() => {}
                Line::Whole => match serde_json::from_slice::<CaseRecord>(&text) {
                    Ok(mut record) => {
                        record.shrink();
                        self.cases.push(record);
                    }
                    Err(e) => self.damaged.push(DamagedLine::of(number, &e)),
                },
            }
        }
        Ok(())
    }
}

fn load_manifest(path: &Path) -> Result<RunManifest, RecordError> {
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    let format = |line: usize, reason: String| RecordError::Format { path: path.to_owned(), line, reason };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| format(e.line(), e.to_string()))?;
    // Before anything else: what another version means by a field is not ours to guess.
    let found = value
        .get("schema_version")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| format(1, "it has no schema_version that is a number".to_owned()))?;
    if !(1..=u64::from(SCHEMA_VERSION)).contains(&found) {
        return Err(RecordError::Schema { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    let manifest: RunManifest = serde_json::from_slice(&bytes).map_err(|e| format(e.line(), e.to_string()))?;
    // It names the folder of a report.
    if !is_run_name(&manifest.run) {
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().position(|line| line.contains("\"run\"")).unwrap_or(0) + 1;
        let reason =
            format!("the field run is {:?}, which is not the name of a run, such as 2026-11-25.1", manifest.run);
        return Err(format(line, DamagedLine::new(line, &reason).reason));
    }
    Ok(manifest)
}

/// Whether a text can be the name of a run and of folders: one plain word, and none that a folder of reports uses itself.
fn is_run_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !name.is_empty() && name.len() <= 100 && name.chars().all(is_plain) && !name.starts_with('.') && name != "latest"
}

/// What a reader of lines found.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A line with its newline.
    Whole,
    /// Text that ends without a newline.
    Cut,
    /// A line of more than the most bytes: its text was dropped.
    TooLong,
    /// Nothing.
    End,
}

/// Reads the next line into `text`, without its newline, and never holds more than `max` bytes of it.
fn read_line(reader: &mut impl BufRead, text: &mut Vec<u8>, max: usize) -> io::Result<Line> {
    text.clear();
    let (mut any, mut long) = (false, false);
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if available.is_empty() {
            return Ok(if any { Line::Cut } else { Line::End });
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        long |= text.len() + part.len() > max;
        if long {
            text.clear();
        } else {
            text.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(if long { Line::TooLong } else { Line::Whole });
        }
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
    let mut runs = entries(results)?;
    runs.retain(|path| path.join(MANIFEST).is_file());
    runs.sort_by_key(|path| run_key(path));
    Ok(runs)
}

/// What is in `results`, in no order; nothing where it does not exist.
fn entries(results: &Path) -> Result<Vec<PathBuf>, RecordError> {
    let entries = match fs::read_dir(results) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error("list", results)(e)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(io_error("list", results))).collect()
}

/// Sort key of `YYYY-MM-DD.N`, which makes the newest the last: the date as text, then N as a number.
pub fn run_key(path: &Path) -> (String, u64, PathBuf) {
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
    /// Makes the folder `results/<date>.<n>`, with the number after the last one of that day: where an older run was removed, the newest is
    /// the last all the same. mkdir is the lock: two runs never share a folder and none is overwritten. Returns the folder's name and path;
    /// [`RunWriter::create`] then fills it.
    pub fn reserve(results: &Path, date: &str) -> Result<(String, PathBuf), RecordError> {
        fs::create_dir_all(results).map_err(io_error("create folder", results))?;
        let number = |path: &PathBuf| {
            let (day, n, _) = run_key(path);
            (day == date).then_some(n)
        };
        let last = entries(results)?.iter().filter_map(number).max().unwrap_or(0);
        for n in last.saturating_add(1).. {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_at_a_time_and_never_more_than_the_most_bytes_of_one() {
        // Buffers of every size, so that a newline falls on each side of a border.
        for buffer in 1..12 {
            let mut reader = BufReader::with_capacity(buffer, &b"one\n\nfourteen bytes\ntwo\ncut"[..]);
            let mut text = Vec::new();
            let mut found = Vec::new();
            loop {
                let line = read_line(&mut reader, &mut text, 8).unwrap();
                found.push((line, String::from_utf8(text.clone()).unwrap()));
                if found.last().is_some_and(|(line, _)| *line == Line::End) {
                    break;
                }
            }
            let expected = [
                (Line::Whole, "one"),
                (Line::Whole, ""),
                (Line::TooLong, ""),
                (Line::Whole, "two"),
                (Line::Cut, "cut"),
                (Line::End, ""),
            ];
            let expected = expected.map(|(line, text)| (line, text.to_owned()));
            assert_eq!(found, expected, "buffer of {buffer}");
        }
    }

    #[test]
    fn a_reason_is_one_short_line_of_printable_text() {
        let error = serde_json::from_str::<u64>("\n true").unwrap_err();
        assert_eq!(DamagedLine::of(7, &error).reason, "column 5: invalid type: boolean `true`, expected u64");
        let reason = DamagedLine::new(7, &format!("a\x1b[31m\n{}", "x".repeat(1000))).reason;
        assert!(reason.starts_with("a\u{fffd}[31m\u{fffd}x") && reason.chars().count() == REASON_MAX, "{reason}");
    }
}
