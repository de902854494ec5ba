//! The claims of Docker's page on the aufs storage driver, each against the data of a run.

use crate::analysis::{Group, ResultSet, quantile, ratio};
use crate::chart::format_ns;
use crate::record::{Run, metric};
use crate::workload::format_size;

/// How a claim fares with one driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Supported,
    Refuted,
    NotMeasured,
}

impl Finding {
    pub(super) fn words(self) -> &'static str {
        match self {
            Finding::Supported => "supported",
            Finding::Refuted => "refuted",
            Finding::NotMeasured => "not measured",
        }
    }
}

/// A claim and how it fares with each driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) claim: &'static str,
    /// What is tested, and what would refute it.
    pub(super) test: &'static str,
    /// Driver, finding, the figures that decide.
    pub(super) findings: Vec<(String, Finding, String)>,
}

/// Every claim.
pub(super) fn all(data: &ResultSet, run: &Run) -> Vec<Verdict> {
    let drivers: Vec<&String> = data.drivers().iter().filter(|driver| !data.is_control(driver)).collect();
    let each = |test: &dyn Fn(&str) -> Option<(Finding, String)>| -> Vec<(String, Finding, String)> {
        drivers
            .iter()
            .map(|driver| match test(driver) {
                Some((finding, words)) => ((*driver).clone(), finding, words),
                None => ((*driver).clone(), Finding::NotMeasured, absent(run, driver)),
            })
            .collect()
    };
    vec![
        Verdict {
            claim: "Copy-up latencies increase when files are large.",
            test: "First write of the largest files against the smallest at the same depth. Refuted when the interval of the ratio includes 1 or lies below it.",
            findings: each(&|driver| growth(data, driver, Grow::Size)),
        },
        Verdict {
            claim: "Copy-up latencies increase when files exist below many image layers.",
            test: "First write of the smallest files in the deepest stack against the shallowest. Refuted when the interval of the ratio includes 1 or lies below it.",
            findings: each(&|driver| growth(data, driver, Grow::Depth)),
        },
        Verdict {
            claim: "The two are compounded.",
            test: "Were they compounded, depth would multiply the cost of a large file as it does that of a small one. Supported when the ratio of depths for the largest files is at least that for the smallest, less 10 %; refuted when depth costs large files less than that, in proportion.",
            findings: each(&|driver| compounded(data, driver)),
        },
        Verdict {
            claim: "Files shared between layers use the page cache very efficiently.",
            test: "Resident bytes after the largest number of containers has read the same files. Supported below 1.1 times one container's read set; refuted above.",
            findings: each(&|driver| sharing(data, driver)),
        },
        Verdict {
            claim: "Volumes give the best and most predictable performance for writes.",
            test: "First writes through the driver against bind: supported when the volume's median and its 99th percentile are both lower at every point measured.",
            findings: each(&|driver| volume(data, driver)),
        },
    ]
}

/// Why there is nothing.
fn absent(run: &Run, driver: &str) -> String {
    let missing = run.manifest.drivers.iter().find(|d| d.label == driver && !d.availability.is_available());
    match missing {
        Some(_) => "the driver was not here".into(),
        None => "this run has not the points that the test needs".into(),
    }
}

enum Grow {
    Size,
    Depth,
}

/// First writes of a driver at the base, in the usual cache state.
fn first_writes<'a>(data: &'a ResultSet, driver: &str) -> Vec<&'a Group> {
    let name = &*metric::FIRST_WRITE_NS.name;
    let cache = data.usual_cache(name);
    data.groups(name)
        .iter()
        .filter(|g| {
            let p = g.key.params;
            g.key.driver == driver && Some(p.cache) == cache && p.target_layer == p.depth
        })
        .collect()
}

fn at(groups: &[&Group], depth: u32, size: u64) -> Option<Group> {
    groups.iter().find(|g| g.key.params.depth == depth && g.key.params.file_size_bytes == size).map(|g| (*g).clone())
}

/// Smallest and largest depth, smallest and largest size.
fn corners(groups: &[&Group]) -> Option<(u32, u32, u64, u64)> {
    let depths = || groups.iter().map(|g| g.key.params.depth);
    let sizes = || groups.iter().map(|g| g.key.params.file_size_bytes);
    Some((depths().min()?, depths().max()?, sizes().min()?, sizes().max()?))
}

fn growth(data: &ResultSet, driver: &str, grow: Grow) -> Option<(Finding, String)> {
    let groups = first_writes(data, driver);
    let (shallow, deep, small, large) = corners(&groups)?;
    let (from, to, words) = match grow {
        Grow::Size if small < large => {
            (at(&groups, shallow, small)?, at(&groups, shallow, large)?, (format_size(small), format_size(large)))
        }
        Grow::Depth if shallow < deep => (
            at(&groups, shallow, small)?,
            at(&groups, deep, small)?,
            (format!("{shallow} layers"), format!("{deep} layers")),
        ),
        _ => return None,
    };
    let change = ratio(&to.rounds, &from.rounds)?;
    let finding = if change.interval.low > 1.0 { Finding::Supported } else { Finding::Refuted };
    Some((
        finding,
        format!(
            "{} at {}, {} at {}: {:.2} times [{:.2} – {:.2}]",
            format_ns(from.summary()?.p50),
            words.0,
            format_ns(to.summary()?.p50),
            words.1,
            change.value,
            change.interval.low,
            change.interval.high
        ),
    ))
}

fn compounded(data: &ResultSet, driver: &str) -> Option<(Finding, String)> {
    let groups = first_writes(data, driver);
    let (shallow, deep, small, large) = corners(&groups)?;
    if shallow == deep || small == large {
        return None;
    }
    let by_depth = |size| ratio(&at(&groups, deep, size)?.rounds, &at(&groups, shallow, size)?.rounds);
    let (of_small, of_large) = (by_depth(small)?, by_depth(large)?);
    // Without growth in depth there is nothing that could be compounded.
    let finding = if of_large.interval.low > 1.0 && of_large.value >= 0.9 * of_small.value {
        Finding::Supported
    } else {
        Finding::Refuted
    };
    Some((
        finding,
        format!(
            "{deep} layers cost {:.2} times [{:.2} – {:.2}] what {shallow} cost for {}, and {:.2} times [{:.2} – {:.2}] for {}",
            of_small.value,
            of_small.interval.low,
            of_small.interval.high,
            format_size(small),
            of_large.value,
            of_large.interval.low,
            of_large.interval.high,
            format_size(large)
        ),
    ))
}

fn sharing(data: &ResultSet, driver: &str) -> Option<(Finding, String)> {
    let groups: Vec<&Group> =
        data.groups(&metric::RESIDENT_BYTES.name).iter().filter(|g| g.key.driver == driver).collect();
    let group = groups.iter().max_by_key(|g| (g.key.params.containers, g.key.params.file_size_bytes))?;
    let containers = group.key.params.containers;
    if containers < 2 {
        return None;
    }
    let set = data.find(&metric::READ_SET_BYTES.name, &group.key)?.summary()?.p50;
    let share = group.summary()?.p50 / set;
    let proof = data
        .find(&metric::CHECKED_PAGES.name, &group.key)
        .and_then(Group::summary)
        .zip(data.find(&metric::SHARED_PAGES.name, &group.key).and_then(Group::summary))
        .filter(|(checked, _)| checked.p50 > 0.0)
        .map(|(checked, shared)| format!("; {:.0} of {:.0} pages compared are the same frame", shared.p50, checked.p50))
        .unwrap_or_default();
    let finding = if share < 1.1 { Finding::Supported } else { Finding::Refuted };
    Some((finding, format!("{containers} containers keep {share:.2} times the read set resident{proof}")))
}

fn volume(data: &ResultSet, driver: &str) -> Option<(Finding, String)> {
    let name = &*metric::FIRST_WRITE_NS.name;
    let mut points = 0;
    let mut lower = 0;
    let mut spreads = (0.0f64, 0.0f64);
    for group in first_writes(data, driver) {
        let Some(control) = data.control_of(name, &group.key) else { continue };
        let p99 = |group: &Group| {
            let mut all: Vec<u64> = group.rounds.iter().flatten().copied().collect();
            all.sort_unstable();
            quantile(&all, 0.99)
        };
        let (ours, theirs) = (group.summary()?, control.summary()?);
        let (ours_p99, theirs_p99) = (p99(group)?, p99(control)?);
        points += 1;
        if theirs.p50 < ours.p50 && theirs_p99 < ours_p99 {
            lower += 1;
        }
        spreads = (spreads.0.max(ours_p99 - ours.p50), spreads.1.max(theirs_p99 - theirs.p50));
    }
    if points == 0 {
        return None;
    }
    let finding = if lower == points { Finding::Supported } else { Finding::Refuted };
    Some((
        finding,
        format!(
            "the volume is lower in median and 99th percentile at {lower} of {points} points; the 99th percentile lies up to {} above the median with the driver, up to {} with the volume",
            format_ns(spreads.0),
            format_ns(spreads.1)
        ),
    ))
}
