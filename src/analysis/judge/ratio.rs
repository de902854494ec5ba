//! From ratios with their intervals and their noise to a verdict, and its words.
//!
//! A ratio bears a claim out when its interval lies beyond the threshold and the ratio passes it by more than the noise, and denies it when
//! the same holds on the other side. What takes longer does so by more than a tenth ([`LONGER`]): one threshold for yes and for no, so that no truth
//! can be found to be both. Of several points each is judged by itself: most of them have to agree with their mean. Where some bear the claim out and
//! others deny it, it depends on the point, and the words say on which. Everything else is undecided. Without A against A nothing is concluded from
//! times. States of the caches are never mixed.

use std::collections::BTreeMap;

use super::super::bootstrap::Interval;
use super::super::claims::{Effect, LONGER, Verdict, What};
use super::super::compare::{Comparison, Statistic, compare_all, compare_statistic, noise_of_medians};
use super::super::human;
use super::super::results::{Data, Group, ResultSet};
use super::super::view::measured_well;
use crate::record::Unit;
use crate::workload::CacheState;

/// Of so many points one may say the opposite of the others by chance: intervals hold in 95 of 100.
const CHANCE: usize = 20;
/// Points that are named one by one where they are fewer than the others.
const NAMED: usize = 6;

/// Which side of the threshold a claim says that the ratio is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
}

/// What a test found.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) effect: Effect,
    pub(super) words: String,
    pub(super) basis: Basis,
}

/// What a finding rests on: names of groups, the fewest blocks of one of them, and cases in them whose caches the device contradicts.
pub(super) struct Basis {
    pub(super) groups: Vec<String>,
    pub(super) blocks: usize,
    pub(super) contradicted: usize,
}

impl Basis {
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = (&'a Group, &'a Data)>) -> Basis {
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
pub(super) type Found = Result<Judged, String>;

/// What was found of each part of the points: one without a name, where the test has no parts.
pub(super) type Parts = Vec<(String, Found)>;

pub(super) fn whole(found: Found) -> Parts {
    vec![(String::new(), found)]
}

/// Two lists of groups, paired by their parameters.
pub(super) type Pairs<'a> = Vec<((&'a Group, &'a Data), (&'a Group, &'a Data))>;

/// Pairs by the state of their caches, of each those that were measured well.
pub(super) fn paired<'a>(
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
pub(super) fn by_cache<'a>(
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

/// The noise; as an error, why nothing can be concluded from times.
pub(super) fn known(noise: Option<f64>) -> Result<f64, String> {
    noise.ok_or_else(|| "The run has no A against A of this metric, so what chance does is not known.".to_owned())
}

/// The verdict of a ratio, and why.
pub(super) fn decide(c: &Comparison, (side, threshold): (Side, f64)) -> Result<(Verdict, &'static str), String> {
    let noise = known(c.noise)?;
    let Some(interval) = c.interval else { return Ok((Verdict::Undecided, "fewer than two blocks, so no interval")) };
    Ok(match beyond(c.ratio, interval, noise, threshold) {
        Some(found) => {
            let why = match found {
                Side::Above => "more, beyond interval and noise",
                Side::Below => "less, beyond interval and noise",
            };
            (if found == side { Verdict::Supported } else { Verdict::Refuted }, why)
        }
        None if interval.contains(threshold) => (Verdict::Undecided, "the interval includes the threshold"),
        None => (Verdict::Undecided, "not beyond the noise"),
    })
}

/// The side of the threshold that a ratio is on, beyond its interval and the noise.
fn beyond(ratio: f64, interval: Interval, noise: f64, threshold: f64) -> Option<Side> {
    if interval.low > threshold && ratio > threshold * noise {
        Some(Side::Above)
    } else if interval.high < threshold && ratio < threshold / noise {
        Some(Side::Below)
    } else {
        None
    }
}

/// A comparison in words: `3.4× (3.1× to 3.6×; noise 1.08×; threshold 1×)`.
pub(super) fn told(c: &Comparison, threshold: f64) -> String {
    let noise = c.noise.map(|noise| format!("; noise {}", human::ratio(noise))).unwrap_or_default();
    let interval = human::interval(c.interval, human::ratio);
    format!("{} ({interval}{noise}; threshold {})", human::ratio(c.ratio), human::ratio(threshold))
}

pub(super) fn found(c: &Comparison, wanted: (Side, f64), absolute: [f64; 2], words: String, basis: Basis) -> Found {
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
pub(super) fn point(group: &Group) -> String {
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
    let what = match params.job {
        Some(job) => job.words().to_owned(),
        None => human::bytes(params.file_size_bytes as f64),
    };
    format!("{what}, {}{containers}{caches}", human::count(params.depth, "layer"))
}

/// The ratios of pairs, each by itself, and their geometric mean. The noise is that of medians where no other is given.
pub(super) fn over_all(
    pairs: Pairs<'_>,
    wanted: (Side, f64),
    base: &str,
    statistic: Statistic,
    noise: Option<f64>,
) -> Found {
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
pub(super) fn tails(results: &ResultSet, what: What, pairs: Pairs<'_>, base: &str) -> Found {
    let of_pair = |statistic, subject: &Group| results.null.noise(statistic, &subject.key, what.metric);
    let at = |statistic| pairs.iter().filter_map(|(subject, _)| of_pair(statistic, subject.0)).reduce(f64::max);
    let data: Vec<(&Data, &Data)> = pairs.iter().map(|(subject, base)| (subject.1, base.1)).collect();
    let spread = compare_all(Statistic::Spread, &data, at(Statistic::Spread));
    let noise = at(Statistic::Tail);
    let mut judged = over_all(pairs, (Side::Above, LONGER), base, Statistic::Tail, noise)?;
    if let Some(spread) = spread {
        let told = told(&spread, 1.0);
        judged.words += &format!(
            " The absolute spread (90th less 10th percentile), in which what takes longer has more: {told} of {base}."
        );
    }
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use super::super::super::results::{GroupKey, blocks};
    use super::*;
    use crate::workload::ProbeName;

    #[test]
    fn a_ratio_decides_only_beyond_interval_threshold_and_noise() {
        use Verdict::{Refuted, Supported, Undecided};
        let c = |low, ratio, high, noise| Comparison::of(ratio, Some(Interval { low, high }), Some(noise));
        let above = (Side::Above, LONGER);
        for (comparison, wanted, expected) in [
            (c(1.8, 2.0, 2.2, 1.1), above, Supported),
            (c(0.4, 0.5, 0.6, 1.1), above, Refuted),
            // Beyond the interval, but twins differ by as much.
            (c(1.02, 1.2, 1.4, 1.25), above, Undecided),
            (c(0.8, 0.95, 1.08, 1.25), above, Undecided),
            (c(0.7, 0.85, 0.98, 1.25), above, Refuted),
            (c(0.8, 1.3, 2.0, 1.1), above, Undecided),
            // Surely less than a tenth more, and only as surely as twins are the same.
            (c(0.95, 1.01, 1.06, 1.05), above, Refuted),
            (c(1.01, 1.02, 1.04, 1.05), above, Refuted),
            (c(1.01, 1.07, 1.09, 1.05), above, Undecided),
            (c(1.11, 1.13, 1.2, 1.05), above, Undecided),
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
        let above = (Side::Above, LONGER);
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
}
