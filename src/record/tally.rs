//! A run in a few counts.

use serde::Serialize;

use super::{Outcome, Run};

/// How far a run came and how quiet it was, in cases, each as its last attempt ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// What was planned.
    pub planned: u64,
    /// What ended, be it well or not; those whose records cannot be read among them.
    pub executed: u64,
    /// What gave figures.
    pub measured: u64,
    /// What gave an error.
    pub failed: u64,
    /// What could not be measured here.
    pub skipped: u64,
    /// Of those measured, what the machine disturbed in its last attempt too.
    pub disturbed: u64,
    /// Whether it ended before its time.
    pub interrupted: bool,
}

impl Run {
    /// Counts the cases.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { planned: u64::from(self.manifest.planned_cases), ..Tally::default() };
        for record in self.last_attempts() {
            tally.executed += 1;
            match &record.outcome {
                Outcome::Measured { .. } => tally.measured += 1,
                Outcome::Failed { .. } => tally.failed += 1,
                Outcome::Skipped { .. } => tally.skipped += 1,
            }
            let disturbed = record.conditions.as_ref().is_some_and(|conditions| !conditions.disturbed.is_empty());
            tally.disturbed += u64::from(disturbed && matches!(record.outcome, Outcome::Measured { .. }));
        }
        tally.executed += self.damaged.len() as u64;
        tally.interrupted = self.truncated || tally.executed < tally.planned;
        tally
    }
}
