//! Slices of a run: the points of one metric over the axes that a figure draws, everything else held at one value.
//!
//! Which value that is, is chosen for the whole run and not for each store or driver, so that what stands side by side was measured
//! alike; and the figure says it.

use std::collections::{BTreeMap, BTreeSet};

use super::results::{Data, Group, ResultSet};
use crate::record::{Metric, metric};
use crate::workload::{CacheState, Durability, Params, ProbeName};

/// Where the targets lie, as a rule that holds for stacks of any depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// In the base: below every other layer.
    Bottom,
    /// In the topmost lower layer.
    Top,
    /// Half way down.
    Middle,
    /// In the layer with this index from 1, the topmost.
    Layer(u32),
}

impl Target {
    /// Whether the targets of a case lie there.
    pub fn matches(self, params: &Params) -> bool {
        params.target_layer
            == match self {
                Target::Bottom => params.depth,
                Target::Top => 1,
                Target::Middle => params.depth.div_ceil(2),
                Target::Layer(index) => index,
            }
    }

    /// In words, to stand after "the file lies".
    pub fn words(self) -> String {
        match self {
            Target::Bottom => "in the bottom layer".to_owned(),
            Target::Top => "in the topmost lower layer".to_owned(),
            Target::Middle => "in the middle layer".to_owned(),
            Target::Layer(index) => format!("in layer {index} from the top"),
        }
    }
}

/// The value with the most points; of equals the one that comes first.
fn most<T: Ord + Copy>(candidates: impl IntoIterator<Item = T>, points: impl Fn(T) -> usize) -> Option<T> {
    let mut best: Option<(usize, T)> = None;
    for candidate in candidates {
        let n = points(candidate);
        if n > 0 && best.is_none_or(|(most, _)| n > most) {
            best = Some((n, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// One metric over driver x depth x size, in one store.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// State of the caches of every point.
    pub cache: CacheState,
    /// Containers of every point.
    pub containers: u32,
    /// Where the targets of every point lie.
    pub target: Target,
    /// Drivers with at least one point, in the order of the run.
    pub drivers: Vec<&'a str>,
    /// Numbers of lower layers, ascending.
    pub depths: Vec<u32>,
    /// Sizes of the target files in bytes, ascending.
    pub sizes: Vec<u64>,
    points: BTreeMap<(&'a str, u32, u64), &'a Data>,
    /// Fewest and most layers, smallest and largest file, of the points that were measured well.
    corners: ([u32; 2], [u64; 2]),
}

/// Of points those that were measured in at least five blocks; where there are none, those with the most. Of two blocks, Student's t spans
/// orders of magnitude: nothing that is said in a sentence rests on that.
pub(super) fn measured_well<T>(points: Vec<T>, blocks: impl Fn(&T) -> usize) -> Vec<T> {
    const BLOCKS: usize = 5;
    let least = points.iter().map(&blocks).max().unwrap_or(0).min(BLOCKS);
    points.into_iter().filter(|point| blocks(point) >= least).collect()
}

/// The smallest and the largest.
fn ends<T: Copy + Default + Ord>(values: impl Iterator<Item = T> + Clone) -> [T; 2] {
    [values.clone().min().unwrap_or_default(), values.max().unwrap_or_default()]
}

impl<'a> View<'a> {
    /// The first write in each store that has any: what figures of several stores take their common scale from.
    pub fn first_writes(results: &'a ResultSet) -> Vec<View<'a>> {
        results.stores.iter().filter_map(|store| View::first_write(results, store)).collect()
    }

    /// The first write, which most figures are about.
    pub fn first_write(results: &'a ResultSet, store: &str) -> Option<View<'a>> {
        View::of(results, store, ProbeName::CopyUp, &metric::FIRST_WRITE_NS.name, None)
    }

    /// The view of a metric in a store. Without a wanted cache state: warm if it has as many points as any other, else the one with
    /// the most. Targets: the bottom layer under the same condition. `None` when there is no point.
    pub fn of(
        results: &'a ResultSet,
        store: &str,
        probe: ProbeName,
        metric: &str,
        cache: Option<CacheState>,
    ) -> Option<View<'a>> {
        View::where_params(results, (store, probe, metric), cache, |params| *params == params.plain())
    }

    /// The first write with the fsync that follows it.
    pub fn durable_write(results: &'a ResultSet, store: &str) -> Option<View<'a>> {
        View::durable(results, store, ProbeName::CopyUp, &metric::FIRST_DURABLE_NS)
    }

    /// A metric where each operation was made durable before the next.
    pub fn durable(results: &'a ResultSet, store: &str, probe: ProbeName, metric: &Metric) -> Option<View<'a>> {
        View::where_params(results, (store, probe, &metric.name), None, |params| {
            *params == Params { durability: Durability::Fsync, ..params.plain() }
        })
    }

    /// Axes that no figure draws stand at one value, which `wanted` tells.
    fn where_params(
        results: &'a ResultSet,
        (store, probe, metric): (&str, ProbeName, &str),
        cache: Option<CacheState>,
        wanted: impl Fn(&Params) -> bool,
    ) -> Option<View<'a>> {
        let all: Vec<&Group> = results
            .groups
            .iter()
            .filter(|g| g.key.probe == probe && g.metric(metric).is_some())
            .filter(|g| wanted(&g.key.params))
            .collect();
        let wanted = CacheState::ALL.into_iter().filter(|state| cache.is_none_or(|cache| cache == *state));
        let cache = most(wanted, |state| all.iter().filter(|g| g.key.params.cache == state).count())?;
        let all: Vec<&Group> = all.into_iter().filter(|g| g.key.params.cache == cache).collect();

        let containers: BTreeSet<u32> = all.iter().map(|g| g.key.params.containers).collect();
        let containers = most(containers, |n| all.iter().filter(|g| g.key.params.containers == n).count())?;
        let all: Vec<&Group> = all.into_iter().filter(|g| g.key.params.containers == containers).collect();

        let layers: BTreeSet<u32> = all.iter().map(|g| g.key.params.target_layer).collect();
        let rules =
            [Target::Bottom, Target::Top, Target::Middle].into_iter().chain(layers.into_iter().map(Target::Layer));
        let target = most(rules, |rule| all.iter().filter(|g| rule.matches(&g.key.params)).count())?;

        let mut points: BTreeMap<(&str, u32, u64), &Data> = BTreeMap::new();
        for group in all.into_iter().filter(|g| g.key.store == store && target.matches(&g.key.params)) {
            let Some(data) = group.metric(metric) else { continue };
            let at = (group.key.driver.as_str(), group.key.params.depth, group.key.params.file_size_bytes);
            // Two workloads may measure the same point with another number of files: the one with more samples is drawn.
            let kept = points.entry(at).or_insert(data);
            if data.summary.n > kept.summary.n {
                *kept = data;
            }
        }
        // An empty file has nothing to copy and no place on a logarithmic scale; it is drawn where there is nothing else.
        if points.keys().any(|(_, _, size)| *size > 0) {
            points.retain(|(_, _, size), _| *size > 0);
        }
        if points.is_empty() {
            return None;
        }
        let depths: BTreeSet<u32> = points.keys().map(|(_, depth, _)| *depth).collect();
        let sizes: BTreeSet<u64> = points.keys().map(|(_, _, size)| *size).collect();
        let drivers = drivers_of(results, |label| points.keys().any(|(driver, _, _)| *driver == label));
        let well = measured_well(points.iter().collect(), |(_, data)| data.summary.blocks);
        let corners =
            (ends(well.iter().map(|((_, depth, _), _)| *depth)), ends(well.iter().map(|((_, _, size), _)| *size)));
        Some(View {
            corners,
            cache,
            containers,
            target,
            drivers,
            depths: depths.into_iter().collect(),
            sizes: sizes.into_iter().collect(),
            points,
        })
    }

    /// The data of a point.
    pub fn at(&self, driver: &str, depth: u32, size: u64) -> Option<&'a Data> {
        self.points.get(&(driver, depth, size)).copied()
    }

    /// Every point: driver, lower layers, size of the file in bytes, data.
    pub fn all(&self) -> impl Iterator<Item = (&'a str, u32, u64, &'a Data)> {
        self.points.iter().map(|((driver, depth, size), data)| (*driver, *depth, *size, *data))
    }

    /// Smallest number of lower layers of a point that was measured in at least five blocks, where there are such; so the three below.
    pub fn shallow(&self) -> u32 {
        self.corners.0[0]
    }

    /// Largest number of lower layers.
    pub fn deep(&self) -> u32 {
        self.corners.0[1]
    }

    /// Smallest file in bytes.
    pub fn small(&self) -> u64 {
        self.corners.1[0]
    }

    /// Largest file in bytes.
    pub fn large(&self) -> u64 {
        self.corners.1[1]
    }

    /// Smallest and largest file in bytes; one of them where they are the same.
    pub fn small_and_large(&self) -> Vec<u64> {
        let mut sizes = vec![self.small(), self.large()];
        sizes.dedup();
        sizes
    }

    /// The drivers that are not the control.
    pub fn layered(&self, results: &ResultSet) -> Vec<&'a str> {
        self.drivers.iter().copied().filter(|driver| !results.is_baseline(driver)).collect()
    }

    /// What every point shares, in words.
    pub fn fixed(&self) -> String {
        format!("{} caches, the file lies {}", self.cache.as_str(), self.target.words())
    }
}

fn drivers_of(results: &ResultSet, has: impl Fn(&str) -> bool) -> Vec<&str> {
    results.drivers.iter().map(|driver| driver.label.as_str()).filter(|label| has(label)).collect()
}

/// The page cache over driver x containers, in one store.
#[derive(Debug, Clone)]
pub struct PageView<'a> {
    /// What every point shares but the number of containers.
    pub params: Params,
    /// Drivers with at least one point, in the order of the run.
    pub drivers: Vec<&'a str>,
    /// Numbers of containers, ascending.
    pub containers: Vec<u32>,
    points: BTreeMap<(&'a str, u32), &'a Group>,
}

impl<'a> PageView<'a> {
    /// The view of resident bytes, over the stack and files with the most points. `None` when there is no point.
    pub fn of(results: &'a ResultSet, store: &str) -> Option<PageView<'a>> {
        let metric = metric::RESIDENT_BYTES.name;
        let all: Vec<&Group> = results
            .groups
            .iter()
            .filter(|g| g.key.probe == ProbeName::PageCache && g.metric(&metric).is_some())
            .filter(|g| g.key.params == g.key.params.plain())
            .collect();
        let alike = |params: &Params| Params { containers: 0, ..*params };
        let candidates: BTreeSet<Params> = all.iter().map(|g| alike(&g.key.params)).collect();
        let params = most(candidates, |params| all.iter().filter(|g| alike(&g.key.params) == params).count())?;
        let points: BTreeMap<(&str, u32), &Group> = all
            .into_iter()
            .filter(|g| g.key.store == store && alike(&g.key.params) == params)
            .map(|g| ((g.key.driver.as_str(), g.key.params.containers), g))
            .collect();
        if points.is_empty() {
            return None;
        }
        let containers: BTreeSet<u32> = points.keys().map(|(_, containers)| *containers).collect();
        let drivers = drivers_of(results, |label| points.keys().any(|(driver, _)| *driver == label));
        Some(PageView { params, drivers, containers: containers.into_iter().collect(), points })
    }

    /// The group of a point.
    pub fn at(&self, driver: &str, containers: u32) -> Option<&'a Group> {
        self.points.get(&(driver, containers)).copied()
    }

    /// Of the pages compared by frame number at a point, in all blocks: how many were the same page of memory, and how many were
    /// compared. `None` when none was.
    pub fn frames(&self, driver: &str, containers: u32) -> Option<(u64, u64)> {
        self.pages(driver, containers, [&metric::SHARED_PAGES, &metric::CHECKED_PAGES])
    }

    /// The same of pages that are mapped.
    pub fn mapped_frames(&self, driver: &str, containers: u32) -> Option<(u64, u64)> {
        self.pages(driver, containers, [&metric::MAPPED_SHARED_PAGES, &metric::MAPPED_CHECKED_PAGES])
    }

    fn pages(&self, driver: &str, containers: u32, [shared, checked]: [&Metric; 2]) -> Option<(u64, u64)> {
        let group = self.at(driver, containers)?;
        let sum = |metric: &Metric| group.metric(&metric.name).map(|data| data.sorted.iter().sum::<u64>());
        let checked = sum(checked).filter(|checked| *checked > 0)?;
        Some((sum(shared)?, checked))
    }

    /// Bytes that the memory controller charges all containers of a point together, in the mean of its cases. `None` where that was not
    /// measured.
    pub fn charged(&self, driver: &str, containers: u32) -> Option<f64> {
        let data = self.at(driver, containers)?.metric(&metric::CHARGED_BYTES.name)?;
        // A sample a container: as many as there are containers make a case.
        let cases = data.sorted.len() as f64 / f64::from(containers);
        Some(data.sorted.iter().sum::<u64>() as f64 / cases)
    }
}
