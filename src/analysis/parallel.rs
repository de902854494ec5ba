//! One process and several: how long the same files take, everything else held at one value.

use std::collections::{BTreeMap, BTreeSet};

use super::human;
use super::operations::Operation;
use super::results::{Group, ResultSet};
use crate::record::metric;
use crate::workload::{Params, ProbeName, Trigger};

/// One shape of files in one store, worked on by different numbers of processes.
#[derive(Debug, Clone)]
pub struct ParallelView<'a> {
    /// What was done: `append, 400 files of 4 KiB, 4 layers, fresh caches`.
    pub label: String,
    /// Which probe.
    pub probe: ProbeName,
    /// What every point shares; `processes` is 1.
    pub params: Params,
    /// Numbers of processes, ascending, each with its drivers: the wall time in nanoseconds.
    pub points: Vec<(u32, Operation<'a>)>,
}

impl<'a> ParallelView<'a> {
    /// Every shape that was measured in a store with more than one number of processes, writes before reads: of one number there is
    /// nothing to compare.
    pub fn all(results: &'a ResultSet, store: &str) -> Vec<ParallelView<'a>> {
        let name = metric::WALL_NS.name;
        let mut shapes: BTreeMap<(ProbeName, Params), Vec<&Group>> = BTreeMap::new();
        for group in results.groups.iter().filter(|g| g.key.store == store && g.metric(&name).is_some()) {
            let alone = Params { processes: 1, ..group.key.params };
            shapes.entry((group.key.probe, alone)).or_default().push(group);
        }
        let view = |((probe, params), groups): ((ProbeName, Params), Vec<&'a Group>)| {
            let counts: BTreeSet<u32> = groups.iter().map(|g| g.key.params.processes).collect();
            let at = |count: u32| {
                let drivers = results.drivers.iter().filter_map(|driver| {
                    let at = |g: &&&Group| g.key.driver == driver.label && g.key.params.processes == count;
                    Some((driver.label.as_str(), groups.iter().find(at)?.metric(&name)?))
                });
                (count, Operation { label: processes(count), points: drivers.collect() })
            };
            let points = counts.into_iter().map(at).filter(|(_, operation)| !operation.points.is_empty());
            ParallelView { label: label(probe, &params), probe, params, points: points.collect() }
        };
        shapes.into_iter().map(view).filter(|view| view.points.len() > 1).collect()
    }

    /// What one process took, which the others are compared with.
    pub fn alone(&self) -> Option<&Operation<'a>> {
        self.points.first().filter(|(count, _)| *count == 1).map(|(_, operation)| operation)
    }
}

/// `1 process`, `5 processes`.
fn processes(count: u32) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

fn label(probe: ProbeName, p: &Params) -> String {
    let what = match probe {
        ProbeName::CopyUp => p.trigger.as_str(),
        _ => probe.as_str(),
    };
    let (files, layers) = (human::count(p.files, "file"), human::count(p.depth, "layer"));
    let size = human::bytes(p.file_size_bytes as f64);
    // The trigger is said already.
    let rest = Params { trigger: Trigger::default(), ..*p }.unusual().replace('=', " ").replace(',', ", ");
    format!("{what}, {files} of {size}, {layers}, {} caches{rest}", p.cache.as_str())
}
