//! The parent's side of a case: starts the child, watches it, and turns however it ended into an outcome.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{CaseJob, CaseResult, Standing};
use crate::record::Outcome;
use crate::sys;

/// Runs `layerbench case` with the job on its standard input. The child and its daemons are a process group of their own and die with
/// this process.
pub(super) fn run(job: &CaseJob, limit: Duration, standing: &Standing) -> CaseResult {
    match try_run(job, limit, standing) {
        Ok(result) => result,
        Err(error) => Outcome::Failed { error }.into(),
    }
}

fn try_run(job: &CaseJob, limit: Duration, standing: &Standing) -> Result<CaseResult, String> {
    let input = serde_json::to_vec(job).map_err(|e| format!("write the case's job: {e}"))?;
    let mut command = Command::new(&job.layerbench);
    command.arg("case").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    sys::process::die_with_parent(&mut command);
    let mut child =
        standing.start(|| command.spawn()).map_err(|e| format!("start {}: {e}", job.layerbench.display()))?;
    let stdin = child.stdin.take();
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let Some(mut stdin) = stdin
        && let Err(e) = stdin.write_all(&input)
    {
        end_group(&mut child);
        return Err(format!("hand the case to its process: {e}; it said: {}", join(stderr)));
    }
    let status = match wait(&mut child, limit) {
        Ok(Some(status)) => status,
        Ok(None) => {
            end_group(&mut child);
            return Err(format!(
                "no result within {} s: the case was killed; it said: {}",
                limit.as_secs(),
                join(stderr)
            ));
        }
        Err(e) => {
            end_group(&mut child);
            return Err(format!("wait for the case's process: {e}"));
        }
    };
    // A daemon that outlived its case would distort the next.
    sys::process::kill_group(child.id()).ok();
    let (output, complaint) = (join(stdout), join(stderr));
    if !status.success() {
        return Err(format!("the case's process ended with {status}; it said: {}", complaint.trim()));
    }
    serde_json::from_str(&output)
        .map_err(|e| format!("the case's process gave no outcome ({e}); it said: {}", complaint.trim()))
}

/// Reads a pipe to its end beside the child, so that neither waits for the other.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            pipe.read_to_end(&mut bytes).ok();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(reader: thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

/// Waits with a limit; `None` when it is reached. It sleeps until the child ends, so that it takes no time from what is measured.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<std::process::ExitStatus>> {
    if sys::process::wait_for_exit(child.id(), Some(limit))? { child.wait().map(Some) } else { Ok(None) }
}

/// Kills the child and its daemons: a daemon's death aborts its FUSE connection, which frees a child that waits for it.
fn end_group(child: &mut Child) {
    sys::process::kill_group(child.id()).ok();
    child.wait().ok();
}
