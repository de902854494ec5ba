//! Where the time of a first write goes: parts that add up to the whole, or a rest that is shown as one.
//!
//! A driver that counts its own steps is asked. Of the others the parts are differences between cases: an empty file against a full one (data),
//! waiting for the disk against `volatile` (sync), and the look-up of the same name by itself.

use super::results::{Data, Group, ResultSet};
use crate::record::{Metric, metric};
use crate::workload::{CacheState, ProbeName};

/// The parts of one first write, in nanoseconds: medians, or, where the driver counted them, means of the parts and of the whole over the same writes,
/// since a mean that is taken from a median leaves nothing that means anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// Label of the driver.
    pub driver: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The whole first write.
    pub whole_ns: f64,
    /// Whether there are cases in it whose caches the device contradicts.
    pub contradicted: bool,
    /// What is known of it, by name, in the order in which it happens.
    pub parts: Vec<Part>,
}

/// A part.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// How it is known.
    pub from: Source,
    /// Nanoseconds. A difference of two medians may be below 0: the two are not told apart.
    pub ns: f64,
}

/// How a part is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The driver counted it.
    Counted,
    /// The difference of two cases, or a case of its own.
    Differences,
}

impl Breakdown {
    /// Whether the driver counted: whole and parts are means.
    pub fn is_counted(&self) -> bool {
        self.parts.iter().any(|part| part.from == Source::Counted)
    }

    /// What no part explains; below 0 where the parts are more than the whole.
    pub fn unexplained_ns(&self) -> f64 {
        self.whole_ns - self.parts.iter().map(|part| part.ns).sum::<f64>()
    }
}

/// Breakdowns for the smallest file that is not empty and the largest, in the shallowest stack for which both the first write and a
/// look-up were measured (in the shallowest of all where there is none), for each driver of a store, in the order of the run.
pub fn breakdowns(results: &ResultSet, store: &str) -> Vec<Breakdown> {
    let data = |probe: ProbeName, driver: &str, depth: u32, bytes: Option<u64>, metric: &Metric| {
        let group = results.groups.iter().find(|g: &&Group| {
            let p = &g.key.params;
            g.key.store == store
                && g.key.probe == probe
                && g.key.driver == driver
                && p.plain() == *p
                && p.cache == CacheState::Fresh
                && p.target_layer == p.depth
                && p.depth == depth
                && bytes.is_none_or(|bytes| p.file_size_bytes == bytes)
        })?;
        group.metric(&metric.name)
    };
    let median =
        |probe, driver: &str, depth, bytes, metric: &Metric| data(probe, driver, depth, bytes, metric).map(Data::p50);
    let first_write = metric::FIRST_WRITE_NS.name;
    let writes: Vec<&Group> = results
        .with_metric(store, ProbeName::CopyUp, &first_write)
        .filter(|g| g.key.params.plain() == g.key.params && g.key.params.cache == CacheState::Fresh)
        .collect();
    let looked_up =
        |depth: u32| results.groups.iter().any(|g| g.key.probe == ProbeName::Lookup && g.key.params.depth == depth);
    let depths = || writes.iter().map(|g| g.key.params.depth);
    let Some(depth) = depths().filter(|depth| looked_up(*depth)).min().or_else(|| depths().min()) else {
        return Vec::new();
    };
    let sizes = || writes.iter().map(|g| g.key.params.file_size_bytes).filter(|bytes| *bytes > 0);
    let mut wanted: Vec<u64> = sizes().min().into_iter().chain(sizes().max()).collect();
    wanted.dedup();

    let mut found = Vec::new();
    // A volume copies nothing up.
    for driver in results.drivers.iter().filter(|driver| !results.is_baseline(&driver.label)) {
        for bytes in &wanted {
            let of = |metric: &Metric| median(ProbeName::CopyUp, &driver.label, depth, Some(*bytes), metric);
            let Some(mut whole_ns) = of(&metric::FIRST_WRITE_NS) else { continue };
            let mut parts = Vec::new();
            let mut add = |name, from, ns: Option<f64>| parts.extend(ns.map(|ns| Part { name, from, ns }));
            if of(&metric::STEP_DATA_NS).is_some() {
                let mean = |metric: &Metric| {
                    data(ProbeName::CopyUp, &driver.label, depth, Some(*bytes), metric).map(Data::mean)
                };
                whole_ns = mean(&metric::FIRST_WRITE_NS).unwrap_or(whole_ns);
                add("look-up", Source::Counted, mean(&metric::STEP_LOOK_UP_NS));
                add("data", Source::Counted, mean(&metric::STEP_DATA_NS));
                add("sync", Source::Counted, mean(&metric::STEP_FSYNC_NS));
                add("attributes", Source::Counted, mean(&metric::STEP_ATTRIBUTES_NS));
                add("rename", Source::Counted, mean(&metric::STEP_RENAME_NS));
            } else {
                let hit = median(ProbeName::Lookup, &driver.label, depth, None, &metric::LOOKUP_HIT_NS);
                add("look-up", Source::Differences, hit);
                // The same variant with nothing but `volatile` besides.
                let volatile = results.drivers.iter().find(|other| {
                    other.driver == driver.driver
                        && other.options.iter().any(|option| option == "volatile")
                        && other.options.iter().filter(|option| *option != "volatile").eq(driver.options.iter())
                });
                let quick = volatile.and_then(|other| {
                    median(ProbeName::CopyUp, &other.label, depth, Some(*bytes), &metric::FIRST_WRITE_NS)
                });
                // Data without the wait: from the volatile variant where there is one, so that no time counts twice.
                let unsynced = volatile.filter(|_| quick.is_some()).unwrap_or(driver);
                let empty = median(ProbeName::CopyUp, &unsynced.label, depth, Some(0), &metric::FIRST_WRITE_NS);
                add("data", Source::Differences, empty.map(|empty| quick.unwrap_or(whole_ns) - empty));
                add("sync", Source::Differences, quick.map(|quick| whole_ns - quick));
            }
            let first = data(ProbeName::CopyUp, &driver.label, depth, Some(*bytes), &metric::FIRST_WRITE_NS);
            let contradicted = first.is_some_and(|data| data.summary.contradicted > 0);
            found.push(Breakdown { driver: driver.label.clone(), bytes: *bytes, whole_ns, contradicted, parts });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole_or_a_rest_is_left() {
        let part = |name, ns| Part { name, from: Source::Counted, ns };
        let parts = vec![part("look-up", 10.0), part("data", 60.0)];
        let breakdown = Breakdown { driver: "d".into(), bytes: 1, whole_ns: 100.0, contradicted: false, parts };
        assert_eq!(breakdown.unexplained_ns(), 30.0);
    }

    #[test]
    fn what_was_counted_is_taken_from_the_mean_of_the_same_writes() {
        use super::super::results::{GroupKey, blocks};
        let params = serde_json::json!({
            "depth": 1, "file_size_bytes": 4096, "files": 3, "target_layer": 1, "cache": "fresh", "containers": 1
        });
        let (store, driver) = ("s".to_owned(), "d".to_owned());
        let key = GroupKey { store, probe: ProbeName::CopyUp, driver, params: serde_json::from_value(params).unwrap() };
        let data = |lists: &[&[u64]]| Data::of(&blocks(lists)).unwrap();
        // The median is 10, and one slow write in three makes the mean 40, of which 38 were spent on data.
        let metrics = [
            (metric::FIRST_WRITE_NS, data(&[&[10, 10, 100], &[100, 10, 10]])),
            (metric::STEP_DATA_NS, data(&[&[38], &[38]])),
        ];
        let metrics = metrics.into_iter().map(|(metric, data)| (metric.name.to_string(), data)).collect();
        let driver = crate::record::DriverInfo {
            label: "d".into(),
            driver: "d".into(),
            options: vec![],
            twin_of: None,
            availability: Default::default(),
        };
        let results = ResultSet {
            groups: vec![Group { key, metrics }],
            stores: vec!["s".into()],
            media: vec![],
            drivers: vec![driver],
            twins: vec![],
            null: Default::default(),
            marks: vec![],
            models: vec![],
            mounts_alone: false,
        };
        let found = breakdowns(&results, "s");
        assert_eq!((found.len(), found[0].whole_ns, found[0].unexplained_ns()), (1, 40.0, 2.0), "{found:?}");
        assert!(found[0].is_counted());
    }
}
