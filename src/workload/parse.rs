//! From TOML to a [`Workload`]: every complaint names file and line, and the nearest valid word.
//!
//! The tables are walked by hand rather than derived, because a derived parser cannot say which line of which axis is wrong, and
//! a study that is refused should be mended in one look.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::files_within;
use super::{
    CacheState, DEPTH_MAX, DriverVariant, Durability, Interned, Job, Measure, ProbeName, Scale, TWIN, TargetLayer,
    Trigger, Workload, format_size, hint, parse_size,
};

/// Most containers that one case may mount.
const CONTAINERS_MAX: u32 = 1_000;
/// Most target files of one stack.
const FILES_MAX: u32 = 100_000;
/// Longest file that is read: somebody may name a device, which has no end.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Largest target: that of no workload comes near, and sums of what a run needs stay far from the end of 64 bits.
const FILE_SIZE_MAX: u64 = 1 << 40;
/// Most cases of a measure in one store: a slip of the hand in two axes has more than any machine measures, or has memory to list.
const CASES_MAX: usize = 1_000_000;
/// Most blocks of one run.
const BLOCKS_MAX: u32 = 1_000;
/// Most folders between the pool and a target.
const DIRECTORIES_MAX: u32 = 64;
/// Most extended attributes of a target: what one block of ext4 holds of short ones.
const XATTRS_MAX: u32 = 32;
/// Most processes of one case.
const PROCESSES_MAX: u32 = 1_000;
/// Default of `bytes_max`.
const BYTES_MAX: u64 = 64 << 20;
/// Size of a target where it is not an axis.
const LOOKUP_FILE_SIZE: u64 = 4096;

/// Why a workload is refused.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The file cannot be read.
    #[error("read workload {path}: {errno}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The errno.
        errno: std::io::Error,
    },
    /// Its content cannot be run.
    #[error("{file}:{line}: {message}")]
    Content {
        /// Which file, as given.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and the nearest thing that is right.
        message: String,
    },
}

/// What the parser must know of drivers without knowing drivers.
pub trait DriverWords {
    /// Names of all drivers, whether or not they are available here.
    fn names(&self) -> Vec<&'static str>;
    /// Refuses options that the driver does not have, saying the nearest that it has.
    fn check_options(&self, driver: &str, options: &[String]) -> Result<(), String>;
}

/// Reads and parses a workload; its name is the file's stem.
pub fn load(path: &Path, scale: Scale, drivers: &dyn DriverWords) -> Result<Workload, WorkloadError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|errno| WorkloadError::Read { path: path.to_owned(), errno })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("longer than {}, and so no workload", format_size(FILE_BYTES_MAX));
        return Err(WorkloadError::Content { file: path.display().to_string(), line: 1, message });
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.as_bytes().get(..e.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        WorkloadError::Content { file: path.display().to_string(), line, message: "not UTF-8, which TOML is".into() }
    })?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&path.display().to_string(), &name, &text, scale, drivers)
}

/// Parses the text of a workload. `file` is what errors call it.
pub fn parse(
    file: &str,
    name: &str,
    text: &str,
    scale: Scale,
    drivers: &dyn DriverWords,
) -> Result<Workload, WorkloadError> {
    let locate = |complaint: Complaint| WorkloadError::Content {
        file: file.to_owned(),
        line: line_of(text, complaint.at),
        message: complaint.message,
    };
    let document = DeTable::parse(text).map_err(|e| {
        let span = e.span().unwrap_or_default();
        // Other messages say what they mean.
        let key = text.get(span.clone()).filter(|_| e.message() == "duplicate key");
        let key = key.map(|key| format!(" `{key}`: remove one of them")).unwrap_or_default();
        locate(Complaint { at: span.start, message: format!("{}{key}", e.message()) })
    })?;
    // The scale that is not wanted is checked as well: a smoke value must not be found wrong only in CI, nor a real one only at night.
    let smoke = workload(name, &document, Scale::Smoke, drivers).map_err(locate)?;
    let real = workload(name, &document, Scale::Real, drivers).map_err(locate)?;
    Ok(match scale {
        Scale::Smoke => smoke,
        Scale::Real => real,
    })
}

/// 1-based line of a byte offset.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// What is wrong, and where in the text.
struct Complaint {
    at: usize,
    message: String,
}

type Parsed<T> = Result<T, Complaint>;

fn complain<T>(span: &Range<usize>, message: impl Into<String>) -> Parsed<T> {
    Err(Complaint { at: span.start, message: message.into() })
}

fn listed(words: &[&str]) -> String {
    words.join(", ")
}

fn workload(name: &str, document: &Spanned<DeTable>, scale: Scale, drivers: &dyn DriverWords) -> Parsed<Workload> {
    let top =
        Table::new(document.get_ref(), document.span(), "a workload", &["title", "why", "driver", "twin", "measure"])?;
    let title = string(top.required("title")?, "title")?;
    let why = string(top.required("why")?, "why")?;
    let mut variants = Vec::new();
    let mut labels = HashSet::new();
    for value in tables(top.required("driver")?, "driver")? {
        let variant = driver(value, drivers)?;
        if !labels.insert(variant.label.clone()) {
            return complain(
                &value.span(),
                format!(
                    "two drivers are labelled {:?}: charts tell them apart by `label`, so give each its own",
                    variant.label
                ),
            );
        }
        variants.push(variant);
    }
    let measured = |value: &Spanned<DeValue>| {
        let measure = measure(value, scale)?;
        let cases = cases_at_most(&measure).saturating_mul(variants.len());
        if cases > CASES_MAX {
            let message = format!("a measure of {cases} cases, blocks and drivers included: at most {CASES_MAX}");
            return complain(&value.span(), message);
        }
        Ok(measure)
    };
    let measures = tables(top.required("measure")?, "measure")?.into_iter().map(measured).collect::<Parsed<_>>()?;
    let known: Vec<&str> = variants.iter().map(|variant| variant.label.as_str()).collect();
    let label = |value: &Spanned<DeValue>| {
        let label = string(value, "twin")?;
        if known.contains(&label.as_str()) {
            return Ok(label);
        }
        let near = hint(&label, &known);
        complain(
            &value.span(),
            format!("twin {label:?} is no driver of this workload{near} (labels: {})", listed(&known)),
        )
    };
    let twins = top.optional("twin").map_or(Ok(Vec::new()), |value| each(value, "twin", label))?;
    Ok(Workload { name: name.to_owned(), title, why, drivers: variants, twins, measures })
}

fn driver(value: &Spanned<DeValue>, drivers: &dyn DriverWords) -> Parsed<DriverVariant> {
    let table = Table::from_value(value, "a driver", &["use", "options", "label"])?;
    let used = table.required("use")?;
    let name = string(used, "use")?;
    let names = drivers.names();
    if !names.contains(&name.as_str()) {
        let near = hint(&name, &names);
        return complain(&used.span(), format!("unknown driver {name:?}{near} (drivers: {})", listed(&names)));
    }
    let options = match table.optional("options") {
        None => Vec::new(),
        Some(value) => {
            let options = list(value, "options")?
                .into_iter()
                .map(|option| string(option, "an option"))
                .collect::<Parsed<Vec<_>>>()?;
            if let Err(message) = drivers.check_options(&name, &options) {
                return complain(&value.span(), message);
            }
            options
        }
    };
    let label = match table.optional("label") {
        Some(value) => label(value)?,
        None if options.is_empty() => name.clone(),
        None => format!("{name} {}", options.join(",")),
    };
    Ok(DriverVariant { driver: name, options, label, twin_of: None })
}

/// The product of the axes and blocks.
fn cases_at_most(measure: &Measure) -> usize {
    let Measure { depth, file_size_bytes, target_layer, cache, containers, trigger, .. } = measure;
    let Measure { durability, directories, xattrs, processes, job, .. } = measure;
    [
        measure.blocks as usize,
        depth.len(),
        file_size_bytes.len(),
        target_layer.len(),
        cache.len(),
        containers.len(),
        trigger.len(),
        durability.len(),
        directories.len(),
        xattrs.len(),
        processes.len(),
        job.len(),
    ]
    .into_iter()
    .fold(1, |product, values| product.saturating_mul(values.max(1)))
}

/// A label, which stands in one line of every table, and which no twin may come to have.
fn label(value: &Spanned<DeValue>) -> Parsed<String> {
    let label = string(value, "label")?;
    if label.contains(char::is_control) {
        return complain(&value.span(), format!("label {label:?} must be one line, without control characters"));
    }
    if label.ends_with(TWIN) {
        return complain(
            &value.span(),
            format!("label {label:?} ends as the run calls a variant that it measures twice: give it another"),
        );
    }
    Ok(label)
}

/// Axes that a probe has, besides `probe`, `why` and `blocks`.
fn axes(probe: ProbeName) -> &'static [&'static str] {
    match probe {
        ProbeName::CopyUp => &[
            "stack",
            "depth",
            "file_size",
            "files",
            "bytes_max",
            "target_layer",
            "cache",
            "trigger",
            "durability",
            "directories",
            "xattrs",
            "processes",
        ],
        ProbeName::Lookup => &["stack", "depth", "files", "target_layer", "cache"],
        ProbeName::PageCache => &["stack", "depth", "file_size", "files", "bytes_max", "target_layer", "containers"],
        ProbeName::Start => &["stack", "program", "depth", "file_size", "files", "target_layer", "cache", "containers"],
        ProbeName::Read => {
            &["stack", "depth", "file_size", "files", "bytes_max", "target_layer", "cache", "directories", "processes"]
        }
        ProbeName::Write => &["depth", "file_size", "files", "bytes_max", "target_layer", "durability"],
        ProbeName::Jobs => &["stack", "depth", "file_size", "files", "cache", "job"],
    }
}

const ALL_AXES: [&str; 15] = [
    "stack",
    "program",
    "depth",
    "file_size",
    "files",
    "bytes_max",
    "target_layer",
    "cache",
    "containers",
    "trigger",
    "durability",
    "directories",
    "xattrs",
    "processes",
    "job",
];
/// What is written in place is this long.
const WRITTEN_FILE_SIZE_MIN: u64 = 4096;
const COMMON: [&str; 3] = ["probe", "why", "blocks"];

fn measure(value: &Spanned<DeValue>, scale: Scale) -> Parsed<Measure> {
    let every_key: Vec<&str> = COMMON.iter().chain(&ALL_AXES).copied().collect();
    let table = Table::from_value(value, "a measure", &every_key)?;
    let named = table.required("probe")?;
    let name = string(named, "probe")?;
    let Some(probe) = ProbeName::ALL.into_iter().find(|probe| probe.as_str() == name) else {
        let names = ProbeName::ALL.map(ProbeName::as_str);
        let near = hint(&name, &names);
        return complain(&named.span(), format!("unknown probe {name:?}{near} (probes: {})", listed(&names)));
    };
    for (key, span) in table.keys() {
        if ALL_AXES.contains(&key) && !axes(probe).contains(&key) {
            return complain(
                &span,
                format!("the probe {name} has no axis `{key}` (its axes: {})", listed(axes(probe))),
            );
        }
    }
    let why = string(table.required("why")?, "why")?;
    let scaled = |key: &str| table.optional(key).map(|value| at_scale(value, key, scale)).transpose();
    let needed = |key: &str| at_scale(table.required(key)?, key, scale);

    let stack = table.optional("stack").map(|value| string(value, "stack")).transpose()?;
    let stack = stack.map(|name| Interned::new(&name));
    let starts_image = stack.is_some() && probe == ProbeName::Start;
    // Nothing is drawn from its files: what is started is one program, wherever it lies, and a job works on all of them.
    let whole_image = starts_image || stack.is_some() && probe == ProbeName::Jobs;
    if stack.is_some() {
        // They say how a stack is built.
        let own: &[&str] = match whole_image {
            true => &["depth", "file_size", "files", "target_layer"],
            false => &["depth", "directories", "xattrs"],
        };
        if let Some((key, span)) = table.keys().find(|(key, _)| own.contains(key)) {
            return complain(&span, format!("an imported image has its own {key}: leave it out, or leave out `stack`"));
        }
    }
    let program = program(&table, starts_image)?;
    let depth = match stack {
        Some(_) => Vec::new(),
        None => each(needed("depth")?, "depth", |v| integer(v, "depth", 1, DEPTH_MAX))?,
    };
    let file_size_bytes = match probe {
        ProbeName::Lookup => vec![LOOKUP_FILE_SIZE],
        _ if whole_image => vec![0],
        ProbeName::Write => each(needed("file_size")?, "file_size", |v| size(v, "file_size", WRITTEN_FILE_SIZE_MIN))?,
        _ => each(needed("file_size")?, "file_size", |v| size(v, "file_size", 0))?,
    };
    let files = if whole_image { 1 } else { integer(needed("files")?, "files", 1, FILES_MAX)? };
    let bytes_max = match scaled("bytes_max")? {
        None => BYTES_MAX,
        Some(value) => size(value, "bytes_max", 1)?,
    };
    let target_layer = match scaled("target_layer")? {
        None if stack.is_some() => Vec::new(),
        None => vec![TargetLayer::Bottom],
        Some(value) => each(value, "target_layer", |v| {
            let target = layer(v)?;
            if stack.is_some() && !matches!(target, TargetLayer::Index(_)) {
                return complain(&v.span(), "the layers of an imported image are numbers from 1 (top)");
            }
            match depth.iter().find(|depth| target.resolve(**depth).is_none()) {
                Some(depth) => complain(
                    &v.span(),
                    format!(
                        "a stack of depth {depth} has layers 1 (top) to {depth} (bottom), and so no such target_layer"
                    ),
                ),
                None => Ok(target),
            }
        })?,
    };
    let cache = match (probe, scaled("cache")?) {
        // The probe evicts the data itself and checks that it is gone.
        (ProbeName::PageCache, _) => vec![CacheState::Cold],
        // What is written to has been opened through the mount before.
        (ProbeName::Write, _) => vec![CacheState::Warm],
        (_, None) => vec![CacheState::Fresh],
        // What a program of an image looks up is not known: none of it can be looked up before.
        (_, value) if starts_image => {
            named_values(value, "cache", &[CacheState::Fresh, CacheState::Cold], CacheState::as_str)?
        }
        (_, value) => named_values(value, "cache", &CacheState::ALL, CacheState::as_str)?,
    };
    let containers = match scaled("containers")? {
        None => vec![1],
        Some(value) => each(value, "containers", |v| integer(v, "containers", 1, CONTAINERS_MAX))?,
    };
    let trigger = named_values(scaled("trigger")?, "trigger", &Trigger::ALL, Trigger::as_str)?;
    let durability = named_values(scaled("durability")?, "durability", &Durability::ALL, Durability::as_str)?;
    let numbers = |key: &str, least: u32, most: u32| match scaled(key)? {
        None => Ok(Vec::new()),
        Some(value) => each(value, key, |v| integer(v, key, least, most)),
    };
    let directories = numbers("directories", 0, DIRECTORIES_MAX)?;
    let xattrs = numbers("xattrs", 0, XATTRS_MAX)?;
    let each_has = file_size_bytes.iter().map(|size| files_within(files, *size, bytes_max)).min().unwrap_or(files);
    let processes = match scaled("processes")? {
        None => Vec::new(),
        Some(value) => each(value, "processes", |v| match integer(v, "processes", 1, PROCESSES_MAX)? {
            count if count > each_has => complain(
                &v.span(),
                format!(
                    "{count} processes cannot each have a file of their own of {each_has}: raise `files`, or `bytes_max`, which lowers it"
                ),
            ),
            count => Ok(count),
        })?,
    };
    let job = match probe {
        ProbeName::Jobs => each(needed("job")?, "job", |v| {
            let job = named_value(v, "job", &Job::ALL, Job::as_str)?;
            if stack.is_some() && !job.works_on_images() {
                let able: Vec<&str> =
                    Job::ALL.into_iter().filter(|job| job.works_on_images()).map(Job::as_str).collect();
                let message = format!(
                    "the job {} needs files that only a built stack has: leave out `stack`, or take a job that an imported image can do ({})",
                    job.as_str(),
                    listed(&able)
                );
                return complain(&v.span(), message);
            }
            Ok(job)
        })?,
        _ => Vec::new(),
    };
    let blocks = match scaled("blocks")? {
        None => 1,
        Some(value) => integer(value, "blocks", 1, BLOCKS_MAX)?,
    };
    Ok(Measure {
        probe,
        why,
        stack,
        program,
        depth,
        file_size_bytes,
        files,
        bytes_max,
        target_layer,
        cache,
        containers,
        trigger,
        durability,
        directories,
        xattrs,
        processes,
        job,
        blocks,
    })
}

/// The command that is started in an image: needed there, and of no use anywhere else.
fn program(table: &Table, starts_image: bool) -> Parsed<Option<Interned>> {
    match (table.optional("program"), starts_image) {
        (Some(value), true) => {
            let text = string(value, "program")?;
            let words: Vec<&str> = text.split_whitespace().collect();
            Ok(Some(Interned::new(&words.join(" "))))
        }
        (None, true) => table.required("program").map(|_| None),
        (Some(value), false) => {
            complain(&value.span(), "a built stack has a program of its own: `program` goes with `stack`")
        }
        (None, false) => Ok(None),
    }
}

fn layer(value: &Spanned<DeValue>) -> Parsed<TargetLayer> {
    const WORDS: [&str; 3] = ["top", "middle", "bottom"];
    match value.get_ref() {
        DeValue::String(word) => match word.as_ref() {
            "top" => Ok(TargetLayer::Top),
            "middle" => Ok(TargetLayer::Middle),
            "bottom" => Ok(TargetLayer::Bottom),
            other => complain(
                &value.span(),
                format!(
                    "unknown target_layer {other:?}{} (top, middle, bottom or a number from 1)",
                    hint(other, &WORDS)
                ),
            ),
        },
        _ => Ok(TargetLayer::Index(integer(value, "target_layer", 1, DEPTH_MAX)?)),
    }
}

/// The values of an axis of words; none where the workload does not have the axis.
fn named_values<T: Copy + PartialEq>(
    value: Option<&Spanned<DeValue>>,
    what: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Parsed<Vec<T>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    each(value, what, |value| named_value(value, what, all, &name))
}

/// One value of an axis of words.
fn named_value<T: Copy>(
    value: &Spanned<DeValue>,
    what: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Parsed<T> {
    let word = string(value, what)?;
    let words: Vec<&str> = all.iter().map(|value| name(*value)).collect();
    match all.iter().find(|value| name(**value) == word) {
        Some(value) => Ok(*value),
        None => complain(
            &value.span(),
            format!("unknown {what} {word:?}{} (one of {})", hint(&word, &words), listed(&words)),
        ),
    }
}

fn string(value: &Spanned<DeValue>, what: &str) -> Parsed<String> {
    match value.get_ref() {
        DeValue::String(text) if text.trim().is_empty() => complain(&value.span(), format!("{what} is empty")),
        DeValue::String(text) => Ok(text.trim().to_owned()),
        other => complain(&value.span(), format!("{what} must be a string, not {}", a(other))),
    }
}

fn integer(value: &Spanned<DeValue>, what: &str, least: u32, most: u32) -> Parsed<u32> {
    match value.get_ref() {
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            match parsed.and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n)) {
                Some(number) => Ok(number),
                None => complain(
                    &value.span(),
                    format!("{what} {} cannot be run: it goes from {least} to {most}", number.as_str()),
                ),
            }
        }
        other => complain(&value.span(), format!("{what} must be a whole number, not {}", a(other))),
    }
}

fn size(value: &Spanned<DeValue>, what: &str, least: u64) -> Parsed<u64> {
    match value.get_ref() {
        DeValue::String(text) => match parse_size(text) {
            Ok(bytes) if bytes < least => {
                complain(&value.span(), format!("{what} {text:?} cannot be run: at least {}", format_size(least)))
            }
            Ok(bytes) if bytes > FILE_SIZE_MAX => {
                let most = format_size(FILE_SIZE_MAX);
                complain(&value.span(), format!("{what} {text:?} cannot be run: at most {most}"))
            }
            Ok(bytes) => Ok(bytes),
            Err(e) => complain(&value.span(), e.to_string()),
        },
        other => complain(&value.span(), format!("{what} must be a size such as \"4 KiB\", not {}", a(other))),
    }
}

/// A TOML type with its article.
fn a(value: &DeValue) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The value itself, or the branch of `{ smoke = .., real = .. }` that the scale asks for. Both branches must be there, so that
/// neither is found wanting only when it is used.
fn at_scale<'a, 'i>(value: &'a Spanned<DeValue<'i>>, key: &str, scale: Scale) -> Parsed<&'a Spanned<DeValue<'i>>> {
    if value.get_ref().is_table() {
        let table = Table::from_value(value, &format!("`{key}` with a smoke and a real value"), &["smoke", "real"])?;
        let (smoke, real) = (table.required("smoke")?, table.required("real")?);
        return Ok(match scale {
            Scale::Smoke => smoke,
            Scale::Real => real,
        });
    }
    Ok(value)
}

fn list<'a, 'i>(value: &'a Spanned<DeValue<'i>>, what: &str) -> Parsed<Vec<&'a Spanned<DeValue<'i>>>> {
    match value.get_ref() {
        DeValue::Array(items) => Ok(items.iter().collect()),
        other => complain(&value.span(), format!("{what} must be an array, not {}", a(other))),
    }
}

/// The values of an axis: a list without repeats, or a single value.
fn each<T: PartialEq>(
    value: &Spanned<DeValue>,
    what: &str,
    parse: impl Fn(&Spanned<DeValue>) -> Parsed<T>,
) -> Parsed<Vec<T>> {
    if !value.get_ref().is_array() {
        return Ok(vec![parse(value)?]);
    }
    let mut values = Vec::new();
    for item in list(value, what)? {
        let parsed = parse(item)?;
        if values.contains(&parsed) {
            return complain(&item.span(), format!("{what} has the same value twice"));
        }
        values.push(parsed);
    }
    if values.is_empty() {
        return complain(&value.span(), format!("{what} has no value"));
    }
    Ok(values)
}

fn tables<'a, 'i>(value: &'a Spanned<DeValue<'i>>, name: &str) -> Parsed<Vec<&'a Spanned<DeValue<'i>>>> {
    match value.get_ref() {
        DeValue::Array(items) if !items.is_empty() => Ok(items.iter().collect()),
        _ => complain(&value.span(), format!("{name} must be one or more tables: write [[{name}]]")),
    }
}

/// A TOML table whose keys are all known.
struct Table<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Range<usize>,
    what: String,
}

impl<'a, 'i> Table<'a, 'i> {
    fn new(table: &'a DeTable<'i>, span: Range<usize>, what: &str, keys: &[&str]) -> Parsed<Self> {
        for key in table.keys() {
            let word: &str = key.get_ref();
            if !keys.contains(&word) {
                let near = hint(word, keys);
                return complain(&key.span(), format!("unknown key `{word}` in {what}{near} (keys: {})", listed(keys)));
            }
        }
        Ok(Table { table, span, what: what.to_owned() })
    }

    fn from_value(value: &'a Spanned<DeValue<'i>>, what: &str, keys: &[&str]) -> Parsed<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Table::new(table, value.span(), what, keys),
            other => complain(&value.span(), format!("{what} must be a table, not {}", a(other))),
        }
    }

    fn optional(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    fn required(&self, key: &str) -> Parsed<&'a Spanned<DeValue<'i>>> {
        match self.optional(key) {
            Some(value) => Ok(value),
            None => complain(&self.span, format!("{} needs the key `{key}`", self.what)),
        }
    }

    fn keys(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.table.keys().map(|key| (key.get_ref().as_ref(), key.span()))
    }
}
