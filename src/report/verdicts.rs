//! The claims of Docker's page with their verdicts, and the checklist of the run.

use super::content::section;
use super::page::{Block, Span, Spans, Table, marked, plain};
use crate::analysis::{Answer, Claim, Finding, ResultSet, Verdict, checklist, human};
use crate::record::{Feature, Run};

/// The section of the verdicts.
pub(super) fn blocks(results: &ResultSet, claims: &[Claim]) -> Vec<Block> {
    let mut blocks = vec![section("verdicts", "What Docker’s page on aufs says, and what was found")];
    blocks.push(Block::Text(plain(
        "Every sentence of Docker’s documentation of its aufs storage driver that speaks of speed or space, asked of every driver of this \
         run. A verdict needs an interval beyond the threshold and a ratio that passes it by more than the same thing differs from itself \
         (noise, from A against A); without A against A nothing is concluded from times. Where points contradict one another, more here and \
         less there, the verdict is undecided and names both ends.",
    )));
    blocks.extend(aufs_is_missing(results).map(|text| Block::Warning(marked(&text))));
    blocks.push(overview(results, claims));
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
        let rows = claim.findings.iter().map(|finding| row(results, finding)).collect();
        let head = ["Driver", "Verdict", "The numbers that decide it", "Groups"].map(str::to_owned).to_vec();
        blocks.push(Block::Table(Table { head, rows, numeric: vec![3] }));
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

/// How often each verdict was found, a row a claim.
fn overview(results: &ResultSet, claims: &[Claim]) -> Block {
    let verdicts = [Verdict::Supported, Verdict::Refuted, Verdict::Undecided, Verdict::NotMeasured];
    let mut head = vec!["Claim".to_owned()];
    head.extend(verdicts.map(|verdict| verdict.words().to_owned()));
    let rows = claims
        .iter()
        .map(|claim| {
            let mut row = vec![plain(claim.question)];
            row.extend(verdicts.map(|verdict| {
                let with: Vec<String> = claim
                    .findings
                    .iter()
                    .filter(|finding| finding.verdict == verdict)
                    .map(|finding| name(results, finding))
                    .collect();
                plain(if with.is_empty() { "–".to_owned() } else { human::list(&with) })
            }));
            row
        })
        .collect();
    Block::Table(Table { head, rows, numeric: Vec::new() })
}

fn name(results: &ResultSet, finding: &Finding) -> String {
    match results.several_stores() {
        true => format!("{} ({})", finding.driver, finding.store),
        false => finding.driver.clone(),
    }
}

fn row(results: &ResultSet, finding: &Finding) -> Vec<Spans> {
    let verdict = finding.verdict.words().to_owned();
    let verdict = match finding.verdict {
        Verdict::NotMeasured => Span::Text(verdict),
        _ => Span::Strong(verdict),
    };
    let driver = plain(name(results, finding));
    vec![driver, vec![verdict], marked(&finding.words), plain(finding.groups.len().to_string())]
}

/// Why aufs itself has no verdict, if it has none.
fn aufs_is_missing(results: &ResultSet) -> Option<String> {
    let mut aufs = results.drivers.iter().filter(|driver| driver.driver == "aufs");
    let measured =
        |label: &str| results.groups.iter().any(|group| group.key.driver == label && !group.metrics.is_empty());
    if aufs.clone().any(|driver| measured(&driver.label)) {
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

/// The section of the checklist.
pub(super) fn checklist_blocks(run: &Run, results: &ResultSet) -> Vec<Block> {
    let rows = checklist(run, results)
        .into_iter()
        .map(|item| {
            let answer = item.answer.words().to_owned();
            let answer = match item.answer {
                Answer::Yes => Span::Text(answer),
                Answer::No | Answer::NotKnown => Span::Strong(answer),
            };
            vec![plain(item.question), vec![answer], marked(&item.evidence)]
        })
        .collect();
    let head = ["Asked of this run", "Answer", "Evidence"].map(str::to_owned).to_vec();
    vec![
        section("checklist", "How far this run may be trusted"),
        Block::Text(plain(
            "The crimes of benchmarking (Heiser), looked for by a program in the records of this run. Yes is as it should be.",
        )),
        Block::Table(Table { head, rows, numeric: Vec::new() }),
    ]
}
