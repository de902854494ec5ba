//! From a workload to its cases, and the order in which they run.

use std::collections::HashSet;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    CacheState, DEPTH_MAX, DriverVariant, Durability, Measure, Params, ProbeName, Trigger, Workload, format_size,
};

/// One thing to measure once: a point of a measure's axes, with one driver variant, in one store, in one block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique within a run: `workload/probe/driver/store/depth=..,layer=..,../block=..`.
    pub id: String,
    /// Name of the workload.
    pub workload: String,
    /// Which probe.
    pub probe: ProbeName,
    /// Which driver.
    pub driver: DriverVariant,
    /// Label of the store.
    pub store: String,
    /// What is set.
    pub params: Params,
    /// Which repetition, from 1: each has a new process, a new mount and a new upper.
    #[serde(alias = "round")]
    pub block: u32,
}

/// Every case of a workload on every store, in the order of the axes. What comes out twice is measured once: `middle` and `bottom` of a stack of one
/// layer, or what two measures have in common.
pub fn expand(workload: &Workload, stores: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut seen = HashSet::new();
    for measure in &workload.measures {
        for params in points(measure) {
            for block in 1..=measure.blocks {
                for store in stores {
                    for driver in &workload.drivers {
                        let id = case_id(&workload.name, measure.probe, &driver.label, store, &params, block);
                        if !seen.insert(id.clone()) {
                            continue;
                        }
                        cases.push(Case {
                            id,
                            workload: workload.name.clone(),
                            probe: measure.probe,
                            driver: driver.clone(),
                            store: store.clone(),
                            params,
                            block,
                        });
                    }
                }
            }
        }
    }
    cases
}

/// The product of the axes, the last one fastest.
fn points(measure: &Measure) -> Vec<Params> {
    let plain = Params {
        // An image has as many layers as it has, which the plan finds out.
        depth: if measure.stack.is_some() { DEPTH_MAX } else { 1 },
        file_size_bytes: 0,
        files: measure.files,
        target_layer: if measure.stack.is_some() { 0 } else { 1 },
        cache: CacheState::Fresh,
        containers: 1,
        trigger: Trigger::default(),
        durability: Durability::default(),
        directories: 0,
        xattrs: 0,
        processes: 1,
        job: None,
        stack: measure.stack,
        program: measure.program,
    };
    let mut points = vec![plain];
    axis(&mut points, &measure.depth, |p, depth| Some(Params { depth, ..p }));
    axis(&mut points, &measure.file_size_bytes, |p, file_size_bytes| {
        let files = files_within(measure.files, file_size_bytes, measure.bytes_max);
        Some(Params { file_size_bytes, files, ..p })
    });
    // The parser refused layers that a stack does not have.
    axis(&mut points, &measure.target_layer, |p, target| Some(Params { target_layer: target.resolve(p.depth)?, ..p }));
    axis(&mut points, &measure.cache, |p, cache| Some(Params { cache, ..p }));
    axis(&mut points, &measure.containers, |p, containers| Some(Params { containers, ..p }));
    axis(&mut points, &measure.trigger, |p, trigger| Some(Params { trigger, ..p }));
    axis(&mut points, &measure.durability, |p, durability| Some(Params { durability, ..p }));
    axis(&mut points, &measure.directories, |p, directories| Some(Params { directories, ..p }));
    axis(&mut points, &measure.xattrs, |p, xattrs| Some(Params { xattrs, ..p }));
    axis(&mut points, &measure.processes, |p, processes| Some(Params { processes, ..p }));
    axis(&mut points, &measure.job, |p, job| Some(Params { job: Some(job), ..p }));
    points
}

/// Every point with every value of an axis; an axis without values leaves the points as they are.
fn axis<T: Copy>(points: &mut Vec<Params>, values: &[T], set: impl Fn(Params, T) -> Option<Params>) {
    if !values.is_empty() {
        *points = points.iter().flat_map(|point| values.iter().filter_map(|value| set(*point, *value))).collect();
    }
}

/// As many files as wanted, or as fit `bytes_max`, but at least two: one sample has no spread.
pub(super) fn files_within(files: u32, file_size_bytes: u64, bytes_max: u64) -> u32 {
    let fit = bytes_max.checked_div(file_size_bytes).unwrap_or(u64::MAX);
    files.min(u32::try_from(fit).unwrap_or(u32::MAX)).max(files.min(2))
}

/// The id of a case.
pub fn case_id(workload: &str, probe: ProbeName, driver: &str, store: &str, p: &Params, block: u32) -> String {
    format!(
        "{workload}/{}/{driver}/{store}/depth={},layer={},size={},files={},cache={},containers={}{}/block={block}",
        probe.as_str(),
        p.depth,
        p.target_layer,
        format_size(p.file_size_bytes).replace(' ', ""),
        p.files,
        p.cache.as_str(),
        p.containers,
        p.unusual()
    )
}

/// Interleaves cases in blocks: every block is complete before the next begins, and within a block the order is random from `seed`,
/// so that drift of the machine falls on all drivers alike, and a block is the unit that is resampled.
pub fn shuffle(cases: &mut [Case], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    cases.shuffle(&mut rng);
    cases.sort_by_key(|case| case.block);
}
