//! Three claims of Docker's page on its aufs storage driver, held against what was measured.
//!
//! They were made of aufs; here they are asked of every driver. A driver that was not measured is "not measured", never "refuted".

use super::compare::{Comparison, Difference, compare, compounding};
use super::human;
use super::results::{Data, ResultSet};
use super::view::{PageView, View};
use crate::record::{Feature, metric};

/// What the figures say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The figures bear it out.
    Supported,
    /// A part of it, or in some cases only.
    Partly,
    /// The figures say otherwise.
    Refuted,
    /// Measured, but the differences are not larger than the noise or the samples are too few.
    Undecided,
    /// No figures.
    NotMeasured,
}

impl Verdict {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Supported => "supported",
            Verdict::Partly => "supported in part",
            Verdict::Refuted => "refuted",
            Verdict::Undecided => "undecided",
            Verdict::NotMeasured => "not measured",
        }
    }
}

/// A claim and what the figures say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The claim as the page has it.
    pub quote: &'static str,
    /// What was asked of the figures.
    pub question: &'static str,
    /// One finding a driver, in the order of the run, the control left out.
    pub findings: Vec<Finding>,
}

/// What the figures say of a claim for one driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Label of the driver.
    pub driver: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The numbers that decide it.
    pub numbers: String,
}

/// The three claims for a store.
pub fn claims(results: &ResultSet, store: &str) -> Vec<Claim> {
    type Judge = fn(&ResultSet, &str, &str) -> Option<(Verdict, String)>;
    let table: [(&'static str, &'static str, Judge); 3] = [
        (
            "These latencies increase and are compounded when these files exist below many image layers and the files \
             themselves are large.",
            "Does the first write take longer for a larger file; with more layers; and do both together cost more than each \
             alone adds? Supported: all three. In part: some.",
            compounded,
        ),
        (
            "The underlying mechanics of how AUFS shares files between image layers and containers uses the page cache very \
             efficiently.",
            "Do containers that read the same files of the same image keep them in memory once? Supported: resident bytes stay \
             within 10 % of the files read and the pages compared are the same frames. Refuted: each container adds at least 90 % of \
             a copy of its own.",
            shared,
        ),
        (
            "Volumes provide the best and most predictable performance for write-heavy workloads.",
            "Is the first write slower through the driver than on a bind mount, and does its latency spread more (10th to 90th \
             percentile)? Supported: both, for every size measured. In part: some.",
            volumes,
        ),
    ];
    table
        .into_iter()
        .map(|(quote, question, judge)| {
            let findings = results
                .drivers
                .iter()
                .filter(|driver| !results.is_baseline(&driver.label))
                .map(|driver| {
                    let (verdict, numbers) = judge(results, store, &driver.label)
                        .unwrap_or_else(|| (Verdict::NotMeasured, why_not(&driver.availability)));
                    Finding { driver: driver.label.clone(), verdict, numbers }
                })
                .collect();
            Claim { quote, question, findings }
        })
        .collect()
}

fn why_not(availability: &Feature) -> String {
    match availability {
        Feature::Missing { reason, .. } => format!("The driver is not here: {reason}."),
        Feature::Available { .. } => "No figures of this driver decide it.".to_owned(),
    }
}

/// Supported if all parts are, refuted if all are denied; what is not known counts for neither.
fn verdict(parts: &[Option<bool>]) -> Verdict {
    let yes = parts.iter().filter(|part| **part == Some(true)).count();
    let no = parts.iter().filter(|part| **part == Some(false)).count();
    match (yes, no) {
        (0, 0) => Verdict::Undecided,
        (0, _) if no == parts.len() => Verdict::Refuted,
        (0, _) => Verdict::Undecided,
        (_, 0) if yes == parts.len() => Verdict::Supported,
        _ => Verdict::Partly,
    }
}

/// Whether a thing got slower; `None` when the samples do not say. "No difference" is an answer: it did not.
fn slower(difference: Difference) -> Option<bool> {
    match difference {
        Difference::Higher => Some(true),
        Difference::Lower | Difference::WithinInterval | Difference::WithinNoise => Some(false),
        Difference::Unknown => None,
    }
}

/// A comparison in words: `3.4× (3.1× to 3.6×)`, with what it does not show.
pub(super) fn words(c: &Comparison) -> String {
    let text = format!("{} ({})", human::ratio(c.ratio), human::interval(c.interval, human::ratio));
    match c.difference {
        Difference::Higher | Difference::Lower => text,
        Difference::WithinInterval => format!("{text}: no difference, the interval includes 1"),
        Difference::WithinNoise => {
            let noise = c.noise.map(human::ratio).unwrap_or_default();
            format!("{text}: no difference beyond the noise, twins of the same thing differ by up to {noise}")
        }
        Difference::Unknown => format!("{text}: too few blocks to say"),
    }
}

fn compounded(results: &ResultSet, store: &str, driver: &str) -> Option<(Verdict, String)> {
    let view = View::first_write(results, store)?;
    let measured: Vec<(u32, u64)> = view
        .depths
        .iter()
        .flat_map(|depth| view.sizes.iter().map(move |size| (*depth, *size)))
        .filter(|(depth, size)| view.at(driver, *depth, *size).is_some())
        .collect();
    // The corners of what this driver has: one that stops at 127 layers is judged up to there.
    let shallow = measured.iter().map(|(depth, _)| *depth).min()?;
    let deep = measured.iter().map(|(depth, _)| *depth).max()?;
    let small = measured.iter().map(|(_, size)| *size).min()?;
    let large = measured.iter().map(|(_, size)| *size).max()?;
    let at = |depth, size| view.at(driver, depth, size);

    let mut parts = Vec::new();
    let mut numbers = Vec::new();
    let (s, l) = (human::bytes(small as f64), human::bytes(large as f64));
    let layers = human::count(shallow, "layer");
    match at(shallow, large).zip(at(shallow, small)).and_then(|(l, s)| compare(l, s)).filter(|_| small != large) {
        Some(c) => {
            numbers.push(format!("Size: {l} against {s}, {layers}: {}.", words(&c)));
            parts.push(slower(c.difference));
        }
        None => {
            numbers.push("Size: not measured.".to_owned());
            parts.push(None);
        }
    }
    match at(deep, small).zip(at(shallow, small)).and_then(|(d, s)| compare(d, s)).filter(|_| shallow != deep) {
        Some(c) => {
            numbers.push(format!("Depth: {deep} layers against {shallow}, {s}: {}.", words(&c)));
            parts.push(slower(c.difference));
        }
        None => {
            numbers.push("Depth: not measured.".to_owned());
            parts.push(None);
        }
    }
    let corners = (at(shallow, small), at(deep, small), at(shallow, large), at(deep, large));
    let both = match corners {
        (Some(n), Some(d), Some(l), Some(b)) if small != large && shallow != deep => compounding(n, d, l, b),
        _ => None,
    };
    match both {
        Some(Comparison { ratio: value, interval, difference, .. }) => {
            let finding = match difference {
                Difference::Higher => "compounded",
                Difference::Lower => "less than the sum",
                Difference::WithinNoise => "not compounded beyond the noise",
                Difference::WithinInterval | Difference::Unknown => "not compounded, the interval includes 0",
            };
            let (value, interval) = (human::ratio(value), human::interval(interval, human::ratio));
            numbers.push(format!("Both together beyond the sum of each: {value} ({interval}): {finding}."));
            parts.push(slower(difference));
        }
        None => {
            numbers.push("Both together: not measured.".to_owned());
            parts.push(None);
        }
    }
    Some((verdict(&parts), numbers.join(" ")))
}

fn shared(results: &ResultSet, store: &str, driver: &str) -> Option<(Verdict, String)> {
    let view = PageView::of(results, store)?;
    let n = view.containers.iter().rev().copied().find(|n| *n > 1 && view.at(driver, *n).is_some())?;
    let group = view.at(driver, n)?;
    let mut parts = Vec::new();
    let mut numbers = Vec::new();
    let resident = group.metric(&metric::RESIDENT_BYTES.name).map(Data::p50);
    let once = group.metric(&metric::READ_SET_BYTES.name).map(Data::p50).filter(|bytes| *bytes > 0.0);
    let mut copies = None;
    if let (Some(resident), Some(once)) = (resident, once) {
        copies = Some(resident / once);
        numbers.push(format!(
            "{n} containers keep {} resident for {} read: {} of one copy.",
            human::bytes(resident),
            human::bytes(once),
            human::ratio(resident / once)
        ));
        parts.push(Some(resident / once <= 1.1));
    }
    match view.frames(driver, n) {
        Some((shared, checked)) => {
            numbers.push(format!("{shared} of {checked} pages compared are the same frames of memory."));
            parts.push(Some(shared as f64 >= 0.99 * checked as f64));
        }
        None => numbers.push("Page frames: not measured.".to_owned()),
    }
    if parts.is_empty() {
        return None;
    }
    let verdict = match verdict(&parts) {
        // Neither once nor once for each container.
        Verdict::Refuted if copies.is_some_and(|copies| copies < 1.0 + 0.9 * f64::from(n - 1)) => Verdict::Partly,
        verdict => verdict,
    };
    Some((verdict, numbers.join(" ")))
}

fn volumes(results: &ResultSet, store: &str, driver: &str) -> Option<(Verdict, String)> {
    let bind = results.baseline()?;
    let view = View::first_write(results, store)?;
    let mut parts = Vec::new();
    let mut numbers = Vec::new();
    // As deep as both were measured.
    let deep = view.depths.iter().rev().copied().find(|depth| {
        view.sizes.iter().any(|size| view.at(driver, *depth, *size).is_some() && view.at(bind, *depth, *size).is_some())
    })?;
    for size in &view.sizes {
        let Some((subject, base)) = view.at(driver, deep, *size).zip(view.at(bind, deep, *size)) else { continue };
        let Some(c) = compare(subject, base) else { continue };
        parts.push(slower(c.difference));
        let spread = |data: &Data| data.summary.p90 - data.summary.p10;
        // A spread of one sample is no spread.
        if subject.summary.n > 1 && base.summary.n > 1 {
            parts.push(Some(spread(subject) > spread(base)));
        }
        if *size == view.small() || *size == view.large() {
            numbers.push(format!(
                "{}, {}: {} of {bind}, spread {} against {}.",
                human::bytes(*size as f64),
                human::count(deep, "layer"),
                words(&c),
                human::ns(spread(subject)),
                human::ns(spread(base))
            ));
        }
    }
    if parts.is_empty() {
        return None;
    }
    Some((verdict(&parts), numbers.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_all_parts_for_a_yes_and_all_for_a_no() {
        let (yes, no, unknown) = (Some(true), Some(false), None);
        for (parts, expected) in [
            (&[yes, yes, yes][..], Verdict::Supported),
            (&[yes, no, no], Verdict::Partly),
            (&[yes, yes, unknown], Verdict::Partly),
            (&[no, no, no], Verdict::Refuted),
            (&[no, no, unknown], Verdict::Undecided),
            (&[unknown, unknown], Verdict::Undecided),
            (&[], Verdict::Undecided),
        ] {
            assert_eq!(verdict(parts), expected, "{parts:?}");
        }
    }
}
