//! From a workload to its cases, and the order in which they run.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{DriverVariant, Measure, Params, ProbeName, Workload, format_size};

/// One thing to measure once: a point of a measure's axes, with one driver variant, in one store, in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// Unique within a run: `workload/probe/driver/store/depth=..,layer=..,../round=..`.
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
    pub round: u32,
}

/// Every case of a workload on every store, in the order of the axes.
pub fn expand(workload: &Workload, stores: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    for measure in &workload.measures {
        for params in points(measure) {
            for round in 1..=measure.rounds {
                for store in stores {
                    for driver in &workload.drivers {
                        cases.push(Case {
                            id: case_id(&workload.name, measure.probe, &driver.label, store, &params, round),
                            workload: workload.name.clone(),
                            probe: measure.probe,
                            driver: driver.clone(),
                            store: store.clone(),
                            params,
                            round,
                        });
                    }
                }
            }
        }
    }
    cases
}

fn points(measure: &Measure) -> Vec<Params> {
    let mut points = Vec::new();
    for &depth in &measure.depth {
        for &file_size_bytes in &measure.file_size_bytes {
            for &target in &measure.target_layer {
                for &cache in &measure.cache {
                    for &containers in &measure.containers {
                        // The parser refused layers that a stack does not have.
                        let Some(target_layer) = target.resolve(depth) else { continue };
                        let files = files_within(measure.files, file_size_bytes, measure.bytes_max);
                        points.push(Params { depth, file_size_bytes, files, target_layer, cache, containers });
                    }
                }
            }
        }
    }
    // `middle` and `bottom` of a stack of one layer are the same point: measure it once.
    let mut seen = std::collections::HashSet::new();
    points.retain(|point| seen.insert(*point));
    points
}

/// As many files as wanted, or as fit `bytes_max`, but at least two: one sample has no spread.
fn files_within(files: u32, file_size_bytes: u64, bytes_max: u64) -> u32 {
    let fit = bytes_max.checked_div(file_size_bytes).unwrap_or(u64::MAX);
    files.min(u32::try_from(fit).unwrap_or(u32::MAX)).max(files.min(2))
}

fn case_id(workload: &str, probe: ProbeName, driver: &str, store: &str, p: &Params, round: u32) -> String {
    format!(
        "{workload}/{}/{driver}/{store}/depth={},layer={},size={},files={},cache={},containers={}/round={round}",
        probe.as_str(),
        p.depth,
        p.target_layer,
        format_size(p.file_size_bytes).replace(' ', ""),
        p.files,
        p.cache.as_str(),
        p.containers
    )
}

/// Interleaves cases: every round is complete before the next begins, and within a round the order is random from `seed`, so
/// that drift of the machine falls on all drivers alike.
pub fn shuffle(cases: &mut [Case], seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    cases.shuffle(&mut rng);
    cases.sort_by_key(|case| case.round);
}
