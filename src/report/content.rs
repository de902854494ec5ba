//! What the page says, in the order in which it is read: the answer, the figures that show it, the verdicts, the details, how it was measured.

use std::collections::BTreeMap;

use super::page::{Block, Page, Span, Spans, Table, fold, marked, plain};
use super::{
    Plate, advice, amplification, breakdown, headline, images, jobs, machine, method, model, parallel, stores, verdicts,
};
use crate::analysis::{Claim, PageView, ResultSet, claims, human, operations};
use crate::record::{DriverInfo, Feature, Guest, Outcome, Run, StoreInfo, metric};

/// The whole page: what was measured where, the answers, the figures that show them, the verdicts; then the details, shut where they are long. A section
/// in which nothing was measured is left out; what that was is said in short, and with the figures.
pub(super) fn page(run: &Run, results: &ResultSet, plates: Vec<Plate>) -> Page {
    let manifest = &run.manifest;
    let (main, more) = figures(plates);
    let mut blocks = vec![Block::Text(plain(measured(run, results)))];
    blocks.extend(warnings(run));
    blocks.push(section("in-short", "In short"));
    blocks.extend(headline::blocks(results));
    let claims = claims(results);
    blocks.extend(advice::blocks(results, &claims));
    blocks.extend(main);
    // What a run has of images is nowhere drawn.
    blocks.extend(images::blocks(results));
    if claims.iter().any(Claim::is_measured) {
        blocks.extend(verdicts::blocks(results, &claims));
        blocks.extend(fold(verdicts::evidence(results, &claims)));
    } else {
        blocks.extend(fold(verdicts::none(&claims)));
    }
    let details = [
        key_figures(results),
        stores::blocks(results),
        jobs::blocks(results),
        parallel::blocks(results),
        breakdown::blocks(results),
        breakdown::processors(run, results),
        amplification::blocks(run, results),
        model::blocks(results),
        more,
    ];
    blocks.extend(details.into_iter().filter_map(fold));
    blocks.extend(missing(run, results));
    blocks.extend(failed(run));
    blocks.push(verdicts::checklist_blocks(run, results));
    let about = [machine::blocks(run), machine::again(run), method::blocks(run)];
    blocks.extend(about.into_iter().filter_map(fold));
    let host = &manifest.host;
    let store = |s: &StoreInfo| {
        let name = if results.several_stores() { format!("store {}", s.label) } else { "the store".to_owned() };
        format!("{name} on {}", or_unknown(&s.fs_type))
    };
    Page {
        title: format!("layerbench, run {}", manifest.run),
        subtitle: format!(
            "What layers cost the containers on this machine: Linux {}, {}, {}.",
            or_unknown(&host.kernel),
            human::count(host.cpus, "CPU"),
            human::list(&manifest.stores.iter().map(store).collect::<Vec<_>>())
        ),
        blocks,
    }
}

/// What was measured, on what and with what: `Measured on 2026-11-30 on ..., with ...: 5720 cases, at most 6 blocks of each. Not measured: aufs.`
fn measured(run: &Run, results: &ResultSet) -> String {
    let (m, tally) = (&run.manifest, run.tally());
    let medium = |s: &StoreInfo| {
        let medium = s.medium.as_ref()?;
        let modelled = if medium.model.is_some() { "a modelled disk, " } else { "" };
        Some(format!("{}: {modelled}{}", s.label, medium.class))
    };
    let media: Vec<String> = m.stores.iter().filter_map(medium).collect();
    let media = if media.is_empty() { String::new() } else { format!(" ({})", media.join("; ")) };
    let day = m.started.split('T').next().unwrap_or_default();
    let (here, not): (Vec<&DriverInfo>, Vec<&DriverInfo>) =
        results.drivers.iter().partition(|driver| results.is_measured(&driver.label));
    let names = |drivers: Vec<&DriverInfo>| drivers.iter().map(|d| results.shown(&d.label)).collect::<Vec<_>>();
    let (here, not) = (names(here), names(not));
    let with = if here.is_empty() { "with no driver".to_owned() } else { format!("with {}", human::list(&here)) };
    let blocks = results.groups.iter().flat_map(|group| group.metrics.values()).map(|data| data.summary.blocks).max();
    let blocks = blocks.map(|n| format!(", at most {} of each", human::count(n as u64, "block"))).unwrap_or_default();
    let not = if not.is_empty() { String::new() } else { format!(" Not measured: {}.", human::list(&not)) };
    format!(
        "Measured on {day} on {}{media}, {with}: {}{blocks}.{not}",
        or_unknown(&m.host.cpu_model),
        human::count(tally.measured, "case"),
    )
}

pub(super) fn section(id: &'static str, title: &str) -> Block {
    Block::Section { id, title: title.to_owned() }
}

/// A section with its head; nothing where it has nothing to show.
pub(super) fn headed(head: [Block; 2], body: Vec<Block>) -> Vec<Block> {
    if body.is_empty() { body } else { head.into_iter().chain(body).collect() }
}

pub(super) fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// Most damaged lines that the page names; the terminal names all.
const DAMAGED_SHOWN: usize = 20;

/// Of how many cases one may be disturbed before it is said in front of the figures.
const DISTURBED_SHARE: u64 = 10;

/// What must be known before the first figure is read.
fn warnings(run: &Run) -> Vec<Block> {
    let mut warnings = Vec::new();
    if run.manifest.smoke {
        warnings.push(
            "This is a smoke run: tiny values that prove that everything runs. Its figures mean nothing and must not be quoted."
                .to_owned(),
        );
    }
    if let Some(mark) = run.manifest.guest.as_ref().and_then(Guest::mark) {
        warnings.push(mark.to_owned());
    }
    if !run.damaged.is_empty() {
        let n = run.damaged.len();
        let lines: Vec<String> =
            run.damaged.iter().take(DAMAGED_SHOWN).map(|damaged| damaged.line.to_string()).collect();
        let more = if n > lines.len() { format!(", and {} more", n - lines.len()) } else { String::new() };
        let (which, are) = if n == 1 { ("line", "is") } else { ("lines", "are") };
        warnings.push(format!(
            "{} of this run’s records cannot be read and {are} left out: {which} {}{more} of cases.jsonl. What they held is not measured.",
            human::count(n as u64, "line"),
            lines.join(", ")
        ));
    }
    let tally = run.tally();
    if tally.interrupted {
        let cut = if run.truncated { " The last line of its records was cut off and is left out." } else { "" };
        warnings.push(format!(
            "This run was interrupted: {} of {} were executed. What is missing is not measured.{cut}",
            run.last_attempts().count(),
            human::count(tally.planned, "planned case")
        ));
    }
    if tally.failed > 0 {
        let cases = human::count(tally.failed, "case");
        warnings.push(format!(
            "{cases} failed and {} not in the figures: see “Failed”.",
            if tally.failed == 1 { "is" } else { "are" }
        ));
    }
    if tally.disturbed * DISTURBED_SHARE > tally.measured {
        warnings.push(format!(
            "The machine was not quiet: {} of {} were disturbed by other programs, by the hypervisor, or by memory that it had to fetch, and stayed so where they were \
             repeated. That is in the intervals: verdicts which need quiet are undecided rather than wrong. See “How far this run may be trusted”.",
            tally.disturbed,
            human::count(tally.measured, "case")
        ));
    }
    if let Some(Feature::Missing { reason, remedy }) = run.manifest.instrument.as_ref().map(|i| &i.awake)
        && run.manifest.guest.is_none()
    {
        warnings.push(format!(
            "Nothing kept processors awake ({reason}), so that whatever asks another process also waits for a processor to wake up: with FUSE every request, which \
             can make it several times as slow. Drivers in the kernel hardly notice. To keep processors awake: {remedy}."
        ));
    }
    if tally.measured == 0 {
        let skipped = human::count(tally.skipped, "case");
        warnings.push(format!("Nothing was measured in this run: {skipped} skipped, {} failed.", tally.failed));
    }
    warnings.into_iter().map(|text| Block::Warning(plain(text))).collect()
}

fn key_figures(results: &ResultSet) -> Vec<Block> {
    let confidence = human::percent(crate::analysis::CONFIDENCE);
    let head = [
        section("key-figures", "Key figures"),
        Block::Text(plain(format!(
            "Medians, with the {confidence} interval of the median in brackets and the number of samples. Lower is better. Drivers that were not \
             measured are told of below. † marks figures with cases whose caches the device contradicts; the checklist names them."
        ))),
    ];
    let mut tables = Vec::new();
    for store in &results.stores {
        let operations = operations(results, store);
        let pages = PageView::of(results, store);
        if operations.is_empty() && pages.is_none() {
            continue;
        }
        if results.several_stores() {
            tables.push(Block::Heading(format!("Store {store}")));
        }
        // Operations are rows while drivers are few enough to be columns; one without a figure would only push the others off the page.
        let drivers: Vec<&str> = results
            .drivers
            .iter()
            .map(|driver| driver.label.as_str())
            .filter(|driver| {
                operations.iter().any(|operation| operation.of(driver).is_some())
                    || pages.as_ref().is_some_and(|pages| pages.drivers.contains(driver))
            })
            .collect();
        let mut head = vec!["Operation".to_owned()];
        head.extend(drivers.iter().map(|driver| results.shown(driver)));
        let numeric = (1..head.len()).collect();
        let mut rows: Vec<Vec<Spans>> = Vec::new();
        for operation in &operations {
            let mut row = vec![plain(operation.label.clone())];
            row.extend(drivers.iter().map(|driver| figure(operation.of(driver), human::ns)));
            rows.push(row);
        }
        if let Some((pages, n)) = pages.as_ref().and_then(|p| Some((p, *p.containers.last()?))) {
            let read = human::count(n, "container");
            let mut row = vec![plain(format!("resident bytes, {read} reading the same files"))];
            row.extend(drivers.iter().map(|driver| {
                let group = pages.at(driver, n);
                figure(group.and_then(|group| group.metric(&metric::RESIDENT_BYTES.name)), human::bytes)
            }));
            rows.push(row);
        }
        tables.push(Block::Table(Table { head, rows, numeric }));
    }
    headed(head, tables)
}

fn figure(data: Option<&crate::analysis::Data>, format: impl Fn(f64) -> String) -> Spans {
    let Some(data) = data else { return plain("not measured") };
    let s = &data.summary;
    vec![
        Span::Strong(format(s.p50)),
        Span::Text(format!(" [{}]", human::interval(s.interval, &format))),
        Span::Text(format!(" n={}{}", s.n, jobs::mark(data))),
    ]
}

/// The figures to look at, and the others. Of several stores those that hold all come first, where there are any.
fn figures(plates: Vec<Plate>) -> (Vec<Block>, Vec<Block>) {
    let across = plates.iter().any(|plate| plate.figure.is_some() && plate.chart.holds_all_stores());
    let mut main = vec![section("figures", "Figures")];
    let mut more = vec![section("more-figures", "More figures")];
    let mut missing = Vec::new();
    for plate in plates {
        let store = plate.store.as_ref().map(|store| format!(", store {store}")).unwrap_or_default();
        let is_main = plate.chart.is_main() && (plate.chart.holds_all_stores() || !across);
        match plate.figure {
            Some(figure) => {
                let blocks = if is_main { &mut main } else { &mut more };
                blocks.push(Block::Heading(format!("{}{store}", figure.title)));
                blocks.push(Block::Figure {
                    stem: plate.stem,
                    title: figure.title,
                    svg: figure.svg,
                    sentences: figure.sentences,
                });
            }
            None => missing.push(vec![
                Span::Code(plate.chart.name().to_owned()),
                Span::Text(format!("{store}: {}.", plate.chart.about())),
            ]),
        }
    }
    if !missing.is_empty() {
        more.push(Block::Text(plain("Not measured in this run:")));
        more.push(Block::List(missing));
    }
    let some = |blocks: Vec<Block>| if blocks.len() > 1 { blocks } else { Vec::new() };
    (some(main), some(more))
}

/// Drivers that were not here, and cases that were skipped although their driver was.
fn missing(run: &Run, results: &ResultSet) -> Vec<Block> {
    let mut blocks = vec![section("not-here", "Not here, and how to get it")];
    let mut rows: Vec<Vec<Spans>> = Vec::new();
    for driver in &results.drivers {
        if let Feature::Missing { reason, remedy } = &driver.availability {
            rows.push(vec![plain(driver.label.clone()), plain("the driver"), marked(reason), marked(remedy)]);
        }
    }
    let mut skipped: BTreeMap<(usize, &str, &str), u64> = BTreeMap::new();
    for record in run.last_attempts() {
        if let Outcome::Skipped { reason, remedy } = &record.outcome {
            let at = results.position(&record.case.driver.label);
            // A missing driver is told once, not once for each of its cases.
            let told = results
                .drivers
                .get(at)
                .is_some_and(|d| matches!(&d.availability, Feature::Missing { reason: known, .. } if known == reason));
            if !told {
                *skipped.entry((at, reason, remedy)).or_default() += 1;
            }
        }
    }
    for ((at, reason, remedy), n) in skipped {
        let label = results.drivers.get(at).map(|driver| driver.label.clone()).unwrap_or_default();
        rows.push(vec![plain(label), plain(human::count(n, "case")), marked(reason), marked(remedy)]);
    }
    if rows.is_empty() {
        blocks.push(Block::Text(plain("Every driver that was asked for was here, and no case was skipped.")));
    } else {
        let head = ["Driver", "What was skipped", "Why", "How to get it"].map(str::to_owned).to_vec();
        blocks.push(Block::Table(Table { head, rows, numeric: Vec::new() }));
    }
    blocks
}

fn failed(run: &Run) -> Vec<Block> {
    let rows: Vec<Vec<Spans>> = run
        .last_attempts()
        .filter_map(|record| match &record.outcome {
            Outcome::Failed { error } => Some(vec![vec![Span::Code(record.case.id.clone())], plain(error.clone())]),
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let head = ["Case", "Error"].map(str::to_owned).to_vec();
    vec![section("failed", "Failed"), Block::Table(Table { head, rows, numeric: Vec::new() })]
}
