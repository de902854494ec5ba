//! Whole files read through every driver, by the probe that measures it: its `verify` accepts what lies in the layers, and nothing else.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use layerbench::probe::{self, ProbeError};
use layerbench::record::metric;
use layerbench::workload::{Durability, ProbeName, Trigger};

use crate::bed::for_each;
use crate::triggers::{params, with_case_of};

#[test]
fn files_are_read_whole_and_verify_tells_when_they_were_not_those_of_the_layers() {
    for_each(|variant| {
        let probe = probe::by_name(ProbeName::Read);
        // Nothing, less than a buffer, and more than one.
        for size in [0, 5000, 300_000] {
            let params = params(Trigger::default(), size, Durability::Default);
            with_case_of(ProbeName::Read, variant, &params, |bed, trial, measured| {
                let what = format!("{size} bytes through {}", variant.label());
                let measured = measured.unwrap_or_else(|e| panic!("{what}: {e}"));
                let expected = [(&metric::READ_NS, 2), (&metric::READ_AGAIN_NS, 2), (&metric::WALL_NS, 1)];
                assert_eq!(measured, expected.map(|(metric, n)| (metric.name.to_string(), n)), "{what}");
                probe.verify(trial).unwrap_or_else(|e| panic!("{what}: {e}"));
                bed.assert_lowers_untouched();

                let path = bed.at(trial.targets.hits[1].to_str().unwrap());
                if !variant.is_control() {
                    // The content is right, and it is not the layer's file.
                    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                    let verdict = probe.verify(trial);
                    assert!(
                        matches!(&verdict, Err(ProbeError::Wrong(why)) if why.contains("copied up")),
                        "{what}: {verdict:?}"
                    );
                }
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
                let verdict = probe.verify(trial);
                assert!(
                    matches!(&verdict, Err(ProbeError::Wrong(why)) if why.contains("is not the file of its layer")),
                    "{what}: more was written: {verdict:?}"
                );
                let again = probe.measure(trial);
                assert!(
                    matches!(&again, Err(ProbeError::Wrong(why)) if why.contains("bytes, not")),
                    "{what}: {again:?}"
                );
            });
        }
    });
}

#[test]
fn more_processes_than_files_are_refused_before_anything_is_measured() {
    for_each(|variant| {
        let mut params = params(Trigger::default(), 5000, Durability::Default);
        params.processes = 3;
        for probe in [ProbeName::Read, ProbeName::CopyUp] {
            with_case_of(probe, variant, &params, |_, _, measured| {
                let said = measured.unwrap_err().to_string();
                assert!(said.contains("3 processes cannot each have a file of their own of 2"), "{said}");
            });
        }
    });
}
