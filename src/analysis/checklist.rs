//! The crimes of benchmarking, asked of a run by a program: after Heiser's list ("Systems Benchmarking Crimes", gernot-heiser.org) and the
//! rules of Kalibera & Jones, Traeger et al. and Tarasov et al. Every answer comes with the evidence; what the records do not say is "not
//! known", never "yes".

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::claims::claims;
use super::human;
use super::null::Coverage;
use super::results::{ResultSet, contradicted};
use crate::record::{CaseRecord, Conditions, Feature, Outcome, Run, metric};
use crate::workload::{CacheState, Params, ProbeName};

/// Blocks from which an interval is worth having.
const BLOCKS: usize = 5;
/// Most that a sample of nothing may take, in nanoseconds.
const EMPTY_SAMPLE_NS: u64 = 60;
/// How far drivers may come apart between the halves of a run.
const STEADY: f64 = 1.25;
/// Most that writing to a MiB of memory at hand may take, in nanoseconds: four times what 256 faults and zeroed pages take on a slow machine.
const MEMORY_NS_PER_MIB: u64 = 1_000_000;
/// Share of the A/A intervals that include 1 if they keep their promise.
const COVERAGE: f64 = super::bootstrap::CONFIDENCE;
/// Most cases that an answer names.
const NAMED: usize = 8;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// As it should be.
    Yes,
    /// Not as it should be.
    No,
    /// The records do not say.
    NotKnown,
}

impl Answer {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::NotKnown => "not known",
        }
    }
}

/// A question, put so that yes is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Short name, unique.
    pub id: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// The answer.
    pub answer: Answer,
    /// What it rests on.
    pub evidence: String,
}

/// The checklist of a run.
pub fn checklist(run: &Run, results: &ResultSet) -> Vec<Item> {
    // What another attempt supersedes is kept in the records and counts for nothing.
    let measured = |record: &&CaseRecord| matches!(record.outcome, Outcome::Measured { .. });
    let measured: Vec<&CaseRecord> = run.last_attempts().filter(measured).collect();
    let item = |id, question, (answer, evidence): (Answer, String)| Item { id, question, answer, evidence };
    vec![
        item("real", "Were the values real ones, not those of a smoke run?", real(run)),
        item("complete", "Was every planned case executed?", complete(run)),
        item("samples-kept", "Is every sample kept?", samples(&measured)),
        item("failures-named", "Is every case that failed named, with its error?", failures(run)),
        item("blocks", "Was everything measured in at least five blocks?", blocks(results)),
        item("interleaved", "Were drivers shuffled within each block, and anew for each?", interleaved(run)),
        item("alike", "Did every block hold the same cases?", alike(&measured)),
        item("places", "Did each block have layers of its own, each at another place of the disk?", places(run)),
        item(
            "steady",
            "Did the drivers keep their distances from the first half of the run to the second?",
            steady(results),
        ),
        item("a-a", "Was a variant measured against itself?", a_a(results)),
        item(
            "a-a-covers",
            "Do about 95 % of the A/A intervals include 1, no fewer and no more?",
            coverage(results.null.coverage()),
        ),
        item("a-a-same", "Was the same thing seldom called different?", called_different(results)),
        item("cache-state", "Did the device confirm the state of the caches?", caches(&measured)),
        item("quiet", "Was the machine quiet?", quiet(&measured)),
        item("degradations", "Is every driver shown, the slower ones too?", degradations(results)),
        item("absolute", "Does every ratio stand beside the values that it was made of?", absolute(results)),
        item("clock", "Is the cost of taking time known, and at most 60 ns a sample?", clock(run)),
        item("awake", "Were processors kept from sleeping?", awake(run)),
        item("memory", "Was memory at hand, so that none was waited for from a hypervisor?", memory(run)),
    ]
}

fn yes_if(condition: bool, evidence: String) -> (Answer, String) {
    (if condition { Answer::Yes } else { Answer::No }, evidence)
}

fn not_known(why: &str) -> (Answer, String) {
    (Answer::NotKnown, why.to_owned())
}

fn cases(n: usize) -> String {
    human::count(n as u64, "case")
}

fn real(run: &Run) -> (Answer, String) {
    let values = if run.manifest.smoke { "Smoke values: nothing here may be quoted." } else { "Real values." };
    yes_if(!run.manifest.smoke, values.to_owned())
}

fn complete(run: &Run) -> (Answer, String) {
    let executed: BTreeSet<&str> = run.last_attempts().map(|record| record.case.id.as_str()).collect();
    let planned = run.manifest.planned_cases as usize;
    let cut = if run.truncated { "; the last line was cut off" } else { "" };
    yes_if(!run.truncated && executed.len() >= planned, format!("{} of {}{cut}.", executed.len(), cases(planned)))
}

fn places(run: &Run) -> (Answer, String) {
    let each = run.manifest.stacks_each_block;
    let evidence = match each {
        true => {
            "Stacks were built anew for each block: what a place on the disk does to a file is in the intervals. Imported images lie where they lie."
        }
        false => {
            "All blocks used the same stacks: what a place on the disk does to a file, to large ones most of all, is chance that no interval knows of. \
             It concerns figures of different files (sizes, depths), not drivers on the same ones."
        }
    };
    yes_if(each, evidence.to_owned())
}

fn samples(measured: &[&CaseRecord]) -> (Answer, String) {
    let (mut n, mut without) = (0, 0);
    for record in measured {
        let Outcome::Measured { observations, .. } = &record.outcome else { continue };
        n += observations.iter().map(|observation| observation.samples.len() as u64).sum::<u64>();
        without += usize::from(observations.is_empty() || observations.iter().any(|o| o.samples.is_empty()));
    }
    match n {
        0 => not_known("Nothing was measured."),
        n => {
            let lacking = if without > 0 { format!("; {} lack some", cases(without)) } else { String::new() };
            yes_if(without == 0, format!("{n} samples of {} in cases.jsonl{lacking}.", cases(measured.len())))
        }
    }
}

fn failures(run: &Run) -> (Answer, String) {
    let errors: Vec<&str> = run
        .last_attempts()
        .filter_map(|record| match &record.outcome {
            Outcome::Failed { error } => Some(error.trim()),
            _ => None,
        })
        .collect();
    let silent = errors.iter().filter(|error| error.is_empty()).count();
    yes_if(silent == 0, format!("{} failed, {silent} without an error.", cases(errors.len())))
}

fn blocks(results: &ResultSet) -> (Answer, String) {
    let counts: Vec<usize> = results
        .groups
        .iter()
        .filter_map(|group| group.metrics.values().map(|data| data.summary.blocks).min())
        .collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(least), Some(most)) => {
            let few = counts.iter().filter(|n| **n < BLOCKS).count();
            let text = format!(
                "At least {least} and at most {most} blocks; {few} of {} groups have fewer than {BLOCKS}.",
                counts.len()
            );
            yes_if(few == 0, text)
        }
        _ => not_known("Nothing was measured."),
    }
}

/// Neighbours of the same driver come about by chance: n cases of a block, n_d of them of driver d, have sum(n_d (n_d - 1)) / n on average. Far
/// more than that is an order by driver. A block that repeats the order of another one was not shuffled anew.
fn interleaved(run: &Run) -> (Answer, String) {
    let mut executed: Vec<&CaseRecord> = run.cases.iter().filter(|record| record.attempt == 1).collect();
    executed.sort_by_key(|record| record.order);
    let in_turn = executed.is_sorted_by_key(|record| record.case.block);
    let mut orders: BTreeMap<u32, Vec<(&str, &str)>> = BTreeMap::new();
    for record in executed {
        // The id ends in the block, which would make any two orders differ.
        let point = record.case.id.rsplit_once("block=").map_or(record.case.id.as_str(), |(point, _)| point);
        orders.entry(record.case.block).or_default().push((record.case.driver.label.as_str(), point));
    }
    let (mut neighbours, mut expected) = (0.0, 0.0);
    for order in orders.values() {
        let mut by_driver: BTreeMap<&str, f64> = BTreeMap::new();
        for (driver, _) in order {
            *by_driver.entry(driver).or_default() += 1.0;
        }
        neighbours += order.windows(2).filter(|pair| pair[0].0 == pair[1].0).count() as f64;
        expected += by_driver.values().map(|n| n * (n - 1.0)).sum::<f64>() / order.len().max(1) as f64;
    }
    let drivers: BTreeSet<&str> = orders.values().flatten().map(|(driver, _)| *driver).collect();
    if drivers.len() < 2 || orders.values().all(|order| order.len() < 3) {
        return not_known("Too few cases or drivers to tell an order by.");
    }
    let distinct: BTreeSet<&Vec<(&str, &str)>> = orders.values().collect();
    let repeated = orders.len() - distinct.len();
    // The count is nearly Poisson: three of its standard deviations.
    let by_chance = neighbours <= expected + 3.0 * expected.max(1.0).sqrt();
    let turns = if in_turn { "" } else { "; a block began before the one before it was complete" };
    let text = format!(
        "{neighbours:.0} neighbours of the same driver where chance makes {expected:.0}; {repeated} of {} repeat the order of another{turns}.",
        human::count(orders.len() as u64, "block")
    );
    yes_if(by_chance && repeated == 0 && in_turn, text)
}

/// A drift of the machine falls on all cases alike only where each block has all of them.
fn alike(measured: &[&CaseRecord]) -> (Answer, String) {
    let mut blocks_of: BTreeMap<(&str, &str, &str, Params), BTreeSet<u32>> = BTreeMap::new();
    for CaseRecord { case, .. } in measured {
        let at = (case.store.as_str(), case.probe.as_str(), case.driver.label.as_str(), case.params);
        blocks_of.entry(at).or_default().insert(case.block);
    }
    let most = blocks_of.values().map(BTreeSet::len).max().unwrap_or(0);
    let fewer = blocks_of.values().filter(|blocks| blocks.len() < most).count();
    let text = format!(
        "{} of {} were measured in fewer blocks than {most}.",
        fewer,
        human::count(blocks_of.len() as u64, "point")
    );
    if most < 2 { (Answer::NotKnown, text) } else { yes_if(fewer == 0, text) }
}

/// First writes in the first half of a run's blocks over those in the second, by driver: what the machine does to all drivers is in every one of these
/// ratios, and what it does to some sets them apart.
fn steady(results: &ResultSet) -> (Answer, String) {
    let drift = |label: &str| {
        let logs: Vec<f64> = results
            .groups
            .iter()
            .filter(|group| group.key.driver == label)
            .filter_map(|group| halves(&group.metric(&metric::FIRST_WRITE_NS.name)?.medians))
            .collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    };
    let drifts: Vec<(String, f64)> =
        results.drivers.iter().filter_map(|driver| Some((driver.label.clone(), drift(&driver.label)?))).collect();
    let ends = |pick: fn(f64, f64) -> f64| drifts.iter().map(|(_, drift)| *drift).reduce(pick);
    let (Some(least), Some(most)) = (ends(f64::min), ends(f64::max)) else {
        return not_known("There are no first writes in four blocks or more.");
    };
    let told: Vec<String> = drifts.iter().map(|(label, drift)| format!("{label} {}", human::ratio(*drift))).collect();
    yes_if(
        most / least <= STEADY,
        format!(
            "First writes in the first half of the blocks over the second, mean of all points: {}.",
            human::list(&told)
        ),
    )
}

/// The logarithm of the geometric mean of the first half of the blocks' medians over that of the second; a block in the middle is in neither.
fn halves(medians: &[(u32, f64)]) -> Option<f64> {
    let half = medians.len() / 2;
    if half < 2 || medians.iter().any(|(_, median)| *median <= 0.0) {
        return None;
    }
    let mean = |part: &[(u32, f64)]| part.iter().map(|(_, median)| median.ln()).sum::<f64>() / half as f64;
    Some(mean(medians.get(..half)?) - mean(medians.get(medians.len() - half..)?))
}

fn a_a(results: &ResultSet) -> (Answer, String) {
    let pairs = results.null.pairs.len();
    let twins: Vec<&str> = results.twins.iter().filter_map(|twin| twin.twin_of.as_deref()).collect();
    match pairs {
        0 if twins.is_empty() => (Answer::No, "The run has no twin.".to_owned()),
        0 => (Answer::No, format!("The twin of {} and it were never measured alike.", human::list(&twins))),
        pairs => {
            let zero = match results.null.without_ratio {
                0 => String::new(),
                n => format!(" ({n} more have a median of 0 and no ratio)"),
            };
            (
                Answer::Yes,
                format!("{} with twins of {}{zero}.", human::count(pairs as u64, "pair"), human::list(&twins)),
            )
        }
    }
}

/// Intervals that hold the truth more often than they promise are too wide: they miss differences. Of n of them the share varies by chance; three
/// standard errors are allowed either way. What is the same in every block says nothing.
fn coverage(counted: Option<Coverage>) -> (Answer, String) {
    let Some(c) = counted.filter(|c| c.varying > 0) else { return not_known("There is no A/A interval that varies.") };
    let n = c.varying as f64;
    let (share, allowed) = (c.varying_include_one as f64 / n, 3.0 * (COVERAGE * (1.0 - COVERAGE) / n).sqrt());
    let why = match share - COVERAGE {
        off if off > allowed => "; they are too wide, and miss differences that are there",
        off if off < -allowed => "; they are too narrow, and find differences that are not there",
        _ => "",
    };
    let text = format!(
        "{} of {} that vary ({}), where chance allows {} to {}{why}.",
        c.varying_include_one,
        c.varying,
        human::percent(share),
        human::percent(COVERAGE - allowed),
        human::percent((COVERAGE + allowed).min(1.0))
    );
    yes_if((share - COVERAGE).abs() <= allowed, text)
}

/// Differences that are none come with many comparisons. The rule that finds differences was put to things that have none.
fn called_different(results: &ResultSet) -> (Answer, String) {
    let (called, judged) = results.null.called_different();
    if judged == 0 {
        return not_known("There are not two A/A pairs to compare.");
    }
    let share = called as f64 / judged as f64;
    let text = format!(
        "{called} of {judged} pairs of twins that vary ({}) would have been called different by the rule of this page, each judged by the noise of the \
         others: so many of the differences that it looked for may be found by chance.",
        human::percent(share)
    );
    yes_if(share <= 1.0 - COVERAGE, text)
}

fn conditions<'a>(measured: &[&'a CaseRecord]) -> Vec<(&'a CaseRecord, &'a Conditions)> {
    measured.iter().filter_map(|record| Some((*record, record.conditions.as_ref()?))).collect()
}

/// What [`contradicted`] says of each case; a tmpfs has no device.
fn caches(measured: &[&CaseRecord]) -> (Answer, String) {
    let asked: Vec<&CaseRecord> = conditions(measured)
        .into_iter()
        .map(|(record, _)| record)
        .filter(|record| record.case.probe != ProbeName::PageCache)
        .collect();
    if asked.is_empty() {
        return not_known("The run did not record what was read from devices.");
    }
    let count = |cold: bool, wrong: bool| {
        let is = |record: &&&CaseRecord| {
            (record.case.params.cache == CacheState::Cold) == cold && contradicted(record) == wrong
        };
        asked.iter().filter(is).count()
    };
    let (cached, read) = (count(false, false), count(false, true));
    let (cold, idle) = (count(true, false), count(true, true));
    let named: Vec<String> = asked
        .iter()
        .filter(|record| contradicted(record))
        .take(NAMED)
        .map(|record| {
            let read = record.conditions.as_ref().map_or(0, |conditions| conditions.read_bytes);
            format!("`{}` ({} read)", record.case.id, human::bytes(read as f64))
        })
        .collect();
    let more = (read + idle).saturating_sub(named.len());
    let named = match (named.is_empty(), more) {
        (true, _) => String::new(),
        (_, 0) => format!(" Figures in tables that rest on these are marked †: {}.", named.join(", ")),
        _ => format!(" Figures in tables that rest on these are marked †: {}, and {more} more.", named.join(", ")),
    };
    let text = format!(
        "{} with warm or fresh caches read no data from a device and {read} did; {cold} cold ones read and {idle} did not.{named}",
        cases(cached)
    );
    yes_if(read == 0 && idle == 0, text)
}

fn quiet(measured: &[&CaseRecord]) -> (Answer, String) {
    let known = conditions(measured);
    if known.is_empty() {
        return not_known("The run did not record what else the machine did.");
    }
    let disturbed = known.iter().filter(|(_, conditions)| !conditions.disturbed.is_empty()).count();
    let repeated = known.iter().filter(|(record, _)| record.attempt > 1).count();
    let unknown = measured.len() - known.len();
    let unknown = if unknown > 0 { format!("; of {} nothing is known", cases(unknown)) } else { String::new() };
    let text = format!("{disturbed} of {} disturbed, after {repeated} were repeated{unknown}.", cases(known.len()));
    yes_if(disturbed == 0, text)
}

fn degradations(results: &ResultSet) -> (Answer, String) {
    let (mut shown, mut told, mut silent) = (0, 0, Vec::new());
    for driver in &results.drivers {
        let measured = results.is_measured(&driver.label);
        match &driver.availability {
            _ if measured => shown += 1,
            Feature::Missing { .. } => told += 1,
            Feature::Available { .. } => silent.push(driver.label.as_str()),
        }
    }
    let without = match silent.is_empty() {
        true => String::new(),
        false => format!("; without figures although here: {}", human::list(&silent)),
    };
    yes_if(silent.is_empty(), format!("{shown} measured and shown, {told} named as not here{without}."))
}

/// Key figures stand beside their ratios by the way the report is built; findings have to bring both values along. Of what depth adds, for one, they
/// may be below zero.
fn absolute(results: &ResultSet) -> (Answer, String) {
    let effects: Vec<_> =
        claims(results).into_iter().flat_map(|claim| claim.findings).filter_map(|finding| finding.effect).collect();
    let with = effects.iter().filter(|effect| effect.absolute.iter().all(|value| value.is_finite())).count();
    match effects.len() {
        0 => not_known("Nothing was compared."),
        all => yes_if(with == all, format!("{with} of {all} findings with a ratio name both values.")),
    }
}

fn clock(run: &Run) -> (Answer, String) {
    match &run.manifest.instrument {
        None => not_known("The run did not record it."),
        Some(instrument) => {
            let clock = &instrument.clock;
            let text = format!(
                "A sample of nothing takes {} ns (median; 99th percentile {} ns); clock {}, step {} ns. It is not subtracted.",
                clock.empty_sample_ns, clock.empty_sample_p99_ns, clock.source, clock.step_ns
            );
            yes_if(clock.empty_sample_ns <= EMPTY_SAMPLE_NS, text)
        }
    }
}

fn awake(run: &Run) -> (Answer, String) {
    match run.manifest.instrument.as_ref().map(|instrument| &instrument.awake) {
        None => not_known("The run did not record it."),
        Some(Feature::Available { detail }) => (Answer::Yes, format!("{detail}.")),
        Some(Feature::Missing { reason, .. }) => (Answer::No, format!("{reason}.")),
    }
}

/// Whether what was fetched before the first case stays, is seen at once, since memory that comes from elsewhere takes as long again, and behind each case.
fn memory(run: &Run) -> (Answer, String) {
    let Some(memory) = run.manifest.instrument.as_ref().and_then(|instrument| instrument.memory) else {
        return not_known("The run did not record it.");
    };
    let looked = run.last_attempts().filter_map(|record| record.conditions.as_ref()?.memory_ns_per_mib);
    let looked: Vec<u64> = looked.collect();
    let (n, away) = (looked.len(), looked.iter().filter(|ns| memory.is_away(**ns)).count());
    let later = match n {
        0 => "whether it stayed so was not looked at".to_owned(),
        _ => format!("in {away} of {} it took more than twice as long", cases(n)),
    };
    let text = format!(
        "{} were written to before the first case, which took {} a MiB, and {} a MiB afterwards; {later}.",
        human::bytes(memory.bytes as f64),
        human::ns(memory.first_ns_per_mib as f64),
        human::ns(memory.again_ns_per_mib as f64)
    );
    match memory.again_ns_per_mib <= MEMORY_NS_PER_MIB && away == 0 {
        true if n == 0 => (Answer::NotKnown, text),
        at_hand => yes_if(at_hand, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Clock, FetchedMemory, Instrument, RunManifest, SCHEMA_VERSION};
    use crate::workload::{Case, DriverVariant, Params};

    /// Cases of two drivers in the order given: block, driver, depth.
    fn run(order: &[(u32, &str, u32)]) -> Run {
        let case = |(index, (block, driver, depth)): (usize, &(u32, &str, u32))| CaseRecord {
            case: Case {
                id: format!("w/copy_up/{driver}/s/depth={depth}/block={block}"),
                workload: "w".into(),
                probe: ProbeName::CopyUp,
                driver: DriverVariant {
                    driver: (*driver).into(),
                    options: vec![],
                    label: (*driver).into(),
                    twin_of: None,
                },
                store: "s".into(),
                params: Params {
                    depth: *depth,
                    file_size_bytes: 1,
                    files: 1,
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
                },
                block: *block,
            },
            order: index as u32 + 1,
            started_ms: 0,
            elapsed_ms: 1,
            attempt: 1,
            superseded: false,
            conditions: None,
            outcome: Outcome::Failed { error: "made up".into() },
        };
        let cases: Vec<CaseRecord> = order.iter().enumerate().map(case).collect();
        let manifest = RunManifest {
            schema_version: SCHEMA_VERSION,
            run: "r".into(),
            layerbench_version: String::new(),
            commit: None,
            started: String::new(),
            command: vec![],
            seed: 1,
            order_seed: None,
            stacks_each_block: false,
            smoke: false,
            workloads: vec![],
            guest: None,
            host: Default::default(),
            instrument: None,
            stores: vec![],
            drivers: vec![],
            planned_cases: cases.len() as u32,
        };
        Run { folder: "r".into(), manifest, cases, truncated: false, damaged: Vec::new() }
    }

    fn block(block: u32, drivers: &str) -> Vec<(u32, &'static str, u32)> {
        let mut seen = BTreeMap::new();
        let mut depth = |driver| {
            let depth = seen.entry(driver).or_insert(0);
            *depth += 1;
            *depth
        };
        drivers.chars().map(|c| if c == 'a' { "a" } else { "b" }).map(|driver| (block, driver, depth(driver))).collect()
    }

    #[test]
    fn an_order_by_driver_or_the_same_twice_or_out_of_turn_is_found_out() {
        let (grouped, mixed, other) = ("aaaaaaaaaabbbbbbbbbb", "abbabaabababbaababab", "babaabbabaabbabbaaba");
        let ask = |blocks: Vec<Vec<(u32, &'static str, u32)>>| interleaved(&run(&blocks.concat()));
        assert_eq!(ask(vec![block(1, mixed), block(2, other)]).0, Answer::Yes);
        let two_by_driver = ask(vec![block(1, grouped), block(2, "bbbbbbbbbbaaaaaaaaaa")]);
        assert_eq!(two_by_driver.0, Answer::No, "{}", two_by_driver.1);
        assert_eq!(ask(vec![block(1, mixed), block(2, mixed)]).0, Answer::No);
        assert_eq!(ask(vec![block(2, other), block(1, mixed)]).0, Answer::No);
        assert_eq!(ask(vec![block(1, "aaaa")]).0, Answer::NotKnown);
    }

    #[test]
    fn conditions_contradict_the_state_of_the_caches_or_are_not_known() {
        let mut run = run(&block(1, "abab"));
        for (record, read_bytes) in run.cases.iter_mut().zip([0, 0, 4096, 8 << 20]) {
            record.outcome = Outcome::Measured { mount_options: String::new(), observations: vec![], notes: vec![] };
            record.conditions = Some(Conditions { read_bytes, ..Conditions::default() });
        }
        let ask = |run: &Run| {
            let measured: Vec<&CaseRecord> = run.last_attempts().collect();
            (caches(&measured).0, quiet(&measured).0)
        };
        assert_eq!(ask(&run), (Answer::No, Answer::Yes));
        let measured: Vec<&CaseRecord> = run.last_attempts().collect();
        let named = "marked †: `w/copy_up/b/s/depth=2/block=1` (8 MiB read).";
        assert!(caches(&measured).1.contains(named), "{}", caches(&measured).1);
        run.cases[3].case.params.cache = CacheState::Cold;
        run.cases[0].conditions.as_mut().unwrap().disturbed.push("steal".into());
        assert_eq!(ask(&run), (Answer::Yes, Answer::No));
        // The same case again, quiet: that attempt counts.
        let mut again = run.cases[0].clone();
        again.attempt = 2;
        again.conditions = Some(Conditions::default());
        run.cases[0].superseded = true;
        run.cases.push(again);
        assert_eq!(ask(&run), (Answer::Yes, Answer::Yes));
        run.cases.iter_mut().for_each(|record| record.conditions = None);
        assert_eq!(ask(&run), (Answer::NotKnown, Answer::NotKnown));
    }

    #[test]
    fn intervals_that_hold_the_truth_too_often_break_their_promise_too() {
        // (that include 1, of so many, the answer): three standard errors of 440 are 3.1 %, of 20 they are 14.6 %.
        for (varying_include_one, varying, answer, why) in [
            (
                438,
                440,
                Answer::No,
                "438 of 440 that vary (99.5 %), where chance allows 91.9 % to 98.1 %; they are too wide",
            ),
            (420, 440, Answer::Yes, "(95.5 %), where chance allows 91.9 % to 98.1 %."),
            (400, 440, Answer::No, "too narrow"),
            (20, 20, Answer::Yes, "where chance allows 80.4 % to 100 %."),
            (15, 20, Answer::No, "too narrow"),
            (0, 0, Answer::NotKnown, "no A/A interval"),
        ] {
            let counted = Coverage { intervals: 500, include_one: 500, varying, varying_include_one };
            let (found, text) = coverage(Some(counted));
            assert!(found == answer && text.contains(why), "{text}");
        }
    }

    #[test]
    fn blocks_with_other_cases_and_drivers_that_drift_apart_are_told() {
        let mut whole = run(&block(1, "ab"));
        whole.cases.extend(run(&block(2, "ba")).cases);
        let measured = |run: &Run| alike(&run.cases.iter().collect::<Vec<_>>()).0;
        assert_eq!(measured(&whole), Answer::Yes);
        whole.cases.pop();
        assert_eq!(measured(&whole), Answer::No);
        assert_eq!(measured(&run(&block(1, "ab"))), Answer::NotKnown);

        let of = |medians: &[f64]| halves(&(1..).zip(medians.iter().copied()).collect::<Vec<_>>());
        assert_eq!(of(&[2.0, 2.0, 1.0]), None);
        assert!((of(&[2.0, 8.0, 1.0, 4.0]).unwrap() - 2f64.ln()).abs() < 1e-12);
        assert!((of(&[3.0, 3.0, 99.0, 3.0, 3.0]).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn a_slow_clock_an_unknown_one_and_missing_cases_are_told() {
        let mut run = run(&block(1, "abab"));
        assert_eq!((clock(&run).0, awake(&run).0, complete(&run).0), (Answer::NotKnown, Answer::NotKnown, Answer::Yes));
        for (empty_sample_ns, answer) in [(25, Answer::Yes), (60, Answer::Yes), (61, Answer::No)] {
            let clock = Clock { empty_sample_ns, ..Clock::default() };
            run.manifest.instrument =
                Some(Instrument { clock, awake: Feature::missing("no", "be root"), ..Instrument::default() });
            assert_eq!(self::clock(&run).0, answer, "{empty_sample_ns}");
        }
        assert_eq!((awake(&run).0, memory(&run).0), (Answer::No, Answer::NotKnown));
        for (again_ns_per_mib, behind, answer) in [
            (300_000, None, Answer::NotKnown),
            (300_000, Some(500_000), Answer::Yes),
            (300_000, Some(700_000), Answer::No),
            (2_000_000, Some(2_000_000), Answer::No),
        ] {
            let fetched = FetchedMemory { bytes: 1 << 30, first_ns_per_mib: 2_000_000, again_ns_per_mib };
            run.manifest.instrument.as_mut().unwrap().memory = Some(fetched);
            run.cases[0].conditions = Some(Conditions { memory_ns_per_mib: behind, ..Conditions::default() });
            assert_eq!(memory(&run).0, answer, "{}", memory(&run).1);
        }
        run.manifest.planned_cases += 1;
        assert_eq!(complete(&run).0, Answer::No);
        assert_eq!(failures(&run).0, Answer::Yes);
        run.cases[0].outcome = Outcome::Failed { error: " ".into() };
        assert_eq!(failures(&run).0, Answer::No);
    }
}
