//! A against A: one variant measured under two labels. What the two differ by is chance, so it says how large a ratio has to be before it
//! is worth a word, and whether the intervals hold what they promise.

use std::collections::BTreeMap;

use super::bootstrap::Interval;
use super::compare::{Comparison, Statistic, compare_statistic};
use super::quantile::quantile;
use super::results::{Group, GroupKey};
use crate::record::{DriverInfo, Waits};

/// From this many pairs on the spread is their 95th percentile; of fewer it is the largest.
const MANY: usize = 20;

/// From this many pairs with files of one size on, the noise with that size is theirs alone: what chance does to the copying of megabytes is not
/// what it does to a request.
const OF_SIZE: usize = 5;

/// A twin against its original at one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Where the twin was measured.
    pub key: GroupKey,
    /// Label of what it is the twin of.
    pub of: String,
    /// Name of the metric.
    pub metric: String,
    /// Median of the twin divided by that of the original; above 0.
    pub ratio: f64,
    /// Interval of the ratio; `None` with fewer than two blocks.
    pub interval: Option<Interval>,
    /// Spread (90th less 10th percentile) of the twin divided by that of the original; `None` where one is 0.
    pub spread: Option<f64>,
    /// Tail (90th percentile over the median) of the twin divided by that of the original.
    pub tail: Option<f64>,
}

impl Pair {
    /// Whether the interval holds the truth, which is 1; `None` without an interval.
    fn covers(&self) -> Option<bool> {
        self.interval.map(|interval| interval.contains(1.0))
    }

    /// Whether chance had a say: a count of bytes that is the same in every block has none.
    fn varies(&self) -> bool {
        self.interval.is_some_and(|interval| interval.low < interval.high) || self.ratio != 1.0
    }
}

/// How many intervals hold the truth, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Coverage {
    /// Intervals of pairs.
    pub intervals: usize,
    /// Of those, how many include 1.
    pub include_one: usize,
    /// Intervals of pairs that vary: without what is equal in every block, such as counts of bytes.
    pub varying: usize,
    /// Of those, how many include 1.
    pub varying_include_one: usize,
}

/// Everything that a run measured twice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Null {
    /// Twins against their originals, ordered by key and metric.
    pub pairs: Vec<Pair>,
    /// Pairs without a ratio, because a median is 0.
    pub without_ratio: usize,
    /// When the drivers of the run wait for the disk, by label: what chance does to those that do is not what it does to others.
    waits: BTreeMap<String, Waits>,
}

impl Null {
    /// Pairs the groups of twins with those of their originals: same store, probe, parameters and metric. Groups must be ordered by key.
    pub(super) fn of(groups: &[Group], twins: &[DriverInfo], drivers: &[DriverInfo]) -> Null {
        let waits = drivers.iter().map(|driver| (driver.label.clone(), driver.waits())).collect();
        let mut null = Null { waits, ..Null::default() };
        for group in groups {
            let twin = twins.iter().find(|twin| twin.label == group.key.driver);
            let Some(original) = twin.and_then(|twin| twin.twin_of.clone()) else { continue };
            let key = GroupKey { driver: original.clone(), ..group.key.clone() };
            let Ok(at) = groups.binary_search_by(|other| other.key.cmp(&key)) else { continue };
            for (metric, data) in &group.metrics {
                let Some(base) = groups.get(at).and_then(|group| group.metric(metric)) else { continue };
                let of = |statistic| compare_statistic(statistic, data, base, None).filter(|c| c.ratio > 0.0);
                match of(Statistic::Median) {
                    Some(c) => null.pairs.push(Pair {
                        key: group.key.clone(),
                        of: original.clone(),
                        metric: metric.clone(),
                        ratio: c.ratio,
                        interval: c.interval,
                        spread: of(Statistic::Spread).map(|c| c.ratio),
                        tail: of(Statistic::Tail).map(|c| c.ratio),
                    }),
                    None => null.without_ratio += 1,
                }
            }
        }
        null
    }

    /// How often the interval of a pair includes 1; `None` without intervals.
    pub fn coverage(&self) -> Option<Coverage> {
        let mut coverage = Coverage { intervals: 0, include_one: 0, varying: 0, varying_include_one: 0 };
        for pair in &self.pairs {
            let Some(covers) = pair.covers() else { continue };
            coverage.intervals += 1;
            coverage.include_one += usize::from(covers);
            if pair.varies() {
                coverage.varying += 1;
                coverage.varying_include_one += usize::from(covers);
            }
        }
        (coverage.intervals > 0).then_some(coverage)
    }

    /// The ratio, at least 1, up to which a statistic of a metric differs although the same thing was measured, in the store, with the probe and
    /// with the state of the caches of a key: a cold look-up is no measure of what chance does to a warm one. From the driver's own twin where it has
    /// one, else from those of drivers that wait for the disk as it does, else from all. And with files of its size, where at least five of those pairs
    /// have those. `None` when no pair was measured.
    pub fn noise(&self, statistic: Statistic, at: &GroupKey, metric: &str) -> Option<f64> {
        self.noise_of(statistic, at, metric, None)
    }

    /// How many of the pairs would have been called different, and of how many: by the rule that finds differences between drivers, each judged by
    /// the noise of all others. It is how many of the differences that are found chance may have made, however many were looked for.
    pub fn called_different(&self) -> (usize, usize) {
        let (mut called, mut judged) = (0, 0);
        for pair in self.pairs.iter().filter(|pair| pair.interval.is_some() && pair.varies()) {
            let at = GroupKey { driver: pair.of.clone(), ..pair.key.clone() };
            let noise = self.noise_of(Statistic::Median, &at, &pair.metric, Some(pair));
            if noise.is_some() {
                judged += 1;
                called += usize::from(Comparison::of(pair.ratio, pair.interval, noise).difference.is_found());
            }
        }
        (called, judged)
    }

    /// As [`noise`](Null::noise), from all pairs but one.
    fn noise_of(&self, statistic: Statistic, at: &GroupKey, metric: &str, without: Option<&Pair>) -> Option<f64> {
        let others = || self.pairs.iter().filter(|pair| without.is_none_or(|without| !std::ptr::eq(*pair, without)));
        let alike =
            |key: &GroupKey| key.store == at.store && key.probe == at.probe && key.params.cache == at.params.cache;
        let of = |pair: &Pair| match statistic {
            Statistic::Median => Some(pair.ratio),
            Statistic::Spread => pair.spread,
            Statistic::Tail => pair.tail,
        };
        let all: Vec<&Pair> = others().filter(|pair| pair.metric == metric && alike(&pair.key)).collect();
        let when = |label: &str| self.waits.get(label);
        let narrowest = |wanted: [&dyn Fn(&Pair) -> bool; 2]| {
            wanted.iter().find_map(|wanted| {
                let found: Vec<&Pair> = all.iter().copied().filter(|pair| wanted(pair)).collect();
                (!found.is_empty()).then_some(found)
            })
        };
        let of_driver =
            narrowest([&|pair| pair.of == at.driver, &|pair| when(&pair.of) == when(&at.driver)]).unwrap_or(all);
        let of_size = || of_driver.iter().filter(|pair| pair.key.params.file_size_bytes == at.params.file_size_bytes);
        match of_size().count() {
            n if n < OF_SIZE => largest(of_driver.iter().filter_map(|pair| of(pair))),
            _ => largest(of_size().filter_map(|pair| of(pair))),
        }
    }
}

/// The 95th percentile of ratios above 0, whichever side is larger over the other, or the largest of fewer than 20.
pub(super) fn largest(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let mut factors: Vec<f64> = ratios.map(|ratio| ratio.max(1.0 / ratio)).collect();
    factors.sort_unstable_by(f64::total_cmp);
    quantile(&factors, if factors.len() < MANY { 1.0 } else { 0.95 })
}

#[cfg(test)]
mod tests {
    use super::super::results::{Data, blocks};
    use super::*;
    use crate::record::Feature;
    use crate::workload::{CacheState, Params, ProbeName};

    fn group(driver: &str, depth: u32, metric: &str, lists: &[&[u64]]) -> Group {
        let params = Params {
            depth,
            file_size_bytes: 4096,
            files: 3,
            target_layer: 1,
            cache: CacheState::Warm,
            containers: 1,
            trigger: Default::default(),
            durability: Default::default(),
            directories: 0,
            xattrs: 0,
            processes: 1,
            job: None,
            stack: None,
            program: None,
        };
        let key = GroupKey { store: "s".into(), probe: ProbeName::CopyUp, driver: driver.into(), params };
        let data = Data::of(&blocks(lists)).unwrap();
        Group { key, metrics: [(metric.to_owned(), data)].into() }
    }

    fn null(mut groups: Vec<Group>) -> Null {
        groups.sort_by(|a, b| a.key.cmp(&b.key));
        let twin = DriverInfo {
            label: "a (twin)".into(),
            driver: "a".into(),
            options: vec![],
            twin_of: Some("a".into()),
            availability: Feature::available(""),
        };
        let original = DriverInfo { label: "a".into(), twin_of: None, ..twin.clone() };
        Null::of(&groups, &[twin], &[original])
    }

    #[test]
    fn twins_are_paired_with_their_originals_and_with_nothing_else() {
        let far: &[&[u64]] = &[&[200, 201, 203], &[203, 204, 200]];
        let found = null(vec![
            group("a", 1, "ns", &[&[100, 102, 104], &[100, 103, 104]]),
            group("a (twin)", 1, "ns", &[&[101, 102, 105], &[99, 102, 104]]),
            group("b", 1, "ns", far),
            group("a", 2, "ns", &[&[100, 100, 101], &[101, 102, 100]]),
            group("a (twin)", 2, "ns", far),
            group("a (twin)", 3, "ns", far),
        ]);
        assert_eq!(found.pairs.iter().map(|pair| pair.key.params.depth).collect::<Vec<_>>(), [1, 2]);
        let coverage = found.coverage().unwrap();
        assert_eq!((coverage.intervals, coverage.include_one, coverage.varying), (2, 1, 2));
        // Medians by hand: 202 (h = 2.5 of 200 200 201 203 203 204) and 100.5 (100 100 100 101 101 102).
        let noise = |key: GroupKey| found.noise(Statistic::Median, &key, "ns");
        let here = found.pairs[0].key.clone();
        assert_eq!(noise(here.clone()), Some(202.0 / 100.5));
        assert_eq!(noise(GroupKey { probe: ProbeName::Lookup, ..here.clone() }), None);
        assert_eq!(noise(GroupKey { store: "other".into(), ..here.clone() }), None);
        // What chance does with warm caches says nothing of cold ones.
        let params = Params { cache: CacheState::Cold, ..here.params };
        assert_eq!(noise(GroupKey { params, ..here }), None);
    }

    #[test]
    fn of_many_pairs_one_in_twenty_may_lie_outside_the_spread() {
        let flat = |value: u64| [[value; 2], [value; 2]];
        let groups = (1..=41).flat_map(|depth| {
            let (original, twin) = (flat(100), flat(100 + u64::from(depth) - 1));
            let lists = |list: &[[u64; 2]; 2]| vec![list[0].to_vec(), list[1].to_vec()];
            let (original, twin) = (lists(&original), lists(&twin));
            let slices = |lists: &[Vec<u64>], driver: &str| {
                group(driver, depth, "ns", &lists.iter().map(Vec::as_slice).collect::<Vec<_>>())
            };
            [slices(&original, "a"), slices(&twin, "a (twin)")]
        });
        // Factors 1.00 to 1.40 in steps of 0.01: h = 40 * 0.95 = 38.
        let found = null(groups.collect());
        assert!((found.noise(Statistic::Median, &found.pairs[0].key, "ns").unwrap() - 1.38).abs() < 1e-9);
        assert_eq!(found.coverage().map(|c| (c.intervals, c.include_one, c.varying)), Some((41, 1, 40)));
    }

    #[test]
    fn what_is_the_same_is_called_different_only_beyond_the_noise_of_all_others() {
        let pair = |depth: u32, original: [u64; 2], twin: [u64; 2]| {
            let of = |driver: &str, [one, two]: [u64; 2]| group(driver, depth, "ns", &[&[one, one], &[two, two]]);
            [of("a", original), of("a (twin)", twin)]
        };
        // By 10 % in both blocks; by 30 % in both, which no other does; by 30 % up and down, of which the interval holds 1; not at all.
        let pairs = [
            pair(1, [100, 100], [110, 110]),
            pair(2, [100, 100], [130, 130]),
            pair(3, [100, 100], [70, 130]),
            pair(4, [100, 100], [100, 100]),
        ];
        assert_eq!(null(pairs.into_iter().flatten().collect()).called_different(), (1, 3));
        // Nobody else to say how much chance does.
        assert_eq!(null(pair(1, [100, 100], [110, 110]).into()).called_different(), (0, 0));
    }

    #[test]
    fn files_of_a_size_have_their_own_noise_where_enough_pairs_have_them() {
        let pair = |depth: u32, size: u64, twin: u64| {
            let of = |driver: &str, value: u64| {
                let mut group = group(driver, depth, "ns", &[&[value, value], &[value, value]]);
                group.key.params.file_size_bytes = size;
                group
            };
            [of("a", 100), of("a (twin)", twin)]
        };
        // Five pairs of small files that differ by at most 4 %, four of large ones that differ by at most 60 %.
        let small = (1..=5).flat_map(|depth| pair(depth, 4096, 99 + u64::from(depth)));
        let large = (1..=4).flat_map(|depth| pair(depth, 1 << 20, 120 + 10 * u64::from(depth)));
        let found = null(small.chain(large).collect());
        let noise = |size: u64| {
            let here = found.pairs[0].key.clone();
            let params = Params { file_size_bytes: size, ..here.params };
            found.noise(Statistic::Median, &GroupKey { params, ..here }, "ns")
        };
        assert_eq!((noise(4096), noise(1 << 20), noise(1)), (Some(1.04), Some(1.6), Some(1.6)));
    }

    #[test]
    fn a_driver_has_the_noise_of_its_own_twin_else_of_those_that_wait_as_it_does() {
        let info = |label: &str, driver: &str, twin_of: Option<&str>| DriverInfo {
            label: label.into(),
            driver: driver.into(),
            options: vec![],
            twin_of: twin_of.map(str::to_owned),
            availability: Feature::available(""),
        };
        let flat = |driver: &str, value: u64| group(driver, 1, "ns", &[&[value, value], &[value, value]]);
        let mut groups = vec![
            flat("overlay2", 100),
            flat("overlay2 (twin)", 300),
            flat("fuse-union", 100),
            flat("fuse-union (twin)", 110),
        ];
        groups.sort_by(|a, b| a.key.cmp(&b.key));
        let twins = [
            info("overlay2 (twin)", "overlay2", Some("overlay2")),
            info("fuse-union (twin)", "fuse-union", Some("fuse-union")),
        ];
        let volatile = DriverInfo { options: vec!["volatile".into()], ..info("volatile", "overlay2", None) };
        let drivers = [
            info("overlay2", "overlay2", None),
            info("fuse-union", "fuse-union", None),
            info("bind", "bind", None),
            volatile,
        ];
        let null = Null::of(&groups, &twins, &drivers);
        let noise = |driver: &str| {
            let at = GroupKey { driver: driver.into(), ..groups[0].key.clone() };
            null.noise(Statistic::Median, &at, "ns")
        };
        assert_eq!(
            ["overlay2", "fuse-union", "bind", "volatile"].map(noise),
            [Some(3.0), Some(1.1), Some(1.1), Some(3.0)]
        );
    }

    #[test]
    fn medians_of_zero_and_single_blocks_are_told_apart() {
        let found = null(vec![
            group("a", 1, "ns", &[&[0, 0], &[0, 0]]),
            group("a (twin)", 1, "ns", &[&[0, 0], &[0, 0]]),
            group("a", 2, "ns", &[&[5, 5]]),
            group("a (twin)", 2, "ns", &[&[6, 6]]),
        ]);
        assert_eq!((found.pairs.len(), found.without_ratio, found.coverage()), (1, 1, None));
        assert_eq!(found.noise(Statistic::Median, &found.pairs[0].key, "ns"), Some(1.2));
    }
}
