//! What to do, from the run's own verdicts: which work belongs in a volume, which is as well off in a layer, and what this run does not decide. Nothing
//! is advised that no verdict bears out.

use super::content::section;
use super::page::{Block, Span, Spans, plain};
use crate::analysis::{Claim, Finding, ResultSet, Verdict, human};
use crate::record::Waits;

/// A claim that decides what to do, and the work that it is about.
struct Question {
    claim: &'static str,
    work: &'static str,
    /// What to do where the claim is supported, and where it is refuted.
    advice: [&'static str; 2],
    /// Whether who never waits for the disk does not do the same work.
    durable: bool,
}

const VOLUME: [&str; 2] = ["a volume", "a layer will do"];

const QUESTIONS: [Question; 7] = [
    Question {
        claim: "volumes-best-first-write",
        work: "first writes to files of the image",
        advice: VOLUME,
        durable: false,
    },
    Question {
        claim: "volumes-best-later-writes",
        work: "later writes to the same files, opened each time",
        advice: VOLUME,
        durable: false,
    },
    Question {
        claim: "volumes-best-overwrites",
        work: "writes in place to a file that stays open",
        advice: VOLUME,
        durable: false,
    },
    Question {
        claim: "volumes-best-durable-overwrites",
        work: "the same, made durable one by one, as of a database",
        advice: VOLUME,
        durable: true,
    },
    Question { claim: "volumes-best-new-files", work: "new files", advice: VOLUME, durable: false },
    Question { claim: "volumes-best-programs", work: "programs that mostly write", advice: VOLUME, durable: false },
    Question {
        claim: "grows-with-depth",
        work: "first writes through many layers",
        advice: ["fewer layers pay", "more layers do little"],
        durable: false,
    },
];

/// The section; nothing where no verdict says anything of it.
pub(super) fn blocks(results: &ResultSet, claims: &[Claim]) -> Vec<Block> {
    let mut blocks = Vec::new();
    for store in &results.stores {
        let asked = |question: &'static Question| {
            let claim = claims.iter().find(|claim| claim.id == question.claim)?;
            let findings = claim.findings.iter().filter(|f| f.store == *store && f.verdict != Verdict::NotMeasured);
            let findings: Vec<&Finding> = findings.collect();
            (!findings.is_empty()).then_some((question, findings))
        };
        let asked: Vec<(&Question, Vec<&Finding>)> = QUESTIONS.iter().filter_map(asked).collect();
        if asked.is_empty() {
            continue;
        }
        if results.several_stores() {
            blocks.push(Block::Heading(format!("On {store}")));
        }
        blocks.push(Block::Text(summary(results, &asked)));
        blocks.push(Block::List(asked.iter().map(|(question, findings)| item(results, question, findings)).collect()));
    }
    if blocks.is_empty() {
        return blocks;
    }
    let legend = "Each from a verdict below, in its words: what is not decided there is not decided here. In brackets what the interval of the ratio leaves: a layer takes at \
                  least (≥) or at most (≤) so many times what a volume takes, and many layers what a single one does, in the mean over the points of the verdict.";
    let head = [section("what-to-do", "What to do: volume or layer?"), Block::Text(plain(legend))];
    head.into_iter().chain(blocks).collect()
}

/// What holds with every driver, in a sentence or two.
fn summary(results: &ResultSet, asked: &[(&Question, Vec<&Finding>)]) -> Spans {
    let of_volumes = asked.iter().filter(|(question, _)| question.advice == VOLUME);
    let all = |wanted: Verdict| -> Vec<&str> {
        let holds = |(question, findings): &&(&Question, Vec<&Finding>)| {
            let mut same = findings.iter().filter(|f| counts(results, question, f)).peekable();
            same.peek().is_some() && same.all(|finding| finding.verdict == wanted)
        };
        of_volumes.clone().filter(holds).map(|(question, _)| question.work).collect()
    };
    let (volume, layer) = (all(Verdict::Supported), all(Verdict::Refuted));
    let mut said = Vec::new();
    if !volume.is_empty() {
        said.push(format!("Whatever the driver, a volume is faster for {}.", human::list(&volume)));
    }
    if !layer.is_empty() {
        said.push(format!("Whatever the driver, a layer is as good for {}.", human::list(&layer)));
    }
    if volume.len() + layer.len() < of_volumes.count() {
        let rest = if said.is_empty() { "What is faster" } else { "For the rest it" };
        said.push(format!("{rest} depends on the driver, or is not decided here."));
    }
    vec![Span::Strong(said.join(" "))]
}

/// Whether a finding is about the work at all: who never waits makes nothing durable, however fast that is.
fn counts(results: &ResultSet, question: &Question, finding: &Finding) -> bool {
    let never = |driver: &str| results.drivers.iter().any(|info| info.label == driver && info.waits() == Waits::Never);
    !(question.durable && never(&finding.driver))
}

/// A kind of work, and for each answer the drivers that give it.
fn item(results: &ResultSet, question: &Question, findings: &[&Finding]) -> Spans {
    let (counted, left): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().copied().partition(|finding| counts(results, question, finding));
    let mut clauses = Vec::new();
    let [yes, no] = question.advice;
    for (verdict, words) in [
        (Verdict::Supported, yes),
        (Verdict::Refuted, no),
        (Verdict::Depends, "it depends on what is written"),
        (Verdict::Undecided, "not decided here"),
    ] {
        let who = who(&counted, verdict);
        if !who.is_empty() {
            clauses.push((words, format!(" with {}", human::list(&who))));
        }
    }
    let mut left: Vec<&str> = left.iter().map(|finding| finding.driver.as_str()).collect();
    left.dedup();
    if !left.is_empty() {
        clauses.push(("no answer", format!(" with {}, which makes nothing durable", human::list(&left))));
    }
    let mut letters = question.work.chars();
    let work: String = letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default();
    let mut spans = plain(format!("{work}: "));
    for (at, (words, with)) in clauses.into_iter().enumerate() {
        spans.extend((at > 0).then(|| Span::Text("; ".to_owned())));
        spans.push(Span::Strong(words.to_owned()));
        spans.push(Span::Text(with));
    }
    spans.push(Span::Text(".".to_owned()));
    spans
}

/// Drivers with a verdict, each with the bound that it is sure of, and with the part of the points where its others say something else.
fn who(findings: &[&Finding], verdict: Verdict) -> Vec<String> {
    let mut drivers: Vec<&str> = findings.iter().filter(|f| f.verdict == verdict).map(|f| f.driver.as_str()).collect();
    drivers.dedup();
    let words = |driver: &str| {
        let all = || findings.iter().filter(move |finding| finding.driver == driver);
        let same = || all().filter(|finding| finding.verdict == verdict);
        // What its other findings say differs: then it has to be said of what this one holds.
        let parts = same().map(|f| f.part.clone()).filter(|part| !part.is_empty() && all().count() > same().count());
        let intervals = same().filter_map(|finding| finding.effect.and_then(|effect| effect.interval));
        let bound = match verdict {
            Verdict::Supported => {
                intervals.map(|i| i.low).reduce(f64::min).map(|low| format!("≥\u{a0}{}", human::ratio(low)))
            }
            Verdict::Refuted => {
                intervals.map(|i| i.high).reduce(f64::max).map(|high| format!("≤\u{a0}{}", human::ratio(high)))
            }
            _ => None,
        };
        let of: Vec<String> = parts.chain(bound).collect();
        if of.is_empty() { driver.to_owned() } else { format!("{driver} ({})", of.join(", ")) }
    };
    drivers.into_iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Effect, Interval};

    fn finding(driver: &str, part: &str, verdict: Verdict, low: f64, high: f64) -> Finding {
        let effect = Effect {
            ratio: (low * high).sqrt(),
            interval: Some(Interval { low, high }),
            threshold: 1.1,
            noise: Some(1.05),
            absolute: [2.0, 1.0],
        };
        Finding {
            driver: driver.into(),
            store: "s".into(),
            part: part.into(),
            verdict,
            effect: Some(effect),
            words: String::new(),
            groups: Vec::new(),
            blocks: 6,
        }
    }

    #[test]
    fn a_driver_is_named_with_the_bound_that_is_sure_and_with_what_it_holds_of() {
        let found = [
            finding("a", "warm caches", Verdict::Supported, 1.5, 2.5),
            finding("a", "fresh caches", Verdict::Supported, 1.25, 9.0),
            finding("b", "warm caches", Verdict::Supported, 3.0, 4.0),
            finding("b", "fresh caches", Verdict::Undecided, 0.5, 2.0),
            finding("c", "", Verdict::Refuted, 0.5, 0.75),
        ];
        let found: Vec<&Finding> = found.iter().collect();
        assert_eq!(who(&found, Verdict::Supported), ["a (≥\u{a0}1.25×)", "b (warm caches, ≥\u{a0}3×)"]);
        assert_eq!(who(&found, Verdict::Refuted), ["c (≤\u{a0}0.750×)"]);
        assert_eq!(who(&found, Verdict::Undecided), ["b (fresh caches)"]);
        assert!(who(&found, Verdict::Depends).is_empty());
    }
}
