//! The tests of claims: from the groups of a run to a verdict. Only `claims` calls it.
//!
//! A ratio bears a claim out when its interval lies beyond the threshold and the ratio passes it by more than the noise, and denies it when
//! the same holds on the other side. A ratio that is 1 to within [`SAME`], interval and noise included, denies that there is any
//! difference that matters. A mean over points that contradict one another decides nothing: it depends on the point, and the words say
//! on which. Everything else is undecided. Without A against A nothing is concluded from times.

use super::bootstrap::Replicates;
use super::claims::{Effect, Finding, Test, Verdict, What};
use super::compare::{Comparison, compare, compare_all, compare_spread};
use super::human;
use super::results::{Data, Group, GroupKey, ResultSet};
use super::view::{PageView, View, measured_well};
use crate::record::{DriverInfo, Feature, MediumClass, Unit, metric};
use crate::workload::{CacheState, Durability};

/// Two things whose ratio is certain to lie between this and its inverse are the same for our purpose.
const SAME: f64 = 1.1;
/// Of so many points one may say the opposite of the mean by chance: intervals hold in 95 of 100.
const CHANCE: usize = 20;

/// Which side of the threshold a claim says that the ratio is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// What a test found: or, as an error, why it could not be made.
type Found = Result<(Verdict, Effect, String, Vec<String>), String>;

/// One finding a driver and store.
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
            let found = match &driver.availability {
                Feature::Missing { reason, .. } if !measured(results, &driver.label) => {
                    Err(format!("The driver is not here: {reason}."))
                }
                _ => judge(results, store, &driver.label, test),
            };
            let store = match store {
                "" => results.stores.join(" and "),
                store => store.to_owned(),
            };
            let driver = driver.label.clone();
            findings.push(match found {
                Ok((verdict, effect, words, groups)) => {
                    Finding { driver, store, verdict, effect: Some(effect), words, groups }
                }
                Err(words) => {
                    Finding { driver, store, verdict: Verdict::NotMeasured, effect: None, words, groups: Vec::new() }
                }
            });
        }
    }
    findings
}

fn measured(results: &ResultSet, label: &str) -> bool {
    results.groups.iter().any(|group| group.key.driver == label && !group.metrics.is_empty())
}

fn base_name(test: Test) -> Option<&'static str> {
    match test {
        Test::RatioAbove { base, .. } | Test::RatioBelow { base, .. } | Test::SpreadAbove { base, .. } => Some(base),
        _ => None,
    }
}

/// Label of the variant of a driver without options, or of its first one.
fn base_of<'a>(results: &'a ResultSet, driver: &str) -> Option<&'a str> {
    let mut variants = results.drivers.iter().filter(|info| info.driver == driver);
    let first = variants.clone().next();
    variants.find(|info| info.options.is_empty()).or(first).map(|info| info.label.as_str())
}

fn judge(results: &ResultSet, store: &str, driver: &str, test: Test) -> Found {
    match test {
        Test::RatioAbove { what, base, threshold } => {
            against(results, store, driver, what, base, (Side::Above, threshold))
        }
        Test::RatioBelow { what, base, threshold } => {
            against(results, store, driver, what, base, (Side::Below, threshold))
        }
        Test::SpreadAbove { what, base } => spread(results, store, driver, what, base),
        Test::GrowsWithDepth | Test::GrowsWithSize => grows(results, store, driver, test),
        Test::Compounded => compounded(results, store, driver),
        Test::ResidentOnce { threshold } => {
            let (resident, once) = (&metric::RESIDENT_BYTES.name, &metric::READ_SET_BYTES.name);
            counted(results, store, driver, (resident, once), (Side::Below, threshold), human::bytes)
        }
        Test::SameFrames { threshold } => {
            let (shared, checked) = (&metric::SHARED_PAGES.name, &metric::CHECKED_PAGES.name);
            let pages = |n| human::count(n as u64, "page");
            counted(results, store, driver, (shared, checked), (Side::Above, threshold), pages)
        }
        Test::AtMost { what, limit } => at_most(results, store, driver, what, limit),
        Test::SolidFaster { what } => media(results, driver, what),
    }
}

/// Groups of a driver in a store that have a metric, at points whose unusual axes are at their usual value.
fn groups<'a>(results: &'a ResultSet, store: &str, driver: &str, what: What) -> Vec<(&'a Group, &'a Data)> {
    let here = |group: &&Group| {
        let key = &group.key;
        key.store == store
            && key.driver == driver
            && key.probe.as_str() == what.probe
            && key.params == key.params.plain()
    };
    results.groups.iter().filter(here).filter_map(|group| Some((group, group.metric(what.metric)?))).collect()
}

fn none(what: What, whose: &str) -> String {
    format!("No {} of the probe {} was measured with {whose}.", what.metric, what.probe)
}

/// Two lists of groups, paired by their parameters.
type Pairs<'a> = Vec<((&'a Group, &'a Data), (&'a Group, &'a Data))>;

fn paired<'a>(subjects: Vec<(&'a Group, &'a Data)>, bases: &[(&'a Group, &'a Data)]) -> Pairs<'a> {
    let alike =
        |subject: &(&Group, &Data)| bases.iter().find(|base| base.0.key.params == subject.0.key.params).copied();
    let pairs = subjects.into_iter().filter_map(|subject| Some((subject, alike(&subject)?))).collect();
    measured_well(pairs, |(subject, base)| subject.1.summary.blocks.min(base.1.summary.blocks))
}

fn names(pairs: &Pairs<'_>) -> Vec<String> {
    pairs.iter().flat_map(|(subject, base)| [subject.0.key.to_string(), base.0.key.to_string()]).collect()
}

/// The verdict of a ratio, and why.
fn decide(c: &Comparison, (side, threshold): (Side, f64)) -> Result<(Verdict, &'static str), String> {
    let noise = c.noise.ok_or("The run has no A against A of this metric, so what chance does is not known.")?;
    let Some(interval) = c.interval else { return Ok((Verdict::Undecided, "fewer than two blocks, so no interval")) };
    let same = interval.low >= 1.0 / SAME && interval.high <= SAME && noise <= SAME;
    Ok(match beyond(c, threshold) {
        Some(found) => {
            let why = match found {
                Side::Above => "more, beyond interval and noise",
                Side::Below => "less, beyond interval and noise",
            };
            (if found == side { Verdict::Supported } else { Verdict::Refuted }, why)
        }
        None if same && threshold == 1.0 => (Verdict::Refuted, "the same, to within 10 %"),
        None if interval.contains(threshold) => (Verdict::Undecided, "the interval includes the threshold"),
        None => (Verdict::Undecided, "not beyond the noise"),
    })
}

/// The side of the threshold that a ratio is on, beyond its interval and the noise.
fn beyond(c: &Comparison, threshold: f64) -> Option<Side> {
    let (interval, noise) = (c.interval?, c.noise?);
    if interval.low > threshold && c.ratio > threshold * noise {
        Some(Side::Above)
    } else if interval.high < threshold && c.ratio < threshold / noise {
        Some(Side::Below)
    } else {
        None
    }
}

/// A comparison in words: `3.4× (3.1× to 3.6×; noise 1.08×; threshold 1×)`.
fn told(c: &Comparison, threshold: f64) -> String {
    let noise = c.noise.map(|noise| format!("; noise {}", human::ratio(noise))).unwrap_or_default();
    let interval = human::interval(c.interval, human::ratio);
    format!("{} ({interval}{noise}; threshold {})", human::ratio(c.ratio), human::ratio(threshold))
}

fn found(c: &Comparison, wanted: (Side, f64), absolute: [f64; 2], words: String, groups: Vec<String>) -> Found {
    Ok(because(decide(c, wanted)?, c, wanted.1, absolute, words, groups))
}

/// A verdict with its reason, the numbers behind it and the groups that they rest on.
fn because(
    (verdict, why): (Verdict, &str),
    c: &Comparison,
    threshold: f64,
    absolute: [f64; 2],
    words: String,
    groups: Vec<String>,
) -> (Verdict, Effect, String, Vec<String>) {
    let effect = Effect { ratio: c.ratio, interval: c.interval, threshold, noise: c.noise, absolute };
    (verdict, effect, format!("{} {words}: {why}.", told(c, threshold)), groups)
}

/// `4 KiB, 16 layers`, with the caches where they are not the usual ones.
fn point(group: &Group) -> String {
    let params = &group.key.params;
    let caches = match params.cache {
        CacheState::Fresh => "",
        CacheState::Warm => ", warm",
        CacheState::Cold => ", cold",
    };
    format!("{}, {}{caches}", human::bytes(params.file_size_bytes as f64), human::count(params.depth, "layer"))
}

/// The ratio of medians to another driver, over all points that both have.
fn against(results: &ResultSet, store: &str, driver: &str, what: What, base: &str, wanted: (Side, f64)) -> Found {
    let subjects = groups(results, store, driver, what);
    if subjects.is_empty() {
        return Err(none(what, driver));
    }
    let label = base_of(results, base).ok_or_else(|| format!("The run has no {base} to compare with."))?;
    over_all(paired(subjects, &groups(results, store, label, what)), wanted, label, || none(what, label))
}

/// The geometric mean of the ratios of pairs, and what each of them says.
fn over_all(pairs: Pairs<'_>, wanted: (Side, f64), base: &str, missing: impl Fn() -> String) -> Found {
    let data: Vec<(&Data, &Data)> = pairs.iter().map(|(subject, base)| (subject.1, base.1)).collect();
    let Some(((group, subject), (_, other))) = pairs.first() else { return Err(missing()) };
    let c = compare_all(&data).ok_or_else(|| format!("A median of {base} is 0: there is no ratio."))?;
    let points: Vec<(&Group, Comparison)> =
        pairs.iter().filter_map(|((group, subject), (_, base))| Some((*group, compare(subject, base)?))).collect();
    let on = |side| points.iter().filter(move |(_, c)| beyond(c, wanted.1) == Some(side));
    let (above, below) = (on(Side::Above).count(), on(Side::Below).count());
    let most = on(Side::Above).max_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
    let least = on(Side::Below).min_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
    let extreme = |found: Option<&(&Group, Comparison)>| {
        found.map(|(group, c)| format!(", {} at {}", human::ratio(c.ratio), point(group))).unwrap_or_default()
    };
    let absolute = [subject.p50(), other.p50()];
    let (a, b) = (human::value(absolute[0], Unit::Ns), human::value(absolute[1], Unit::Ns));
    let words = format!(
        "of {base} over {} (more at {above}{}; less at {below}{}); {a} against {b} at {}",
        human::count(points.len() as u64, "point"),
        extreme(most),
        extreme(least),
        point(group)
    );
    if above.min(below) * CHANCE > points.len() {
        // A mean of the two has no meaning: another choice of points would have another one.
        let verdict = (Verdict::Undecided, "it depends on the point");
        return Ok(because(verdict, &c, wanted.1, absolute, words, names(&pairs)));
    }
    found(&c, wanted, absolute, words, names(&pairs))
}

/// The ratio of spreads to another driver, at the smallest and the largest file; the less clear one decides.
fn spread(results: &ResultSet, store: &str, driver: &str, what: What, base: &str) -> Found {
    let subjects = groups(results, store, driver, what);
    if subjects.is_empty() {
        return Err(none(what, driver));
    }
    let label = base_of(results, base).ok_or_else(|| format!("The run has no {base} to compare with."))?;
    let mut pairs = paired(subjects, &groups(results, store, label, what));
    pairs.sort_by_key(|((group, _), _)| (group.key.params.file_size_bytes, group.key.params.depth));
    pairs = match pairs[..] {
        [] => return Err(none(what, label)),
        [only] => vec![only],
        [first, .., last] => vec![first, last],
    };
    let noise = results.null.spread_noise(store, what.probe, what.metric);
    let wanted = (Side::Above, 1.0);
    let mut parts: Vec<(Verdict, Effect, String)> = Vec::new();
    for ((group, subject), (_, other)) in &pairs {
        let width = |data: &Data| data.summary.p90 - data.summary.p10;
        let absolute = [width(subject), width(other)];
        let c = compare_spread(subject, other, noise)
            .ok_or_else(|| format!("The spread of {label} is 0 at {}: there is no ratio.", point(group)))?;
        let words = format!(
            "of {label} at {}, {} against {}",
            point(group),
            human::value(absolute[0], Unit::Ns),
            human::value(absolute[1], Unit::Ns)
        );
        let (verdict, effect, words, _) = found(&c, wanted, absolute, words, Vec::new())?;
        parts.push((verdict, effect, words));
    }
    let verdict = match parts.iter().map(|part| part.0).reduce(|a, b| if a == b { a } else { Verdict::Undecided }) {
        Some(verdict) => verdict,
        None => return Err(none(what, label)),
    };
    let effect = parts.iter().map(|part| part.1).min_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let words = parts.iter().map(|part| part.2.clone()).collect::<Vec<_>>().join(" ");
    effect.map(|effect| (verdict, effect, words, names(&pairs))).ok_or_else(|| none(what, label))
}

/// Whether depth and size compound: the term of depth times bytes of the cost model, which rests on every depth and size.
fn compounded(results: &ResultSet, store: &str, driver: &str) -> Found {
    let model = results.models.iter().find(|model| match model {
        Ok(model) => model.durability == Durability::Default && model.store == store && model.driver == driver,
        Err(not) => not.durability == Durability::Default && not.store == store && not.driver == driver,
    });
    let model = match model {
        Some(Ok(model)) => model,
        Some(Err(not)) => return Err(format!("The cost model was not fitted: {}.", not.reason)),
        None => return Err(none(What { probe: "copy_up", metric: "first_write_ns" }, driver)),
    };
    let Some(largest) = model.cells.iter().max_by(|a, b| (a.depth * a.bytes).total_cmp(&(b.depth * b.bytes))) else {
        return Err("The cost model rests on nothing.".to_owned());
    };
    let absolute = [largest.fitted_ns, largest.fitted_ns / model.compounding_ratio];
    let words = format!(
        "of what depth and size add up to at {}, {}; {} against {} by the cost model",
        human::bytes(largest.bytes),
        human::count(largest.depth as u32, "layer"),
        human::ns(absolute[0]),
        human::ns(absolute[1])
    );
    let here = |key: &GroupKey| key.params.depth == key.params.target_layer && key.params.file_size_bytes > 0;
    let rests_on = groups(results, store, driver, What { probe: "copy_up", metric: "first_write_ns" });
    let rests_on = rests_on.iter().filter(|(group, _)| here(&group.key) && group.key.params.cache == model.cache);
    let rests_on = rests_on.map(|(group, _)| group.key.to_string()).collect();
    let c = Comparison::of(model.compounding_ratio, Some(model.compounding), model.noise);
    found(&c, (Side::Above, 1.0), absolute, words, rests_on)
}

/// How the first write grows with depth and with size.
fn grows(results: &ResultSet, store: &str, driver: &str, test: Test) -> Found {
    let what = What { probe: "copy_up", metric: "first_write_ns" };
    let view = View::first_write(results, store).ok_or_else(|| none(what, driver))?;
    // The corners of what this driver has: one that stops at 127 layers is judged up to there, a size up to the depth it was measured at.
    let mine = measured_well(view.all().filter(|p| p.0 == driver).collect(), |point| point.3.summary.blocks);
    let mine: Vec<(u32, u64)> = mine.into_iter().map(|(_, depth, size, _)| (depth, size)).collect();
    let shallow = mine.iter().map(|at| at.0).min().ok_or_else(|| none(what, driver))?;
    let small = mine.iter().filter(|at| at.0 == shallow).map(|at| at.1).min().ok_or_else(|| none(what, driver))?;
    let deep = mine.iter().filter(|at| at.1 == small).map(|at| at.0).max().unwrap_or(shallow);
    let large = mine.iter().filter(|at| at.0 == shallow).map(|at| at.1).max().unwrap_or(small);
    let mine_by_name = groups(results, store, driver, what);
    let at = |depth: u32, size: u64| {
        let data = view.at(driver, depth, size)?;
        let (group, _) = mine_by_name.iter().find(|(_, found)| std::ptr::eq(*found, data))?;
        Some((group.key.to_string(), data))
    };
    let corner = |depth, size| {
        at(depth, size).ok_or_else(|| {
            let size = human::bytes(size as f64);
            format!("A first write to a file of {size} below {} was not measured.", human::count(depth, "layer"))
        })
    };
    let (s, l) = (human::bytes(small as f64), human::bytes(large as f64));
    let (depths, sizes) = (shallow != deep, small != large);
    if !depths && test == Test::GrowsWithDepth {
        return Err(format!("Only stacks of {} were measured.", human::count(deep, "layer")));
    }
    if !sizes && test == Test::GrowsWithSize {
        return Err(format!("Only files of {s} were measured."));
    }
    let base = corner(shallow, small)?;
    let no_ratio = || "A median is 0: there is no ratio.".to_owned();
    let (c, parts, absolute, words) = match test {
        Test::GrowsWithDepth => {
            let subject = corner(deep, small)?;
            let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
            let words = format!("below {deep} layers instead of {shallow}, {s}");
            (c, vec![subject.0, base.0], [subject.1.p50(), base.1.p50()], words)
        }
        _ => {
            let subject = corner(shallow, large)?;
            let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
            let words = format!("with {l} instead of {s}, {}", human::count(shallow, "layer"));
            (c, vec![subject.0, base.0], [subject.1.p50(), base.1.p50()], words)
        }
    };
    let words = format!("{words}; {} against {}", human::ns(absolute[0]), human::ns(absolute[1]));
    found(&c, (Side::Above, 1.0), absolute, words, parts)
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
    Ok((verdict, effect, format!("{}, {of}: {why}.", told(&ratio, wanted.1)), vec![group.key.to_string()]))
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
    Ok((verdict, effect, words, groups.iter().map(|(group, _)| group.key.to_string()).collect()))
}

/// The ratio of the store on a spinning disk to the one on a solid-state disk, as the run measured them to be.
fn media(results: &ResultSet, driver: &str, what: What) -> Found {
    let of = |class| {
        results.media.iter().find_map(|store| {
            store.medium.as_ref().filter(|medium| medium.class == class).map(|medium| (store, medium))
        })
    };
    let (Some((solid, _)), Some((spinning, disk))) = (of(MediumClass::SolidState), of(MediumClass::Spinning)) else {
        return Err("It takes two stores, one that was measured to be on a solid-state disk and one on a spinning disk (layerbench disk \
                    makes a modelled one)."
            .to_owned());
    };
    let (subjects, bases) =
        (groups(results, &spinning.label, driver, what), groups(results, &solid.label, driver, what));
    let modelled =
        if disk.model.is_some() { format!(" (store {} is a modelled disk)", spinning.label) } else { String::new() };
    let base = format!("store {}{modelled}", solid.label);
    over_all(paired(subjects, &bases), (Side::Above, 1.0), &base, || none(what, driver))
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::Interval;
    use super::super::results::blocks;
    use super::*;
    use crate::workload::ProbeName;
    use std::collections::BTreeMap;

    #[test]
    fn a_ratio_decides_only_beyond_interval_threshold_and_noise() {
        use Verdict::{Refuted, Supported, Undecided};
        let c = |low, ratio, high, noise| Comparison::of(ratio, Some(Interval { low, high }), Some(noise));
        let above = (Side::Above, 1.0);
        for (comparison, wanted, expected) in [
            (c(1.8, 2.0, 2.2, 1.1), above, Supported),
            (c(0.4, 0.5, 0.6, 1.1), above, Refuted),
            // Beyond the interval, but twins differ by as much.
            (c(1.02, 1.2, 1.4, 1.25), above, Undecided),
            (c(0.7, 0.85, 0.98, 1.25), above, Undecided),
            (c(0.8, 1.3, 2.0, 1.1), above, Undecided),
            // Surely the same, and only as surely as twins are.
            (c(0.95, 1.01, 1.06, 1.05), above, Refuted),
            (c(0.95, 1.01, 1.06, 1.5), above, Undecided),
            (c(1.8, 2.0, 2.2, 1.1), (Side::Above, 2.0), Undecided),
            (c(2.5, 3.0, 3.5, 1.1), (Side::Above, 2.0), Supported),
            (c(0.95, 1.01, 1.06, 1.05), (Side::Above, 2.0), Refuted),
            (c(0.95, 1.01, 1.06, 1.05), (Side::Below, 1.5), Supported),
            (c(2.5, 3.0, 3.5, 1.1), (Side::Below, 1.5), Refuted),
        ] {
            assert_eq!(decide(&comparison, wanted).unwrap().0, expected, "{comparison:?} {wanted:?}");
        }
        assert_eq!(decide(&Comparison::of(2.0, None, Some(1.1)), above).unwrap().0, Undecided);
        let interval = Interval { low: 1.8, high: 2.2 };
        assert!(decide(&Comparison::of(2.0, Some(interval), None), above).is_err());
    }

    #[test]
    fn points_that_contradict_one_another_decide_nothing_and_are_named() {
        let data = |median: u64| {
            let mut data = Data::of(&blocks(&[&[median; 3], &[median; 3]])).unwrap();
            data.summary.noise = Some(1.05);
            data
        };
        let group = |depth: u32| {
            let params = serde_json::json!({
                "depth": depth, "file_size_bytes": 4096, "files": 8, "target_layer": 1, "cache": "fresh", "containers": 1
            });
            let params = serde_json::from_value(params).unwrap();
            let (store, driver) = ("store".to_owned(), "driver".to_owned());
            Group { key: GroupKey { store, probe: ProbeName::CopyUp, driver, params }, metrics: BTreeMap::new() }
        };
        let base = data(100);
        // (medians of the subject, verdict, what is said)
        for (medians, verdict, said) in [
            (vec![200, 300], Verdict::Supported, "over 2 points (more at 2, 3× at 4 KiB, 2 layers; less at 0); 200 ns"),
            (
                vec![1000, 50],
                Verdict::Undecided,
                "(more at 1, 10× at 4 KiB, 1 layer; less at 1, 0.500× at 4 KiB, 2 layers)",
            ),
            (vec![102, 50], Verdict::Refuted, "(more at 0; less at 1, 0.500× at"),
            // One of twenty is what chance does.
            ([vec![200; 19], vec![50]].concat(), Verdict::Supported, "(more at 19, 2× at 4 KiB, 19 layers; less at 1,"),
            ([vec![200; 18], vec![50]].concat(), Verdict::Undecided, "it depends on the point."),
        ] {
            let subjects: Vec<(Group, Data)> =
                medians.iter().zip(1..).map(|(median, depth)| (group(depth), data(*median))).collect();
            let pairs = subjects.iter().map(|(group, data)| ((group, data), (group, &base))).collect();
            let found = over_all(pairs, (Side::Above, 1.0), "overlay2", || unreachable!()).unwrap();
            assert_eq!(found.0, verdict, "{medians:?}: {}", found.2);
            assert!(found.2.contains(said), "{}", found.2);
        }
    }
}
