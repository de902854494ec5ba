//! `layerbench verdicts`: what a run says of each claim, and the checklist of the run.

use std::path::PathBuf;

use super::terminal::{columns, wrapped};
use crate::analysis::{ResultSet, checklist, claims};
use crate::record::Run;

#[derive(Debug, clap::Args)]
pub(super) struct VerdictsArgs {
    /// Runs: folders, or names below results/; the latest when none is given
    #[arg(value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Print JSON, one object a run
    #[arg(long)]
    json: bool,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = super::RESULTS)]
    results: PathBuf,
}

pub(super) fn run(args: VerdictsArgs) -> anyhow::Result<()> {
    for folder in super::runs::find_or_latest(&args.runs, &args.results)? {
        let run = super::runs::load(&folder)?;
        super::print(&if args.json { json(&run)? } else { text(&run, columns()) })?;
    }
    Ok(())
}

fn json(run: &Run) -> anyhow::Result<String> {
    let results = ResultSet::of(run);
    let all = serde_json::json!({
        "run": run.manifest.run,
        "smoke": run.manifest.smoke,
        "marks": results.marks,
        "claims": claims(&results),
        "checklist": checklist(run, &results),
    });
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

fn text(run: &Run, columns: usize) -> String {
    let results = ResultSet::of(run);
    let mut out = format!("Run {}\n", run.manifest.run);
    let mut say = |first: &str, hang: usize, text: &str| out.push_str(&wrapped(first, hang, text, columns));
    for mark in &results.marks {
        say("", 0, mark);
    }
    let mut quoted = "";
    for claim in claims(&results) {
        if claim.quote != quoted {
            say("\n“", 1, &format!("{}”", claim.quote));
            quoted = claim.quote;
        }
        say("\n  ", 2, &format!("{} ({})", claim.question, claim.id));
        for finding in &claim.findings {
            let store = if results.several_stores() { format!(", store {}", finding.store) } else { String::new() };
            let verdict = format!("    {:<12}  ", finding.verdict.words());
            say(&verdict, 8, &format!("{}{store}: {}", finding.subject(), finding.words));
        }
    }
    say("\n", 0, "How far this run may be trusted");
    for item in checklist(run, &results) {
        say(&format!("  [{}] ", item.answer.words()), 6, &format!("{} {}", item.question, item.evidence));
    }
    out.push('\n');
    out
}
