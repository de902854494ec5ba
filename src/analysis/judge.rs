//! The tests of claims: from the groups of a run to a verdict. Only `claims` calls it.
//!
//! A ratio bears a claim out when its interval lies beyond the threshold and the ratio passes it by more than the noise, and denies it when
//! the same holds on the other side. A ratio that is 1 to within [`SAME`], interval and noise included, denies that there is any
//! difference that matters. Of several points each is judged by itself: most of them have to agree with their mean. Where some bear the claim out and
//! others deny it, it depends on the point, and the words say on which. Everything else is undecided. Without A against A nothing is concluded from
//! times. States of the caches are never mixed.

use std::collections::BTreeMap;

use super::bootstrap::Replicates;
use super::claims::{Effect, Finding, Test, Verdict, What};
use super::compare::{Comparison, Statistic, combine, compare, compare_all, compare_statistic, noise_of_medians};
use super::human;
use super::null;
use super::results::{Data, Group, ResultSet};
use super::view::{PageView, View, measured_well};
use crate::record::{DriverInfo, Feature, MediumClass, Unit, metric};
use crate::workload::CacheState;

/// Two things whose ratio is certain to lie between this and its inverse are the same for our purpose.
const SAME: f64 = 1.1;
/// Of so many points one may say the opposite of the others by chance: intervals hold in 95 of 100.
const CHANCE: usize = 20;
/// Points that are named one by one where they are fewer than the others.
const NAMED: usize = 6;

/// Which side of the threshold a claim says that the ratio is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Above,
    Below,
}

/// What a test found.
struct Judged {
    verdict: Verdict,
    effect: Effect,
    words: String,
    basis: Basis,
}

/// What a finding rests on: names of groups, the fewest blocks of one of them, and cases in them whose caches the device contradicts.
struct Basis {
    groups: Vec<String>,
    blocks: usize,
    contradicted: usize,
}

impl Basis {
    fn of<'a>(parts: impl IntoIterator<Item = (&'a Group, &'a Data)>) -> Basis {
        let mut basis = Basis { groups: Vec::new(), blocks: usize::MAX, contradicted: 0 };
        for (group, data) in parts {
            basis.groups.push(group.key.to_string());
            basis.blocks = basis.blocks.min(data.summary.blocks);
            basis.contradicted += data.summary.contradicted;
        }
        if basis.groups.is_empty() { Basis { blocks: 0, ..basis } } else { basis }
    }
}

/// What a test found; or, as an error, why it could not be made.
type Found = Result<Judged, String>;

/// What was found of each part of the points: one without a name, where the test has no parts.
type Parts = Vec<(String, Found)>;

fn whole(found: Found) -> Parts {
    vec![(String::new(), found)]
}

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
                Feature::Missing { reason, .. } if !measured(results, &driver.label) => {
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

fn measured(results: &ResultSet, label: &str) -> bool {
    results.groups.iter().any(|group| group.key.driver == label && !group.metrics.is_empty())
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

/// Pairs by the state of their caches, of each those that were measured well.
fn paired<'a>(
    subjects: Vec<(&'a Group, &'a Data)>,
    bases: &[(&'a Group, &'a Data)],
) -> BTreeMap<CacheState, Pairs<'a>> {
    let alike =
        |subject: &(&Group, &Data)| bases.iter().find(|base| base.0.key.params == subject.0.key.params).copied();
    let mut by_cache: BTreeMap<CacheState, Pairs<'a>> = BTreeMap::new();
    for subject in subjects {
        if let Some(base) = alike(&subject) {
            by_cache.entry(subject.0.key.params.cache).or_default().push((subject, base));
        }
    }
    let well =
        |pairs: Pairs<'a>| measured_well(pairs, |(subject, base)| subject.1.summary.blocks.min(base.1.summary.blocks));
    by_cache.into_iter().map(|(cache, pairs)| (cache, well(pairs))).collect()
}

/// What is found of the pairs with each state of the caches, which is named where there are several.
fn by_cache<'a>(
    pairs: BTreeMap<CacheState, Pairs<'a>>,
    missing: impl Fn() -> String,
    found: impl Fn(Pairs<'a>) -> Found,
) -> Parts {
    if pairs.is_empty() {
        return whole(Err(missing()));
    }
    let several = pairs.len() > 1;
    let name = |cache: CacheState| if several { format!("{} caches", cache.as_str()) } else { String::new() };
    pairs.into_iter().map(|(cache, pairs)| (name(cache), found(pairs))).collect()
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

fn found(c: &Comparison, wanted: (Side, f64), absolute: [f64; 2], words: String, basis: Basis) -> Found {
    Ok(because(decide(c, wanted)?, c, wanted.1, absolute, words, basis))
}

/// A verdict with its reason, the numbers behind it and what they rest on.
fn because(
    (verdict, why): (Verdict, &str),
    c: &Comparison,
    threshold: f64,
    absolute: [f64; 2],
    words: String,
    basis: Basis,
) -> Judged {
    let effect = Effect { ratio: c.ratio, interval: c.interval, threshold, noise: c.noise, absolute };
    Judged { verdict, effect, words: format!("{} {words}: {why}.", told(c, threshold)), basis }
}

/// `4 KiB, 16 layers`, with the caches and the number of containers where they are not the usual ones.
fn point(group: &Group) -> String {
    let params = &group.key.params;
    let caches = match params.cache {
        CacheState::Fresh => "",
        CacheState::Warm => ", warm",
        CacheState::Cold => ", cold",
    };
    let containers = match params.containers {
        1 => String::new(),
        n => format!(", {}", human::count(n, "container")),
    };
    let size = human::bytes(params.file_size_bytes as f64);
    format!("{size}, {}{containers}{caches}", human::count(params.depth, "layer"))
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

/// The ratios of pairs, each by itself, and their geometric mean. The noise is that of medians where no other is given.
fn over_all(pairs: Pairs<'_>, wanted: (Side, f64), base: &str, statistic: Statistic, noise: Option<f64>) -> Found {
    let data: Vec<(&Data, &Data)> = pairs.iter().map(|(subject, base)| (subject.1, base.1)).collect();
    let of_pair = |(subject, base): &(&Data, &Data)| match statistic {
        Statistic::Median => noise_of_medians(&[subject, base]),
        _ => noise,
    };
    let all = data.iter().filter_map(of_pair).reduce(f64::max);
    let zero = || format!("A figure of {base} is 0: there is no ratio.");
    let c = compare_all(statistic, &data, all).ok_or_else(zero)?;
    let mut points: Vec<(String, Comparison, [f64; 2], Verdict)> = Vec::new();
    for (pair, (subject, base)) in pairs.iter().zip(&data) {
        let c = compare_statistic(statistic, subject, base, of_pair(&(subject, base))).ok_or_else(zero)?;
        let absolute = [subject.statistic(statistic).0, base.statistic(statistic).0];
        points.push((point(pair.0.0), c, absolute, decide(&c, wanted)?.0));
    }
    points.sort_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
    let off = |ratio: f64| (ratio / wanted.1).ln().abs();
    let nearest = points.iter().min_by(|a, b| off(a.1.ratio).total_cmp(&off(b.1.ratio)));
    let Some((middle, nearest)) = points.get(points.len() / 2).zip(nearest) else { return Err(zero()) };

    let format = |value: f64| match statistic {
        Statistic::Tail => human::ratio(value),
        _ => human::value(value, Unit::Ns),
    };
    let say = |(at, c, [a, b], _): &(String, Comparison, [f64; 2], Verdict)| {
        format!("{} at {at}, {} against {}", human::ratio(c.ratio), format(*a), format(*b))
    };
    let with = |verdict| points.iter().filter(move |point| point.3 == verdict).map(|point| point.0.as_str());
    let (yes, no) = (with(Verdict::Supported).count(), with(Verdict::Refuted).count());
    let neither = points.len() - yes - no;
    // The fewer ones are named, so that a reader sees what they have in common.
    let named = |verdict: Verdict| {
        let names: Vec<&str> = with(verdict).collect();
        let few = !names.is_empty() && names.len() <= NAMED && names.len() * 2 <= points.len();
        if few { format!("{} ({})", names.len(), names.join("; ")) } else { names.len().to_string() }
    };
    let n = human::count(points.len() as u64, "point");
    let words = match points.len() {
        1 => format!("of {base} at {}, {} against {}", middle.0, format(middle.2[0]), format(middle.2[1])),
        _ => format!(
            "of {base}, mean of {n}: yes at {}, no at {}, neither at {}; in the middle {}; nearest to the threshold {}",
            named(Verdict::Supported),
            named(Verdict::Refuted),
            named(Verdict::Undecided),
            say(middle),
            say(nearest)
        ),
    };
    let overall = decide(&c, wanted)?;
    let verdict = match overall.0 {
        // A mean of both has no meaning: another choice of points would have another one.
        _ if yes.min(no) * CHANCE > points.len() => (Verdict::Depends, "it depends on the point"),
        Verdict::Supported if yes * 2 > points.len() => overall,
        Verdict::Refuted if no * 2 > points.len() => overall,
        Verdict::Undecided => overall,
        _ if neither * 2 >= points.len() => (Verdict::Undecided, "at too many points neither"),
        _ => (Verdict::Undecided, "most points do not say what their mean says"),
    };
    let parts = pairs.iter().flat_map(|(subject, base)| [*subject, *base]);
    Ok(because(verdict, &c, wanted.1, middle.2, words, Basis::of(parts)))
}

/// The ratios of tails decide; those of absolute spreads are told.
fn tails(results: &ResultSet, what: What, pairs: Pairs<'_>, base: &str) -> Found {
    let at =
        |statistic| pairs.first().and_then(|(subject, _)| results.null.noise(statistic, &subject.0.key, what.metric));
    let data: Vec<(&Data, &Data)> = pairs.iter().map(|(subject, base)| (subject.1, base.1)).collect();
    let spread = compare_all(Statistic::Spread, &data, at(Statistic::Spread));
    let noise = at(Statistic::Tail);
    let mut judged = over_all(pairs, (Side::Above, 1.0), base, Statistic::Tail, noise)?;
    if let Some(spread) = spread {
        let told = told(&spread, 1.0);
        judged.words += &format!(
            " The absolute spread (90th less 10th percentile), in which what takes longer has more: {told} of {base}."
        );
    }
    Ok(judged)
}

const FIRST_WRITE: What = What { probe: "copy_up", metric: "first_write_ns" };

/// First writes of a driver over depth and size, and between which of them it is judged: of the points that were measured well, since one that
/// stops at 127 layers is judged up to there, and a size up to the depth it was measured at.
struct Writes<'a> {
    points: BTreeMap<(u32, u64), (&'a Group, &'a Data)>,
    shallow: u32,
    small: u64,
    large: u64,
}

impl<'a> Writes<'a> {
    fn of(results: &'a ResultSet, store: &str, driver: &str) -> Option<Writes<'a>> {
        let view = View::first_write(results, store)?;
        let mine = measured_well(view.all().filter(|p| p.0 == driver).collect(), |point| point.3.summary.blocks);
        let groups = groups(results, store, driver, FIRST_WRITE);
        let point = |(_, depth, size, data): (&str, u32, u64, &'a Data)| {
            let (group, _) = groups.iter().find(|(_, found)| std::ptr::eq(*found, data))?;
            Some(((depth, size), (*group, data)))
        };
        let points: BTreeMap<(u32, u64), (&Group, &Data)> = mine.into_iter().filter_map(point).collect();
        let shallow = points.keys().map(|at| at.0).min()?;
        let sizes = || points.keys().filter(|at| at.0 == shallow).map(|at| at.1);
        let (small, large) = (sizes().min()?, sizes().max()?);
        Some(Writes { points, shallow, small, large })
    }

    /// The deepest stack in which files of a size were measured.
    fn deep(&self, size: u64) -> u32 {
        self.points.keys().filter(|at| at.1 == size).map(|at| at.0).max().unwrap_or(self.shallow)
    }

    fn at(&self, depth: u32, size: u64) -> Result<(&'a Group, &'a Data), String> {
        self.points.get(&(depth, size)).copied().ok_or_else(|| {
            let size = human::bytes(size as f64);
            format!("A first write to a file of {size} below {} was not measured.", human::count(depth, "layer"))
        })
    }
}

fn no_ratio() -> String {
    "A median is 0: there is no ratio.".to_owned()
}

/// How the first write grows with depth: what holds for small files need not hold for large ones, which take long enough to hide it.
fn grows_with_depth(results: &ResultSet, store: &str, driver: &str) -> Parts {
    let Some(writes) = Writes::of(results, store, driver) else { return whole(Err(none(FIRST_WRITE, driver))) };
    let mut sizes = vec![writes.small, writes.large];
    sizes.dedup();
    let several = sizes.len() > 1;
    let of = |size: u64| {
        let (shallow, deep) = (writes.shallow, writes.deep(size));
        let name = human::bytes(size as f64);
        if shallow == deep {
            return Err(format!("Only stacks of {} were measured.", human::count(deep, "layer")));
        }
        let (subject, base) = (writes.at(deep, size)?, writes.at(shallow, size)?);
        let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
        let absolute = [subject.1.p50(), base.1.p50()];
        let (a, b) = (human::ns(absolute[0]), human::ns(absolute[1]));
        let words = format!("below {deep} layers instead of {shallow}, {name}; {a} against {b}");
        found(&c, (Side::Above, 1.0), absolute, words, Basis::of([subject, base]))
    };
    let name = |size: u64| if several { human::bytes(size as f64) } else { String::new() };
    sizes.iter().map(|size| (name(*size), of(*size))).collect()
}

/// How the first write grows with size, in the shallowest stack.
fn grows_with_size(results: &ResultSet, store: &str, driver: &str) -> Found {
    let writes = Writes::of(results, store, driver).ok_or_else(|| none(FIRST_WRITE, driver))?;
    let (s, l) = (human::bytes(writes.small as f64), human::bytes(writes.large as f64));
    if writes.small == writes.large {
        return Err(format!("Only files of {s} were measured."));
    }
    let (subject, base) = (writes.at(writes.shallow, writes.large)?, writes.at(writes.shallow, writes.small)?);
    let c = compare(subject.1, base.1).ok_or_else(no_ratio)?;
    let absolute = [subject.1.p50(), base.1.p50()];
    let (a, b) = (human::ns(absolute[0]), human::ns(absolute[1]));
    let words = format!("with {l} instead of {s}, {}; {a} against {b}", human::count(writes.shallow, "layer"));
    found(&c, (Side::Above, 1.0), absolute, words, Basis::of([subject, base]))
}

/// What depth and size add up to: what each costs alone, less what both are without either.
fn sum(deep_small: f64, shallow_large: f64, shallow_small: f64) -> f64 {
    deep_small + shallow_large - shallow_small
}

/// Whether depth and size compound: the first write where both are large, over the sum of what each of them costs alone. No model stands between the
/// medians and the verdict.
fn compounded(results: &ResultSet, store: &str, driver: &str) -> Found {
    let writes = Writes::of(results, store, driver).ok_or_else(|| none(FIRST_WRITE, driver))?;
    let (shallow, small, large) = (writes.shallow, writes.small, writes.large);
    let deep = writes.deep(large);
    if shallow == deep || small == large {
        return Err("It takes two depths and two sizes, each with each.".to_owned());
    }
    let corners =
        [writes.at(deep, large)?, writes.at(deep, small)?, writes.at(shallow, large)?, writes.at(shallow, small)?];
    let c = interaction(corners.map(|corner| corner.1), noise_of_interactions(results, store)).ok_or_else(no_ratio)?;
    let [both, d, s, neither] = corners.map(|corner| corner.1.p50());
    let absolute = [both, sum(d, s, neither)];
    let words = format!(
        "of what depth and size add up to at {}, {}; {} against {} + {} - {} = {}",
        human::bytes(large as f64),
        human::count(deep, "layer"),
        human::ns(both),
        human::ns(s),
        human::ns(d),
        human::ns(neither),
        human::ns(absolute[1])
    );
    found(&c, (Side::Above, 1.0), absolute, words, Basis::of(corners))
}

/// The ratio of [`compounded`], of the corners deep and large, deep and small, shallow and large, shallow and small.
fn interaction(corners: [&Data; 4], noise: Option<f64>) -> Option<Comparison> {
    combine(&corners, Statistic::Median, noise, |v| v[0] / sum(v[1], v[2], v[3])).filter(|c| c.ratio > 0.0)
}

/// A against A of such ratios: those of a twin over those of its original, at every depth and size beyond the smallest.
fn noise_of_interactions(results: &ResultSet, store: &str) -> Option<f64> {
    let ratios_of = |driver: &str| -> BTreeMap<(u32, u64), f64> {
        let Some(writes) = Writes::of(results, store, driver) else { return BTreeMap::new() };
        let (shallow, small) = (writes.shallow, writes.small);
        let inner = writes.points.keys().filter(|(depth, size)| *depth > shallow && *size > small);
        let ratio = |(depth, size): (u32, u64)| {
            let corners = [(depth, size), (depth, small), (shallow, size), (shallow, small)];
            let [both, d, s, neither] = corners.map(|(depth, size)| writes.at(depth, size).map(|at| at.1).ok());
            Some(((depth, size), interaction([both?, d?, s?, neither?], None)?.ratio))
        };
        inner.copied().filter_map(ratio).collect()
    };
    let factors = results.twins.iter().flat_map(|twin| {
        let original = twin.twin_of.as_deref().map(ratios_of).unwrap_or_default();
        let pair = |(at, ratio): ((u32, u64), f64)| Some(ratio / original.get(&at)?);
        ratios_of(&twin.label).into_iter().filter_map(pair).collect::<Vec<f64>>()
    });
    null::largest(factors)
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
        |pairs| over_all(pairs, (Side::Above, 1.0), &base, Statistic::Median, None),
    )
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::Interval;
    use super::super::results::{GroupKey, blocks};
    use super::*;
    use crate::workload::ProbeName;

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

    fn group(driver: &str, depth: u32, size: u64, cache: &str) -> Group {
        let params = serde_json::json!({
            "depth": depth, "file_size_bytes": size, "files": 8, "target_layer": depth, "cache": cache, "containers": 1
        });
        let params = serde_json::from_value(params).unwrap();
        let (store, driver) = ("store".to_owned(), driver.to_owned());
        Group { key: GroupKey { store, probe: ProbeName::CopyUp, driver, params }, metrics: BTreeMap::new() }
    }

    fn data(median: u64) -> Data {
        let mut data = Data::of(&blocks(&[&[median; 3], &[median; 3]])).unwrap();
        data.summary.noise = Some(1.05);
        data
    }

    fn over(medians: &[u64], wanted: (Side, f64)) -> Judged {
        let base = data(100);
        let subjects: Vec<(Group, Data)> =
            medians.iter().zip(1..).map(|(median, depth)| (group("d", depth, 4096, "fresh"), data(*median))).collect();
        let pairs = subjects.iter().map(|(group, data)| ((group, data), (group, &base))).collect();
        over_all(pairs, wanted, "overlay2", Statistic::Median, None).unwrap()
    }

    #[test]
    fn most_points_have_to_agree_and_those_that_do_not_are_named() {
        let above = (Side::Above, 1.0);
        // (medians of the subject, verdict, what is said)
        for (medians, verdict, said) in [
            (vec![200, 300], Verdict::Supported, "mean of 2 points: yes at 2, no at 0, neither at 0; in the middle 3×"),
            (
                vec![1000, 50],
                Verdict::Depends,
                "yes at 1 (4 KiB, 1 layer), no at 1 (4 KiB, 2 layers), neither at 0; in the middle 10× at 4 KiB, 1 layer, 1 µs against 100 ns; \
                 nearest to the threshold 0.500× at 4 KiB, 2 layers, 50 ns against 100 ns: it depends on the point.",
            ),
            (vec![102, 50], Verdict::Refuted, "yes at 0, no at 2"),
            // One of twenty is what chance does.
            (
                [vec![200; 19], vec![50]].concat(),
                Verdict::Supported,
                "yes at 19, no at 1 (4 KiB, 20 layers), neither at 0",
            ),
            ([vec![200; 18], vec![50]].concat(), Verdict::Depends, "it depends on the point."),
            (vec![200], Verdict::Supported, "of overlay2 at 4 KiB, 1 layer, 200 ns against 100 ns: more"),
        ] {
            let found = over(&medians, above);
            assert_eq!(found.verdict, verdict, "{medians:?}: {}", found.words);
            assert!(found.words.contains(said), "{}", found.words);
            assert_eq!((found.basis.groups.len(), found.basis.blocks), (2 * medians.len(), 2));
        }
    }

    #[test]
    fn a_mean_beyond_the_threshold_decides_nothing_where_half_of_the_points_are_within_it() {
        // As the start of a container did: three points far beyond one and a half, three within the noise of it.
        let below = (Side::Below, 1.5);
        let found = over(&[145, 152, 148, 2000, 900, 500], below);
        assert_eq!(found.verdict, Verdict::Undecided, "{}", found.words);
        let named = "no at 3 (4 KiB, 6 layers; 4 KiB, 5 layers; 4 KiB, 4 layers), neither at 3 (";
        assert!(found.words.contains(named) && found.words.contains("threshold 1.50×"), "{}", found.words);
        assert!(found.words.contains("nearest to the threshold 1.52× at 4 KiB, 2 layers"), "{}", found.words);
        assert_eq!(found.effect.absolute, [500.0, 100.0], "the point in the middle");
        assert_eq!(over(&[145, 900, 2000, 500, 800], below).verdict, Verdict::Refuted);
        assert_eq!(over(&[110, 105, 100, 120, 145], below).verdict, Verdict::Supported);
    }

    #[test]
    fn states_of_the_caches_have_findings_of_their_own() {
        let (base, slow, fast) = (data(100), data(200), data(50));
        let both = |driver: &str| [group(driver, 1, 4096, "cold"), group(driver, 1, 4096, "warm")];
        let (subjects, bases) = (both("d"), both("overlay2"));
        let subjects = vec![(&subjects[0], &fast), (&subjects[1], &slow)];
        let pairs = paired(subjects, &[(&bases[0], &base), (&bases[1], &base)]);
        let judge = |pairs| over_all(pairs, (Side::Above, 1.0), "overlay2", Statistic::Median, None);
        let found: Vec<(String, Verdict)> = by_cache(pairs, || unreachable!(), judge)
            .into_iter()
            .map(|(part, found)| (part, found.map(|found| found.verdict).unwrap()))
            .collect();
        assert_eq!(found.len(), 2);
        assert!(found.contains(&("cold caches".to_owned(), Verdict::Refuted)), "{found:?}");
        assert!(found.contains(&("warm caches".to_owned(), Verdict::Supported)), "{found:?}");
    }

    #[test]
    fn depth_and_size_compound_when_both_cost_more_than_their_sum() {
        // Blocks that differ, the same way at every point.
        let data = |median: u64| {
            let lists = [9, 10, 11].map(|tenths| [median * tenths / 10; 3]);
            Data::of(&blocks(&[&lists[0], &lists[1], &lists[2]])).unwrap()
        };
        let (small, depth, size) = (data(1000), data(1500), data(5000));
        // 5000 + 1500 - 1000 = 5500.
        for (both, ratio, verdict) in [
            (data(5500), 1.0, Verdict::Refuted),
            (data(11000), 2.0, Verdict::Supported),
            (data(5665), 1.03, Verdict::Refuted),
            (data(6325), 1.15, Verdict::Supported),
        ] {
            let c = interaction([&both, &depth, &size, &small], Some(1.04)).unwrap();
            assert!((c.ratio - ratio).abs() < 1e-9, "{c:?}");
            assert_eq!(decide(&c, (Side::Above, 1.0)).unwrap().0, verdict, "{c:?}");
            let noisy = interaction([&both, &depth, &size, &small], Some(2.5)).unwrap();
            assert_eq!(decide(&noisy, (Side::Above, 1.0)).unwrap().0, Verdict::Undecided, "{noisy:?}");
        }
        // Where the sum is nothing, or less, there is no ratio.
        assert_eq!(interaction([&size, &small, &small, &data(4000)], None), None);
    }
}
