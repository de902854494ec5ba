//! The claims of Docker's page with their verdicts, and the checklist of the run.

use super::content::section;
use super::page::{Block, Span, Spans, Table, marked, plain};
use crate::analysis::{Answer, Claim, Finding, Item, ResultSet, Verdict, checklist, human};
use crate::record::{Feature, Run};

/// The section of the verdicts, a row a claim.
pub(super) fn blocks(results: &ResultSet, claims: &[Claim]) -> Vec<Block> {
    let mut blocks = vec![section("verdicts", "What Docker’s page on aufs says, and what was found")];
    blocks.push(Block::Text(plain(format!(
        "Every sentence of Docker’s documentation of its aufs storage driver that speaks of speed or space, asked of every driver of this run. What decides \
         each verdict, and by which rules, is under “{EVIDENCE}”.",
    ))));
    blocks.extend(aufs_is_missing(results).map(|text| Block::Warning(marked(&text))));
    blocks.push(overview(results, claims));
    let missing = claims.iter().filter(|claim| !claim.is_measured()).map(|claim| claim.question);
    let missing: Vec<&str> = missing.collect();
    if !missing.is_empty() {
        blocks.push(Block::Text(plain(format!("Not measured with any driver: {}", missing.join(" ")))));
    }
    blocks
}

const EVIDENCE: &str = "What decides the verdicts";

/// The section of the numbers behind each verdict.
pub(super) fn evidence(results: &ResultSet, claims: &[Claim]) -> Vec<Block> {
    let mut blocks = vec![section("evidence", EVIDENCE)];
    blocks.push(Block::Text(plain(
        "A verdict needs an interval beyond the threshold and a ratio that passes it by more than the same thing differs from itself \
         (noise, from A against A, with the same state of the caches and files of that size); without A against A nothing is concluded from times. “Longer” is by \
         more than a tenth. Of a claim over several points \
         most points have to say the same, each by itself; where some say yes and others no, it depends, and the points are named. States of the \
         caches have verdicts of their own. Blocks: the fewest that a group was measured in, of which the intervals are made.",
    )));
    let mut quoted = "";
    for claim in claims {
        if claim.quote != quoted {
            blocks.push(Block::Quote(claim.quote.to_owned()));
            quoted = claim.quote;
        }
        blocks.push(Block::Text(vec![Span::Text(format!("{} ", claim.question)), Span::Code(claim.id.to_owned())]));
        if claim.findings.is_empty() {
            blocks.push(Block::Text(plain("No driver but the control was asked for.")));
            continue;
        }
        if !claim.is_measured() {
            // A reason that holds for most is told once; which drivers are not here is told elsewhere.
            let told = |words: &str| claim.findings.iter().filter(|finding| finding.words == words).count();
            let reason = claim.findings.iter().map(|finding| &finding.words).max_by_key(|words| told(words));
            let reason = reason.filter(|words| 2 * told(words) > claim.findings.len());
            let reason = reason.map(|words| format!(" {words}")).unwrap_or_default();
            blocks.push(Block::Text(marked(&format!("Not measured with any driver.{reason}"))));
            continue;
        }
        let told = claim.findings.iter().filter(|finding| here(results, &finding.driver));
        let rows = told.map(|finding| row(results, finding)).collect();
        let head = ["Driver", "Verdict", "The numbers that decide it", "Groups", "Blocks"].map(str::to_owned).to_vec();
        blocks.push(Block::Table(Table { head, rows, numeric: vec![3, 4] }));
    }
    blocks
}

/// The section where no claim has a verdict.
pub(super) fn none(claims: &[Claim]) -> Vec<Block> {
    vec![
        section("verdicts", "What Docker’s page on aufs says"),
        Block::Text(plain(
            "This run has no verdict on what Docker’s documentation of its aufs storage driver says of speed and space: the claims are about \
             stacks of a known depth with files of a known size, one process at a time, which workloads/study.toml measures. Not measured here:",
        )),
        Block::List(
            claims
                .iter()
                .map(|claim| vec![Span::Text(format!("{} ", claim.question)), Span::Code(claim.id.to_owned())])
                .collect(),
        ),
    ]
}

/// Drivers that a claim has anything to say about: one that is not here is told of once, and not in every table.
fn here(results: &ResultSet, driver: &str) -> bool {
    results.drivers.iter().any(|info| info.label == driver && info.availability.is_available())
        || results.is_measured(driver)
}

/// What was found, a row a claim that was measured and a column a driver.
fn overview(results: &ResultSet, claims: &[Claim]) -> Block {
    let labels = results.drivers.iter().map(|driver| driver.label.as_str());
    let drivers: Vec<&str> = labels.filter(|label| !results.is_baseline(label) && here(results, label)).collect();
    let head = std::iter::once("Claim".to_owned()).chain(drivers.iter().map(|driver| results.shown(driver))).collect();
    let row = |claim: &Claim| {
        let cells = drivers.iter().map(|driver| cell(results, claim, driver));
        std::iter::once(plain(claim.question)).chain(cells).collect()
    };
    let measured = claims.iter().filter(|claim| claim.is_measured());
    Block::Table(Table { head, rows: measured.map(row).collect(), numeric: Vec::new() })
}

/// The verdicts of a driver: `supported`, or, where they are several, each with the parts of the points of which it holds: `refuted: cold caches, warm
/// caches; depends: fresh caches`.
fn cell(results: &ResultSet, claim: &Claim, driver: &str) -> Spans {
    let mut found: Vec<(Verdict, Vec<String>)> = Vec::new();
    for finding in claim.findings.iter().filter(|finding| finding.driver == driver) {
        let store = Some(finding.store.clone()).filter(|_| results.several_stores());
        let part = Some(finding.part.clone()).filter(|part| !part.is_empty());
        let of = store.into_iter().chain(part).collect::<Vec<String>>().join(" ");
        match found.iter_mut().find(|(verdict, _)| *verdict == finding.verdict) {
            Some((_, parts)) => parts.push(of),
            None => found.push((finding.verdict, vec![of])),
        }
    }
    if found.is_empty() {
        return plain("–");
    }
    let mut spans = Vec::new();
    let one = found.len() == 1;
    for (i, (verdict, parts)) in found.into_iter().enumerate() {
        spans.extend((i > 0).then(|| Span::Text("; ".to_owned())));
        let word = verdict.words().to_owned();
        spans.push(match verdict {
            Verdict::NotMeasured | Verdict::Undecided => Span::Text(word),
            _ => Span::Strong(word),
        });
        let parts = parts.join(", ");
        spans.extend((!one && !parts.is_empty()).then(|| Span::Text(format!(": {parts}"))));
    }
    spans
}

fn name(results: &ResultSet, finding: &Finding) -> String {
    let store = if results.several_stores() { format!(" ({})", finding.store) } else { String::new() };
    let part = if finding.part.is_empty() { String::new() } else { format!(", {}", finding.part) };
    format!("{}{part}{store}", results.shown(&finding.driver))
}

fn row(results: &ResultSet, finding: &Finding) -> Vec<Spans> {
    let verdict = finding.verdict.words().to_owned();
    let verdict = match finding.verdict {
        Verdict::NotMeasured => Span::Text(verdict),
        _ => Span::Strong(verdict),
    };
    let driver = plain(name(results, finding));
    let counts = [finding.groups.len(), finding.blocks].map(|n| plain(n.to_string()));
    [driver, vec![verdict], marked(&finding.words)].into_iter().chain(counts).collect()
}

/// Why aufs itself has no verdict, if it has none.
fn aufs_is_missing(results: &ResultSet) -> Option<String> {
    let mut aufs = results.drivers.iter().filter(|driver| driver.driver == "aufs");
    if aufs.clone().any(|driver| results.is_measured(&driver.label)) {
        return None;
    }
    let why = aufs
        .next()
        .map(|driver| match &driver.availability {
            Feature::Missing { reason, .. } => format!("it is not here ({reason})"),
            Feature::Available { .. } => "none of its cases was measured".to_owned(),
        })
        .unwrap_or_else(|| "the run did not ask for it".to_owned());
    Some(format!(
        "aufs itself was not measured: {why}. What follows says nothing about aufs, only whether the claims hold for the drivers that were \
         measured."
    ))
}

/// The section of the checklist, shut; how many answers are not as they should be can be read all the same.
pub(super) fn checklist_blocks(run: &Run, results: &ResultSet) -> Block {
    let items = checklist(run, results);
    let not = items.iter().filter(|item| item.answer != Answer::Yes).count();
    let hint = format!("{}, {not} not answered by yes", human::count(items.len() as u64, "question"));
    let row = |item: Item| {
        let answer = item.answer.words().to_owned();
        let answer = match item.answer {
            Answer::Yes => Span::Text(answer),
            Answer::No | Answer::NotKnown => Span::Strong(answer),
        };
        vec![plain(item.question), vec![answer], marked(&item.evidence)]
    };
    let rows = items.into_iter().map(row).collect();
    let head = ["Asked of this run", "Answer", "Evidence"].map(str::to_owned).to_vec();
    let blocks = vec![
        Block::Text(plain(
            "The crimes of benchmarking (Heiser), looked for by a program in the records of this run. Yes is as it should be.",
        )),
        Block::Table(Table { head, rows, numeric: Vec::new() }),
    ];
    Block::Fold { id: "checklist", title: "How far this run may be trusted".to_owned(), hint, blocks }
}
