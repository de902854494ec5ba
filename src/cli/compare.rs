//! `layerbench compare`: one run against another, as a table or as JSON, with an exit status for scripts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::analysis::{
    Between, CONFIDENCE, Difference, Figure, GroupKey, Mean, Only, OtherVerdict, Ratio, ResultSet, Scope, Side,
    Verdicts, between, claims, human, is_time, unit,
};
use crate::record::{RunManifest, Tally};

/// Most rows of a list, unless all are asked for.
const SHOWN: usize = 20;

/// Appends a line to a text.
macro_rules! line {
    ($text:expr, $($words:tt)*) => {{
        $text.push_str(&format!($($words)*));
        $text.push('\n');
    }};
}

/// What the table does not say for itself.
const RULES: &str = "\
A ratio is B's median divided by A's, of the same store, probe, driver label, parameters and metric; above 1, B takes longer or more. \
It is called a difference only when its interval does not include 1 and it is larger than what the same thing measured twice differs by in either \
run (A against A). Runs share no block, so intervals are not paired; what differs between days is in none of them.\n\n\
With --relative-to DRIVER each time is first divided by that driver's at the same point of its own run. What one machine is faster by than another \
is gone then: what is left is how the drivers compare, and how far that repeats elsewhere. Bytes and counts stay as they are.\n\n\
Last comes whether both runs have the same verdicts on the claims: a reversed one is supported by one run and refuted by the other.\n\n\
With --fail-above RATIO the exit status is 1 when, for some metric that is a time, the interval of the geometric mean of the ratios lies \
wholly above RATIO: over all drivers, or over those of one driver label. Those are named. A mean without an interval (a run of one block) never fails, and \
neither does what only one run has: both are shown.\n\n\
Exit status: 0 all well, 1 above RATIO, 2 bad usage or input, a smoke run, or nothing in common.";

#[derive(Debug, clap::Args)]
#[command(after_help = RULES)]
pub(super) struct CompareArgs {
    /// The run to compare with: a folder, or a name below results/
    #[arg(value_name = "RUN_A")]
    a: PathBuf,
    /// The run to compare
    #[arg(value_name = "RUN_B")]
    b: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Show every row; long lists are cut otherwise
    #[arg(long)]
    all: bool,
    /// Divide each time by that of this driver, at the same point of its own run: for runs on different machines
    #[arg(long, value_name = "DRIVER")]
    relative_to: Option<String>,
    /// Exit with 1 when some time got longer by more than this ratio, such as 1.1 for 10 %
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true, value_parser = parse_ratio)]
    fail_above: Option<f64>,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = super::RESULTS)]
    results: PathBuf,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if ratio.is_finite() && ratio > 0.0 => Ok(ratio),
        _ => Err("not a ratio: give a number above 0, such as 1.1".to_owned()),
    }
}

/// A run without its samples: what comparing needs.
struct Loaded {
    manifest: RunManifest,
    tally: Tally,
    results: ResultSet,
}

impl Loaded {
    fn side(&self) -> Side<'_> {
        Side { manifest: &self.manifest, results: &self.results }
    }

    /// Refuses a label that no driver of the run has.
    fn check_driver(&self, label: &str) -> anyhow::Result<()> {
        let labels: Vec<&str> = self.results.drivers.iter().map(|driver| driver.label.as_str()).collect();
        if labels.contains(&label) {
            return Ok(());
        }
        let run = &self.manifest.run;
        Err(super::bad_input(format!(
            "--relative-to: no driver of run {run} is labelled {label}; there are {}",
            labels.join(", ")
        )))
    }
}

pub(super) fn run(args: CompareArgs) -> anyhow::Result<ExitCode> {
    let (a, b) = (load(&args.a, &args.results)?, load(&args.b, &args.results)?);
    let base = args.relative_to.as_deref();
    if let Some(label) = base {
        a.check_driver(label)?;
        b.check_driver(label)?;
    }
    let found = between(a.side(), b.side(), base).map_err(super::bad_input)?;
    let verdicts = Verdicts::of(&claims(&a.results), &claims(&b.results));
    let above: Vec<&Mean> = args.fail_above.map(|limit| found.above(limit).collect()).unwrap_or_default();
    let text = if args.json {
        as_json((&a, &b), (&found, &verdicts), (args.fail_above, base), &above)?
    } else {
        as_text((&a, &b), (&found, &verdicts), base, args.all)
    };
    super::print(&text)?;
    if found.ratios.is_empty() {
        return Err(super::bad_input(nothing_in_common(&a.manifest, &b.manifest)));
    }
    if let Some(limit) = args.fail_above.filter(|_| above.is_empty()) {
        eprintln!("nothing is above {}", human::ratio(limit));
    }
    for mean in &above {
        let limit = args.fail_above.map(human::ratio).unwrap_or_default();
        let (ratio, interval) = (mean.mean.map(human::ratio), human::interval(mean.interval, human::ratio));
        eprintln!("above {limit}: {}: {} [{interval}]", name_of(mean), ratio.unwrap_or_default());
    }
    Ok(if above.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}

/// Stores are told apart by their labels, which come from their folders where nobody gives them.
fn nothing_in_common(a: &RunManifest, b: &RunManifest) -> String {
    let labels = |run: &RunManifest| run.stores.iter().map(|store| store.label.clone()).collect::<Vec<String>>();
    let (of_a, of_b) = (labels(a), labels(b));
    let why = match of_a.iter().any(|label| of_b.contains(label)) {
        true => String::new(),
        false => format!(
            ": their stores are labelled {} and {}; a label of one's own is given with `run --store LABEL=DIR`",
            human::list(&of_a),
            human::list(&of_b)
        ),
    };
    format!("runs {} and {} have no figure in common{why}", a.run, b.run)
}

fn load(run: &Path, results: &Path) -> anyhow::Result<Loaded> {
    let run = super::runs::load(&super::runs::find(run, results)?)?;
    if run.manifest.smoke {
        return Err(super::bad_input(format!(
            "run {} is a smoke run: its figures mean nothing and are not compared; measure without --smoke",
            run.manifest.run
        )));
    }
    let (tally, results) = (run.tally(), ResultSet::of(&run));
    Ok(Loaded { manifest: run.manifest, tally, results })
}

fn name_of(mean: &Mean) -> String {
    let metric = mean.metric.as_deref().unwrap_or("all times");
    match &mean.driver {
        Some(driver) => format!("{metric}, {driver}"),
        None => metric.to_owned(),
    }
}

/// What may be said of a ratio, in a word.
fn word(difference: Difference) -> &'static str {
    match difference {
        Difference::Higher => "higher",
        Difference::Lower => "lower",
        Difference::WithinInterval => "no difference: within the interval",
        Difference::WithinNoise => "no difference: within A against A",
        Difference::Unknown => "not known: too few blocks",
    }
}

/// `[1,3]`: which of the changes concern a row.
fn marks(ratio: &Ratio) -> String {
    let numbers: Vec<String> = ratio.changes.iter().map(|index| (index + 1).to_string()).collect();
    if numbers.is_empty() { String::new() } else { format!("[{}]", numbers.join(",")) }
}

/// Columns of text, the first `numeric` of them aligned to the right.
fn table(head: &[&str], rows: &[Vec<String>], numeric: usize) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = if column < numeric { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The rows of a list that are shown, and a line that counts the rest.
fn cut<T>(list: &[T], all: bool) -> (&[T], String) {
    match list.get(..SHOWN) {
        Some(shown) if !all && list.len() > SHOWN => {
            (shown, format!("  ... and {} more: --all shows them\n", list.len() - SHOWN))
        }
        _ => (list, String::new()),
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), human::percent)
}

/// How far a run came, and how quiet its machine was: what a difference may come from.
fn came(tally: &Tally) -> String {
    let mut text = format!("{} measured, {} of them disturbed", human::count(tally.measured, "case"), tally.disturbed);
    if tally.failed > 0 {
        text.push_str(&format!(", {} failed", tally.failed));
    }
    if tally.interrupted {
        text.push_str(&format!(", interrupted: {} of {} executed", tally.executed, tally.planned));
    }
    text
}

fn as_text(
    (a, b): (&Loaded, &Loaded),
    (found, verdicts): (&Between, &Verdicts),
    base: Option<&str>,
    all: bool,
) -> String {
    let mut text = String::new();
    for (side, Loaded { manifest, tally, .. }) in [("A", a), ("B", b)] {
        let (run, started, kernel) = (&manifest.run, &manifest.started, &manifest.host.kernel);
        line!(text, "{side}  {run}, {started}, Linux {kernel}: {}", came(tally));
    }
    if (&a.manifest.run, &a.manifest.started) == (&b.manifest.run, &b.manifest.started) {
        text.push_str("A and B are the same run.\n");
    }
    if let Some(base) = base {
        line!(text, "Times are divided by those of {base} at the same point of the same run.");
    }
    text.push_str(&conditions(found));
    text.push_str(&overview(found, all));
    let differences = found.ratios.iter().filter(|ratio| ratio.comparison.difference.is_found()).count();
    let (different, others) = found.ratios.split_at(differences);
    let points = Points::of(&found.ratios);
    line!(
        text,
        "\nDifferences: {differences} of {}, the largest first ({} higher, {} lower in B)",
        found.ratios.len(),
        found.count(Difference::Higher),
        found.count(Difference::Lower)
    );
    text.push_str(&rows(different, &points, base, all));
    line!(
        text,
        "\nNo difference: {} within their interval, {} within A against A; not known, for too few blocks: {}",
        found.count(Difference::WithinInterval),
        found.count(Difference::WithinNoise),
        found.count(Difference::Unknown)
    );
    text.push_str(&rows(others, &points, base, all));
    if !points.common.is_empty() {
        line!(text, "\nIn every row: {}", points.common.join(" "));
    }
    text.push_str(&left_out(found, all));
    text.push_str(&repeated(found));
    text.push_str(&conclusions(verdicts));
    text
}

/// What differs besides the figures.
fn conditions(found: &Between) -> String {
    let mut text = String::new();
    if !found.changes.is_empty() {
        text.push_str("\nNot the same in both, and no fault of the drivers; ratios are marked with the number:\n");
        for (index, change) in found.changes.iter().enumerate() {
            let of = match &change.scope {
                Scope::Run => String::new(),
                Scope::Store(label) => format!("store {label}, "),
                Scope::Driver(label) => format!("{label}, "),
            };
            line!(text, "  [{}] {of}{}: {} -> {}", index + 1, change.what, change.a, change.b);
        }
    }
    if !found.other_options.is_empty() {
        text.push_str("\nNot compared, because the label stands for something else:\n");
        for other in &found.other_options {
            line!(text, "  {}: {} -> {}", other.driver, other.a, other.b);
        }
    }
    text
}

fn overview(found: &Between, all: bool) -> String {
    if found.means.is_empty() {
        return String::new();
    }
    let confidence = format!("{} interval", human::percent(CONFIDENCE));
    let head = ["B/A", &confidence, "ratios", "1 in interval", "B in A's interval", "metric", "driver"];
    let row = |mean: &&Mean| {
        let left_out = if mean.left_out > 0 { format!(" (+{})", mean.left_out) } else { String::new() };
        vec![
            mean.mean.map_or_else(|| "-".to_owned(), human::ratio),
            human::interval(mean.interval, human::ratio),
            format!("{}{left_out}", mean.ratios),
            share(mean.repeated.share_include_one()),
            share(mean.repeated.share_inside()),
            mean.metric.clone().unwrap_or_else(|| "all times".to_owned()),
            mean.driver.clone().unwrap_or_else(|| "all".to_owned()),
        ]
    };
    let (of_all, mut of_one): (Vec<&Mean>, Vec<&Mean>) = found.means.iter().partition(|mean| mean.driver.is_none());
    let size = |mean: &Mean| mean.mean.map_or(0.0, |ratio| ratio.ln().abs());
    of_one.sort_by(|x, y| size(y).total_cmp(&size(x)));
    let (of_one, more) = cut(&of_one, all);
    let rows: Vec<Vec<String>> = of_all.iter().chain(of_one).map(row).collect();
    let note = if found.means.iter().any(|mean| mean.left_out > 0) {
        "  (+n): ratios that are not in the mean, because they have no interval or are 0\n"
    } else {
        ""
    };
    format!(
        "\nGeometric means: of each metric, then of each driver, the largest change first\n{}{more}{note}",
        table(&head, &rows, 5)
    )
}

fn rows(ratios: &[Ratio], points: &Points, base: Option<&str>, all: bool) -> String {
    if ratios.is_empty() {
        return String::new();
    }
    let (shown, more) = cut(ratios, all);
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|ratio| {
            let related = base.is_some() && is_time(&ratio.metric);
            let value =
                |value: f64| if related { human::ratio(value) } else { human::value(value, unit(&ratio.metric)) };
            vec![
                human::ratio(ratio.comparison.ratio),
                human::interval(ratio.comparison.interval, human::ratio),
                value(ratio.a.value),
                value(ratio.b.value),
                ratio.metric.clone(),
                ratio.key.driver.clone(),
                points.of_key(&ratio.key),
                marks(ratio),
            ]
        })
        .collect();
    table(&["B/A", "interval", "A", "B", "metric", "driver", "at", ""], &rows, 4) + &more
}

fn left_out(found: &Between, all: bool) -> String {
    let mut text = String::new();
    if !found.without_ratio.is_empty() {
        let zero = human::count(found.without_ratio.len() as u64, "figure");
        line!(text, "\nNo ratio, because A's median is 0: {zero}");
    }
    for (side, list) in [("A", &found.only_a), ("B", &found.only_b)] {
        if list.is_empty() {
            continue;
        }
        let points: usize = list.iter().map(|only| only.points).sum();
        line!(text, "\nOnly in {side}: {}", human::count(points as u64, "figure"));
        let (shown, more) = cut(list, all);
        let row = |only: &Only| {
            vec![
                only.points.to_string(),
                only.metric.clone(),
                only.driver.clone(),
                format!("store {}", only.store),
                only.why.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
        text.push_str(&table(&["figures", "metric", "driver", "in", "why not in the other"], &rows, 1));
        text.push_str(&more);
    }
    text
}

/// How far B repeats A, in a sentence each for times and for everything.
fn repeated(found: &Between) -> String {
    let times = found.means.iter().find(|mean| mean.metric.is_none()).map(|mean| mean.repeated);
    let mut text = String::from("\nHow far B repeats A\n");
    for (what, repeated) in [("times", times), ("all metrics", Some(found.repeated))] {
        let Some(repeated) = repeated else { continue };
        line!(
            text,
            "  {what}: {} of the intervals of ratios include 1 ({} of {}); {} of B's medians lie in A's interval ({} of {})",
            share(repeated.share_include_one()),
            repeated.include_one,
            repeated.intervals,
            share(repeated.share_inside()),
            repeated.inside,
            repeated.stated
        );
    }
    text
}

/// Whether the runs come to the same verdicts on the claims.
fn conclusions(verdicts: &Verdicts) -> String {
    let Verdicts { in_both, differ } = verdicts;
    if *in_both == 0 {
        return "\nVerdicts: there is no claim on which both runs have one\n".to_owned();
    }
    let mut text = String::new();
    let reversed = differ.iter().filter(|other| other.is_reversed()).count();
    line!(
        text,
        "\nVerdicts: {} of {in_both} are the same, {reversed} reversed; `layerbench verdicts RUN` says what they rest on",
        in_both - differ.len()
    );
    let row = |other: &OtherVerdict| {
        let [a, b] = [other.a, other.b].map(|verdict| verdict.words().to_owned());
        vec![a, b, other.claim.to_owned(), other.subject.clone(), format!("store {}", other.store)]
    };
    if !differ.is_empty() {
        text.push_str(&table(&["A", "B", "claim", "driver", "in"], &differ.iter().map(row).collect::<Vec<_>>(), 0));
    }
    text
}

/// The parameters of every row, without those that all have in common.
struct Points {
    common: Vec<String>,
}

impl Points {
    fn of(ratios: &[Ratio]) -> Points {
        let mut common: Option<Vec<String>> = None;
        for ratio in ratios {
            let words = Points::words(&ratio.key);
            match &mut common {
                Some(common) => common.retain(|word| words.contains(word)),
                None => common = Some(words),
            }
        }
        // With one row everything would be common, and the row would say nothing.
        Points { common: common.filter(|_| ratios.len() > 1).unwrap_or_default() }
    }

    fn words(key: &GroupKey) -> Vec<String> {
        let p = &key.params;
        let size = human::bytes(p.file_size_bytes as f64).replace(' ', "");
        let mut words = vec![
            format!("store={}", key.store),
            key.probe.as_str().to_owned(),
            format!("depth={}", p.depth),
            format!("layer={}", p.target_layer),
            format!("size={size}"),
            format!("files={}", p.files),
            format!("cache={}", p.cache.as_str()),
            format!("containers={}", p.containers),
        ];
        words.extend(p.unusual().split(',').filter(|word| !word.is_empty()).map(str::to_owned));
        words
    }

    fn of_key(&self, key: &GroupKey) -> String {
        let words: Vec<String> = Points::words(key).into_iter().filter(|word| !self.common.contains(word)).collect();
        words.join(" ")
    }
}

fn as_json(
    (a, b): (&Loaded, &Loaded),
    (found, verdicts): (&Between, &Verdicts),
    (limit, base): (Option<f64>, Option<&str>),
    above: &[&Mean],
) -> anyhow::Result<String> {
    let run = |of: &Loaded| {
        let m = &of.manifest;
        json!({ "run": m.run, "started": m.started, "kernel": m.host.kernel, "commit": m.commit, "cases": of.tally })
    };
    let key = |key: &GroupKey, metric: &str| {
        json!({
            "store": key.store, "probe": key.probe, "driver": key.driver, "params": key.params, "metric": metric,
        })
    };
    let side =
        |f: &Figure| json!({ "median": f.value, "interval": f.interval, "samples": f.samples, "blocks": f.blocks });
    let ratio = |ratio: &Ratio| {
        let mut value = key(&ratio.key, &ratio.metric);
        let c = &ratio.comparison;
        if let Value::Object(fields) = &mut value {
            fields.insert("a".to_owned(), side(&ratio.a));
            fields.insert("b".to_owned(), side(&ratio.b));
            fields.insert("ratio".to_owned(), json!(c.ratio));
            fields.insert("interval".to_owned(), json!(c.interval));
            fields.insert("noise".to_owned(), json!(c.noise));
            fields.insert("difference".to_owned(), json!(c.difference.is_found()));
            fields.insert("verdict".to_owned(), json!(word(c.difference)));
            fields.insert("changes".to_owned(), json!(ratio.changes));
        }
        value
    };
    let value = json!({
        "a": run(a),
        "b": run(b),
        "confidence": CONFIDENCE,
        "relative_to": base,
        "changes": found.changes,
        "other_options": found.other_options,
        "means": found.means,
        "ratios": found.ratios.iter().map(ratio).collect::<Vec<_>>(),
        "without_ratio": found.without_ratio.iter().map(|(k, metric)| key(k, metric)).collect::<Vec<_>>(),
        "only_a": found.only_a,
        "only_b": found.only_b,
        "repeated": found.repeated,
        "verdicts": verdicts,
        "fail_above": limit,
        "above": above,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}
