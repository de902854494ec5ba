//! What a report says, before it is a page: so that HTML and Markdown cannot differ in content.

use std::collections::BTreeMap;

use super::verdict::{self, Verdict};
use crate::analysis::{Group, Key, ResultSet};
use crate::chart::{self, ChartError, Figure, format_ns};
use crate::record::{Feature, Outcome, Privileges, Run, metric};
use crate::workload::{CacheState, ProbeName, format_size};

/// A table: head, and rows of as many fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// Everything a page says.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What a reader must know before anything else.
    pub(super) warnings: Vec<String>,
    /// The answer in a few sentences.
    pub(super) short: Vec<String>,
    pub(super) key_figures: Table,
    pub(super) key_note: String,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) figures: Vec<Figure>,
    /// Charts that had no data.
    pub(super) not_drawn: Vec<String>,
    pub(super) skipped: Table,
    pub(super) failed: Table,
    pub(super) notes: Vec<String>,
    pub(super) machine: Table,
    pub(super) studies: Vec<(String, String)>,
    pub(super) regenerate: String,
}

impl Document {
    pub(super) fn new(run: &Run) -> Result<Document, ChartError> {
        let data = ResultSet::new(run);
        let mut figures = Vec::new();
        let mut not_drawn = Vec::new();
        for chart in chart::all() {
            let drawn = chart.draw(&data)?;
            if drawn.is_empty() {
                not_drawn.push(format!("{}: not measured in this run ({})", chart.name(), chart.about()));
            }
            figures.extend(drawn);
        }
        let manifest = &run.manifest;
        let host = &manifest.host;
        Ok(Document {
            title: match manifest.workloads.as_slice() {
                [one] => one.title.clone(),
                _ => format!("layerbench run {}", manifest.run),
            },
            subtitle: format!(
                "run {}, Linux {}, {} × {}, {}",
                manifest.run,
                host.kernel,
                host.cpus,
                host.cpu_model,
                manifest.stores.iter().map(|s| format!("{} on {}", s.label, s.fs_type)).collect::<Vec<_>>().join(", ")
            ),
            warnings: warnings(run),
            short: short(&data, run),
            key_figures: key_figures(&data),
            key_note: "Medians with their 95 % intervals; the multiple of bind's median in brackets, where bind was measured at the same \
                       point. — means not measured."
                .into(),
            verdicts: verdict::all(&data, run),
            figures,
            not_drawn,
            skipped: skipped(run),
            failed: failed(run),
            notes: notes(run),
            machine: machine(run),
            studies: manifest.workloads.iter().map(|w| (w.title.clone(), w.why.clone())).collect(),
            regenerate: format!("layerbench report {}", manifest.run),
        })
    }
}

fn warnings(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    let manifest = &run.manifest;
    if manifest.smoke {
        found.push(
            "This is a smoke run: it proves that everything works. Its figures rest on a handful of samples and must not be quoted."
                .into(),
        );
    }
    if run.truncated || run.cases.len() < manifest.planned_cases as usize {
        found.push(format!(
            "The run was interrupted: {} of {} cases ended. What is there is shown; what is missing was not measured.",
            run.cases.len(),
            manifest.planned_cases
        ));
    }
    let failures = run.cases.iter().filter(|c| matches!(c.outcome, Outcome::Failed { .. })).count();
    if failures > 0 {
        found.push(format!("{failures} cases failed and are in no figure; they are listed below."));
    }
    if !run.cases.iter().any(|c| matches!(c.outcome, Outcome::Measured { .. })) {
        found.push("Nothing was measured in this run.".into());
    }
    found
}

/// The point at which a metric is quoted: a size (the nearest to what is wanted), the depth, the cache state.
fn quoted<'a>(
    data: &'a ResultSet,
    name: &str,
    driver: &str,
    cache: CacheState,
    depth: u32,
    size: u64,
) -> Option<&'a Group> {
    data.groups(name).iter().find(|g| {
        let p = g.key.params;
        g.key.driver == driver
            && p.cache == cache
            && p.depth == depth
            && p.file_size_bytes == size
            && p.target_layer == depth
    })
}

/// Depths and sizes that a metric was measured at, at the base, in its usual cache state.
fn ends(data: &ResultSet, name: &str, cache: CacheState) -> Option<((u32, u32), (u64, u64))> {
    let groups: Vec<Key> = data
        .groups(name)
        .iter()
        .map(|g| g.key.clone())
        .filter(|k| k.params.cache == cache && k.params.target_layer == k.params.depth)
        .collect();
    let depths = || groups.iter().map(|k| k.params.depth);
    let sizes = || groups.iter().map(|k| k.params.file_size_bytes);
    Some(((depths().min()?, depths().max()?), (sizes().min()?, sizes().max()?)))
}

fn short(data: &ResultSet, run: &Run) -> Vec<String> {
    let mut said = Vec::new();
    for figure in ["first_write_by_size", "first_write_by_depth", "lookup_by_depth", "resident_by_containers"] {
        let Some(chart) = chart::all().iter().find(|c| c.name() == figure) else { continue };
        // The figure was drawn already, so that this cannot fail where that did not.
        let Ok(drawn) = chart.draw(data) else { continue };
        if let Some(first) = drawn.first() {
            let both = matches!(figure, "first_write_by_size");
            said.extend(first.sentences.iter().take(if both { 2 } else { 1 }).cloned());
        }
    }
    if let Some(advice) = advice(data) {
        said.push(advice);
    }
    if said.is_empty() {
        said.push(format!("Nothing was measured in run {}.", run.manifest.run));
    }
    said
}

/// What belongs in a volume, from the first write of the largest files.
fn advice(data: &ResultSet) -> Option<String> {
    let name = &*metric::FIRST_WRITE_NS.name;
    let cache = data.usual_cache(name)?;
    let ((_, depth), (_, size)) = ends(data, name, cache)?;
    let costs: Vec<String> = data
        .drivers()
        .iter()
        .filter(|driver| !data.is_control(driver))
        .filter_map(|driver| {
            let group = quoted(data, name, driver, cache, depth, size)?;
            let control = data.control_of(name, &group.key)?.summary()?.p50;
            Some(format!("{} with {driver}", format_ns((group.summary()?.p50 - control).max(0.0))))
        })
        .collect();
    let costs = match costs.as_slice() {
        [] => return None,
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    };
    let second = &*metric::SECOND_WRITE_NS.name;
    let again: Vec<f64> = data
        .drivers()
        .iter()
        .filter(|driver| !data.is_control(driver))
        .filter_map(|driver| data.tax(second, quoted(data, second, driver, cache, depth, size)?).map(|t| t.value))
        .collect();
    let tail = match (again.iter().copied().reduce(f64::min), again.iter().copied().reduce(f64::max)) {
        (Some(low), Some(high)) => format!(
            " The second write to the same file costs {low:.1} to {high:.1} times what it costs on a volume: what a layer costs is mostly \
             paid once a file."
        ),
        _ => String::new(),
    };
    Some(format!(
        "A volume saves the whole copy: for the first write to a file of {} under {depth} layers that is {costs}; so large files that are \
         written belong in a volume, and what is only read may stay in a layer.{tail}",
        format_size(size)
    ))
}

/// A row a driver, with the figures that people ask for.
fn key_figures(data: &ResultSet) -> Table {
    let first = &*metric::FIRST_WRITE_NS.name;
    let second = &*metric::SECOND_WRITE_NS.name;
    let hit = &*metric::LOOKUP_HIT_NS.name;
    let miss = &*metric::LOOKUP_MISS_NS.name;
    let warm = &*metric::WARM_READ_NS.name;
    // Metric, cache state, depth, size, heading.
    let mut columns: Vec<(&str, CacheState, u32, u64, String)> = Vec::new();
    if let Some(cache) = data.usual_cache(first)
        && let Some(((shallow, deep), (small, large))) = ends(data, first, cache)
    {
        let mut points = vec![(small, shallow), (small, deep), (large, shallow), (large, deep)];
        points.dedup();
        for (size, depth) in points {
            columns.push((first, cache, depth, size, format!("first write, {}, depth {depth}", format_size(size))));
        }
        columns.push((second, cache, deep, large, format!("second write, {}", format_size(large))));
    }
    for (name, words) in [(hit, "look-up"), (miss, "missing name")] {
        for cache in [CacheState::Fresh, CacheState::Warm] {
            if let Some(((_, deep), (size, _))) = ends(data, name, cache) {
                columns.push((name, cache, deep, size, format!("{words}, {}, depth {deep}", cache.as_str())));
            }
        }
    }
    if let Some(((_, deep), (_, size))) = ends(data, warm, CacheState::Cold) {
        columns.push((warm, CacheState::Cold, deep, size, "cached read, 4 KiB".into()));
    }
    let mut table = Table::default();
    if columns.is_empty() {
        return table;
    }
    table.head = data.drivers().to_vec();
    table.head.insert(0, "operation".into());
    for (name, cache, depth, size, words) in columns {
        let mut row = vec![words];
        for driver in data.drivers() {
            let cell = quoted(data, name, driver, cache, depth, size).and_then(|group| {
                let s = group.summary()?;
                let tax = data.tax(name, group).filter(|_| !data.is_control(driver));
                let tax = tax.map(|t| format!(" ({}×)", Short(t.value))).unwrap_or_default();
                Some(format!(
                    "{} [{} – {}]{tax}",
                    format_ns(s.p50),
                    format_ns(s.interval.low),
                    format_ns(s.interval.high)
                ))
            });
            row.push(cell.unwrap_or_else(|| "—".into()));
        }
        table.rows.push(row);
    }
    table
}

/// Three significant digits, without decimals from 100 on.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            v if v >= 99.95 => write!(f, "{v:.0}"),
            v if v >= 9.995 => write!(f, "{v:.1}"),
            v => write!(f, "{v:.2}"),
        }
    }
}

fn skipped(run: &Run) -> Table {
    let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for driver in &run.manifest.drivers {
        if let Feature::Missing { reason, remedy } = &driver.availability {
            counts.insert((driver.label.clone(), format!("{}: {reason}", driver.driver), remedy.clone()), 0);
        }
    }
    for case in &run.cases {
        if let Outcome::Skipped { reason, remedy } = &case.outcome {
            *counts.entry((case.driver.label.clone(), reason.clone(), remedy.clone())).or_default() += 1;
        }
    }
    Table {
        head: ["driver", "cases", "why", "how to get it"].map(String::from).to_vec(),
        rows: counts
            .into_iter()
            .map(|((driver, reason, remedy), count)| vec![driver, count.to_string(), reason, remedy])
            .collect(),
    }
}

fn failed(run: &Run) -> Table {
    let rows = run
        .cases
        .iter()
        .filter_map(|case| match &case.outcome {
            Outcome::Failed { error } => Some(vec![case.id.clone(), error.clone()]),
            _ => None,
        })
        .collect();
    Table { head: ["case", "error"].map(String::from).to_vec(), rows }
}

fn notes(run: &Run) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &run.cases {
        if let Outcome::Measured { notes, .. } = &case.outcome {
            for note in notes {
                *counts.entry(note).or_default() += 1;
            }
        }
    }
    counts.into_iter().map(|(note, count)| format!("{note} ({count} cases)")).collect()
}

fn machine(run: &Run) -> Table {
    let manifest = &run.manifest;
    let host = &manifest.host;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("run", format!("{}, begun {}", manifest.run, manifest.started));
    row(
        "layerbench",
        format!("{}, commit {}", manifest.layerbench_version, manifest.commit.as_deref().unwrap_or("unknown")),
    );
    row("command", command(&manifest.command));
    row("seed", manifest.seed.to_string());
    row("kernel", format!("Linux {} ({}), {}", host.kernel, host.architecture, host.os));
    let hypervisor = host.hypervisor.as_ref().map(|h| format!(", in a virtual machine ({h})")).unwrap_or_default();
    row("CPU", format!("{} × {}{hypervisor}", host.cpus, host.cpu_model));
    row("frequency governor", host.cpu_governor.clone().unwrap_or_else(|| "not shown by this kernel".into()));
    row("memory", format!("{} MiB, pages of {}", host.memory_bytes >> 20, format_size(host.page_size_bytes)));
    row(
        "privileges",
        match host.privileges {
            Privileges::Root => "root".into(),
            Privileges::UserNamespace => "ordinary user, in user namespaces".into(),
            Privileges::None => "ordinary user without user namespaces".into(),
        },
    );
    for store in &manifest.stores {
        row(
            &format!("store {}", store.label),
            format!(
                "{} ({}) on {}, scheduler {}, rotational flag {}, reflink {}, {} MiB free",
                store.fs_type,
                store.mount_options,
                store.device,
                store.scheduler.as_deref().unwrap_or("none shown"),
                match store.rotational_flag {
                    Some(true) => "1 (a claim)",
                    Some(false) => "0 (a claim)",
                    None => "absent",
                },
                if store.reflink.is_available() { "yes" } else { "no" },
                store.free_bytes >> 20
            ),
        );
    }
    for driver in &manifest.drivers {
        if let Feature::Available { detail } = &driver.availability {
            row(&format!("driver {}", driver.label), detail.clone());
        }
    }
    let cases = |probe: ProbeName| run.cases.iter().filter(|c| c.probe == probe).count();
    let counts: Vec<String> = ProbeName::ALL
        .into_iter()
        .filter(|probe| cases(*probe) > 0)
        .map(|probe| format!("{} {}", cases(probe), probe.as_str()))
        .collect();
    row("cases", format!("{} of {} planned: {}", run.cases.len(), manifest.planned_cases, counts.join(", ")));
    Table { head: Vec::new(), rows }
}

/// The command without the folder that the program lay in.
fn command(words: &[String]) -> String {
    let mut words = words.to_vec();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    words.join(" ")
}
