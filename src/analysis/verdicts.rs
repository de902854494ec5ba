//! Whether two runs come to the same verdicts: what somebody who measured on another machine wants to know first.

use serde::Serialize;

use super::claims::{Claim, Finding, Verdict};

/// A question that two runs answer differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherVerdict {
    /// Short name of the claim.
    pub claim: &'static str,
    /// Label of the store.
    pub store: String,
    /// The driver, and the part of the points.
    pub subject: String,
    /// The first run's verdict.
    pub a: Verdict,
    /// The second run's.
    pub b: Verdict,
}

impl OtherVerdict {
    /// Whether one run supports what the other refutes.
    pub fn is_reversed(&self) -> bool {
        matches!((self.a, self.b), (Verdict::Supported, Verdict::Refuted) | (Verdict::Refuted, Verdict::Supported))
    }
}

/// The verdicts of two runs, where both measured what they rest on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// How many questions both runs answer.
    pub in_both: usize,
    /// Those that they answer differently, the reversed ones first, else in the order of the claims.
    pub differ: Vec<OtherVerdict>,
}

impl Verdicts {
    /// Of the claims of two runs.
    pub fn of(a: &[Claim], b: &[Claim]) -> Verdicts {
        let mut verdicts = Verdicts::default();
        for claim in a {
            let Some(other) = b.iter().find(|other| other.id == claim.id) else { continue };
            for finding in claim.findings.iter().filter(|finding| is_measured(finding)) {
                let same = |other: &&Finding| {
                    (&other.driver, &other.store, &other.part) == (&finding.driver, &finding.store, &finding.part)
                };
                let Some(other) = other.findings.iter().filter(|other| is_measured(other)).find(same) else { continue };
                verdicts.in_both += 1;
                if finding.verdict != other.verdict {
                    verdicts.differ.push(OtherVerdict {
                        claim: claim.id,
                        store: finding.store.clone(),
                        subject: finding.subject(),
                        a: finding.verdict,
                        b: other.verdict,
                    });
                }
            }
        }
        verdicts.differ.sort_by_key(|other| !other.is_reversed());
        verdicts
    }
}

fn is_measured(finding: &Finding) -> bool {
    finding.verdict != Verdict::NotMeasured
}

#[cfg(test)]
mod tests {
    use super::super::claims::{Test, What};
    use super::*;

    fn claim(id: &'static str, verdicts: &[(&str, Verdict)]) -> Claim {
        let finding = |(driver, verdict): &(&str, Verdict)| Finding {
            driver: (*driver).to_owned(),
            store: "store".to_owned(),
            part: "cold caches".to_owned(),
            verdict: *verdict,
            effect: None,
            words: String::new(),
            groups: Vec::new(),
            blocks: 5,
        };
        let test = Test::SolidFaster { what: What::of("read", "read_ns") };
        Claim { id, quote: "", question: "", test, findings: verdicts.iter().map(finding).collect() }
    }

    #[test]
    fn only_what_both_measured_counts_and_what_is_reversed_comes_first() {
        use Verdict::{Depends, NotMeasured, Refuted, Supported, Undecided};
        let a = [
            claim("one", &[("x", Supported), ("y", Supported), ("z", NotMeasured)]),
            claim("two", &[("x", Refuted), ("y", Depends), ("only in a", Refuted)]),
            claim("three", &[("x", Refuted)]),
        ];
        let b = [
            claim("two", &[("x", Supported), ("y", Depends)]),
            claim("one", &[("z", Supported), ("y", Undecided), ("x", Supported)]),
            claim("three", &[("x", NotMeasured)]),
        ];
        let verdicts = Verdicts::of(&a, &b);
        assert_eq!(verdicts.in_both, 4);
        let differ: Vec<_> =
            verdicts.differ.iter().map(|other| (other.claim, other.subject.as_str(), other.b)).collect();
        assert_eq!(differ, [("two", "x, cold caches", Supported), ("one", "y, cold caches", Undecided)]);
        assert_eq!(verdicts.differ.iter().map(OtherVerdict::is_reversed).collect::<Vec<_>>(), [true, false]);
        assert_eq!(Verdicts::of(&a, &a).differ, []);
    }
}
