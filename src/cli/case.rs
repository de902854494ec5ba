//! `layerbench case`: the child's side of a run. It reads a job and prints how it ended, both JSON.

use std::io::Read as _;

use crate::runner::{self, CaseJob, run_job};

pub(super) fn run() -> anyhow::Result<()> {
    runner::take_signals()?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let job: CaseJob = serde_json::from_str(&text).map_err(|e| {
        super::bad_input(format!("standard input: not a case, which only `layerbench run` hands over: {e}"))
    })?;
    super::print(&serde_json::to_string(&run_job(&job))?)
}
