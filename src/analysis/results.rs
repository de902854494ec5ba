//! Records merged into groups: one group is everything that was measured of one thing, all its rounds together.

use std::collections::BTreeMap;
use std::fmt;

use super::bootstrap::{Interval, Replicates};
use super::quantile::{quantile, sorted};
use crate::record::{DriverInfo, Outcome, Run};
use crate::workload::{Params, ProbeName};

/// Name of the driver that is the control, and what a volume is.
pub const BASELINE: &str = "bind";

/// What makes samples comparable: rounds of the same key are repetitions of the same thing.
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

/// The key as text. It seeds the intervals, so a change of it moves every bound a little.
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
    pub sorted: Vec<f64>,
    /// Their summary.
    pub summary: Summary,
    /// Resampled medians; `None` of a single sample.
    pub replicates: Option<Replicates>,
}

/// A distribution in a few numbers, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub n: usize,
    /// Number of rounds that gave samples.
    pub rounds: usize,
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
    /// Interval of the median; `None` of a single sample.
    pub interval: Option<Interval>,
    /// A against A: the largest median of a round divided by the smallest, at least 1. `None` with fewer than two rounds, or when
    /// a round's median is 0: then it is not known how far two measurements of the same thing differ.
    pub noise: Option<f64>,
}

impl Data {
    /// Summarises samples given by round. `name` names the data and seeds the interval. `None` without samples.
    pub fn of(rounds: &[Vec<u64>], name: &str) -> Option<Data> {
        let all = sorted(rounds.iter().flatten().copied());
        let q = |p| quantile(&all, p);
        let medians: Vec<f64> =
            rounds.iter().filter_map(|round| quantile(&sorted(round.iter().copied()), 0.5)).collect();
        let lowest = medians.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = medians.iter().copied().fold(0.0, f64::max);
        let replicates = Replicates::of(rounds, name);
        let summary = Summary {
            n: all.len(),
            rounds: medians.len(),
            min: q(0.0)?,
            p10: q(0.1)?,
            p50: q(0.5)?,
            p90: q(0.9)?,
            p99: q(0.99)?,
            max: q(1.0)?,
            interval: replicates.as_ref().and_then(Replicates::interval),
            noise: (medians.len() > 1 && lowest > 0.0).then_some(highest / lowest),
        };
        Some(Data { sorted: all, summary, replicates })
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
    /// Driver variants in the order of the run: first those of the manifest, then any that only the cases know.
    /// Twins are left out: they stand for no driver of their own.
    pub drivers: Vec<DriverInfo>,
    /// Variants that repeat another one of `drivers` under a label of their own: what they differ by is chance.
    pub twins: Vec<DriverInfo>,
    /// Whether the run used smoke values.
    pub smoke: bool,
}

impl ResultSet {
    /// Groups the measured cases of a run. Each case is one round of its group: a case has its own process, mount and upper.
    pub fn of(run: &Run) -> ResultSet {
        let mut rounds: BTreeMap<GroupKey, BTreeMap<String, Vec<Vec<u64>>>> = BTreeMap::new();
        let mut stores: Vec<String> = run.manifest.stores.iter().map(|store| store.label.clone()).collect();
        let mut drivers = run.manifest.drivers.clone();
        for record in &run.cases {
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
            let metrics = rounds.entry(key).or_default();
            for observation in observations.iter().filter(|o| !o.samples.is_empty()) {
                metrics.entry(observation.metric.name.to_string()).or_default().push(observation.samples.clone());
            }
        }
        let groups = rounds
            .into_iter()
            .map(|(key, metrics)| {
                let metrics = metrics
                    .into_iter()
                    .filter_map(|(metric, rounds)| {
                        let data = Data::of(&rounds, &format!("{key} {metric}"))?;
                        Some((metric, data))
                    })
                    .collect();
                Group { key, metrics }
            })
            .collect();
        let (twins, drivers) = drivers.into_iter().partition(|driver| driver.twin_of.is_some());
        ResultSet { groups, stores, drivers, twins, smoke: run.manifest.smoke }
    }

    /// Whether what is said of a store has to name it.
    pub fn several_stores(&self) -> bool {
        self.stores.len() > 1
    }

    /// Label of the control, if the run has one.
    pub fn baseline(&self) -> Option<&str> {
        self.drivers.iter().find(|driver| driver.driver == BASELINE).map(|driver| driver.label.as_str())
    }

    /// Whether a label is the control's.
    pub fn is_baseline(&self, label: &str) -> bool {
        self.baseline() == Some(label)
    }

    /// Position of a driver in the run, which decides how it is drawn in every figure.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_agrees_with_hand_computed_values() {
        // Two rounds with the medians 20 and 30; pooled 10 20 20 30 30 40.
        let data = Data::of(&[vec![10, 20, 30], vec![40, 30, 20]], "t").unwrap();
        let s = data.summary;
        assert_eq!((s.n, s.rounds, s.min, s.p50, s.max), (6, 2, 10.0, 25.0, 40.0));
        assert_eq!((s.p10, s.p90), (15.0, 35.0)); // h = 0.5 and 4.5
        assert!((s.p99 - 39.5).abs() < 1e-9); // h = 4.95
        assert_eq!(s.noise, Some(1.5));
        assert!(s.interval.unwrap().contains(25.0));
    }

    #[test]
    fn noise_is_unknown_with_one_round_and_with_a_median_of_zero() {
        assert_eq!(Data::of(&[vec![1, 2, 3]], "t").unwrap().summary.noise, None);
        assert_eq!(Data::of(&[vec![0, 0], vec![1, 1]], "t").unwrap().summary.noise, None);
        assert!(Data::of(&[], "t").is_none() && Data::of(&[vec![], vec![]], "t").is_none());
    }
}
