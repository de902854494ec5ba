//! The tests of claims: from the groups of a run to findings. Only `claims` calls it.
//!
//! `ratio` decides what a ratio says, or many of them; `growth` asks how the first write grows.

mod growth;
mod ratio;

use super::bootstrap::Replicates;
use super::claims::{Effect, Finding, LONGER, Test, Verdict, What};
use super::compare::{Comparison, Statistic};
use super::human;
use super::results::{Data, Group, ResultSet};
use super::view::PageView;
use crate::record::{DriverInfo, Feature, MediumClass, metric};
use crate::workload::Params;
use growth::{compounded, grows_with_depth, grows_with_size};
use ratio::{Basis, Found, Judged, Pairs, Parts, Side, by_cache, over_all, paired, point, tails, told, whole};

/// One finding a driver and store, or one for each part of the points.
pub(super) fn findings(results: &ResultSet, test: Test) -> Vec<Finding> {
    let asked: Vec<&DriverInfo> = results
        .drivers
        .iter()
        .filter(|driver| !results.is_baseline(&driver.label))
        .filter(|driver| base_name(test).is_none_or(|base| base_of(results, base) != Some(driver.label.as_str())))
        .collect();
    let stores: Vec<&str> = match test {
        Test::SolidFaster { .. } => vec![""],
        _ => results.stores.iter().map(String::as_str).collect(),
    };
    let mut findings = Vec::new();
    for store in stores {
        for driver in &asked {
            let parts = match &driver.availability {
                Feature::Missing { reason, .. } if !results.is_measured(&driver.label) => {
                    whole(Err(format!("The driver is not here: {reason}.")))
                }
                _ => judge(results, store, &driver.label, test),
            };
            let store = match store {
                "" => results.stores.join(" and "),
                store => store.to_owned(),
            };
            for (part, found) in parts {
                let (driver, store) = (driver.label.clone(), store.clone());
                findings.push(match found {
                    Ok(Judged { verdict, effect, words, basis: Basis { groups, blocks, contradicted } }) => {
                        let mark = match contradicted {
                            0 => String::new(),
                            n => format!(
                                " † {} in it with caches that the device contradicts.",
                                human::count(n as u64, "case")
                            ),
                        };
                        let (effect, words) = (Some(effect), words + &mark);
                        Finding { driver, store, part, verdict, effect, words, groups, blocks }
                    }
                    Err(words) => Finding {
                        driver,
                        store,
                        part,
                        verdict: Verdict::NotMeasured,
                        effect: None,
                        words,
                        groups: Vec::new(),
                        blocks: 0,
                    },
                });
            }
        }
    }
    findings
}

fn base_name(test: Test) -> Option<&'static str> {
    match test {
        Test::RatioAbove { base, .. } | Test::RatioBelow { base, .. } | Test::TailAbove { base, .. } => Some(base),
        _ => None,
    }
}

/// Label of the variant of a driver without options, or of its first one.
fn base_of<'a>(results: &'a ResultSet, driver: &str) -> Option<&'a str> {
    let mut variants = results.drivers.iter().filter(|info| info.driver == driver);
    let first = variants.clone().next();
    variants.find(|info| info.options.is_empty()).or(first).map(|info| info.label.as_str())
}

fn judge(results: &ResultSet, store: &str, driver: &str, test: Test) -> Parts {
    match test {
        Test::RatioAbove { what, base, threshold } => against(results, store, driver, what, base, |pairs, base| {
            over_all(pairs, (Side::Above, threshold), base, Statistic::Median, None)
        }),
        Test::RatioBelow { what, base, threshold } => against(results, store, driver, what, base, |pairs, base| {
            over_all(pairs, (Side::Below, threshold), base, Statistic::Median, None)
        }),
        Test::TailAbove { what, base } => {
            against(results, store, driver, what, base, |pairs, base| tails(results, what, pairs, base))
        }
        Test::GrowsWithDepth => grows_with_depth(results, store, driver),
        Test::GrowsWithSize => whole(grows_with_size(results, store, driver)),
        Test::Compounded => whole(compounded(results, store, driver)),
        Test::ResidentOnce { threshold } => {
            let (resident, once) = (&metric::RESIDENT_BYTES.name, &metric::READ_SET_BYTES.name);
            whole(counted(results, store, driver, (resident, once), (Side::Below, threshold), human::bytes))
        }
        Test::SameFrames { threshold } => {
            let (shared, checked) = (&metric::SHARED_PAGES.name, &metric::CHECKED_PAGES.name);
            let pages = |n| human::count(n as u64, "page");
            whole(counted(results, store, driver, (shared, checked), (Side::Above, threshold), pages))
        }
        Test::AtMost { what, limit } => whole(at_most(results, store, driver, what, limit)),
        Test::SolidFaster { what } => media(results, driver, what),
    }
}

/// Groups of a driver in a store that have a metric, at points whose unusual axes are at their usual value, but for those that it names.
fn groups<'a>(results: &'a ResultSet, store: &str, driver: &str, what: What) -> Vec<(&'a Group, &'a Data)> {
    let asked = |params: &Params| {
        let job = params.job.filter(|job| what.jobs.contains(job));
        Params { job, durability: what.durability, ..params.plain() }
    };
    let here = |group: &&Group| {
        let key = &group.key;
        key.store == store
            && key.driver == driver
            && key.probe.as_str() == what.probe
            && key.params == asked(&key.params)
    };
    results.groups.iter().filter(here).filter_map(|group| Some((group, group.metric(what.metric)?))).collect()
}

fn none(what: What, whose: &str) -> String {
    format!("No {} of the probe {} was measured with {whose}.", what.metric, what.probe)
}

/// The pairs of a driver and another one at all points that both have, a finding for each state of the caches.
fn against<'a>(
    results: &'a ResultSet,
    store: &str,
    driver: &str,
    what: What,
    base: &str,
    found: impl Fn(Pairs<'a>, &str) -> Found,
) -> Parts {
    let subjects = groups(results, store, driver, what);
    if subjects.is_empty() {
        return whole(Err(none(what, driver)));
    }
    let Some(label) = base_of(results, base) else {
        return whole(Err(format!("The run has no {base} to compare with.")));
    };
    let pairs = paired(subjects, &groups(results, store, label, what));
    by_cache(pairs, || none(what, label), |pairs| found(pairs, label))
}

/// The ratio of two counts of the page cache, with the most containers. Counts need no A against A: they are not timed.
fn counted(
    results: &ResultSet,
    store: &str,
    driver: &str,
    (part, whole): (&str, &str),
    wanted: (Side, f64),
    format: impl Fn(f64) -> String,
) -> Found {
    let missing = || format!("No {part} of several containers was measured with {driver}.");
    let view = PageView::of(results, store).ok_or_else(missing)?;
    let most = view.containers.iter().rev().copied().filter(|n| *n > 1);
    let (n, group) = most.filter_map(|n| Some((n, view.at(driver, n)?))).next().ok_or_else(missing)?;
    let (part, whole) = group.metric(part).zip(group.metric(whole)).ok_or_else(missing)?;
    let absolute = [part.p50(), whole.p50()];
    if absolute[1] <= 0.0 {
        return Err(missing());
    }
    let replicates = part.replicates.as_ref().zip(whole.replicates.as_ref());
    let interval = replicates.and_then(|(part, whole)| part.ratio(whole)).and_then(|r: Replicates| r.interval());
    let c = Comparison::of(absolute[0] / absolute[1], interval, Some(1.0));
    let of = format!("{} of {}, {}", format(absolute[0]), format(absolute[1]), human::count(n, "container"));
    let (verdict, why) = match (wanted.0, interval) {
        (_, None) => (Verdict::Undecided, "fewer than two blocks, so no interval"),
        (Side::Below, Some(i)) if i.high <= wanted.1 => (Verdict::Supported, "at most the threshold"),
        (Side::Below, Some(i)) if i.low > wanted.1 => (Verdict::Refuted, "above the threshold"),
        (Side::Above, Some(i)) if i.low >= wanted.1 => (Verdict::Supported, "at least the threshold"),
        (Side::Above, Some(i)) if i.high < wanted.1 => (Verdict::Refuted, "below the threshold"),
        _ => (Verdict::Undecided, "the interval includes the threshold"),
    };
    let effect = Effect { ratio: c.ratio, interval, threshold: wanted.1, noise: None, absolute };
    let ratio = Comparison { noise: None, ..c };
    let words = format!("{}, {of}: {why}.", told(&ratio, wanted.1));
    Ok(Judged { verdict, effect, words, basis: Basis::of([(group, part)]) })
}

/// The largest value of a count that is not compared with anything.
fn at_most(results: &ResultSet, store: &str, driver: &str, what: What, limit: f64) -> Found {
    let groups = groups(results, store, driver, what);
    let largest = groups.iter().max_by(|a, b| a.1.summary.max.total_cmp(&b.1.summary.max));
    let Some((group, data)) = largest else { return Err(none(what, driver)) };
    let max = data.summary.max;
    let verdict = if max < limit { Verdict::Supported } else { Verdict::Refuted };
    let effect =
        Effect { ratio: max, interval: data.summary.interval, threshold: limit, noise: None, absolute: [max, limit] };
    let words = format!("At most {}, limit {}, at {}.", human::bytes(max), human::bytes(limit), point(group));
    Ok(Judged { verdict, effect, words, basis: Basis::of(groups) })
}

/// The ratio of the store on a spinning disk to the one on a solid-state disk, as the run measured them to be.
fn media(results: &ResultSet, driver: &str, what: What) -> Parts {
    let of = |class| {
        results.media.iter().find_map(|store| {
            store.medium.as_ref().filter(|medium| medium.class == class).map(|medium| (store, medium))
        })
    };
    let (Some((solid, _)), Some((spinning, disk))) = (of(MediumClass::SolidState), of(MediumClass::Spinning)) else {
        return whole(Err("It takes two stores, one that was measured to be on a solid-state disk and one on a spinning disk (layerbench disk \
                          makes a modelled one)."
            .to_owned()));
    };
    let (subjects, bases) =
        (groups(results, &spinning.label, driver, what), groups(results, &solid.label, driver, what));
    let modelled =
        if disk.model.is_some() { format!(" (store {} is a modelled disk)", spinning.label) } else { String::new() };
    let base = format!("store {}{modelled}", solid.label);
    by_cache(
        paired(subjects, &bases),
        || none(what, driver),
        |pairs| over_all(pairs, (Side::Above, LONGER), &base, Statistic::Median, None),
    )
}
