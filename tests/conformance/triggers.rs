//! Every trigger of a copy_up through every driver, by the probe that measures it: its `verify` accepts what the trigger did, and nothing
//! that was changed afterwards.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use layerbench::host;
use layerbench::probe::{self, Container, ProbeError, Trial};
use layerbench::record::metric;
use layerbench::stack::{LayerForm, StackDefinition, Targets};
use layerbench::workload::{CacheState, Durability, Params, ProbeName, Trigger};

use crate::bed::{Bed, Variant, for_each};

const FILES: u32 = 2;

pub fn params(trigger: Trigger, size: u64, durability: Durability) -> Params {
    Params {
        depth: 2,
        file_size_bytes: size,
        files: FILES,
        target_layer: 2,
        cache: CacheState::Fresh,
        containers: 1,
        trigger,
        durability,
        directories: 2,
        xattrs: 3,
        processes: 1,
        job: None,
        stack: None,
        program: None,
    }
}

/// The name by which a target is found when its trigger has been done twice.
fn name_after(trigger: Trigger, targets: &Targets) -> PathBuf {
    let name = targets.hits[0].to_str().unwrap();
    if trigger == Trigger::Rename { format!("{name}.again-2").into() } else { name.into() }
}

/// Does a trigger to every target of a new container, and hands the mounted container to `check`.
fn with_case(
    variant: &Variant,
    params: &Params,
    check: impl FnOnce(&Bed, &mut Trial, Result<Vec<(String, usize)>, ProbeError>),
) {
    with_case_of(ProbeName::CopyUp, variant, params, check);
}

/// The same with any probe.
pub fn with_case_of(
    probe: ProbeName,
    variant: &Variant,
    params: &Params,
    check: impl FnOnce(&Bed, &mut Trial, Result<Vec<(String, usize)>, ProbeError>),
) {
    let definition = StackDefinition::study(params.depth, params.target_layer, params.files, params.file_size_bytes)
        .with_targets(params.directories, params.xattrs);
    let bed = Bed::new(variant, definition.layers).mounted();
    let targets = bed.stack.targets();
    let lower = bed.lowers();
    let volume = (variant.driver().layer_form() == LayerForm::Flat).then(|| bed.upper(""));
    let containers = [Container { merged: bed.at(""), upper: bed.upper("") }];
    let mut trial = Trial {
        stack: &bed.stack,
        lower: &lower,
        targets: &targets,
        containers: &containers,
        volume: volume.as_deref(),
        params,
        privileges: host::fingerprint().privileges,
        daemons: Vec::new(),
        mount_ns: Vec::new(),
        notes: Vec::new(),
    };
    let probe = probe::by_name(probe);
    let measured = probe.prepare(&mut trial).and_then(|()| {
        let observations = probe.measure(&mut trial)?;
        Ok(observations.into_iter().map(|o| (o.metric.name.into_owned(), o.samples.len())).collect())
    });
    check(&bed, &mut trial, measured);
}

#[test]
fn every_trigger_does_what_it_is_for_and_verify_tells_when_it_did_not() {
    for_each(|variant| {
        let probe = probe::by_name(ProbeName::CopyUp);
        for trigger in Trigger::ALL {
            let params = params(trigger, 5000, Durability::Default);
            with_case(variant, &params, |bed, trial, measured| {
                let what = format!("{} of {}", trigger.as_str(), variant.label());
                let measured = measured.unwrap_or_else(|e| panic!("{what}: {e}"));
                for (name, samples) in
                    [(&metric::FIRST_WRITE_NS, 2), (&metric::SECOND_WRITE_NS, 2), (&metric::WALL_NS, 1)]
                {
                    assert!(measured.contains(&(name.name.to_string(), samples)), "{what}: {measured:?}");
                }
                assert!(!measured.iter().any(|(name, _)| name.contains("durable")), "{what}: {measured:?}");
                let opens =
                    matches!(trigger, Trigger::Write | Trigger::Append | Trigger::OpenTruncate | Trigger::OpenRdwr);
                let closes = measured.iter().find(|(name, _)| *name == metric::FIRST_CLOSE_NS.name);
                assert_eq!(closes.map(|(_, samples)| *samples), opens.then_some(2), "{what}");
                probe.verify(trial).unwrap_or_else(|e| panic!("{what}: {e}"));
                bed.assert_lowers_untouched();

                let path = bed.at(name_after(trigger, trial.targets).to_str().unwrap());
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
                let verdict = probe.verify(trial);
                assert!(matches!(verdict, Err(ProbeError::Wrong(_))), "{what}: more was written: {verdict:?}");
            });
        }
    });
}

#[test]
fn what_is_made_durable_is_timed_twice_with_and_without_the_fsync() {
    for_each(|variant| {
        for trigger in [Trigger::Write, Trigger::Chmod, Trigger::Rename, Trigger::MmapStore] {
            with_case(variant, &params(trigger, 5000, Durability::Fsync), |_, trial, measured| {
                let measured = measured.unwrap_or_else(|e| panic!("{} of {}: {e}", trigger.as_str(), variant.label()));
                for name in [&metric::FIRST_DURABLE_NS, &metric::SECOND_DURABLE_NS] {
                    assert!(measured.contains(&(name.name.to_string(), FILES as usize)), "{measured:?}");
                }
                probe::by_name(ProbeName::CopyUp).verify(trial).unwrap();
            });
        }
    });
}

#[test]
fn an_empty_file_can_be_written_to_but_neither_shortened_nor_mapped() {
    for_each(|variant| {
        for trigger in Trigger::ALL {
            with_case(variant, &params(trigger, 0, Durability::Default), |_, trial, measured| {
                let what = format!("{} of {}", trigger.as_str(), variant.label());
                if matches!(trigger, Trigger::Truncate | Trigger::MmapStore) {
                    assert!(matches!(measured, Err(ProbeError::Unavailable { .. })), "{what}: {measured:?}");
                } else {
                    measured.unwrap_or_else(|e| panic!("{what}: {e}"));
                    probe::by_name(ProbeName::CopyUp).verify(trial).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
            });
        }
    });
}
