//! Where the time of a copy_up goes, as the driver itself counted it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::record::{Observation, metric};

/// The part of a driver's counters that is about copy_ups (docs/union.md).
#[derive(Debug, Deserialize)]
struct Counters {
    copy_ups: CopyUps,
}

#[derive(Debug, Deserialize)]
struct CopyUps {
    files_count: u64,
    look_up_ns: u64,
    data_ns: u64,
    fsync_ns: u64,
    attributes_ns: u64,
    rename_ns: u64,
    directories_count: u64,
    parents_ns: u64,
}

/// Mean time of each step of a copy_up of a file in one mount, one sample each; nothing where no file was copied up or nothing counted.
pub(super) fn read(file: &Path) -> Vec<Observation> {
    // A driver without counters writes no file.
    fs::read_to_string(file).map(|text| parse(&text)).unwrap_or_default()
}

fn parse(text: &str) -> Vec<Observation> {
    let Ok(Counters { copy_ups: c }) = serde_json::from_str(text) else { return Vec::new() };
    let mean = |metric, total: u64, count: u64| Some(Observation::new(metric, vec![total.checked_div(count)?]));
    let observations = [
        mean(metric::STEP_LOOK_UP_NS, c.look_up_ns, c.files_count),
        mean(metric::STEP_DATA_NS, c.data_ns, c.files_count),
        mean(metric::STEP_FSYNC_NS, c.fsync_ns, c.files_count),
        mean(metric::STEP_ATTRIBUTES_NS, c.attributes_ns, c.files_count),
        mean(metric::STEP_RENAME_NS, c.rename_ns, c.files_count),
        mean(metric::STEP_PARENT_NS, c.parents_ns, c.directories_count),
    ];
    // A directory may have been copied up for the sake of something that is no file.
    if c.files_count == 0 { Vec::new() } else { observations.into_iter().flatten().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_means_of_the_files_copied_up() {
        let counters = |files: u64| {
            format!(
                r#"{{"copy_ups": {{"files_count": {files}, "directories_count": 2, "others_count": 0, "look_up_ns": 40, "parents_ns": 10,
                "data_ns": 81, "fsync_ns": 0, "attributes_ns": 8, "rename_ns": 4}}, "now": {{}}}}"#
            )
        };
        let found: Vec<(String, u64)> =
            parse(&counters(4)).into_iter().map(|o| (o.metric.name.into_owned(), o.samples[0])).collect();
        let expected = [
            ("step_look_up_ns", 10),
            ("step_data_ns", 20),
            ("step_fsync_ns", 0),
            ("step_attributes_ns", 2),
            ("step_rename_ns", 1),
            ("step_parent_ns", 5),
        ];
        assert_eq!(found, expected.map(|(name, ns)| (name.to_owned(), ns)));
        assert!(parse(&counters(0)).is_empty() && parse("{}").is_empty() && parse("").is_empty());
    }
}
