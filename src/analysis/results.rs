//! Records merged into groups: one group is everything that was measured of one thing, all its blocks together.

use std::collections::BTreeMap;
use std::fmt;

use super::bootstrap::{Blocks, Interval, Replicates, Sketch, resample};
use super::compare::Statistic;
use super::model::{CostModel, NotFitted, cost_models};
use super::null::Null;
use super::quantile::{quantile, sorted};
use crate::record::{CaseRecord, Conditions, DriverInfo, Metric, Outcome, Run, StoreInfo, Waits, metric};
use crate::workload::{CacheState, Params, ProbeName};

/// Name of the driver that is the control, and what a volume is.
pub const BASELINE: &str = "bind";

/// What makes samples comparable: cases of the same key in several blocks are repetitions of the same thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupKey {
    /// Label of the store.
    pub store: String,
    /// Probe that measured.
    pub probe: ProbeName,
    /// Label of the driver variant.
    pub driver: String,
    /// What was set.
    pub params: Params,
}

/// The key as text: the name of a group where a finding says what it rests on.
impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Params { depth, file_size_bytes, files, target_layer, cache, containers, .. } = self.params;
        let (probe, driver, store, cache) = (self.probe.as_str(), &self.driver, &self.store, cache.as_str());
        write!(
            f,
            "{probe}/{driver}/{store}/depth={depth},layer={target_layer},size={file_size_bytes},files={files},\
             cache={cache},containers={containers}{}",
            self.params.unusual()
        )
    }
}

/// Everything measured under one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The key.
    pub key: GroupKey,
    /// By name of the metric.
    pub metrics: BTreeMap<String, Data>,
}

/// The samples of one metric in one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// All samples, ascending, in the metric's unit.
    pub sorted: Vec<u64>,
    /// Their summary.
    pub summary: Summary,
    /// Resampled medians; `None` with fewer than two blocks.
    pub replicates: Option<Replicates>,
    /// Resampled spreads, 90th less 10th percentile; `None` with fewer than two blocks.
    pub spreads: Option<Replicates>,
    /// Resampled tails, 90th percentile over the median; `None` with fewer than two blocks.
    pub tails: Option<Replicates>,
    /// Each block with the median of its samples.
    pub medians: Vec<(u32, f64)>,
    /// The samples of each case in the order taken, with its block: of [`IN_ORDER`] alone, else none.
    pub cases: Vec<(u32, Vec<u64>)>,
}

/// Metrics of which a sample's place in its case means something: the first write of a process is unlike those after it, and containers start
/// one after the other.
const IN_ORDER: [&Metric; 2] = [&metric::FIRST_WRITE_NS, &metric::START_NS];

/// A distribution in a few numbers, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub n: usize,
    /// Number of blocks that gave samples.
    pub blocks: usize,
    /// Smallest sample.
    pub min: f64,
    /// 10th percentile.
    pub p10: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest sample.
    pub max: f64,
    /// Interval of the median; `None` with fewer than two blocks.
    pub interval: Option<Interval>,
    /// A against A: the ratio, at least 1, up to which medians of this metric differ in this store with this state of the caches when the same
    /// thing is measured twice ([`Null::noise`]); `None` when the run did not measure it.
    pub noise: Option<f64>,
    /// Cases among those measured whose caches the device contradicts ([`contradicted`]).
    pub contradicted: usize,
}

impl Data {
    /// Summarises samples given by block. `None` without samples. The noise is not
    /// known from the data of one thing: [`ResultSet::of`] fills it in.
    pub fn of(blocks: &Blocks<'_>) -> Option<Data> {
        let sketches = Sketch::all(blocks);
        let all = sorted(blocks.values().flatten().flat_map(|piece| piece.iter().copied()));
        let q = |p| quantile(&all, p);
        let (p10, p50, p90) = (q(0.1)?, q(0.5)?, q(0.9)?);
        let [replicates, spreads, tails] = match resample(&sketches, [p10, p50, p90]) {
            Some(resampled) => resampled.map(Some),
            None => [None, None, None],
        };
        let summary = Summary {
            n: all.len(),
            blocks: sketches.len(),
            min: q(0.0)?,
            p10,
            p50,
            p90,
            p99: q(0.99)?,
            max: q(1.0)?,
            interval: replicates.as_ref().and_then(Replicates::interval),
            noise: None,
            contradicted: 0,
        };
        Some(Data {
            sorted: all,
            summary,
            replicates,
            spreads,
            tails,
            cases: Vec::new(),
            medians: sketches.iter().map(Sketch::median).collect(),
        })
    }

    /// The mean, for what was counted as a mean to be compared with.
    pub fn mean(&self) -> f64 {
        self.sorted.iter().map(|sample| *sample as f64).sum::<f64>() / self.sorted.len().max(1) as f64
    }

    /// What the samples at some places of their cases say; asked for each place, from 0, and for the number of samples of the case. `None`
    /// where no sample is wanted, or the order is not known.
    pub fn at_places(&self, wanted: impl Fn(usize, usize) -> bool) -> Option<Data> {
        let picked: Vec<(u32, Vec<u64>)> = self
            .cases
            .iter()
            .map(|(block, samples)| {
                let places = samples.iter().enumerate().filter(|(place, _)| wanted(*place, samples.len()));
                (*block, places.map(|(_, sample)| *sample).collect())
            })
            .collect();
        let mut blocks = Blocks::new();
        for (block, samples) in picked.iter().filter(|(_, samples)| !samples.is_empty()) {
            blocks.entry(*block).or_default().push(samples);
        }
        let data = Data::of(&blocks)?;
        Some(Data { summary: Summary { noise: self.summary.noise, ..data.summary }, ..data })
    }

    /// The median.
    pub fn p50(&self) -> f64 {
        self.summary.p50
    }
}

impl Group {
    /// The data of a metric.
    pub fn metric(&self, name: &str) -> Option<&Data> {
        self.metrics.get(name)
    }
}

/// A run, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultSet {
    /// Ordered by key.
    pub groups: Vec<Group>,
    /// Labels of the stores, in the order of the run.
    pub stores: Vec<String>,
    /// What the run knows of its stores.
    pub media: Vec<StoreInfo>,
    /// Driver variants in the order of the run: first those of the manifest, then any that only the cases know.
    /// Twins are left out: they stand for no driver of their own.
    pub drivers: Vec<DriverInfo>,
    /// Variants that repeat another one of `drivers` under a label of their own: what they differ by is chance.
    pub twins: Vec<DriverInfo>,
    /// By how much twins differ from what they repeat.
    pub null: Null,
    /// Whether the time of a start is the container's alone: [`crate::record::Instrument::mounts_alone`].
    pub mounts_alone: bool,
    /// What every figure has to be marked with: that the values were smoke values, that the times are not those of a real CPU.
    pub marks: Vec<&'static str>,
    /// What a first write costs, for each driver in each store, or why that is not known.
    pub models: Vec<Result<CostModel, NotFitted>>,
}

impl ResultSet {
    /// Groups the measured cases of a run. Of a case that was repeated because it was disturbed, the attempts that another one
    /// supersedes are left out: which one counts is decided by what the machine did, never by what was measured.
    pub fn of(run: &Run) -> ResultSet {
        let mut samples: BTreeMap<GroupKey, BTreeMap<&str, Blocks>> = BTreeMap::new();
        let mut doubted: BTreeMap<GroupKey, usize> = BTreeMap::new();
        let mut stores: Vec<String> = run.manifest.stores.iter().map(|store| store.label.clone()).collect();
        let mut drivers = run.manifest.drivers.clone();
        for record in run.last_attempts() {
            let case = &record.case;
            if !stores.contains(&case.store) {
                stores.push(case.store.clone());
            }
            if !drivers.iter().any(|driver| driver.label == case.driver.label) {
                drivers.push(DriverInfo {
                    label: case.driver.label.clone(),
                    driver: case.driver.driver.clone(),
                    options: case.driver.options.clone(),
                    twin_of: case.driver.twin_of.clone(),
                    availability: Default::default(),
                });
            }
            let Outcome::Measured { observations, .. } = &record.outcome else { continue };
            let key = GroupKey {
                store: case.store.clone(),
                probe: case.probe,
                driver: case.driver.label.clone(),
                params: case.params,
            };
            if contradicted(record) {
                *doubted.entry(key.clone()).or_default() += 1;
            }
            let metrics = samples.entry(key).or_default();
            for observation in observations.iter().filter(|o| !o.samples.is_empty()) {
                let blocks = metrics.entry(&observation.metric.name).or_default();
                blocks.entry(case.block).or_default().push(&observation.samples);
            }
        }
        let mut groups = summarised(samples.into_iter().collect());
        let (twins, drivers): (Vec<_>, Vec<_>) = drivers.into_iter().partition(|driver| driver.twin_of.is_some());
        let null = Null::of(&groups, &twins, &drivers);
        for group in &mut groups {
            for (metric, data) in &mut group.metrics {
                data.summary.contradicted = doubted.get(&group.key).copied().unwrap_or(0);
                data.summary.noise = null.noise(Statistic::Median, &group.key, metric);
            }
        }
        ResultSet {
            models: cost_models(&groups, &stores, &drivers),
            groups,
            stores,
            media: run.manifest.stores.clone(),
            drivers,
            twins,
            null,
            mounts_alone: run.manifest.instrument.as_ref().is_some_and(|instrument| instrument.mounts_alone),
            marks: marks(run),
        }
    }

    /// Whether the first look-up in a directory was measured apart from the next ones there. Where it was not, the next ones hold it.
    pub fn first_lookups_apart(&self) -> bool {
        self.groups.iter().any(|group| group.metric(&metric::LOOKUP_FIRST_NS.name).is_some())
    }

    /// Whether what is said of a store has to name it.
    pub fn several_stores(&self) -> bool {
        self.stores.len() > 1
    }

    /// Label of the control, if the run has one.
    pub fn baseline(&self) -> Option<&str> {
        self.drivers.iter().find(|driver| driver.driver == BASELINE).map(|driver| driver.label.as_str())
    }

    /// A label as it is shown, with a mark where each first write waits for the disk: no table or legend lays those beside others unmarked.
    pub fn shown(&self, label: &str) -> String {
        let waits = |driver: &DriverInfo| driver.label == label && driver.waits() == Waits::AtCopyUp;
        if self.drivers.iter().any(waits) { format!("{label} (waits)") } else { label.to_owned() }
    }

    /// Whether anything was measured with the driver of a label.
    pub fn is_measured(&self, label: &str) -> bool {
        self.groups.iter().any(|group| group.key.driver == label && !group.metrics.is_empty())
    }

    /// Whether a label is the control's.
    pub fn is_baseline(&self, label: &str) -> bool {
        self.baseline() == Some(label)
    }

    /// Position of a driver in the run, which decides where it stands among the others.
    pub fn position(&self, label: &str) -> usize {
        self.drivers.iter().position(|driver| driver.label == label).unwrap_or(self.drivers.len())
    }

    /// Groups of a probe in a store that have a metric, ordered by key.
    pub fn with_metric<'a>(
        &'a self,
        store: &'a str,
        probe: ProbeName,
        metric: &'a str,
    ) -> impl Iterator<Item = &'a Group> {
        self.groups
            .iter()
            .filter(move |g| g.key.store == store && g.key.probe == probe && g.metrics.contains_key(metric))
    }
}

/// Groups with their data, in the order given. Resampling is most of the work of a report, so every processor takes a part.
fn summarised(samples: Vec<(GroupKey, BTreeMap<&str, Blocks<'_>>)>) -> Vec<Group> {
    let group = |(key, metrics): &(GroupKey, BTreeMap<&str, Blocks<'_>>)| {
        let data = |(metric, blocks): (&&str, &Blocks<'_>)| {
            let cases = match IN_ORDER.iter().any(|known| known.name == **metric) {
                true => blocks
                    .iter()
                    .flat_map(|(block, pieces)| pieces.iter().map(|piece| (*block, piece.to_vec())))
                    .collect(),
                false => Vec::new(),
            };
            Some(((*metric).to_owned(), Data { cases, ..Data::of(blocks)? }))
        };
        Group { key: key.clone(), metrics: metrics.iter().filter_map(data).collect() }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Small pieces, dealt in turns: neighbours in order of the key are alike in size.
    let parts: Vec<Vec<(usize, Group)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (samples, group) = (&samples, &group);
                scope.spawn(move || {
                    let mine = samples.iter().enumerate().skip(worker).step_by(threads);
                    mine.map(|(index, sample)| (index, group(sample))).collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut groups: Vec<(usize, Group)> = parts.into_iter().flatten().collect();
    groups.sort_by_key(|(index, _)| *index);
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Whether the device contradicts the state of the caches that a case asked for: what is cached is not read from it, and what is cold is. Whoever makes
/// files may have to read what the file system knows of its free space, a block a file and some for all: that is no data. The probe `page_cache`
/// evicts what it then reads, whatever the state of the rest, so it is not asked.
pub fn contradicted(record: &CaseRecord) -> bool {
    let Some(conditions) = record.conditions.as_ref().filter(|_| record.case.probe != ProbeName::PageCache) else {
        return false;
    };
    match record.case.params.cache {
        CacheState::Cold => conditions.read_bytes == 0,
        CacheState::Warm | CacheState::Fresh => conditions.read_bytes > Conditions::metadata_bytes(&record.case),
    }
}

/// Blocks numbered from 1, for tests.
#[cfg(test)]
pub(super) fn blocks<'a>(lists: &[&'a [u64]]) -> Blocks<'a> {
    (1..).zip(lists.iter().map(|list| vec![*list])).collect()
}

/// What every figure of a run has to be marked with.
fn marks(run: &Run) -> Vec<&'static str> {
    let smoke = run.manifest.smoke.then_some("SMOKE RUN: it proves that everything runs. Do not quote these figures.");
    let guest = run.manifest.guest.as_ref().and_then(crate::record::Guest::mark);
    smoke.into_iter().chain(guest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_agrees_with_hand_computed_values() {
        // Two blocks with the medians 20 and 30; pooled 10 20 20 30 30 40.
        let data = Data::of(&blocks(&[&[10, 20, 30], &[40, 30, 20]])).unwrap();
        let s = data.summary;
        assert_eq!((s.n, s.blocks, s.min, s.p50, s.max), (6, 2, 10.0, 25.0, 40.0));
        assert_eq!((s.p10, s.p90), (15.0, 35.0)); // h = 0.5 and 4.5
        assert!((s.p99 - 39.5).abs() < 1e-9); // h = 4.95
        assert_eq!(s.noise, None);
        assert!(s.interval.unwrap().contains(25.0));
        assert_eq!(data.spreads.unwrap().estimate(), 20.0);
        assert_eq!(data.tails.unwrap().estimate(), 35.0 / 25.0);
        assert_eq!(data.medians, [(1, 20.0), (2, 30.0)]);
    }

    #[test]
    fn samples_can_be_picked_by_their_place_in_a_case() {
        let cases = vec![(1, vec![90, 10, 11]), (1, vec![80, 12]), (2, vec![70, 13])];
        let data = Data { cases, ..Data::of(&blocks(&[&[1]])).unwrap() };
        assert_eq!(data.at_places(|place, _| place > 0).unwrap().sorted, [10, 11, 12, 13]);
        let last = data.at_places(|place, of| place + 1 == of).unwrap();
        assert_eq!((&last.sorted[..], last.summary.blocks), (&[11, 12, 13][..], 2));
        assert!(data.at_places(|_, _| false).is_none());
        assert!(last.at_places(|_, _| true).is_none());
    }

    #[test]
    fn pieces_of_one_block_are_one_block() {
        let pieces: Blocks = [(3, vec![&[10, 20, 30][..], &[40][..]]), (7, vec![&[][..]])].into();
        let data = Data::of(&pieces).unwrap();
        assert_eq!((data.summary.n, data.summary.blocks, data.summary.interval), (4, 1, None));
        assert!(Data::of(&blocks(&[])).is_none() && Data::of(&blocks(&[&[], &[]])).is_none());
    }
}
