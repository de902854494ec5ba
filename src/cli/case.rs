//! `layerbench case`: the child's side of a run. It reads a job and prints how it ended, both JSON.

use std::io::Read as _;

use crate::runner::{CaseJob, run_job};

pub(super) fn run() -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let job: CaseJob = serde_json::from_str(&text).map_err(super::bad_input)?;
    super::print(&serde_json::to_string(&run_job(&job))?)
}
